//! What the settings must hold to.

use std::collections::HashMap;

use super::*;
use crate::auth::Mode;

fn read(settings: &[(&str, &str)]) -> Result<Config, Problems> {
    let map: HashMap<String, String> = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::read(&|name| map.get(name).cloned())
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    let problems = read(&[("PORT", "http"), ("PLANNER_PLAN_IDS", "x"), ("GRAPH_BASE_URL", "http://graph.example.com")])
        .unwrap_err();
    let text = problems.to_string();
    for name in ["AZURE_TENANT_ID", "PORT", "PLANNER_PLAN_IDS", "GRAPH_BASE_URL"] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

#[test]
fn server_on_a_public_address_requires_a_key() {
    let base = [("AZURE_TENANT_ID", "t"), ("BIND_ADDRESS", "0.0.0.0")];
    let told = read(&base).unwrap_err().to_string();
    assert!(told.contains("GRAPHGATE_API_KEY") && told.contains("ENTRA_AUDIENCE"), "{told}");
    let with_key = |key: &str| read(&[base.as_slice(), &[("GRAPHGATE_API_KEY", key)]].concat());
    assert!(with_key("sixteen or more!").is_ok());
    assert!(with_key("fifteen or less").unwrap_err().to_string().contains("fewer than 16 characters"));
    assert!(read(&[("AZURE_TENANT_ID", "t"), ("GRAPHGATE_API_KEY", "k")]).is_ok(), "on this machine any key will do");
    assert!(read(&[base.as_slice(), &[("ALLOW_ANONYMOUS", "true")]].concat()).is_ok());
}

#[test]
fn allowed_ips_are_addresses_and_networks_and_none_are_held_behind_the_functions_host() {
    let with = |settings: &[(&str, &str)]| read(&[&[("AZURE_TENANT_ID", "t")], settings].concat());
    let networks = with(&[("ALLOWED_IPS", "10.0.0.0/8, 203.0.113.7,2001:db8::/32")]).unwrap().networks;
    let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "203.0.113.7/32", "2001:db8::/32"]);
    assert!(with(&[("ALLOWED_IPS", "10.0.0.0/33")]).unwrap_err().to_string().contains("`10.0.0.0/33`"));
    let host = [("FUNCTIONS_CUSTOMHANDLER_PORT", "5001"), ("REQUIRE_API_KEY", "true"), ("ALLOWED_IPS", "10.0.0.0/8")];
    assert!(with(&host).unwrap_err().to_string().contains("azd env set ALLOWED_IPS"));
}

#[test]
fn storage_account_setting_replaces_the_data_folder() {
    let store = |settings: &[(&str, &str)]| {
        read(&[&[("AZURE_TENANT_ID", "t"), ("DATA_DIR", "d")], settings].concat()).map(|config| config.store)
    };
    let host = ("AzureWebJobsStorage", "UseDevelopmentStorage=true");
    let alias = ("AzureWebJobsStorage__tableServiceUri", "https://a.example");
    for (settings, host) in [(&[host][..], "127.0.0.1"), (&[host, alias], "a.example")] {
        let store::Config::Azure(account) = store(settings).unwrap() else { panic!("an account for {settings:?}") };
        assert_eq!((account.endpoint.host_str(), account.table.as_str()), (Some(host), "graphgate"));
    }
    let text = store(&[("AZURE_TABLES_ENDPOINT", "http://h?sig=hush")]).unwrap_err().to_string();
    assert!(text.contains("AZURE_TABLES_ENDPOINT") && !text.contains("hush"), "{text}");
}

#[test]
fn config_debug_output_contains_no_secret() {
    let config = read(&[
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "hush"),
        ("GRAPHGATE_API_KEY", "hush"),
    ])
    .unwrap();
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn every_variable_read_is_in_the_table() {
    let source = [
        include_str!("mod.rs"),
        include_str!("access.rs"),
        include_str!("identity.rs"),
        include_str!("notifications.rs"),
        include_str!("references.rs"),
        include_str!("reports.rs"),
        include_str!("storage.rs"),
    ]
    .concat();
    let quoted = |call: &str| {
        let ends = source.match_indices(call).map(|(place, _)| &source[place + call.len()..]);
        ends.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect::<Vec<_>>()
    };
    for call in
        ["reader.text(\"", "reader.number(\"", "reader.flag(\"", "reader.list(\"", "reader.parsed(\"", "reader.ids(\""]
    {
        for name in quoted(call) {
            assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
        }
    }
}

