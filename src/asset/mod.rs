//! A generated file that is paid for at most once, by whoever needs it first.
//!
//! Beside the file lies its receipt, `campfire.mp4.receipt.jsonl`, which is written before each step: commit both, and
//! nobody pays again. In a build script, [`build_script`](crate::build_script()) is what you want; elsewhere, [`ensure`].
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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::receipt::{Entry, Line, Receipt, Record, Stage};
use crate::batch::Turn;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Video};
use crate::request::VideoRequest;
use crate::save::can_be_saved;

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
    /// The file is there, and was generated from this request.
    Current,
    /// Nothing was generated, or what was tried was refused or has failed, which costs nothing.
    Missing,
    /// Nothing was generated from this request yet, but from another one.
    Stale {
        /// What differs, by the names of the fields.
        differences: Vec<Difference>,
    },
    /// The generation exists, and its video is not here.
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
        let short = |value: &Option<Value>| match value {
            None => "not set".to_owned(),
            Some(value) => {
                let text = value.to_string();
                let cut: String = text.chars().take(50).collect();
                if cut.len() < text.len() { cut + "…" } else { cut }
            }
        };
        write!(f, "{}: {} → {}", self.field, short(&self.was), short(&self.wanted))
    }
}

impl Asset {
    /// The file at this path, generated from this request.
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
    /// [`Error::Io`] if the receipt cannot be read, or is none.
    pub fn state(&self) -> Result<State> {
        Ok(self.state_of(&receipt::peek(&self.receipt_path())?))
    }

    fn state_of(&self, record: &Record) -> State {
        if record.torn {
            return State::Unknown { client_request_id: None };
        }
        let wanted = receipt::body(&self.request);
        let Some(place) = record.entry_for(&wanted) else {
            let other = record.entries.iter().rev().find(|entry| !matches!(entry.stage, Stage::Over));
            let stale = |other: &Entry| State::Stale { differences: differences(&other.request, &wanted) };
            return other.filter(|other| other.request != wanted).map_or(State::Missing, stale);
        };
        let entry = &record.entries[place];
        match &entry.stage {
            Stage::Completed(_, size) if self.has_length(*size) && !record.is_followed(place) => State::Current,
            Stage::Created(id) | Stage::Completed(id, _) => State::InProgress { id: id.clone() },
            Stage::Requested | Stage::Over => {
                State::Unknown { client_request_id: Some(entry.client_request_id.clone()) }
            }
        }
    }

    fn has_length(&self, length: u64) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.is_file() && file.len() == length)
    }
}

fn differences(was: &Value, wanted: &Value) -> Vec<Difference> {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (was, wanted) = (fields(was), fields(wanted));
    let names: BTreeSet<&String> = was.keys().chain(wanted.keys()).collect();
    let differing = names.into_iter().filter(|name| was.get(*name) != wanted.get(*name));
    differing
        .map(|name| Difference { field: name.clone(), was: was.get(name).cloned(), wanted: wanted.get(name).cloned() })
        .collect()
}

/// Makes sure that the files of these assets are there, and returns their paths.
///
/// What is current is not touched; if all are, nothing is sent, written or locked, and `connect` is not called. What is
/// missing is generated, all together; a generation that exists is gone on with instead. Each step is on the receipt
/// before the next is taken, and the receipt is locked meanwhile: of any number of threads, processes and interruptions
/// at most one create is accepted for a request. A file that fails costs the others nothing.
///
/// A request that has changed in any field is a new one: its generation is paid for, and replaces the file.
///
/// # Errors
///
/// The first one, after all have ended:
///
/// - [`Error::OutcomeUnknown`]: a create was on its way when its process ended or its answer was lost, and the service's
///   logs do not show it. Its source names the receipt to delete in order to pay again.
/// - Those of [`Client::generate`] and [`Client::download`], and what `connect` returns.
/// - [`Error::InvalidConfig`]: two different requests are wanted in one place.
/// - [`Error::Io`]: the receipt or the file cannot be written, or the receipt is none.
pub fn ensure<'a>(
    assets: impl IntoIterator<Item = &'a Asset>,
    connect: impl FnOnce() -> Result<Client>,
) -> Result<Vec<PathBuf>> {
    let assets: Vec<&Asset> = assets.into_iter().collect();
    let made = make(&assets, connect, |_, _| {});
    made.and_then(|made| made.into_iter().try_for_each(|(_, outcome)| outcome.map(drop)))?;
    Ok(assets.iter().map(|asset| asset.path.clone()).collect())
}

