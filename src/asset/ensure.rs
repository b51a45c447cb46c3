//! The stream of everything that happens while assets are generated.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::job::{Job, Next, check_without_client};
use super::paths::{Locked, create_dir_synced, dedup_by_path};
use super::state::Asset;
use crate::batch::DEFAULT_MAX_IN_FLIGHT;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::Status;
use crate::stream::BatchUpdates;
use crate::temp_file::parent_dir;
use crate::ticks::{Source, Ticks};
use crate::update::Update;

/// How many receipts are open and locked at once, unless more are in flight.
const MIN_LOCKED: usize = 16;

/// The most receipts that are open at once. Some systems limit a process to 256 open files.
const MAX_LOCKED: usize = 64;

/// Settings for generating assets, and the way to see everything that happens meanwhile. [`ensure`](crate::asset::ensure)
/// is the short form.
///
/// # Example
///
/// ```
/// use kling::asset::Ensure;
/// use kling::emulator::Emulator;
/// use kling::{Asset, Update, VideoRequest};
///
/// let emulator = Emulator::start();
/// let folder = std::env::temp_dir().join(format!("takes-{}", std::process::id()));
/// let assets = ["calm", "wild"].map(|sea| {
///     let path = folder.join(format!("{sea}.mp4"));
///     Asset::new(path, VideoRequest::new(format!("A {sea} sea")))
/// });
/// let ensure = Ensure::new(&assets).max_in_flight(2);
/// let mut made = 0;
/// // With an API key: `Client::from_env`. It is called only if needed.
/// for (index, update) in ensure.updates(|| Ok(emulator.client()))? {
///     let path = assets[index].path().display();
///     match update {
///         Update::Finished(outcome) => made += usize::from(outcome.is_ok()),
///         update => println!("{path}: {update}"),
///     }
/// }
/// assert_eq!(made, 2);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is generated before `run` or `updates`"]
pub struct Ensure<'a> {
    assets: Vec<&'a Asset>,
    /// All assets of the package.
    others: Vec<&'a Asset>,
    max_in_flight: usize,
    may_create: bool,
    is_afresh: bool,
    notify: Notify,
}

/// A function that prints a step.
type Notify = fn(&Asset, &str);

impl<'a> Ensure<'a> {
    /// Returns the default settings for these assets.
    pub fn new(assets: impl IntoIterator<Item = &'a Asset>) -> Self {
        let assets: Vec<&Asset> = assets.into_iter().collect();
        Ensure {
            others: assets.clone(),
            assets,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            may_create: true,
            is_afresh: false,
            notify: |_, _| {},
        }
    }

