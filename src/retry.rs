//! A failed attempt, its class, and the delay before the next one. Pure functions: random numbers are arguments.

use std::time::Duration;

use crate::error::Error;

/// An attempt that failed.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    /// Boxed, to keep the results of calls small.
    pub(crate) error: Box<Error>,
    pub(crate) class: RetryClass,
    /// The delay that the server requested.
    pub(crate) retry_after: Option<Duration>,
}

impl FailedAttempt {
    pub(crate) fn new(class: RetryClass, error: Error) -> Self {
        FailedAttempt { error: Box::new(error), class, retry_after: None }
    }

    /// Returns the delay before the next attempt of a single call, of which `attempts` have failed so far, or `None` if
    /// there is no next one. `base` and `random` are those of [`delay`].
    pub(crate) fn next_delay(&self, attempts: u32, base: Duration, random: f64) -> Option<Duration> {
        let delay = delay(attempts, MAX_ATTEMPTS, base, random, self.retry_after);
        delay.filter(|_| self.class == RetryClass::Transient)
    }
}

/// Whether a failed attempt may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryClass {
    /// The same request may succeed later. A create request of this class was certainly not accepted.
    Transient,
    /// A retry would fail the same way, or must not be sent.
    Permanent,
    /// The generation or the file was not found: not yet, or no longer.
    NotFound,
    /// The status is completed, but the video URL is missing.
    MissingUrl,
}

/// The maximum number of attempts, outside of polling and downloading.
const MAX_ATTEMPTS: u32 = 3;

/// The longest `Retry-After` that a single call honors. A caller that expects seconds should not sleep for an hour.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Returns the delay after `attempts` failed attempts of at most `max_attempts`, or `None` if there is no next one.
///
/// `base` is the delay after the first attempt, and `random` a number from 0 to 1. There is no next attempt if the
/// server requests a delay longer than [`MAX_RETRY_AFTER`].
fn delay(
    attempts: u32,
    max_attempts: u32,
    base: Duration,
    random: f64,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let requested = retry_after.unwrap_or_default();
    (attempts < max_attempts && requested <= MAX_RETRY_AFTER).then(|| backoff(attempts, base, random).max(requested))
}

/// Returns a delay that doubles with each attempt, up to 32 times `base`, with a jitter of ±50 %, so that clients
/// stopped by one outage do not return all at once.
pub(crate) fn backoff(attempts: u32, base: Duration, random: f64) -> Duration {
    let doubled = base * 2_u32.pow(attempts.saturating_sub(1).min(5));
    doubled.mul_f64(0.5 + random)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_double_with_jitter_and_honor_retry_after() {
        let table = [
            // attempts, random, Retry-After, milliseconds
            (1, 0.0, None, Some(500)),
            (1, 0.5, None, Some(1000)),
            (2, 0.5, None, Some(2000)),
            (2, 1.0, None, Some(3000)),
            (1, 0.5, Some(7), Some(7000)),
            (1, 0.5, Some(0), Some(1000)),
            (1, 0.5, Some(60), Some(60_000)),
            (1, 0.5, Some(61), None),
            (3, 0.5, None, None),
            (3, 0.5, Some(1), None),
        ];
        for (attempts, random, retry_after, millis) in table {
            let found = delay(attempts, 3, secs(1), random, retry_after.map(secs));
            assert_eq!(found, millis.map(Duration::from_millis), "{attempts} {random} {retry_after:?}");
        }
        assert_eq!(backoff(6, secs(1), 0.5), secs(32));
        assert_eq!(backoff(u32::MAX, secs(1), 0.5), secs(32));
    }
}
