//! The only file that knows ureq: sends one request, reads one answer, and tells "not sent" from "maybe sent".

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::uri::Scheme;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::error::Cause;
use crate::generation::excerpt;

/// More than any documented answer by a factor of a thousand.
const LONGEST_ANSWER: u64 = 1024 * 1024;

/// How long things may take. The service documents none of these; the emulator's client has shorter ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The name lookup, and then the connection with its TLS handshake.
    pub(crate) connect: Duration,
    /// A create, from the name lookup to the last byte. Generous: giving up on it leaves its outcome unknown.
    pub(crate) create: Duration,
    /// One poll, likewise.
    pub(crate) poll: Duration,
    /// The silence after which a download counts as broken.
    pub(crate) stall: Duration,
    /// The pause before something is tried again.
    pub(crate) backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            create: Duration::from_secs(60),
            poll: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
        }
    }
}

/// One file request's longest body. It bounds what the silence rule cannot see, a TLS record that drips in; a slower
/// but honest transfer goes on with a range.
const LONGEST_BODY: Duration = Duration::from_secs(3600);

/// A URL that may be talked to: https, or http on loopback; without user info.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url(Uri);

impl Url {
    /// Reads a URL with the parser that will connect to it, so that the two cannot disagree about the host.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err("it is not an absolute URL");
        };
        if authority.as_str().contains('@') {
            return Err("it holds a user name or a password");
        }
        let (https, http) = (*scheme == Scheme::HTTPS, *scheme == Scheme::HTTP);
        let url = Url(uri);
        let may_be_talked_to = https || (http && url.is_loopback());
        if !may_be_talked_to {
            return Err("it is not https (http is for loopback alone)");
        }
        if https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            return Err("https needs one of kling's features rustls and native-tls");
        }
        Ok(url)
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }

    fn is_loopback(&self) -> bool {
        let is_localhost = self.0.host().is_some_and(|host| host.eq_ignore_ascii_case("localhost"));
        is_localhost || self.address().is_some_and(|address| address.is_loopback())
    }

    /// The address, if the host is one and not a name.
    fn address(&self) -> Option<IpAddr> {
        self.0.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Where a `Location` leads, which may leave out what stays the same (RFC 9110, 10.2.2).
    fn join(&self, location: &str) -> Result<Self, &'static str> {
        let path = self.0.path();
        let absolute = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.0.scheme_str().unwrap_or_default())
        } else if location.starts_with('/') {
            self.origin() + location
        } else {
            format!("{}{}{location}", self.origin(), &path[..=path.rfind('/').unwrap_or(0)])
        };
        Url::parse(&absolute)
    }
}

/// What came back from one request of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
    /// Why the body is not whole, if it is not.
    pub(crate) cut: Option<Cause>,
}

/// Why one request brought no answer.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Whether the service may have got the whole request.
    pub(crate) maybe_sent: bool,
    /// Whether the next try would end the same way: a certificate that is not trusted.
    pub(crate) lasting: bool,
    pub(crate) cause: Cause,
}

/// What came back from one request for a file. Its body has yet to be read.
pub(crate) struct FileAnswer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The length of this body.
    pub(crate) length: Option<u64>,
    /// The first byte and the total of a 206.
    pub(crate) range: Option<(u64, u64)>,
    /// A strong validator (RFC 9110, 8.8.3); weak ones do not vouch for bytes.
    pub(crate) etag: Option<String>,
    pub(crate) body: Box<dyn Read + Send + Sync>,
}

/// The connections: one that is kept for polls, fresh ones for creates, and ones for files that never see the key.
#[derive(Clone)]
pub(crate) struct Http {
    polls: Agent,
    creates: Agent,
    files: Agent,
    authorization: String,
    api_has_a_name: bool,
    pub(crate) limits: Limits,
}