    /// Sets how many generations may be in flight at once: created, and not finished. Must be between 1 and 64; any
    /// other number counts as the nearest one. Defaults to 4.
    ///
    /// Generations that exist already are all polled, and count as well.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max.clamp(1, MAX_LOCKED);
        self
    }

    /// Sets whether generations may be created, which costs money. Otherwise, generations that exist are resumed and
    /// their videos fetched, and all other assets fail with [`Error::AssetNotCurrent`]. Defaults to `true`.
    pub fn may_create(mut self, may_create: bool) -> Self {
        self.may_create = may_create;
        self
    }

    /// Sets the assets beside which a renamed one is looked for.
    pub(super) fn beside(mut self, others: &[&'a Asset]) -> Self {
        self.others = others.to_vec();
        self
    }

    /// Makes test clips of other emulators again instead of resuming them: they may have ended with their process.
    #[cfg(feature = "emulator")]
    pub(super) fn afresh(mut self) -> Self {
        self.is_afresh = true;
        self
    }

    /// Sets a function that prints the steps that no update stands for.
    pub(super) fn notify(mut self, notify: Notify) -> Self {
        self.notify = notify;
        self
    }

    /// Generates the assets that are not current, and returns the paths of all of them: see
    /// [`ensure`](crate::asset::ensure).
    ///
    /// # Errors
    ///
    /// Those of [`ensure`](crate::asset::ensure).
    pub fn run(self, connect: impl FnOnce() -> Result<Client>) -> Result<Vec<PathBuf>> {
        let assets = self.assets.clone();
        let mut failed: Vec<Option<Error>> = assets.iter().map(|_| None).collect();
        for (index, update) in self.updates(connect)? {
            if let Update::Finished(Err(error)) = update {
                failed[index] = Some(error);
            }
        }
        check_all(&assets, failed)?;
        Ok(assets.iter().map(|asset| asset.path.clone()).collect())
    }

    /// Returns an iterator over everything that happens while the assets are generated: see [`Update`]. Each item is
    /// the index of an asset, together with an update. Everything runs on the thread that iterates, while it iterates.
    ///
    /// An update is yielded after the receipt has recorded it, and [`Update::Finished`] after the file is in place. An
    /// asset that needs no generation yields nothing: it is current, another process makes it current in the meantime,
    /// or its video was kept beside it. If a path is listed twice, only its first index yields updates.
    ///
    /// To stop early, stop iterating. The next run resumes what has been created; a create request that was announced
    /// with [`Update::Sending`] and not sent is recorded as such.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] if one path has two different requests, and the errors of `connect`. `connect` is not
    /// called if all assets are current. The errors of an asset are yielded as [`Update::Finished`].
    pub fn updates(self, connect: impl FnOnce() -> Result<Client>) -> Result<EnsureUpdates<'a>> {
        let mut ready = VecDeque::new();
        let mut due = Vec::new();
        let indexed: Vec<_> = self.assets.iter().copied().enumerate().collect();
        for (index, asset) in dedup_by_path(&indexed)? {
            match check_without_client(asset, &self.others) {
                Ok(true) => {}
                Ok(false) => due.push((index, asset)),
                Err(error) => ready.push_back((index, Update::Finished(Err(error)))),
            }
        }
        let client = if due.is_empty() { None } else { Some(connect()?) };
        due.retain(|(index, asset)| {
            let directory = parent_dir(asset.path());
            let created = create_dir_synced(directory).map_err(Error::io("create the directory", directory));
            created.map_err(|error| ready.push_back((*index, Update::Finished(Err(error))))).is_ok()
        });
        // Only now do all directories exist, so that two spellings of one path can be compared.
        let due = dedup_by_path(&due)?;
        let (locked, jobs) = (Locked::default(), Vec::new());
        Ok(EnsureUpdates { settings: self, client, due, locked, jobs, batch: None, ready, announced: None })
    }
}

/// Returns an error if any asset has failed. The errors are given by index.
pub(super) fn check_all(assets: &[&Asset], errors: Vec<Option<Error>>) -> Result<()> {
    let failed = assets.iter().zip(errors).filter_map(|(asset, error)| Some((asset.path().to_owned(), error?)));
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::AssetsNotMade { failed }) }
}

/// An iterator over everything that happens while assets are generated, returned by [`Ensure::updates`].
#[must_use = "updates do nothing unless they are iterated"]
pub struct EnsureUpdates<'a> {
    settings: Ensure<'a>,
    /// `None` if no asset needs it.
    client: Option<Client>,
    /// The assets that have not been started, each with its index.
    due: Vec<(usize, &'a Asset)>,
    locked: Locked<'a>,
    /// The assets that are in progress. Their place here is their index in the batch.
    jobs: Vec<Job<'a>>,
    batch: Option<BatchUpdates>,
    /// Updates that do not come from the batch.
    ready: VecDeque<(usize, Update)>,
    /// The job whose create request has been announced, and not sent.
    announced: Option<usize>,
}

