//! Makes what is not current: locks, looks up, creates, waits, downloads, and writes each step to the receipt first.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::receipt::Receipt;
use super::record::{Entry, Line, Record};
use super::{Asset, State};
use crate::builder::SERVICE;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::recover::Recovery;
use crate::save::{check_writable, parent_dir, remove_leftovers};
use crate::update::Update;

/// How many receipts are open and locked at once. Some systems let a process open no more than 256 files.
const LOCKED_AT_ONCE: usize = 16;

/// An asset, and how it ended.
pub(super) type Made<'a> = (&'a Asset, Result<Video>);

/// Makes what is not current, and tells of each how it ended. `tell` hears of each step.
pub(super) fn make<'a>(
    assets: &[&'a Asset],
    connect: impl FnOnce() -> Result<Client>,
    tell: impl Fn(&Asset, &str),
) -> Result<Vec<Made<'a>>> {
    let mut made = Vec::new();
    let mut due = Vec::new();
    for asset in by_place(assets)? {
        match asset.state() {
            Ok(State::Current) => {}
            Ok(State::Untracked) => made.push((asset, Err(asset.not_current(asset.why(&State::Untracked))))),
            // Windows lets nobody read what another process has locked, and so works on.
            Err(Error::Io { source, .. }) if source.kind() != io::ErrorKind::InvalidData => due.push(asset),
            Ok(_) => due.push(asset),
            Err(error) => made.push((asset, Err(error))),
        }
    }
    if due.is_empty() {
        return Ok(made);
    }
    let client = connect()?;
    due.retain(|asset| {
        let folder = parent_dir(&asset.path);
        let created = fs::create_dir_all(folder).map_err(Error::io("create the folder", folder));
        created.map_err(|error| made.push((*asset, Err(error)))).is_ok()
    });
    // Once more: with their folders there, two ways to one place can be told.
    for together in by_place(&due)?.chunks(LOCKED_AT_ONCE) {
        let mut works = Vec::new();
        for asset in together {
            match Work::lock(asset, &client, &tell) {
                Ok(work) => works.push(work),
                Err(error) => made.push((asset, Err(error))),
            }
        }
        run(&client, &mut works, &tell);
        made.extend(works.into_iter().filter_map(|work| Some((work.asset, work.outcome?))));
    }
    Ok(made)
}

/// The assets without repetitions, in the order of their places: processes that lock the same receipts do not wait for
/// each other in a circle.
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

/// A path by which one file has one name: to lock its receipt twice would be to wait for oneself.
fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// What to do about a create that may have been accepted.
const LOOK_AGAIN: &str = "run this again in some minutes, which looks it up";

/// An asset that is worked on.
struct Work<'a, 'c> {
    asset: &'a Asset,
    client: &'c Client,
    /// The request as a receipt has it.
    wanted: Value,
    receipt: Receipt,
    /// What the receipt says by now.
    record: Record,
    /// A line that could not be written yet.
    unwritten: Option<Line>,
    /// The last status that was told.
    told: String,
    /// How it ended; `None` also if another process has finished it in the meantime.
    outcome: Option<Result<Video>>,
}

/// How an asset goes on.
enum Next {
    Create,
    WaitFor(GenerationId),
    Nothing,
}

/// Brings all of them to an end, in flight together.
fn run(client: &Client, works: &mut [Work<'_, '_>], tell: impl Fn(&Asset, &str)) {
    let mut to_create = Vec::new();
    let mut to_wait_for = Vec::new();
    for (index, work) in works.iter_mut().enumerate() {
        match work.begin() {
            Ok(Next::Create) => to_create.push((index, work.asset.request.clone())),
            Ok(Next::WaitFor(id)) => to_wait_for.push((index, id)),
            Ok(Next::Nothing) => work.receipt.release(),
            Err(error) => work.finish(Err(error)),
        }
    }
    let mut batch = client.batch(to_create);
    for (index, id) in to_wait_for {
        tell(works[index].asset, &format!("goes on with generation {id}"));
        batch.wait_for(index, id);
    }
    let mut updates = batch.updates();
    while let Some((index, update)) = updates.next() {
        match update {
            Update::Sending { client_request_id } => {
                if let Err(error) = works[index].announce(client_request_id) {
                    updates.withdraw();
                    works[index].finish(Err(error));
                }
            }
            Update::Retrying(_) => {
                // If it cannot be written, nothing is sent before it is.
                let _ = works[index].append(Line::Refused { reason: "not accepted, and sent again".to_owned() });
                tell(works[index].asset, "was not accepted, and is sent again");
            }
            Update::Created(id) => {
                // The generation is paid for: it is waited for also when the disk is full by now.
                let _ = works[index].append(Line::Created { id: id.clone() });
                tell(works[index].asset, &format!("created generation {id}"));
            }
            Update::Status(status) => works[index].tell_status(&status, &tell),
            Update::Missed(_) => {}
            Update::Finished(outcome) => {
                tell(works[index].asset, if outcome.is_ok() { "downloads" } else { "stopped" });
                works[index].end(outcome);
            }
        }
    }
}

