//! Letter case: the host passes `/MCP` and `/Health/live` on, for it knows none in its routes; ours do.

/// The path as our routes write it; `None` when it is that already, or none of ours. What a pattern leaves open, such as
/// an id, stays as it came.
pub fn as_routed(path: &str, patterns: &[String]) -> Option<String> {
    let fitting = patterns.iter().filter_map(|pattern| as_in(path, pattern));
    // A literal segment is narrower than an open one.
    let (_, routed) = fitting.min_by_key(|(open, _)| *open)?;
    (routed != path).then_some(routed)
}

/// The path in the letters of one pattern, and how many segments that leaves open.
fn as_in(path: &str, pattern: &str) -> Option<(usize, String)> {
    let (given, wanted): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), pattern.split('/').collect());
    if given.len() != wanted.len() {
        return None;
    }
    let mut open = 0;
    let mut routed = Vec::with_capacity(given.len());
    for (given, wanted) in given.into_iter().zip(wanted) {
        if wanted.starts_with('{') && !given.is_empty() {
            open += 1;
            routed.push(given);
        } else if given.eq_ignore_ascii_case(wanted) {
            routed.push(wanted);
        } else {
            return None;
        }
    }
    Some((open, routed.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_case_is_normalised_for_route_words_only() {
        let patterns = ["/mcp", "/health/live", "/api/reports/{id}", "/api/reports/list"].map(str::to_owned);
        for (given, routed) in [
            ("/MCP", Some("/mcp")),
            ("/mcp", None),
            ("/Health/LIVE", Some("/health/live")),
            ("/API/Reports/AbC", Some("/api/reports/AbC")),
            ("/api/reports/AbC", None),
            ("/api/reports/LIST", Some("/api/reports/list")),
            ("/api/reports/", None),
            ("/API/nothing", None),
        ] {
            assert_eq!(as_routed(given, &patterns).as_deref(), routed, "{given}");
        }
    }
}
