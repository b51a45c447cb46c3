//! Everything that happens to a generation, in order.

use std::fmt;

use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};

/// Something that happened to a generation, yielded by [`Watch::updates`](crate::Watch::updates) and
/// [`Batch::updates`](crate::Batch::updates). `Display` prints it on one line.
///
/// A generation that is created yields, in this order: [`Sending`](Update::Sending) and [`Retrying`](Update::Retrying)
/// any number of times, [`Created`](Update::Created), then [`Status`](Update::Status) and [`Missed`](Update::Missed) any
/// number of times, and [`Finished`](Update::Finished) exactly once. One that exists already begins with its first
/// poll. One that is never created ends with `Finished` as well.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// A create request is about to be sent. It is sent when the next update is requested.
    ///
    /// Store this id first, and the generation can be found again whatever happens:
    /// [`Client::recover`](crate::Client::recover).
    Sending {
        /// The `X-Client-Request-Id` of this attempt.
        client_request_id: String,
    },
    /// The create request was certainly not accepted. It is sent again: after a delay or, if generations of the same
    /// batch fill the account, when one of them has finished.
    Retrying(Error),
    /// The generation exists, and is paid for.
    Created(GenerationId),
    /// The response to a poll.
    Status(Status),
    /// A poll failed for a transient reason. It is retried at the next interval.
    Missed(Error),
    /// The generation has finished, or is no longer waited for. This is the last update.
    Finished(Result<Video>),
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A log of updates then holds all that is needed to look up a lost request.
            Update::Sending { client_request_id } => write!(f, "sending the create request as {client_request_id}"),
            Update::Retrying(error) => write!(f, "retrying the create request: {}", error.on_one_line()),
            Update::Created(id) => write!(f, "created generation {id}"),
            Update::Status(status) => status.fmt(f),
            Update::Missed(error) => write!(f, "missed a poll: {}", error.on_one_line()),
            Update::Finished(Ok(_)) => f.write_str("finished"),
            Update::Finished(Err(error)) => f.write_str(&error.on_one_line()),
        }
    }
}
