//! The service's rules, written from its documents. It shares no type with the client: a mistake of one is not repeated
//! by the other.

use serde_json::{Value, json};

use super::clips::Clip;

pub(super) const MODEL: &str = "klingai/v2.5-turbo/pro/text-to-video";

/// An answer before anything goes wrong with it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Answer::new(status, "application/json; charset=utf-8", body.to_string().into_bytes())
    }

    pub(super) fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Answer { status, headers: vec![("Content-Type", content_type.to_owned())], body }
    }

    /// The envelope in which the service explains a refusal.
    pub(super) fn refusal(status: u16, path: &str, message: &str) -> Self {
        let envelope = json!({
            "message": message,
            "path": path,
            "requestId": "5b0e8f5c-0000-4000-8000-rehearsal000",
            "statusCode": status,
            "timestamp": "2026-01-01T00:00:00.000Z",
        });
        Answer::json(status, &envelope)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes up to the body; `length` as the server announces it.
    pub(super) fn head(&self, length: Option<usize>) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match length {
            Some(length) => format!("Content-Length: {length}\r\n\r\n"),
            None => "Connection: close\r\n\r\n".to_owned(),
        };
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        206 => "Partial Content",
        300..400 => "Redirect",
        400..500 => "Refused",
        500.. => "Failed",
        _ => "Odd",
    }
}

/// The two editions of the service's description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Edition {
    /// November 2025.
    Vendor,
    /// June 2026.
    Universal,
}

impl Edition {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/v2/generate/video/kling/generation" => Some(Edition::Vendor),
            "/v2/video/generations" => Some(Edition::Universal),
            _ => None,
        }
    }

    fn usage(self) -> Value {
        // The number of the service's own sample, whatever is asked for.
        match self {
            Edition::Vendor => json!({ "tokens_used": 120_000 }),
            Edition::Universal => json!({ "credits_used": 120_000 }),
        }
    }
}

/// The status and the message of a refusal.
type Refusal = (u16, String);

/// Any bearer key is good.
pub(super) fn check_key(authorization: Option<&str>) -> Result<(), Refusal> {
    match authorization.and_then(|value| value.split_once(' ')) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty() => Ok(()),
        _ => Err((401, "No API key in the header Authorization: Bearer".to_owned())),
    }
}

/// Checks the body of a create against the schema.
pub(super) fn check(content_type: Option<&str>, body: &[u8]) -> Result<Value, Refusal> {
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err((400, "Expected Content-Type: application/json".to_owned()));
    }
    let body = serde_json::from_slice(body).map_err(|error| (400, format!("Invalid JSON: {error}")))?;
    check_fields(&body).map_err(|message| (400, message))?;
    Ok(body)
}

fn check_fields(body: &Value) -> Result<(), String> {
    let Some(fields) = body.as_object() else {
        return Err(format!("Expected object, received {}", kind(body)));
    };
    for name in ["model", "prompt"] {
        if !fields.contains_key(name) {
            return Err(format!("{name}: Required"));
        }
    }
    let one_of = |value: &Value, allowed: &[Value]| {
        let list = || allowed.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
        if allowed.contains(value) { Ok(()) } else { Err(format!("Expected {}, received {value}", list())) }
    };
    let text = |value: &Value| {
        if value.is_string() { Ok(()) } else { Err(format!("Expected string, received {}", kind(value))) }
    };
    for (name, value) in fields {
        let result = match name.as_str() {
            "model" => one_of(value, &[json!(MODEL)]),
            "prompt" | "negative_prompt" | "provider" => text(value),
            // The service's own sample sends the string, and works.
            "duration" => match value.as_f64() {
                Some(5.0 | 10.0) => Ok(()),
                _ => one_of(value, &[json!(5), json!(10), json!("5"), json!("10")]),
            },
            "aspect_ratio" => one_of(value, &[json!("16:9"), json!("9:16"), json!("1:1")]),
            "cfg_scale" => match value.as_f64() {
                Some(scale) if (0.0..=1.0).contains(&scale) => Ok(()),
                Some(scale) => Err(format!("Expected a number from 0 to 1, received {scale}")),
                None => Err(format!("Expected number, received {}", kind(value))),
            },
            // The schema does not forbid other fields.
            _ => Ok(()),
        };
        result.map_err(|message| format!("{name}: {message}"))?;
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The alphabet of the tracing documents; any other value is dropped silently.
pub(super) fn client_request_id(header: Option<&str>) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    header.filter(|id| (1..=128).contains(&id.len()) && id.chars().all(allowed)).map(str::to_owned)
}

/// A status without a video.
pub(super) fn underway(id: &str, word: &str) -> Value {
    json!({ "id": id, "status": word, "video": null, "error": null, "meta": null })
}

pub(super) fn failed(id: &str, message: &str) -> Value {
    let error = json!({ "name": "GenerationFailed", "message": message });
    json!({ "id": id, "status": "error", "video": null, "error": error, "meta": null })
}

pub(super) fn completed(id: &str, edition: Edition, url: &str, clip: &Clip) -> Value {
    let video = json!({
        "url": url,
        "content_type": "video/mp4",
        "file_name": "output.mp4",
        "file_size": clip.bytes.len(),
        "duration": clip.seconds,
    });
    json!({ "id": id, "status": "completed", "video": video, "error": null, "meta": { "usage": edition.usage() } })
}
