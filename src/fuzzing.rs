//! Entry points for `tests/fuzz` into private code. Compiled only with `--cfg fuzzing`.

use crate::logs::{self, LogEntry, LogPage};
use crate::mp4::Boxes;
use crate::redact::{self, Redactor};
use crate::{GenerationId, Status, reason, timestamp, wire};

/// Returns the id in the response to a create request with this `x-inference-id`.
pub fn created(body: &[u8], inference_id: Option<&str>) -> Option<GenerationId> {
    wire::created(body, inference_id).ok()
}

/// Returns the status in the response to a poll.
pub fn status(body: &[u8], id: &GenerationId) -> Option<Status> {
    wire::status(body, id, &Redactor::default()).ok()
}

/// Returns the distance to the next page of the logs, whether this is the last one, and the ids of one client request.
pub fn log_page(body: &[u8], client_request_id: &str) -> Option<(usize, bool, Vec<GenerationId>)> {
    let page: LogPage = logs::log_page(body).ok()?;
    let ids = page.entries_for(client_request_id).filter_map(LogEntry::generation_id).cloned().collect();
    Some((page.step(), page.is_last(), ids))
}

/// Returns the message and the request id of a refusal.
pub fn refusal(body: &[u8]) -> (String, Option<String>) {
    let refusal = reason::refusal(body, &Redactor::default());
    (refusal.message, refusal.request_id)
}

/// Parses a timestamp.
pub fn unix_seconds(text: &str) -> Option<u64> {
    timestamp::unix_seconds(text)
}

/// Checks that a file in these pieces is a complete MP4 file.
pub fn check<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, is_framed: bool) -> Result<(), String> {
    let mut boxes = Boxes::default();
    pieces.into_iter().try_for_each(|piece| boxes.update(piece))?;
    boxes.finish(is_framed)
}

/// Returns the excerpt of a text without the API key.
pub fn excerpt(bytes: &[u8], key: &str) -> String {
    Redactor::new(key).excerpt(bytes)
}

/// Returns the part of a URL that may be shown.
pub fn redact_url(url: &str) -> String {
    redact::redact_url(url)
}
