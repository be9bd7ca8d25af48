//! The arrow: who may import whom. A forbidden `use` fails here, with the line.
//!
//! A module may import what stands to its right; what serves all may be imported by all. The interfaces never import each
//! other nor reach below the services. Inside `services` the areas have a table of their own, without a circle. The
//! simulated tenant is a crate of its own, which meets the program over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What everybody may use: values without IO, and the vocabulary of rows.
const SERVES_ALL: &[&str] =
    &["blobs", "clock", "crash", "error", "host", "ids", "keyring", "os", "queue", "rows", "telemetry", "text"];

/// For each module, what it may import besides itself and what serves all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "auth", "config", "mcp", "services", "toolsets"]),
    (
        "app",
        &[
            "api",
            "auth",
            "azure",
            "config",
            "graph",
            "http_client",
            "mcp",
            "runtime",
            "services",
            "store",
            "sync",
            "toolsets",
            "triggers",
        ],
    ),
    ("config", &["api", "auth", "azure", "graph", "http_client", "mcp", "runtime", "services", "store", "sync"]),
    ("mcp", &["auth", "services", "toolsets"]),
    ("toolsets", &["auth", "services"]),
    ("api", &["auth", "services", "toolsets"]),
    ("triggers", &["services"]),
    ("runtime", &["services"]),
    ("services", &["auth", "graph", "store", "sync"]),
    ("auth", &["azure", "graph", "http_client"]),
    ("sync", &[]),
    ("graph", &["azure", "http_client"]),
    ("store", &["azure"]),
    ("azure", &["http_client"]),
    ("http_client", &[]),
    ("telemetry", &["config"]),
    ("blobs", &[]),
    ("clock", &[]),
    ("crash", &[]),
    ("error", &[]),
    ("host", &[]),
    ("ids", &[]),
    ("keyring", &[]),
    ("rows", &[]),
    ("queue", &[]),
    ("os", &[]),
    ("text", &[]),
];

