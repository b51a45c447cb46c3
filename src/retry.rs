//! Trying again what failed for a passing reason.

use std::thread;

use crate::api::Api;
use crate::error::Result;
use crate::poll;
use crate::random;
use crate::setback::{Nature, Setback};

/// How often something is tried outside a wait.
pub(crate) const TRIES: u32 = 3;

/// Tries at most three times, with pauses, while what fails is passing.
pub(crate) fn retry<T>(api: &Api, mut attempt: impl FnMut() -> Result<T, Setback>) -> Result<T> {
    let mut tries = 1;
    loop {
        let Setback { error, nature, retry_after } = match attempt() {
            Ok(done) => return Ok(done),
            Err(setback) => setback,
        };
        let pause = poll::retry_pause(tries, TRIES, api.limits().backoff, random::fraction(), retry_after);
        match pause {
            Some(pause) if nature == Nature::Passing => thread::sleep(pause),
            _ => return Err(error),
        }
        tries += 1;
    }
}
