//! `functions/`, `host.json` and the program say the same of routes, timers and queues, in the shape the host takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use graphgate::app::App;
use graphgate::clock::Clock;
use graphgate::ids::Entropy;
use graphgate::services::events::LONGEST_HOSTED;
use graphgate::services::jobs::{DEADLINE, Jobs};
use graphgate_sim as sim;
use serde_json::Value;

fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The functions by name, each with its trigger.
fn functions() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions");
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let names = std::fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap()));
    names.map(|name| (name.clone(), read(&format!("functions/{name}/function.json")))).collect()
}

fn of_kind<'a>(functions: &'a BTreeMap<String, Value>, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let trigger =
        |function: &'a Value| function["bindings"].as_array().unwrap().iter().find(|binding| binding["type"] == kind);
    functions.iter().filter_map(|(name, function)| Some((name.as_str(), trigger(function)?))).collect()
}

/// The jobs of the program, on a tenant that nobody asks anything.
async fn jobs() -> Jobs {
    let config = sim::Config { port: 0, tls: None, scenario: sim::Scenario::Empty, request_log: None };
    let tenant = sim::start(config).await.unwrap();
    let config = graphgate::cli::dev::config(&tenant, None).unwrap();
    let app = App::build(config, Clock::system(), Entropy::system()).await.unwrap();
    app.jobs()
}

#[test]
fn every_function_json_has_valid_name_and_bindings() {
    for (name, function) in functions() {
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(plain && name.len() <= 128 && name != "host", "{name}");
        let bindings = function["bindings"].as_array().unwrap();
        let triggers = bindings.iter().filter(|binding| binding["type"].as_str().unwrap().ends_with("Trigger")).count();
        assert_eq!(triggers, 1, "{name}");
        for binding in bindings {
            let binding_name = binding["name"].as_str().unwrap();
            assert!(binding_name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}: {binding_name}");
        }
        // With anything else the host does not pass the request on but wraps it, and loses streams and headers.
        if bindings[0]["type"] == "httpTrigger" {
            assert_eq!((bindings.len(), bindings[1]["type"].as_str()), (2, Some("http")), "{name}");
        }
    }
}