/// Makes what is not current, and tells of each how it ended, in order. `tell` hears of each step.
fn make<'a>(
    assets: &[&'a Asset],
    connect: impl FnOnce() -> Result<Client>,
    tell: impl Fn(&Asset, &str),
) -> Result<Vec<(&'a Asset, Result<Video>)>> {
    let mut due = Vec::new();
    for asset in by_place(assets)? {
        if asset.state()? != State::Current {
            due.push(asset);
        }
    }
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let client = connect()?;
    for asset in &due {
        receipt::make_folder(&asset.path)?;
    }
    let mut works = Vec::new();
    // Once more: with their folders there, two ways to one place can be told.
    for asset in by_place(&due)? {
        works.push(Work::lock(asset)?);
    }
    run(&client, &mut works, tell);
    Ok(works.into_iter().filter_map(|work| Some((work.asset, work.outcome?))).collect())
}

/// The assets without repetitions, in the order of their places: two processes that lock the same receipts do not wait
/// for each other.
fn by_place<'a>(assets: &[&'a Asset]) -> Result<Vec<&'a Asset>> {
    let mut places: BTreeMap<PathBuf, &Asset> = BTreeMap::new();
    for asset in assets {
        let other = places.insert(place(&asset.path), asset);
        if other.is_some_and(|other| other.request != asset.request) {
            let reason = format!("{} is wanted from two different requests", asset.path.display());
            return Err(Error::InvalidConfig { what: "assets", reason });
        }
    }
    Ok(places.into_values().collect())
}

/// A path by which one file has one name: locking its receipt twice would wait for ever.
fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// An asset that is worked on.
struct Work<'a> {
    asset: &'a Asset,
    receipt: Receipt,
    record: Record,
    /// A line that could not be written yet.
    unwritten: Option<Line>,
    /// How it ended; `None` also if another process has finished it in the meantime.
    outcome: Option<Result<Video>>,
}

impl<'a> Work<'a> {
    fn lock(asset: &'a Asset) -> Result<Self> {
        let (receipt, record) = Receipt::lock(asset.receipt_path())?;
        Ok(Work { asset, receipt, record, unwritten: None, outcome: None })
    }

    fn append(&mut self, line: &Line) -> Result<()> {
        self.write_what_is_left()?;
        self.receipt.append(line)
    }

    fn write_what_is_left(&mut self) -> Result<()> {
        if let Some(earlier) = &self.unwritten {
            self.receipt.append(earlier)?;
            self.unwritten = None;
        }
        Ok(())
    }

    /// Puts an earlier request at the end of the receipt again: the lines that follow are about the last one.
    fn take_up(&mut self) -> Result<()> {
        let place = self.record.entry_for(&receipt::body(&self.asset.request));
        let Some(place) = place.filter(|place| place + 1 < self.record.entries.len()) else { return Ok(()) };
        let Entry { client_request_id, stage, .. } = self.record.entries[place].clone();
        self.append(&Line::requested(client_request_id, &self.asset.request))?;
        match stage {
            Stage::Created(id) | Stage::Completed(id, _) => self.append(&Line::Created { id }),
            Stage::Requested | Stage::Over => Ok(()),
        }
    }

    /// Whether this generation once was completed. That it is not any more does not mean that it cost nothing.
    fn was_completed(&self) -> bool {
        let place = self.record.entry_for(&receipt::body(&self.asset.request));
        place.is_some_and(|place| matches!(self.record.entries[place].stage, Stage::Completed(..)))
    }

    /// Ends with this outcome, and puts on the receipt what costs nothing and need not be gone on with.
    fn end(&mut self, client: &Client, outcome: Result<Video>) {
        // If that fails once more, the error of the outcome has the id.
        let _ = self.write_what_is_left();
        let outcome = match outcome {
            Ok(video) => self.receive(client, video),
            Err(error) => {
                let reason = error.to_string();
                let line = match &error {
                    Error::NotSent { .. } | Error::Refused { .. } => Some(Line::Refused { reason }),
                    Error::Failed { .. } if !self.was_completed() => Some(Line::Failed { reason }),
                    _ => None,
                };
                match (line.map(|line| self.append(&line)), error) {
                    (Some(Err(unwritten)), _) => Err(unwritten),
                    (_, Error::OutcomeUnknown { client_request_id, source }) => {
                        Err(self.unknown(client_request_id, source))
                    }
                    (_, error) => Err(error),
                }
            }
        };
        self.outcome = Some(outcome);
    }

