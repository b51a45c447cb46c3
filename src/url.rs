//! URLs that may be requested, normalized as browsers normalize them (WHATWG URL Standard).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URL that may be requested: https, or http on loopback; without user name and fragment.
///
/// It is parsed to the last byte and printed again, so that whatever connects to it cannot disagree about the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url {
    is_https: bool,
    /// A lowercase name, an IPv4 address in dotted form, or an IPv6 address in brackets.
    host: String,
    /// `None` for the default port of the scheme.
    port: Option<u16>,
    /// Path and query, percent-encoded. Begins with `/`.
    target: String,
}

type Invalid = &'static str;

const NOT_ABSOLUTE: Invalid = "must start with https:// (or http:// for loopback)";
const NOT_HTTPS: Invalid = "must use https (http is allowed only for loopback)";
const INVALID_HOST: Invalid = "host or port is missing or invalid";
const TOO_LONG: Invalid = "must be at most 15 KiB long";

/// The longest URL, 30 times that of any documented one. It must fit into the buffer of a request head, with the headers.
const MAX_BYTES: usize = 15 * 1024;

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        Url::parse_bytes(text.as_bytes())
    }

    /// Parses bytes, since a `Location` header may be in any encoding. Every byte beyond ASCII is percent-encoded.
    fn parse_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        let bytes = &strip(bytes);
        let (scheme, rest) = split_scheme(bytes).ok_or(NOT_ABSOLUTE)?;
        let [b'/', b'/', rest @ ..] = rest else { return Err(NOT_ABSOLUTE) };
        let is_https = match scheme.to_ascii_lowercase().as_slice() {
            b"https" => true,
            b"http" => false,
            _ => return Err(NOT_HTTPS),
        };
        let (authority, target) = rest.split_at(position(rest, b"/?#").unwrap_or(rest.len()));
        if authority.contains(&b'@') {
            return Err("must not contain a user name or password");
        }
        let (host, port) = parse_authority(authority).ok_or(INVALID_HOST)?;
        let port = port.filter(|port| *port != if is_https { 443 } else { 80 });
        let url = Url { is_https, host, port, target: normalize_target(target) };
        if !is_https && !url.is_loopback() {
            return Err(NOT_HTTPS);
        }
        if url.host.len() + url.target.len() > MAX_BYTES {
            return Err(TOO_LONG);
        }
        if is_https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            return Err("https needs the feature rustls or native-tls of kling");
        }
        Ok(url)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the host: a lowercase name, an IPv4 address, or an IPv6 address in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, or the default port of the scheme.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_https { 443 } else { 80 })
    }

    /// Returns scheme, host and port in their normalized form (RFC 3986, 6.2).
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }

    /// Returns `true` if requests to this host certainly stay on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Returns `true` if requests to this host might stay on this machine: other names and addresses of loopback count
    /// as well. A remote server must not point to them.
    pub(crate) fn may_be_loopback(&self) -> bool {
        let name = self.host.trim_end_matches('.');
        let is_local_name = name == "localhost" || name.ends_with(".localhost");
        is_local_name
            || self.address().map(|address| address.to_canonical()).is_some_and(|address| {
                // Connecting to 0.0.0.0 or [::] reaches this machine on most systems.
                address.is_loopback() || address.is_unspecified()
            })
    }

    /// Returns the address, if the host is an address and not a name.
    fn address(&self) -> Option<IpAddr> {
        match self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host.parse().ok().map(IpAddr::V6),
            None => self.host.parse().ok().map(IpAddr::V4),
        }
    }

    /// Resolves a `Location` header, which may be relative (RFC 9110, 10.2.2).
    pub(crate) fn join(&self, location: &[u8]) -> Result<Self, Invalid> {
        let location = &strip(location);
        let path = self.target.split('?').next().unwrap_or_default();
        let base = match location.as_slice() {
            _ if split_scheme(location).is_some() => String::new(),
            [b'/', b'/', ..] => if self.is_https { "https:" } else { "http:" }.to_owned(),
            [b'/', ..] => self.origin(),
            [b'?', ..] => self.origin() + path,
            [] | [b'#', ..] => self.to_string(),
            _ => self.origin() + &path[..=path.rfind('/').unwrap_or(0)],
        };
        let target = Url::parse_bytes(&[base.as_bytes(), location].concat())?;
        if target.may_be_loopback() && !self.is_loopback() {
            return Err("a remote host must not redirect to loopback");
        }
        Ok(target)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        f.write_str(&self.target)
    }
}

