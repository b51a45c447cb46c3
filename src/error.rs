//! What can go wrong: a variant for each thing that a caller does differently.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::generation::{Failure, GenerationId};

/// What this library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause from outside this crate: boxed, so that no type of a dependency is part of this API.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong, and so what to do next.
///
/// `Display` states the fact of this error alone; [`source`](StdError::source) has the rest. `Debug` prints the
/// message and all its causes, a line each, because `fn main() -> Result<(), kling::Error>` shows `Debug`.
///
/// No error holds the API key or the query of a file's URL, which may be signed.
///
/// # Example: what is worth telling apart
///
/// ```
/// use kling::{Client, Error, VideoRequest};
///
/// # let emulator = kling::emulator::Emulator::builder().create([kling::emulator::Step::Http(403)]).start();
/// # let client = emulator.client();
/// let advice = match client.generate(&VideoRequest::new("A lighthouse in a storm")) {
///     Ok(video) => format!("download {}", video.url),
///     // Nothing was charged.
///     Err(Error::NotSent { .. }) => "try again later".to_owned(),
///     Err(Error::Refused { status: 403, .. }) => "top up the account".to_owned(),
///     // Perhaps paid: find out before paying again.
///     Err(Error::OutcomeUnknown { client_request_id, .. }) => format!("look up {client_request_id}"),
///     // Paid: any process can go on with the id.
///     Err(error) => match error.generation_id() {
///         Some(id) => format!("wait for {id} again"),
///         None => error.to_string(),
///     },
/// };
/// assert_eq!(advice, "top up the account");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The environment holds no API key. Nothing was sent.
    #[error("no API key in the environment: set AIML_API_KEY")]
    MissingKey,

    /// The client cannot be built like this. Nothing was sent.
    #[error("invalid {what}: {reason}")]
    InvalidConfig {
        /// What was set.
        what: &'static str,
        /// Why it cannot be used. Never the key itself.
        reason: String,
    },

    /// The request cannot be sent like this. Nothing was sent.
    #[error("invalid {field}: {reason}")]
    InvalidRequest {
        /// The field of the request, as the service calls it.
        field: String,
        /// Why it cannot be sent.
        reason: String,
    },

    /// A create did not reach the service, so nothing was charged. Try again later.
    #[error("{request} was not sent, so nothing was charged: check the connection and try again")]
    NotSent {
        /// The method and the URL without its query.
        request: String,
        /// Why the connection did not come about.
        source: BoxError,
    },

    /// The service said no. A create that it refuses is not charged.
    #[error("{}", refusal(request, *status, message, request_id.as_deref(), *retry_after))]
    Refused {
        /// The method and the URL without its query.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The service's own explanation, or the beginning of what it sent instead.
        message: String,
        /// The service's id of this request, for its support.
        request_id: Option<String>,
        /// How long the service asks to wait (429 and 503).
        retry_after: Option<Duration>,
    },

    /// The create may have been accepted, and paid for. It is never sent again by itself.
    #[error(
        "the create with client request id {client_request_id} may have been accepted and charged: look this id up \
         within 7 days with `Client::recover`, as `asset::ensure` does, before sending it again"
    )]
    OutcomeUnknown {
        /// The `X-Client-Request-Id` that was sent.
        client_request_id: String,
        /// What came instead of an answer: [`NoResponse`](Error::NoResponse) or
        /// [`UnexpectedResponse`](Error::UnexpectedResponse); of an asset, [`AssetNotCurrent`](Error::AssetNotCurrent), or
        /// why the logs could not be read.
        source: Box<Error>,
    },

    /// One request got no answer. Ask again.
    #[error("{request} got no answer")]
    NoResponse {
        /// The method and the URL without its query.
        request: String,
        /// How the connection ended.
        source: BoxError,
    },

    /// One request got an answer that does not say what was asked. Ask again.
    #[error("{request} got an unexpected answer, {status}{}", after_colon(body))]
    UnexpectedResponse {
        /// The method and the URL without its query.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The first KiB of the body, on one line.
        body: String,
        /// Why the body could not be read, where that is the reason.
        source: Option<BoxError>,
    },

    /// The generation ended without a video, which the service does not charge for. Change the request.
    #[error("generation {id} ended without a video: {failure}")]
    Failed {
        /// The generation that failed.
        id: GenerationId,
        /// What the service says about it.
        failure: Failure,
    },

    /// The generation did not end in time. It still runs: wait again.
    #[error("no end within {max_wait:?}, asked {poll_count} times{}", last_word(last_status.as_deref()))]
    DeadlineExceeded {
        /// The deadline that was set.
        max_wait: Duration,
        /// How often the status was asked.
        poll_count: u32,
        /// The last word that the service said.
        last_status: Option<String>,
        /// Why the last poll failed, if it did.
        source: Option<Box<Error>>,
    },

    /// The generation exists and its video was not received. Go on with its id: in this process, another one, on
    /// another day.
    #[error("no video of generation {id} yet: go on with this id instead of paying again")]
    Unfinished {
        /// The generation to go on with.
        id: GenerationId,
        /// What stopped it.
        source: Box<Error>,
    },

    /// What came is not one whole MP4 file. No file was written.
    #[error("{url} is not a whole video: {found}")]
    NotAVideo {
        /// The file's URL without its query.
        url: String,
        /// What came instead.
        found: String,
    },

    /// The file of an asset is not what its request asks for, and the next step is a person's: the reason names it.
    #[error("{} is not current: {reason}", path.display())]
    AssetNotCurrent {
        /// The file.
        path: PathBuf,
        /// Why, and what would generate it.
        reason: String,
    },

    /// These assets could not be made. The others were, and are kept.
    #[error("{}", failures(failed))]
    AssetsNotMade {
        /// The file of each, and what went wrong.
        failed: Vec<(PathBuf, Error)>,
    },

    /// The disk or the environment failed.
    #[error("cannot {action} {}{}", path.display(), what_to_do(source.kind()))]
    Io {
        /// What was attempted: `create`, `write`, …
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Error {
    /// The generation that this error is about, so that it can be gone on with; `None` if there is none, or if it is
    /// not known whether there is one. Of several assets, that of the first which has one.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::VideoRequest;
    ///
    /// let emulator = Emulator::script([Step::Generating, Step::Http(401)]);
    /// let error = emulator.client().generate(&VideoRequest::new("A lighthouse in a storm")).unwrap_err();
    /// assert_eq!(error.generation_id().map(|id| id.as_str()), emulator.creates()[0].generation_id.as_deref());
    /// ```
    pub fn generation_id(&self) -> Option<&GenerationId> {
        match self {
            Error::Failed { id, .. } | Error::Unfinished { id, .. } => Some(id),
            Error::AssetsNotMade { failed } => failed.iter().find_map(|(_, error)| error.generation_id()),
            _ => None,
        }
    }

    /// Adds the id of a generation that exists, unless the error has it already.
    pub(crate) fn or_unfinished(self, id: &GenerationId) -> Error {
        if self.generation_id().is_some() {
            return self;
        }
        Error::Unfinished { id: id.clone(), source: Box::new(self) }
    }

    /// Returns a copy of an error that a poll can fail with. A cause that cannot be copied is kept as its message.
    pub(crate) fn duplicate(&self) -> Error {
        let text = |cause: &BoxError| BoxError::from(cause.to_string());
        match self {
            Error::NoResponse { request, source } => {
                Error::NoResponse { request: request.clone(), source: text(source) }
            }
            Error::Refused { request, status, message, request_id, retry_after } => Error::Refused {
                request: request.clone(),
                status: *status,
                message: message.clone(),
                request_id: request_id.clone(),
                retry_after: *retry_after,
            },
            Error::UnexpectedResponse { request, status, body, source } => Error::UnexpectedResponse {
                request: request.clone(),
                status: *status,
                body: body.clone(),
                source: source.as_ref().map(text),
            },
            other => Error::NoResponse { request: "a poll".to_owned(), source: other.to_string().into() },
        }
    }

    /// Makes an error of what the system says about a file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        f.write_str(&said)?;
        let mut source = self.source();
        while let Some(cause) = source {
            // Some errors of the system say what their own cause says.
            let says = cause.to_string();
            if says != said {
                write!(f, "\n  because: {says}")?;
            }
            said = says;
            source = cause.source();
        }
        Ok(())
    }
}

