//! Which function a request is for: by the functions' names, not by how narrow their routes are.

use serde_json::Value;

use super::App;

/// The name and the trigger of the function that takes a request: functions in the order of their names in upper case,
/// the first whose route and methods fit (azure-functions-host `FunctionMetadataManager`, `WebScriptHostHttpRoutesManager`).
pub fn chosen<'a>(app: &'a App, method: &str, path: &str) -> Option<(&'a String, &'a Value)> {
    if path.contains("//") {
        return None;
    }
    let mut functions: Vec<_> = app.of_kind("httpTrigger").collect();
    functions.sort_by_key(|(name, _)| name.to_uppercase());
    functions.into_iter().find(|(_, trigger)| takes(trigger, method) && fits(trigger["route"].as_str().unwrap(), path))
}

/// Without `methods` a function takes every method.
fn takes(trigger: &Value, method: &str) -> bool {
    trigger["methods"]
        .as_array()
        .is_none_or(|methods| methods.iter().any(|one| method.eq_ignore_ascii_case(one.as_str().unwrap())))
}

/// Whether a route has a path, without letter case.
fn fits(route: &str, path: &str) -> bool {
    let mut path = path.trim_matches('/').split('/');
    for segment in route.trim_matches('/').split('/') {
        if segment.starts_with("{*") {
            return true;
        }
        match path.next() {
            Some(given) if segment.starts_with('{') && !given.is_empty() => {}
            Some(given) if given.eq_ignore_ascii_case(segment) => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

/// As Kestrel does it: every escape but `%2F` is decoded, `.` and `..` are walked; above the root there is nothing.
pub fn decoded(path: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escape = || Some((bytes.clone().next()? as char, bytes.clone().nth(1)? as char));
        let value = (byte == b'%')
            .then(escape)
            .flatten()
            .and_then(|(high, low)| u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok());
        match value {
            Some(b'/') | None => decoded.push(byte),
            Some(value) => {
                decoded.push(value);
                let _ = bytes.nth(1);
            }
        }
    }
    let mut segments = Vec::new();
    for segment in String::from_utf8(decoded).ok()?.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()?),
            other => segments.push(other.to_owned()),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

/// As YARP does it: whatever may not stand in a path is escaped, a `%` that was left too.
pub fn encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            text.push(byte as char);
        } else {
            text += &format!("%{byte:02X}");
        }
        text
    })
}