/// Removes surrounding white space and control characters, and any tab or line break, as browsers do. Before the query,
/// a backslash is a slash.
fn strip(bytes: &[u8]) -> Vec<u8> {
    let is_blank = |byte: &u8| *byte <= b' ';
    let start = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    let mut stripped = bytes[start..end].to_vec();
    stripped.retain(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'));
    let query = position(&stripped, b"?#").unwrap_or(stripped.len());
    for byte in &mut stripped[..query] {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    stripped
}

/// Splits at the colon after a scheme (RFC 3986, 3.1). A colon in a path or a query is not one.
fn split_scheme(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = bytes.split_at(colon);
    let is_scheme = scheme.first()?.is_ascii_alphabetic()
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_scheme.then_some((scheme, &rest[1..]))
}

fn position(bytes: &[u8], any_of: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| any_of.contains(byte))
}

fn parse_authority(authority: &[u8]) -> Option<(String, Option<u16>)> {
    let authority = std::str::from_utf8(authority).ok()?;
    let end_of_host = authority.find(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end_of_host..].find(':') {
        Some(colon) => (&authority[..end_of_host + colon], &authority[end_of_host + colon + 1..]),
        None => (authority, ""),
    };
    // An empty port is the default one (RFC 3986, 3.2.3).
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    Some((parse_host(host)?, port))
}

fn parse_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let bare = host.strip_suffix('.').unwrap_or(host);
    if bare.is_empty() || bare.starts_with('.') || bare.contains("..") || !bare.bytes().all(is_valid) {
        return None;
    }
    // A name that ends in a number is an address: the resolver would read it as one.
    let last = bare.rsplit('.').next()?;
    if last.bytes().all(|byte| byte.is_ascii_digit()) || parse_number(last).is_some() {
        return Some(parse_ipv4(bare)?.to_string());
    }
    Some(host.to_ascii_lowercase())
}

/// Parses an IPv4 address in any form that resolvers take: `127.1`, `0x7f.0.0.1`, `2130706433`.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u64> = text.split('.').map(parse_number).collect::<Option<_>>()?;
    let (last, bytes) = numbers.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) || *last >= 1 << (8 * (4 - bytes.len())) {
        return None;
    }
    let high = bytes.iter().enumerate().map(|(at, byte)| byte << (8 * (3 - at))).sum::<u64>();
    Some(Ipv4Addr::from((high + last) as u32))
}

/// Parses a decimal, hexadecimal (`0x7f`) or octal (`0177`) number of at most 32 bits.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    match digits {
        "" if radix == 16 => Some(0),
        _ => u32::from_str_radix(digits, radix).ok().map(u64::from),
    }
}

/// Returns path and query without fragment, with dot segments removed (RFC 3986, 5.2.4) and percent-encoded.
fn normalize_target(target: &[u8]) -> String {
    let target = &target[..position(target, b"#").unwrap_or(target.len())];
    let (path, query) = target.split_at(position(target, b"?").unwrap_or(target.len()));
    let mut segments: Vec<String> = Vec::new();
    let mut parts = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let segment = encode(part, |byte| byte.is_ascii_graphic() && !b"\"<>^`{}".contains(&byte));
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            ".." => {
                segments.pop();
            }
            "." => {}
            _ => {
                segments.push(segment);
                continue;
            }
        }
        // `/a/..` and `/a/.` are directories: they keep their final slash.
        if parts.peek().is_none() {
            segments.push(String::new());
        }
    }
    format!("/{}{}", segments.join("/"), encode(query, |byte| byte.is_ascii_graphic() && !b"\"'<>".contains(&byte)))
}

