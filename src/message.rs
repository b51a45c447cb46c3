//! Parts of error messages that need more than a format string.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Returns the message for a request that the service refused, with advice.
pub(crate) fn refusal(
    request: &str,
    status: u16,
    message: &str,
    request_id: Option<&str>,
    retry_after: Option<Duration>,
) -> String {
    let mut text = format!("the service refused {request} with status {status}{}", prefixed(message));
    if let Some(id) = request_id {
        text += &format!(" (request id {id})");
    }
    match (status, retry_after) {
        (_, Some(delay)) => text += &format!("; try again after {} s", delay.as_secs()),
        (401, _) => text += "; check the API key in AIML_API_KEY",
        (402 | 403, _) => text += "; check the account's credit and the API key's permissions",
        (429, _) => text += "; try again later",
        _ => {}
    }
    text
}

/// Returns the text after a colon, or nothing if it is empty.
pub(crate) fn prefixed(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Returns the end of the message for a generation that did not finish in time.
pub(crate) fn last_status_clause(last_status: Option<&str>) -> String {
    match last_status {
        Some(status) => format!(", last status \"{status}\"; it may still finish"),
        None => ", and no poll returned a status".to_owned(),
    }
}

/// Returns a number of things, such as `1 poll` or `2 polls`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Returns the path as text that is never empty.
pub(crate) fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { "\"\" (an empty path)".to_owned() } else { path.display().to_string() }
}

/// Returns the advice for an error that its user can resolve. Windows denies access to a file in use with the same error.
pub(crate) fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied if cfg!(windows) => "; close it in other programs, or change its permissions",
        io::ErrorKind::PermissionDenied => "; give this user permission to read and write there",
        io::ErrorKind::ReadOnlyFilesystem => "; make the file system writable",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some disk space",
        _ => "",
    }
}