impl Http {
    pub(crate) fn new(api: &Url, key: &str, user_agent: &str, limits: Limits) -> Self {
        let agent = |idle: usize| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_idle_connections(idle)
                .user_agent(user_agent)
                .timeout_resolve(Some(limits.connect))
                .timeout_connect(Some(limits.connect));
            #[cfg(any(feature = "rustls", feature = "native-tls"))]
            let config = config.tls_config(tls());
            config
        };
        // Loopback never goes through a proxy: the proxy's own loopback is another machine's.
        let direct =
            |config: ureq::config::ConfigBuilder<_>| if api.is_loopback() { config.proxy(None) } else { config };
        Http {
            polls: direct(agent(4)).build().into(),
            // A pooled connection that died in the meantime would leave the outcome unknown for nothing.
            creates: direct(agent(0)).build().into(),
            files: agent(4).build().into(),
            authorization: format!("Bearer {key}"),
            api_has_a_name: api.address().is_none(),
            limits,
        }
    }

    /// Sends one create.
    pub(crate) fn post(&self, url: &str, client_request_id: &str, body: &[u8]) -> Result<Answer, Fault> {
        // ureq sends the head first and pulls the body afterwards: a body that was not pulled has not left.
        let mut noted = Noted { body, pulled: false };
        let answer = self
            .creates
            .post(url)
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .header("content-length", body.len().to_string())
            .header("x-client-request-id", client_request_id)
            .config()
            .timeout_global(Some(self.limits.create))
            .build()
            .send(SendBody::from_reader(&mut noted));
        let maybe_sent = noted.pulled;
        answer.map(read_answer).map_err(|error| Fault { maybe_sent, ..fault(error) })
    }

    /// Sends one question, which is answered within `patience`.
    pub(crate) fn get(&self, url: &str, patience: Duration) -> Result<Answer, Fault> {
        let config = self.polls.get(url).header("authorization", &self.authorization).config();
        let config = if self.api_has_a_name {
            config.timeout_global(Some(patience))
        } else {
            // To bound a name lookup, ureq spends a thread on each request. An address needs none: its head and its
            // body are bounded one by one.
            config
                .timeout_resolve(None)
                .timeout_connect(Some(patience.min(self.limits.connect)))
                .timeout_recv_response(Some(patience))
                .timeout_recv_body(Some(patience))
        };
        config.build().call().map(read_answer).map_err(fault)
    }

    /// Asks for a file from its byte `from` on, without the key, following at most 5 redirects to URLs that may be
    /// talked to.
    pub(crate) fn file(&self, url: &Url, from: u64, etag: Option<&str>) -> Result<FileAnswer, Fault> {
        let mut url = url.clone();
        for _ in 0..=5 {
            let answer = self.file_once(&url, from, etag).map_err(fault)?;
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            match (answer.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => url = url.join(location).map_err(lasting)?,
                _ => return Ok(read_file_answer(answer)),
            }
        }
        Err(lasting("more than 5 redirects"))
    }

    fn file_once(&self, url: &Url, from: u64, etag: Option<&str>) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.files.get(&url.0);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
            if let Some(etag) = etag {
                request = request.header("if-range", etag);
            }
        }
        let config = request
            .config()
            .timeout_recv_response(Some(self.limits.stall))
            .timeout_recv_body(Some(LONGEST_BODY))
            .timeout_per_read(Some(self.limits.stall));
        let config = if url.is_loopback() { config.proxy(None) } else { config };
        config.build().call()
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

/// A body that notes its first read.
struct Noted<'a> {
    body: &'a [u8],
    pulled: bool,
}

impl Read for Noted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.pulled = true;
        self.body.read(buf)
    }
}

fn read_answer(mut answer: Response<Body>) -> Answer {
    let mut body = Vec::new();
    let read = answer.body_mut().as_reader().take(LONGEST_ANSWER + 1).read_to_end(&mut body);
    let cut = match read {
        Err(error) => Some(cause(error.into())),
        Ok(n) if n as u64 > LONGEST_ANSWER => Some("it is longer than 1 MiB".into()),
        Ok(_) => None,
    };
    Answer { status: answer.status().as_u16(), retry_after: retry_after(answer.headers()), body, cut }
}

