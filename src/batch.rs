//! Many generations on one thread: earliest due first, and each ends in exactly one item.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::thread;
use std::time::Instant;

use crate::api::{Api, Draft};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::poll::{self, Poll};
use crate::request::{self, VideoRequest};
use crate::retry;
use crate::watch::{self, Watch};

/// An iterator over the outcomes of many generations, in order of completion, made by
/// [`Client::generate_all`](crate::Client::generate_all) and [`Client::wait_all`](crate::Client::wait_all).
///
/// An item is the index of the request or id, and its video or its error. Each ends in exactly one item, and the
/// failure of one costs no other its result or its id. All happens on the thread that iterates, while it iterates:
/// there is no runtime and no hidden thread, and between two items the generations go on at the service by themselves.
/// Each keeps its own interval and deadline, which run on between two items; what slows the creating down, such as a
/// 429, does not slow the polling down. If polls fail for a reason that would stop all, such as a key that was revoked,
/// it goes on to create: stop iterating then.
///
/// To stop, stop iterating. What was not created then never is, and [`ids`](Batch::ids) tells what was created and has
/// not ended. Until then an id is known to this batch alone, and a process that is killed loses it: to keep the ids
/// first, [`create`](crate::Client::create) each, and [`wait_all`](crate::Client::wait_all).
///
/// # More than one thread
///
/// The heavy work runs on the service's machines, so that one thread waits for many. Polls are sent one after the
/// other: if one takes 200 ms, more than 50 generations are asked less often than every 10 s. There are two ways past
/// that: the ids are plain strings, which any job queue or another machine can wait for; and a
/// [`Client`](crate::Client) can be shared, for example to download on several threads.
///
/// ```
/// # let emulator = kling::emulator::Emulator::start();
/// # let client = emulator.client();
/// use kling::VideoRequest;
///
/// let requests: Vec<_> = (0..6).map(|n| VideoRequest::new(format!("Sheep number {n}"))).collect();
/// let finished: usize = std::thread::scope(|scope| {
///     let client = &client;
///     let threads: Vec<_> =
///         requests.chunks(3).map(|half| scope.spawn(move || client.generate_all(half).count())).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).sum()
/// });
/// assert_eq!(finished, 6);
/// ```
#[must_use = "a batch does nothing unless it is iterated"]
pub struct Batch {
    api: Api,
    poll: Poll,
    in_flight: usize,
    /// What was refused here, and is told first.
    refused: VecDeque<(usize, Error)>,
    to_create: VecDeque<(usize, Draft)>,
    /// The create that is on its way: how often it was tried, and when it is sent again.
    creating: Option<Creating>,
    /// The service wants no create before this.
    not_before: Option<Instant>,
    /// The generations that were created and have not ended.
    watches: BTreeMap<usize, Watch>,
    ended: usize,
}

struct Creating {
    index: usize,
    draft: Draft,
    tries: u32,
    due: Instant,
    /// That this try is about to be sent was told.
    announced: bool,
}

/// What one turn has brought.
pub(crate) enum Turn {
    /// The create goes out under this client request id when its turn comes, unless it is called off.
    Sends(usize, String),
    /// The create was certainly not accepted, and will be sent again.
    NotAccepted(usize),
    Created(usize, GenerationId),
    /// It was asked for, and has not ended.
    Asked(usize),
    Ended(usize, Result<Video>),
}

/// How many generations may be under way at once unless it is said. The service documents no limit; four keep one
/// thread busy, and stopping leaves little behind.
const IN_FLIGHT: usize = 4;

impl Batch {
    pub(crate) fn new(api: Api, poll: Poll, requests: impl Iterator<Item = (usize, VideoRequest)>) -> Self {
        let mut batch = Batch {
            api,
            poll,
            in_flight: IN_FLIGHT,
            refused: VecDeque::new(),
            to_create: VecDeque::new(),
            creating: None,
            not_before: None,
            watches: BTreeMap::new(),
            ended: 0,
        };
        // All are checked before the first is paid for.
        let mut chosen_ids = HashSet::new();
        for (index, request) in requests {
            let is_fresh = request.chosen_client_request_id().is_none_or(|id| chosen_ids.insert(id.to_owned()));
            match Draft::new(&request) {
                Ok(draft) if is_fresh => batch.to_create.push_back((index, draft)),
                Ok(_) => batch.refused.push_back((index, request::used_twice())),
                Err(error) => batch.refused.push_back((index, error)),
            }
        }
        batch
    }

    /// Sets how many generations are created and unfinished at once, at least 1. Those of
    /// [`wait_all`](crate::Client::wait_all) exist already, and are all waited for. Defaults to 4: the service
    /// documents no limit, and stopping early leaves little behind.
    pub fn in_flight(mut self, most: usize) -> Self {
        self.in_flight = most.max(1);
        self
    }

    /// The generations that were created and have not ended, with the index of their request, in order.
    ///
    /// # Example
    ///
    /// ```
    /// # let emulator = kling::emulator::Emulator::start();
    /// # let client = emulator.client();
    /// use kling::VideoRequest;
    ///
    /// let requests = ["calm", "wild", "frozen"].map(|sea| VideoRequest::new(format!("A {sea} sea")));
    /// let mut batch = client.generate_all(&requests);
    /// let (first, _) = batch.next().unwrap();
    /// // Enough for today. The other two are paid for: keep their ids.
    /// let left: Vec<_> = batch.ids().into_iter().map(|(index, id)| (index, id.to_string())).collect();
    /// assert_eq!(left.len(), 2);
    /// assert!(left.iter().all(|(index, _)| *index != first));
    /// ```
    pub fn ids(&self) -> Vec<(usize, &GenerationId)> {
        self.watches.iter().map(|(index, watch)| (*index, watch.id())).collect()
    }

