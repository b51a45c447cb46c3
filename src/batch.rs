//! Many generations on one thread: earliest due first, exactly one outcome each.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::time::Instant;

use crate::api::Api;
use crate::create::{Attempt, Create, is_too_many_requests};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::poll::Poll;
use crate::request::{self, VideoRequest};
use crate::retry::MAX_RETRY_AFTER;
use crate::ticks::Source;
use crate::update::Update;
use crate::watch::Watch;

/// An iterator over the outcomes of many generations, in order of completion, returned by
/// [`Client::generate_all`](crate::Client::generate_all) and [`Client::wait_all`](crate::Client::wait_all).
///
/// Each item is the index of a request or id, together with its video or error. Every request yields exactly one item,
/// and a failure does not affect the others. Everything runs on the thread that iterates, while it iterates; between
/// two items, the generations keep running at the service. Each generation has its own polling interval and its own
/// [`Poll::max_wait`], which keep counting between two items. A delayed create request, such as after a 429, does not
/// delay the polls.
///
/// If polls fail for a reason that affects every generation, such as a revoked key, the batch still creates the
/// remaining requests. Stop iterating in that case.
///
/// To stop early, stop iterating. Requests that have not been sent by then never will be;
/// [`unfinished`](Batch::unfinished) returns the generations that are still running. To see everything that happens,
/// such as each id the moment it exists, use [`updates`](Batch::updates).
///
/// # More than one thread
///
/// The service does the heavy work, so one thread can wait for many generations. Polls are sent one after another: if
/// each takes 200 ms, more than 50 generations cannot all be polled every 10 s. There are two ways past that. Ids are
/// plain strings, so a job queue or another machine can wait for some of them. And a [`Client`](crate::Client) can be
/// shared between threads, for example to download on several of them.
///
/// ```
/// use kling::VideoRequest;
/// use kling::emulator::Emulator;
///
/// let emulator = Emulator::start();
/// let client = emulator.client();
/// let sheep = |n| VideoRequest::new(format!("Sheep number {n}"));
/// let requests: Vec<_> = (0..6).map(sheep).collect();
/// let finished: usize = std::thread::scope(|scope| {
///     let client = &client;
///     let wait = |half| scope.spawn(move || client.generate_all(half).count());
///     let threads: Vec<_> = requests.chunks(3).map(wait).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).sum()
/// });
/// assert_eq!(finished, 6);
/// ```
#[must_use = "a batch does nothing unless it is iterated"]
pub struct Batch {
    api: Api,
    poll: Poll,
    max_in_flight: usize,
    /// Requests that failed validation, reported first.
    invalid: VecDeque<(usize, Error)>,
    to_create: VecDeque<(usize, Create)>,
    creating: Option<Creating>,
    /// The server has requested that no create request is sent before this.
    not_before: Option<Instant>,
    /// The account allows no more generations at once: the next create request waits until one has finished.
    is_full: bool,
    /// The generations that are in flight, ordered by index: created, and not finished.
    watches: Vec<(usize, Watch)>,
    /// Whether the batch has been iterated.
    is_started: bool,
    /// When the last poll failed, if it got no response at all.
    unanswered_at: Option<Instant>,
    finished: usize,
}

/// The create request that is sent next.
struct Creating {
    index: usize,
    create: Create,
    /// Whether this attempt has been announced with [`Update::Sending`].
    announced: bool,
}

/// The default for [`Batch::max_in_flight`]. The service documents no limit; four keep one thread busy, and stopping
/// early leaves little behind.
pub(crate) const DEFAULT_MAX_IN_FLIGHT: usize = 4;

impl Batch {
    pub(crate) fn new(api: Api, poll: Poll, requests: impl Iterator<Item = (usize, VideoRequest)>) -> Self {
        let mut batch = Batch {
            api,
            poll,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            invalid: VecDeque::new(),
            to_create: VecDeque::new(),
            creating: None,
            not_before: None,
            is_full: false,
            watches: Vec::new(),
            is_started: false,
            unanswered_at: None,
            finished: 0,
        };
        // All requests are validated before the first is paid for.
        let mut own_ids = HashSet::new();
        for (index, request) in requests {
            let is_unique = request.get_client_request_id().is_none_or(|id| own_ids.insert(id.to_owned()));
            match Create::new(&request) {
                Ok(create) if is_unique => batch.to_create.push_back((index, create)),
                Ok(_) => batch.invalid.push_back((index, request::duplicate_client_request_id())),
                Err(error) => batch.invalid.push_back((index, error)),
            }
        }
        batch
    }

