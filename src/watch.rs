//! An iterator over the status updates of one generation, which sleeps between polls.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{Api, StatusResponse};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::poll::{self, Poll};
use crate::retry::{FailedAttempt, RetryClass};

/// An iterator over the statuses of one generation, returned by [`Client::watch`](crate::Client::watch).
///
/// Each item is the response to one poll; the thread sleeps between polls. A *missed poll*, one that failed for a
/// transient reason, is not yielded: it is retried at the next interval. The last item is a finished status, or the
/// error that ended the wait. To stop earlier, stop iterating: the generation keeps running, and can be watched again
/// by its id.
pub struct Watch {
    api: Api,
    id: GenerationId,
    poll: Poll,
    /// When the first poll was due.
    started: Option<Instant>,
    next: Next,
    poll_count: u32,
    /// The first 404 of the current row of 404s.
    not_found_since: Option<Instant>,
    missing_urls: u32,
    last_status: Option<Status>,
    last_error: Option<Box<Error>>,
}

/// The next step, and when it is due.
#[derive(Clone, Copy)]
enum Next {
    Poll(Instant),
    /// Report that the deadline has passed.
    TimeOut(Instant),
    /// The last item has been returned.
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
            not_found_since: None,
            missing_urls: 0,
            last_status: None,
            last_error: None,
        }
    }

    pub(crate) fn id(&self) -> &GenerationId {
        &self.id
    }

    /// Returns the last status that was not a finished one.
    pub(crate) fn last_status(&self) -> Option<&Status> {
        self.last_status.as_ref()
    }

    /// Returns when the next step is due, or `None` after the last one.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.next {
            Next::Poll(due) | Next::TimeOut(due) => Some(due),
            Next::Done => None,
        }
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
    pub(crate) fn time_out(&mut self, now: Instant) {
        self.next = Next::TimeOut(now);
    }

    /// Takes the next step without sleeping. Returns `None` for a missed poll.
    pub(crate) fn step(&mut self) -> Option<Result<Status>> {
        match self.next {
            Next::Poll(_) => self.poll(),
            Next::TimeOut(_) => {
                self.next = Next::Done;
                Some(Err(self.deadline_exceeded()))
            }
            Next::Done => None,
        }
    }

    /// Polls once, also past the deadline: that this thread was busy when the poll was due is no reason to give up a
    /// generation that may have finished long ago.
    fn poll(&mut self) -> Option<Result<Status>> {
        let sent = Instant::now();
        let started = *self.started.get_or_insert(sent);
        let timeout = self.poll.timeout(sent - started, self.api.timeouts().poll);
        self.poll_count = self.poll_count.saturating_add(1);
        let response = self.api.status(&self.id, Some(timeout));
        let now = Instant::now();
        let (item, retry_after) = match response {
            Ok(StatusResponse { status, retry_after }) => {
                if status.is_finished() {
                    self.next = Next::Done;
                    return Some(Ok(status));
                }
                self.not_found_since = None;
                self.last_status = Some(status.clone());
                self.last_error = None;
                (Some(Ok(status)), retry_after)
            }
            Err(FailedAttempt { error, class, retry_after }) => {
                if self.is_fatal(class, now) {
                    self.next = Next::Done;
                    return Some(Err(error.or_unfinished(&self.id)));
                }
                self.last_error = Some(Box::new(error));
                (None, retry_after)
            }
        };
        self.next = match self.poll.next_delay(now - started, retry_after) {
            Some(delay) => Next::Poll(now + delay),
            None => Next::TimeOut(now),
        };
        item
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

    fn deadline_exceeded(&mut self) -> Error {
        let error = Error::DeadlineExceeded {
            max_wait: self.poll.max_wait,
            poll_count: self.poll_count,
            last_status: self.last_status.take().map(|status| status.to_string()),
            source: self.last_error.take(),
        };
        error.or_unfinished(&self.id)
    }
}

impl Iterator for Watch {
    type Item = Result<Status>;

    fn next(&mut self) -> Option<Result<Status>> {
        loop {
            thread::sleep(self.due()?.saturating_duration_since(Instant::now()));
            if let Some(item) = self.step() {
                return Some(item);
            }
        }
    }
}

impl std::iter::FusedIterator for Watch {}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.id)
            .field("poll", &self.poll)
            .field("poll_count", &self.poll_count)
            .finish()
    }
}

/// Returns the result of the wait that an update ends, or `None` if the wait continues.
pub(crate) fn outcome(id: &GenerationId, update: Result<Status>) -> Option<Result<Video>> {
    match update {
        Ok(Status::Completed(video)) => Some(Ok(video)),
        Ok(Status::Failed(failure)) => Some(Err(Error::Failed { id: id.clone(), failure })),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}
