//! Recovering a create request whose response was lost, from the service's logs.

use std::thread;

use crate::api::Api;
use crate::error::Result;
use crate::generation::GenerationId;
use crate::logs::LogPage;
use crate::random;
use crate::request::check_client_request_id;
use crate::retry::{self, MAX_ATTEMPTS, RetryClass};

/// The maximum number of log pages, of 100 entries each: far more than one key makes in seven days. It ends the search
/// on a server that always reports one more page.
const MAX_PAGES: usize = 1000;

/// The result of looking up a create request in the service's logs, returned by
/// [`Client::recover`](crate::Client::recover).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The request was accepted, and this is its generation.
    Found(GenerationId),
    /// The logs say that the request failed. It was not charged, and can be sent again.
    NotCharged,
    /// The logs do not list the request. This does not prove that it was not accepted: look again in some minutes.
    NotListed,
}

/// Searches the logs for a create request.
pub(crate) fn recover(api: &Api, client_request_id: &str) -> Result<Recovery> {
    check_client_request_id(client_request_id)?;
    let mut has_failed = false;
    let mut offset = 0;
    for _ in 0..MAX_PAGES {
        let page = read_page(api, offset)?;
        for entry in page.entries_for(client_request_id) {
            match entry.generation_id() {
                _ if entry.has_failed() => has_failed = true,
                Some(id) => return Ok(Recovery::Found(id.clone())),
                // It was accepted, but the entry does not say as what: not the same as no entry.
                None => return Err(api.invalid_logs("the log entry for this request has no inference id")),
            }
        }
        if page.is_last() {
            return Ok(if has_failed { Recovery::NotCharged } else { Recovery::NotListed });
        }
        offset += page.len();
        // The service allows 200 requests a minute: one every 300 ms.
        thread::sleep(api.timeouts().retry_delay * 3 / 10);
    }
    Err(api.invalid_logs("pagination never ends"))
}

fn read_page(api: &Api, offset: usize) -> Result<LogPage> {
    let mut attempts = 0;
    loop {
        let failed = match api.logs(offset) {
            Ok(page) => return Ok(page),
            Err(failed) => failed,
        };
        attempts += 1;
        let base = api.timeouts().retry_delay;
        let delay = retry::delay(attempts, MAX_ATTEMPTS, base, random::fraction(), failed.retry_after);
        match delay.filter(|_| failed.class == RetryClass::Transient) {
            Some(delay) => thread::sleep(delay),
            None => return Err(failed.error),
        }
    }
}