    /// Sets how many generations may be in flight at once: created, and not finished. Must be at least 1; 0 counts as
    /// 1.
    ///
    /// The generations of [`wait_all`](crate::Client::wait_all) exist already, and are all polled. Defaults to 4: the
    /// service documents no limit, and stopping early leaves little behind.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max.max(1);
        self
    }

    /// Returns the ids of the generations that are still running, each with the index of its request, ordered by index.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::VideoRequest;
    /// use kling::emulator::Emulator;
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let seas = ["calm", "wild", "frozen"];
    /// let requests = seas.map(|sea| VideoRequest::new(format!("A {sea} sea")));
    /// let mut batch = client.generate_all(&requests);
    /// let (first, _) = batch.next().unwrap();
    /// // Stop here. The other two are paid for, so keep their ids.
    /// let left = batch.unfinished();
    /// assert_eq!(left.len(), 2);
    /// assert!(left.iter().all(|(index, _)| *index != first));
    /// ```
    pub fn unfinished(&self) -> Vec<(usize, &GenerationId)> {
        self.watches.iter().map(|(index, watch)| (*index, watch.id())).collect()
    }

    /// Returns the last known status of a running generation, or `None` if it has not been polled yet or has finished.
    pub fn status(&self, index: usize) -> Option<&Status> {
        self.watches.iter().find(|(running, _)| *running == index)?.1.last_status()
    }

    /// Returns how many generations are in each state.
    pub fn progress(&self) -> Progress {
        let mut progress =
            Progress { to_create: self.not_created(), queued: 0, generating: 0, other: 0, finished: self.finished };
        for (_, watch) in &self.watches {
            match watch.last_status() {
                None | Some(Status::Queued) => progress.queued += 1,
                Some(Status::Generating) => progress.generating += 1,
                Some(_) => progress.other += 1,
            }
        }
        progress
    }

    fn not_created(&self) -> usize {
        self.invalid.len() + self.to_create.len() + usize::from(self.creating.is_some())
    }

    /// Adds a generation that exists already.
    pub(crate) fn wait_for(&mut self, index: usize, id: GenerationId) {
        self.add(index, Watch::new(self.api.clone(), id, self.poll));
    }

    fn add(&mut self, index: usize, mut watch: Watch) {
        if self.is_started {
            watch.start(Instant::now());
        }
        let place = self.watches.partition_point(|(other, _)| *other < index);
        self.watches.insert(place, (index, watch));
    }

    /// Drops the create request that was announced last, so that it is never sent. Returns `false` if there is none.
    pub(crate) fn withdraw(&mut self) -> bool {
        self.creating.take_if(|creating| creating.announced).is_some()
    }

    /// Returns when the next create request is due, if one may be sent.
    fn create_due(&mut self) -> Option<Instant> {
        if self.is_full {
            return None;
        }
        if self.creating.is_none()
            && self.watches.len() < self.max_in_flight
            && let Some((index, mut create)) = self.to_create.pop_front()
        {
            create.not_before(self.not_before.take().unwrap_or_else(Instant::now));
            self.creating = Some(Creating { index, create, announced: false });
        }
        self.creating.as_ref().map(|creating| creating.create.due())
    }

    /// Announces the next attempt of the create request, or sends it if it has been announced.
    fn announce_or_send(&mut self, mut creating: Creating) -> (usize, Update) {
        let index = creating.index;
        if !creating.announced {
            creating.announced = true;
            let client_request_id = creating.create.client_request_id().to_owned();
            self.creating = Some(creating);
            return (index, Update::Sending { client_request_id });
        }
        let others_run = !self.watches.is_empty();
        let update = match creating.create.attempt(&self.api, others_run) {
            Attempt::Created(id) => {
                self.add(index, Watch::new(self.api.clone(), id.clone(), self.poll).created_here());
                Update::Created(id)
            }
            Attempt::Retrying(error) => {
                self.is_full = others_run && is_too_many_requests(&error);
                creating.announced = false;
                self.creating = Some(creating);
                Update::Retrying(error)
            }
            Attempt::Failed(error, retry_after) => {
                // The server's `Retry-After` applies to the next create request as well.
                self.not_before = retry_after.map(|delay| Instant::now() + delay.min(MAX_RETRY_AFTER));
                Update::Finished(Err(error))
            }
        };
        (index, update)
    }

    /// Takes the next step of the generation at a place.
    fn poll(&mut self, place: usize) -> Option<(usize, Update)> {
        let (index, ref mut watch) = self.watches[place];
        // Polls that get no response are sent one after another. Past its deadline, a generation is not polled if
        // another one has gone unanswered since: otherwise an outage would last longer with each generation.
        if watch.deadline().is_some_and(|deadline| self.unanswered_at.is_some_and(|at| at >= deadline)) {
            watch.time_out();
        }
        let polls_before = watch.poll_count();
        let update = watch.step()?;
        if watch.poll_count() > polls_before {
            self.unanswered_at = watch.is_unanswered().then(Instant::now);
        }
        if watch.due().is_none() {
            drop(self.watches.remove(place));
            self.is_full = false;
        }
        Some((index, update))
    }

    /// Returns when the next step of a generation is due, and the place of the generation. With 1,000 in flight, looking
    /// at all of them is 3 % of the work for a poll.
    fn poll_due(&mut self) -> Option<(Instant, usize)> {
        let dues = self.watches.iter_mut().enumerate();
        dues.filter_map(|(place, (_, watch))| Some((watch.due()?, place))).min()
    }

    /// Starts the clocks of generations that were added before the batch was iterated. The first polls of many are due
    /// together. One that is polled after the others must not have a later deadline.
    fn start_clocks(&mut self) {
        if !self.is_started {
            self.is_started = true;
            let now = Instant::now();
            self.watches.iter_mut().for_each(|(_, watch)| watch.start(now));
        }
    }
}