impl EnsureUpdates<'_> {
    /// Yields `None` at least this often while the iterator sleeps, so that a loop can redraw its lines, or look at a
    /// flag and `break`: see [`WatchUpdates::tick`](crate::WatchUpdates::tick). While a file is downloaded, or another
    /// process holds the lock of a receipt, no tick is yielded.
    pub fn tick(self, interval: Duration) -> Ticks<Self> {
        Ticks::new(self, interval)
    }

    /// Locks the receipts of the next assets, and starts what they need.
    fn start_jobs(&mut self) {
        let Some(client) = &self.client else { return };
        let Ensure { max_in_flight, may_create, is_afresh, notify, .. } = self.settings;
        let all = &self.settings.others;
        let count = self.due.len().min(max_in_flight.max(MIN_LOCKED));
        // Closes the receipts of the last ones first.
        self.jobs.clear();
        for (index, asset) in self.due.drain(..count) {
            match Job::start(index, asset, client, &mut self.locked, notify) {
                Ok(job) => self.jobs.extend(job),
                Err(error) => self.ready.push_back((index, Update::Finished(Err(error)))),
            }
        }
        let (mut to_create, mut to_wait_for) = (Vec::new(), Vec::new());
        for (place, job) in self.jobs.iter_mut().enumerate() {
            match job.plan(all, may_create, is_afresh) {
                Ok(Next::Create) => to_create.push((place, job.request().clone())),
                Ok(Next::WaitFor(id)) => {
                    notify(job.asset(), &format!("resuming generation {id}"));
                    to_wait_for.push((place, id));
                }
                Ok(Next::Nothing) => job.unlock(),
                Err(error) => {
                    job.unlock();
                    self.ready.push_back((job.index(), Update::Finished(Err(error))));
                }
            }
        }
        let mut batch = client.batch(to_create).max_in_flight(max_in_flight);
        for (place, id) in to_wait_for {
            batch.wait_for(place, id);
        }
        self.batch = Some(batch.updates());
    }

    /// Records an update in the receipt, and takes the step that it calls for.
    fn record(&mut self, place: usize, update: Update) -> (usize, Update) {
        let job = &mut self.jobs[place];
        self.announced = self.announced.filter(|announced| *announced != place);
        let update = match update {
            Update::Sending { client_request_id } => match job.before_create(&client_request_id) {
                Ok(()) => {
                    self.announced = Some(place);
                    Update::Sending { client_request_id }
                }
                Err(error) => {
                    self.batch.as_mut().map(BatchUpdates::withdraw);
                    job.unlock();
                    Update::Finished(Err(error))
                }
            },
            Update::Retrying(error) => {
                // If this fails, the event is appended before the next attempt is sent.
                let _ = job.append_refused(error.to_string());
                Update::Retrying(error)
            }
            Update::Created(id) => {
                // The generation is paid for: it is waited for even if the disk is full.
                let _ = job.append_created(&id);
                Update::Created(id)
            }
            Update::Finished(result) => Update::Finished(job.finish(result)),
            update @ (Update::Status(_) | Update::Missed(_)) => update,
        };
        (job.index(), update)
    }
}

impl Source for EnsureUpdates<'_> {
    type Item = (usize, Update);

    fn due(&mut self) -> Option<Instant> {
        loop {
            if !self.ready.is_empty() {
                return Some(Instant::now());
            }
            if let Some(due) = self.batch.as_mut().and_then(Source::due) {
                return Some(due);
            }
            if self.due.is_empty() {
                return None;
            }
            self.start_jobs();
        }
    }

    fn step(&mut self) -> Option<(usize, Update)> {
        self.due()?;
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        let (place, update) = self.batch.as_mut()?.step()?;
        Some(self.record(place, update))
    }
}

impl Iterator for EnsureUpdates<'_> {
    type Item = (usize, Update);

    fn next(&mut self) -> Option<(usize, Update)> {
        self.next_item()
    }
}

impl FusedIterator for EnsureUpdates<'_> {}

impl Drop for EnsureUpdates<'_> {
    fn drop(&mut self) {
        // Otherwise, the next run would take the outcome for unknown, and the logs would never list it.
        if let (Some(place), Some(batch)) = (self.announced, &mut self.batch)
            && batch.withdraw()
        {
            let _ = self.jobs[place].append_refused("it was not sent, because the run was stopped".to_owned());
        }
    }
}

impl fmt::Debug for EnsureUpdates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnsureUpdates").field("settings", &self.settings).field("batch", &self.batch).finish()
    }
}

/// Returns the text of an update for a build's output, or `None` if it is not worth a line.
pub(super) fn step_text(update: &Update, last: &str) -> Option<String> {
    let text = match update {
        Update::Sending { .. } | Update::Missed(_) | Update::Finished(Ok(_)) => return None,
        Update::Retrying(_) => "not accepted; the request is sent again".to_owned(),
        Update::Created(id) => format!("created generation {id}"),
        Update::Status(Status::Completed(_)) => "downloading".to_owned(),
        Update::Status(Status::Failed(_)) | Update::Finished(Err(_)) => "failed".to_owned(),
        Update::Status(status) => status.to_string(),
    };
    (text != last).then_some(text)
}
