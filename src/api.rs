//! The three API calls, each sent once: create, status and logs.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{BoxError, Error, Result};
use crate::generation::{GenerationId, Status};
use crate::http::{Http, SendError, TransportError};
use crate::logs::{self, LogPage};
use crate::reason;
use crate::redact::Redactor;
use crate::response::Response;
use crate::retry::{FailedAttempt, RetryClass};
use crate::timeouts::Timeouts;
use crate::url::percent_encode;
use crate::wire::{self, Malformed};

/// The API path that is used. Both paths generate the same videos; switch if the service retires one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/v2/generate/video/kling/generation`: the path of the November 2025 description, which "can still be called".
    /// The default.
    #[default]
    Vendor,
    /// `/v2/video/generations`: the path of the June 2026 description.
    Universal,
}

impl Endpoint {
    const fn path(self) -> &'static str {
        match self {
            Endpoint::Vendor => "/v2/generate/video/kling/generation",
            Endpoint::Universal => "/v2/video/generations",
        }
    }
}

/// The API at one origin, used with one key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    http: Http,
    /// For create requests and polls.
    url: String,
    logs_url: String,
}

impl Api {
    pub(crate) fn new(http: Http, origin: &str, endpoint: Endpoint) -> Self {
        let (url, logs_url) = (format!("{origin}{}", endpoint.path()), format!("{origin}/v2/logs"));
        Api(Arc::new(Inner { http, url, logs_url }))
    }

    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.0.http.timeouts
    }

    pub(crate) fn retry_delay(&self) -> Duration {
        self.0.http.retry_delay
    }

    /// Sends a create request once. A transient failure means that it was certainly not accepted.
    pub(crate) fn create(&self, body: &[u8], client_request_id: &str) -> Result<GenerationId, FailedAttempt> {
        let request = format!("POST {}", self.0.url);
        let redactor = &self.0.http.redactor;
        let ambiguous = |error| {
            let client_request_id = client_request_id.to_owned();
            FailedAttempt::new(
                RetryClass::Permanent,
                Error::OutcomeUnknown { client_request_id, source: Box::new(error) },
            )
        };
        let response = match self.0.http.post(&self.0.url, client_request_id, body) {
            Ok(response) => response,
            Err(SendError::MaybeSent(cause)) => {
                return Err(ambiguous(Error::NoResponse { request, source: redactor.cause(cause) }));
            }
            Err(SendError::NotSent(TransportError { class, cause })) => {
                return Err(FailedAttempt::new(class, Error::NotSent { request, source: redactor.cause(cause) }));
            }
        };
        match Verdict::on_create(response.status) {
            Verdict::Read => {
                let read = wire::created(&response.body, response.inference_id.as_deref());
                read.map_err(|malformed| {
                    ambiguous(unexpected_create(request, response, Some(malformed.into()), redactor))
                })
            }
            Verdict::Refused(class) => Err(refused(request, &response, class, redactor)),
            Verdict::Ambiguous => {
                let cause = redirect(response.status);
                Err(ambiguous(unexpected_create(request, response, cause, redactor)))
            }
        }
    }

    /// Polls the status of a generation once, with `timeout` or the default one.
    pub(crate) fn status(&self, id: &GenerationId, timeout: Option<Duration>) -> Result<StatusResponse, FailedAttempt> {
        let url = [&self.0.url, "?generation_id=", &percent_encode(id.as_str())].concat();
        let (status, retry_after) = self.get(&url, timeout, |body| wire::status(body, id, &self.0.http.redactor))?;
        Ok(StatusResponse { status, retry_after })
    }

    /// Fetches one page of the last seven days of logs, newest first. Does not filter by model: if the logs spell the
    /// name differently, the page would be empty and the create request would appear not to have been accepted.
    pub(crate) fn logs(&self, offset: usize) -> Result<LogPage, FailedAttempt> {
        let url = format!("{}?period=7d&limit=100&offset={offset}", self.0.logs_url);
        let (page, _) = self.get(&url, None, logs::log_page)?;
        Ok(page)
    }

    /// Returns the error for logs that were received but make no sense.
    pub(crate) fn invalid_logs(&self, reason: &str) -> Error {
        Error::UnexpectedResponse {
            request: format!("GET {}", self.0.logs_url),
            status: 200,
            body: String::new(),
            source: Some(reason.into()),
        }
    }

    /// Sends one GET request, and reads a successful response and its `Retry-After`.
    fn get<T>(
        &self,
        url: &str,
        timeout: Option<Duration>,
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<(T, Option<Duration>), FailedAttempt> {
        let request = || format!("GET {}", url.split('?').next().unwrap_or_default());
        let redactor = &self.0.http.redactor;
        let response = match self.0.http.get(url, timeout) {
            Ok(response) => response,
            Err(TransportError { class, cause }) => {
                let source = redactor.cause(cause);
                return Err(FailedAttempt::new(class, Error::NoResponse { request: request(), source }));
            }
        };
        let (class, cause) = match Verdict::on_get(response.status) {
            Verdict::Read => match read(&response.body) {
                Ok(read) => return Ok((read, response.retry_after)),
                Err(malformed @ Malformed::MissingUrl) => (RetryClass::MissingUrl, Some(malformed.into())),
                Err(malformed) => (RetryClass::Transient, Some(malformed.into())),
            },
            Verdict::Refused(class) => return Err(refused(request(), &response, class, redactor)),
            Verdict::Ambiguous => match redirect(response.status) {
                Some(reason) => (RetryClass::Permanent, Some(reason)),
                None => (RetryClass::Transient, None),
            },
        };
        let retry_after = response.retry_after;
        Err(FailedAttempt { class, retry_after, error: Box::new(unexpected(request(), response, cause, redactor)) })
    }
}

