//! The only file that knows ureq: sends one request, reads one response, and distinguishes "not sent" from "maybe sent".

use std::io;
use std::time::Duration;

use ureq::http::Version;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderValue};
use ureq::{Agent, Body, Proxy, SendBody, Timeout};

use crate::error::BoxError;
use crate::file_response::{ContentRange, FileResponse, Framing, Validators};
use crate::proxy::{self, EnvProxy, InvalidProxy};
use crate::redact::Redactor;
use crate::response::{Received, Response};
use crate::resume_budget::MAX_TRANSFER_TIME;
use crate::retry::RetryClass;
use crate::sending::{Sending, TrackedBody};
use crate::timed_reader::{self, TimedReader};
use crate::timeouts::Timeouts;
use crate::url::Url;
use crate::worker::{Stopped, Workers};

type HttpResponse = ureq::http::Response<Body>;

/// The buffers of a connection, in bytes. Each create request has a new connection, and zeroes both. The first holds the
/// longest response head that ureq accepts, the second the longest request head.
const INPUT_BUFFER: usize = 64 * 1024;
const OUTPUT_BUFFER: usize = 16 * 1024;

/// The maximum number of redirects of a file request.
const MAX_REDIRECTS: usize = 5;

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Why a request got no response.
#[derive(Debug)]
pub(crate) struct TransportError {
    /// `Permanent` for a peer that cannot be trusted, `Transient` for everything else.
    pub(crate) class: RetryClass,
    pub(crate) cause: BoxError,
}

/// Why a create request got no response, and whether the service may have received it.
#[derive(Debug)]
pub(crate) enum SendError {
    NotSent(TransportError),
    MaybeSent(BoxError),
}

/// The HTTP agent, and what is sent with its requests. Only API requests carry the key.
#[derive(Clone)]
pub(crate) struct Http {
    /// One for all requests, since each agent reads the root certificates for itself.
    agent: Agent,
    proxy: Result<Option<EnvProxy>, InvalidProxy>,
    /// The variable whose proxy API requests use.
    api_proxy: Option<&'static str>,
    api_is_loopback: bool,
    authorization: HeaderValue,
    pub(crate) redactor: Redactor,
    /// The threads that requests run on: name lookups have no time limit of their own, and proxies and servers may send
    /// byte by byte.
    workers: Workers,
    pub(crate) timeouts: Timeouts,
    /// The delay before the first retry.
    pub(crate) retry_delay: Duration,
}

/// What a client sends with each request, and how long it waits.
pub(crate) struct Settings<'a> {
    pub(crate) key: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry_delay: Duration,
}

