//! A generated file that is paid for at most once, by whoever needs it first.
//!
//! Beside the file lies its receipt, `campfire.mp4.receipt.jsonl`, which is written before each step: commit both, and
//! nobody pays again. In a build script, [`build_script`](crate::build_script()) is what you want; elsewhere,
//! [`ensure`].
//!
//! # Example
//!
//! ```
//! # let emulator = kling::emulator::Emulator::start();
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("campfire.mp4");
//! use kling::{Asset, VideoRequest, asset};
//!
//! let campfire = Asset::new(&path, VideoRequest::new("A campfire, seamless loop"));
//! assert_eq!(campfire.state()?, asset::State::Missing);
//!
//! // With a key: Client::from_env. It is called only if there is something to make.
//! asset::ensure([&campfire], || Ok(emulator.client()))?;
//! assert_eq!(campfire.state()?, asset::State::Current);
//!
//! asset::ensure([&campfire], || panic!("nothing is left to do"))?;
//! assert_eq!(emulator.creates().len(), 1);
//! # Ok::<(), kling::Error>(())
//! ```

pub(crate) mod build_script;
mod receipt;
mod record;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::record::{Record, Stage};
use self::work::Made;
use crate::charged::Charged;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::request::VideoRequest;

/// A file, and the request for the video that it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    path: PathBuf,
    request: VideoRequest,
}

/// What there is of an [`Asset`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// The receipt says that the file was generated from this request, and it has the length that it says.
    Current,
    /// Nothing was generated, or what was tried was refused or has failed, which costs nothing.
    Missing,
    /// A file is there, and its receipt is not, or does not say what it was made from. It is never overwritten.
    Untracked,
    /// The file was generated from another request.
    Stale {
        /// What differs, by the names of the fields.
        differences: Vec<Difference>,
    },
    /// The generation exists, and its video is not here; a file that is there is not it, and will be replaced.
    InProgress {
        /// The generation to go on with.
        id: GenerationId,
    },
    /// A create was on its way, and nobody knows whether it was accepted.
    Unknown {
        /// The id that it was sent under; `None` if the receipt is torn.
        client_request_id: Option<String>,
    },
}

/// A field of a request that differs from the one of the receipt. `Display` is a line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// The field, as the service calls it.
    pub field: String,
    /// What the file was generated from, as JSON; `None` if the field was not set.
    pub was: Option<Value>,
    /// What is wanted; `None` if the field is not set.
    pub wanted: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::to_string);
        let (was, wanted) = (text(&self.was), text(&self.wanted));
        let same = was.chars().zip(wanted.chars()).take_while(|(was, wanted)| was == wanted).count();
        write!(f, "{}: {} → {}", self.field, around(&was, same), around(&wanted, same))
    }
}

/// A line's worth of a text around the place where it differs.
fn around(text: &str, place: usize) -> String {
    const LENGTH: usize = 60;
    const BEFORE: usize = 20;
    let length = text.chars().count();
    let start = place.saturating_sub(BEFORE).min(length.saturating_sub(LENGTH));
    let cut: String = text.chars().skip(start).take(LENGTH).collect();
    let (before, after) = (if start > 0 { "…" } else { "" }, if start + LENGTH < length { "…" } else { "" });
    format!("{before}{cut}{after}")
}

impl Asset {
    /// The file at this path, generated from this request. A relative path starts at the current folder; in
    /// [`build_script`](crate::build_script()), at the package's.
    ///
    /// A client request id of the request is not used: each create has one of its own, by which it can be looked up.
    pub fn new(path: impl Into<PathBuf>, request: VideoRequest) -> Self {
        Asset { path: path.into(), request: request.without_client_request_id() }
    }

    /// The place of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place of its receipt: the path of the file, and `.receipt.jsonl`.
    pub fn receipt_path(&self) -> PathBuf {
        receipt::path_of(&self.path)
    }

    /// What there is of the asset. It looks at the receipt and at the length of the file, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the receipt cannot be read, or is not one; [`Error::InvalidRequest`] if the request is nested
    /// too deeply to be kept.
    pub fn state(&self) -> Result<State> {
        self.state_of(&receipt::peek(&self.receipt_path())?, &self.wanted()?)
    }

    /// The request as a receipt has it.
    fn wanted(&self) -> Result<Value> {
        record::body(&self.request).map_err(work::unkeepable)
    }

    fn state_of(&self, record: &Record, wanted: &Value) -> Result<State> {
        let length = self.length().map_err(Error::io("look at", &self.path))?;
        if record.torn {
            return Ok(State::Unknown { client_request_id: None });
        }
        let Some(place) = record.entry_for(wanted) else {
            let other = record.entries.iter().rev().find(|entry| !matches!(entry.stage, Stage::Over));
            return Ok(match other {
                Some(other) => State::Stale { differences: differences(&other.request, wanted) },
                None if length.is_some() => State::Untracked,
                None => State::Missing,
            });
        };
        let entry = &record.entries[place];
        Ok(match &entry.stage {
            Stage::Completed(_, size) if length == Some(*size) && !record.is_followed(place) => State::Current,
            Stage::Created(id) | Stage::Completed(id, _) => State::InProgress { id: id.clone() },
            Stage::Requested | Stage::Over => {
                State::Unknown { client_request_id: Some(entry.client_request_id.clone()) }
            }
        })
    }

