//! Response types: generation ids, statuses, videos and failures.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
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
/// let text = "a248abc5-3122-45a9:klingai/v2.5-turbo/pro/text-to-video";
/// let id: GenerationId = text.parse()?;
/// assert_eq!(id.to_string(), text);
/// assert!("raccoon.id\n".parse::<GenerationId>().is_err());
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
#[must_use = "a generation that exists is paid for, and its id is the only way to its video"]
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
        Err(Error::invalid_request("generation id", reason))
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
///
/// # Example: keeping results in a file
///
/// ```
/// use kling::Status;
///
/// let json = r#"{"completed": {"id": "a248:model", "url": "https://cdn.test/1.mp4"}}"#;
/// let status: Status = serde_json::from_str(json)?;
/// assert!(status.is_finished());
/// assert_eq!(serde_json::to_string(&Status::Queued)?, "\"queued\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
/// A field is `None` if the service does not report it. The serialized form contains the complete URL.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Video {
    /// The generation that made the video.
    pub id: GenerationId,
    /// The URL of the file. It is on a different host and expires; [`Client::download`](crate::Client::download)
    /// requests a new one when it does. Its query may be a signature, so `Debug` leaves the query out.
    pub url: String,
    /// The media type, usually `video/mp4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The service's name for the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The length of the file in bytes, as the service reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// The length of the video in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The cost of the generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// The cost of a generation, or of several: costs can be added and summed up. An unknown cost adds nothing.
///
/// # Example
///
/// ```
/// use kling::Usage;
///
/// let json = r#"[{"credits": 120000}, {"credits": 60000, "usd": 0.5}, {}]"#;
/// let costs: Vec<Usage> = serde_json::from_str(json)?;
/// let total: Usage = costs.iter().sum();
/// assert_eq!(total.to_string(), "180000 credits ($0.5)");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// The cost in credits. The service's descriptions do not state their price, and call them `tokens_used` (2025) or
    /// `credits_used` (2026).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits: Option<f64>,
    /// The cost in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        let add = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b).or(a).or(b);
        Usage { credits: add(self.credits, other.credits), usd: add(self.usd, other.usd) }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(usages: I) -> Usage {
        usages.fold(Usage::default(), Add::add)
    }
}

impl<'a> Sum<&'a Usage> for Usage {
    fn sum<I: Iterator<Item = &'a Usage>>(usages: I) -> Usage {
        usages.copied().sum()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The sum of many costs has digits that no price has.
        let usd = self.usd.map(|usd| (usd * 1e6).round() / 1e6);
        match (self.credits, usd) {
            (Some(credits), Some(usd)) => write!(f, "{credits} credits (${usd})"),
            (Some(credits), None) => write!(f, "{credits} credits"),
            (None, Some(usd)) => write!(f, "${usd}"),
            (None, None) => f.pad("an unknown cost"),
        }
    }
}

/// The reason why a generation ended without a video. `Display` prints the reason, and the status unless it is `error`
/// or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of failure, if the service names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The service's explanation, or the JSON that it sent instead of one.
    pub message: String,
    /// Boxed, because errors are moved through every `Result`.
    status: Box<str>,
}

impl Failure {
    pub(crate) fn new(status: &str, name: Option<String>, message: String) -> Self {
        Failure { name, message, status: status.into() }
    }

    /// Returns the status that the service reports, such as `error` or `cancelled`.
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Returns `true` if the service documents that a generation that fails this way is not charged.
    ///
    /// As of August 2026, the service documents this for `error` and `failed`. It does not say whether a generation
    /// that was cancelled, was rejected, has expired or has timed out is charged.
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
        assert!("x".repeat(1024).parse::<GenerationId>().is_ok());
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
            (None, Some(0.1 + 0.2), "$0.3"),
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
            let failure = Failure::new(status, None, "no".to_owned());
            assert_eq!((failure.is_free(), failure.to_string().as_str()), (is_free, text));
        }
    }
}