impl Http {
    /// Creates the agent. Fails if the proxy configured in the environment cannot be used.
    pub(crate) fn new(api: &Url, settings: Settings<'_>) -> Result<Self, InvalidProxy> {
        let Settings { key, user_agent, timeouts, retry_delay } = settings;
        let proxy = proxy::from_env();
        let (api_proxy, variable) = proxy_for(&proxy, api)?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ("API key", "must be a valid HTTP header"))?;
        authorization.set_sensitive(true);
        // No limit for the name lookup, nor for all phases together: ureq would start a thread for each lookup, and
        // panic if no thread can be started. The workers bound both. These limits end a request that nobody waits for
        // any more.
        let limit = timeouts.create.max(timeouts.poll).max(timeouts.stall);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(4)
            .user_agent(user_agent)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .proxy(api_proxy)
            .timeout_connect(Some(timeouts.connect))
            .timeout_send_request(Some(limit))
            .timeout_send_body(Some(limit))
            .timeout_recv_response(Some(limit))
            .timeout_recv_body(Some(limit));
        #[cfg(any(feature = "rustls", feature = "native-tls"))]
        let config = config.tls_config(tls());
        Ok(Http {
            agent: config.build().into(),
            proxy,
            api_proxy: variable,
            api_is_loopback: api.is_loopback(),
            authorization,
            redactor: Redactor::new(key),
            workers: Workers::default(),
            timeouts,
            retry_delay,
        })
    }

    /// Sends one create request.
    pub(crate) fn post(&self, url: &str, client_request_id: &str, body: &[u8]) -> Result<Response, SendError> {
        let sending = Sending::default();
        let request = self
            .agent
            .post(url)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT_ENCODING, IDENTITY)
            .header("content-type", "application/json")
            .header("content-length", body.len().to_string().as_str())
            .header("x-client-request-id", client_request_id)
            .config()
            // On a new connection: a pooled one that died in the meantime would make the outcome unknown for no reason.
            .max_idle_age(Duration::ZERO)
            .build();
        let mut tracked = TrackedBody::new(body.to_vec(), &sending);
        let send = Box::new(move || request.send(SendBody::from_reader(&mut tracked)));
        match self.exchange(self.timeouts.create, send) {
            Ok(response) => Ok(response),
            Err(error) if sending.withdraw() => Err(SendError::NotSent(error)),
            Err(error) => Err(SendError::MaybeSent(error.cause)),
        }
    }

    /// Sends one GET request, with `timeout` or the default timeout.
    pub(crate) fn get(&self, url: &str, timeout: Option<Duration>) -> Result<Response, TransportError> {
        let request = self
            .agent
            .get(url)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT_ENCODING, IDENTITY)
            // A cached response would show a status from the past.
            .header(CACHE_CONTROL, NO_CACHE);
        self.exchange(timeout.unwrap_or(self.timeouts.poll), Box::new(move || request.call()))
    }

    /// Sends an API request and reads its response, as far as it arrives within the limit.
    fn exchange(
        &self,
        limit: Duration,
        send: Box<dyn FnOnce() -> Result<HttpResponse, ureq::Error> + Send>,
    ) -> Result<Response, TransportError> {
        let received = Received::default();
        let result = self.workers.run(limit, {
            let received = received.clone();
            move || send().map(|response| read_response(response, &received))
        });
        match (result, received.take()) {
            (Ok(_), Some(response)) => Ok(response),
            (Err(stopped), Some(mut response)) => {
                response.body_error.get_or_insert_with(|| stopped.to_string().into());
                Ok(response)
            }
            (Ok(Err(error)), None) => Err(transport_error(error).through(self.api_proxy)),
            (Ok(Ok(())), None) => Err(permanent("the response was lost".to_owned())),
            (Err(stopped), None) => Err(TransportError::from(stopped).through(self.api_proxy)),
        }
    }

    /// Requests a file from its byte `from` on, without the key, and follows redirects.
    pub(crate) fn file(&self, url: &Url, from: u64, validators: &Validators) -> Result<FileResponse, TransportError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.file_once(&url, from, validators)?;
            let location = response.headers().get("location").map(|value| value.as_bytes());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    url = url.join(location).map_err(|reason| {
                        let location = self.redactor.url(&String::from_utf8_lossy(location));
                        permanent(format!("redirected to {location}: {reason}"))
                    })?;
                }
                _ => return Ok(self.read_file_response(response, &url)),
            }
        }
        Err(permanent(format!("too many redirects (limit {MAX_REDIRECTS})")))
    }

    fn file_once(&self, url: &Url, from: u64, validators: &Validators) -> Result<HttpResponse, TransportError> {
        if url.may_be_loopback() && !self.api_is_loopback {
            return Err(permanent("a remote service must not point to loopback".to_owned()));
        }
        let (proxy, variable) = proxy_for(&self.proxy, url)
            .map_err(|(variable, reason)| permanent(format!("invalid {variable}: {reason}")))?;
        let mut request = self.agent.get(url.to_string()).header(ACCEPT_ENCODING, IDENTITY);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-").as_str());
            if let Some(validator) = validators.if_range() {
                request = request.header("if-range", validator);
            }
        }
        let request = request
            .config()
            .proxy(proxy)
            .timeout_recv_body(Some(MAX_TRANSFER_TIME))
            .timeout_per_read(Some(self.timeouts.stall))
            .build();
        let response = self.workers.run(self.timeouts.connect + self.timeouts.stall, move || request.call());
        let response = response.map_err(TransportError::from).and_then(|called| called.map_err(transport_error));
        response.map_err(|error| error.through(variable))
    }

    fn read_file_response(&self, response: HttpResponse, url: &Url) -> FileResponse {
        let (head, body) = response.into_parts();
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let codings = head.headers.get_all("transfer-encoding").iter().filter_map(|value| value.to_str().ok());
        // HTTP/1.0 has no chunks: ureq then reads until the connection ends.
        let codings = codings.filter(|_| head.version != Version::HTTP_10);
        let framing = Framing::new(body.content_length(), header("content-length"), codings);
        let body = body.into_reader();
        FileResponse {
            status: head.status.as_u16(),
            retry_after: retry_after(&head.headers),
            framing,
            range: header("content-range").and_then(ContentRange::parse),
            validators: Validators::new(header("etag"), header("last-modified"), header("date")),
            body: match timed_reader::limit(url.is_https(), framing, self.timeouts.stall) {
                Some(limit) => Box::new(TimedReader::new(body, &self.workers, limit)),
                None => Box::new(body),
            },
        }
    }
}

