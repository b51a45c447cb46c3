//! The create request: its body, its client request id, its attempts, and when the next one is due.

use std::thread;
use std::time::{Duration, Instant};

use crate::api::Api;
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::random;
use crate::request::VideoRequest;
use crate::retry::{FailedAttempt, MAX_RETRY_AFTER};

/// A validated create request, and how many attempts to send it have failed. Only this module retries it.
pub(crate) struct Create {
    body: Vec<u8>,
    client_request_id: String,
    /// The id was generated here, so each attempt gets a new one.
    id_is_generated: bool,
    failed_attempts: u32,
    due: Instant,
}

/// The outcome of one attempt.
pub(crate) enum Attempt {
    Created(GenerationId),
    /// The service certainly did not accept it. The next attempt is due at [`Create::due`].
    Retrying(Error),
    /// No attempt follows. The server may have requested a delay for other requests.
    Failed(Error, Option<Duration>),
}

impl Create {
    /// Validates the request and serializes its body. The first attempt is due at once.
    pub(crate) fn new(request: &VideoRequest) -> Result<Self> {
        request.validate()?;
        let body = serde_json::to_vec(request).map_err(|error| Error::invalid_request("request", error.to_string()))?;
        let own_id = request.get_client_request_id().map(str::to_owned);
        Ok(Create {
            body,
            id_is_generated: own_id.is_none(),
            client_request_id: own_id.unwrap_or_else(generated_id),
            failed_attempts: 0,
            due: Instant::now(),
        })
    }

    /// Returns the client request id of the next attempt.
    pub(crate) fn client_request_id(&self) -> &str {
        &self.client_request_id
    }

    /// Returns when the next attempt is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Postpones the next attempt, if it would be due earlier.
    pub(crate) fn not_before(&mut self, earliest: Instant) {
        self.due = self.due.max(earliest);
    }

    /// Sends the request once.
    ///
    /// If `others_run`, a 429 does not count as a failed attempt: an account that allows fewer generations at once
    /// accepts the request when one of them has finished.
    pub(crate) fn attempt(&mut self, api: &Api, others_run: bool) -> Attempt {
        let failed = match api.create(&self.body, &self.client_request_id) {
            Ok(id) => return Attempt::Created(id),
            Err(failed) => failed,
        };
        let delay = if others_run && is_too_many_requests(&failed.error) {
            Some(failed.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
        } else {
            self.failed_attempts += 1;
            failed.next_delay(self.failed_attempts, api.retry_delay(), random::fraction())
        };
        let FailedAttempt { error, retry_after, .. } = failed;
        let Some(delay) = delay else { return Attempt::Failed(*error, retry_after) };
        self.due = Instant::now() + delay;
        // The log entry of a refused attempt should not be taken for the outcome of the next one. With the caller's id,
        // all attempts share one; `recover` prefers the accepted entry.
        if self.id_is_generated {
            self.client_request_id = generated_id();
        }
        Attempt::Retrying(*error)
    }

    /// Sends the request, and sleeps between its attempts.
    pub(crate) fn finish(mut self, api: &Api) -> Result<GenerationId> {
        loop {
            thread::sleep(self.due.saturating_duration_since(Instant::now()));
            match self.attempt(api, false) {
                Attempt::Created(id) => return Ok(id),
                Attempt::Retrying(_) => {}
                Attempt::Failed(error, _) => return Err(error),
            }
        }
    }
}

/// Returns `true` for a 429: too many requests, or too many generations at once.
pub(crate) fn is_too_many_requests(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 429, .. })
}

fn generated_id() -> String {
    format!("kling-{:016x}{:016x}", random::bits(), random::bits())
}
