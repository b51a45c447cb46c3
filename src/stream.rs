//! Iterators over everything that happens to one generation, or to many.

use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::ticks::{Source, Ticks};
use crate::update::Update;
use crate::watch::Watch;

impl Watch {
    /// Returns an iterator over everything that happens to the generation: see [`Update`].
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::{Update, VideoRequest};
    ///
    /// let emulator = Emulator::script([Step::Queued, Step::Http(502)]);
    /// let client = emulator.client();
    /// let id = client.create(&VideoRequest::new("A fox in the snow"))?;
    /// let mut seen = Vec::new();
    /// for update in client.watch(&id).updates() {
    ///     seen.push(match update {
    ///         Update::Status(status) => status.to_string(),
    ///         Update::Missed(_) => "missed".to_owned(),
    ///         Update::Finished(outcome) => format!("{:?} s", outcome?.duration),
    ///         _ => continue,
    ///     });
    /// }
    /// assert_eq!(seen, ["queued", "missed", "completed", "Some(5.0) s"]);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn updates(self) -> WatchUpdates {
        WatchUpdates(self)
    }
}

impl Batch {
    /// Returns an iterator over everything that happens to the generations: see [`Update`]. Each item is the index of a
    /// request or id, together with an update.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::Emulator;
    /// use kling::{Update, VideoRequest};
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let seas = ["calm", "wild", "frozen"];
    /// let requests = seas.map(|sea| VideoRequest::new(format!("A {sea} sea")));
    /// let mut ids = vec![None; requests.len()];
    /// let mut finished = 0;
    /// for (index, update) in client.generate_all(&requests).updates() {
    ///     match update {
    ///         // A real program writes both to a file: the first before the request leaves.
    ///         Update::Sending { client_request_id: id } => println!("{index}: {id}"),
    ///         Update::Created(id) => ids[index] = Some(id),
    ///         Update::Finished(outcome) => finished += usize::from(outcome.is_ok()),
    ///         update => println!("{index}: {update}"),
    ///     }
    /// }
    /// assert_eq!(finished, 3);
    /// assert!(ids.iter().all(Option::is_some));
    /// ```
    pub fn updates(self) -> BatchUpdates {
        BatchUpdates(self)
    }
}

/// An iterator over everything that happens to one generation, returned by [`Watch::updates`].
#[derive(Debug)]
#[must_use = "updates do nothing unless they are iterated"]
pub struct WatchUpdates(Watch);

impl WatchUpdates {
    /// Yields `None` at least this often while the iterator sleeps, so that a loop can redraw a line, or look at a flag
    /// and `break`.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use kling::VideoRequest;
    /// use kling::emulator::Emulator;
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let id = client.create(&VideoRequest::new("A fox in the snow"))?;
    /// let mut ticks = 0;
    /// for update in client.watch(&id).updates().tick(Duration::from_millis(1)) {
    ///     match update {
    ///         Some(update) => println!("{update}"),
    ///         None => ticks += 1, // nothing has happened for a millisecond
    ///     }
    /// }
    /// assert!(ticks > 0);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn tick(self, interval: Duration) -> Ticks<Self> {
        Ticks::new(self, interval)
    }
}

impl Source for WatchUpdates {
    type Item = Update;

    fn due(&mut self) -> Option<Instant> {
        self.0.due()
    }

    fn step(&mut self) -> Option<Update> {
        self.0.step()
    }
}

impl Iterator for WatchUpdates {
    type Item = Update;

    fn next(&mut self) -> Option<Update> {
        self.next_item()
    }
}

impl FusedIterator for WatchUpdates {}

/// An iterator over everything that happens to many generations, returned by [`Batch::updates`].
#[derive(Debug)]
#[must_use = "updates do nothing unless they are iterated"]
pub struct BatchUpdates(Batch);

impl BatchUpdates {
    /// Returns the batch, for its progress and the ids of the generations that are still running.
    pub fn batch(&self) -> &Batch {
        &self.0
    }

    /// Withdraws the create request that was announced last with [`Update::Sending`], so that it is never sent. Its
    /// index yields no further update; the others are not affected. Returns `false` if no request is about to be sent.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::Emulator;
    /// use kling::{Update, VideoRequest};
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let requests = [VideoRequest::new("A fox"), VideoRequest::new("An owl")];
    /// let mut updates = client.generate_all(&requests).updates();
    /// while let Some((index, update)) = updates.next() {
    ///     // For example, the disk is full and the id of the first cannot be stored.
    ///     // Nothing is sent or charged.
    ///     if index == 0 && matches!(update, Update::Sending { .. }) {
    ///         assert!(updates.withdraw());
    ///     }
    /// }
    /// assert_eq!(emulator.creates().len(), 1);
    /// ```
    pub fn withdraw(&mut self) -> bool {
        self.0.withdraw()
    }

    /// Yields `None` at least this often while the iterator sleeps, so that a loop can redraw its lines, or look at a
    /// flag and `break`: see [`WatchUpdates::tick`](crate::WatchUpdates::tick).
    pub fn tick(self, interval: Duration) -> Ticks<Self> {
        Ticks::new(self, interval)
    }
}

impl Source for BatchUpdates {
    type Item = (usize, Update);

    fn due(&mut self) -> Option<Instant> {
        self.0.due()
    }

    fn step(&mut self) -> Option<(usize, Update)> {
        self.0.step()
    }
}

impl Iterator for BatchUpdates {
    type Item = (usize, Update);

    fn next(&mut self) -> Option<(usize, Update)> {
        self.next_item()
    }
}

impl FusedIterator for BatchUpdates {}
