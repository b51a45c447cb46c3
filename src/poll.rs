//! Poll scheduling. Pure functions: the clock and the server's hints are arguments.

use std::time::Duration;

use crate::retry::RetryClass;

/// How often, and for how long, the status of a generation is polled.
///
/// Each value is at most one year; building a client fails otherwise.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use kling::Poll;
///
/// let patient = Poll { max_wait: Duration::from_secs(3600), ..Poll::default() };
/// assert_eq!(patient.interval, Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Poll {
    /// The delay between a response and the next poll. Must not be zero. Defaults to 10 s, like the service's own
    /// sample code.
    pub interval: Duration,
    /// How long to keep polling, measured from when the first poll is due. The last poll is sent when this time has
    /// passed, and may take up to 1 s longer. If a busy thread sends a poll late, the time it was due counts. Defaults to
    /// 1,000 s, like the service's own sample code, whose generation took about 160 s.
    ///
    /// A download may go without progress for this long as well.
    pub max_wait: Duration,
}

impl Default for Poll {
    fn default() -> Self {
        Poll { interval: Duration::from_secs(10), max_wait: Duration::from_secs(1000) }
    }
}

/// The shortest timeout of a poll, so that the last one, sent at the deadline, can get a response.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest interval and wait. The sum of a few of them is a time that every clock can represent.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// The time for which consecutive 404s count as missed polls: the generation may be known to one machine of the service
/// and not yet to the next, or a deployment may have lost it for a moment.
const NOT_FOUND_GRACE: Duration = Duration::from_secs(60);

/// The number of `completed` responses without a video URL that count as missed polls.
const MAX_MISSING_URLS: u32 = 3;

impl Poll {
    /// Returns the setting that cannot be used, and the reason.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        for (name, value) in [("poll interval", self.interval), ("poll max_wait", self.max_wait)] {
            if value > MAX_DURATION {
                return Err((name, "must be at most one year"));
            }
        }
        if self.interval.is_zero() {
            return Err(("poll interval", "must be greater than zero"));
        }
        Ok(())
    }

    /// Returns the delay before the next poll, given the time since the first poll, or `None` once the deadline has
    /// passed.
    ///
    /// A `Retry-After` only lengthens the delay. The last delay is shortened so that one poll falls on the deadline.
    pub(crate) fn next_delay(&self, elapsed: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        let left = self.max_wait.saturating_sub(elapsed);
        let delay = self.interval.max(retry_after.unwrap_or_default());
        (!left.is_zero()).then(|| delay.min(left))
    }

    /// Returns the timeout of a poll sent `elapsed` after the first one: the time left, and at most `usual`.
    pub(crate) fn timeout(&self, elapsed: Duration, usual: Duration) -> Duration {
        self.max_wait.saturating_sub(elapsed).clamp(MIN_TIMEOUT.min(usual), usual)
    }
}

/// Returns `true` if a failed poll ends the wait, given the time since the first 404 in a row and how many responses have
/// said `completed` without a URL.
pub(crate) fn is_fatal(class: RetryClass, not_found_for: Duration, missing_urls: u32) -> bool {
    match class {
        RetryClass::Transient => false,
        RetryClass::Permanent => true,
        RetryClass::NotFound => not_found_for >= NOT_FOUND_GRACE,
        RetryClass::MissingUrl => missing_urls > MAX_MISSING_URLS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_delay_is_the_interval_until_the_deadline_shortens_it() {
        let poll = Poll { interval: secs(10), max_wait: secs(100) };
        let table = [
            // elapsed, Retry-After, delay
            (0, None, Some(10)),
            (89, None, Some(10)),
            (90, None, Some(10)),
            (95, None, Some(5)),
            (99, None, Some(1)),
            (100, None, None),
            (101, None, None),
            (0, Some(0), Some(10)),
            (0, Some(9), Some(10)),
            (0, Some(30), Some(30)),
            (80, Some(30), Some(20)),
            (0, Some(86400), Some(100)),
            (100, Some(5), None),
        ];
        for (elapsed, retry_after, delay) in table {
            let found = poll.next_delay(secs(elapsed), retry_after.map(secs));
            assert_eq!(found, delay.map(secs), "{elapsed} s, Retry-After {retry_after:?}");
        }
    }

    #[test]
    fn a_poll_times_out_at_the_deadline_but_not_within_a_second() {
        let poll = Poll { interval: secs(10), max_wait: secs(100) };
        for (elapsed, timeout) in [(0, 30), (69, 30), (70, 30), (80, 20), (99, 1), (100, 1), (200, 1)] {
            assert_eq!(poll.timeout(secs(elapsed), secs(30)), secs(timeout), "{elapsed} s");
        }
        let short = Duration::from_millis(5);
        assert_eq!(poll.timeout(secs(100), short), short);
    }

    #[test]
    fn validate_rejects_zero_intervals_and_more_than_a_year() {
        let table = [
            (MAX_DURATION, MAX_DURATION, Ok(())),
            (secs(1), Duration::ZERO, Ok(())),
            (Duration::ZERO, secs(1), Err(("poll interval", "must be greater than zero"))),
            (Duration::MAX, secs(1), Err(("poll interval", "must be at most one year"))),
            (secs(1), Duration::MAX, Err(("poll max_wait", "must be at most one year"))),
        ];
        for (interval, max_wait, expected) in table {
            assert_eq!(Poll { interval, max_wait }.validate(), expected, "{interval:?} {max_wait:?}");
        }
    }

    #[test]
    fn an_absurd_retry_after_does_not_overflow() {
        let poll = Poll { interval: MAX_DURATION, max_wait: MAX_DURATION };
        assert_eq!(poll.next_delay(secs(1), Some(Duration::MAX)), Some(MAX_DURATION - secs(1)));
        assert_eq!(poll.timeout(Duration::MAX, secs(30)), secs(1));
        assert_eq!(Poll { max_wait: Duration::ZERO, ..poll }.next_delay(secs(0), None), None);
    }

    #[test]
    fn a_failed_poll_is_fatal_only_if_a_retry_is_useless() {
        let table = [
            (RetryClass::Transient, 999, 0, false),
            (RetryClass::Permanent, 0, 0, true),
            (RetryClass::NotFound, 0, 0, false),
            (RetryClass::NotFound, 59, 0, false),
            (RetryClass::NotFound, 60, 0, true),
            (RetryClass::MissingUrl, 999, 3, false),
            (RetryClass::MissingUrl, 0, 4, true),
        ];
        for (class, not_found_for, missing_urls, fatal) in table {
            let found = is_fatal(class, secs(not_found_for), missing_urls);
            assert_eq!(found, fatal, "{class:?} {not_found_for} {missing_urls}");
        }
    }
}
