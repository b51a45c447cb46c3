//! Recovering a create request whose response was lost, from the service's logs.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::logs::{LogEntry, LogPage};
use crate::random;
use crate::request::check_client_request_id;

/// The maximum number of log pages, of 100 entries each: far more than one key makes in seven days. It ends the search
/// on a server that always reports one more page.
const MAX_PAGES: usize = 1000;

/// The time after a failed log entry in which another entry may still appear for the same request: a gateway or a
/// fallback may have sent it on, and the entry of a video appears when its generation has finished. The longest
/// generation that the service's sample code waits for takes 1,000 s.
const LATE_ENTRY: Duration = Duration::from_secs(30 * 60);

/// The result of looking up a create request in the service's logs, returned by
/// [`Client::recover`](crate::Client::recover).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// The request was accepted, and this is its generation.
    Found(GenerationId),
    /// The logs say that the request failed, more than 30 minutes ago. It was not charged, and can be sent again.
    NotCharged,
    /// The logs do not say what became of the request. This does not prove that it was not accepted: look again in some
    /// minutes.
    ///
    /// A request that never left, because its process was killed first, is never listed. The logs list a generation once
    /// it has finished, so one that is not listed after an hour was probably not accepted. Only you can decide to pay
    /// again.
    NotListed,
}

/// Searches the logs for a create request.
pub(crate) fn recover(api: &Api, client_request_id: &str) -> Result<Recovery> {
    check_client_request_id(client_request_id)?;
    search(api, client_request_id).map_err(|error| {
        // Whatever the reason, the request may have been accepted and charged.
        let client_request_id = client_request_id.to_owned();
        Error::OutcomeUnknown { client_request_id, source: Box::new(error) }
    })
}

fn search(api: &Api, client_request_id: &str) -> Result<Recovery> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut found = Entries::default();
    let mut offset = 0;
    for _ in 0..MAX_PAGES {
        let page = read_page(api, offset)?;
        for entry in page.entries_for(client_request_id) {
            if let Some(id) = found.add(entry) {
                return Ok(Recovery::Found(id));
            }
        }
        if page.is_last() {
            return found.verdict(now).map_err(|reason| api.invalid_logs(reason));
        }
        offset += page.step();
        // The service allows 200 requests a minute: one every 300 ms.
        thread::sleep(api.retry_delay() * 3 / 10);
    }
    Err(api.invalid_logs("pagination never ends"))
}

/// The entries of one request that do not name its generation.
#[derive(Default)]
struct Entries {
    /// An entry says that the request was accepted, but does not name the generation. That differs from no entry.
    has_unnamed: bool,
    has_failed: bool,
    /// When the last failed entry was created, in seconds since the Unix epoch; `None` if one of them does not say.
    failed_at: Option<u64>,
}

impl Entries {
    /// Returns the id of the generation, if the entry names it. Otherwise, remembers the entry.
    fn add(&mut self, entry: &LogEntry) -> Option<GenerationId> {
        if entry.has_failed() {
            let at = entry.created_at();
            self.failed_at = if self.has_failed { self.failed_at.zip(at).map(|(a, b)| a.max(b)) } else { at };
            self.has_failed = true;
            return None;
        }
        self.has_unnamed |= entry.generation_id().is_none();
        entry.generation_id().cloned()
    }

    fn verdict(&self, now: u64) -> Result<Recovery, &'static str> {
        let is_final = self.failed_at.is_some_and(|at| now.saturating_sub(at) >= LATE_ENTRY.as_secs());
        match self {
            Entries { has_unnamed: true, .. } => Err("the log entry for this request has no generation id"),
            Entries { has_failed: true, .. } if is_final => Ok(Recovery::NotCharged),
            _ => Ok(Recovery::NotListed),
        }
    }
}

fn read_page(api: &Api, offset: usize) -> Result<LogPage> {
    let mut attempts = 0;
    loop {
        let failed = match api.logs(offset) {
            Ok(page) => return Ok(page),
            Err(failed) => failed,
        };
        attempts += 1;
        match failed.next_delay(attempts, api.retry_delay(), random::fraction()) {
            Some(delay) => thread::sleep(delay),
            None => return Err(*failed.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_is_believed_after_half_an_hour() {
        const HALF_AN_HOUR: u64 = 30 * 60;
        let failed = |failed_at| Entries { has_failed: true, failed_at, ..Entries::default() };
        let table = [
            (Entries::default(), 0, Recovery::NotListed),
            (failed(Some(1000)), 1000 + HALF_AN_HOUR - 1, Recovery::NotListed),
            (failed(Some(1000)), 1000 + HALF_AN_HOUR, Recovery::NotCharged),
            // A clock that is behind, and an entry without a time.
            (failed(Some(1000)), 0, Recovery::NotListed),
            (failed(None), u64::MAX, Recovery::NotListed),
        ];
        for (entries, now, expected) in table {
            assert_eq!(entries.verdict(now), Ok(expected), "{now}");
        }
        assert!(Entries { has_unnamed: true, ..failed(Some(0)) }.verdict(u64::MAX).is_err());
    }
}
