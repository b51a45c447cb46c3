//! The service's logs: their entries, and the pages in which they are returned.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::date;
use super::schema::{CREDITS, MODEL};
use super::server::Request;

/// An entry of the logs.
#[derive(Clone, Debug)]
pub(super) struct LogEntry<'a> {
    pub(super) created: SystemTime,
    pub(super) failed: bool,
    /// The id of the generation, unless the attempt has led to none.
    pub(super) generation_id: Option<&'a str>,
    pub(super) client_request_id: Option<&'a str>,
}

impl LogEntry<'_> {
    fn to_json(&self) -> Value {
        json!({
            "created": date::rfc3339(self.created),
            "status": if self.failed { "failed" } else { "succeeded" },
            "origin": "api",
            "model": MODEL,
            "cost": { "usd": 0.0, "credits": if self.failed { 0 } else { CREDITS } },
            "tokens": { "input": 0, "output": 0, "total": 0 },
            "request_id": self.generation_id.and_then(|id| id.split(':').next()),
            "inference_id": self.generation_id,
            "client_request_id": self.client_request_id,
        })
    }
}

/// Returns the page of the logs that a request selects. The entries are given newest first.
pub(super) fn page<'a>(entries: impl Iterator<Item = LogEntry<'a>>, request: &Request) -> Value {
    let number = |name, default| request.query(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let (limit, offset): (usize, usize) = (number("limit", 20).clamp(1, 100), number("offset", 0));
    let model = request.query("model");
    let oldest = request.query("period").and_then(|period| SystemTime::now().checked_sub(parse_period(&period)?));
    let selected: Vec<_> = entries
        .filter(|_| model.as_deref().is_none_or(|model| model == MODEL))
        .filter(|entry| oldest.is_none_or(|oldest| entry.created >= oldest))
        .collect();
    let data: Vec<_> = selected.iter().skip(offset).take(limit).map(LogEntry::to_json).collect();
    let has_more = offset.saturating_add(data.len()) < selected.len();
    let pagination = json!({ "limit": limit, "offset": offset, "total": selected.len(), "has_more": has_more });
    json!({ "data": data, "pagination": pagination })
}

/// Parses a period such as `24h` or `7d`.
fn parse_period(period: &str) -> Option<Duration> {
    let (number, unit) = period.split_at_checked(period.len().checked_sub(1)?)?;
    let hours: u64 = match unit {
        "h" => 1,
        "d" => 24,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(hours * 3600)?))
}