impl<'a, 'c> Work<'a, 'c> {
    fn lock(asset: &'a Asset, client: &'c Client, tell: impl Fn(&Asset, &str)) -> Result<Self> {
        asset.request.validate()?;
        let wanted = asset.wanted()?;
        let waits = || tell(asset, "waits for another process that works on it");
        let (receipt, record) = Receipt::lock(asset.receipt_path(), client.poll().max_wait, waits)?;
        remove_leftovers(&asset.path);
        Ok(Work { asset, client, wanted, receipt, record, unwritten: None, told: String::new(), outcome: None })
    }

    /// The entry of the receipt that counts for the request.
    fn entry(&self) -> Option<&Entry> {
        self.record.entry_for(&self.wanted).map(|place| &self.record.entries[place])
    }

    /// Looks up what was left unfinished.
    fn begin(&mut self) -> Result<Next> {
        match self.asset.state_of(&self.record, &self.wanted)? {
            State::Current => Ok(Next::Nothing),
            State::Missing | State::Stale { .. } => Ok(Next::Create),
            State::InProgress { id } => {
                self.take_up()?;
                Ok(Next::WaitFor(id))
            }
            State::Unknown { client_request_id: Some(client_request_id) } => {
                self.take_up()?;
                self.recover(client_request_id)
            }
            state @ State::Unknown { client_request_id: None } => {
                Err(self.unknown("(lost)".to_owned(), self.asset.why(&state)))
            }
            state @ State::Untracked => Err(self.asset.not_current(self.asset.why(&state))),
        }
    }

    /// A generation is known where it was created, and nowhere else.
    fn check_server(&self) -> Result<()> {
        let server = self.entry().and_then(|entry| entry.server.as_deref()).unwrap_or(SERVICE);
        let here = self.client.base_url();
        if server == here {
            return Ok(());
        }
        let reason = format!(
            "its generation was created at {server}, and this client speaks to {here}: to go on, speak to {server} \
             (AIML_API_BASE); to generate it at {here}, {}",
            self.asset.what_to_delete(),
        );
        Err(self.asset.not_current(reason))
    }

    /// Puts an earlier create at the end of the receipt again: the lines that follow are about the last one.
    fn take_up(&mut self) -> Result<()> {
        self.check_server()?;
        let place = self.record.entry_for(&self.wanted);
        let Some(place) = place.filter(|place| place + 1 < self.record.entries.len()) else { return Ok(()) };
        self.request(self.record.entries[place].client_request_id.clone())
    }

    /// Finds the generation of a create whose answer was lost or not recorded.
    fn recover(&mut self, client_request_id: String) -> Result<Next> {
        match self.client.recover(&client_request_id) {
            Ok(Recovery::Found(id)) => {
                self.append(Line::Created { id: id.clone() }).map_err(|error| error.or_unfinished(&id))?;
                Ok(Next::WaitFor(id))
            }
            Ok(Recovery::NotListed) => Err(self.unknown(
                client_request_id,
                format!("the logs of the last 7 days do not show its create: {LOOK_AGAIN}"),
            )),
            Ok(Recovery::NotCharged) => {
                self.append(Line::Refused { reason: "the logs say that it failed and was not charged".to_owned() })?;
                // Receipts that were joined, as a merge does it, may know of another create.
                self.begin()
            }
            // It could not be looked up: that is no reason to pay again.
            Err(error) => Err(Error::OutcomeUnknown { client_request_id, source: Box::new(error) }),
        }
    }

    /// Makes ready for a create. Nothing is paid for what could not be kept.
    fn announce(&mut self, client_request_id: String) -> Result<()> {
        check_writable(&self.asset.path)?;
        self.request(client_request_id)
    }

