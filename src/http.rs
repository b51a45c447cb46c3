//! The only file that knows ureq: sends one request, reads one answer, and tells "not sent" from "maybe sent".

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::uri::Scheme;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body, Proxy, ProxyProtocol, SendBody, Timeout};

use crate::error::Cause;
use crate::setback::Nature;
use crate::shown::{excerpt, without_query};

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

/// The longest body of one request for a file. It bounds what no reader can see: a TLS record or a chunk's header that
/// drips in. A transfer that is only long goes on with a range.
const LONGEST_BODY: Duration = Duration::from_secs(900);

const UNUSABLE_PROXY: &str = "a SOCKS proxy needs kling's feature socks-proxy";

/// A URL that may be talked to: https, or http on loopback; without user info.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url(Uri);

impl Url {
    /// Reads a URL with the parser that will connect to it, so that the two cannot disagree about the host.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.contains("://") {
            return Err("it has to begin with https://");
        }
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        let (Some(scheme), Some(authority), Some(host)) = (uri.scheme(), uri.authority(), uri.host()) else {
            return Err("it is not a URL");
        };
        if authority.as_str().contains('@') {
            return Err("it holds a user name or a password");
        }
        // The parser lets ports pass that are none, and then leaves them out.
        let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        if host.is_empty() || authority.as_str() != format!("{host}{port}") {
            return Err("its host or its port is none");
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

    /// Scheme, host and port, always spelt the same way (RFC 3986, 6.2).
    pub(crate) fn origin(&self) -> String {
        let (scheme, host) = (self.0.scheme_str().unwrap_or_default(), self.0.host().unwrap_or_default());
        let port = match (scheme, self.0.port_u16()) {
            ("https", Some(443)) | ("http", Some(80)) | (_, None) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        format!("{scheme}://{}{port}", host.to_ascii_lowercase())
    }

    fn is_loopback(&self) -> bool {
        let is_localhost = self.0.host().is_some_and(|host| host.eq_ignore_ascii_case("localhost"));
        is_localhost || self.address().is_some_and(|address| address.is_loopback())
    }

    /// The address, if the host is one and not a name.
    fn address(&self) -> Option<IpAddr> {
        let host = self.0.host()?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse().ok()
    }

    /// Where a `Location` leads, which may leave out what stays the same (RFC 9110, 10.2.2).
    fn join(&self, location: &str) -> Result<Self, &'static str> {
        let path = self.0.path();
        let begins_with_a_scheme = location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
        let absolute = if begins_with_a_scheme {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.0.scheme_str().unwrap_or_default())
        } else if location.starts_with('/') {
            self.origin() + location
        } else if location.starts_with('?') {
            self.origin() + path + location
        } else {
            format!("{}{}{location}", self.origin(), &path[..=path.rfind('/').unwrap_or(0)])
        };
        let target = Url::parse(&absolute)?;
        if target.is_loopback() && !self.is_loopback() {
            return Err("another host has no business on this machine");
        }
        Ok(target)
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
    /// `Lasting` for a peer that cannot be trusted, `Passing` for all else.
    pub(crate) nature: Nature,
    pub(crate) cause: Cause,
}

/// Why one create brought no answer, and whether the service may have got it.
#[derive(Debug)]
pub(crate) enum PostFault {
    NotSent(Fault),
    MaybeSent(Cause),
}

/// What came back from one request for a file. Its body has yet to be read.
pub(crate) struct FileAnswer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The length of this body, if it is not sent in chunks.
    pub(crate) length: Option<u64>,
    /// The first byte and the total of a 206.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) version: Version,
    pub(crate) body: Box<dyn Read + Send + Sync>,
}

/// What tells one version of a file from another (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Version {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Version {
    pub(crate) fn is_known(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Whether it is certain that both are of the same file.
    pub(crate) fn is_the_same(&self, other: &Version) -> bool {
        self.is_known() && self == other
    }
}

/// The connections: one that is kept for polls, fresh ones for creates, and ones for files that never see the key.
#[derive(Clone)]
pub(crate) struct Http {
    polls: Agent,
    creates: Agent,
    files: Agent,
    proxy: Option<Proxy>,
    proxy_is_unusable: bool,
    key: String,
    api_has_a_name: bool,
    pub(crate) limits: Limits,
}