/// Reads a response into `received`, which holds at any time what has arrived so far.
fn read_response(mut response: HttpResponse, received: &Received) {
    received.start(Response {
        status: response.status().as_u16(),
        retry_after: retry_after(response.headers()),
        inference_id: response.headers().get("x-inference-id").and_then(|id| Some(id.to_str().ok()?.to_owned())),
        body: Vec::new(),
        body_error: None,
    });
    received.read_body(response.body_mut().as_reader(), describe_io_error);
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn tls() -> ureq::tls::TlsConfig {
    use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
    let native = cfg!(feature = "native-tls");
    let config = TlsConfig::builder().provider(if native { TlsProvider::NativeTls } else { TlsProvider::Rustls });
    let own_roots = native || cfg!(feature = "platform-verifier");
    config.root_certs(if own_roots { RootCerts::PlatformVerifier } else { RootCerts::WebPki }).build()
}

/// Returns the proxy for a URL, and the variable that names it.
fn proxy_for(
    proxy: &Result<Option<EnvProxy>, InvalidProxy>,
    url: &Url,
) -> Result<(Option<Proxy>, Option<&'static str>), InvalidProxy> {
    let Some(EnvProxy { variable, address, .. }) = proxy::for_url(proxy, url)? else { return Ok((None, None)) };
    let proxy = Proxy::new(address).map_err(|_| (*variable, proxy::NOT_A_PROXY))?;
    Ok((Some(proxy), Some(variable)))
}

/// Returns the delay in seconds. A date, and anything else, counts as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn transport_error(error: ureq::Error) -> TransportError {
    let class = if is_tls_failure(&error) { RetryClass::Permanent } else { RetryClass::Transient };
    TransportError { class, cause: describe_error(error) }
}

impl TransportError {
    /// Names the variable of the proxy that was used: the reader may have forgotten it, and would suspect the service.
    fn through(self, proxy: Option<&str>) -> Self {
        let Some(variable) = proxy else { return self };
        let cause = format!("{}; the connection goes through the proxy in {variable}", self.cause).into();
        TransportError { cause, ..self }
    }
}

impl From<Stopped> for TransportError {
    fn from(stopped: Stopped) -> Self {
        TransportError { class: RetryClass::Transient, cause: stopped.to_string().into() }
    }
}

fn permanent(reason: String) -> TransportError {
    TransportError { class: RetryClass::Permanent, cause: reason.into() }
}

/// Returns `true` if the peer is not trusted or does not speak TLS. Only the text of the error distinguishes that from
/// a broken connection, or from an overloaded peer that closed it with an alert.
fn is_tls_failure(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            let text = error.to_string();
            text.contains("peer certificate") || text.contains("corrupt message")
        }
        #[cfg(feature = "native-tls")]
        ureq::Error::NativeTls(error) => !error.to_string().contains("EOF"),
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => true,
        _ => false,
    }
}

