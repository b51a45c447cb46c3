//! The service's rules, written from its documents. It shares no type with the client: a mistake of one is not repeated
//! by the other.

use serde_json::{Value, json};

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

/// Checks the body of a create against the schema. The error is the message of the 400.
pub(super) fn check(body: &[u8]) -> Result<Value, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("Invalid JSON: {error}"))?;
    let Some(fields) = body.as_object() else {
        return Err(format!("Expected object, received {}", kind(&body)));
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
            "duration" => one_of(value, &[json!(5), json!(10), json!("5"), json!("10")]),
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
    Ok(body)
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

/// A test card that fits a request.
#[derive(Debug, PartialEq)]
pub(super) struct Clip {
    ratio: &'static str,
    pub(super) seconds: u8,
    pub(super) bytes: &'static [u8],
}

impl Clip {
    /// The clip for the body of a create; what is not asked for is 16:9 and 5 s.
    pub(super) fn fitting(request: &Value) -> &'static Clip {
        let ratio = request["aspect_ratio"].as_str().unwrap_or("16:9");
        let seconds = if matches!(&request["duration"], value if *value == 10 || *value == "10") { 10 } else { 5 };
        CLIPS.iter().find(|clip| clip.ratio == ratio && clip.seconds == seconds).unwrap_or(&CLIPS[0])
    }

    /// Another one, for a file that changes on its server.
    pub(super) fn other(&'static self) -> &'static Clip {
        CLIPS.iter().find(|clip| *clip != self).unwrap_or(self)
    }

    pub(super) fn etag(&self) -> String {
        format!("\"{}-{}\"", self.ratio, self.seconds)
    }

    /// Answers a request for the file, whole or from the middle on (RFC 9110, 14).
    pub(super) fn answer(&self, range: Option<&str>, if_range: Option<&str>) -> Answer {
        let total = self.bytes.len();
        let answer = |status, bytes: &[u8]| {
            Answer::new(status, "video/mp4", bytes.to_vec()).with("ETag", self.etag()).with("Accept-Ranges", "bytes")
        };
        let wanted = range.filter(|_| if_range.is_none_or(|etag| etag == self.etag())).and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = if last.is_empty() { total.checked_sub(1)? } else { last.parse().ok()? };
            Some((first.parse::<usize>().ok()?, last.min(total.checked_sub(1)?)))
        });
        match wanted {
            None => answer(200, self.bytes),
            Some((first, last)) if first <= last => {
                answer(206, &self.bytes[first..=last]).with("Content-Range", format!("bytes {first}-{last}/{total}"))
            }
            Some(_) => answer(416, b"").with("Content-Range", format!("bytes */{total}")),
        }
    }
}

/// What the service would have made: test cards that say that they are none of its videos.
static CLIPS: [Clip; 6] = [
    Clip { ratio: "16:9", seconds: 5, bytes: include_bytes!("clips/landscape-5.mp4") },
    Clip { ratio: "16:9", seconds: 10, bytes: include_bytes!("clips/landscape-10.mp4") },
    Clip { ratio: "9:16", seconds: 5, bytes: include_bytes!("clips/portrait-5.mp4") },
    Clip { ratio: "9:16", seconds: 10, bytes: include_bytes!("clips/portrait-10.mp4") },
    Clip { ratio: "1:1", seconds: 5, bytes: include_bytes!("clips/square-5.mp4") },
    Clip { ratio: "1:1", seconds: 10, bytes: include_bytes!("clips/square-10.mp4") },
];
