//! The events that the lines of a receipt record.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::builder::SERVICE;
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Usage};
use crate::json::{self, Object};
use crate::request::VideoRequest;

/// A line of a receipt.
///
/// Each event names its attempt by the client request id, because Git merges receipts line by line (`merge=union`). After
/// a merge, a line may follow the line of another attempt. A line that both branches contain is kept once, so equal lines
/// of two attempts would become one.
///
/// Unknown fields are ignored, so that a later version can add some. An unknown event is an error: it may record a
/// payment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A create request is about to be sent, or its generation is about to be resumed.
    Requested {
        /// Seconds since the Unix epoch.
        at: u64,
        client_request_id: String,
        /// The origin of the server, unless it is the service's.
        #[serde(skip_serializing_if = "Option::is_none")]
        server: Option<String>,
        /// The request body, verbatim. Parsing and re-serializing a number could change it.
        request: Box<RawValue>,
    },
    /// The create request was certainly not accepted, and not charged.
    Refused(Reason),
    Created {
        #[serde(skip_serializing_if = "Option::is_none")]
        client_request_id: Option<String>,
        id: GenerationId,
    },
    /// The generation ended without a video, and was not charged.
    Failed(Reason),
    /// The generation ended without a video, and may have been charged.
    Ended(Reason),
    /// The complete file is at its path.
    Completed {
        #[serde(skip_serializing_if = "Option::is_none")]
        client_request_id: Option<String>,
        file_size: u64,
        credits: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        usd: Option<f64>,
    },
}

/// Why an attempt ended without a video.
#[derive(Debug, Serialize)]
pub(super) struct Reason {
    /// `None` for the attempt of the last `requested` event.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request_id: Option<String>,
    pub(super) reason: String,
}

impl Reason {
    pub(super) fn new(client_request_id: &str, reason: impl Into<String>) -> Self {
        Reason { client_request_id: Some(client_request_id.to_owned()), reason: reason.into() }
    }
}

impl Event {
    /// Parses a line. Returns `None` if it is not an event, or if a field that it needs is missing or malformed.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = Object::parse(line).ok()?;
        let (event, fields) = line.only()?;
        let fields = Object::parse(fields.get().as_bytes()).ok()?;
        let text = |name| fields.get(name).map_or(Some(None), |json| json::string(json).map(Some));
        let client_request_id = text("client_request_id")?;
        Some(match event {
            "requested" => Event::Requested {
                at: fields.scalar("at")?,
                client_request_id: client_request_id?,
                server: text("server")?,
                request: fields.get("request")?.to_owned(),
            },
            "refused" => Event::Refused(Reason { client_request_id, reason: fields.string("reason")? }),
            "created" => Event::Created { client_request_id, id: fields.string("id")?.parse().ok()? },
            "failed" => Event::Failed(Reason { client_request_id, reason: fields.string("reason")? }),
            "ended" => Event::Ended(Reason { client_request_id, reason: fields.string("reason")? }),
            "completed" => Event::Completed {
                client_request_id,
                file_size: fields.scalar("file_size")?,
                credits: fields.number("credits").and_then(recorded),
                usd: fields.number("usd"),
            },
            _ => return None,
        })
    }

    pub(super) fn requested(client_request_id: &str, server: &str, request: &VideoRequest) -> Result<Self> {
        let request = serde_json::value::to_raw_value(request).map_err(not_recordable)?;
        Ok(Event::Requested {
            at: now(),
            client_request_id: client_request_id.to_owned(),
            server: Some(server).filter(|server| *server != SERVICE).map(str::to_owned),
            request,
        })
    }

    pub(super) fn created(client_request_id: &str, id: GenerationId) -> Self {
        Event::Created { client_request_id: Some(client_request_id.to_owned()), id }
    }

    pub(super) fn completed(client_request_id: &str, file_size: u64, cost: Usage) -> Self {
        let credits = cost.credits.and_then(recorded);
        Event::Completed { client_request_id: Some(client_request_id.to_owned()), file_size, credits, usd: cost.usd }
    }

    /// Returns the client request id of the attempt; `None` means the attempt of the last `requested` event.
    pub(super) fn client_request_id(&self) -> Option<&str> {
        match self {
            Event::Requested { client_request_id, .. } => Some(client_request_id),
            Event::Refused(reason) | Event::Failed(reason) | Event::Ended(reason) => {
                reason.client_request_id.as_deref()
            }
            Event::Created { client_request_id, .. } | Event::Completed { client_request_id, .. } => {
                client_request_id.as_deref()
            }
        }
    }
}