impl Http {
    /// The error says why the proxy of the environment cannot be used.
    pub(crate) fn new(api: &Url, key: &str, user_agent: &str, limits: Limits) -> Result<Self, &'static str> {
        let proxy = Proxy::try_from_env();
        let is_socks = |proxy: &Proxy| !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
        // ureq without its SOCKS support goes past such a proxy, straight to the service.
        let proxy_is_unusable = !cfg!(feature = "socks-proxy") && proxy.as_ref().is_some_and(is_socks);
        if proxy_is_unusable && !api.is_loopback() {
            return Err(UNUSABLE_PROXY);
        }
        let agent = |proxy: Option<Proxy>, idle: usize| -> Agent {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_idle_connections(idle)
                .user_agent(user_agent)
                .proxy(proxy)
                .timeout_resolve(Some(limits.connect))
                .timeout_connect(Some(limits.connect));
            #[cfg(any(feature = "rustls", feature = "native-tls"))]
            let config = config.tls_config(tls());
            config.build().into()
        };
        let api_proxy = unless_loopback(proxy.as_ref(), api);
        Ok(Http {
            polls: agent(api_proxy.clone(), 4),
            // A pooled connection that died in the meantime would leave the outcome unknown for nothing.
            creates: agent(api_proxy, 0),
            files: agent(proxy.clone(), 4),
            proxy,
            proxy_is_unusable,
            key: key.to_owned(),
            api_has_a_name: api.address().is_none(),
            limits,
        })
    }

    /// Sends one create.
    pub(crate) fn post(&self, url: &str, client_request_id: &str, body: &[u8]) -> Result<Answer, PostFault> {
        // ureq sends the head first and pulls the body afterwards: a body that was not pulled has not left.
        let mut noted = Noted { body, pulled: false };
        let answer = self
            .creates
            .post(url)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .header("content-length", body.len().to_string())
            .header("x-client-request-id", client_request_id)
            .config()
            .timeout_global(Some(self.limits.create))
            .build()
            .send(SendBody::from_reader(&mut noted));
        match answer {
            Ok(answer) => Ok(self.read(answer)),
            Err(error) if noted.pulled => Err(PostFault::MaybeSent(cause(error))),
            Err(error) => Err(PostFault::NotSent(fault(error))),
        }
    }

    /// Sends one question, which is answered within `patience`, or else within the usual limit.
    pub(crate) fn get(&self, url: &str, patience: Option<Duration>) -> Result<Answer, Fault> {
        let config = self.polls.get(url).header("authorization", format!("Bearer {}", self.key)).config();
        let usual = self.limits.poll;
        let config = if patience.is_some() || self.api_has_a_name {
            config.timeout_global(Some(patience.unwrap_or(usual)))
        } else {
            // To bound a whole request, ureq spends a thread on its name lookup. An address needs none: its head and
            // its body are bounded one by one.
            config.timeout_resolve(None).timeout_recv_response(Some(usual)).timeout_recv_body(Some(usual))
        };
        config.build().call().map(|answer| self.read(answer)).map_err(fault)
    }

    /// Asks for a file from its byte `from` on, without the key, following at most 5 redirects to URLs that may be
    /// talked to.
    pub(crate) fn file(&self, url: &Url, from: u64, version: &Version) -> Result<FileAnswer, Fault> {
        let mut url = url.clone();
        for _ in 0..=5 {
            if self.proxy_is_unusable && !url.is_loopback() {
                return Err(lasting(UNUSABLE_PROXY.to_owned()));
            }
            let answer = self.file_once(&url, from, version).map_err(fault)?;
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            match (answer.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    url = url
                        .join(location)
                        .map_err(|reason| lasting(format!("it leads to {}, but {reason}", without_query(location))))?;
                }
                _ => return Ok(read_file_answer(answer)),
            }
        }
        Err(lasting("it leads on more than 5 times".to_owned()))
    }

    fn file_once(&self, url: &Url, from: u64, version: &Version) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.files.get(&url.0);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
            if let Some(etag) = &version.etag {
                request = request.header("if-range", etag);
            }
        }
        let config = request
            .config()
            .proxy(unless_loopback(self.proxy.as_ref(), url))
            .timeout_recv_response(Some(self.limits.stall))
            .timeout_recv_body(Some(LONGEST_BODY))
            .timeout_per_read(Some(self.limits.stall));
        config.build().call()
    }

    fn read(&self, mut answer: Response<Body>) -> Answer {
        let mut body = Vec::new();
        let read = answer.body_mut().as_reader().take(LONGEST_ANSWER + 1).read_to_end(&mut body);
        let cut = match read {
            Err(error) => Some(read_cause(error)),
            Ok(n) if n as u64 > LONGEST_ANSWER => Some("it is longer than 1 MiB".into()),
            Ok(_) => None,
        };
        hide(&mut body, self.key.as_bytes());
        Answer { status: answer.status().as_u16(), retry_after: retry_after(answer.headers()), body, cut }
    }
}

