//! Generating the assets that are not current: each step is recorded in the receipt before it is taken.

use std::io;

use serde_json::Value;

use super::advice::{Advice, Lookup};
use super::attempt::{Attempt, Stage};
use super::event::{Event, Reason, request_json};
use super::journal::Journal;
use super::paths::{Locked, create_dir_synced, dedup_by_path};
use super::receipt::Receipt;
use super::state::{Asset, Finding, State};
use crate::charged::Charged;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::recover::Recovery;
use crate::save::{check_writable, parent_dir, remove_leftovers};
use crate::update::Update;

/// How many receipts are open and locked at once. Some systems limit a process to 256 open files.
const MAX_LOCKED: usize = 16;

/// An asset, and the result of a run.
pub(super) struct Outcome<'a> {
    pub(super) asset: &'a Asset,
    /// The video that was received; `None` if the file was current already.
    pub(super) result: Result<Option<Video>>,
    /// The warning about a file that an emulator made.
    pub(super) rehearsal: Option<String>,
}

impl<'a> Outcome<'a> {
    fn failed(asset: &'a Asset, error: Error) -> Self {
        Outcome { asset, result: Err(error), rehearsal: None }
    }
}

/// Generates the assets that are not current, and returns the outcome of each asset. `progress` is called for every
/// step, after it has been recorded.
pub(super) fn generate_missing<'a>(
    assets: &[&'a Asset],
    connect: impl FnOnce() -> Result<Client>,
    progress: impl Fn(&Asset, &str),
) -> Result<Vec<Outcome<'a>>> {
    let mut outcomes = Vec::new();
    let mut due = Vec::new();
    for asset in dedup_by_path(assets)? {
        match without_client(asset) {
            Some(outcome) => outcomes.push(outcome),
            None => due.push(asset),
        }
    }
    if due.is_empty() {
        return Ok(outcomes);
    }
    let client = connect()?;
    due.retain(|asset| {
        let directory = parent_dir(asset.path());
        let created = create_dir_synced(directory).map_err(Error::io("create the directory", directory));
        created.map_err(|error| outcomes.push(Outcome::failed(asset, error))).is_ok()
    });
    // Again: two spellings of one path can only be compared once the directory exists.
    let mut locked = Locked::default();
    for chunk in dedup_by_path(&due)?.chunks(MAX_LOCKED) {
        let mut jobs = Vec::new();
        for asset in chunk {
            match Job::start(asset, &client, &mut locked, &progress) {
                Ok(job) => jobs.extend(job),
                Err(error) => outcomes.push(Outcome::failed(asset, error)),
            }
        }
        run(&client, &mut jobs, &progress);
        outcomes.extend(jobs.into_iter().map(Job::into_outcome));
    }
    Ok(outcomes)
}

/// Returns the errors of the assets that failed, if any did.
pub(super) fn check_all(outcomes: Vec<Outcome<'_>>) -> Result<()> {
    let failed = |outcome: Outcome<'_>| Some((outcome.asset.path().to_owned(), outcome.result.err()?));
    let failed: Vec<_> = outcomes.into_iter().filter_map(failed).collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::AssetsNotMade { failed }) }
}

/// Returns the outcome of an asset that is current or needs a person, and `None` if it needs the service.
fn without_client(asset: &Asset) -> Option<Outcome<'_>> {
    let (finding, journal) = match asset.inspect() {
        Ok(found) => found,
        // Windows does not let anybody read a file that another process has locked.
        Err(Error::Io { source, .. }) if source.kind() != io::ErrorKind::InvalidData => return None,
        Err(error) => return Some(Outcome::failed(asset, error)),
    };
    let advice = Advice::new(asset, &finding, &journal);
    match &finding.state {
        State::Current => Some(Outcome { asset, result: Ok(None), rehearsal: advice.rehearsal() }),
        state @ State::Untracked => {
            Some(Outcome::failed(asset, asset.not_current(advice.reason(state), state.charged())))
        }
        _ => None,
    }
}