    /// Why the asset is not current, in words for a person.
    fn why(&self, state: &State) -> String {
        match state {
            State::Current => "it is".to_owned(),
            State::Missing => "it was not generated yet".to_owned(),
            State::Untracked => format!(
                "there is a file, but {} does not say what it was made from: restore the two from version control, or \
                 delete the file to have it generated",
                self.receipt_path().display(),
            ),
            State::Stale { differences } => {
                let lines: Vec<String> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
                format!("its request has changed{}", lines.concat())
            }
            State::InProgress { id } if self.is_there() => format!(
                "generation {id} is paid for, and the file is not its video: restore it from version control (`git lfs \
                 pull`, if it is kept there), or fetch it again"
            ),
            State::InProgress { id } => format!("generation {id} is paid for, and its video is not here"),
            State::Unknown { client_request_id: Some(_) } => {
                "a create was on its way, and nobody knows whether it was accepted".to_owned()
            }
            State::Unknown { client_request_id: None } => {
                "its receipt breaks off within its last line: restore it from version control".to_owned()
            }
        }
    }

    fn not_current(&self, reason: String) -> Error {
        Error::AssetNotCurrent { path: self.path.clone(), reason, charged: Charged::Perhaps }
    }

    /// What a person deletes who wants to pay again.
    fn what_to_delete(&self) -> String {
        let file = if self.is_there() { format!(" and {}", self.path.display()) } else { String::new() };
        format!("delete {}{file}", self.receipt_path().display())
    }

    /// Where a current asset was made, if not at the service itself.
    fn rehearsed_at(&self) -> Option<String> {
        let record = receipt::peek(&self.receipt_path()).ok()?;
        let place = record.entry_for(&self.wanted().ok()?)?;
        record.entries.into_iter().nth(place)?.server
    }

    /// The length of the file; `None` if there is none.
    fn length(&self) -> io::Result<Option<u64>> {
        match fs::metadata(&self.path) {
            Ok(there) => Ok(there.is_file().then_some(there.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_there(&self) -> bool {
        self.length().is_ok_and(|length| length.is_some())
    }
}

fn differences(was: &Value, wanted: &Value) -> Vec<Difference> {
    let names = |value: &Value| value.as_object().into_iter().flat_map(Map::keys).cloned().collect::<BTreeSet<_>>();
    let difference =
        |field: String| Difference { was: was.get(&field).cloned(), wanted: wanted.get(&field).cloned(), field };
    let all = &names(was) | &names(wanted);
    all.into_iter().map(difference).filter(|difference| difference.was != difference.wanted).collect()
}

/// Makes sure that the files of these assets are there, and returns their paths.
///
/// What is current is not touched; if all are, nothing is sent, written or locked, and `connect` is not called. What is
/// missing is generated, up to 4 at once; a generation that exists is gone on with instead. Each step is on the receipt
/// before the next is taken, and the receipt is locked meanwhile: of any number of threads, processes and interruptions
/// at most one create is accepted for a request. A file that fails costs the others nothing.
///
/// A request that has changed in any field is a new one: its generation is paid for, and replaces the file.
///
/// A file of another length than the receipt says is fetched again and replaced: keep an edited copy under another
/// name. A file that nobody knows to be generated from anything is not overwritten. If another process works on an
/// asset, it is waited for, for each at most as long as for a generation ([`Poll::max_wait`](crate::Poll::max_wait)).
///
/// # Errors
///
/// - [`Error::AssetsNotMade`], after all have ended, with the path and the error of each that failed:
///   - [`Error::OutcomeUnknown`]: a create was on its way when its process ended or its answer was lost, and the
///     service's logs do not show it. Its source names the receipt to delete in order to pay again.
///   - Those of [`Client::generate`] and [`Client::download`].
///   - [`Error::AssetNotCurrent`]: there is a file without a receipt, or its generation exists at another server.
///   - [`Error::Io`]: the receipt or the file cannot be written, or the receipt is not one.
/// - [`Error::InvalidConfig`]: two different requests are wanted in one place.
/// - What `connect` returns.
pub fn ensure<'a>(
    assets: impl IntoIterator<Item = &'a Asset>,
    connect: impl FnOnce() -> Result<Client>,
) -> Result<Vec<PathBuf>> {
    let assets: Vec<&Asset> = assets.into_iter().collect();
    all_made(work::make(&assets, connect, |_, _| {})?)?;
    Ok(assets.iter().map(|asset| asset.path.clone()).collect())
}

/// The error of those that failed, if any did.
fn all_made(made: Vec<Made<'_>>) -> Result<()> {
    let failed = |(asset, outcome): Made<'_>| Some((asset.path.clone(), outcome.err()?));
    let failed: Vec<_> = made.into_iter().filter_map(failed).collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::AssetsNotMade { failed }) }
}