/// Returns credits as the service writes them: 120000, and not 120000.0.
fn recorded(credits: f64) -> Option<Number> {
    let is_integer = credits.fract() == 0.0 && credits.abs() < 1e15;
    if is_integer { Some(Number::from(credits as i64)) } else { Number::from_f64(credits) }
}

/// Returns the seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the request as a receipt stores it.
pub(super) fn request_json(request: &VideoRequest) -> Result<Value> {
    let text = serde_json::to_string(request).map_err(not_recordable)?;
    serde_json::from_str(&text).map_err(not_recordable)
}

/// Returns the error for a request that could not be read back from a receipt.
fn not_recordable(error: serde_json::Error) -> Error {
    Error::InvalidRequest { field: "request".to_owned(), reason: format!("cannot be recorded in a receipt: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(credits: Option<f64>) -> Usage {
        Usage { credits, ..Usage::default() }
    }

    #[test]
    fn events_name_their_attempt() {
        let request = VideoRequest::new("a fox");
        let table = [
            (
                Event::created("kling-1", "a:b".parse().unwrap()),
                r#"{"created":{"client_request_id":"kling-1","id":"a:b"}}"#,
            ),
            (
                Event::Refused(Reason::new("kling-1", "no credit")),
                r#"{"refused":{"client_request_id":"kling-1","reason":"no credit"}}"#,
            ),
            (
                Event::completed("kling-1", 7, cost(Some(120_000.0))),
                r#"{"completed":{"client_request_id":"kling-1","file_size":7,"credits":120000}}"#,
            ),
        ];
        for (event, line) in table {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(Event::parse(line.as_bytes()).unwrap().client_request_id(), Some("kling-1"));
        }
        for (server, is_recorded) in [(SERVICE, false), ("http://127.0.0.1:8080", true)] {
            let line = serde_json::to_string(&Event::requested("kling-1", server, &request).unwrap()).unwrap();
            assert_eq!(line.contains(server), is_recorded, "{line}");
            assert!(line.contains(r#""client_request_id":"kling-1""#), "{line}");
        }
    }

    #[test]
    fn credits_are_recorded_as_the_service_writes_them() {
        let table = [(None, "null"), (Some(120_000.0), "120000"), (Some(1.5), "1.5"), (Some(1e300), "1e300")];
        for (credits, expected) in table {
            let Event::Completed { credits, .. } = Event::completed("kling-1", 7, cost(credits)) else {
                unreachable!()
            };
            // Some versions of serde_json write an exponent with a plus.
            assert_eq!(serde_json::to_string(&credits).unwrap().replace("e+", "e"), expected);
        }
    }

    #[test]
    fn requests_are_read_as_they_were_recorded() {
        let numbers = [0.1, 0.3, 1.0 / 3.0, 0.123_456_789_012_345_67, f64::from(0.1_f32), 5e-324];
        for number in numbers.into_iter().chain((0..1000).map(|n| f64::from(n) / 999.0)) {
            let request = VideoRequest::new("a fox").cfg_scale(number).param("seed", number * 1e9);
            let line = serde_json::to_string(&Event::requested("kling-1", SERVICE, &request).unwrap()).unwrap();
            let Some(Event::Requested { request: recorded, .. }) = Event::parse(line.as_bytes()) else {
                unreachable!()
            };
            let recorded: Value = serde_json::from_str(recorded.get()).unwrap();
            assert_eq!(recorded, request_json(&request).unwrap(), "{number}");
        }
    }
}
