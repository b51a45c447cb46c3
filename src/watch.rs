//! Waiting for one generation: an iterator that polls, and sleeps between polls.

use std::fmt;
use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use crate::api::{Api, StatusResponse};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::poll::{self, Poll};
use crate::retry::{FailedAttempt, RetryClass};
use crate::ticks::Source;
use crate::update::Update;

/// An iterator over the statuses of one generation, returned by [`Client::watch`](crate::Client::watch).
///
/// Each item is the response to one poll; the thread sleeps between polls. A *missed poll*, one that failed for a
/// transient reason, is not yielded: it is retried at the next interval. The last item is a finished status, or the
/// error that ended the wait. To see missed polls as well, or to stop a wait between polls, use
/// [`updates`](Watch::updates).
///
/// If you stop iterating, the generation keeps running, and can be watched again by its id.
#[must_use = "a watch does nothing unless it is iterated"]
pub struct Watch {
    api: Api,
    id: GenerationId,
    poll: Poll,
    /// When the first poll was due.
    started: Option<Instant>,
    next: Next,
    poll_count: u32,
    /// Whether the generation certainly exists: it was created by this client, or has been seen by this wait.
    is_known: bool,
    /// The first 404 of the current row of 404s.
    not_found_since: Option<Instant>,
    missing_urls: u32,
    last_status: Option<Status>,
    last_error: Option<Box<Error>>,
}

/// The next step.
enum Next {
    Poll(Instant),
    /// Yield the last update.
    Finish(Instant, Box<Update>),
    /// The last update has been yielded.
    Done,
}

impl Watch {
    pub(crate) fn new(api: Api, id: GenerationId, poll: Poll) -> Self {
        Watch {
            api,
            id,
            poll,
            started: None,
            next: Next::Poll(Instant::now()),
            poll_count: 0,
            is_known: false,
            not_found_since: None,
            missing_urls: 0,
            last_status: None,
            last_error: None,
        }
    }

    /// Returns the id of the generation.
    pub fn id(&self) -> &GenerationId {
        &self.id
    }

    /// Returns the last status that was not a finished one.
    pub(crate) fn last_status(&self) -> Option<&Status> {
        self.last_status.as_ref()
    }

    /// Says that the generation was created by this client: a 404 does not mean that its id is wrong.
    pub(crate) fn created_here(mut self) -> Self {
        self.is_known = true;
        self
    }

    /// Starts the clock of the wait, unless it runs already.
    pub(crate) fn start(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    /// Returns when the wait ends, once its clock runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.started? + self.poll.max_wait)
    }

    pub(crate) fn poll_count(&self) -> u32 {
        self.poll_count
    }

