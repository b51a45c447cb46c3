//! Errors: one variant for each case that a caller handles differently.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::charged::Charged;
use crate::generation::{Failure, GenerationId};
use crate::message::{count, hint, last_status_clause, prefixed, refusal, shown};

/// The result type of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause from outside this crate. Boxed, so that no type of a dependency is part of the public API.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The reason why an operation failed. The variant says what to do next.
///
/// `Display` prints the error's own message, and [`source`](StdError::source) returns its cause. `Debug` prints the
/// message and all causes, one per line, because a `main` that returns a `Result` prints `Debug`.
///
/// A source that is an error of this library is boxed: `downcast_ref` finds it as a `Box<kling::Error>`.
///
/// No error contains the API key, or the query of a file's URL, which may hold a signature.
///
/// # Example: handling the cases that differ
///
/// ```
/// use kling::emulator::{Emulator, Step};
/// use kling::{Error, VideoRequest};
///
/// // With an API key: let client = kling::Client::from_env()?;
/// // Here, the account has no credit.
/// let emulator = Emulator::builder().create([Step::Http(403)]).start();
/// let client = emulator.client();
///
/// let request = VideoRequest::new("A lighthouse in a storm");
/// let advice = match client.generate(&request) {
///     Ok(video) => format!("download {}", video.url),
///     // Not charged.
///     Err(Error::NotSent { .. }) => "try again later".to_owned(),
///     Err(Error::Refused { status: 403, .. }) => "add credit".to_owned(),
///     // Not charged, if `failure.is_free()`.
///     Err(Error::Failed { failure, .. }) => format!("change the request: {failure}"),
///     // Perhaps charged: look it up before paying again.
///     Err(Error::OutcomeUnknown { client_request_id, .. }) => {
///         format!("look up {client_request_id}")
///     }
///     // Charged: any process can resume it.
///     Err(Error::Unfinished { id, .. }) => format!("wait for {id} again"),
///     Err(error) => error.to_string(),
/// };
/// assert_eq!(advice, "add credit");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No API key is set in the environment. Nothing was sent.
    #[error("no API key in the environment; set AIML_API_KEY")]
    MissingKey,

    /// A setting of the client, or of the environment, cannot be used. Nothing was sent.
    #[error("invalid {what}: {reason}")]
    InvalidConfig {
        /// The name of the setting or of the environment variable.
        what: &'static str,
        /// Why it cannot be used. Never contains the API key.
        reason: String,
    },

    /// The request failed validation. Nothing was sent.
    #[error("invalid {field}: {reason}")]
    InvalidRequest {
        /// The field of the request, by the service's name for it.
        field: String,
        /// Why it cannot be sent.
        reason: String,
    },

    /// The create request did not reach the service, so nothing was charged. Try again later.
    #[error("{request} was not sent, so nothing was charged; check the connection and try again")]
    NotSent {
        /// The method, and the URL without its query.
        request: String,
        /// Why the connection could not be made.
        source: BoxError,
    },

    /// The service refused the request. A create request that is refused is not charged.
    #[error("{}", refusal(request, *status, message, request_id.as_deref(), *retry_after))]
    Refused {
        /// The method, and the URL without its query.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The service's own explanation, or the beginning of the response if it has none.
        message: String,
        /// The service's id of this request, to quote to its support.
        request_id: Option<String>,
        /// The delay that the service requests before another attempt.
        retry_after: Option<Duration>,
    },

    /// The create request may have been accepted, and charged. It is never retried automatically.
    ///
    /// [`Client::recover`](crate::Client::recover) looks it up. Do that before you send the request again.
    #[error(
        "the create request with client request id {client_request_id} may have been accepted and charged; before \
         sending it again, look this id up in the service's logs, which go back 7 days"
    )]
    OutcomeUnknown {
        /// The client request id (`X-Client-Request-Id`) that was sent.
        client_request_id: String,
        /// Why the outcome is unknown: [`NoResponse`](Error::NoResponse) or
        /// [`UnexpectedResponse`](Error::UnexpectedResponse), or the error that kept the logs from being read. For an
        /// asset, [`AssetNotCurrent`](Error::AssetNotCurrent) with the next step.
        source: Box<Error>,
    },

    /// The request got no response. This is the cause of [`Unfinished`](Error::Unfinished) or
    /// [`OutcomeUnknown`](Error::OutcomeUnknown), which say what to do next.
    #[error("{request}: no response")]
    NoResponse {
        /// The method, and the URL without its query.
        request: String,
        /// How the connection failed.
        source: BoxError,
    },

    /// The response could not be interpreted. This is the cause of [`Unfinished`](Error::Unfinished) or
    /// [`OutcomeUnknown`](Error::OutcomeUnknown), which say what to do next.
    #[error("{request}: unexpected response with status {status}{}", prefixed(body))]
    UnexpectedResponse {
        /// The method, and the URL without its query.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The first KiB of the body, on one line.
        body: String,
        /// Why the body could not be read, if that is the reason.
        source: Option<BoxError>,
    },

    /// The generation ended without a video. Change the request.
    ///
    /// The service does not charge for it if [`Failure::is_free`] returns `true`.
    #[error("generation {id} failed: {failure}")]
    Failed {
        /// The generation that failed.
        id: GenerationId,
        /// The service's explanation.
        failure: Failure,
    },

    /// The generation did not finish in time. It is still running: wait again.
    #[error(
        "generation not finished after {max_wait:?} ({}){}",
        count(*poll_count as usize, "poll"),
        last_status_clause(last_status.as_deref())
    )]
    DeadlineExceeded {
        /// The time limit: [`Poll::max_wait`](crate::Poll::max_wait).
        max_wait: Duration,
        /// How many times the status was polled.
        poll_count: u32,
        /// The last status that the service reported.
        last_status: Option<String>,
        /// Why the last poll failed, if it did.
        source: Option<Box<Error>>,
    },

    /// The generation exists, but its video was not received. Resume it by its id, from any process at any later time.
    #[error("generation {id} exists, but its video was not received; resume it by this id instead of paying again")]
    Unfinished {
        /// The generation to resume.
        id: GenerationId,
        /// What ended the wait or the download.
        source: Box<Error>,
    },

    /// The service does not know the generation: the id is wrong, belongs to another API key, or is too old.
    ///
    /// If the same call has created the generation, or polled it successfully, the error is
    /// [`Unfinished`](Error::Unfinished).
    #[error("the service does not know generation {id}; check the id, and that it was created with the same API key")]
    UnknownGeneration {
        /// The id that was polled.
        id: GenerationId,
        /// The service's response.
        source: Box<Error>,
    },

    /// The file that was received is not a complete MP4 file. No file was written.
    #[error("{url} is not a complete video: {found}")]
    NotAVideo {
        /// The file's URL without its query.
        url: String,
        /// What was received instead.
        found: String,
    },

    /// The file of an asset is not the video of its request, and a person has to decide what to do.
    #[error("{} is not current: {reason}", shown(path))]
    AssetNotCurrent {
        /// The file.
        path: PathBuf,
        /// Why it is not current, and how to generate it.
        reason: String,
        /// Whether its generation was charged.
        charged: Charged,
    },

    /// Some assets could not be made. The others were made, and are kept.
    #[error("{}", list_failures(failed))]
    AssetsNotMade {
        /// The path of each asset that could not be made, and its error.
        failed: Vec<(PathBuf, Error)>,
    },

    /// An operation on a file or directory failed.
    #[error("failed to {action} {}{}", shown(path), hint(source.kind()))]
    Io {
        /// What was attempted, as a verb: `write`, `open the receipt`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Error {
    /// Returns the id of the generation that this error concerns.
    ///
    /// An [`Unfinished`](Error::Unfinished) generation can be resumed by this id. A [`Failed`](Error::Failed) one
    /// cannot; its id is returned for questions to the service's support. Returns `None` if no generation exists, or if
    /// it is unknown whether one exists. If several assets could not be made, returns the first id.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::VideoRequest;
    ///
    /// let emulator = Emulator::script([Step::Generating, Step::Http(401)]);
    /// let request = VideoRequest::new("A lighthouse in a storm");
    /// let error = emulator.client().generate(&request).unwrap_err();
    /// let id = error.generation_id().map(|id| id.to_string());
    /// assert_eq!(id, emulator.creates()[0].generation_id);
    /// ```
    pub fn generation_id(&self) -> Option<&GenerationId> {
        match self {
            Error::Failed { id, .. } | Error::Unfinished { id, .. } | Error::UnknownGeneration { id, .. } => Some(id),
            Error::AssetsNotMade { failed } => failed.iter().find_map(|(_, error)| error.generation_id()),
            _ => None,
        }
    }

    /// Returns whether the service has charged for the generation that this error concerns.
    ///
    /// This holds for every variant, whichever method returned it. If several assets could not be made, returns the
    /// worst case. An error that concerns only a file, such as [`Error::Io`] from [`save`](crate::save()), does not say
    /// whether its video was charged.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::{Charged, VideoRequest};
    ///
    /// let emulator = Emulator::builder().create([Step::Http(403), Step::Close]).start();
    /// let client = emulator.client();
    /// let request = VideoRequest::new("A lighthouse in a storm");
    ///
    /// // The service refuses the first request. The response to the second is lost.
    /// assert_eq!(client.generate(&request).unwrap_err().charged(), Charged::No);
    /// assert_eq!(client.generate(&request).unwrap_err().charged(), Charged::Perhaps);
    /// ```
    pub fn charged(&self) -> Charged {
        match self {
            Error::MissingKey | Error::InvalidConfig { .. } | Error::InvalidRequest { .. } | Error::NotSent { .. } => {
                Charged::No
            }
            // Only create requests are POST requests. Everything that is fetched belongs to a generation that exists.
            Error::Refused { request, .. } if is_post(request) => Charged::No,
            Error::NoResponse { request, .. } | Error::UnexpectedResponse { request, .. } if is_post(request) => {
                Charged::Perhaps
            }
            Error::Refused { .. } | Error::NoResponse { .. } | Error::UnexpectedResponse { .. } => Charged::Yes,
            Error::Unfinished { source, .. } if matches!(**source, Error::AssetNotCurrent { .. }) => source.charged(),
            Error::Unfinished { .. } | Error::DeadlineExceeded { .. } | Error::NotAVideo { .. } => Charged::Yes,
            Error::Failed { failure, .. } if failure.is_free() => Charged::No,
            Error::Failed { .. } | Error::OutcomeUnknown { .. } | Error::UnknownGeneration { .. } => Charged::Perhaps,
            Error::AssetNotCurrent { charged, .. } => *charged,
            Error::AssetsNotMade { failed } => {
                failed.iter().map(|(_, error)| error.charged()).max().unwrap_or(Charged::No)
            }
            Error::Io { .. } => Charged::Perhaps,
        }
    }

    /// Wraps this error in [`Error::Unfinished`], unless it carries an id already.
    pub(crate) fn or_unfinished(self, id: &GenerationId) -> Error {
        if self.generation_id().is_some() {
            return self;
        }
        Error::Unfinished { id: id.clone(), source: Box::new(self) }
    }

    /// Wraps the 404 of a poll in [`Error::UnknownGeneration`].
    pub(crate) fn or_unknown(self, id: &GenerationId) -> Error {
        Error::UnknownGeneration { id: id.clone(), source: Box::new(self) }
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

    /// Returns the message of this error and those of its causes on one line.
    pub(crate) fn on_one_line(&self) -> String {
        format!("{self:?}").replace("\n  caused by: ", ": ")
    }

    pub(crate) fn invalid_request(field: &str, reason: impl Into<String>) -> Error {
        Error::InvalidRequest { field: field.to_owned(), reason: reason.into() }
    }

    /// Returns a function that turns the operating system's error about `path` into [`Error::Io`].
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}

fn is_post(request: &str) -> bool {
    request.starts_with("POST ")
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", list_causes(self, None))
    }
}

