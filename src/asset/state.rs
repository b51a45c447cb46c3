//! An asset, and its state on disk: the request compared with the receipt, and the receipt with the file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::attempt::{Attempt, Stage};
use super::event::request_json;
use super::journal::Journal;
use super::origin::Origin;
use super::receipt;
use crate::charged::Charged;
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::request::VideoRequest;

/// A file, and the request for the video that it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    pub(super) path: PathBuf,
    pub(super) request: VideoRequest,
}

/// The state of an [`Asset`] on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// The receipt says that the file was generated from this request, and the file has the recorded length.
    Current(Origin),
    /// No video has been generated. Earlier attempts, if any, were refused or failed, and were not charged.
    Missing,
    /// There is a file, but no receipt that says what it was generated from. The file is never overwritten.
    Untracked,
    /// The file was generated from another request.
    Stale {
        /// The fields that differ, ordered by name.
        differences: Vec<Difference>,
    },
    /// The generation exists, but the file is missing or is not its video. A file that is not its video will be
    /// replaced.
    InProgress {
        /// The generation to resume.
        id: GenerationId,
    },
    /// The generation ended without a video, and may have been charged. Only a person can decide to pay again.
    Ended {
        /// The generation that ended.
        id: GenerationId,
        /// The service's explanation.
        reason: String,
    },
    /// A create request was sent, and its outcome is unknown.
    Unknown {
        /// The client request id of the create request; `None` if the last line of the receipt is incomplete.
        client_request_id: Option<String>,
    },
}

impl State {
    /// Returns `true` if the asset is current.
    pub fn is_current(&self) -> bool {
        self.origin().is_some()
    }

    /// Returns the generation that the file is from, if the asset is current.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            State::Current(origin) => Some(origin),
            _ => None,
        }
    }

    /// Returns whether the generation of the asset's request was charged.
    pub(super) fn charged(&self) -> Charged {
        match self {
            State::Missing | State::Stale { .. } => Charged::No,
            State::Current(_) | State::InProgress { .. } => Charged::Yes,
            State::Untracked | State::Ended { .. } | State::Unknown { .. } => Charged::Perhaps,
        }
    }
}

/// A field in which the request differs from the one in the receipt. `Display` prints it on one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The field, by the service's name for it.
    pub field: String,
    /// The value in the receipt, as JSON; `None` if the field was not set.
    pub was: Option<Value>,
    /// The value in the asset's request; `None` if the field is not set.
    pub wanted: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::to_string);
        let (was, wanted) = (text(&self.was), text(&self.wanted));
        let common = was.chars().zip(wanted.chars()).take_while(|(was, wanted)| was == wanted).count();
        write!(f, "{}: {} → {}", self.field, excerpt(&was, common), excerpt(&wanted, common))
    }
}

/// Returns at most 60 characters of a text, around a position.
fn excerpt(text: &str, position: usize) -> String {
    const LENGTH: usize = 60;
    const BEFORE: usize = 20;
    let length = text.chars().count();
    let start = position.saturating_sub(BEFORE).min(length.saturating_sub(LENGTH));
    let cut: String = text.chars().skip(start).take(LENGTH).collect();
    let (before, after) = (if start > 0 { "…" } else { "" }, if start + LENGTH < length { "…" } else { "" });
    format!("{before}{cut}{after}")
}

/// An asset compared with its receipt.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) state: State,
    /// The attempt that the state is about, as an index into the journal.
    pub(super) attempt: Option<usize>,
    /// The length of the file; `None` if there is no file.
    pub(super) file_len: Option<u64>,
}

impl Finding {
    /// Returns the attempt that the state is about.
    pub(super) fn attempt_in<'a>(&self, journal: &'a Journal) -> Option<&'a Attempt> {
        self.attempt.map(|index| &journal.attempts[index])
    }
}

impl Asset {
    /// Creates an asset: the file at this path, generated from this request.
    ///
    /// A relative path starts at the current directory; in [`build_script`](crate::build_script()), at the package's.
    /// The request's client request id is not used: each create request gets one of its own, so that it can be looked
    /// up.
    pub fn new(path: impl Into<PathBuf>, request: VideoRequest) -> Self {
        Asset { path: path.into(), request: request.without_client_request_id() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the receipt: the path of the file, followed by `.receipt.jsonl`.
    pub fn receipt_path(&self) -> PathBuf {
        receipt::path_of(&self.path)
    }

    /// Returns the state of the asset. This reads the receipt and the length of the file, and modifies nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the receipt cannot be read or is not valid; [`Error::InvalidRequest`] if the request is nested
    /// too deeply to be recorded.
    pub fn state(&self) -> Result<State> {
        Ok(self.inspect()?.0.state)
    }

    /// Reads the receipt, and compares the asset with it.
    pub(super) fn inspect(&self) -> Result<(Finding, Journal)> {
        let request = request_json(&self.request)?;
        let journal = receipt::read_unlocked(&self.receipt_path())?;
        Ok((self.find(&journal, &request, None)?, journal))
    }

    /// Compares the asset with a journal. Of the attempts to resume, those that were sent to `server` come first.
    pub(super) fn find(&self, journal: &Journal, request: &Value, server: Option<&str>) -> Result<Finding> {
        let file_len = self.file_len().map_err(Error::io("read the metadata of", &self.path))?;
        let finding = |state, attempt| Ok(Finding { state, attempt, file_len });
        if journal.torn.is_some() {
            return finding(State::Unknown { client_request_id: None }, None);
        }
        let current = file_len.and_then(|len| {
            let index = journal.current(request, len)?;
            Some((index, journal.attempts[index].origin(len)?))
        });
        if let Some((index, origin)) = current {
            return finding(State::Current(origin), Some(index));
        }
        let Some(index) = journal.unfinished(request, server) else {
            let state = match journal.last_charged() {
                Some(other) => State::Stale { differences: differences(&other.request, request) },
                None if file_len.is_some() => State::Untracked,
                None => State::Missing,
            };
            return finding(state, None);
        };
        let attempt = &journal.attempts[index];
        let state = match attempt.stage() {
            Stage::Created(id) | Stage::Completed(id) => State::InProgress { id: id.clone() },
            Stage::Ended(id, reason) => State::Ended { id: id.clone(), reason: reason.to_owned() },
            Stage::Requested | Stage::Closed => {
                State::Unknown { client_request_id: Some(attempt.client_request_id.clone()) }
            }
        };
        finding(state, Some(index))
    }

    /// Returns the length of the file, or `None` if there is no file.
    pub(super) fn file_len(&self) -> io::Result<Option<u64>> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if there is a file.
    pub(super) fn exists(&self) -> bool {
        self.file_len().is_ok_and(|len| len.is_some())
    }

    pub(super) fn not_current(&self, reason: impl Into<String>, charged: Charged) -> Error {
        Error::AssetNotCurrent { path: self.path.clone(), reason: reason.into(), charged }
    }
}

fn differences(was: &Value, wanted: &Value) -> Vec<Difference> {
    let mut fields: Vec<&String> = Vec::new();
    for field in [was, wanted].into_iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if let Err(place) = fields.binary_search(&field) {
            fields.insert(place, field);
        }
    }
    let difference = |field: &String| Difference {
        field: field.clone(),
        was: was.get(field).cloned(),
        wanted: wanted.get(field).cloned(),
    };
    fields.into_iter().map(difference).filter(|difference| difference.was != difference.wanted).collect()
}
