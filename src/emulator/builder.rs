//! The scripts and settings of an emulator.

use std::time::Duration;

use super::step::Step;
use crate::timeouts::Timeouts;

/// The scripts and settings of an [`Emulator`], created by [`Emulator::builder`].
///
/// A script plays one step per request. After its last step, requests get the response that is due: create requests
/// are accepted, generations are completed, files and logs are returned.
///
/// [`Emulator`]: super::Emulator
/// [`Emulator::builder`]: super::Emulator::builder
#[derive(Clone, Debug)]
#[must_use]
pub struct EmulatorBuilder {
    pub(super) create: Vec<Step>,
    pub(super) status: Vec<Step>,
    pub(super) status_of: Vec<(usize, Vec<Step>)>,
    pub(super) file: Vec<Step>,
    pub(super) logs: Vec<Step>,
    pub(super) max_concurrent: usize,
    pub(super) ranges: bool,
    pub(super) etags: bool,
    pub(super) weak_etags: bool,
    pub(super) last_modified: bool,
    pub(super) last_modified_on_206: bool,
    pub(super) file_size_offset: Option<i64>,
    pub(super) logs_lag: usize,
    pub(super) logs_fallback: Option<usize>,
    pub(super) logs_age: Duration,
    pub(super) pace: Duration,
    pub(super) client_timeouts: Timeouts,
    pub(super) port: u16,
}

impl EmulatorBuilder {
    pub(super) fn new() -> Self {
        EmulatorBuilder {
            create: Vec::new(),
            status: vec![Step::Queued, Step::Generating],
            status_of: Vec::new(),
            file: Vec::new(),
            logs: Vec::new(),
            max_concurrent: usize::MAX,
            ranges: true,
            etags: true,
            weak_etags: false,
            last_modified: true,
            last_modified_on_206: true,
            file_size_offset: Some(0),
            logs_lag: 0,
            logs_fallback: None,
            logs_age: Duration::ZERO,
            pace: Duration::ZERO,
            client_timeouts: all_timeouts(Duration::from_secs(5)),
            port: 0,
        }
    }

    /// Returns the script of a generation, given by its index among the accepted ones.
    pub(super) fn script_of(&self, generation: usize) -> &[Step] {
        let own = self.status_of.iter().rfind(|(index, _)| *index == generation);
        own.map_or(&self.status, |(_, steps)| steps)
    }

    /// Sets the script of the create requests. Defaults to no steps.
    pub fn create(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.create = steps.into_iter().collect();
        self
    }

    /// Sets the script of the polls, which each generation plays from its beginning. Defaults to `queued`, then
    /// `generating`.
    pub fn status(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.status = steps.into_iter().collect();
        self
    }

    /// Sets the script of the polls for a single generation, given by its index among the accepted ones, from 0. It
    /// replaces [`status`](EmulatorBuilder::status) for this generation.
    pub fn status_of(mut self, generation: usize, steps: impl IntoIterator<Item = Step>) -> Self {
        self.status_of.push((generation, steps.into_iter().collect()));
        self
    }

    /// Sets the script of the file requests, which each generation plays from its beginning. Defaults to no steps.
    pub fn file(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.file = steps.into_iter().collect();
        self
    }

    /// Sets the script of the log requests. Defaults to no steps.
    pub fn logs(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.logs = steps.into_iter().collect();
        self
    }

    /// Sets how many generations the account may have in flight. A create request beyond that is refused with 429 and
    /// plays no step. A generation is in flight until a poll returns a finished status, or is sent after the last step.
    /// Defaults to no limit.
    pub fn max_concurrent(mut self, generations: usize) -> Self {
        self.max_concurrent = generations;
        self
    }

    /// Sets whether the file server honors `Range`. Otherwise, it returns the entire file with 200. Defaults to `true`.
    pub fn ranges(mut self, ranges: bool) -> Self {
        self.ranges = ranges;
        self
    }

    /// Sets whether files have an `ETag`. Defaults to `true`.
    pub fn etags(mut self, etags: bool) -> Self {
        self.etags = etags;
        self
    }

    /// Sets whether the `ETag` of files is a weak one, which matches no `If-Range`. Defaults to `false`.
    pub fn weak_etags(mut self, weak: bool) -> Self {
        self.weak_etags = weak;
        self
    }

    /// Sets whether files have a `Last-Modified`. Defaults to `true`.
    pub fn last_modified(mut self, last_modified: bool) -> Self {
        self.last_modified = last_modified;
        self
    }

    /// Sets whether 206 responses repeat `Last-Modified`. A server may leave it out (RFC 9110, 15.3.7). Defaults to
    /// `true`.
    pub fn last_modified_on_206(mut self, repeat: bool) -> Self {
        self.last_modified_on_206 = repeat;
        self
    }

    /// Sets the difference between the `file_size` that the service reports and the length of the file in bytes. `None`
    /// leaves `file_size` out. Defaults to 0.
    pub fn file_size_offset(mut self, offset: impl Into<Option<i64>>) -> Self {
        self.file_size_offset = offset.into();
        self
    }

    /// Sets how many log requests after a create request still omit it: the service may list a generation only after
    /// its end. Defaults to 0.
    pub fn logs_lag(mut self, reads: usize) -> Self {
        self.logs_lag = reads;
        self
    }

    /// Makes the logs list each create request twice, as if a gateway had fallen back to a second provider: as
    /// `failed` and without an id, and, from `reads` log requests later, also with its real outcome. Defaults to one
    /// entry per create request.
    pub fn logs_fallback(mut self, reads: usize) -> Self {
        self.logs_fallback = Some(reads);
        self
    }

    /// Sets the age of log entries at the time of their create request. Defaults to zero.
    pub fn logs_age(mut self, age: Duration) -> Self {
        self.logs_age = age;
        self
    }

    /// Sets the time limits of the clients of [`Emulator::client`](super::Emulator::client). Short ones keep a test of
    /// [`Step::Stall`] short. Default to 5 s each.
    pub fn client_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.client_timeouts = timeouts;
        self
    }

    /// Sets how long each step of a status script lasts: a poll within that time plays the step again. So a generation
    /// takes as long as a real one, however often it is polled. Defaults to zero.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Sets all [`client_timeouts`](EmulatorBuilder::client_timeouts) to the same value.
    pub fn client_timeout(self, timeout: Duration) -> Self {
        self.client_timeouts(all_timeouts(timeout))
    }

    /// Sets the port of the API. Defaults to 0, which takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

fn all_timeouts(timeout: Duration) -> Timeouts {
    Timeouts { connect: timeout, create: timeout, poll: timeout, stall: timeout }
}
