//! Old names of settings, promised to users before this program had names of its own: each is read as the setting that
//! took its place, and a start warns of it once.
//!
//! They are in no table of settings. A setting that is set under its own name wins over its old ones.

use super::Lookup;

/// The port of Redis, and the one that clouds offer for TLS alone.
const REDIS_PORT: &str = "6379";
const REDIS_TLS_PORT: &str = "6380";

/// What an old name becomes.
struct Alias {
    /// The old name that has to be set.
    old: &'static str,
    /// Further old names that belong to it.
    with: &'static [&'static str],
    /// The setting that is read.
    new: &'static str,
    /// The setting's value, of the old name's and of a lookup of the further ones.
    value: fn(&str, Lookup<'_>) -> String,
}

const fn renamed(old: &'static str, new: &'static str) -> Alias {
    Alias { old, with: &[], new, value: |text, _| text.to_owned() }
}

const ALIASES: &[Alias] = &[
    renamed("MCP_SERVER_HOST", "BIND_ADDRESS"),
    renamed("MCP_SERVER_PORT", "PORT"),
    renamed("MCP_SERVER_NAME", "SERVER_NAME"),
    renamed("MAX_REQUESTS_PER_MINUTE", "CALLS_PER_MINUTE"),
    Alias {
        old: "RATE_LIMIT_REQUESTS",
        with: &["RATE_LIMIT_PERIOD"],
        new: "CALLS_PER_MINUTE",
        value: calls_per_minute,
    },
    renamed("GRAPH_API_TIMEOUT", "GRAPH_TIMEOUT_SECONDS"),
    renamed("CACHE_TTL_SECONDS", "REPLICA_MAX_AGE_SECONDS"),
    Alias { old: "REDIS_HOST", with: &["REDIS_PORT", "REDIS_PASSWORD"], new: "REDIS_URL", value: redis_url },
    Alias { old: "WEBHOOK_DOMAIN", with: &[], new: "PUBLIC_URL", value: |domain, _| https(domain) },
    renamed("AZURE_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PATH"),
    renamed("DATABASE_PATH", "DATA_DIR"),
];

/// A setting's value: its own, else that of the first of its old names that is set.
pub(super) fn value(name: &str, lookup: Lookup<'_>) -> Option<String> {
    lookup(name).or_else(|| {
        let mut aliases = ALIASES.iter().filter(|alias| alias.new == name);
        aliases.find_map(|alias| lookup(alias.old).map(|text| (alias.value)(text.trim(), lookup)))
    })
}

/// The old names that are set, each with what to do about it. No value is in the text: it may be a password.
pub(super) fn old_names(lookup: Lookup<'_>) -> Vec<String> {
    let set = |name: &str| lookup(name).is_some();
    let mut found = Vec::new();
    for (place, Alias { old, with, new, .. }) in ALIASES.iter().enumerate() {
        let earlier = ALIASES.iter().take(place).find(|other| other.new == *new && set(other.old));
        let winner = if set(new) { Some(*new) } else { earlier.map(|alias| alias.old) };
        for name in std::iter::once(old).chain(*with).filter(|name| set(name)) {
            found.push(match winner {
                Some(winner) => {
                    format!("`{name}` is an old name of `{new}` and ignored, as `{winner}` is set: remove it")
                }
                None if set(old) => format!("`{name}` is an old name: set `{new}` in its place"),
                None => format!("`{name}` means nothing without `{old}`: set `{new}` in its place"),
            });
        }
    }
    found
}

/// Whether a name is an old one.
pub(super) fn is_old(name: &str) -> bool {
    ALIASES.iter().any(|alias| alias.old == name || alias.with.contains(&name))
}