/// For each area of `services`, which others it may import. What `services/mod.rs` declares itself, all may use.
const AREAS_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("arguments", &[]),
    ("audit", &[]),
    ("directory", &["graph_error", "names"]),
    ("events", &["directory", "planner"]),
    ("graph_error", &[]),
    ("jobs", &["planner", "poison"]),
    ("names", &[]),
    ("notifications", &["directory", "planner", "subscriptions", "workflow"]),
    ("planner", &["arguments", "directory", "graph_error", "names", "workflow"]),
    ("poison", &[]),
    ("rendering", &[]),
    ("reports", &["audit", "graph_error", "planner", "workflow"]),
    ("subscriptions", &["directory", "graph_error", "planner", "workflow"]),
    ("transfer", &[]),
    ("workflow", &[]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module a file below `src` is, as in `services::planner::words`.
fn module_of(file: &Path, root: &Path) -> Vec<String> {
    let parts = file.strip_prefix(root).unwrap().with_extension("");
    let mut parts: Vec<String> = parts.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// A source as its words, `::` and single marks; comments, texts and characters are left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = rest.strip_prefix('r').filter(|raw| raw.trim_start_matches('#').starts_with('"')) {
            let marks = raw.len() - raw.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(marks));
            2 + marks + raw[marks + 1..].find(&end).map_or(0, |at| at + end.len())
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\\") {
            rest[3..].find('\'').map_or(rest.len(), |end| end + 4)
        } else if first == '\'' && rest.chars().nth(2) == Some('\'') {
            2 + rest.chars().nth(1).map_or(0, char::len_utf8)
        } else if word > 0 {
            found.push(&rest[..word]);
            word
        } else if rest.starts_with("::") {
            found.push("::");
            2
        } else {
            if !first.is_whitespace() {
                found.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// Every path of this crate that a source names, from its root: imports with their nested groups and paths within code.
fn paths_named(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // Modules within the file, each with the depth of braces it ends at.
    let (mut module, mut inner, mut depth) = (module.to_vec(), Vec::new(), 0);
    let mut place = 0;
    while place < tokens.len() {
        let after_path = place > 0 && tokens[place - 1] == "::";
        match tokens[place..] {
            ["mod", name, "{", ..] => {
                module.push(name.to_owned());
                inner.push(depth);
                depth += 1;
                place += 3;
                continue;
            }
            ["{", ..] => depth += 1,
            ["}", ..] => {
                depth -= 1;
                if inner.last() == Some(&depth) {
                    inner.pop();
                    module.pop();
                }
            }
            [base @ ("crate" | "self" | "super"), "::", ..] if !after_path => {
                let base = match base {
                    "crate" => Vec::new(),
                    "self" => module.clone(),
                    _ => module[..module.len().saturating_sub(1)].to_vec(),
                };
                place = path(&tokens, place + 2, base, &mut found);
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    found
}

/// Reads what stands behind `base::`, a path or a group of them; answers where it ends.
fn path(tokens: &[&str], mut place: usize, mut base: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    match tokens[place] {
        "{" => {
            place += 1;
            while tokens[place] != "}" {
                place = path(tokens, place, base.clone(), found);
                if tokens[place] == "as" {
                    place += 2;
                }
                if tokens[place] == "," {
                    place += 1;
                }
            }
            place + 1
        }
        name if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
            match name {
                "super" => drop(base.pop()),
                "self" => {}
                name => base.push(name.to_owned()),
            }
            if tokens.get(place + 1) == Some(&"::") {
                return path(tokens, place + 2, base, found);
            }
            found.push(base);
            place + 1
        }
        _ => {
            found.push(base);
            place + 1
        }
    }
}

#[test]
fn imports_are_found_in_nested_groups_behind_addresses_and_in_inner_modules() {
    let text = r#"
        //! A comment that names crate::mcp.
        use crate::{clock::{A, B}, graph};
        fn f() { call("http://host/crate::api", crate::store::open()); let x = std::crate_like::y; }
        mod tests { use super::super::sync as other; use super::*; const QUOTE: char = '"'; const OPEN: &str = r"{ crate::mcp"; }
        use self::{words as w, days::{self, Day}}; // crate::api
    "#;
    let module = ["services", "planner"].map(str::to_owned);
    let found: Vec<String> = paths_named(text, &module).iter().map(|path| path.join("::")).collect();
    let expected = [
        "clock::A",
        "clock::B",
        "graph",
        "store::open",
        "services::sync",
        "services::planner",
        "services::planner::words",
        "services::planner::days",
        "services::planner::days::Day",
    ];
    assert_eq!(found, expected);
}

/// What every file of `src` names of the crate: the file, its module, the path.
fn names_of_all_files() -> Vec<(PathBuf, Vec<String>, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the sources were found");
    let mut all = Vec::new();
    for file in files {
        let module = module_of(&file, &root);
        let text = std::fs::read_to_string(&file).unwrap();
        for path in paths_named(&text, &module) {
            all.push((file.strip_prefix(&root).unwrap().to_owned(), module.clone(), path));
        }
    }
    all
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = BTreeSet::new();
    for (file, module, path) in names_of_all_files() {
        let (Some(module), Some(name)) = (module.first(), path.first()) else { continue };
        if module == "lib" {
            continue;
        }
        let Some(allowed) = rules.get(module.as_str()) else {
            wrong.insert(format!("{}: the module `{module}` stands in no rule", file.display()));
            continue;
        };
        if name != module && !SERVES_ALL.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
            wrong.insert(format!("{}: `{module}` imports `{}`", file.display(), path.join("::")));
        }
    }
    assert!(wrong.is_empty(), "against the arrow:\n{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn areas_of_services_import_only_what_their_table_allows() {
    let rules: BTreeMap<&str, &[&str]> = AREAS_MAY_IMPORT.iter().copied().collect();
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/services");
    let is_area = |name: &str| services.join(name).is_dir() || services.join(format!("{name}.rs")).is_file();
    let mut wrong = BTreeSet::new();
    for (file, module, path) in names_of_all_files() {
        let ([top, area, ..], [first, other, ..]) = (module.as_slice(), path.as_slice()) else { continue };
        if top != "services" || first != "services" || area == other || !is_area(other) {
            continue;
        }
        let Some(allowed) = rules.get(area.as_str()) else {
            wrong.insert(format!("{}: the area `{area}` stands in no rule", file.display()));
            continue;
        };
        if !allowed.contains(&other.as_str()) {
            wrong.insert(format!("{}: `{area}` imports `{}`", file.display(), path.join("::")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_table_of_areas_has_no_circle() {
    let mut rest: BTreeMap<&str, &[&str]> = AREAS_MAY_IMPORT.iter().copied().collect();
    // Takes away, again and again, what imports nothing that is left.
    loop {
        let free: Vec<&str> = rest
            .iter()
            .filter(|(_, imports)| !imports.iter().any(|import| rest.contains_key(import)))
            .map(|(area, _)| *area)
            .collect();
        if free.is_empty() {
            break;
        }
        rest.retain(|area, _| !free.contains(area));
    }
    assert!(rest.is_empty(), "these import each other in a circle: {:?}", rest.keys());
}

#[test]
fn crate_sim_does_not_depend_on_graphgate() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sim/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    assert!(!dependencies.contains("graphgate"), "{dependencies}");
}

#[test]
fn files_over_400_lines_say_why_and_every_file_has_a_module_doc() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("crates/sim/src"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        let head = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join(" ");
        if lines > 400 && !head.contains("Long because") {
            wrong.push(format!("{}: {lines} lines", file.strip_prefix(root).unwrap().display()));
        }
        if !text.starts_with("//!") && !text.starts_with("#![doc") {
            wrong.push(format!("{}: no word on what it owns", file.strip_prefix(root).unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "split these, or say at the top why they are one file:\n{}", wrong.join("\n"));
}

#[test]
fn rest_handlers_answer_with_sanitized_json() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let direct = |path: &&PathBuf| {
        !path.ends_with("extract.rs") && std::fs::read_to_string(path).unwrap().contains("axum::Json")
    };
    let wrong: Vec<_> = files.iter().filter(direct).collect();
    assert!(wrong.is_empty(), "answer with `extract::Shown`: {wrong:?}");
}

/// The variables that name programs tests need, and for each the pattern of these tests' names, as `scripts/ci/tests.sh` has
/// them.
fn needs() -> Vec<(String, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ci/tests.sh");
    let script = std::fs::read_to_string(script).unwrap();
    let lines =
        script.lines().filter_map(|line| line.strip_prefix("without ")?.trim_end_matches('\'').split_once(" '"));
    lines.map(|(variable, pattern)| (variable.to_owned(), pattern.trim_matches(['(', ')']).to_owned())).collect()
}

/// Whether a pattern of alternatives, some of which hold for the beginning only, matches.
fn matches(pattern: &str, name: &str) -> bool {
    pattern.split('|').any(|part| part.strip_prefix('^').map_or(name.contains(part), |start| name.starts_with(start)))
}

#[test]
fn tests_that_need_a_program_are_ignored_with_its_variable_and_named_for_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let needs = needs();
    assert_eq!(needs.len(), 2, "{needs:?}");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in files {
        let module = module_of(&file, &root).join("::");
        let (mut is_test, mut reason) = (false, None);
        for line in std::fs::read_to_string(&file).unwrap().lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some(given) = line.strip_prefix("#[ignore") {
                reason = Some(given.trim_matches([' ', '=', '"', ']']).to_owned());
            }
            let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn ")) else { continue };
            if std::mem::take(&mut is_test) {
                let name = format!("{module}::{}", rest.split('(').next().unwrap());
                let needed = needs.iter().find(|(_, pattern)| matches(pattern, &name));
                let expected = needed.map(|(variable, _)| format!("needs {variable}"));
                if reason.take() != expected {
                    wrong.push(format!("{name}: by its name it is to be ignored with {expected:?}"));
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "the tests were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
