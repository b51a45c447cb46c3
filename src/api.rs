//! The calls of the service, each sent once: create and status.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Nature, Result, Setback};
use crate::generation::{self, GenerationId, Malformed, Status};
use crate::http::{Answer, Fault, Http};
use crate::poll::LONGEST_RETRY_AFTER;
use crate::random;
use crate::request::VideoRequest;

/// Which of the service's two paths is used. Both make the same videos.
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
    /// Where both calls go to.
    url: String,
}

/// A create, ready to be sent.
pub(crate) struct Draft {
    body: Vec<u8>,
    pub(crate) client_request_id: String,
}

impl Draft {
    pub(crate) fn new(request: &VideoRequest) -> Result<Self> {
        request.check()?;
        let body = serde_json::to_vec(request)
            .map_err(|error| Error::InvalidRequest { field: "request".to_owned(), reason: error.to_string() })?;
        let client_request_id = match request.chosen_client_request_id() {
            Some(id) => id.to_owned(),
            None => format!("kling-{:016x}{:016x}", random::bits(), random::bits()),
        };
        Ok(Draft { body, client_request_id })
    }
}

impl Api {
    pub(crate) fn new(http: Http, origin: &str, endpoint: Endpoint) -> Self {
        Api(Arc::new(Inner { http, url: format!("{origin}{}", endpoint.path()) }))
    }

    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    /// Sends a create once. A setback that is `Passing` was certainly not accepted.
    pub(crate) fn create(&self, draft: &Draft) -> Result<GenerationId, Setback> {
        let request = format!("POST {}", self.0.url);
        let unknown = |error| Setback {
            error: Error::OutcomeUnknown {
                client_request_id: draft.client_request_id.clone(),
                source: Box::new(error),
            },
            nature: Nature::Lasting,
            retry_after: None,
        };
        let answer = match self.0.http.post(&self.0.url, &draft.client_request_id, &draft.body) {
            Ok(answer) => answer,
            Err(Fault { maybe_sent: true, cause, .. }) => {
                return Err(unknown(Error::NoAnswer { request, source: cause }));
            }
            Err(Fault { lasting, cause, .. }) => {
                let nature = if lasting { Nature::Lasting } else { Nature::Passing };
                return Err(Setback { error: Error::NotSent { request, source: cause }, nature, retry_after: None });
            }
        };
        match Verdict::on_create(answer.status, answer.retry_after) {
            Verdict::Read => {
                let read = generation::created(&answer.body);
                read.map_err(|malformed| unknown(unexpected(request, answer, Some(malformed))))
            }
            Verdict::Refused(nature) => Err(refused(request, &answer, nature)),
            Verdict::Unknown => Err(unknown(unexpected(request, answer, None))),
        }
    }

    /// Asks once how far a generation is, with `patience` for the answer.
    pub(crate) fn status(&self, id: &GenerationId, patience: Duration) -> Result<Status, Setback> {
        let request = format!("GET {}", self.0.url);
        let url = format!("{}?generation_id={}", self.0.url, percent_encoded(id.as_str()));
        let answer = self.0.http.get(&url, patience).map_err(|fault| Setback {
            nature: if fault.lasting { Nature::Lasting } else { Nature::Passing },
            retry_after: None,
            error: Error::NoAnswer { request: request.clone(), source: fault.cause },
        })?;
        match Verdict::on_status(answer.status) {
            Verdict::Read => generation::status(&answer.body, id).map_err(|malformed| Setback {
                nature: if matches!(malformed, Malformed::NoUrl) { Nature::NoUrl } else { Nature::Passing },
                retry_after: answer.retry_after,
                error: unexpected(request, answer, Some(malformed)),
            }),
            Verdict::Refused(nature) => Err(refused(request, &answer, nature)),
            Verdict::Unknown => Err(Setback {
                nature: if (300..400).contains(&answer.status) { Nature::Lasting } else { Nature::Passing },
                retry_after: answer.retry_after,
                error: unexpected(request, answer, None),
            }),
        }
    }
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
        let again = if retry_after > Some(LONGEST_RETRY_AFTER) { Nature::Lasting } else { Nature::Passing };
        match status {
            200..300 => Verdict::Read,
            429 => Verdict::Refused(again),
            // Only a service that names a time has looked at the request; a bare 503 may come from a gateway which
            // has passed it on.
            503 if retry_after.is_some() => Verdict::Refused(again),
            // A timeout and a conflict say that something may have begun.
            408 | 409 => Verdict::Unknown,
            400..500 => Verdict::Refused(Nature::Lasting),
            _ => Verdict::Unknown,
        }
    }

    fn on_status(status: u16) -> Self {
        match status {
            200..300 => Verdict::Read,
            404 => Verdict::Refused(Nature::NotFound),
            429 => Verdict::Refused(Nature::Passing),
            408 | 409 | 425 => Verdict::Unknown,
            400..500 => Verdict::Refused(Nature::Lasting),
            _ => Verdict::Unknown,
        }
    }
}

fn refused(request: String, answer: &Answer, nature: Nature) -> Setback {
    let envelope = generation::refusal(&answer.body);
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
fn unexpected(request: String, answer: Answer, malformed: Option<Malformed>) -> Error {
    Error::UnexpectedAnswer {
        request,
        status: answer.status,
        body: generation::excerpt(&answer.body),
        source: answer.cut.or(malformed.map(Into::into)),
    }
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
    use Nature::{Lasting, NotFound, Passing};
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
            (429, Some(60), Refused(Passing)),
            (429, Some(61), Refused(Lasting)),
            (500, Some(1), Unknown),
            (502, None, Unknown),
            (503, None, Unknown),
            (503, Some(0), Refused(Passing)),
            (503, Some(86400), Refused(Lasting)),
            (504, None, Unknown),
        ];
        for (status, retry_after, verdict) in table {
            assert_eq!(Verdict::on_create(status, retry_after.map(Duration::from_secs)), verdict, "{status}");
        }
    }

    #[test]
    fn a_status_is_asked_again_unless_the_service_said_no() {
        let table = [
            (200, Read),
            (301, Unknown),
            (400, Refused(Lasting)),
            (401, Refused(Lasting)),
            (403, Refused(Lasting)),
            (404, Refused(NotFound)),
            (408, Unknown),
            (409, Unknown),
            (422, Refused(Lasting)),
            (425, Unknown),
            (429, Refused(Passing)),
            (500, Unknown),
            (503, Unknown),
        ];
        for (status, verdict) in table {
            assert_eq!(Verdict::on_status(status), verdict, "{status}");
        }
    }

    #[test]
    fn an_id_is_encoded_to_the_letter() {
        assert_eq!(percent_encoded("a2:klingai/v2.5_~-é&=+%"), "a2%3Aklingai%2Fv2.5_~-%C3%A9%26%3D%2B%25");
    }
}
