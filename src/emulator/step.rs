//! One turn of a script: an answer or a fault, and how it is played on what would have been sent without it.

use std::time::Duration;

use super::server::{Reply, Then};
use super::service::Answer;

/// One turn of a script: an answer, or a fault.
///
/// A fault strikes the answer that is due without it: for a create the id, for a status the finished video, for a file
/// its bytes. A step that is made for another of the three gives the answer that is due: `Failed` in the script of the
/// creates accepts one.
///
/// A create counts as accepted, and has an id that its client may never see, unless the step refuses it for certain:
/// a 4xx other than 408 and 409, 503 with a `Retry-After` in seconds, or [`Unread`](Step::ResetUnread).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// The status `queued`.
    Queued,
    /// The status `generating`.
    Generating,
    /// The answer that is due.
    Completed,
    /// The status `error`, with this message. The generation stays so.
    Failed(String),
    /// Another status word, and no video. `OtherStatus("completed")` is a video without a URL.
    OtherStatus(String),

    /// This HTTP status, with the service's envelope. A create is refused by a 4xx, and may be accepted behind a 5xx.
    Http(u16),
    /// This HTTP status and a `Retry-After` of this value, which need not be a number.
    HttpRetryAfter(u16, String),
    /// This HTTP status, with the HTML page of a gateway.
    Html(u16),
    /// 200 with these bytes as JSON.
    Body(Vec<u8>),
    /// This HTTP status, such as 302 or 307, to this location.
    Redirect(u16, String),

    /// The first bytes of the body, and the end, although a longer one was announced.
    Truncate(usize),
    /// The same without an announced length: nothing says that the body is cut.
    TruncateWithoutLength(usize),
    /// The first bytes of the body, and a reset.
    ResetAfter(usize),
    /// The first bytes of the body, and then nothing, until the client leaves.
    StallAfter(usize),
    /// The body byte by byte, with this pause.
    Throttle(Duration),
    /// Nothing, until the client leaves.
    Stall,
    /// The end of the connection, after the request was read.
    Close,
    /// A reset, after the request was read.
    Reset,
    /// A reset, and the request counts as unread: a create is not accepted. The client cannot tell it from
    /// [`Reset`](Step::Reset).
    ResetUnread,

    /// For a file: a 206 that begins a byte later than asked for.
    WrongRange,
    /// For a file: another one lies there from here on, with an `ETag` of its own.
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

    pub(super) fn accepts_a_create(&self) -> bool {
        match self {
            Step::ResetUnread => false,
            Step::HttpRetryAfter(503, seconds) => seconds.parse::<u64>().is_err(),
            Step::HttpRetryAfter(status, _) | Step::Http(status) | Step::Html(status) => {
                !matches!(status, 400..=407 | 410..=499)
            }
            _ => true,
        }
    }
}

/// Plays one step on the answer that is due.
pub(super) fn play(step: &Step, due: Answer, path: &str) -> Reply {
    let cut = |n: usize, then| {
        let mut bytes = due.head(Some(due.body.len()));
        bytes.extend_from_slice(&due.body[..n.min(due.body.len())]);
        Reply { bytes, then }
    };
    let nothing = |then| Reply { bytes: Vec::new(), then };
    match step {
        Step::Http(status) => whole(&Answer::refusal(*status, path, "Refused by the script")),
        Step::HttpRetryAfter(status, value) => {
            whole(&Answer::refusal(*status, path, "Refused by the script").with("Retry-After", value))
        }
        Step::Html(status) => {
            let page = format!("<html><body><h1>{status}</h1></body></html>");
            whole(&Answer::new(*status, "text/html", page.into_bytes()))
        }
        Step::Body(bytes) => whole(&Answer::new(200, "application/json", bytes.clone())),
        Step::Redirect(status, location) => {
            whole(&Answer::new(*status, "text/plain", Vec::new()).with("Location", location))
        }
        Step::Truncate(n) => cut(*n, Then::Close),
        Step::TruncateWithoutLength(n) => {
            let mut bytes = due.head(None);
            bytes.extend_from_slice(&due.body[..(*n).min(due.body.len())]);
            Reply { bytes, then: Then::Close }
        }
        Step::ResetAfter(n) => cut(*n, Then::Reset),
        Step::StallAfter(n) => cut(*n, Then::Stall),
        Step::Throttle(pause) => Reply { bytes: due.head(Some(due.body.len())), then: Then::Drip(due.body, *pause) },
        Step::Stall => nothing(Then::Stall),
        Step::Close => nothing(Then::Close),
        Step::Reset | Step::ResetUnread => nothing(Then::Reset),
        _ => whole(&due),
    }
}

pub(super) fn whole(answer: &Answer) -> Reply {
    let mut bytes = answer.head(Some(answer.body.len()));
    bytes.extend_from_slice(&answer.body);
    Reply { bytes, then: Then::Keep }
}
