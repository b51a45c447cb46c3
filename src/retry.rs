//! Trying again what failed for a passing reason.

use std::thread;
use std::time::Duration;

use crate::api::Api;
use crate::error::Result;
use crate::random;
use crate::setback::{Nature, Setback};

/// How often something is tried outside a wait.
const TRIES: u32 = 3;

/// The longest `Retry-After` that is waited for outside a deadline.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Tries at most three times, with pauses, while what fails is passing.
pub(crate) fn retry<T>(api: &Api, mut attempt: impl FnMut() -> Result<T, Setback>) -> Result<T> {
    let mut tries = 1;
    loop {
        let setback = match attempt() {
            Ok(done) => return Ok(done),
            Err(setback) => setback,
        };
        match pause_after(&setback, tries, api.limits().backoff) {
            Some(pause) => thread::sleep(pause),
            None => return Err(setback.error),
        }
        tries += 1;
    }
}

/// The pause after so many failed tries; `None` if there is no next one. A create is sent again here or nowhere.
pub(crate) fn pause_after(setback: &Setback, tries: u32, base: Duration) -> Option<Duration> {
    let pause = pause(tries, TRIES, base, random::fraction(), setback.retry_after);
    pause.filter(|_| setback.nature == Nature::Passing)
}

/// The pause after so many failed tries of at most `most`; `None` if there is no next one, or if the server asks for a
/// longer pause than a caller would expect of one call.
pub(crate) fn pause(
    tries: u32,
    most: u32,
    base: Duration,
    chance: f64,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let asked = retry_after.unwrap_or_default();
    (tries < most && asked <= LONGEST_RETRY_AFTER).then(|| backoff(tries, base, chance).max(asked))
}

/// Doubles from try to try, up to 32 times the base, and is spread by a half to both sides: many clients that one
/// outage has stopped do not come back all at once.
fn backoff(tries: u32, base: Duration, chance: f64) -> Duration {
    let doubled = base * 2_u32.pow(tries.saturating_sub(1).min(5));
    doubled.mul_f64(0.5 + chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_failed_is_tried_again_after_growing_spread_pauses() {
        let table = [
            // tries, chance, Retry-After, milliseconds
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
        for (tries, chance, retry_after, millis) in table {
            let found = pause(tries, 3, secs(1), chance, retry_after.map(secs));
            assert_eq!(found, millis.map(Duration::from_millis), "{tries} {chance} {retry_after:?}");
        }
        assert_eq!(backoff(6, secs(1), 0.5), secs(32));
        assert_eq!(backoff(u32::MAX, secs(1), 0.5), secs(32));
    }
}