    /// Returns `true` if the last poll got no response at all.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.last_error.as_deref(), Some(Error::NoResponse { .. }))
    }

    /// Ends the wait at the next step, without another poll.
    pub(crate) fn time_out(&mut self) {
        if matches!(self.next, Next::Poll(_)) {
            self.finish(Err(self.deadline_exceeded()));
        }
    }

    fn finish(&mut self, outcome: Result<Video>) {
        self.next = Next::Finish(Instant::now(), Box::new(Update::Finished(outcome)));
    }

    /// Polls once. For a poll that is late, the time it was due counts: a busy thread is no reason to give up a
    /// generation that may have finished long ago.
    fn poll(&mut self, due: Instant) -> Update {
        let sent = Instant::now();
        let started = *self.started.get_or_insert(sent);
        let elapsed = due.saturating_duration_since(started);
        let timeout = self.poll.timeout(sent - started, self.api.timeouts().poll);
        self.poll_count = self.poll_count.saturating_add(1);
        let response = self.api.status(&self.id, Some(timeout));
        let now = Instant::now();
        let (update, retry_after) = match response {
            Ok(StatusResponse { status, retry_after }) => (self.on_status(status), retry_after),
            Err(FailedAttempt { error, class, .. }) if self.is_fatal(class, now) => {
                self.next = Next::Done;
                return Update::Finished(Err(match class {
                    RetryClass::NotFound if !self.is_known => error.or_unknown(&self.id),
                    _ => error.or_unfinished(&self.id),
                }));
            }
            Err(FailedAttempt { error, retry_after, .. }) => {
                self.last_error = Some(Box::new(error.duplicate()));
                (Update::Missed(*error), retry_after)
            }
        };
        if let Next::Poll(_) = self.next {
            match self.poll.next_delay(elapsed + (now - sent), retry_after) {
                Some(delay) => self.next = Next::Poll(now + delay),
                None => self.time_out(),
            }
        }
        update
    }

    fn on_status(&mut self, status: Status) -> Update {
        self.is_known = true;
        self.not_found_since = None;
        self.last_error = None;
        let outcome = match &status {
            Status::Completed(video) => Some(Ok(video.clone())),
            Status::Failed(failure) => Some(Err(Error::Failed { id: self.id.clone(), failure: failure.clone() })),
            _ => None,
        };
        match outcome {
            Some(outcome) => self.finish(outcome),
            None => self.last_status = Some(status.clone()),
        }
        Update::Status(status)
    }

    /// Counts a failed poll, and returns `true` if it ends the wait.
    fn is_fatal(&mut self, class: RetryClass, now: Instant) -> bool {
        match class {
            RetryClass::NotFound => self.not_found_since = self.not_found_since.or(Some(now)),
            RetryClass::MissingUrl => self.missing_urls += 1,
            RetryClass::Transient | RetryClass::Permanent => {}
        }
        let not_found_for = self.not_found_since.map_or(Duration::ZERO, |since| now - since);
        poll::is_fatal(class, not_found_for, self.missing_urls)
    }

    fn deadline_exceeded(&self) -> Error {
        let error = Error::DeadlineExceeded {
            max_wait: self.poll.max_wait,
            poll_count: self.poll_count,
            last_status: self.last_status.as_ref().map(ToString::to_string),
            source: self.last_error.as_ref().map(|error| Box::new(error.duplicate())),
        };
        // If the service has never known the id, nothing shows that the generation exists.
        match self.last_error.as_deref() {
            Some(last @ Error::Refused { status: 404, .. }) if !self.is_known => last.duplicate().or_unknown(&self.id),
            _ => error.or_unfinished(&self.id),
        }
    }
}

impl Source for Watch {
    type Item = Update;

    fn due(&mut self) -> Option<Instant> {
        match self.next {
            Next::Poll(due) | Next::Finish(due, _) => Some(due),
            Next::Done => None,
        }
    }

    fn step(&mut self) -> Option<Update> {
        match &self.next {
            Next::Poll(due) => Some(self.poll(*due)),
            Next::Finish(..) => match std::mem::replace(&mut self.next, Next::Done) {
                Next::Finish(_, update) => Some(*update),
                Next::Poll(_) | Next::Done => None,
            },
            Next::Done => None,
        }
    }
}

impl Iterator for Watch {
    type Item = Result<Status>;

    fn next(&mut self) -> Option<Result<Status>> {
        loop {
            match self.next_item()? {
                Update::Status(status) => return Some(Ok(status)),
                // The status that finished it has been yielded.
                Update::Finished(Ok(_) | Err(Error::Failed { .. })) => {}
                Update::Finished(Err(error)) => return Some(Err(error)),
                _ => {}
            }
        }
    }
}

impl FusedIterator for Watch {}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.id)
            .field("poll", &self.poll)
            .field("poll_count", &self.poll_count)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::{Emulator, Step};

    #[test]
    fn an_id_that_is_not_found_is_unknown_unless_its_generation_was_seen() {
        for is_known in [false, true] {
            let emulator = Emulator::script([Step::Http(404)]);
            let mut watch = emulator.client().watch(&"a:b".parse().unwrap());
            watch.is_known = is_known;
            // Longer than a generation takes to appear.
            watch.not_found_since = Instant::now().checked_sub(Duration::from_secs(61));
            let Some(Update::Finished(Err(error))) = watch.step() else { panic!("it is polled again") };
            assert_eq!(matches!(error, Error::UnknownGeneration { .. }), !is_known, "{error:?}");
            assert_eq!(error.generation_id(), Some(&watch.id));
        }
    }
}
