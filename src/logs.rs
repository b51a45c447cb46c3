//! The service's logs: pages of entries, one entry per request of the account.

use serde::Deserialize;

use crate::generation::GenerationId;
use crate::json::{Lenient, parse_object};
use crate::outcome::normalized;
use crate::timestamp;
use crate::wire::Malformed;

/// The maximum number of entries per page.
const MAX_LIMIT: usize = 100;

/// A page of the logs.
#[derive(Deserialize)]
pub(crate) struct LogPage {
    data: Vec<Lenient<LogEntry>>,
    #[serde(default)]
    pagination: Lenient<Pagination>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pagination {
    limit: Lenient<usize>,
    has_more: Lenient<bool>,
}

/// The log entry of one request. Each field may be missing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogEntry {
    created: Lenient<String>,
    status: Lenient<String>,
    client_request_id: Lenient<String>,
    inference_id: Lenient<GenerationId>,
}

/// Parses a page of the logs.
pub(crate) fn log_page(body: &[u8]) -> Result<LogPage, Malformed> {
    Ok(parse_object(body)?)
}

impl LogPage {
    /// Returns the offset of the next page relative to this one. A page may be shorter than its limit, and its entries
    /// count even if they cannot be read. After an empty page, only the limit leads further.
    pub(crate) fn step(&self) -> usize {
        let limit = || self.pagination.0.as_ref()?.limit.0.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        if self.data.is_empty() { limit().unwrap_or(MAX_LIMIT) } else { self.data.len() }
    }

    /// Returns `true` if the logs end here: if the page says so, or if it is empty and does not say whether more entries
    /// follow.
    pub(crate) fn is_last(&self) -> bool {
        let has_more = self.pagination.0.as_ref().and_then(|pagination| pagination.has_more.0);
        !has_more.unwrap_or(!self.data.is_empty())
    }

    /// Returns the entries that can be read.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &LogEntry> {
        self.data.iter().filter_map(|entry| entry.0.as_ref())
    }

    /// Returns the entries of one client request id, newest first. A gateway or a fallback may have logged several.
    pub(crate) fn entries_for(&self, client_request_id: &str) -> impl Iterator<Item = &LogEntry> {
        self.entries().filter(move |entry| entry.client_request_id.0.as_deref() == Some(client_request_id))
    }
}

impl LogEntry {
    /// Returns `true` if the request failed, and so was not charged. Other statuses, such as `cancelled`, are not
    /// documented to cost nothing.
    pub(crate) fn has_failed(&self) -> bool {
        let status = self.status.0.as_deref().map(normalized).unwrap_or_default();
        matches!(status.as_str(), "failed" | "failure" | "fail" | "error" | "errored")
    }

    /// Returns the generation id, if the entry has one. It is the id that the create request returned.
    pub(crate) fn generation_id(&self) -> Option<&GenerationId> {
        self.inference_id.0.as_ref()
    }

    /// Returns when the request was made, in seconds since the Unix epoch.
    pub(crate) fn created_at(&self) -> Option<u64> {
        self.created.0.as_deref().and_then(timestamp::unix_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_end_only_where_they_say_so() {
        let entry = r#"{"status":"succeeded","client_request_id":"fox","inference_id":"a:b"}"#;
        let table = [
            (r#","pagination":{"has_more":false}"#, true, true),
            (r#","pagination":{"has_more":true}"#, false, false),
            (r#","pagination":{"total":101}"#, false, true),
            (r#","more":1"#, false, true),
            ("", false, true),
        ];
        for (pagination, is_last, is_last_if_empty) in table {
            let page = log_page(format!(r#"{{"data":[null,7,{entry}]{pagination}}}"#).as_bytes()).unwrap();
            assert_eq!((page.step(), page.is_last()), (3, is_last), "{pagination}");
            let ids: Vec<_> = page.entries_for("fox").map(|entry| entry.generation_id().unwrap().as_str()).collect();
            assert_eq!(ids, ["a:b"]);
            let empty = log_page(format!(r#"{{"data":[]{pagination}}}"#).as_bytes()).unwrap();
            assert_eq!((empty.step(), empty.is_last()), (100, is_last_if_empty), "{pagination}");
        }
        for body in ["{}", "null", "[[]]", "[", "\u{feff}", r#"{"data":7}"#] {
            assert!(log_page(body.as_bytes()).is_err(), "{body}");
        }
        assert!(log_page("\u{feff}{\"data\":[]}".as_bytes()).is_ok());
    }

    #[test]
    fn an_entry_has_what_can_be_read_of_it() {
        let entries = r#"
            {"client_request_id":"fox","status":"FAILED","inference_id":"a:b","created":"2025-03-11T07:13:27.813Z"},
            {"client_request_id":"fox","status":"succeeded","inference_id":null,"created":1741677207},
            {"client_request_id":"fox","status":7,"inference_id":7,"created":"today"},
            {"client_request_id":"fox","status":"cancelled","inference_id":"a b"},
            {"client_request_id":null,"status":"succeeded","inference_id":"c:d"},
            {"client_request_id":"owl","status":"succeeded","inference_id":"c:d"},
            "fox""#;
        let page = log_page(format!(r#"{{"data":[{entries}]}}"#).as_bytes()).unwrap();
        let read = |entry: &LogEntry| {
            (entry.has_failed(), entry.generation_id().map(|id| id.as_str().to_owned()), entry.created_at())
        };
        assert_eq!(
            page.entries_for("fox").map(read).collect::<Vec<_>>(),
            [
                (true, Some("a:b".to_owned()), Some(1_741_677_207)),
                (false, None, None),
                (false, None, None),
                (false, None, None),
            ]
        );
        assert_eq!((page.step(), page.entries().count()), (7, 6));
    }
}