/// A limit for a period in seconds (a minute if none is named), as one for a minute, rounded up. What cannot be read stays
/// as it is, and is refused as the setting's value.
fn calls_per_minute(requests: &str, lookup: Lookup<'_>) -> String {
    let period = lookup("RATE_LIMIT_PERIOD").unwrap_or_else(|| "60".to_owned());
    match (requests.parse::<u64>(), period.trim().parse::<u64>()) {
        (Ok(requests), Ok(period @ 1..)) => requests.saturating_mul(60).div_ceil(period).to_string(),
        _ => format!("{requests} in {} s", period.trim()),
    }
}

fn redis_url(host: &str, lookup: Lookup<'_>) -> String {
    let port = lookup("REDIS_PORT").map_or_else(|| REDIS_PORT.to_owned(), |port| port.trim().to_owned());
    let scheme = if port == REDIS_TLS_PORT { "rediss" } else { "redis" };
    let password: Option<String> = lookup("REDIS_PASSWORD")
        .map(|password| url::form_urlencoded::byte_serialize(password.trim().as_bytes()).collect());
    // That encoding writes a space as `+`, which an address takes for a plus.
    let login = password.map(|password| format!(":{}@", password.replace('+', "%20"))).unwrap_or_default();
    format!("{scheme}://{login}{host}:{port}")
}

