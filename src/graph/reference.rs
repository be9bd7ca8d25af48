//! The keys of a task's references: a URL, encoded so that it may be a property name in `OData`.
//!
//! <https://learn.microsoft.com/graph/api/resources/plannerexternalreferences>

/// Encodes a URL as the key of a reference: `%`, `.`, `:`, `@` and `#` as `%XX`, everything else as it is.
#[must_use]
pub fn encode_reference_key(url: &str) -> String {
    let mut key = String::with_capacity(url.len() + 16);
    for character in url.chars() {
        match character {
            '%' => key.push_str("%25"),
            '.' => key.push_str("%2E"),
            ':' => key.push_str("%3A"),
            '@' => key.push_str("%40"),
            '#' => key.push_str("%23"),
            other => key.push(other),
        }
    }
    key
}

/// The URL a reference's key stands for. A key that is not validly encoded is taken as it is.
#[must_use]
pub fn decode_reference_key(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reference_keys_are_encoded_as_documented() {
        let url = "https://contoso.sharepoint.com/x";
        assert_eq!(encode_reference_key(url), "https%3A//contoso%2Esharepoint%2Ecom/x");
    }

    proptest! {
        #[test]
        fn reference_key_decoding_inverts_encoding(url in any::<String>()) {
            let key = encode_reference_key(&url);
            prop_assert!(!key.contains(['.', ':', '@', '#']));
            prop_assert_eq!(decode_reference_key(&key), url);
        }
    }
}