#[test]
fn functions_host_requires_authentication() {
    let base = [("AZURE_TENANT_ID", "t"), ("FUNCTIONS_CUSTOMHANDLER_PORT", "5001")];
    assert!(read(&base).unwrap_err().to_string().contains("through the Functions host"));
    let with = |name: &'static str, value: &'static str| read(&[base.as_slice(), &[(name, value)]].concat());
    for (name, value) in
        [("HOST_KEY_ROLE", "GraphGate.Admin"), ("REQUIRE_API_KEY", "true"), ("ALLOW_ANONYMOUS", "true")]
    {
        assert!(with(name, value).is_ok(), "{name}");
    }
    assert!(with("HOST_KEY_ROLE", "Boss").unwrap_err().to_string().contains("a role expected"));
}

#[test]
fn easy_auth_is_accepted_in_app_service_only() {
    let base = [("AZURE_TENANT_ID", "t"), ("WEBSITE_AUTH_ENABLED", "True")];
    let there =
        [base.as_slice(), &[("FUNCTIONS_CUSTOMHANDLER_PORT", "5001"), ("WEBSITE_HOSTNAME", "gate.example.com")]];
    assert!(read(&there.concat()).unwrap().auth.easy_auth);
    for elsewhere in [&[][..], &[("BIND_ADDRESS", "0.0.0.0")], &[("FUNCTIONS_CUSTOMHANDLER_PORT", "5001")]] {
        let told = read(&[base.as_slice(), elsewhere].concat()).unwrap_err().to_string();
        assert!(told.contains("`WEBSITE_AUTH_ENABLED` is set, and this is no App Service"), "{told}");
    }
}