impl Source for Batch {
    type Item = (usize, Update);

    fn due(&mut self) -> Option<Instant> {
        if !self.invalid.is_empty() {
            return Some(Instant::now());
        }
        self.start_clocks();
        let poll_due = self.poll_due().map(|(due, _)| due);
        self.create_due().into_iter().chain(poll_due).min()
    }

    fn step(&mut self) -> Option<(usize, Update)> {
        let item = match (self.invalid.pop_front(), self.create_due(), self.poll_due()) {
            (Some((index, error)), ..) => Some((index, Update::Finished(Err(error)))),
            (None, Some(create), poll) if poll.is_none_or(|(poll, _)| create <= poll) => {
                self.creating.take().map(|creating| self.announce_or_send(creating))
            }
            (None, _, poll) => poll.and_then(|(_, place)| self.poll(place)),
        };
        self.finished += usize::from(matches!(item, Some((_, Update::Finished(_)))));
        item
    }
}

impl Iterator for Batch {
    type Item = (usize, Result<Video>);

    fn next(&mut self) -> Option<(usize, Result<Video>)> {
        loop {
            if let (index, Update::Finished(outcome)) = self.next_item()? {
                return Some((index, outcome));
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.not_created() + self.watches.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batch {}

impl FusedIterator for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("max_in_flight", &self.max_in_flight).field("progress", &self.progress()).finish()
    }
}

/// The number of generations of a [`Batch`] in each state. `Display` prints it on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Progress {
    /// Requests that have not been created yet.
    pub to_create: usize,
    /// Generations that are queued, or have not been polled yet.
    pub queued: usize,
    /// Generations that the model is working on.
    pub generating: usize,
    /// Generations that are running with another status.
    pub other: usize,
    /// Items that have been yielded, videos and errors.
    pub finished: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { to_create, queued, generating, other, finished } = self;
        write!(f, "{to_create} to create, {queued} queued, {generating} generating, ")?;
        if *other > 0 {
            write!(f, "{other} with another status, ")?;
        }
        write!(f, "{finished} finished")
    }
}
