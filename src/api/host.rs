//! Which `Host` and `Origin` headers are answered, against DNS rebinding: a page in a browser can make a name of its own
//! point at this machine, but the name stays in the headers.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use url::Url;

use super::Access;
use super::problem::Problem;
use crate::error::ErrorCode;
use crate::services::Error;

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Which pages of browsers may send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Those of known origins.
    Known,
    /// All: what the request may do rests on nothing a browser adds by itself.
    Any,
}

/// Lets a request pass whose host and, if it has one, origin are known.
pub fn check(access: &Access, uri: &Uri, headers: &HeaderMap, origins: Origin) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next().is_some());
    // RFC 9112, section 3.2: a request with several is refused. An address in full names its host too.
    if more {
        return Err(refused("Host", "several", "ALLOWED_HOSTS"));
    }
    let is_foreign = |authority: &&Authority| !knows_host(access, authority);
    if let Some(foreign) = uri.authority().filter(is_foreign) {
        return Err(refused("address of the request, as the Host", foreign.as_str(), "ALLOWED_HOSTS"));
    }
    let named = first.and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(Authority::as_str));
    let is_known = |host: Authority| !host.as_str().contains('@') && knows_host(access, &host);
    if !named.and_then(|host| host.parse().ok()).is_some_and(is_known) {
        return Err(refused("Host", named.unwrap_or(""), "ALLOWED_HOSTS"));
    }
    let Some(origin) = headers.get(header::ORIGIN).filter(|_| origins == Origin::Known) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("");
    if Url::parse(origin).is_ok_and(|origin| knows_origin(access, &origin)) {
        Ok(())
    } else {
        Err(refused("Origin", origin, "ALLOWED_ORIGINS"))
    }
}

fn refused(header: &str, value: &str, setting: &str) -> Problem {
    Error::new(ErrorCode::PermissionMissing, format!("the {header} header `{value}` is not answered"))
        .hint(format!("the deployment lists its own names in `{setting}`"))
        .into()
}

fn knows_host(access: &Access, host: &Authority) -> bool {
    let listed = |allowed: &String| match allowed.parse::<Authority>() {
        Ok(allowed) => {
            allowed.host().eq_ignore_ascii_case(host.host())
                && (allowed.port().is_none() || allowed.port_u16() == host.port_u16())
        }
        Err(_) => false,
    };
    LOOPBACK.iter().any(|name| name.eq_ignore_ascii_case(host.host())) || access.hosts.iter().any(listed)
}

fn knows_origin(access: &Access, origin: &Url) -> bool {
    let loopback = origin.scheme() == "http" && origin.host_str().is_some_and(|host| LOOPBACK.contains(&host));
    let listed = |allowed: &String| match allowed.strip_suffix(":*") {
        Some(any_port) => Url::parse(any_port)
            .is_ok_and(|allowed| allowed.scheme() == origin.scheme() && allowed.host() == origin.host()),
        None => Url::parse(allowed).is_ok_and(|allowed| allowed.origin() == origin.origin()),
    };
    loopback || access.origins.iter().any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Proof, Writes};

    fn passes(host: &str, origin: Option<&str>) -> bool {
        let access = Access {
            proof: Proof::NotDemanded,
            hosts: vec!["gate.example.com".into(), "other.example.com:8443".into()],
            origins: vec!["https://app.example.com".into(), "http://dev.example.com:*".into()],
            networks: Vec::new(),
            writes: Writes::Allowed,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(&access, &Uri::from_static("/"), &headers, Origin::Known).is_ok()
    }

    #[test]
    fn duplicate_host_and_foreign_absolute_uri_are_refused() {
        let access = Access {
            proof: Proof::NotDemanded,
            hosts: vec!["gate.example.com".into()],
            origins: Vec::new(),
            networks: Vec::new(),
            writes: Writes::Allowed,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "gate.example.com".parse().unwrap());
        let passes = |address: &'static str, headers: &HeaderMap| {
            check(&access, &Uri::from_static(address), headers, Origin::Known).is_ok()
        };
        assert!(passes("/", &headers) && passes("http://gate.example.com/", &headers));
        assert!(!passes("http://evil.example.com/", &headers));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(!passes("/", &headers));
    }

    #[test]
    fn loopback_and_configured_hosts_are_accepted() {
        for host in
            ["localhost:7071", "127.0.0.1", "[::1]:7071", "LOCALHOST", "gate.example.com:443", "other.example.com:8443"]
        {
            assert!(passes(host, None), "{host}");
        }
        for host in [
            "evil.example.com",
            "other.example.com",
            "localhost.evil.example.com",
            "127.0.0.1.nip.io",
            "evil.com@localhost",
            "",
        ] {
            assert!(!passes(host, None), "{host}");
        }
    }

    #[test]
    fn loopback_and_configured_origins_are_accepted() {
        for origin in ["http://localhost:5173", "http://[::1]", "https://app.example.com", "http://dev.example.com:99"]
        {
            assert!(passes("localhost", Some(origin)), "{origin}");
        }
        for origin in
            ["null", "https://evil.example.com", "https://app.example.com:8443", "https://dev.example.com:99", ""]
        {
            assert!(!passes("localhost", Some(origin)), "{origin}");
        }
    }
}
