//! Decides whether to resume a broken download, and when. Pure functions: bytes and elapsed time are arguments.

use std::time::Duration;

/// The number of new bytes that counts as progress. A server that sends a byte and hangs up must not hold a download
/// indefinitely.
const MIN_PROGRESS: u64 = 64 * 1024;

/// The lowest transfer rate, in bytes per second. At this rate the documented sample file of 20 MB takes more than five
/// hours.
const MIN_SPEED: f64 = 1024.0;

/// The time limit of one transfer. It ends a read that nobody waits for any more, of a TLS record or a trailer that
/// arrives byte by byte. A slow transfer must not reach it: without validators it would start over, and never end. In a
/// day, 84 MiB arrive at the lowest rate.
pub(crate) const MAX_TRANSFER_TIME: Duration = Duration::from_secs(24 * 3600);

/// The time and the attempts that a download has spent since its last progress.
#[derive(Debug)]
pub(crate) struct ResumeBudget {
    /// How long a download may take without progress.
    max_wait: Duration,
    /// The time over which the transfer rate is measured.
    window: Duration,
    waited: Duration,
    attempts: u32,
    new_bytes: u64,
    is_last_attempt: bool,
    rate: Rate,
}

/// The transfer rate in the current window. Only the time spent waiting for bytes counts.
#[derive(Debug, Default)]
struct Rate {
    bytes: u64,
    new_bytes: u64,
    waited: Duration,
    is_too_slow: bool,
}

impl ResumeBudget {
    pub(crate) fn new(max_wait: Duration, window: Duration) -> Self {
        let (waited, rate) = (Duration::ZERO, Rate::default());
        ResumeBudget { max_wait, window, waited, attempts: 0, new_bytes: 0, is_last_attempt: false, rate }
    }

