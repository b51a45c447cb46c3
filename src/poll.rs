//! When to ask next, as pure arithmetic: time, hints and chance are handed in.

use std::time::{Duration, Instant};

use crate::setback::Nature;

/// How often the status of a generation is asked, and for how long.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use kling::Poll;
///
/// let patient = Poll { deadline: Duration::from_secs(3600), ..Poll::default() };
/// assert_eq!(patient.interval, Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The pause between an answer and the next question; zero is refused when the client is built. Defaults to 10 s,
    /// as in the service's own sample.
    pub interval: Duration,
    /// How long after the first question the last one is asked; its answer may take up to 1 s more. One that a busy
    /// thread asks late is judged by when it was due. Defaults to 1,000 s, as in the service's own sample, which took
    /// about 160 s.
    pub deadline: Duration,
}

impl Default for Poll {
    fn default() -> Self {
        Poll { interval: Duration::from_secs(10), deadline: Duration::from_secs(1000) }
    }
}

/// The least time for a poll, so that the one on the deadline can be answered.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

impl Poll {
    /// The pause before the next poll, `elapsed` after the first one; `None` when the deadline has passed.
    ///
    /// A `Retry-After` only lengthens it. The last pause is cut, so that one poll falls on the deadline.
    pub(crate) fn pause(&self, elapsed: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        let left = self.deadline.saturating_sub(elapsed);
        let pause = self.interval.max(retry_after.unwrap_or_default());
        (!left.is_zero()).then(|| pause.min(left))
    }

    /// How long the poll that starts `elapsed` after the first one may take: what is left, but at most `longest`.
    pub(crate) fn patience(&self, elapsed: Duration, longest: Duration) -> Duration {
        self.deadline.saturating_sub(elapsed).clamp(LEAST_PATIENCE.min(longest), longest)
    }
}

/// The moment so much later; a pause that no clock can count is a year.
pub(crate) fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// Whether a poll that failed ends the wait, `elapsed` after the first one, with `without_url` answers so far that said
/// completed and had no URL.
pub(crate) fn ends_the_wait(nature: Nature, elapsed: Duration, without_url: u32) -> bool {
    match nature {
        Nature::Passing => false,
        Nature::Lasting => true,
        // A generation may be known to one machine of the service and not yet to the next.
        Nature::Missing => elapsed >= Duration::from_secs(60),
        Nature::NoUrl => without_url > 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_pause_is_the_interval_until_the_deadline_cuts_it() {
        let poll = Poll { interval: secs(10), deadline: secs(100) };
        let table = [
            // elapsed, Retry-After, pause
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
        for (elapsed, retry_after, pause) in table {
            let found = poll.pause(secs(elapsed), retry_after.map(secs));
            assert_eq!(found, pause.map(secs), "{elapsed} s, Retry-After {retry_after:?}");
        }
    }

    #[test]
    fn a_poll_may_take_what_is_left_and_never_less_than_a_second() {
        let poll = Poll { interval: secs(10), deadline: secs(100) };
        for (elapsed, patience) in [(0, 30), (69, 30), (70, 30), (80, 20), (99, 1), (100, 1), (200, 1)] {
            assert_eq!(poll.patience(secs(elapsed), secs(30)), secs(patience), "{elapsed} s");
        }
        let short = Duration::from_millis(5);
        assert_eq!(poll.patience(secs(100), short), short);
    }

    #[test]
    fn absurd_settings_do_not_overflow() {
        let poll = Poll { interval: Duration::MAX, deadline: Duration::MAX };
        assert_eq!(poll.pause(secs(1), Some(Duration::MAX)), Some(Duration::MAX - secs(1)));
        assert_eq!(poll.patience(Duration::MAX, secs(30)), secs(1));
        assert_eq!(Poll { deadline: Duration::ZERO, ..poll }.pause(secs(0), None), None);
        let now = Instant::now();
        assert!(later(now, Duration::MAX) > now);
    }

    #[test]
    fn a_failed_poll_ends_the_wait_only_when_asking_again_is_useless() {
        let table = [
            (Nature::Passing, 999, 0, false),
            (Nature::Lasting, 0, 0, true),
            (Nature::Missing, 0, 0, false),
            (Nature::Missing, 59, 0, false),
            (Nature::Missing, 60, 0, true),
            (Nature::NoUrl, 999, 3, false),
            (Nature::NoUrl, 0, 4, true),
        ];
        for (nature, elapsed, without_url, ends) in table {
            assert_eq!(ends_the_wait(nature, secs(elapsed), without_url), ends, "{nature:?} {elapsed} {without_url}");
        }
    }
}
