//! HTTP responses, before any fault is applied to them, and their framing.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::date;
use super::server::{AfterReply, Reply};

/// The maximum length of a chunk in bytes, so that a file consists of several.
const MAX_CHUNK: usize = 4096;

/// An HTTP response, before any fault is applied to it.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// How a response delimits its body (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Framing {
    ContentLength,
    Chunked,
    /// The end of the connection is the end of the body.
    Close,
}

impl Response {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Response { status, headers: vec![("Content-Type", content_type.to_owned())], body: body.into() }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Response::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// Creates a response with the envelope in which the service explains an error.
    pub(super) fn error(status: u16, path: &str, message: &str) -> Self {
        let envelope = json!({
            "message": message,
            "path": path,
            "requestId": "5b0e8f5c-0000-4000-8000-000000000001",
            "statusCode": status,
            "timestamp": date::rfc3339(SystemTime::now()),
        });
        Response::json(status, &envelope)
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the complete response, after which the connection stays open.
    pub(super) fn complete(&self) -> Reply {
        self.truncated(Framing::ContentLength, usize::MAX, AfterReply::KeepOpen)
    }

    /// Returns the complete response with a chunked body, after which the connection stays open.
    pub(super) fn complete_chunked(&self) -> Reply {
        let mut reply = self.truncated(Framing::Chunked, usize::MAX, AfterReply::KeepOpen);
        reply.bytes.extend_from_slice(b"0\r\n\r\n");
        reply
    }

    /// Returns the head and the first `n` bytes of the body. A chunked body lacks its last chunk.
    pub(super) fn truncated(&self, framing: Framing, n: usize, then: AfterReply) -> Reply {
        // These have no body, whatever their headers say (RFC 9112, 6.3): the bytes of one would be taken for the
        // beginning of the next response.
        let body = if matches!(self.status, 100..200 | 204 | 304) { &[] } else { self.body.as_slice() };
        let sent = &body[..n.min(body.len())];
        let mut bytes = self.head(framing, body.len());
        if framing == Framing::Chunked {
            for chunk in sent.chunks(MAX_CHUNK) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
        } else {
            bytes.extend_from_slice(sent);
        }
        Reply { bytes, then }
    }

    fn head(&self, framing: Framing, length: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason_phrase(self.status));
        // By `Date`, a client can tell whether `Last-Modified` is a strong validator (RFC 9110, 8.8.2.2).
        head += &format!("Date: {}\r\n", date::http_date(SystemTime::now()));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match framing {
            // Not even a length of 0 is allowed here (RFC 9110, 8.6).
            Framing::ContentLength if matches!(self.status, 100..200 | 204) => String::new(),
            Framing::ContentLength => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Close => "Connection: close\r\n".to_owned(),
        };
        head += "\r\n";
        head.into_bytes()
    }
}

/// Returns the reason phrase of a status. An unregistered status, such as the 520 to 530 of Cloudflare, has an empty
/// one (RFC 9112, 4).
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        425 => "Too Early",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
