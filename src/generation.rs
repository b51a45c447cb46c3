//! The answers: a generation's name, how far it is, and the video or the failure that it ends in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::redact::redact_url;

/// The name of a generation at the service: all that another process, machine or day needs to go on with it.
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
    /// The id as the service gave it.
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
    /// [`Error::InvalidRequest`] if the text is empty, longer than 1,024 bytes, or holds white space or control
    /// characters: trim what was read from a file.
    fn try_from(text: String) -> Result<Self> {
        let reason = if text.is_empty() {
            "it is empty"
        } else if text.len() > 1024 {
            "it is longer than 1,024 bytes"
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            "it holds white space or control characters"
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
    /// As [`TryFrom<String>`](#impl-TryFrom<String>-for-GenerationId).
    fn from_str(text: &str) -> Result<Self> {
        text.to_owned().try_into()
    }
}

/// How far a generation is. `Display` gives the service's word, and the reason of a failure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// The model is at work.
    Generating,
    /// The video can be downloaded.
    Completed(Video),
    /// The generation ended without a video (the service's word is `error`). The service says that it does not charge
    /// for that (its documents of August 2026).
    Failed(Failure),
    /// Another word: not finished. The service's samples know `waiting` and `active`.
    Other(String),
}

impl Status {
    /// Whether nothing more will come: the generation is completed or has failed.
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
            Status::Other(word) => f.pad(word),
        }
    }
}

/// A finished video, still at the service. It keeps its generation's id, so that a URL that expired can be asked for
/// afresh. A field is `None` if the service does not tell it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Video {
    /// The generation that it came from.
    pub id: GenerationId,
    /// Where the file lies: on another host, and not for ever; [`Client::download`](crate::Client::download) asks for a
    /// fresh one when it has expired. Its query may be a signature, so `Debug` leaves it out.
    pub url: String,
    /// The media type, usually `video/mp4`.
    pub content_type: Option<String>,
    /// The service's name for the file.
    pub file_name: Option<String>,
    /// The length of the file in bytes.
    pub file_size: Option<u64>,
    /// The length of the video in seconds.
    pub duration: Option<f64>,
    /// What it cost.
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

/// What a generation cost.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// In credits, whose price the service's descriptions do not tell. It calls them `tokens_used` (2025) or
    /// `credits_used` (2026).
    pub credits: Option<f64>,
    /// In US dollars.
    pub usd: Option<f64>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.credits, self.usd) {
            (Some(credits), Some(usd)) => write!(f, "{credits} credits (${usd})"),
            (Some(credits), None) => write!(f, "{credits} credits"),
            (None, Some(usd)) => write!(f, "${usd}"),
            (None, None) => f.pad("a cost that the service did not tell"),
        }
    }
}

/// Why a generation ended without a video.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of failure, where the service names one.
    pub name: Option<String>,
    /// The service's explanation, or whatever stood in its place.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_word() {
        for text in ["", " a", "a\n", "a b", "a\u{0}"] {
            assert!(text.parse::<GenerationId>().is_err(), "{text:?}");
        }
        assert!("x".repeat(1025).parse::<GenerationId>().is_err());
        let id: GenerationId = serde_json::from_str("\"a:b/c\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a:b/c\"");
    }

    #[test]
    fn a_cost_reads_as_far_as_it_is_known() {
        let table = [
            (Some(120_000.0), None, "120000 credits"),
            (Some(1.5), Some(0.25), "1.5 credits ($0.25)"),
            (None, Some(0.25), "$0.25"),
            (None, None, "a cost that the service did not tell"),
        ];
        for (credits, usd, text) in table {
            assert_eq!(Usage { credits, usd }.to_string(), text);
        }
    }
}
