//! One try that failed, and what that means for the next.

use std::time::Duration;

use crate::error::Error;

/// One try that failed.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) error: Error,
    pub(crate) nature: Nature,
    /// How long the server asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Setback {
    pub(crate) fn new(nature: Nature, error: Error) -> Self {
        Setback { error, nature, retry_after: None }
    }
}

/// What a failed try means for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It passes: the same may be asked again.
    Passing,
    /// Asking the same again ends the same way, or would be wrong.
    Lasting,
    /// What was asked for is not there: not yet, or no more.
    Missing,
    /// The service says completed, and does not say where the video is.
    NoUrl,
}