#[test]
fn functions_for_callers_without_a_key_are_anonymous_and_no_others() {
    let functions = functions();
    let http = of_kind(&functions, "httpTrigger");
    let level = |name: &str| http[name]["authLevel"].as_str().unwrap().to_owned();
    // Graph cannot send a key, a prober has none, and metadata is what a client reads before it has a token.
    for (name, expected) in [
        ("mcp", "function"),
        ("rest", "function"),
        ("metrics", "function"),
        ("graph_webhook", "anonymous"),
        ("health", "anonymous"),
        ("well_known", "anonymous"),
        ("downloads", "anonymous"), // its addresses are signed
        ("oauth", "anonymous"),     // a client that signs in has no key yet
        ("pages", "anonymous"),     // a person has none at all
    ] {
        assert_eq!(level(name), expected, "{name}");
    }
    assert_eq!(http.len(), 9);
    // Those the program reads before it believes a key of the host, and those a package without such keys opens.
    let guarded: Vec<&str> = http.keys().copied().filter(|name| level(name) != "anonymous").collect();
    assert_eq!(guarded, graphgate::triggers::GUARDED);
    let package = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package.sh")).unwrap();
    assert!(package.contains(r#"s/"authLevel": "function"/"authLevel": "anonymous"/' "$dist"/*/function.json"#));
    let mut routes = BTreeSet::new();
    for (name, trigger) in &http {
        let route = trigger["route"].as_str().unwrap();
        assert!(
            !route.starts_with('{') && !route.starts_with('/'),
            "{name}: a root catch-all would reach the triggers"
        );
        let first = route.split('/').next().unwrap();
        assert!(!functions.keys().any(|other| other == first && !http.contains_key(other.as_str())), "{name}: {route}");
        assert!(routes.insert(route.to_owned()), "{name}: {route} twice");
    }
}

/// The segments of a route, and whether anything may follow them.
fn segments(route: &str) -> (Vec<String>, bool) {
    let all: Vec<String> = route.trim_matches('/').split('/').map(str::to_uppercase).collect();
    let open = all.last().is_some_and(|last| last.starts_with("{*"));
    (all[..all.len() - usize::from(open)].to_vec(), open)
}

/// Whether there is a path that both routes take.
fn overlap(one: &str, other: &str) -> bool {
    let ((one, one_open), (other, other_open)) = (segments(one), segments(other));
    let same = |(a, b): (&String, &String)| a == b || a.starts_with('{') || b.starts_with('{');
    let lengths = match one.len().cmp(&other.len()) {
        std::cmp::Ordering::Less => one_open,
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => other_open,
    };
    lengths && one.iter().zip(&other).all(same)
}

/// How narrow a route is: literal segments first, then whether it has an end.
fn narrowness(route: &str) -> (usize, bool) {
    let (segments, open) = segments(route);
    (segments.iter().filter(|segment| !segment.starts_with('{')).count(), !open)
}

/// The host takes functions in the order of their names in upper case, where `_` stands behind every letter, and the
/// first whose route and methods fit: the narrower of two has to come first, or it is never called.
#[test]
fn narrower_of_overlapping_routes_sorts_first() {
    let functions = functions();
    let http = of_kind(&functions, "httpTrigger");
    let methods = |trigger: &Value| -> BTreeSet<String> {
        trigger["methods"].as_array().unwrap().iter().map(|method| method.as_str().unwrap().to_lowercase()).collect()
    };
    let mut compared = 0;
    for (name, trigger) in &http {
        for (other, wider) in &http {
            let (route, wide) = (trigger["route"].as_str().unwrap(), wider["route"].as_str().unwrap());
            if name == other || !overlap(route, wide) || methods(trigger).is_disjoint(&methods(wider)) {
                continue;
            }
            assert_ne!(narrowness(route), narrowness(wide), "`{name}` and `{other}`: neither is the narrower");
            if narrowness(route) > narrowness(wide) {
                for method in methods(trigger).intersection(&methods(wider)) {
                    compared += 1;
                    let first = name.to_uppercase() < other.to_uppercase();
                    assert!(first, "{method} {route}: `{other}` would take what `{name}` is for");
                }
            }
        }
    }
    assert!(compared > 0, "the webhook's route lies within that of the REST interface");
}

#[test]
fn overlapping_routes_are_detected() {
    for (one, other, expected) in [
        ("api/graph_webhook/{*rest}", "api/{*rest}", true),
        ("API/x", "api/{name}", true),
        ("api", "api/{*rest}", true),
        ("api/x", "api", false),
        ("metrics", "mcp/{*rest}", false),
        ("a/{*rest}", "a/b/c", true),
        ("a/x/{*rest}", "a/y/{*rest}", false),
    ] {
        assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
    }
}

/// `{second} */{minutes} * * * *` is how often the job is due, or hourly with a plain minute.
fn minutes(schedule: &str) -> u64 {
    let fields: Vec<&str> = schedule.split(' ').collect();
    assert_eq!((fields.len(), &fields[3..]), (6, ["*", "*", "*"].as_slice()), "{schedule}");
    assert!(fields[0].parse::<u8>().is_ok_and(|second| second < 60), "{schedule}");
    match (fields[1].strip_prefix("*/"), fields[2]) {
        (Some(every), "*") => every.parse().unwrap(),
        (None, "*") if fields[1].parse::<u8>().is_ok() => 60,
        _ => panic!("{schedule}: write it as every so many minutes"),
    }
}

#[tokio::test]
async fn timers_and_queues_are_those_of_the_program() {
    let functions = functions();
    let jobs = jobs().await;
    let timers: BTreeMap<&str, u64> = of_kind(&functions, "timerTrigger")
        .into_iter()
        .map(|(name, trigger)| (name, minutes(trigger["schedule"].as_str().unwrap()) * 60))
        .collect();
    let expected: BTreeMap<&str, u64> = jobs.timers.iter().map(|timer| (timer.name, timer.every.as_secs())).collect();
    assert_eq!(timers, expected);
    let queues: BTreeMap<&str, &str> = of_kind(&functions, "queueTrigger")
        .into_iter()
        .map(|(name, trigger)| {
            assert_eq!(trigger["connection"], "AzureWebJobsStorage", "{name}");
            (name, trigger["queueName"].as_str().unwrap())
        })
        .collect();
    let expected: BTreeMap<&str, &str> =
        jobs.consumers.iter().map(|consumer| (consumer.name, consumer.queue.name())).collect();
    assert_eq!(queues, expected);
}

#[test]
fn host_json_has_the_values_the_program_assumes() {
    let host = read("host.json");
    assert_eq!(host["customHandler"]["enableProxyingHttpRequest"], true, "requests are passed on as they are");
    assert!(host["customHandler"].get("http").is_none(), "routes there and function.json exclude each other");
    assert!(host.get("configurationProfile").is_none(), "a profile brings a root catch-all");
    assert_eq!(host["extensions"]["http"]["routePrefix"], "", "the program's paths begin at the root");
    assert_eq!(host["extensions"]["queues"]["messageEncoding"], "none", "messages are JSON text");
    let parts: Vec<u64> =
        host["functionTimeout"].as_str().unwrap().split(':').map(|part| part.parse().unwrap()).collect();
    let timeout = (parts[0] * 60 + parts[1]) * 60 + parts[2];
    assert!(timeout > DEADLINE.as_secs() + 60, "a job must end before the host ends the process");
    assert!(timeout >= u64::from(LONGEST_HOSTED) + 60, "a stream must end before the host tears it");
    // The client of storage in the host writes 217 rows a minute about nothing; failures of functions, messages given up
    // on and what the program writes have categories of their own, and keep them.
    let levels = &host["logging"]["logLevel"];
    for (category, level) in [
        ("Azure.Core", "Warning"),
        ("Microsoft.AspNetCore", "Warning"),
        ("Function", "Warning"),
        ("Host.Function.Console", "Information"),
        ("default", "Information"),
    ] {
        assert_eq!(levels[category], level, "{category}");
    }
    assert_eq!(levels.as_object().unwrap().len(), 5, "nothing that an alert looks for is silenced");
    let insights = &host["logging"]["applicationInsights"];
    assert_eq!(insights["enableDependencyTracking"], false, "an address with a key in it is not kept");
    assert_eq!(insights["samplingSettings"]["excludedTypes"], "Request", "alerts count requests");
    let local = read("local.settings.json.example");
    assert_eq!(local["Values"]["FUNCTIONS_WORKER_RUNTIME"], "custom");
    for name in local["Values"].as_object().unwrap().keys().filter(|name| *name != "FUNCTIONS_WORKER_RUNTIME") {
        assert!(graphgate::config::VARIABLES.iter().any(|variable| variable.name == name), "{name}");
    }
}
