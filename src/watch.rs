//! An iterator over the status updates of one generation, which sleeps between polls.

use std::fmt;
use std::thread;
use std::time::Instant;

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
    first_poll: Option<Instant>,
    next: Next,
    poll_count: u32,
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
            first_poll: None,
            next: Next::Poll(Instant::now()),
            poll_count: 0,
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

    /// Takes the next step without sleeping. Returns `None` for a missed poll.
    pub(crate) fn step(&mut self) -> Option<Result<Status>> {
        match self.next {
            Next::Poll(due) => self.poll(due),
            Next::TimeOut(_) => {
                self.next = Next::Done;
                Some(Err(self.deadline_exceeded()))
            }
            Next::Done => None,
        }
    }

    /// Polls once. For a poll that is late, the time it was due counts: that this thread was busy is no reason to give
    /// up a generation that may have finished long ago.
    fn poll(&mut self, due: Instant) -> Option<Result<Status>> {
        let sent = Instant::now();
        let first_poll = *self.first_poll.get_or_insert(sent);
        let elapsed = due.saturating_duration_since(first_poll);
        let timeout = self.poll.timeout(elapsed, self.api.timeouts().poll);
        self.poll_count = self.poll_count.saturating_add(1);
        let (item, retry_after) = match self.api.status(&self.id, Some(timeout)) {
            Ok(StatusResponse { status, retry_after }) => {
                if status.is_finished() {
                    self.next = Next::Done;
                    return Some(Ok(status));
                }
                self.last_status = Some(status.clone());
                self.last_error = None;
                (Some(Ok(status)), retry_after)
            }
            Err(FailedAttempt { error, class, retry_after }) => {
                self.missing_urls += u32::from(class == RetryClass::MissingUrl);
                if poll::is_fatal(class, first_poll.elapsed(), self.missing_urls) {
                    self.next = Next::Done;
                    return Some(Err(error.or_unfinished(&self.id)));
                }
                self.last_error = Some(Box::new(error));
                (None, retry_after)
            }
        };
        let now = Instant::now();
        self.next = match self.poll.next_delay(elapsed + (now - sent), retry_after) {
            Some(delay) => Next::Poll(now + delay),
            None => Next::TimeOut(now),
        };
        item
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