/// An asset that is being generated.
struct Job<'a, 'c> {
    asset: &'a Asset,
    client: &'c Client,
    request: Value,
    receipt: Receipt,
    /// The contents of the receipt.
    journal: Journal,
    /// The client request id of the attempt that is in progress.
    client_request_id: String,
    /// An event that could not be appended yet.
    pending: Option<Event>,
    last_reported: String,
    /// The outcome; `None` also if another process has finished the asset in the meantime.
    result: Option<Result<Video>>,
}

/// The next step for an asset.
enum Next {
    Create,
    WaitFor(GenerationId),
    Nothing,
}

/// Runs all jobs to their end, in flight together.
fn run(client: &Client, jobs: &mut [Job<'_, '_>], progress: impl Fn(&Asset, &str)) {
    let mut to_create = Vec::new();
    let mut to_wait_for = Vec::new();
    for (index, job) in jobs.iter_mut().enumerate() {
        match job.plan() {
            Ok(Next::Create) => to_create.push((index, job.asset.request.clone())),
            Ok(Next::WaitFor(id)) => to_wait_for.push((index, id)),
            Ok(Next::Nothing) => job.receipt.unlock(),
            Err(error) => job.close(Err(error)),
        }
    }
    let mut batch = client.batch(to_create);
    for (index, id) in to_wait_for {
        progress(jobs[index].asset, &format!("resuming generation {id}"));
        batch.wait_for(index, id);
    }
    let mut updates = batch.updates();
    while let Some((index, update)) = updates.next() {
        let job = &mut jobs[index];
        match update {
            Update::Sending { client_request_id } => {
                if let Err(error) = job.before_create(client_request_id) {
                    updates.withdraw();
                    job.close(Err(error));
                }
            }
            Update::Retrying(error) => {
                // If this fails, the event is appended before the next attempt is sent.
                let _ = job.append_refused(error.to_string());
                progress(job.asset, "not accepted; the request is sent again");
            }
            Update::Created(id) => {
                // The generation is paid for: it is waited for even if the disk is full.
                let _ = job.append_created(&id);
                progress(job.asset, &format!("created generation {id}"));
            }
            Update::Status(status) => job.report_status(&status, &progress),
            Update::Missed(_) => {}
            Update::Finished(result) => {
                job.flush_pending();
                progress(job.asset, if result.is_ok() { "downloading" } else { "failed" });
                job.on_outcome(result);
            }
        }
    }
}

impl<'a, 'c> Job<'a, 'c> {
    /// Locks the receipt and reads it. Returns `None` if this call works on the asset already.
    fn start(
        asset: &'a Asset,
        client: &'c Client,
        locked: &mut Locked<'a>,
        progress: impl Fn(&Asset, &str),
    ) -> Result<Option<Self>> {
        asset.request.validate()?;
        let request = request_json(&asset.request)?;
        let path = asset.receipt_path();
        if !locked.is_new(asset, &path)? {
            return Ok(None);
        }
        let on_wait = || progress(asset, "waiting for another process");
        let (receipt, journal) = Receipt::lock(path.clone(), client.poll().max_wait, on_wait)?;
        locked.add(asset, &path);
        remove_leftovers(asset.path());
        Ok(Some(Job {
            asset,
            client,
            request,
            receipt,
            journal,
            client_request_id: String::new(),
            pending: None,
            last_reported: String::new(),
            result: None,
        }))
    }

