//! Sleeping until the next update is due, or until a tick.

use std::fmt;
use std::iter::FusedIterator;
use std::thread;
use std::time::{Duration, Instant};

/// A source of updates that says when the next one is due, and takes it without sleeping.
pub trait Source {
    type Item;

    /// Returns when the next step is due, or `None` after the last one.
    fn due(&mut self) -> Option<Instant>;

    /// Takes the next step, which may send a request.
    fn step(&mut self) -> Option<Self::Item>;

    /// Sleeps until the next step is due, and takes it.
    fn next_item(&mut self) -> Option<Self::Item> {
        let due = self.due()?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        self.step()
    }
}

/// An iterator over updates and ticks, returned by [`WatchUpdates::tick`](crate::WatchUpdates::tick) and
/// [`BatchUpdates::tick`](crate::BatchUpdates::tick).
///
/// It yields `Some(update)` for each update, and `None` whenever a tick has passed without one. A tick is the time to
/// redraw a line, or to look at a flag and stop. Ticks need no second thread: they split the sleep between polls. While
/// a request is on its way, no tick is yielded.
#[must_use = "updates do nothing unless they are iterated"]
pub struct Ticks<U> {
    updates: U,
    tick: Duration,
}

impl<U> Ticks<U> {
    pub(crate) fn new(updates: U, tick: Duration) -> Self {
        // Without any sleep, the loop would use a whole core.
        Ticks { updates, tick: tick.max(Duration::from_millis(1)) }
    }

    /// Returns the iterator over updates, for its methods.
    pub fn updates(&mut self) -> &mut U {
        &mut self.updates
    }
}

impl<U: Source> Iterator for Ticks<U> {
    type Item = Option<U::Item>;

    fn next(&mut self) -> Option<Option<U::Item>> {
        let due = self.updates.due()?;
        let pause = due.saturating_duration_since(Instant::now());
        if pause > self.tick {
            thread::sleep(self.tick);
            return Some(None);
        }
        thread::sleep(pause);
        self.updates.step().map(Some)
    }
}

impl<U: Source> FusedIterator for Ticks<U> {}

impl<U: fmt::Debug> fmt::Debug for Ticks<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticks").field("updates", &self.updates).field("tick", &self.tick).finish()
    }
}