    /// The last status that was heard of a generation under way; `None` before the first, and after the end.
    pub fn status(&self, index: usize) -> Option<&Status> {
        self.watches.get(&index)?.last_status()
    }

    /// How far all of them are.
    pub fn progress(&self) -> Progress {
        let mut progress =
            Progress { to_create: self.not_created(), queued: 0, generating: 0, other: 0, ended: self.ended };
        for watch in self.watches.values() {
            match watch.last_status() {
                None | Some(Status::Queued) => progress.queued += 1,
                Some(Status::Generating) => progress.generating += 1,
                Some(_) => progress.other += 1,
            }
        }
        progress
    }

    fn not_created(&self) -> usize {
        self.refused.len() + self.to_create.len() + usize::from(self.creating.is_some())
    }

    /// Waits for a generation that exists as well.
    pub(crate) fn wait_for(&mut self, index: usize, id: GenerationId) {
        self.watches.insert(index, Watch::new(self.api.clone(), id, self.poll));
    }

    /// Does not send the create that was announced.
    pub(crate) fn call_off(&mut self) {
        self.creating = None;
    }

    /// When the next create is sent, if one may be.
    fn create_due(&mut self) -> Option<Instant> {
        if self.creating.is_none()
            && self.watches.len() < self.in_flight
            && let Some((index, draft)) = self.to_create.pop_front()
        {
            let now = Instant::now();
            let due = self.not_before.take().map_or(now, |not_before| not_before.max(now));
            self.creating = Some(Creating { index, draft, tries: 0, due, announced: false });
        }
        self.creating.as_ref().map(|creating| creating.due)
    }

    /// Announces the create that is on its way, or sends it if it was announced.
    fn announce_or_send(&mut self, mut creating: Creating) -> Turn {
        let index = creating.index;
        if !creating.announced {
            creating.announced = true;
            let turn = Turn::Sends(index, creating.draft.client_request_id().to_owned());
            self.creating = Some(creating);
            return turn;
        }
        let setback = match self.api.create(&creating.draft) {
            Ok(id) => {
                self.wait_for(index, id.clone());
                return Turn::Created(index, id);
            }
            Err(setback) => setback,
        };
        creating.tries += 1;
        let after = |pause| poll::later(Instant::now(), pause);
        let Some(pause) = retry::pause_after(&setback, creating.tries, self.api.limits().backoff) else {
            // What was too much of this one is too much of the next.
            self.not_before = setback.retry_after.map(|asked| after(asked.min(retry::LONGEST_RETRY_AFTER)));
            return Turn::Ended(index, Err(setback.error));
        };
        creating.due = after(pause);
        creating.draft.renew();
        creating.announced = false;
        self.creating = Some(creating);
        Turn::NotAccepted(index)
    }

    /// Asks for a generation.
    fn ask(&mut self, index: usize) -> Turn {
        let Some(watch) = self.watches.get_mut(&index) else { return Turn::Asked(index) };
        let update = watch.turn();
        if let Some(outcome) = update.and_then(|update| watch::outcome(watch.id(), update)) {
            self.watches.remove(&index);
            return Turn::Ended(index, outcome);
        }
        Turn::Asked(index)
    }

    /// Waits for what is due first, and does it. `None` when all have ended.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        if let Some((index, error)) = self.refused.pop_front() {
            return Some(Turn::Ended(index, Err(error)));
        }
        let create_due = self.create_due();
        let polls = self.watches.iter().filter_map(|(index, watch)| Some((watch.due()?, *index)));
        let first_poll = polls.min();
        let is_first = |create| first_poll.is_none_or(|(poll, _)| create <= poll);
        if let Some(due) = create_due.filter(|due| is_first(*due)) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            return self.creating.take().map(|creating| self.announce_or_send(creating));
        }
        let (due, index) = first_poll?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        Some(self.ask(index))
    }
}

impl Iterator for Batch {
    type Item = (usize, Result<Video>);

    fn next(&mut self) -> Option<(usize, Result<Video>)> {
        loop {
            if let Turn::Ended(index, outcome) = self.turn()? {
                self.ended += 1;
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

impl std::iter::FusedIterator for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("in_flight", &self.in_flight).field("progress", &self.progress()).finish()
    }
}

/// How far a [`Batch`] is, in numbers. Its `Display` is a line to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Requests that are not created yet.
    pub to_create: usize,
    /// Generations that wait for their turn, or have not been asked for yet.
    pub queued: usize,
    /// Generations that the model works on.
    pub generating: usize,
    /// Generations under way with another word as their status.
    pub other: usize,
    /// Items that were handed out, good and bad.
    pub ended: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { to_create, queued, generating, other, ended } = self;
        write!(f, "{to_create} to create, {queued} queued, {generating} generating, ")?;
        if *other > 0 {
            write!(f, "{other} otherwise under way, ")?;
        }
        write!(f, "{ended} ended")
    }
}