    fn request(&mut self, client_request_id: String) -> Result<()> {
        let server = Some(self.client.base_url()).filter(|server| *server != SERVICE);
        let line = Line::requested(client_request_id, server, &self.asset.request).map_err(unkeepable)?;
        self.append(line)
    }

    /// Appends a line, after one that could not be written before. What has become of a create is kept until it can be.
    fn append(&mut self, line: Line) -> Result<()> {
        self.write_what_is_left()?;
        let written = self.receipt.append(&line);
        if written.is_ok() {
            self.record.follow(line);
        } else if matches!(line, Line::Created { .. } | Line::Refused { .. }) {
            self.unwritten = Some(line);
        }
        written
    }

    fn write_what_is_left(&mut self) -> Result<()> {
        self.unwritten.take().map_or(Ok(()), |earlier| self.append(earlier))
    }

    fn tell_status(&mut self, status: &Status, tell: impl Fn(&Asset, &str)) {
        if status.is_finished() {
            return;
        }
        let status = status.to_string();
        if status != self.told {
            tell(self.asset, &status);
            self.told = status;
        }
    }

    /// Ends with this outcome, and puts on the receipt what costs nothing and need not be gone on with.
    fn end(&mut self, outcome: Result<Video>) {
        // If that fails once more, the error of the outcome has the id.
        let _ = self.write_what_is_left();
        let outcome = match outcome {
            Ok(video) => self.receive(&video).map_err(|error| error.or_unfinished(&video.id)).map(|()| video),
            Err(error) => Err(error),
        };
        let outcome = outcome.map_err(|error| self.note(error));
        self.finish(outcome);
    }

    /// Others need not wait until all have ended.
    fn finish(&mut self, outcome: Result<Video>) {
        self.outcome = Some(outcome);
        self.receipt.release();
    }

    fn receive(&mut self, video: &Video) -> Result<()> {
        self.check_placement()?;
        let temp = self.client.fetch(video, &self.asset.path)?;
        self.check_placement()?;
        let file_size = temp.persist()?;
        let credits = video.usage.and_then(|usage| usage.credits);
        self.append(Line::completed(file_size, credits))
    }

    /// Checks that the video may be moved to its path. A file there may belong to another receipt by now; where there
    /// is none, the video is kept even if the receipt is gone.
    fn check_placement(&self) -> Result<()> {
        if self.asset.is_there() { self.receipt.check() } else { Ok(()) }
    }

    fn note(&mut self, error: Error) -> Error {
        let reason = error.to_string();
        match error {
            Error::OutcomeUnknown { client_request_id, source } => {
                self.unknown(client_request_id, format!("{source}: {LOOK_AGAIN}"))
            }
            // The create costs nothing, but the receipt would go on to say that nobody knows.
            Error::NotSent { .. } | Error::Refused { .. } => {
                self.append(Line::Refused { reason }).err().unwrap_or(error)
            }
            Error::Failed { .. } if !self.entry().is_some_and(|entry| entry.was_completed) => {
                // Without this line the next run hears the same again.
                let _ = self.append(Line::Failed { reason });
                error
            }
            Error::Unfinished { id, source } if is_gone(&source) => {
                let delete = self.asset.what_to_delete();
                let reason = format!(
                    "{source}; if it was a rehearsal, or is too old, {delete} to generate it again, and to pay again"
                );
                self.asset.not_current(reason).or_unfinished(&id)
            }
            error => error,
        }
    }

    /// Only a person can decide to pay again, so the error names the file to delete.
    fn unknown(&self, client_request_id: String, why: impl fmt::Display) -> Error {
        let delete = self.asset.what_to_delete();
        let source = self.asset.not_current(format!("{why}; to generate it again, and perhaps to pay again, {delete}"));
        Error::OutcomeUnknown { client_request_id, source: Box::new(source) }
    }
}

/// Whether a server says that a generation, or its file, is not there any more.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 404, .. } | Error::UnexpectedResponse { status: 403 | 404 | 410, .. })
}

/// Refuses a request that a receipt could not give back.
pub(super) fn unkeepable(error: serde_json::Error) -> Error {
    Error::InvalidRequest { field: "request".to_owned(), reason: format!("a receipt cannot keep it: {error}") }
}