fn read_file_answer(answer: Response<Body>) -> FileAnswer {
    let (head, body) = answer.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    FileAnswer {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers),
        length: header("content-length").and_then(|length| length.parse().ok()),
        range: header("content-range").and_then(content_range),
        etag: header("etag").filter(|etag| !etag.starts_with("W/")).map(str::to_owned),
        body: Box::new(body.into_reader()),
    }
}

/// Seconds to wait; a date, and anything else, counts as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The first byte and the total of `bytes 5-9/10` (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

fn fault(error: ureq::Error) -> Fault {
    let lasting = match &error {
        // Before the connection is made, this is TLS that does not trust the peer, or that the peer does not speak.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        // Only its text tells a handshake that broke off from one that failed.
        #[cfg(feature = "native-tls")]
        ureq::Error::NativeTls(error) => !error.to_string().contains("EOF"),
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => true,
        _ => false,
    };
    Fault { maybe_sent: false, lasting, cause: cause(error) }
}

fn lasting(reason: &'static str) -> Fault {
    Fault { maybe_sent: false, lasting: true, cause: reason.into() }
}

/// Why the body of a file could not be read on.
pub(crate) fn read_cause(error: io::Error) -> Cause {
    cause(error.into())
}

/// What a person should read of a ureq error, which has no `source` and may print a whole URL.
fn cause(error: ureq::Error) -> Cause {
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the connection ended too early".into()
        }
        ureq::Error::Io(error) => Box::new(error),
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => "the connection took too long".into(),
        ureq::Error::Timeout(_) => "the answer took too long".into(),
        ureq::Error::HostNotFound => "the host was not found".into(),
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => "it is not a URL that can be asked".into(),
        ureq::Error::Protocol(error) => {
            format!("the answer is not HTTP: {}", excerpt(error.to_string().as_bytes())).into()
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_may_be_talked_to() {
        let refused = [
            ("", "it is not a URL"),
            ("/v.mp4", "it is not an absolute URL"),
            ("cdn.example/v.mp4", "it is not a URL"),
            ("//cdn.example/v.mp4", "it is not an absolute URL"),
            ("http://cdn.example/v.mp4", "it is not https (http is for loopback alone)"),
            ("http://127.0.0.1.example/", "it is not https (http is for loopback alone)"),
            ("http://localhost.example/", "it is not https (http is for loopback alone)"),
            ("ftp://127.0.0.1/", "it is not https (http is for loopback alone)"),
            ("file:///etc/passwd", "it is not a URL"),
            ("http://127.0.0.1@cdn.example/", "it holds a user name or a password"),
            ("https://user:word@cdn.example/", "it holds a user name or a password"),
            ("https://cdn.example/a b", "it is not a URL"),
        ];
        for (text, reason) in refused {
            assert_eq!(Url::parse(text).unwrap_err(), reason, "{text}");
        }
        for text in [
            "http://127.0.0.1:8080/v",
            "http://127.9.9.9/",
            "http://localhost:1/",
            "http://[::1]:1/",
            "HTTP://LOCALHOST",
        ] {
            assert!(Url::parse(text).is_ok(), "{text}");
        }
        let https = Url::parse("https://cdn.example/v.mp4?sig=s");
        assert_eq!(https.is_ok(), cfg!(any(feature = "rustls", feature = "native-tls")));
    }

    #[test]
    fn a_location_may_leave_out_what_stays_the_same() {
        let base = Url::parse("http://127.0.0.1:1/a/b?c").unwrap();
        let table = [
            ("http://127.0.0.1:2/d", "http://127.0.0.1:2/d"),
            ("//127.0.0.1:2/d", "http://127.0.0.1:2/d"),
            ("/d?e", "http://127.0.0.1:1/d?e"),
            ("d", "http://127.0.0.1:1/a/d"),
        ];
        for (location, target) in table {
            assert_eq!(base.join(location).unwrap(), Url::parse(target).unwrap(), "{location}");
        }
        assert!(base.join("http://cdn.example/").is_err());
    }

    #[test]
    fn a_retry_after_that_is_no_number_of_seconds_counts_as_absent() {
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
    fn a_content_range_tells_where_the_bytes_begin() {
        let table = [
            ("bytes 5-9/10", Some((5, 10))),
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
