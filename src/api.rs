//! The three calls of the service, each sent once: create, status and logs.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Cause, Error, Result};
use crate::generation::{GenerationId, Status};
use crate::http::{Answer, Fault, Http, Limits, PostFault};
use crate::random;
use crate::request::VideoRequest;
use crate::setback::{Nature, Setback};
use crate::shown::excerpt;
use crate::wire::{self, LogPage, Malformed};

/// Which of the service's two paths is used. Both make the same videos: change it if the service retires one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// The service at one origin, spoken to with one key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    http: Http,
    /// Where creates and questions for a status go to.
    url: String,
    logs_url: String,
}

/// A create, ready to be sent.
pub(crate) struct Draft {
    body: Vec<u8>,
    client_request_id: String,
    /// The id was drawn here, and not given by the caller.
    drawn: bool,
}

impl Draft {
    pub(crate) fn new(request: &VideoRequest) -> Result<Self> {
        request.check()?;
        let body = serde_json::to_vec(request)
            .map_err(|error| Error::InvalidRequest { field: "request".to_owned(), reason: error.to_string() })?;
        let given = request.chosen_client_request_id().map(str::to_owned);
        Ok(Draft { body, drawn: given.is_none(), client_request_id: given.unwrap_or_else(drawn_id) })
    }

    pub(crate) fn client_request_id(&self) -> &str {
        &self.client_request_id
    }

    /// Makes ready for another try, under an id of its own if that can be.
    pub(crate) fn renew(&mut self) {
        if self.drawn {
            self.client_request_id = drawn_id();
        }
    }
}

fn drawn_id() -> String {
    format!("kling-{:016x}{:016x}", random::bits(), random::bits())
}

impl Api {
    pub(crate) fn new(http: Http, origin: &str, endpoint: Endpoint) -> Self {
        let (url, logs_url) = (format!("{origin}{}", endpoint.path()), format!("{origin}/v2/logs"));
        Api(Arc::new(Inner { http, url, logs_url }))
    }

    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.http.limits
    }

    /// Sends a create once. A setback that is `Passing` was certainly not accepted.
    pub(crate) fn create(&self, draft: &Draft) -> Result<GenerationId, Setback> {
        let request = format!("POST {}", self.0.url);
        let unknown = |error| {
            let client_request_id = draft.client_request_id.clone();
            Setback::new(Nature::Lasting, Error::OutcomeUnknown { client_request_id, source: Box::new(error) })
        };
        let answer = match self.0.http.post(&self.0.url, &draft.client_request_id, &draft.body) {
            Ok(answer) => answer,
            Err(PostFault::MaybeSent(source)) => return Err(unknown(Error::NoAnswer { request, source })),
            Err(PostFault::NotSent(Fault { nature, cause })) => {
                return Err(Setback::new(nature, Error::NotSent { request, source: cause }));
            }
        };
        match Verdict::on_create(answer.status, answer.retry_after) {
            Verdict::Read => {
                let read = wire::created(&answer.body);
                read.map_err(|malformed| unknown(unexpected(request, answer, Some(malformed.into()))))
            }
            // A second try under the same id: the log row of the first one, which was refused, would be taken for the
            // fate of the second.
            Verdict::Refused(_) if !draft.drawn => Err(refused(request, &answer, Nature::Lasting)),
            Verdict::Refused(nature) => Err(refused(request, &answer, nature)),
            Verdict::Unknown => Err(unknown(unexpected(request, answer, None))),
        }
    }

    /// Asks once how far a generation is, with `patience` for the answer, or the usual one.
    pub(crate) fn status(&self, id: &GenerationId, patience: Option<Duration>) -> Result<Polled, Setback> {
        let query = format!("generation_id={}", percent_encoded(id.as_str()));
        let (status, retry_after) = self.get(&self.0.url, &query, patience, |body| wire::status(body, id))?;
        Ok(Polled { status, retry_after })
    }

    /// Asks once for a page of the requests of the last seven days, newest first. Not of one model: a name that is not
    /// spelt as in the logs gives an empty page, which would look as if the create had not been accepted.
    pub(crate) fn logs(&self, offset: usize) -> Result<LogPage, Setback> {
        let query = format!("period=7d&limit=100&offset={offset}");
        let (page, _) = self.get(&self.0.logs_url, &query, None, wire::log_page)?;
        Ok(page)
    }

    /// The logs could be read, and make no sense.
    pub(crate) fn odd_logs(&self, reason: &str) -> Error {
        Error::UnexpectedAnswer {
            request: format!("GET {}", self.0.logs_url),
            status: 200,
            body: String::new(),
            source: Some(reason.into()),
        }
    }

    /// Asks once, and reads a good answer and its `Retry-After`.
    fn get<T>(
        &self,
        url: &str,
        query: &str,
        patience: Option<Duration>,
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<(T, Option<Duration>), Setback> {
        let request = format!("GET {url}");
        let answer = match self.0.http.get(&format!("{url}?{query}"), patience) {
            Ok(answer) => answer,
            Err(Fault { nature, cause }) => {
                return Err(Setback::new(nature, Error::NoAnswer { request, source: cause }));
            }
        };
        let (nature, cause) = match Verdict::on_get(answer.status) {
            Verdict::Read => match read(&answer.body) {
                Ok(read) => return Ok((read, answer.retry_after)),
                Err(malformed @ Malformed::NoUrl) => (Nature::NoUrl, Some(malformed.into())),
                Err(malformed) => (Nature::Passing, Some(malformed.into())),
            },
            Verdict::Refused(nature) => return Err(refused(request, &answer, nature)),
            Verdict::Unknown if (300..400).contains(&answer.status) => {
                (Nature::Lasting, Some("a redirect is not followed: it would lead the key elsewhere".into()))
            }
            Verdict::Unknown => (Nature::Passing, None),
        };
        let retry_after = answer.retry_after;
        Err(Setback { nature, retry_after, error: unexpected(request, answer, cause) })
    }
}

