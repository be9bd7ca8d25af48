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

/// As YARP does it: what is not allowed in a path is escaped, a `%` that was left too.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Functions by name, each with its route and the one method it takes.
    fn app(functions: &[(&str, &str, &str)]) -> App {
        let trigger = |route: &str, method: &str| json!({"type": "httpTrigger", "route": route, "methods": [method]});
        let functions =
            functions.iter().map(|(name, route, method)| ((*name).to_owned(), trigger(route, method))).collect();
        App { folder: "nowhere".into(), host: json!({}), functions }
    }

    /// As the real host was seen to choose: `_` stands behind every letter.
    #[test]
    fn stand_in_host_routes_to_the_function_that_sorts_first() {
        for (webhook, expected) in [("graph_webhook", "api"), ("a_webhook", "api"), ("aa_webhook", "aa_webhook")] {
            let app = app(&[(webhook, "api/graph_webhook/{*rest}", "post"), ("api", "api/{*rest}", "post")]);
            assert_eq!(chosen(&app, "POST", "/api/graph_webhook").unwrap().0, expected, "{webhook}");
        }
    }

    #[test]
    fn stand_in_host_routes_by_method_and_ignores_case() {
        let app = app(&[("first", "api/hook", "post"), ("second", "api/{name}", "get"), ("third", "", "get")]);
        for (method, path, expected) in [
            ("POST", "/API/Hook", Some("first")),
            ("GET", "/api/hook", Some("second")),
            ("GET", "/api/hook/x", None),
            ("DELETE", "/api/hook", None),
            ("GET", "/api//hook", None),
        ] {
            assert_eq!(chosen(&app, method, path).map(|(name, _)| name.as_str()), expected, "{method} {path}");
        }
    }

    #[test]
    fn stand_in_host_decodes_normalises_and_encodes_paths() {
        for (given, seen) in
            [("/a/%62/../c", Some("/a/c")), ("/a%2Fb", Some("/a%252Fb")), ("/a%20b", Some("/a%20b")), ("/..", None)]
        {
            assert_eq!(decoded(given).map(|path| encoded(&path)).as_deref(), seen, "{given}");
        }
    }
}
