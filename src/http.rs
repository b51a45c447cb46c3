//! The only file that knows ureq: sends one request, reads one response, and distinguishes "not sent" from "maybe sent".

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::{Agent, Body, Proxy, ProxyProtocol, SendBody, Timeout};

use crate::error::BoxError;
use crate::redact::{Redactor, redact_url};
use crate::retry::RetryClass;
use crate::url::Url;

type HttpResponse = ureq::http::Response<Body>;

/// A thousand times the length of any documented response.
const MAX_RESPONSE_BYTES: u64 = 1024 * 1024;

/// The time limits of requests. The service documents none; the emulator's client has shorter ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// The name lookup, and then the connection with its TLS handshake.
    pub(crate) connect: Duration,
    /// A create request, from the name lookup to the last byte. Generous: giving up leaves its outcome unknown.
    pub(crate) create: Duration,
    /// One poll, likewise.
    pub(crate) poll: Duration,
    /// The silence after which a download counts as broken.
    pub(crate) stall: Duration,
    /// The delay before the first retry.
    pub(crate) retry_delay: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            create: Duration::from_secs(60),
            poll: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            retry_delay: Duration::from_secs(1),
        }
    }
}

/// The time limit for the body of one file response. It bounds what no reader can see: a TLS record or a chunk header
/// that arrives byte by byte. A transfer that merely takes long is resumed with a range.
const BODY_TIMEOUT: Duration = Duration::from_secs(900);

/// The maximum number of redirects of a file request.
const MAX_REDIRECTS: usize = 5;

const UNSUPPORTED_PROXY: &str = "a SOCKS proxy needs the feature socks-proxy of kling";

/// The response to one API request.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The `x-inference-id`: for a create request, the id of its generation.
    pub(crate) inference_id: Option<String>,
    pub(crate) body: Vec<u8>,
    /// Why the body is incomplete, if it is.
    pub(crate) body_error: Option<BoxError>,
}

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

/// The response to one file request, with its body still unread.
pub(crate) struct FileResponse {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The length of this body, unless it is chunked.
    pub(crate) length: Option<u64>,
    /// The first byte and the total length, of a 206.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) validators: Validators,
    pub(crate) body: Box<dyn Read + Send + Sync>,
}

/// The headers that distinguish one version of a file from another (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    pub(crate) fn is_strong(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Returns `true` if both are certainly of the same version.
    pub(crate) fn matches(&self, other: &Validators) -> bool {
        self.is_strong() && self == other
    }
}

/// The HTTP agents: pooled connections for polls, a new connection for each create request, and connections without the
/// API key for files.
#[derive(Clone)]
pub(crate) struct Http {
    polls: Agent,
    creates: Agent,
    files: Agent,
    proxy: Option<Proxy>,
    proxy_is_unsupported: bool,
    key: String,
    /// For text of the service that is shown. Bodies stay as they came: they hold data.
    pub(crate) redactor: Redactor,
    pub(crate) timeouts: Timeouts,
}