/// Returns `true` if a certificate comes from an authority that is not among Mozilla's. The operating system may trust it.
fn is_unknown_authority(error: &io::Error) -> bool {
    let has_own_roots = cfg!(any(feature = "native-tls", feature = "platform-verifier"));
    !has_own_roots && error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("UnknownIssuer")
}

const TRUST_THE_SYSTEM: &str = "if your network has a certificate authority of its own, enable the feature \
                                platform-verifier of kling, which trusts what the operating system trusts";

/// Describes why reading the body of a file failed.
pub(crate) fn describe_io_error(error: io::Error) -> BoxError {
    describe_error(error.into())
}

/// Describes a ureq error, which has no `source` and may print a complete URL.
fn describe_error(error: ureq::Error) -> BoxError {
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".into()
        }
        ureq::Error::Io(error) if is_unknown_authority(&error) => format!("{error}; {TRUST_THE_SYSTEM}").into(),
        ureq::Error::Io(error) => Box::new(error),
        ureq::Error::Timeout(Timeout::Connect) => "connecting timed out".into(),
        ureq::Error::Timeout(_) => Stopped::TimedOut.to_string().into(),
        ureq::Error::ConnectProxyFailed(reason) => format!("the proxy refused the connection: {reason}").into(),
        ureq::Error::HostNotFound => "host not found".into(),
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => "invalid URL".into(),
        ureq::Error::Protocol(error) => {
            format!("the response is not HTTP: {}", Redactor::default().excerpt(error.to_string().as_bytes())).into()
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_accepts_only_seconds() {
        let read = |value: &str| {
            let headers =
                [("retry-after", value)].iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
            retry_after(&headers).map(|pause| pause.as_secs())
        };
        let table = [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86400", Some(86400)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("99999999999999999999", None),
        ];
        for (value, seconds) in table {
            assert_eq!(read(value), seconds, "{value}");
        }
    }

    #[test]
    fn errors_are_described_without_urls() {
        let table = [
            (ureq::Error::Timeout(Timeout::Connect), "connecting timed out"),
            (ureq::Error::Timeout(Timeout::PerCall), "timed out before the response was complete"),
            (ureq::Error::ConnectProxyFailed("403".to_owned()), "the proxy refused the connection: 403"),
            (ureq::Error::HostNotFound, "host not found"),
            (ureq::Error::BadUri("https://cdn.example/?sig=secret".to_owned()), "invalid URL"),
            (ureq::Error::RequireHttpsOnly("http://cdn.example/?sig=secret".to_owned()), "invalid URL"),
        ];
        for (error, text) in table {
            assert_eq!(describe_error(error).to_string(), text);
        }
    }

    #[test]
    fn peers_that_cannot_be_trusted_are_told_from_broken_connections() {
        use io::ErrorKind::{ConnectionAborted, InvalidData, UnexpectedEof};
        let io_error = |kind, text: &str| ureq::Error::Io(io::Error::new(kind, text));
        let has_own_roots = cfg!(any(feature = "native-tls", feature = "platform-verifier"));
        let table = [
            // the error, whether it is permanent, whether the feature for another authority is named
            (io_error(InvalidData, "invalid peer certificate: UnknownIssuer"), true, !has_own_roots),
            (io_error(InvalidData, "invalid peer certificate: Expired"), true, false),
            (io_error(InvalidData, "received corrupt message of type InvalidContentType"), true, false),
            (io_error(InvalidData, "received fatal alert: InternalError"), false, false),
            (io_error(ConnectionAborted, "received corrupt message, UnknownIssuer"), false, false),
            (io_error(UnexpectedEof, "no close_notify"), false, false),
            (ureq::Error::Tls("invalid configuration"), true, false),
            (ureq::Error::HostNotFound, false, false),
        ];
        for (error, is_permanent, names_feature) in table {
            let case = format!("{error:?}");
            assert_eq!(is_tls_failure(&error), is_permanent, "{case}");
            assert_eq!(describe_error(error).to_string().contains("platform-verifier"), names_feature, "{case}");
        }
    }
}