/// The response to one poll.
pub(crate) struct StatusResponse {
    pub(crate) status: Status,
    pub(crate) retry_after: Option<Duration>,
}

/// The meaning of an HTTP status, before the body is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// The body holds the result.
    Read,
    /// The service refused the request.
    Refused(RetryClass),
    /// The status does not say whether the service acted on the request.
    Ambiguous,
}

impl Verdict {
    fn on_create(status: u16) -> Self {
        match status {
            200..300 => Verdict::Read,
            429 => Verdict::Refused(RetryClass::Transient),
            // After a timeout or a conflict, a generation may have been created.
            408 | 409 => Verdict::Ambiguous,
            400..500 => Verdict::Refused(RetryClass::Permanent),
            // Also a 503 with `Retry-After`: a stock Varnish sends it after its backend has read the request.
            _ => Verdict::Ambiguous,
        }
    }

    fn on_get(status: u16) -> Self {
        match status {
            200..300 => Verdict::Read,
            404 => Verdict::Refused(RetryClass::NotFound),
            429 => Verdict::Refused(RetryClass::Transient),
            408 | 409 | 425 => Verdict::Ambiguous,
            400..500 => Verdict::Refused(RetryClass::Permanent),
            _ => Verdict::Ambiguous,
        }
    }
}

fn refused(request: String, response: &Response, class: RetryClass, redactor: &Redactor) -> FailedAttempt {
    let refusal = reason::refusal(&response.body, redactor);
    FailedAttempt {
        class,
        retry_after: response.retry_after,
        error: Box::new(Error::Refused {
            request,
            status: response.status,
            message: refusal.message,
            request_id: refusal.request_id,
            retry_after: response.retry_after,
        }),
    }
}

/// Returns why a redirect is not a usable response, or `None` for any other status.
fn redirect(status: u16) -> Option<BoxError> {
    let reason = "redirects are not followed, because they could send the API key to another host";
    (300..400).contains(&status).then(|| reason.into())
}

/// For an incomplete body, the transport error is the better cause than the JSON error that it leads to.
fn unexpected(request: String, response: Response, cause: Option<BoxError>, redactor: &Redactor) -> Error {
    let Response { status, body, body_error, .. } = response;
    let source = body_error.or(cause).map(|cause| redactor.cause(cause));
    Error::UnexpectedResponse { request, status, body: redactor.excerpt(&body), source }
}

/// Keeps the id in the head of a response whose body is of no use. It may be a gateway's, so it does not prove anything.
fn unexpected_create(request: String, response: Response, cause: Option<BoxError>, redactor: &Redactor) -> Error {
    let id = response.inference_id.as_ref().map(|id| redactor.excerpt(id.as_bytes()));
    let mut error = unexpected(request, response, cause, redactor);
    if let (Error::UnexpectedResponse { source, .. }, Some(id)) = (&mut error, id) {
        let reason = source.take().map(|reason| format!("{reason}; ")).unwrap_or_default();
        *source = Some(format!("{reason}its header x-inference-id names generation {id}").into());
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use RetryClass::{NotFound, Permanent, Transient};
    use Verdict::{Ambiguous, Read, Refused};

    #[test]
    fn create_requests_are_retried_only_if_certainly_not_accepted() {
        let table = [
            (200, Read),
            (201, Read),
            (302, Ambiguous),
            (400, Refused(Permanent)),
            (401, Refused(Permanent)),
            (403, Refused(Permanent)),
            (404, Refused(Permanent)),
            (408, Ambiguous),
            (409, Ambiguous),
            (413, Refused(Permanent)),
            (422, Refused(Permanent)),
            (429, Refused(Transient)),
            (500, Ambiguous),
            (502, Ambiguous),
            (503, Ambiguous),
            (504, Ambiguous),
            (524, Ambiguous),
        ];
        for (status, verdict) in table {
            assert_eq!(Verdict::on_create(status), verdict, "{status}");
        }
    }

    #[test]
    fn get_requests_are_retried_unless_refused() {
        let table = [
            (200, Read),
            (301, Ambiguous),
            (400, Refused(Permanent)),
            (401, Refused(Permanent)),
            (403, Refused(Permanent)),
            (404, Refused(NotFound)),
            (408, Ambiguous),
            (409, Ambiguous),
            (422, Refused(Permanent)),
            (425, Ambiguous),
            (429, Refused(Transient)),
            (500, Ambiguous),
            (503, Ambiguous),
        ];
        for (status, verdict) in table {
            assert_eq!(Verdict::on_get(status), verdict, "{status}");
        }
    }
}