/// Percent-encodes everything except unreserved characters (RFC 3986, 2.3): a real id contains `:` and `/`.
pub(crate) fn percent_encode(text: &str) -> String {
    encode(text.as_bytes(), |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// Percent-encodes everything except the ASCII characters to keep. Each poll encodes an id: `format!` for each byte would
/// take as many instructions as reading the response.
fn encode(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(bytes.len() + 16);
    for &byte in bytes {
        if keep(byte) {
            encoded.push(byte);
        } else {
            encoded.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    String::from_utf8(encoded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_only_https_and_loopback() {
        let table = [
            ("", NOT_ABSOLUTE),
            ("/v.mp4", NOT_ABSOLUTE),
            ("cdn.example/v.mp4", NOT_ABSOLUTE),
            ("//cdn.example/v.mp4", NOT_ABSOLUTE),
            ("https:cdn.example", NOT_ABSOLUTE),
            ("http://cdn.example/v.mp4", NOT_HTTPS),
            ("http://127.0.0.1.example/", NOT_HTTPS),
            ("http://localhost.example/", NOT_HTTPS),
            ("http://0.0.0.0/", NOT_HTTPS),
            ("ftp://127.0.0.1/", NOT_HTTPS),
            ("file:///etc/passwd", NOT_HTTPS),
            ("http://127.0.0.1:99999/", INVALID_HOST),
            ("http://127.0.0.1:8x/", INVALID_HOST),
            ("http://127.0.0.1:+8/", INVALID_HOST),
            ("https://:8443/", INVALID_HOST),
            ("https:///v.mp4", INVALID_HOST),
            ("http://[::1]x/", INVALID_HOST),
            ("http://[::1/", INVALID_HOST),
            ("http://[127.0.0.1]/", INVALID_HOST),
            ("http://1.2.3.4.5/", INVALID_HOST),
            ("http://127.0.0.256/", INVALID_HOST),
            ("http://127.256.1/", INVALID_HOST),
            ("http://127.2.3.4.0/", INVALID_HOST),
            ("https://cdn..example/", INVALID_HOST),
            ("https://.example/", INVALID_HOST),
            ("https://cdn example/", INVALID_HOST),
            ("https://cdn%2eexample/", INVALID_HOST),
            ("https://cdn.exämple/", INVALID_HOST),
            ("http://127.0.0.1@cdn.example/", "must not contain a user name or password"),
            ("https://user:word@cdn.example/", "must not contain a user name or password"),
        ];
        for (text, reason) in table {
            assert_eq!(Url::parse(text).unwrap_err(), reason, "{text}");
        }
        let long = |length| Url::parse(&format!("http://localhost/{}", "x".repeat(length)));
        assert_eq!(long(15 * 1024).unwrap_err(), TOO_LONG);
        assert!(long(15 * 1000).is_ok());
        let https = Url::parse("https://cdn.example/v.mp4?sig=s");
        assert_eq!(https.is_ok(), cfg!(any(feature = "rustls", feature = "native-tls")));
    }

    #[test]
    fn parse_normalizes_as_browsers_do() {
        let table = [
            ("http://127.0.0.1:8080/v", "http://127.0.0.1:8080/v"),
            ("HTTP://LOCALHOST", "http://localhost/"),
            ("http://127.0.0.1:/v?#f", "http://127.0.0.1/v?"),
            ("http://[0:0::1]:80/", "http://[::1]/"),
            ("http://127.1/", "http://127.0.0.1/"),
            ("http://0x7f000001/", "http://127.0.0.1/"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("http://0177.0.0.1/", "http://127.0.0.1/"),
            ("http://127.1.255.3/", "http://127.1.255.3/"),
            ("http://127.255.2/", "http://127.255.0.2/"),
            ("http://127.0.0.0x/", "http://127.0.0.0/"),
            (" \n http://localhost/my video.mp4\t ", "http://localhost/my%20video.mp4"),
            ("http://localhost/a\nb", "http://localhost/ab"),
            ("http:\\\\localhost\\a?\\", "http://localhost/a?\\"),
            ("http://localhost/[1]{2}|^`\"<>é", "http://localhost/[1]%7B2%7D|%5E%60%22%3C%3E%C3%A9"),
            ("http://localhost/?q='a b'[]{}", "http://localhost/?q=%27a%20b%27[]{}"),
            ("http://localhost/100%/%zz%2F", "http://localhost/100%/%zz%2F"),
            ("http://localhost/a/./b/../../../c", "http://localhost/c"),
            ("http://localhost/a/%2e%2E/b/%2e", "http://localhost/b/"),
            ("http://localhost/a/..", "http://localhost/"),
            ("http://localhost/a//b", "http://localhost/a//b"),
            ("http://localhost?from=/../x", "http://localhost/?from=/../x"),
        ];
        for (text, normalized) in table {
            assert_eq!(Url::parse(text).unwrap().to_string(), normalized, "{text}");
        }
    }

    #[test]
    fn join_resolves_relative_locations() {
        let base = Url::parse("http://127.0.0.1:1/a/b?c").unwrap();
        let table: [(&[u8], &str); 14] = [
            (b"http://127.0.0.1:2/d", "http://127.0.0.1:2/d"),
            (b"//127.0.0.1:2/d", "http://127.0.0.1:2/d"),
            (b"/d?e", "http://127.0.0.1:1/d?e"),
            (b"d", "http://127.0.0.1:1/a/d"),
            (b"?e", "http://127.0.0.1:1/a/b?e"),
            (b"", "http://127.0.0.1:1/a/b?c"),
            (b"#f", "http://127.0.0.1:1/a/b?c"),
            (b"../other/x.mp4", "http://127.0.0.1:1/other/x.mp4"),
            (b"./x.mp4?a=b:c", "http://127.0.0.1:1/a/x.mp4?a=b:c"),
            (b"/d?from=https://cdn.example/", "http://127.0.0.1:1/d?from=https://cdn.example/"),
            // Not a scheme.
            (b"1:2", "http://127.0.0.1:1/a/1:2"),
            (b"d/e:f", "http://127.0.0.1:1/a/d/e:f"),
            ("/é".as_bytes(), "http://127.0.0.1:1/%C3%A9"),
            (b"/\xe9", "http://127.0.0.1:1/%E9"),
        ];
        for (location, target) in table {
            assert_eq!(base.join(location).unwrap().to_string(), target, "{}", location.escape_ascii());
        }
        assert_eq!(base.join(b"http://cdn.example/"), Err(NOT_HTTPS));
        assert_eq!(base.join(b"mailto:fox"), Err(NOT_ABSOLUTE));
    }

    #[test]
    #[cfg(any(feature = "rustls", feature = "native-tls"))]
    fn a_remote_host_must_not_redirect_to_loopback() {
        let base = Url::parse("https://cdn.example/v.mp4").unwrap();
        let hosts = ["localhost", "x.localhost", "localhost.", "127.0.0.1", "127.1", "0", "[::1]", "[::]"];
        for host in hosts.into_iter().chain(["[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0.0.0.0"]) {
            let reason = base.join(format!("https://{host}/").as_bytes()).unwrap_err();
            assert_eq!(reason, "a remote host must not redirect to loopback", "{host}");
        }
        assert!(base.join(b"https://128.0.0.1/").is_ok());
    }

    #[test]
    fn the_port_is_that_of_the_scheme_unless_it_is_given() {
        let table = [
            ("http://localhost/", (false, 80)),
            ("http://localhost:8080/", (false, 8080)),
            ("https://cdn.example/", (true, 443)),
            ("https://cdn.example:80/", (true, 80)),
        ];
        for (text, expected) in table {
            match Url::parse(text) {
                Ok(url) => assert_eq!((url.is_https(), url.port()), expected, "{text}"),
                Err(reason) => assert!(reason.starts_with("https needs the feature"), "{text}: {reason}"),
            }
        }
    }

    #[test]
    fn percent_encode_keeps_only_unreserved_characters() {
        assert_eq!(percent_encode("a2:klingai/v2.5_~-é&=+%"), "a2%3Aklingai%2Fv2.5_~-%C3%A9%26%3D%2B%25");
    }
}