    /// Records time spent without reading, such as for a request.
    pub(crate) fn record_wait(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// Records bytes that arrived after `waited`, and the number of new ones among them. Returns `true` if they arrive
    /// too slowly.
    pub(crate) fn record_read(&mut self, bytes: u64, new_bytes: u64, waited: Duration) -> bool {
        self.waited += waited;
        let rate = &mut self.rate;
        rate.bytes += bytes;
        rate.new_bytes += new_bytes;
        rate.waited += waited;
        if rate.waited >= self.window {
            rate.is_too_slow = (rate.bytes as f64) < MIN_SPEED * rate.waited.as_secs_f64();
            if !rate.is_too_slow {
                self.end_window();
            }
        }
        self.rate.is_too_slow
    }

    /// Records an attempt that failed. Returns the number of failed attempts since the last progress.
    pub(crate) fn record_failure(&mut self) -> u32 {
        // Bytes that arrive too slowly do not count: a drip must not hold a download indefinitely either.
        if self.rate.is_too_slow {
            self.rate = Rate::default();
        }
        self.end_window();
        self.attempts = self.attempts.saturating_add(1);
        self.attempts
    }

    /// Returns the delay before the next attempt, or `None` if the last one has been made.
    ///
    /// That is `delay`, or what the server requested if that is longer. The last attempt is made when `max_wait` has
    /// passed since the last progress.
    pub(crate) fn next_delay(&mut self, delay: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        if self.is_last_attempt {
            return None;
        }
        let delay = delay.max(retry_after.unwrap_or_default());
        let left = self.max_wait.saturating_sub(self.waited);
        self.is_last_attempt = delay >= left;
        let delay = delay.min(left);
        self.waited += delay;
        Some(delay)
    }

    fn end_window(&mut self) {
        self.new_bytes += self.rate.new_bytes;
        self.rate = Rate::default();
        if self.new_bytes >= MIN_PROGRESS {
            *self = ResumeBudget::new(self.max_wait, self.window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budget() -> ResumeBudget {
        ResumeBudget::new(1000 * SECOND, 30 * SECOND)
    }

    /// Returns how many attempts are retried, with a delay of 10 s, if each brings this many bytes within a second.
    fn retried(new_bytes: impl IntoIterator<Item = u64>) -> usize {
        let mut budget = budget();
        let is_retried = |new_bytes: &u64| {
            budget.record_read(*new_bytes, *new_bytes, SECOND);
            budget.record_failure();
            budget.next_delay(10 * SECOND, None).is_some()
        };
        new_bytes.into_iter().take(10_000).take_while(is_retried).count()
    }

    #[test]
    fn a_download_without_progress_ends_and_a_broken_one_continues() {
        assert_eq!(retried(std::iter::repeat(0)), 91, "every 11 s for 1,000 s, and once at its end");
        assert_eq!(retried(std::iter::repeat(1)), 91, "a byte per attempt");
        assert_eq!(retried([[0; 50].as_slice(), &[64 * 1024], &[0; 200]].concat()), 50 + 91, "progress starts over");
        assert_eq!(retried(std::iter::repeat(1024)), 10_000, "64 KiB in less than 1,000 s");
    }

    #[test]
    fn delays_honor_retry_after_and_end_with_an_attempt_at_the_limit() {
        let table = [
            // waited, delay, Retry-After, delays
            (0, 1, None, vec![1, 1]),
            (0, 1, Some(120), vec![120, 120]),
            (0, 5, Some(2), vec![5, 5]),
            (0, 1, Some(86_400), vec![1000]),
            (995, 10, None, vec![5]),
            (990, 9, None, vec![9, 1]),
            (1000, 1, None, vec![0]),
            (5000, 1, Some(7), vec![0]),
        ];
        for (waited, delay, retry_after, expected) in table {
            let mut budget = budget();
            budget.record_wait(waited * SECOND);
            let mut next = || budget.next_delay(delay * SECOND, retry_after.map(Duration::from_secs));
            let delays: Vec<_> = std::iter::from_fn(&mut next).take(2).map(|delay| delay.as_secs()).collect();
            assert_eq!(delays, expected, "{waited} {delay} {retry_after:?}");
        }
    }

    #[test]
    fn attempts_are_counted_since_the_last_progress() {
        let mut budget = budget();
        assert_eq!((budget.record_failure(), budget.record_failure()), (1, 2));
        budget.record_read(64 * 1024, 64 * 1024, SECOND);
        assert_eq!(budget.record_failure(), 1);
        // Reading the same bytes again is not progress.
        budget.record_read(1 << 30, 0, SECOND);
        assert_eq!(budget.record_failure(), 2);
    }

    #[test]
    fn the_rate_is_measured_over_the_time_spent_waiting() {
        let mut budget = budget();
        let slow = |budget: &mut ResumeBudget, bytes| (0..30).any(|_| budget.record_read(bytes, bytes, SECOND));
        assert!(!slow(&mut budget, 1024), "1 KiB/s");
        assert!(slow(&mut budget, 1023), "less");
        budget.record_failure();
        assert!(!slow(&mut budget, 5000), "the next attempt is measured from its own start");
        assert!(slow(&mut self::budget(), 1023), "at the end of the first window, not after it");
    }

    #[test]
    fn a_drip_is_not_progress() {
        let mut budget = ResumeBudget::new(1000 * SECOND, 300 * SECOND);
        let mut attempts = 0;
        // 150 KB in each window, but at 500 B/s.
        let drip = |budget: &mut ResumeBudget| (0..).any(|_| budget.record_read(500, 500, SECOND));
        while attempts < 100 && drip(&mut budget) {
            attempts += 1;
            budget.record_failure();
            if budget.next_delay(SECOND, None).is_none() {
                break;
            }
        }
        assert_eq!(attempts, 5, "300 s each, and a last one at 1,000 s");
    }

    #[test]
    fn a_slow_line_does_not_reach_the_time_limit() {
        const SAMPLE: f64 = 20_235_536.0;
        for (bytes, speed) in [(SAMPLE, 20_000.0), (SAMPLE, MIN_SPEED), (4.0 * SAMPLE, MIN_SPEED)] {
            assert!(Duration::from_secs_f64(bytes / speed) < MAX_TRANSFER_TIME, "{bytes} bytes at {speed} B/s");
        }
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let mut budget = ResumeBudget::new(year, SECOND);
        assert_eq!(budget.next_delay(SECOND, Some(Duration::MAX)), Some(year));
        assert_eq!(budget.next_delay(SECOND, None), None);
    }
}
