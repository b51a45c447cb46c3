//! The steps of a script: each is a response or a fault, applied to the response that is due.

use std::time::Duration;

use super::response::{Framing, Response};
use super::server::{AfterReply, Reply, Request};

/// One step of a script: a response or a fault.
///
/// A fault is applied to the response that would otherwise have been sent: the new id for a create request, the
/// finished video for a poll, the bytes for a file. A step that does not apply to the request sends that response
/// unchanged: [`Failed`](Step::Failed) in the script of the create requests accepts one.
///
/// A create request counts as accepted, and its generation exists even if the client never sees the id. It is refused
/// only by a 4xx status other than 408 and 409, and by [`ResetUnread`](Step::ResetUnread).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The status `queued`.
    Queued,
    /// The status `generating`.
    Generating,
    /// The response that is due.
    Completed,
    /// The status `error` with this message, from this poll on.
    Failed(String),
    /// Another status string, without a video. `OtherStatus("completed")` is a completed generation without a URL.
    OtherStatus(String),

    /// This HTTP status, with the service's error envelope.
    Http(u16),
    /// This HTTP status with a `Retry-After` of this value, which need not be a number.
    HttpRetryAfter(u16, String),
    /// This HTTP status, with the HTML page of a gateway.
    Html(u16),
    /// This HTTP status, with an error envelope whose message repeats the `Authorization` header of the request, as
    /// careless gateways do.
    EchoAuthorization(u16),
    /// The same as [`EchoAuthorization`](Step::EchoAuthorization), with `/` escaped as `\/`, and `&`, `<`, `>`, `'`,
    /// `+` and `=` escaped as `\u0026` and so on. JSON permits that, and several encoders do it.
    EchoAuthorizationEscaped(u16),
    /// The status 200, with these bytes as JSON.
    Body(Vec<u8>),
    /// This HTTP status, such as 302 or 307, with this `Location`.
    Redirect(u16, String),

    /// The complete body, chunked.
    Chunked,
    /// The first `n` bytes of the body, chunked, and the end of the connection in place of the last chunk.
    TruncateChunked(usize),
    /// The first `n` bytes of the body, and the end of the connection, although `Content-Length` announced more.
    Truncate(usize),
    /// The first `n` bytes of the body, and the end of the connection. Without a `Content-Length`, nothing shows that
    /// the body is truncated.
    TruncateWithoutLength(usize),
    /// The first `n` bytes of the body, and a reset of the connection.
    ResetAfter(usize),
    /// The first `n` bytes of the body, and then nothing until the client leaves.
    StallAfter(usize),
    /// The body byte by byte, with this pause after each.
    Throttle(Duration),
    /// No response. The connection stays open until the client leaves.
    Stall,
    /// No response. The connection is closed after the request was read.
    Close,
    /// No response. The connection is reset after the request was read.
    Reset,
    /// No response. The connection is reset, and the request counts as unread: a create request is not accepted. To
    /// the client, this looks like [`Reset`](Step::Reset).
    ResetUnread,

    /// For a file: a 206 that begins one byte later than requested.
    WrongRange,
    /// For a file: a different file, with other validators, from this request on.
    OtherFile,
}

impl Step {
    /// Returns [`Step::Failed`] with this message.
    pub fn failed(message: impl Into<String>) -> Self {
        Step::Failed(message.into())
    }

    /// Returns [`Step::OtherStatus`] with this status string.
    pub fn other_status(status: impl Into<String>) -> Self {
        Step::OtherStatus(status.into())
    }

    /// Returns [`Step::HttpRetryAfter`] with this HTTP status and this value of `Retry-After`.
    pub fn http_retry_after(status: u16, retry_after: impl Into<String>) -> Self {
        Step::HttpRetryAfter(status, retry_after.into())
    }

    /// Returns [`Step::Body`] with these bytes.
    pub fn body(bytes: impl Into<Vec<u8>>) -> Self {
        Step::Body(bytes.into())
    }

    /// Returns [`Step::Redirect`] with this HTTP status and this `Location`.
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Step::Redirect(status, location.into())
    }

    /// Returns `true` if a create request with this step leads to a generation.
    pub(super) fn accepts_a_create(&self) -> bool {
        match self {
            Step::ResetUnread => false,
            // A 5xx proves nothing: a gateway may send it after the service has read the request. That holds for a 503
            // with `Retry-After`, too: Varnish sends one when its backend drops the connection.
            Step::Http(status)
            | Step::HttpRetryAfter(status, _)
            | Step::Html(status)
            | Step::EchoAuthorization(status)
            | Step::EchoAuthorizationEscaped(status) => !matches!(status, 400..=407 | 410..=499),
            _ => true,
        }
    }

    /// Applies the step to the response that is due.
    pub(super) fn apply(&self, due: Response, request: &Request) -> Reply {
        let close = |framing, n: usize| due.truncated(framing, n, AfterReply::Close);
        let no_response = |then| Reply { bytes: Vec::new(), then };
        let refused = |status| Response::error(status, request.path(), "Refused by the script");
        match self {
            Step::Http(status) => refused(*status).complete(),
            Step::HttpRetryAfter(status, value) => refused(*status).with("Retry-After", value).complete(),
            Step::Html(status) => {
                Response::new(*status, "text/html", format!("<html><body><h1>{status}</h1></body></html>")).complete()
            }
            Step::EchoAuthorization(status) => echo_authorization(*status, request).complete(),
            Step::EchoAuthorizationEscaped(status) => {
                let response = echo_authorization(*status, request);
                Response { body: escape_json(&response.body), ..response }.complete()
            }
            Step::Body(bytes) => Response::new(200, "application/json", bytes.clone()).complete(),
            Step::Redirect(status, location) => {
                Response::new(*status, "text/plain", []).with("Location", location).complete()
            }
            Step::Chunked => due.complete_chunked(),
            Step::TruncateChunked(n) => close(Framing::Chunked, *n),
            Step::Truncate(n) => close(Framing::ContentLength, *n),
            Step::TruncateWithoutLength(n) => close(Framing::Close, *n),
            Step::ResetAfter(n) => due.truncated(Framing::ContentLength, *n, AfterReply::Reset),
            Step::StallAfter(n) => due.truncated(Framing::ContentLength, *n, AfterReply::Stall),
            Step::Throttle(pause) => {
                let head = due.truncated(Framing::ContentLength, 0, AfterReply::KeepOpen);
                Reply { then: AfterReply::Throttle(due.body, *pause), ..head }
            }
            Step::Stall => no_response(AfterReply::Stall),
            Step::Close => no_response(AfterReply::Close),
            Step::Reset | Step::ResetUnread => no_response(AfterReply::Reset),
            _ => due.complete(),
        }
    }
}

fn echo_authorization(status: u16, request: &Request) -> Response {
    let authorization = request.header("authorization").unwrap_or("(none)");
    Response::error(status, request.path(), &format!("Refused by the script: Authorization: {authorization}"))
}

/// Escapes characters that need no escape. They occur only within strings, and so the JSON keeps its meaning.
fn escape_json(json: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(json.len());
    for &byte in json {
        match byte {
            b'/' => escaped.extend_from_slice(br"\/"),
            b'&' | b'<' | b'>' | b'\'' | b'+' | b'=' => escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => escaped.push(byte),
        }
    }
    escaped
}
