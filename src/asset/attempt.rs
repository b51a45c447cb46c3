//! An attempt to generate an asset, and what is known of its outcome.

use std::time::Duration;

use serde_json::Value;

use super::event::{Event, Reason, now};
use super::origin::{Origin, is_emulator};
use crate::builder::SERVICE;
use crate::generation::{GenerationId, Usage};

/// A create request, and everything that is known of its outcome.
///
/// It has a client request id of its own, and was sent at most once. So each event stays true, whatever order a merge
/// has put the lines in.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) request: Value,
    pub(super) client_request_id: String,
    server: Option<String>,
    requested_at: u64,
    /// Why the create request was refused.
    refused: Option<String>,
    id: Option<GenerationId>,
    /// Why the generation failed, without a charge.
    failed: Option<String>,
    ended: Option<String>,
    /// The lengths of the files that were received. A second download may have another length.
    file_sizes: Vec<u64>,
    /// An unknown cost has no amounts.
    cost: Usage,
    is_open: bool,
}

/// The outcome of an attempt, as far as it is known.
#[derive(Debug, PartialEq)]
pub(super) enum Stage<'a> {
    /// The outcome of the create request is unknown.
    Requested,
    /// The create request was refused or the generation failed; nothing was charged.
    Closed,
    Created(&'a GenerationId),
    /// The generation ended without a video, for this reason, and may have been charged.
    Ended(&'a GenerationId, &'a str),
    /// The complete file was at its path.
    Completed(&'a GenerationId),
}

impl Attempt {
    pub(super) fn new(request: Value, client_request_id: String, server: Option<String>, requested_at: u64) -> Self {
        Attempt {
            request,
            client_request_id,
            server,
            requested_at,
            refused: None,
            id: None,
            failed: None,
            ended: None,
            file_sizes: Vec::new(),
            cost: Usage::default(),
            is_open: true,
        }
    }

    /// Returns what is known of the outcome. If branches that were merged disagree, the event that is evidence of a
    /// charge counts.
    pub(super) fn stage(&self) -> Stage<'_> {
        match (&self.id, &self.ended) {
            (None, _) if self.refused.is_some() => Stage::Closed,
            (None, _) => Stage::Requested,
            (Some(id), _) if !self.file_sizes.is_empty() => Stage::Completed(id),
            (Some(id), Some(reason)) => Stage::Ended(id, reason),
            (Some(_), None) if self.failed.is_some() => Stage::Closed,
            (Some(id), None) => Stage::Created(id),
        }
    }

    pub(super) fn id(&self) -> Option<&GenerationId> {
        self.id.as_ref()
    }

    /// Returns the origin of the server that the request was sent to.
    pub(super) fn server(&self) -> &str {
        self.server.as_deref().unwrap_or(SERVICE)
    }

    /// Returns the server, if it is an emulator.
    pub(super) fn emulator_url(&self) -> Option<&str> {
        self.server.as_deref().filter(|server| is_emulator(server))
    }

    /// Returns what the receipt says about the file of this length that the attempt has made; `None` if it has made
    /// none.
    pub(super) fn origin(&self, file_size: u64) -> Option<Origin> {
        Some(Origin {
            id: self.id.clone()?,
            file_size,
            cost: self.cost,
            requested_at: self.requested_at,
            server: self.server.clone(),
        })
    }

    /// Returns when the request was sent first, in seconds since the Unix epoch.
    pub(super) fn requested_at(&self) -> u64 {
        self.requested_at
    }

    /// Returns the cost, as far as it is known.
    pub(super) fn cost(&self) -> Usage {
        self.cost
    }

    /// Returns why it was refused or has failed, if nothing was charged.
    pub(super) fn closed_reason(&self) -> Option<&str> {
        let reason = if self.id.is_some() { &self.failed } else { &self.refused };
        reason.as_deref().filter(|_| self.stage() == Stage::Closed)
    }

    /// Returns how long ago the request was sent.
    pub(super) fn age(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.requested_at))
    }

    pub(super) fn has_file_size(&self, len: u64) -> bool {
        self.file_sizes.contains(&len)
    }

    /// Returns `true` if an `ended` event with this reason has been recorded.
    pub(super) fn has_ended(&self, reason: &str) -> bool {
        self.ended.as_deref() == Some(reason)
    }

    /// Returns `true` if no outcome has been recorded since the last `requested` event.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Records a `requested` event.
    pub(super) fn reopen(&mut self, at: u64) {
        self.requested_at = self.requested_at.min(at);
        self.is_open = true;
    }

    /// Applies an event. Returns `None` if it contradicts the others.
    pub(super) fn apply(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Requested { .. } => return None,
            Event::Refused(Reason { reason, .. }) => self.refused = Some(reason),
            Event::Created { id, .. } => {
                if *self.id.get_or_insert_with(|| id.clone()) != id {
                    return None;
                }
                return Some(());
            }
            _ if self.id.is_none() => return None,
            Event::Failed(Reason { reason, .. }) => self.failed = Some(reason),
            Event::Ended(Reason { reason, .. }) => self.ended = Some(reason),
            Event::Completed { file_size, credits, usd, .. } => {
                if !self.has_file_size(file_size) {
                    self.file_sizes.push(file_size);
                }
                let Usage { credits: known_credits, usd: known_usd } = self.cost;
                let credits = credits.and_then(|credits| credits.as_f64());
                self.cost = Usage { credits: credits.or(known_credits), usd: usd.or(known_usd) };
            }
        }
        self.is_open = false;
        Some(())
    }

    /// Returns `true` if an event that does not name its attempt can be about this one.
    pub(super) fn is_due(&self, event: &Event) -> bool {
        match event {
            Event::Requested { .. } => false,
            Event::Refused(_) => self.id.is_none(),
            Event::Created { id, .. } => self.id.as_ref().is_none_or(|known| known == id),
            Event::Failed(_) | Event::Ended(_) | Event::Completed { .. } => self.id.is_some(),
        }
    }
}
