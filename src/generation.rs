//! Response types: generation ids, statuses, videos and failures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::redact::redact_url;

/// The service's identifier for a generation. It is all that another process or machine needs to resume it.
///
/// # Example
///
/// ```
/// use kling::GenerationId;
///
/// let text = "a248abc5-3122-45a9-a9ee-352e4642e01c:klingai/v2.5-turbo/pro/text-to-video";
/// let id: GenerationId = text.parse()?;
/// assert_eq!(id.to_string(), text);
/// assert!("raccoon.id\n".parse::<GenerationId>().is_err());
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GenerationId(String);

impl GenerationId {
    /// Returns the id as a string slice.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for GenerationId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GenerationId {
    type Error = Error;

    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the text is empty, longer than 1,024 bytes, or contains white space or control
    /// characters. Trim an id that was read from a file.
    fn try_from(text: String) -> Result<Self> {
        let reason = if text.is_empty() {
            "must not be empty"
        } else if text.len() > 1024 {
            "must be at most 1,024 bytes long"
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            "must not contain white space or control characters"
        } else {
            return Ok(GenerationId(text));
        };
        Err(Error::InvalidRequest { field: "generation id".to_owned(), reason: reason.to_owned() })
    }
}

impl FromStr for GenerationId {
    type Err = Error;

    /// # Errors
    ///
    /// Fails like [`TryFrom<String>`](#impl-TryFrom<String>-for-GenerationId).
    fn from_str(text: &str) -> Result<Self> {
        text.to_owned().try_into()
    }
}

/// The status of a generation. `Display` prints the status, and the reason if the generation failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// The generation waits for its turn.
    Queued,
    /// The model is generating the video.
    Generating,
    /// The generation has completed, and its video can be downloaded.
    Completed(Video),
    /// The generation has ended without a video. [`Failure::is_free`] returns whether that is documented to cost
    /// nothing.
    Failed(Failure),
    /// The service reports another status, such as `waiting` or `active`: the generation has not finished.
    Other(String),
}

impl Status {
    /// Returns `true` if the generation has completed or failed.
    pub fn is_finished(&self) -> bool {
        matches!(self, Status::Completed(_) | Status::Failed(_))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Queued => f.pad("queued"),
            Status::Generating => f.pad("generating"),
            Status::Completed(_) => f.pad("completed"),
            Status::Failed(failure) => write!(f, "failed: {failure}"),
            Status::Other(status) => f.pad(status),
        }
    }
}

/// A finished video, not yet downloaded. It carries its generation's id, so that an expired URL can be renewed.
///
/// A field is `None` if the service does not report it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Video {
    /// The generation that made the video.
    pub id: GenerationId,
    /// The URL of the file. It is on a different host and expires; [`Client::download`](crate::Client::download)
    /// requests a new one when it does. Its query may be a signature, so `Debug` leaves the query out.
    pub url: String,
    /// The media type, usually `video/mp4`.
    pub content_type: Option<String>,
    /// The service's name for the file.
    pub file_name: Option<String>,
    /// The length of the file in bytes, as the service reports it.
    pub file_size: Option<u64>,
    /// The length of the video in seconds.
    pub duration: Option<f64>,
    /// The cost of the generation.
    pub usage: Option<Usage>,
}

impl fmt::Debug for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Video")
            .field("id", &self.id)
            .field("url", &redact_url(&self.url))
            .field("content_type", &self.content_type)
            .field("file_name", &self.file_name)
            .field("file_size", &self.file_size)
            .field("duration", &self.duration)
            .field("usage", &self.usage)
            .finish()
    }
}

/// The cost of a generation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// The cost in credits. The service's descriptions do not state their price, and call them `tokens_used` (2025) or
    /// `credits_used` (2026).
    pub credits: Option<f64>,
    /// The cost in US dollars.
    pub usd: Option<f64>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.credits, self.usd) {
            (Some(credits), Some(usd)) => write!(f, "{credits} credits (${usd})"),
            (Some(credits), None) => write!(f, "{credits} credits"),
            (None, Some(usd)) => write!(f, "${usd}"),
            (None, None) => f.pad("an unknown cost"),
        }
    }
}

/// The reason why a generation ended without a video. `Display` prints the reason, and the status unless it is `error`
/// or `failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The status that the service reports, such as `error` or `cancelled`.
    pub status: String,
    /// The kind of failure, if the service names one.
    pub name: Option<String>,
    /// The service's explanation, or the JSON that it sent instead of one.
    pub message: String,
}

impl Failure {
    /// Returns `true` if the service documents that a generation that fails this way is not charged.
    ///
    /// The service's documentation of August 2026 says that of the statuses `error` and `failed`. It does not say
    /// whether a generation that was cancelled, was rejected, has expired or has timed out is charged.
    pub fn is_free(&self) -> bool {
        ["error", "failed"].iter().any(|status| self.status.eq_ignore_ascii_case(status))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        f.write_str(&self.message)?;
        if self.is_free() { Ok(()) } else { write!(f, " (status {})", self.status) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_reject_white_space_and_control_characters() {
        for text in ["", " a", "a\n", "a b", "a\u{0}"] {
            assert!(text.parse::<GenerationId>().is_err(), "{text:?}");
        }
        assert!("x".repeat(1025).parse::<GenerationId>().is_err());
        let id: GenerationId = serde_json::from_str("\"a:b/c\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a:b/c\"");
    }

    #[test]
    fn usage_prints_the_known_costs() {
        let table = [
            (Some(120_000.0), None, "120000 credits"),
            (Some(1.5), Some(0.25), "1.5 credits ($0.25)"),
            (None, Some(0.25), "$0.25"),
            (None, None, "an unknown cost"),
        ];
        for (credits, usd, text) in table {
            assert_eq!(Usage { credits, usd }.to_string(), text);
        }
    }

    #[test]
    fn only_error_and_failed_are_documented_to_be_free() {
        let table = [
            ("error", true, "no"),
            ("FAILED", true, "no"),
            ("cancelled", false, "no (status cancelled)"),
            ("timed_out", false, "no (status timed_out)"),
        ];
        for (status, is_free, text) in table {
            let failure = Failure { status: status.to_owned(), name: None, message: "no".to_owned() };
            assert_eq!((failure.is_free(), failure.to_string().as_str()), (is_free, text));
        }
    }
}
