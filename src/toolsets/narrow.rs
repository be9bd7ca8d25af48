//! What a request's own headers leave of what its caller may see: they can only take away.
//!
//! A gateway in front adds them, and so may its client: of headers that are given several times the narrowest counts, and
//! one that cannot be read leaves nothing.

use http::HeaderMap;

use super::tool::{Effect, Tool};

/// The name that means every toolset.
pub const ALL: &str = "all";

/// What headers leave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// Nothing that writes.
    pub read_only: bool,
    /// `X-MCP-Toolsets: all`: every toolset is listed, none is taken away.
    lists_everything: bool,
    /// Only these toolsets.
    toolsets: Option<Vec<String>>,
    /// Only these tools.
    tools: Option<Vec<String>>,
}

impl Narrowed {
    /// Reads `X-MCP-Readonly`, `X-MCP-Toolsets` and `X-MCP-Tools`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let off = |text: &str| matches!(text.trim().to_ascii_lowercase().as_str(), "false" | "0" | "");
        let is_off = |value: &http::HeaderValue| value.to_str().is_ok_and(|text| text.split(',').all(off));
        let toolsets = list(headers, "x-mcp-toolsets");
        let lists_everything = toolsets.as_deref().is_some_and(|names| names.iter().any(|name| name == ALL));
        Self {
            lists_everything,
            read_only: !headers.get_all("x-mcp-readonly").iter().all(is_off),
            toolsets: toolsets.filter(|_| !lists_everything),
            tools: list(headers, "x-mcp-tools"),
        }
    }

    /// Whether a tool is left.
    #[must_use]
    pub fn leaves(&self, tool: &Tool) -> bool {
        self.names(tool.toolset, tool.name) && (!self.read_only || tool.effect == Effect::Reads)
    }

    /// Whether a tool of a toolset is among those named.
    #[must_use]
    pub fn names(&self, toolset: &str, tool: &str) -> bool {
        let among = |names: &Option<Vec<String>>, name: &str| {
            names.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
        };
        among(&self.toolsets, toolset) && among(&self.tools, tool)
    }

    /// Whether the request says which toolsets it wants listed, be it all of them.
    #[must_use]
    pub const fn names_toolsets(&self) -> bool {
        self.lists_everything || self.toolsets.is_some() || self.tools.is_some()
    }
}

/// The names that are in every header of a name; `None` where there is no such header.
fn list(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let names = |value: &http::HeaderValue| -> Vec<String> {
        let text = value.to_str().unwrap_or_default(); // one that cannot be read names nothing
        let mut names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.len() > 1 {
            names.retain(|name| name != ALL); // beside others it widens nothing
        }
        names
    };
    let lists = headers.get_all(name).iter().map(names);
    lists.reduce(|narrow, other| {
        let is_all = |names: &[String]| names.iter().any(|name| name == ALL);
        match (is_all(&narrow), is_all(&other)) {
            (true, _) => other,
            (_, true) => narrow,
            _ => narrow.into_iter().filter(|name| other.contains(name)).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[allow(clippy::disallowed_methods)] // what arrives may hold any byte
    fn narrowed(headers: &[(&'static str, &[u8])]) -> Narrowed {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Narrowed::of(&map)
    }

    #[test]
    fn several_narrowing_headers_intersect() {
        assert_eq!(narrowed(&[]), Narrowed::default());
        for (values, read_only) in [
            (&[&b"false"[..]][..], false),
            (&[b"true"], true),
            (&[b"false", b"true"], true),
            (&[b"true", b"false"], true),
            (&[b"false, true"], true),
            (&[b"0", b"", b"FALSE"], false),
            (&[b"no"], true),
            (&[b"false\xe9"], true),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("x-mcp-readonly", *value)).collect();
            assert_eq!(narrowed(&headers).read_only, read_only, "{headers:?}");
        }
        for headers in
            [&[("x-mcp-toolsets", &b"sync, all"[..])][..], &[("x-mcp-toolsets", b"all"), ("x-mcp-toolsets", b"sync")]]
        {
            let narrowed = narrowed(headers);
            assert!(narrowed.names("sync", "a") && !narrowed.names("planner", "a"), "{headers:?}");
        }
        assert!(narrowed(&[("x-mcp-toolsets", b"all")]).names("planner", "a"));
        let both = narrowed(&[("x-mcp-tools", b"a, b"), ("x-mcp-tools", b"b,c")]);
        assert_eq!([both.names("t", "a"), both.names("t", "b"), both.names("t", "c")], [false, true, false]);
        let toolsets = narrowed(&[("x-mcp-toolsets", b"sync"), ("x-mcp-toolsets", b"planner")]);
        assert!(!toolsets.names("sync", "a") && !toolsets.names("planner", "a"));
    }

    #[test]
    fn unreadable_narrowing_header_allows_nothing() {
        for value in [&b"s\xffync"[..], "list_plans\u{e9}".as_bytes(), b""] {
            assert!(!narrowed(&[("x-mcp-tools", value)]).names("planner", "list_plans"), "{value:?}");
            assert!(!narrowed(&[("x-mcp-toolsets", value)]).names("sync", "sync_status"), "{value:?}");
        }
    }
}
