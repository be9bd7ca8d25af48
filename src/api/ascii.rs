//! Header values are ASCII: one other byte in any of them, and the Functions host answers 500 with nothing in it.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderValue, Response};

/// Characters of a name that need no quoting anywhere.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b' ' | b'(' | b')')
}

/// A file's name and what a browser should do with it (RFC 6266): in plain letters, and beside them the whole name where
/// it has others (RFC 8187).
pub fn disposition(place: &'static str, name: &str) -> HeaderValue {
    let plain: String = name.chars().map(|c| if u8::try_from(c).is_ok_and(is_plain) { c } else { '_' }).collect();
    let whole = if plain == name {
        String::new()
    } else {
        format!(
            "; filename*=UTF-8''{}",
            escaped(name.as_bytes(), |byte| is_plain(byte) && !matches!(byte, b' ' | b'(' | b')'))
        )
    };
    HeaderValue::from_str(&format!("{place}; filename=\"{plain}\"{whole}")).unwrap_or(HeaderValue::from_static(place))
}

/// Escapes what is no ASCII in the headers of an answer, wherever they came from.
pub fn made<B>(mut response: Response<B>) -> Response<B> {
    escape(response.headers_mut());
    response
}

fn escape(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if value.as_bytes().is_ascii() {
            continue;
        }
        let text = escaped(value.as_bytes(), |byte| matches!(byte, b'\t' | 0x20..=0x7e));
        *value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    }
}

fn escaped(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if is_plain(*byte) {
            text.push(char::from(*byte));
        } else {
            let _always_works = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_disposition_has_ascii_and_full_file_name() {
        for (name, expected) in [
            ("weekly-2026.pdf", "inline; filename=\"weekly-2026.pdf\""),
            ("Übersicht.pdf", "inline; filename=\"_bersicht.pdf\"; filename*=UTF-8''%C3%9Cbersicht.pdf"),
            ("a\"\r\nx: y", "inline; filename=\"a___x_ y\"; filename*=UTF-8''a%22%0D%0Ax%3A%20y"),
        ] {
            assert_eq!(disposition("inline", name), expected);
        }
    }

    #[test]
    fn response_headers_are_ascii() {
        let mut response = Response::new(());
        let location = HeaderValue::try_from("/x?name=Müller y".to_owned()).unwrap();
        response.headers_mut().insert("location", location);
        response.headers_mut().insert("etag", HeaderValue::from_static("W/\"1\""));
        let response = made(response);
        assert_eq!(response.headers()["location"], "/x?name=M%C3%BCller y");
        assert_eq!(response.headers()["etag"], "W/\"1\"");
    }
}