impl Http {
    /// Creates the agents. Fails if the proxy configured in the environment is not supported.
    pub(crate) fn new(api: &Url, key: &str, user_agent: &str, timeouts: Timeouts) -> Result<Self, &'static str> {
        let proxy = Proxy::try_from_env();
        let is_socks = |proxy: &Proxy| !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
        // Without its SOCKS support, ureq ignores such a proxy and connects directly.
        let proxy_is_unsupported = !cfg!(feature = "socks-proxy") && proxy.as_ref().is_some_and(is_socks);
        if proxy_is_unsupported && !api.is_loopback() {
            return Err(UNSUPPORTED_PROXY);
        }
        let agent = |proxy: Option<Proxy>, idle: usize| -> Agent {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_idle_connections(idle)
                .user_agent(user_agent)
                .proxy(proxy)
                .timeout_resolve(Some(timeouts.connect))
                .timeout_connect(Some(timeouts.connect));
            #[cfg(any(feature = "rustls", feature = "native-tls"))]
            let config = config.tls_config(tls());
            config.build().into()
        };
        let api_proxy = unless_loopback(proxy.as_ref(), api);
        Ok(Http {
            polls: agent(api_proxy.clone(), 4),
            // A pooled connection that died in the meantime would make the outcome unknown for no reason.
            creates: agent(api_proxy, 0),
            files: agent(proxy.clone(), 4),
            proxy,
            proxy_is_unsupported,
            key: key.to_owned(),
            redactor: Redactor::new(key),
            timeouts,
        })
    }

    /// Sends one create request.
    pub(crate) fn post(&self, url: &str, client_request_id: &str, body: &[u8]) -> Result<Response, SendError> {
        // ureq sends the head first and reads the body afterwards: a body that was not read has not been sent.
        let mut tracked = TrackedBody { body, was_read: false };
        let response = self
            .creates
            .post(url)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .header("content-length", body.len().to_string())
            .header("x-client-request-id", client_request_id)
            .config()
            .timeout_global(Some(self.timeouts.create))
            .build()
            .send(SendBody::from_reader(&mut tracked));
        match response {
            Ok(response) => Ok(self.read(response)),
            Err(error) if tracked.was_read => Err(SendError::MaybeSent(self.redacted(describe_error(error)))),
            Err(error) => Err(SendError::NotSent(self.transport_error(error))),
        }
    }

    /// Sends one GET request, with `timeout` or the default timeout.
    pub(crate) fn get(&self, url: &str, timeout: Option<Duration>) -> Result<Response, TransportError> {
        let request = self.polls.get(url).header("authorization", format!("Bearer {}", self.key));
        let request = request.config().timeout_global(Some(timeout.unwrap_or(self.timeouts.poll))).build();
        request.call().map(|response| self.read(response)).map_err(|error| self.transport_error(error))
    }

    /// Requests a file from its byte `from` on, without the key, and follows redirects.
    pub(crate) fn file(&self, url: &Url, from: u64, validators: &Validators) -> Result<FileResponse, TransportError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            if self.proxy_is_unsupported && !url.is_loopback() {
                return Err(permanent(UNSUPPORTED_PROXY.to_owned()));
            }
            let response = self.file_once(&url, from, validators).map_err(transport_error)?;
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    url = url
                        .join(location)
                        .map_err(|reason| permanent(format!("redirected to {}: {reason}", redact_url(location))))?;
                }
                _ => return Ok(read_file_response(response)),
            }
        }
        Err(permanent(format!("too many redirects (limit {MAX_REDIRECTS})")))
    }

    fn file_once(&self, url: &Url, from: u64, validators: &Validators) -> Result<HttpResponse, ureq::Error> {
        let mut request = self.files.get(url.as_uri());
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
            if let Some(etag) = &validators.etag {
                request = request.header("if-range", etag);
            }
        }
        let config = request
            .config()
            .proxy(unless_loopback(self.proxy.as_ref(), url))
            .timeout_recv_response(Some(self.timeouts.stall))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .timeout_per_read(Some(self.timeouts.stall));
        config.build().call()
    }

    fn read(&self, mut response: HttpResponse) -> Response {
        let mut body = Vec::new();
        let read = response.body_mut().as_reader().take(MAX_RESPONSE_BYTES + 1).read_to_end(&mut body);
        let body_error = match read {
            Err(error) => Some(self.redacted(describe_io_error(error))),
            Ok(n) if n as u64 > MAX_RESPONSE_BYTES => Some("the response is longer than 1 MiB".into()),
            Ok(_) => None,
        };
        let (status, headers) = (response.status().as_u16(), response.headers());
        let inference_id = headers.get("x-inference-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Response { status, retry_after: retry_after(headers), inference_id, body, body_error }
    }

    fn transport_error(&self, error: ureq::Error) -> TransportError {
        let TransportError { class, cause } = transport_error(error);
        TransportError { class, cause: self.redacted(cause) }
    }

    /// Redacts the text of a cause. A cause that needs no redaction keeps its type.
    fn redacted(&self, cause: BoxError) -> BoxError {
        let text = cause.to_string();
        let shown = self.redactor.excerpt(text.as_bytes());
        if shown == text { cause } else { shown.into() }
    }
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn tls() -> ureq::tls::TlsConfig {
    use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
    let native = cfg!(feature = "native-tls");
    let config = TlsConfig::builder().provider(if native { TlsProvider::NativeTls } else { TlsProvider::Rustls });
    let own_roots = native || cfg!(feature = "platform-verifier");
    config.root_certs(if own_roots { RootCerts::PlatformVerifier } else { RootCerts::WebPki }).build()
}

/// A request body that remembers whether it was read.
struct TrackedBody<'a> {
    body: &'a [u8],
    was_read: bool,
}

impl Read for TrackedBody<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.was_read = true;
        self.body.read(buf)
    }
}

/// Returns the proxy, or `None` for loopback URLs, which a proxy would resolve to its own machine.
fn unless_loopback(proxy: Option<&Proxy>, url: &Url) -> Option<Proxy> {
    proxy.filter(|_| !url.is_loopback()).cloned()
}

fn read_file_response(response: HttpResponse) -> FileResponse {
    let (head, body) = response.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    // With chunked encoding, Content-Length must be ignored (RFC 9112, 6.3).
    let length = header("content-length").filter(|_| header("transfer-encoding").is_none());
    FileResponse {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers),
        length: length.and_then(|length| length.parse().ok()),
        range: header("content-range").and_then(content_range),
        validators: match header("etag") {
            // A weak one may stand for different bytes.
            Some(weak) if weak.starts_with("W/") => Validators::default(),
            etag => {
                Validators { etag: etag.map(str::to_owned), last_modified: header("last-modified").map(str::to_owned) }
            }
        },
        body: Box::new(body.into_reader()),
    }
}

/// Returns the delay in seconds. A date, and anything else, counts as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Returns the first byte and the total length of `bytes 5-9/10` (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, total))
}

fn transport_error(error: ureq::Error) -> TransportError {
    let class = if is_tls_failure(&error) { RetryClass::Permanent } else { RetryClass::Transient };
    TransportError { class, cause: describe_error(error) }
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
        ureq::Error::Io(error) => Box::new(error),
        ureq::Error::Timeout(Timeout::Resolve) => "the name lookup timed out".into(),
        ureq::Error::Timeout(Timeout::Connect) => "connecting timed out".into(),
        ureq::Error::Timeout(_) => "timed out before the response was complete".into(),
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
    fn content_range_returns_the_first_byte_and_the_total() {
        let table = [
            ("bytes 5-9/10", Some((5, 10))),
            ("bytes 5-3/10", None),
            ("bytes 5-10/10", None),
            ("bytes 5-9/*", None),
            ("bytes */10", None),
            ("5-9/10", None),
            ("bytes -9/10", None),
        ];
        for (value, range) in table {
            assert_eq!(content_range(value), range, "{value}");
        }
    }
}