/// A gateway that dumps the request into its error page would put the key into ours.
fn hide(body: &mut [u8], key: &[u8]) {
    // A key of a few letters, as a test may have one, would be found in words.
    if key.len() < 8 {
        return;
    }
    for at in 0..body.len().saturating_sub(key.len() - 1) {
        if body[at..].starts_with(key) {
            body[at..at + key.len()].fill(b'*');
        }
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

/// The loopback of a proxy is another machine's.
fn unless_loopback(proxy: Option<&Proxy>, url: &Url) -> Option<Proxy> {
    proxy.filter(|_| !url.is_loopback()).cloned()
}

fn read_file_answer(answer: Response<Body>) -> FileAnswer {
    let (head, body) = answer.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    // In chunks, a Content-Length counts for nothing (RFC 9112, 6.3).
    let length = header("content-length").filter(|_| header("transfer-encoding").is_none());
    FileAnswer {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers),
        length: length.and_then(|length| length.parse().ok()),
        range: header("content-range").and_then(content_range),
        version: match header("etag") {
            // The same weak one may stand for other bytes.
            Some(weak) if weak.starts_with("W/") => Version::default(),
            etag => {
                Version { etag: etag.map(str::to_owned), last_modified: header("last-modified").map(str::to_owned) }
            }
        },
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
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, total))
}

fn fault(error: ureq::Error) -> Fault {
    let nature = if distrusts(&error) { Nature::Lasting } else { Nature::Passing };
    Fault { nature, cause: cause(error) }
}

fn lasting(reason: String) -> Fault {
    Fault { nature: Nature::Lasting, cause: reason.into() }
}

/// Whether TLS does not trust the peer, or the peer does not speak it. Only the text tells that from a connection that
/// broke, or that an overloaded peer ended with an alert.
fn distrusts(error: &ureq::Error) -> bool {
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

/// Why the body of a file could not be read on.
pub(crate) fn read_cause(error: io::Error) -> Cause {
    cause(error.into())
}

/// What a person should read of a ureq error, which has no `source` and may print a whole URL.
fn cause(error: ureq::Error) -> Cause {
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".into()
        }
        ureq::Error::Io(error) => Box::new(error),
        ureq::Error::Timeout(Timeout::Resolve) => "the name lookup took too long".into(),
        ureq::Error::Timeout(Timeout::Connect) => "the connection took too long".into(),
        ureq::Error::Timeout(_) => "no whole answer came in time".into(),
        ureq::Error::ConnectProxyFailed(reason) => format!("the proxy of the environment refused: {reason}").into(),
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
            ("", "it has to begin with https://"),
            ("/v.mp4", "it has to begin with https://"),
            ("cdn.example/v.mp4", "it has to begin with https://"),
            ("//cdn.example/v.mp4", "it has to begin with https://"),
            ("http://127.0.0.1:99999/", "its host or its port is none"),
            ("http://127.0.0.1:/", "its host or its port is none"),
            ("https://:8443/", "its host or its port is none"),
            ("http://[::1]x/", "its host or its port is none"),
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
            ("?e", "http://127.0.0.1:1/a/b?e"),
            ("/d?from=https://cdn.example/", "http://127.0.0.1:1/d?from=https://cdn.example/"),
        ];
        for (location, target) in table {
            assert_eq!(base.join(location).unwrap(), Url::parse(target).unwrap(), "{location}");
        }
        assert!(base.join("http://cdn.example/").is_err());
    }

    #[test]
    fn a_key_that_comes_back_is_hidden() {
        let hidden = |body: &str, key: &str| {
            let mut body = body.as_bytes().to_vec();
            hide(&mut body, key.as_bytes());
            String::from_utf8(body).unwrap()
        };
        assert_eq!(hidden("bad key: Bearer sk-123456", "sk-123456"), "bad key: Bearer *********");
        assert_eq!(hidden("sk-123456sk-123456", "sk-123456"), "*".repeat(18));
        assert_eq!(hidden("short", "a-longer-key"), "short");
        assert_eq!(hidden("a fox", "a"), "a fox");
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
