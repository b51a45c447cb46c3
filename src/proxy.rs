//! The proxy that the environment names, and the hosts that are reached without it.

use std::env;
use std::net::IpAddr;

use crate::url::Url;

/// A proxy from the environment.
#[derive(Clone)]
pub(crate) struct EnvProxy {
    /// The environment variable that names it.
    pub(crate) variable: &'static str,
    /// Its URL, which may contain a password.
    pub(crate) address: String,
    /// The hosts that are reached without it.
    no_proxy: String,
}

/// An environment variable whose proxy cannot be used, and the reason.
pub(crate) type InvalidProxy = (&'static str, &'static str);

pub(crate) const NOT_A_PROXY: &str = "must be a proxy URL, such as http://user:password@host:3128, with special \
                                      characters in user and password percent-encoded";

/// Reads the proxy from the environment. The variables and their order are those of ureq, which skips silently what it
/// cannot parse.
pub(crate) fn from_env() -> Result<Option<EnvProxy>, InvalidProxy> {
    for variable in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) else { continue };
        let address = value.into_string().ok().filter(|value| is_complete(value)).ok_or((variable, NOT_A_PROXY))?;
        let scheme = address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if scheme.is_some_and(|scheme| scheme.starts_with("socks")) && !cfg!(feature = "socks-proxy") {
            // Without its SOCKS support, ureq ignores such a proxy and connects directly.
            return Err((variable, "a SOCKS proxy needs the feature socks-proxy of kling"));
        }
        // Not read by ureq, to which `a.test, b.test` would not name `b.test`.
        let no_proxy = ["NO_PROXY", "no_proxy"].map(|name| env::var(name).unwrap_or_default());
        let no_proxy = no_proxy.into_iter().find(|hosts| !hosts.is_empty()).unwrap_or_default();
        return Ok(Some(EnvProxy { variable, address, no_proxy }));
    }
    Ok(None)
}

/// Returns the proxy for requests to a URL. Those to loopback use none: a proxy would resolve it to its own machine.
pub(crate) fn for_url<'a>(
    proxy: &'a Result<Option<EnvProxy>, InvalidProxy>,
    url: &Url,
) -> Result<Option<&'a EnvProxy>, InvalidProxy> {
    if url.is_loopback() {
        return Ok(None);
    }
    let proxy = proxy.as_ref().map_err(|invalid| *invalid)?.as_ref();
    Ok(proxy.filter(|proxy| !names(&proxy.no_proxy, url.host(), url.port())))
}

/// Returns `false` for a proxy URL of which ureq would drop a part: a `#`, `?` or `/` in a password would end the host,
/// and a port that is not a number would be ignored.
fn is_complete(proxy: &str) -> bool {
    let after_scheme = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let (authority, rest) = after_scheme.split_at(after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let after_address = host.rsplit(']').next().unwrap_or_default();
    let has_valid_port = after_address.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok());
    !rest.contains('@') && has_valid_port
}

/// Returns `true` if an entry of `NO_PROXY` names this host, or a domain that it belongs to.
///
/// No standard defines the variable. It is read as curl, Go and Python read it: entries are separated by commas or white
/// space, `example.com` and `.example.com` name a domain and everything below it, `*` names every host, and an entry with
/// a port names only that port.
fn names(no_proxy: &str, host: &str, port: u16) -> bool {
    let host = bare(host).to_ascii_lowercase();
    let entries = no_proxy.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries.map(split_port).any(|(name, only_port)| {
        let domain = bare(name).trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        let is_named = if domain.is_empty() { name == "*" } else { is_within(&host, &domain) };
        is_named && only_port.is_none_or(|only| only == port)
    })
}

/// Returns a name without its final dot, or an address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_end_matches('.').trim_start_matches('[').trim_end_matches(']')
}

/// Splits off a port. More than one colon without brackets is an IPv6 address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()),
        _ => (entry, None),
    }
}

/// Returns `true` if both are the same address, or the host is the domain or below it.
fn is_within(host: &str, domain: &str) -> bool {
    match (host.parse::<IpAddr>(), domain.parse::<IpAddr>()) {
        (Err(_), Err(_)) => host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        (host, domain) => host == domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_hosts_domains_ports_or_everything() {
        const HOST: &str = "api.example.com";
        let table = [
            ("", HOST, false),
            (" , ", HOST, false),
            ("api.example.com", HOST, true),
            ("API.Example.COM.", HOST, true),
            ("example.com", HOST, true),
            (".example.com", HOST, true),
            ("*.example.com", HOST, true),
            ("*example.com", HOST, true),
            ("ample.com", HOST, false),
            ("api.example.com.evil", HOST, false),
            ("x.api.example.com", HOST, false),
            ("other.test,api.example.com", HOST, true),
            ("other.test, api.example.com", HOST, true),
            ("other.test api.example.com", HOST, true),
            ("api.example.com:443", HOST, true),
            ("example.com:80", HOST, false),
            ("*", HOST, true),
            (".", HOST, false),
            (":443", HOST, false),
            ("*:80", HOST, false),
            ("example.com", "example.com.", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("2.7", "192.0.2.7", false),
            ("192.0.2.7:443", "192.0.2.7", true),
            ("2001:db8:0::1", "[2001:db8::1]", true),
            ("[2001:db8::1]:443", "[2001:db8::1]", true),
            ("[2001:db8::1]:80", "[2001:db8::1]", false),
            ("2001:db8::2", "[2001:db8::1]", false),
        ];
        for (no_proxy, host, is_named) in table {
            assert_eq!(names(no_proxy, host, 443), is_named, "{no_proxy} {host}");
        }
    }
}
