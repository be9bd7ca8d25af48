//! Redirect addresses: which a client may have, and whether a request names one of them.

use url::{Host, Url};

/// The longest address.
const MAX_LENGTH: usize = 1000;
/// Schemes of apps that people sign in to, without the dot that RFC 8252 (section 7.1) asks for.
const APPS: &[&str] = &["claude", "cursor", "raycast", "vscode", "vscode-insiders", "windsurf", "zed"];
/// Schemes that a browser runs, opens from its disk, or that would send a code in the open.
const NEVER: &[&str] = &[
    "about",
    "blob",
    "data",
    "file",
    "filesystem",
    "ftp",
    "javascript",
    "mailto",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Reads an address that a client may be sent back to: https, http on this machine (RFC 8252, section 7.3), or a scheme of
/// an app's own.
///
/// # Errors
/// With what is wrong.
pub fn check(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_LENGTH {
        return Err("it is too long");
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\' || !byte.is_ascii()) {
        return Err("it holds characters that an address does not have");
    }
    let url = Url::parse(text).map_err(|_| "it is no address")?;
    if url.fragment().is_some() || text.contains('#') {
        return Err("it has a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a name or a password");
    }
    match url.scheme() {
        "https" if url.host().is_some() => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "https" | "http" => Err("http is for this machine alone"),
        scheme if NEVER.contains(&scheme) => Err("its scheme is not one of an app"),
        scheme if scheme.contains('.') || APPS.contains(&scheme) => Ok(url),
        _ => Err("the scheme of an app holds a dot, as in com.example.app"),
    }
}

/// Whether an address is on the machine of the person.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether a requested address is a registered one: the same text, but for the port on this machine, which an app is given
/// when it starts (RFC 8252, section 7.3; RFC 9700, section 4.1.3).
#[must_use]
pub fn matches(registered: &str, requested: &str) -> bool {
    if registered == requested {
        return true;
    }
    let without_port = |text: &str| {
        let mut url = check(text).ok().filter(|url| url.scheme() == "http" && is_loopback(url))?;
        url.set_port(None).ok()?;
        Some(url)
    };
    // The host's spelling stays: `localhost` may lead to another program than `127.0.0.1`.
    matches!((without_port(registered), without_port(requested)), (Some(one), Some(other)) if one == other)
}

/// Where an address leads, for people: its host, or the scheme of an app.
#[must_use]
pub fn shown(url: &Url) -> String {
    match url.host_str() {
        Some(_) if is_loopback(url) => "this computer".to_owned(),
        Some(host) if url.scheme() == "https" => host.to_owned(),
        _ => format!("the app behind {}:", url.scheme()),
    }
}

/// What a content security policy calls the place an address leads to.
#[must_use]
pub fn as_source(url: &Url) -> String {
    if matches!(url.host(), Some(Host::Ipv6(_))) {
        // The grammar of policies has no such addresses.
        return format!("{}:", url.scheme());
    }
    if matches!(url.scheme(), "http" | "https") {
        url.origin().ascii_serialization()
    } else {
        format!("{}:", url.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_redirects_can_be_registered() {
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "https://example.com/cb?tenant=1",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:33418/",
            "http://[::1]:1/cb",
            "http://localhost:8080/callback",
            "cursor://anysphere.cursor-retrieval/oauth/callback",
            "com.example.app:/oauth",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.com/cb",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "https://example.com/cb#part",
            "https://example.com/#",
            "https://user@example.com/",
            "https://a:b@example.com/",
            "https://example.com/\\@evil.com",
            "https://exa mple.com/",
            "https://example.com/\r\nset-cookie:a",
            "https://exämple.com/",
            "javascript:alert(1)",
            "JAVASCRIPT:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "intent://scan/#Intent",
            "ms-msdt:/id",
            "search-ms:query=x",
            "chrome://settings",
            "tel:+1",
            "ssh://host",
            "blob:https://example.com/1",
            "//example.com/cb",
            "/callback",
            "example.com/cb",
            "",
            "*",
            "https://",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirect_matches_exactly_but_for_the_port_on_this_machine() {
        for (registered, requested, same) in [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/cb", "https://a.example/cb?x=1", false),
            ("https://a.example/cb", "https://a.example/CB", false),
            ("https://a.example/cb", "https://a.example:443/cb", false),
            ("https://a.example/cb", "https://a.example:8443/cb", false),
            ("https://a.example/cb", "https://b.a.example/cb", false),
            ("https://a.example/cb", "https://a.example.evil/cb", false),
            ("https://a.example/cb", "https://a.example/cb/../other", false),
            ("https://a.example/cb", "https://a.example/%63b", false),
            ("https://a.example/cb", "http://a.example/cb", false),
            ("https://a.example/cb", "https://a.example/cb#x", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:4711/cb", true),
            ("http://[::1]/cb", "http://[::1]:5/cb", true),
            ("http://localhost/cb", "http://localhost:5/cb", true),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/other", false),
            ("http://127.0.0.1/cb", "http://localhost:4711/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.2:4711/cb", false),
            ("http://127.0.0.1/cb", "https://127.0.0.1:4711/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb?x", false),
            ("com.example.app:/cb", "com.example.app:/cb", true),
            ("com.example.app:/cb", "com.example.app:/other", false),
        ] {
            assert_eq!(matches(registered, requested), same, "{registered} {requested}");
        }
    }
}
