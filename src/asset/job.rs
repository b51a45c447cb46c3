//! The work on one asset: each step is recorded in the receipt before it is taken.

use std::fs;
use std::io;

use serde_json::Value;

use super::advice::{Advice, Lookup};
use super::attempt::{Attempt, Stage};
use super::event::{Event, Reason, request_json};
use super::journal::Journal;
use super::kept::{self, Fate};
use super::nearby::check_not_renamed;
use super::paths::Locked;
use super::receipt::Receipt;
use super::state::{Asset, Finding, State};
use crate::charged::Charged;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Video};
use crate::recover::Recovery;
use crate::request::VideoRequest;
use crate::temp_file::{check_writable, remove_leftovers};

/// Returns `true` if an asset is current, and `false` if it needs the service. Fails if it needs a person.
pub(super) fn check_without_client(asset: &Asset, all: &[&Asset]) -> Result<bool> {
    let (finding, journal) = match asset.inspect() {
        Ok(found) => found,
        // Windows does not let anybody read a file that another process has locked.
        Err(Error::Io { source, .. }) if source.kind() != io::ErrorKind::InvalidData => return Ok(false),
        Err(error) => return Err(error),
    };
    match &finding.state {
        State::Current(_) => Ok(true),
        state @ State::Untracked => {
            check_not_renamed(asset, state, all, None)?;
            Err(asset.not_current(Advice::new(asset, &finding, &journal).reason(state), state.charged()))
        }
        _ => Ok(false),
    }
}

/// An asset that is being generated.
pub(super) struct Job<'a> {
    /// The index of the asset in the caller's list.
    index: usize,
    asset: &'a Asset,
    client: Client,
    request: Value,
    receipt: Receipt,
    /// The contents of the receipt.
    journal: Journal,
    /// The client request id of the attempt that is in progress.
    client_request_id: String,
    /// An event that could not be appended yet.
    pending: Option<Event>,
}

/// The next step for an asset.
pub(super) enum Next {
    Create,
    WaitFor(GenerationId),
    Nothing,
}

impl<'a> Job<'a> {
    /// Locks the receipt and reads it. Returns `None` if this call works on the asset already.
    pub(super) fn start(
        index: usize,
        asset: &'a Asset,
        client: &Client,
        locked: &mut Locked<'a>,
        notify: impl Fn(&Asset, &str),
    ) -> Result<Option<Self>> {
        asset.request.validate()?;
        let request = request_json(&asset.request)?;
        let path = asset.receipt_path();
        if !locked.is_new(asset, &path)? {
            return Ok(None);
        }
        let on_wait = || notify(asset, "waiting for another process");
        let (receipt, journal) = Receipt::lock(path.clone(), client.poll().max_wait, on_wait)?;
        locked.add(asset, &path);
        remove_leftovers(asset.path());
        Ok(Some(Job {
            index,
            asset,
            client: client.clone(),
            request,
            receipt,
            journal,
            client_request_id: String::new(),
            pending: None,
        }))
    }

