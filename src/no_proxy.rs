//! The hosts that `NO_PROXY` names, which are reached without a proxy.

use std::net::IpAddr;

/// Returns `true` if an entry of `NO_PROXY` names this host, or a domain that it belongs to.
///
/// No standard defines the variable. It is read as curl, Go and Python read it: entries are separated by commas or white
/// space, `example.com` and `.example.com` name a domain and everything below it, `*` names every host, and an entry with
/// a port names only that port.
pub(crate) fn names(no_proxy: &str, host: &str, port: u16) -> bool {
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