    fn receive(&mut self, client: &Client, video: Video) -> Result<Video> {
        let file_size = client.download(&video, &self.asset.path)?;
        let credits = video.usage.and_then(|usage| usage.credits);
        self.append(&Line::Completed { file_size, credits }).map_err(|error| error.about(&video.id))?;
        Ok(video)
    }

    /// Only a person can decide to pay again, so the error names the file to delete.
    fn unknown(&self, client_request_id: String, why: impl fmt::Display) -> Error {
        let receipt = self.asset.receipt_path();
        let reason = format!("{why}; to generate it again, and perhaps to pay again, delete {}", receipt.display());
        let source = Box::new(Error::AssetNotCurrent { path: self.asset.path.clone(), reason });
        Error::OutcomeUnknown { client_request_id, source }
    }

    /// Finds the generation of a create whose answer was lost or not recorded; `None` if it cost nothing.
    fn recover(&mut self, client: &Client, client_request_id: Option<String>) -> Result<Option<GenerationId>> {
        let Some(client_request_id) = client_request_id else {
            return Err(self.unknown("(torn)".to_owned(), "its receipt breaks off within a line"));
        };
        match client.recover(&client_request_id) {
            Ok(Some(id)) => {
                self.append(&Line::Created { id: id.clone() }).map_err(|error| error.about(&id))?;
                Ok(Some(id))
            }
            Ok(None) => {
                Err(self
                    .unknown(client_request_id, "the logs do not show its create yet: run this again in some minutes"))
            }
            Err(error @ Error::NotCharged { .. }) => {
                self.append(&Line::Refused { reason: error.to_string() })?;
                Ok(None)
            }
            // It could not be looked up: that is no reason to pay again.
            Err(error) => Err(Error::OutcomeUnknown { client_request_id, source: Box::new(error) }),
        }
    }
}

/// Brings all of them to an end, in flight together.
fn run(client: &Client, works: &mut [Work<'_>], tell: impl Fn(&Asset, &str)) {
    let mut to_create = Vec::new();
    let mut to_wait_for = Vec::new();
    for (index, work) in works.iter_mut().enumerate() {
        let state = work.asset.state_of(&work.record);
        if matches!(state, State::InProgress { .. } | State::Unknown { .. })
            && let Err(error) = work.take_up()
        {
            work.outcome = Some(Err(error));
            continue;
        }
        match state {
            State::Current => {}
            State::Missing | State::Stale { .. } => to_create.push((index, work.asset.request.clone())),
            State::InProgress { id } => to_wait_for.push((index, id)),
            State::Unknown { client_request_id } => match work.recover(client, client_request_id) {
                Ok(Some(id)) => to_wait_for.push((index, id)),
                Ok(None) => to_create.push((index, work.asset.request.clone())),
                Err(error) => work.outcome = Some(Err(error)),
            },
        }
    }
    let mut batch = client.batch(to_create);
    for (index, id) in to_wait_for {
        tell(works[index].asset, &format!("goes on with {id}"));
        batch.wait_for(index, id);
    }
    while let Some(turn) = batch.turn() {
        match turn {
            Turn::Nothing => {}
            Turn::Sends(index, client_request_id) => {
                let work = &mut works[index];
                let line = Line::requested(client_request_id, &work.asset.request);
                // Nothing is paid for what could not be kept.
                if let Err(error) = can_be_saved(&work.asset.path).and_then(|()| work.append(&line)) {
                    batch.call_off();
                    work.outcome = Some(Err(error));
                }
            }
            Turn::NotAccepted(index) => {
                let work = &mut works[index];
                // Without this line the next one would still say that a request is on its way: nothing is lost.
                let _ = work.append(&Line::Refused { reason: "not accepted, and sent again".to_owned() });
            }
            Turn::Created(index, id) => {
                let work = &mut works[index];
                tell(work.asset, &format!("created {id}"));
                let line = Line::Created { id };
                // The generation is paid for: it is waited for also when the disk is full by now.
                if work.append(&line).is_err() {
                    work.unwritten = Some(line);
                }
            }
            Turn::Ended(index, outcome) => {
                works[index].end(client, outcome);
                let said = works[index].outcome.as_ref().map(|outcome| match outcome {
                    Ok(_) => "made".to_owned(),
                    Err(error) => error.to_string(),
                });
                tell(works[index].asset, &said.unwrap_or_default());
            }
        }
    }
}