    /// Returns the index of the asset in the caller's list.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn asset(&self) -> &'a Asset {
        self.asset
    }

    pub(super) fn request(&self) -> &'a VideoRequest {
        &self.asset.request
    }

    /// Unlocks the receipt, so that other processes need not wait for the other assets.
    pub(super) fn unlock(&self) {
        self.receipt.unlock();
    }

    fn find(&self) -> Result<Finding> {
        self.asset.find(&self.journal, &self.request, Some(self.client.base_url()))
    }

    /// Returns the attempt that is in progress.
    fn attempt(&self) -> Option<&Attempt> {
        self.journal.attempts.iter().find(|attempt| attempt.client_request_id == self.client_request_id)
    }

    fn advice(&self) -> Advice<'_> {
        let file_len = self.asset.file_len().ok().flatten();
        Advice { asset: self.asset, journal: &self.journal, attempt: self.attempt(), file_len }
    }

    /// Decides how to continue, and looks up a create request whose outcome is unknown.
    ///
    /// `all` are the assets of this call. If it `is_afresh`, attempts on other emulators do not count.
    pub(super) fn plan(&mut self, all: &[&Asset], may_create: bool, is_afresh: bool) -> Result<Next> {
        let finding = self.find()?;
        if let Some(attempt) = finding.attempt_in(&self.journal) {
            let is_elsewhere = attempt.emulator_url().is_some_and(|server| server != self.client.base_url());
            if is_afresh && is_elsewhere && !finding.state.is_current() {
                self.check_existing()?;
                return Ok(Next::Create);
            }
            self.client_request_id = attempt.client_request_id.clone();
        }
        match finding.state {
            State::Current(_) => Ok(Next::Nothing),
            state @ (State::Missing | State::Stale { .. }) => {
                check_not_renamed(self.asset, &state, all, Some(self.client.base_url()))?;
                if !may_create {
                    return Err(self.asset.not_current(self.advice().reason(&state), state.charged()));
                }
                self.check_existing()?;
                Ok(Next::Create)
            }
            State::InProgress { id } | State::Ended { id, .. } => {
                if self.restore_kept()? {
                    return Ok(Next::Nothing);
                }
                self.check_existing()?;
                self.resume(finding.attempt)?;
                Ok(Next::WaitFor(id))
            }
            State::Unknown { client_request_id: Some(_) } => {
                self.resume(finding.attempt)?;
                self.recover(all, may_create, is_afresh)
            }
            state @ State::Unknown { client_request_id: None } => {
                let id = self.journal.torn.as_ref().and_then(|torn| torn.client_request_id.clone());
                let source = self.asset.not_current(self.advice().reason(&state), state.charged());
                Err(unknown(id.unwrap_or_else(|| "(lost)".to_owned()), source))
            }
            state @ State::Untracked => Err(self.asset.not_current(self.advice().reason(&state), state.charged())),
        }
    }

    /// Re-appends an earlier request: from here on, the file may be replaced by its video.
    fn resume(&mut self, index: Option<usize>) -> Result<()> {
        let (Some(index), Some(attempt)) = (index, self.attempt()) else { return Ok(()) };
        let (server, here) = (attempt.server(), self.client.base_url());
        if server != here {
            let charged = if attempt.stage() == Stage::Requested { Charged::Perhaps } else { Charged::Yes };
            return Err(self.asset.not_current(self.advice().other_server(server, here), charged));
        }
        if index + 1 < self.journal.attempts.len() { self.append_requested() } else { Ok(()) }
    }

    /// Finds the generation of a create request whose response was lost or not recorded.
    fn recover(&mut self, all: &[&Asset], may_create: bool, is_afresh: bool) -> Result<Next> {
        match self.client.recover(&self.client_request_id) {
            Ok(Recovery::Found(id)) => {
                self.append_created(&id).map_err(|error| error.or_unfinished(&id))?;
                Ok(Next::WaitFor(id))
            }
            Ok(Recovery::NotListed) => Err(self.unknown(&Lookup::NotListed)),
            Ok(Recovery::NotCharged) => {
                self.append_refused("the logs say that it failed and was not charged".to_owned())?;
                // A receipt that was merged may hold another attempt.
                self.plan(all, may_create, is_afresh)
            }
            Err(Error::OutcomeUnknown { source, .. }) => Err(self.unknown(&Lookup::Failed(&source))),
            Err(error) => Err(self.unknown(&Lookup::Failed(&error))),
        }
    }

    /// Prepares a create request. Fails if the video could not be stored, so that nothing is paid for in vain.
    pub(super) fn before_create(&mut self, client_request_id: &str) -> Result<()> {
        check_writable(self.asset.path())?;
        self.check_existing()?;
        self.client_request_id = client_request_id.to_owned();
        self.append_requested()
    }

    fn append_requested(&mut self) -> Result<()> {
        let server = self.attempt().map_or(self.client.base_url(), Attempt::server);
        self.append(Event::requested(&self.client_request_id, server, &self.asset.request)?)
    }

    /// Returns what becomes of the file that is there.
    fn fate(&self) -> Result<Fate> {
        kept::fate(self.asset, &self.journal, Some(self.client.base_url()), &self.client_request_id)
    }

    /// Fails if the file that is there must stay, before anything is paid for or fetched.
    fn check_existing(&self) -> Result<()> {
        let fate = self.fate()?;
        // A run that was killed may have placed the video without recording it. Only its content shows that.
        let may_be_the_video = fate == Fate::StaysUnrecorded && self.attempt().is_some_and(Attempt::is_open);
        if may_be_the_video { Ok(()) } else { kept::check(self.asset, &fate) }
    }

    /// Puts the video back that was kept when another one took its place. Returns `false` if none was kept.
    fn restore_kept(&mut self) -> Result<bool> {
        let Some(attempt) = self.attempt() else { return Ok(false) };
        let (path, cost) = (self.asset.path(), attempt.cost());
        let Some(kept) = kept::find(path, attempt) else { return Ok(false) };
        let file_size = fs::metadata(&kept).map_err(Error::io("read the metadata of", &kept))?.len();
        let fate = self.fate()?;
        kept::check(self.asset, &fate)?;
        self.append_requested()?;
        if let Fate::Kept(previous) = fate {
            kept::keep(path, &previous)?;
        }
        kept::keep(&kept, path)?;
        self.append(Event::completed(&self.client_request_id, file_size, cost))?;
        Ok(true)
    }

    pub(super) fn append_created(&mut self, id: &GenerationId) -> Result<()> {
        self.append(Event::created(&self.client_request_id, id.clone()))
    }

    pub(super) fn append_refused(&mut self, reason: String) -> Result<()> {
        self.append(Event::Refused(Reason::new(&self.client_request_id, reason)))
    }

    /// Records that the generation ended and may have been charged, unless the receipt says so already.
    fn append_ended(&mut self, reason: String) -> Result<()> {
        let is_recorded = self.attempt().is_some_and(|attempt| attempt.has_ended(&reason));
        let event = Event::Ended(Reason::new(&self.client_request_id, reason));
        if is_recorded { Ok(()) } else { self.append(event) }
    }

    /// Appends an event, and before it one that could not be appended. If the outcome of a create request cannot be
    /// appended, it is kept for the next call.
    fn append(&mut self, event: Event) -> Result<()> {
        if let Some(pending) = self.pending.take() {
            self.append(pending)?;
        }
        let appended = self.receipt.append(&event);
        if appended.is_ok() {
            self.journal.apply(event);
        } else if matches!(event, Event::Created { .. } | Event::Refused(_)) {
            self.pending = Some(event);
        }
        appended
    }

    /// Appends an event that could not be appended before. If this fails again, the error of the outcome has the id.
    fn flush_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            let _ = self.append(pending);
        }
    }

    /// Stores the video, or records the failure, and unlocks the receipt.
    pub(super) fn finish(&mut self, result: Result<Video>) -> Result<Video> {
        self.flush_pending();
        let stored = result.and_then(|video| match self.store_video(&video) {
            Ok(()) => Ok(video),
            Err(error) => Err(error.or_unfinished(&video.id)),
        });
        let result = stored.map_err(|error| self.record_failure(error));
        self.unlock();
        result
    }

    fn store_video(&mut self, video: &Video) -> Result<()> {
        self.check_placement()?;
        let temp = self.client.fetch(video, self.asset.path())?;
        self.check_placement()?;
        let file_size = kept::place(self.asset, temp, self.fate()?)?;
        self.append(Event::completed(&self.client_request_id, file_size, video.usage.unwrap_or_default()))
    }

    /// Checks that the video may be moved to its path. A file there may belong to another receipt by now. If
    /// there is no file, the video is stored even if the receipt is gone.
    fn check_placement(&self) -> Result<()> {
        if self.asset.exists() { self.receipt.check_in_place() } else { Ok(()) }
    }

    /// Records why the video was not received, and returns the error with what to do about it.
    fn record_failure(&mut self, error: Error) -> Error {
        match error {
            Error::OutcomeUnknown { source, .. } => self.unknown(&Lookup::Sent(&source)),
            // Without this event, the outcome would count as unknown.
            Error::NotSent { .. } | Error::Refused { .. } => {
                self.append_refused(error.to_string()).err().unwrap_or(error)
            }
            Error::Failed { ref id, ref failure } => {
                let reason = failure.to_string();
                let was_completed = matches!(self.attempt().map(Attempt::stage), Some(Stage::Completed(_)));
                // If an event cannot be appended, the next run polls again.
                if was_completed || !failure.is_free() {
                    let advice = self.advice().ended(id, &reason);
                    let _ = if was_completed { Ok(()) } else { self.append_ended(reason) };
                    let charged = if was_completed { Charged::Yes } else { Charged::Perhaps };
                    return self.asset.not_current(advice, charged).or_unfinished(id);
                }
                let _ = self.append(Event::Failed(Reason::new(&self.client_request_id, reason)));
                error
            }
            Error::Unfinished { ref id, ref source } | Error::UnknownGeneration { ref id, ref source } => {
                match self.advice().gone(source) {
                    Some(reason) => self.asset.not_current(reason, Charged::Yes).or_unfinished(id),
                    None => error,
                }
            }
            error => error,
        }
    }

    fn unknown(&self, lookup: &Lookup<'_>) -> Error {
        let source = self.asset.not_current(self.advice().unknown(lookup), Charged::Perhaps);
        unknown(self.client_request_id.clone(), source)
    }
}

fn unknown(client_request_id: String, source: Error) -> Error {
    Error::OutcomeUnknown { client_request_id, source: Box::new(source) }
}
