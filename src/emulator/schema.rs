//! The service's schema: which requests are valid, and the JSON of its responses. It is written from the service's
//! documents and shares no type with the client, so that a mistake of one is not repeated by the other.

use serde_json::{Value, json};

use super::server::Request;

pub(super) const MODEL: &str = "klingai/v2.5-turbo/pro/text-to-video";

/// The credits of the service's own sample, whatever the request.
pub(super) const CREDITS: u32 = 120_000;

/// An edition of the service's description. Each has a path of its own.
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
        match self {
            Edition::Vendor => json!({ "tokens_used": CREDITS }),
            Edition::Universal => json!({ "credits_used": CREDITS }),
        }
    }
}

/// The HTTP status and the message of a refusal.
pub(super) type Refusal = (u16, String);

/// Accepts any non-empty bearer token.
pub(super) fn check_key(request: &Request) -> Result<(), Refusal> {
    match request.header("authorization").and_then(|value| value.split_once(' ')) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty() => Ok(()),
        _ => Err((401, "No API key in the header Authorization: Bearer".to_owned())),
    }
}

/// Validates a create request, and returns its body.
pub(super) fn check_create(request: &Request) -> Result<Value, Refusal> {
    check_key(request)?;
    let media_type = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err((400, "Expected Content-Type: application/json".to_owned()));
    }
    let body = serde_json::from_slice(&request.body).map_err(|error| (400, format!("Invalid JSON: {error}")))?;
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
    for (name, value) in fields {
        check_field(name, value).map_err(|message| format!("{name}: {message}"))?;
    }
    Ok(())
}

fn check_field(name: &str, value: &Value) -> Result<(), String> {
    match name {
        "model" => one_of(value, &[json!(MODEL)]),
        "prompt" | "negative_prompt" | "provider" if value.is_string() => Ok(()),
        "prompt" | "negative_prompt" | "provider" => Err(format!("Expected string, received {}", kind(value))),
        // The schema wants an integer. The service's own sample sends a string, and works.
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
    }
}

fn one_of(value: &Value, allowed: &[Value]) -> Result<(), String> {
    if allowed.contains(value) {
        return Ok(());
    }
    let list: Vec<_> = allowed.iter().map(Value::to_string).collect();
    Err(format!("Expected {}, received {value}", list.join(" | ")))
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

/// Returns the client request id. Ids outside the documented alphabet and length are silently dropped.
pub(super) fn client_request_id(request: &Request) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let id = request.header("x-client-request-id")?;
    ((1..=128).contains(&id.len()) && id.chars().all(allowed)).then(|| id.to_owned())
}

/// Returns a status without a video.
pub(super) fn pending(id: &str, status: &str) -> Value {
    json!({ "id": id, "status": status, "video": null, "error": null, "meta": null })
}

pub(super) fn failed(id: &str, message: &str) -> Value {
    let error = json!({ "name": "GenerationFailed", "message": message });
    json!({ "id": id, "status": "error", "video": null, "error": error, "meta": null })
}

/// Returns the status of a completed generation. Without a `file_size`, the field is left out.
pub(super) fn completed(id: &str, edition: Edition, url: &str, seconds: u8, file_size: Option<u64>) -> Value {
    let mut video = json!({
        "url": url,
        "content_type": "video/mp4",
        "file_name": "output.mp4",
        "duration": seconds,
    });
    if let Some(file_size) = file_size {
        video["file_size"] = json!(file_size);
    }
    json!({ "id": id, "status": "completed", "video": video, "error": null, "meta": { "usage": edition.usage() } })
}
