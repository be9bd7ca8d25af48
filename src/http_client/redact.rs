//! What may be said about a URL or a transport error in logs and messages: never a query, never a user part.

use std::error::Error;

use url::Url;

/// Scheme, host and path of `url`.
#[must_use]
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username(""); // fails only for URLs that cannot have one
    let _ = shown.set_password(None);
    shown.to_string()
}

/// The path of `url`; a segment with a mail address (a user principal name) is replaced by `…`.
#[must_use]
pub fn path(url: &Url) -> String {
    let shown = |segment: &str| {
        if segment.contains('@') || segment.contains("%40") { "…".to_owned() } else { segment.to_owned() }
    };
    url.path().split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// The reasons below a transport error, outermost first, without the URL that reqwest would print.
#[must_use]
pub fn transport(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

/// The texts of `error` and its sources, joined; a text already contained in the one before is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    queries(&text)
}

/// `text` with the query of every URL in it replaced by `…`.
#[must_use]
pub fn queries(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            shown.push(' ');
        }
        match word.split_once('?') {
            Some((before, after)) if before.contains("://") && !after.is_empty() => {
                shown.push_str(before);
                shown.push_str("?…");
            }
            _ => shown.push_str(word),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_url_has_no_query_and_no_user() {
        let secret = Url::parse("https://me:pw@example.org/a/b?sig=secret#x").unwrap();
        assert_eq!(url(&secret), "https://example.org/a/b");
    }

    #[test]
    fn query_strings_inside_text_are_redacted() {
        assert_eq!(queries("for url (https://h/p?sig=s) failed"), "for url (https://h/p?… failed");
        assert_eq!(queries("did it fail? yes"), "did it fail? yes");
    }
}
