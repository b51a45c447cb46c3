//! The service's logs: pages of entries, one entry per request of the account.

use serde_json::value::RawValue;

use crate::generation::GenerationId;
use crate::json::{self, Object};
use crate::outcome::normalized;
use crate::timestamp;
use crate::wire::Malformed;

/// The maximum number of entries per page.
const MAX_LIMIT: usize = 100;

/// A page of the logs.
pub(crate) struct LogPage {
    /// The number of entries, including those that cannot be read.
    len: usize,
    entries: Vec<LogEntry>,
    limit: Option<usize>,
    has_more: Option<bool>,
}

/// The log entry of one request. Each field may be missing.
pub(crate) struct LogEntry {
    created: Option<String>,
    status: Option<String>,
    client_request_id: Option<String>,
    inference_id: Option<GenerationId>,
}

/// Parses a page of the logs.
pub(crate) fn log_page(body: &[u8]) -> Result<LogPage, Malformed> {
    let body = json::repair(body);
    let page = Object::parse(&body)?;
    let entries = page.get("data").and_then(json::items).ok_or(Malformed::NoEntries)?;
    let pagination = page.object("pagination").unwrap_or_default();
    Ok(LogPage {
        len: entries.len(),
        entries: entries.into_iter().filter_map(LogEntry::of).collect(),
        limit: pagination.scalar("limit"),
        has_more: pagination.scalar("has_more"),
    })
}

impl LogPage {
    /// Returns the offset of the next page relative to this one. A page may be shorter than its limit, and its entries
    /// count even if they cannot be read. After an empty page, only the limit leads further.
    pub(crate) fn step(&self) -> usize {
        let limit = self.limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        if self.len == 0 { limit.unwrap_or(MAX_LIMIT) } else { self.len }
    }

    /// Returns `true` if the logs end here: if the page says so, or if it is empty and does not say whether more entries
    /// follow.
    pub(crate) fn is_last(&self) -> bool {
        !self.has_more.unwrap_or(self.len > 0)
    }

    /// Returns the entries of one client request id, newest first. A gateway or a fallback may have logged several.
    pub(crate) fn entries_for(&self, client_request_id: &str) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter().filter(move |entry| entry.client_request_id.as_deref() == Some(client_request_id))
    }
}

impl LogEntry {
    /// Returns `None` for an entry that cannot be read.
    fn of(json: &RawValue) -> Option<Self> {
        let entry = Object::parse(json.get().as_bytes()).ok()?;
        Some(LogEntry {
            created: entry.string("created"),
            status: entry.string("status"),
            client_request_id: entry.string("client_request_id"),
            inference_id: entry.string("inference_id").and_then(|id| id.parse().ok()),
        })
    }

    /// Returns `true` if the request failed, and so was not charged. Other statuses, such as `cancelled`, are not
    /// documented to cost nothing.
    pub(crate) fn has_failed(&self) -> bool {
        let status = self.status.as_deref().map(normalized).unwrap_or_default();
        matches!(status.as_str(), "failed" | "failure" | "fail" | "error" | "errored")
    }

    /// Returns the generation id, if the entry has one. It is the id that the create request returned.
    pub(crate) fn generation_id(&self) -> Option<&GenerationId> {
        self.inference_id.as_ref()
    }

    /// Returns when the request was made, in seconds since the Unix epoch.
    pub(crate) fn created_at(&self) -> Option<u64> {
        self.created.as_deref().and_then(timestamp::unix_seconds)
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
        assert_eq!((page.step(), page.entries.len()), (7, 6));
    }
}
