//! One generation, an update at a time: an iterator that sleeps between its items.

use std::fmt;
use std::thread;
use std::time::Instant;

use crate::api::{Api, Polled};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::poll::{self, Poll};
use crate::setback::{Nature, Setback};

/// An iterator over the updates of one generation, made by [`Client::watch`](crate::Client::watch).
///
/// Each item is the answer to one poll; the thread sleeps between them. A poll that failed for a passing reason is not
/// an item: it is asked again at the next turn. The last item is a finished status, or the error that ended the wait.
/// To stop earlier, stop iterating: the generation goes on, and can be watched again by its id.
pub struct Watch {
    api: Api,
    id: GenerationId,
    poll: Poll,
    first_poll: Option<Instant>,
    next: Next,
    polls: u32,
    without_url: u32,
    last_status: Option<Status>,
    last_error: Option<Box<Error>>,
}

/// What the next turn does, and when.
#[derive(Clone, Copy)]
enum Next {
    Ask(Instant),
    /// Reports that the deadline has passed.
    GiveUp(Instant),
    /// The last item was handed out.
    Nothing,
}

impl Watch {
    pub(crate) fn new(api: Api, id: GenerationId, poll: Poll) -> Self {
        Watch {
            api,
            id,
            poll,
            first_poll: None,
            next: Next::Ask(Instant::now()),
            polls: 0,
            without_url: 0,
            last_status: None,
            last_error: None,
        }
    }

    pub(crate) fn id(&self) -> &GenerationId {
        &self.id
    }

    /// The last status that was not a finished one.
    pub(crate) fn last_status(&self) -> Option<&Status> {
        self.last_status.as_ref()
    }

    /// When the next turn is; `None` after the last.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.next {
            Next::Ask(due) | Next::GiveUp(due) => Some(due),
            Next::Nothing => None,
        }
    }

    /// Takes one turn without waiting for it. `None` if it brings no update.
    pub(crate) fn turn(&mut self) -> Option<Result<Status>> {
        match self.next {
            Next::Ask(due) => self.ask(due),
            Next::GiveUp(_) => {
                self.next = Next::Nothing;
                Some(Err(self.deadline_exceeded()))
            }
            Next::Nothing => None,
        }
    }

    /// A turn that comes late is judged by when it was due: the thread was busy with something else, and that is no
    /// reason to give up a generation that may have ended long ago.
    fn ask(&mut self, due: Instant) -> Option<Result<Status>> {
        let asked = Instant::now();
        let first_poll = *self.first_poll.get_or_insert(asked);
        let elapsed = due.saturating_duration_since(first_poll);
        let patience = self.poll.patience(elapsed, self.api.limits().poll);
        self.polls = self.polls.saturating_add(1);
        let (item, retry_after) = match self.api.status(&self.id, Some(patience)) {
            Ok(Polled { status, retry_after }) => {
                if status.is_finished() {
                    self.next = Next::Nothing;
                    return Some(Ok(status));
                }
                self.last_status = Some(status.clone());
                self.last_error = None;
                (Some(Ok(status)), retry_after)
            }
            Err(Setback { error, nature, retry_after }) => {
                self.without_url += u32::from(nature == Nature::NoUrl);
                if poll::ends_the_wait(nature, first_poll.elapsed(), self.without_url) {
                    self.next = Next::Nothing;
                    return Some(Err(error.about(&self.id)));
                }
                self.last_error = Some(Box::new(error));
                (None, retry_after)
            }
        };
        let now = Instant::now();
        self.next = match self.poll.pause(elapsed + (now - asked), retry_after) {
            Some(pause) => Next::Ask(poll::later(now, pause)),
            None => Next::GiveUp(now),
        };
        item
    }

    fn deadline_exceeded(&mut self) -> Error {
        let error = Error::DeadlineExceeded {
            deadline: self.poll.deadline,
            polls: self.polls,
            last_status: self.last_status.take().map(|status| status.to_string()),
            source: self.last_error.take(),
        };
        error.about(&self.id)
    }
}

impl Iterator for Watch {
    type Item = Result<Status>;

    fn next(&mut self) -> Option<Result<Status>> {
        loop {
            thread::sleep(self.due()?.saturating_duration_since(Instant::now()));
            if let Some(item) = self.turn() {
                return Some(item);
            }
        }
    }
}

impl std::iter::FusedIterator for Watch {}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).field("poll", &self.poll).field("polls", &self.polls).finish()
    }
}

/// The video or the error that an update ends a wait with; `None` if it goes on.
pub(crate) fn outcome(id: &GenerationId, update: Result<Status>) -> Option<Result<Video>> {
    match update {
        Ok(Status::Completed(video)) => Some(Ok(video)),
        Ok(Status::Failed(failure)) => Some(Err(Error::Failed { id: id.clone(), failure })),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}
