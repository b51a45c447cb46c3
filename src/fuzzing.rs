//! The doors for tests/fuzz to what is private; they exist under `--cfg fuzzing` alone.

use crate::mp4::Boxes;
use crate::wire::{self, LogEntry, LogPage};
use crate::{GenerationId, Status, redact};

pub fn created(body: &[u8]) -> Option<GenerationId> {
    wire::created(body).ok()
}

pub fn status(body: &[u8], id: &GenerationId) -> Option<Status> {
    wire::status(body, id).ok()
}

/// How many rows the page has, whether it is the last, and the ids of the rows of one client request.
pub fn log_page(body: &[u8], client_request_id: &str) -> Option<(usize, bool, Vec<GenerationId>)> {
    let page: LogPage = wire::log_page(body).ok()?;
    let ids = page.entries_for(client_request_id).filter_map(LogEntry::generation_id).cloned().collect();
    Some((page.len(), page.is_last(), ids))
}

/// The message and the request id.
pub fn refusal(body: &[u8]) -> (String, Option<String>) {
    let envelope = wire::refusal(body);
    (envelope.message, envelope.request_id)
}

/// Whether a file that comes in these pieces is one whole MP4 file.
pub fn check<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, is_framed: bool) -> Result<(), String> {
    let mut boxes = Boxes::default();
    pieces.into_iter().try_for_each(|piece| boxes.update(piece))?;
    boxes.finish(is_framed)
}

pub fn excerpt(bytes: &[u8]) -> String {
    redact::excerpt(bytes)
}

pub fn redact_url(url: &str) -> String {
    redact::redact_url(url)
}
