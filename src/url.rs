//! URLs that may be requested: https, or http on loopback.

use std::net::IpAddr;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// A URL that may be requested: https, or http on loopback; without user info.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url(Uri);

impl Url {
    /// Parses a URL with the parser that will connect to it, so that the two cannot disagree about the host.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.contains("://") {
            return Err("must start with https://");
        }
        let uri: Uri = text.parse().map_err(|_| "not a valid URL")?;
        let (Some(scheme), Some(authority), Some(host)) = (uri.scheme(), uri.authority(), uri.host()) else {
            return Err("not a valid URL");
        };
        if authority.as_str().contains('@') {
            return Err("must not contain a user name or password");
        }
        // The parser accepts invalid ports, and then omits them.
        let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        if host.is_empty() || authority.as_str() != format!("{host}{port}") {
            return Err("host or port is missing or invalid");
        }
        let (https, http) = (*scheme == Scheme::HTTPS, *scheme == Scheme::HTTP);
        let url = Url(uri);
        let is_allowed = https || (http && url.is_loopback());
        if !is_allowed {
            return Err("must use https (http is allowed only for loopback)");
        }
        if https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            return Err("https needs the feature rustls or native-tls of kling");
        }
        Ok(url)
    }

    pub(crate) fn as_uri(&self) -> &Uri {
        &self.0
    }

    /// Returns scheme, host and port in their normalized form (RFC 3986, 6.2).
    pub(crate) fn origin(&self) -> String {
        let (scheme, host) = (self.0.scheme_str().unwrap_or_default(), self.0.host().unwrap_or_default());
        let port = match (scheme, self.0.port_u16()) {
            ("https", Some(443)) | ("http", Some(80)) | (_, None) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        format!("{scheme}://{}{port}", host.to_ascii_lowercase())
    }

    pub(crate) fn is_loopback(&self) -> bool {
        let is_localhost = self.0.host().is_some_and(|host| host.eq_ignore_ascii_case("localhost"));
        is_localhost || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Returns the address, if the host is an address and not a name.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let host = self.0.host()?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse().ok()
    }

    /// Resolves a `Location` header, which may be relative (RFC 9110, 10.2.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let path = self.0.path();
        let has_scheme = location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
        let absolute = if has_scheme {
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
            return Err("a remote host must not redirect to loopback");
        }
        Ok(target)
    }
}

/// Percent-encodes everything except unreserved characters (RFC 3986, 2.3): a real id contains `:` and `/`.
pub(crate) fn percent_encode(text: &str) -> String {
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

    #[test]
    fn parse_accepts_only_https_and_loopback() {
        let refused = [
            ("", "must start with https://"),
            ("/v.mp4", "must start with https://"),
            ("cdn.example/v.mp4", "must start with https://"),
            ("//cdn.example/v.mp4", "must start with https://"),
            ("http://127.0.0.1:99999/", "host or port is missing or invalid"),
            ("http://127.0.0.1:/", "host or port is missing or invalid"),
            ("https://:8443/", "host or port is missing or invalid"),
            ("http://[::1]x/", "host or port is missing or invalid"),
            ("http://cdn.example/v.mp4", "must use https (http is allowed only for loopback)"),
            ("http://127.0.0.1.example/", "must use https (http is allowed only for loopback)"),
            ("http://localhost.example/", "must use https (http is allowed only for loopback)"),
            ("ftp://127.0.0.1/", "must use https (http is allowed only for loopback)"),
            ("file:///etc/passwd", "not a valid URL"),
            ("http://127.0.0.1@cdn.example/", "must not contain a user name or password"),
            ("https://user:word@cdn.example/", "must not contain a user name or password"),
            ("https://cdn.example/a b", "not a valid URL"),
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
    fn join_resolves_relative_locations() {
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
    fn percent_encode_keeps_only_unreserved_characters() {
        assert_eq!(percent_encode("a2:klingai/v2.5_~-é&=+%"), "a2%3Aklingai%2Fv2.5_~-%C3%A9%26%3D%2B%25");
    }
}