/// The answer to one poll.
pub(crate) struct Polled {
    pub(crate) status: Status,
    pub(crate) retry_after: Option<Duration>,
}

/// What a status line says, before anybody reads the body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// The body has the answer.
    Read,
    /// The service said no.
    Refused(Nature),
    /// Nobody can tell from this what the service did.
    Unknown,
}

impl Verdict {
    fn on_create(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            200..300 => Verdict::Read,
            429 => Verdict::Refused(Nature::Passing),
            // Only a service that names a time has looked at the request; a bare 503 may come from a gateway which
            // has passed it on.
            503 if retry_after.is_some() => Verdict::Refused(Nature::Passing),
            // A timeout and a conflict say that something may have begun.
            408 | 409 => Verdict::Unknown,
            400..500 => Verdict::Refused(Nature::Lasting),
            _ => Verdict::Unknown,
        }
    }

    fn on_get(status: u16) -> Self {
        match status {
            200..300 => Verdict::Read,
            404 => Verdict::Refused(Nature::Missing),
            429 => Verdict::Refused(Nature::Passing),
            408 | 409 | 425 => Verdict::Unknown,
            400..500 => Verdict::Refused(Nature::Lasting),
            _ => Verdict::Unknown,
        }
    }
}

fn refused(request: String, answer: &Answer, nature: Nature) -> Setback {
    let envelope = wire::refusal(&answer.body);
    Setback {
        nature,
        retry_after: answer.retry_after,
        error: Error::Refused {
            request,
            status: answer.status,
            message: envelope.message,
            request_id: envelope.request_id,
            retry_after: answer.retry_after,
        },
    }
}

/// A body that did not arrive whole is the better reason than the JSON that it therefore is not.
fn unexpected(request: String, answer: Answer, cause: Option<Cause>) -> Error {
    let Answer { status, body, cut, .. } = answer;
    Error::UnexpectedAnswer { request, status, body: excerpt(&body), source: cut.or(cause) }
}

/// All but the unreserved characters (RFC 3986, 2.3): a real id has `:` and `/` in it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use Nature::{Lasting, Missing, Passing};
    use Verdict::{Read, Refused, Unknown};

    #[test]
    fn a_create_is_sent_again_only_when_it_was_certainly_not_accepted() {
        let table = [
            (200, None, Read),
            (201, None, Read),
            (302, None, Unknown),
            (400, None, Refused(Lasting)),
            (401, None, Refused(Lasting)),
            (403, None, Refused(Lasting)),
            (404, None, Refused(Lasting)),
            (408, None, Unknown),
            (409, None, Unknown),
            (413, None, Refused(Lasting)),
            (422, None, Refused(Lasting)),
            (429, None, Refused(Passing)),
            (500, Some(1), Unknown),
            (502, None, Unknown),
            (503, None, Unknown),
            (503, Some(0), Refused(Passing)),
            (504, None, Unknown),
        ];
        for (status, retry_after, verdict) in table {
            assert_eq!(Verdict::on_create(status, retry_after.map(Duration::from_secs)), verdict, "{status}");
        }
    }

    #[test]
    fn a_question_is_asked_again_unless_the_service_said_no() {
        let table = [
            (200, Read),
            (301, Unknown),
            (400, Refused(Lasting)),
            (401, Refused(Lasting)),
            (403, Refused(Lasting)),
            (404, Refused(Missing)),
            (408, Unknown),
            (409, Unknown),
            (422, Refused(Lasting)),
            (425, Unknown),
            (429, Refused(Passing)),
            (500, Unknown),
            (503, Unknown),
        ];
        for (status, verdict) in table {
            assert_eq!(Verdict::on_get(status), verdict, "{status}");
        }
    }

    #[test]
    fn an_id_is_encoded_to_the_letter() {
        assert_eq!(percent_encoded("a2:klingai/v2.5_~-é&=+%"), "a2%3Aklingai%2Fv2.5_~-%C3%A9%26%3D%2B%25");
    }
}
