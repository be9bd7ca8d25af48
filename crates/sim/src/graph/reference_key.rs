//! The keys of `references` in task details: a URL whose `%`, `.`, `:`, `@` and `#` are percent-encoded,
//! because those characters are not allowed in the names of an open type.

/// Tells what is wrong with a key, `None` if it is a well-formed encoded http(s) URL.
pub fn problem(key: &str) -> Option<&'static str> {
    if let Some(bad) = key.chars().find(|c| matches!(c, '.' | ':' | '@' | '#')) {
        return Some(match bad {
            '.' => "'.' has to be written %2E",
            ':' => "':' has to be written %3A",
            '@' => "'@' has to be written %40",
            _ => "'#' has to be written %23",
        });
    }
    let mut rest = key;
    while let Some(at) = rest.find('%') {
        let code = rest.get(at + 1..at + 3);
        if !code.is_some_and(|c| c.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Some("'%' has to be written %25");
        }
        rest = &rest[at + 3..];
    }
    let lower = key.to_ascii_lowercase();
    if lower.starts_with("http%3a//") || lower.starts_with("https%3a//") {
        None
    } else {
        Some("the key is not an encoded http or https address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_reference_key_is_accepted() {
        assert_eq!(problem("https%3A//contoso%2Esharepoint%2Ecom/teams/agile/documents/AnnualReport%2Epptx"), None);
    }

    #[test]
    fn unencoded_reference_key_is_refused() {
        for key in ["https://contoso.com", "https%3A//contoso.com", "ftp%3A//contoso%2Ecom", "https%3A//a%zz", "x"] {
            assert!(problem(key).is_some(), "{key}");
        }
    }
}
