//! Many generations on one thread: earliest due first, and each ends in exactly one item.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::thread;
use std::time::Instant;

use crate::api::{Api, Draft};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::poll::{self, Poll};
use crate::random;
use crate::request::VideoRequest;
use crate::retry::TRIES;
use crate::setback::{Nature, Setback};
use crate::watch::{self, Watch};

/// An iterator over the outcomes of many generations, in order of completion, made by
/// [`Client::generate_all`](crate::Client::generate_all) and [`Client::wait_all`](crate::Client::wait_all).
///
/// An item is the index of the request or id, and its video or its error. Each ends in exactly one item, and the failure
/// of one costs no other its result or its id. All happens on the thread that iterates, while it iterates: there is no
/// runtime and no hidden thread, and between two items the generations go on at the service by themselves. Each keeps
/// its own interval and deadline; what slows the creating down, such as a 429, does not slow the polling down.
///
/// To stop, stop iterating. What was not created then never is, and [`ids`](Batch::ids) tells what was created and has
/// not ended, so that nothing is lost by leaving early.
///
/// # More than one thread
///
/// The heavy work runs on the service's machines, so that one thread waits for thousands. There are two ways past it:
/// the ids are plain strings, which any job queue or another machine can wait for; and a [`Client`](crate::Client) can be
/// shared, for example to download on several threads.
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
    to_create: VecDeque<(usize, VideoRequest)>,
    /// The create that is on its way: how often it was tried, and when it is sent again.
    creating: Option<Creating>,
    /// The generations that were created and have not ended.
    watches: HashMap<usize, Watch>,
    /// When each of them is due.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
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
    Nothing,
    /// The create goes out under this client request id when its turn comes, unless it is called off.
    Sends(usize, String),
    /// The create was certainly not accepted, and will be sent again.
    NotAccepted(usize),
    Created(usize, GenerationId),
    /// It was asked for, and has not ended.
    Asked(usize),
    Ended(usize, Result<Video>),
}

/// How many generations may be under way at once unless it is said. The service documents no limit; four keep one thread
/// busy, and stopping leaves little behind.
const IN_FLIGHT: usize = 4;

impl Batch {
    pub(crate) fn new(api: Api, poll: Poll, requests: impl Iterator<Item = (usize, VideoRequest)>) -> Self {
        Batch {
            api,
            poll,
            in_flight: IN_FLIGHT,
            to_create: requests.collect(),
            creating: None,
            watches: HashMap::new(),
            due: BinaryHeap::new(),
            ended: 0,
        }
    }

    /// Sets how many generations are created and unfinished at once, at least 1. Defaults to 4: the service documents no
    /// limit, and stopping early leaves little behind.
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
        let mut ids: Vec<_> = self.watches.iter().map(|(index, watch)| (*index, watch.id())).collect();
        ids.sort_unstable_by_key(|(index, _)| *index);
        ids
    }

    /// The last status that was heard of a generation under way; `None` before the first, and after the end.
    pub fn status(&self, index: usize) -> Option<&Status> {
        self.watches.get(&index)?.last_status()
    }

    /// How far all of them are.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress {
            to_create: self.to_create.len() + usize::from(self.creating.is_some()),
            queued: 0,
            generating: 0,
            other: 0,
            ended: self.ended,
        };
        for watch in self.watches.values() {
            match watch.last_status() {
                None | Some(Status::Queued) => progress.queued += 1,
                Some(Status::Generating) => progress.generating += 1,
                Some(_) => progress.other += 1,
            }
        }
        progress
    }

    /// Waits for a generation that exists as well.
    pub(crate) fn wait_for(&mut self, index: usize, id: GenerationId) {
        let watch = Watch::new(self.api.clone(), id, self.poll);
        self.due.extend(watch.due().map(|due| Reverse((due, index))));
        self.watches.insert(index, watch);
    }

    /// Does not send the create that was announced.
    pub(crate) fn call_off(&mut self) {
        self.creating = None;
    }

    /// When the next create is sent, if one may be.
    fn create_due(&mut self) -> Result<Option<Instant>, (usize, Error)> {
        if self.creating.is_none()
            && self.watches.len() < self.in_flight
            && let Some((index, request)) = self.to_create.pop_front()
        {
            let draft = Draft::new(&request).map_err(|error| (index, error))?;
            self.creating = Some(Creating { index, draft, tries: 0, due: Instant::now(), announced: false });
        }
        Ok(self.creating.as_ref().map(|creating| creating.due))
    }

    /// Announces the create that is on its way, and then sends it.
    fn create(&mut self) -> Turn {
        let Some(mut creating) = self.creating.take() else { return Turn::Nothing };
        let index = creating.index;
        if !creating.announced {
            creating.announced = true;
            let turn = Turn::Sends(index, creating.draft.client_request_id().to_owned());
            self.creating = Some(creating);
            return turn;
        }
        let Setback { error, nature, retry_after } = match self.api.create(&creating.draft) {
            Ok(id) => {
                self.wait_for(index, id.clone());
                return Turn::Created(index, id);
            }
            Err(setback) => setback,
        };
        creating.tries += 1;
        let base = self.api.limits().backoff;
        let pause = poll::retry_pause(creating.tries, TRIES, base, random::fraction(), retry_after);
        let Some(pause) = pause.filter(|_| nature == Nature::Passing) else { return Turn::Ended(index, Err(error)) };
        creating.due = poll::later(Instant::now(), pause);
        creating.draft.renew();
        creating.announced = false;
        self.creating = Some(creating);
        Turn::NotAccepted(index)
    }

    /// Asks for the generation that is due first.
    fn ask(&mut self) -> Turn {
        let Some(Reverse((_, index))) = self.due.pop() else { return Turn::Nothing };
        let Some(watch) = self.watches.get_mut(&index) else { return Turn::Nothing };
        let update = watch.turn();
        if let Some(outcome) = update.and_then(|update| watch::outcome(watch.id(), update)) {
            self.watches.remove(&index);
            return Turn::Ended(index, outcome);
        }
        self.due.extend(watch.due().map(|due| Reverse((due, index))));
        Turn::Asked(index)
    }

    /// Waits for what is due first, and does it. `None` when all have ended.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        let create_due = match self.create_due() {
            Ok(due) => due,
            Err((index, error)) => return Some(Turn::Ended(index, Err(error))),
        };
        let poll_due = self.due.peek().map(|Reverse((due, _))| *due);
        let creates = match (create_due, poll_due) {
            (Some(create), Some(poll)) => create <= poll,
            (create, _) => create.is_some(),
        };
        let due = if creates { create_due } else { poll_due };
        thread::sleep(due?.saturating_duration_since(Instant::now()));
        Some(if creates { self.create() } else { self.ask() })
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
        let left = self.to_create.len() + usize::from(self.creating.is_some()) + self.watches.len();
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