fn refusal(
    request: &str,
    status: u16,
    message: &str,
    request_id: Option<&str>,
    retry_after: Option<Duration>,
) -> String {
    let mut text = format!("the service refused {request} with {status}");
    text += &after_colon(message);
    if let Some(id) = request_id {
        text += &format!(" (request id {id})");
    }
    match (status, retry_after) {
        (_, Some(pause)) => text += &format!("; try again after {} s", pause.as_secs()),
        (401, _) => text += "; check the key in AIML_API_KEY",
        (402 | 403, _) => text += "; check the credit of the account and the rights of the key",
        (429, _) => text += "; try again later",
        _ => {}
    }
    text
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn last_word(word: Option<&str>) -> String {
    match word {
        Some(word) => format!(", the last status was \"{word}\": it may still end, wait again"),
        None => ": no answer told a status".to_owned(),
    }
}

/// All of it, with the causes: an error has one source, and here are several.
fn failures(failed: &[(PathBuf, Error)]) -> String {
    let lines: Vec<String> = failed.iter().map(|(path, error)| format!("{}: {error:?}", path.display())).collect();
    format!("cannot make {} of the assets:\n{}", failed.len(), lines.join("\n"))
}

fn what_to_do(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => ": allow this user to read and write there",
        io::ErrorKind::ReadOnlyFilesystem => ": make its file system writable",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room on its disk",
        _ => "",
    }
}