fn https(domain: &str) -> String {
    if domain.contains("://") { domain.to_owned() } else { format!("https://{domain}") }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, VARIABLES, misspelt, store};
    use super::*;

    /// What `name` is with these variables set.
    fn valued(name: &str, set: &[(&str, &str)]) -> Option<String> {
        value(name, &|asked| set.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned()))
    }

    fn warned(set: &[(&str, &str)]) -> Vec<String> {
        old_names(&|asked| set.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn every_old_name_is_read_as_its_setting_and_warned_of_once() {
        for (old, given, new, value) in [
            ("MCP_SERVER_HOST", "0.0.0.0", "BIND_ADDRESS", "0.0.0.0"),
            ("MCP_SERVER_PORT", "8080", "PORT", "8080"),
            ("MCP_SERVER_NAME", "planner", "SERVER_NAME", "planner"),
            ("MAX_REQUESTS_PER_MINUTE", "60", "CALLS_PER_MINUTE", "60"),
            ("RATE_LIMIT_REQUESTS", "100", "CALLS_PER_MINUTE", "100"),
            ("GRAPH_API_TIMEOUT", "20", "GRAPH_TIMEOUT_SECONDS", "20"),
            ("CACHE_TTL_SECONDS", "300", "REPLICA_MAX_AGE_SECONDS", "300"),
            ("REDIS_HOST", "cache", "REDIS_URL", "redis://cache:6379"),
            ("WEBHOOK_DOMAIN", "gate.contoso.com", "PUBLIC_URL", "https://gate.contoso.com"),
            ("WEBHOOK_DOMAIN", "https://gate.contoso.com/a", "PUBLIC_URL", "https://gate.contoso.com/a"),
            ("AZURE_CERTIFICATE_PATH", "a.pem", "AZURE_CLIENT_CERTIFICATE_PATH", "a.pem"),
            ("DATABASE_PATH", "data", "DATA_DIR", "data"),
        ] {
            let set = [(old, given)];
            assert_eq!(valued(new, &set).as_deref(), Some(value), "{old}");
            assert_eq!(warned(&set), [format!("`{old}` is an old name: set `{new}` in its place")]);
        }
        assert!(warned(&[("PORT", "1")]).is_empty());
    }

    #[test]
    fn a_limit_for_a_period_becomes_one_for_a_minute() {
        let calls = |requests, period| {
            valued("CALLS_PER_MINUTE", &[("RATE_LIMIT_REQUESTS", requests), ("RATE_LIMIT_PERIOD", period)]).unwrap()
        };
        assert_eq!(calls("100", "60"), "100");
        assert_eq!(calls("100", "3600"), "2", "rounded up, for 0 would be no limit");
        assert_eq!(calls("10", "1"), "600");
        assert_eq!(calls("0", "1"), "0");
        for (requests, period) in [("many", "60"), ("10", "0"), ("10", "an hour")] {
            assert!(calls(requests, period).parse::<u64>().is_err(), "{requests} {period}");
        }
        let both = warned(&[("RATE_LIMIT_REQUESTS", "1"), ("RATE_LIMIT_PERIOD", "1")]);
        assert_eq!(both.len(), 2, "{both:?}");
    }

    #[test]
    fn the_parts_of_a_redis_address_are_put_together_and_its_password_is_in_no_warning() {
        let set = [("REDIS_HOST", "cache.example.com"), ("REDIS_PORT", "6380"), ("REDIS_PASSWORD", "a /+:@é")];
        let address = valued("REDIS_URL", &set).unwrap();
        assert_eq!(address, "rediss://:a%20%2F%2B%3A%40%C3%A9@cache.example.com:6380");
        assert!(url::Url::parse(&address).is_ok());
        let warned = warned(&set);
        assert!(warned.len() == 3 && !warned.concat().contains("a /"), "{warned:?}");
    }

    #[test]
    fn a_setting_wins_over_its_old_name_which_is_said() {
        let set = [("PORT", "1"), ("MCP_SERVER_PORT", "2")];
        assert_eq!(valued("PORT", &set).as_deref(), Some("1"));
        assert_eq!(
            warned(&set),
            ["`MCP_SERVER_PORT` is an old name of `PORT` and ignored, as `PORT` is set: remove it"]
        );
        let old = [("RATE_LIMIT_REQUESTS", "1"), ("MAX_REQUESTS_PER_MINUTE", "2")];
        assert_eq!(valued("CALLS_PER_MINUTE", &old).as_deref(), Some("2"));
        assert!(warned(&old)[1].contains("ignored, as `MAX_REQUESTS_PER_MINUTE` is set"), "{:?}", warned(&old));
        assert_eq!(
            warned(&[("REDIS_PORT", "1")]),
            ["`REDIS_PORT` means nothing without `REDIS_HOST`: set `REDIS_URL` in its place"]
        );
    }

    #[test]
    fn a_server_starts_with_old_names_alone() {
        let set = [
            ("AZURE_TENANT_ID", "t"),
            ("MCP_SERVER_PORT", "8080"),
            ("MCP_SERVER_NAME", "planner"),
            ("RATE_LIMIT_REQUESTS", "90"),
            ("GRAPH_API_TIMEOUT", "20"),
            ("CACHE_TTL_SECONDS", "300"),
            ("REDIS_HOST", "cache"),
            ("WEBHOOK_DOMAIN", "gate.contoso.com"),
            ("DATABASE_PATH", "data"),
        ];
        let config = Config::read(&|name| valued(name, &set)).unwrap();
        assert_eq!((config.port, config.mcp.name.as_str(), config.auth.calls_per_minute), (8080, "planner", 90));
        assert_eq!((config.graph_timeout.as_secs(), config.planner.max_age.as_secs()), (20, 300));
        assert_eq!(config.redis.unwrap().expose(), "redis://cache:6379");
        assert_eq!(config.auth.public_url.unwrap().as_str(), "https://gate.contoso.com/");
        assert_eq!(config.store, store::Config::Folder("data".into()));
    }

    #[test]
    fn old_names_stand_for_settings_and_are_no_misspellings() {
        let page = include_str!("../../docs/settings.md");
        for Alias { old, with, new, .. } in ALIASES {
            let known = |name: &str| VARIABLES.iter().any(|variable| variable.name == name);
            assert!(known(new) && !known(old), "{old}");
            let names = std::iter::once(old).chain(*with).map(|name| (*name).to_owned());
            assert!(names.clone().all(|name| page.contains(&format!("`{name}`"))), "docs/settings.md names {old}");
            assert!(misspelt(names).is_empty(), "{old}");
        }
    }
}