#[test]
fn unsafe_token_settings_are_refused_by_name() {
    const TENANT: &str = "11111111-1111-1111-1111-111111111111";
    let with = |settings: &[(&str, &str)]| read(&[&[("AZURE_TENANT_ID", TENANT)], settings].concat());
    let told = |settings: &[(&str, &str)]| with(settings).unwrap_err().to_string();
    assert!(told(&[("ENTRA_AUDIENCE", "api://*")]).contains("ENTRA_AUDIENCE"));
    assert!(told(&[("ENTRA_AUDIENCE", "a"), ("ENTRA_TENANT_IDS", "common")]).contains("ENTRA_TENANT_IDS"));
    assert!(told(&[("ENTRA_TENANT_IDS", TENANT)]).contains("without `ENTRA_AUDIENCE`"));
    assert!(told(&[("ENTRA_AUDIENCE", "a"), ("AZURE_AUTHORITY_HOST", "http://login.example")]).contains("AUTHORITY"));
    assert!(told(&[("ROLES", r#"{"A":{"toolset":[]}}"#)]).contains("ROLES"));
    let open = [("ENTRA_AUDIENCE", "a"), ("BIND_ADDRESS", "0.0.0.0")];
    assert!(told(&open).contains("PUBLIC_URL"));
    let config = with(&[open.as_slice(), &[("PUBLIC_URL", "https://gate.contoso.com")]].concat()).unwrap();
    assert_eq!(config.mcp.allowed_hosts, ["gate.contoso.com"]);
    assert_eq!(config.auth.entra.unwrap().tenants, [TENANT]);
}

#[test]
fn public_url_defaults_to_website_hostname() {
    let config = read(&[("AZURE_TENANT_ID", "t"), ("WEBSITE_HOSTNAME", "func.azurewebsites.net")]).unwrap();
    let url = "https://func.azurewebsites.net/";
    assert_eq!(config.reports.public_url.as_deref(), Some(url), "links of reports");
    assert_eq!(config.subscriptions.public_url.unwrap().as_str(), url, "notifications");
    assert_eq!(config.auth.public_url.unwrap().as_str(), url, "sign-in");
}

#[test]
fn tool_settings_narrow_every_interface() {
    let most = |settings: &[(&str, &str)]| {
        let config = read(&[&[("AZURE_TENANT_ID", "t")], settings].concat()).unwrap();
        config.mcp.offer.most().map(|most| ["planner", "reports", "sync"].map(|toolset| most.mode(toolset)))
    };
    assert_eq!(most(&[]), None);
    assert_eq!(most(&[("ENABLED_TOOLS", "list_plans,query_tasks")]), Some([Some(Mode::Read), None, None]));
    assert_eq!(most(&[("ENABLED_TOOLSETS", "planner")]), Some([Some(Mode::Write), None, None]));
    let both = [("ENABLED_TOOLSETS", "planner,sync"), ("ENABLED_TOOLS", "create_task,sync_status")];
    assert_eq!(most(&both), Some([Some(Mode::Write), None, Some(Mode::Read)]));
}

#[test]
fn unknown_names_in_settings_are_refused_with_a_suggestion() {
    for (name, value, told) in [
        ("ENABLED_TOOLSETS", "planer", "`planner` comes closest"),
        ("ENABLED_TOOLS", "query_task", "`query_tasks` comes closest"),
        ("DISABLED_TOOLS", "delete_tasks", "`delete_task` comes closest"),
        ("SERVER_NAME", "two\nlines", "at most 64 characters"),
        ("GRAPH_TIMEOUT_SECONDS", "0", "seconds, 1 to 600"),
        ("ROLES", r#"{"Agents":{"toolsets":["planer"]}}"#, "`planner` comes closest"),
        ("LOG_FORMAT", "xml", "`text` or `json`"),
        ("LOG_LEVEL", "loud", "error, warn, info"),
        ("REPORT_SENDER", "notanaddress", "a sign-in name"),
        ("REPORT_FONT_DIR", "/nope", "no such folder"),
    ] {
        let lookup = |asked: &str| match asked {
            "AZURE_TENANT_ID" | "AZURE_CLIENT_ID" | "AZURE_CLIENT_SECRET" => Some("t".to_owned()),
            _ => (asked == name).then(|| value.to_owned()),
        };
        let Problems(problems) = Config::read(&lookup).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(name) && problems[0].contains(told), "{problems:?}");
    }
}

#[test]
fn misspelt_variables_are_reported_and_foreign_ones_ignored() {
    let names =
        ["ENABLED_TOOLSET", "read_only", "AZURE_CLIENT_SECRETT", "PATH", "PORTS", "HOME", "LOG_LEVEL", "XDG_DATA_DIRS"];
    let found = misspelt(names.map(str::to_owned));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("`AZURE_CLIENT_SECRET` comes closest"), "{found:?}");
}

#[test]
fn report_time_zone_defaults_to_the_task_time_zone() {
    let zones = |settings: &[(&str, &str)]| {
        let config = read(&[&[("AZURE_TENANT_ID", "t")], settings].concat()).unwrap();
        (config.planner.time_zone.name(), config.reports.time_zone.name())
    };
    assert_eq!(zones(&[]), ("UTC", "UTC"));
    assert_eq!(zones(&[("TIME_ZONE", "Asia/Tokyo")]), ("Asia/Tokyo", "Asia/Tokyo"));
    assert_eq!(zones(&[("TIME_ZONE", "Asia/Tokyo"), ("REPORT_TIME_ZONE", "UTC")]), ("Asia/Tokyo", "UTC"));
    assert!(
        read(&[("AZURE_TENANT_ID", "t"), ("TIME_ZONE", "Mars/Base")]).unwrap_err().to_string().contains("TIME_ZONE")
    );
}

#[test]
fn every_number_has_a_default_in_the_table() {
    let sources =
        [include_str!("mod.rs"), include_str!("access.rs"), include_str!("reports.rs"), include_str!("storage.rs")];
    let named = |call: &'static str| sources.iter().flat_map(move |source| source.split(call).skip(1));
    let names: Vec<&str> = named("reader.number(\"")
        .chain(named("reader.megabytes(\""))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(default_of(name).parse::<u64>().is_ok(), "{name}: {:?}", default_of(name));
    }
}