/// Lists the causes of an error, one per line. Those about `asset` are listed without its path.
fn list_causes(error: &Error, asset: Option<&Path>) -> String {
    let mut text = String::new();
    let mut previous = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // The field is a box, and so is the type that thiserror's `source` returns.
        let message = match cause.downcast_ref::<Box<Error>>().map(Box::as_ref) {
            Some(Error::AssetNotCurrent { path, reason, .. }) if Some(path.as_path()) == asset => reason.clone(),
            _ => cause.to_string(),
        };
        // Some errors print the message of their own cause.
        if message != previous {
            text += &format!("\n  caused by: {message}");
        }
        previous = message;
        source = cause.source();
    }
    text
}

/// Lists the errors with their causes: an error has only one source, and these are several.
fn list_failures(failed: &[(PathBuf, Error)]) -> String {
    let mut text = format!("{} could not be made:", count(failed.len(), "asset"));
    for (path, error) in failed {
        let error = match error {
            // The advice of the asset names the id, and the run that looks it up.
            Error::OutcomeUnknown { source, .. } if matches!(**source, Error::AssetNotCurrent { .. }) => source,
            error => error,
        };
        let is_named = |named: &Path| named.to_string_lossy().starts_with(&*path.to_string_lossy());
        let prefix = match error {
            // The path of the asset, or of its receipt.
            Error::AssetNotCurrent { path: named, .. } | Error::Io { path: named, .. } if is_named(named) => {
                String::new()
            }
            _ => format!("{}: ", shown(path)),
        };
        text += &format!("\n{prefix}{error}{}", list_causes(error, Some(path)));
    }
    text
}