    fn into_outcome(self) -> Outcome<'a> {
        let finding = self.find();
        let rehearsal = finding.ok().and_then(|finding| match finding.state {
            State::Current => Advice::new(self.asset, &finding, &self.journal).rehearsal(),
            _ => None,
        });
        Outcome { asset: self.asset, result: self.result.transpose(), rehearsal }
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
    fn plan(&mut self) -> Result<Next> {
        let finding = self.find()?;
        if let Some(attempt) = finding.attempt_in(&self.journal) {
            self.client_request_id = attempt.client_request_id.clone();
        }
        match finding.state {
            State::Current => Ok(Next::Nothing),
            State::Missing | State::Stale { .. } => Ok(Next::Create),
            State::InProgress { id } | State::Ended { id, .. } => {
                self.resume(finding.attempt)?;
                Ok(Next::WaitFor(id))
            }
            State::Unknown { client_request_id: Some(_) } => {
                self.resume(finding.attempt)?;
                self.recover()
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
    fn recover(&mut self) -> Result<Next> {
        match self.client.recover(&self.client_request_id) {
            Ok(Recovery::Found(id)) => {
                self.append_created(&id).map_err(|error| error.or_unfinished(&id))?;
                Ok(Next::WaitFor(id))
            }
            Ok(Recovery::NotListed) => Err(self.unknown(&Lookup::NotListed)),
            Ok(Recovery::NotCharged) => {
                self.append_refused("the logs say that it failed and was not charged".to_owned())?;
                // A receipt that was merged may hold another attempt.
                self.plan()
            }
            Err(Error::OutcomeUnknown { source, .. }) => Err(self.unknown(&Lookup::Failed(&source))),
            Err(error) => Err(self.unknown(&Lookup::Failed(&error))),
        }
    }

    /// Prepares a create request. Nothing is paid for that could not be kept.
    fn before_create(&mut self, client_request_id: String) -> Result<()> {
        check_writable(self.asset.path())?;
        self.client_request_id = client_request_id;
        self.append_requested()
    }

    fn append_requested(&mut self) -> Result<()> {
        let server = self.client.base_url();
        self.append(Event::requested(&self.client_request_id, server, &self.asset.request)?)
    }

    fn append_created(&mut self, id: &GenerationId) -> Result<()> {
        self.append(Event::created(&self.client_request_id, id.clone()))
    }

    fn append_refused(&mut self, reason: String) -> Result<()> {
        self.append(Event::Refused(Reason::new(&self.client_request_id, reason)))
    }

    /// Records that the generation ended and may have been charged, unless the receipt says so already.
    fn append_ended(&mut self, reason: String) -> Result<()> {
        let is_recorded = self.attempt().is_some_and(|attempt| attempt.has_ended(&reason));
        let event = Event::Ended(Reason::new(&self.client_request_id, reason));
        if is_recorded { Ok(()) } else { self.append(event) }
    }

    /// Appends an event, after one that could not be appended before. The outcome of a create request is kept until it
    /// can be.
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

    fn report_status(&mut self, status: &Status, progress: impl Fn(&Asset, &str)) {
        let text = status.to_string();
        if !status.is_finished() && text != self.last_reported {
            progress(self.asset, &text);
            self.last_reported = text;
        }
    }

    /// Stores the video, or records the failure.
    fn on_outcome(&mut self, result: Result<Video>) {
        let stored = result.and_then(|video| match self.store_video(&video) {
            Ok(()) => Ok(video),
            Err(error) => Err(error.or_unfinished(&video.id)),
        });
        let result = stored.map_err(|error| self.record_failure(error));
        self.close(result);
    }

    /// Unlocks the receipt, so that other processes need not wait for the rest of the batch.
    fn close(&mut self, result: Result<Video>) {
        self.result = Some(result);
        self.receipt.unlock();
    }

    fn store_video(&mut self, video: &Video) -> Result<()> {
        self.check_placement()?;
        let temp = self.client.fetch(video, self.asset.path())?;
        self.check_placement()?;
        let file_size = temp.persist()?;
        let credits = video.usage.and_then(|usage| usage.credits);
        self.append(Event::completed(&self.client_request_id, file_size, credits))
    }

    /// Checks that the video may be moved to its path. A file there may belong to another receipt by now. Without a
    /// file, the video is kept even if the receipt is gone.
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
