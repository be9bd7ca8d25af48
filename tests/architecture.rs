//! The arrow: who may import whom. A forbidden `use` fails here, with the line.
//!
//! A module may import what stands to its right; what serves all may be imported by all. The interfaces never import each
//! other nor reach below the services. The simulated tenant is a crate of its own, which meets the program over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
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

/// The top-level module a file belongs to.
fn module_of(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules a file names after `crate::`, with the line: imports and paths within code alike.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    for (place, _) in code.match_indices("crate::") {
        let line = code[..place].matches('\n').count() + 1;
        let rest = &code[place + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.push((line, name));
            }
        }
    }
    found
}

#[test]
fn nobody_imports_against_the_arrow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the sources were found");
    let mut wrong = Vec::new();
    for file in &files {
        let module = module_of(file, &root);
        if module == "lib" {
            continue;
        }
        let Some(allowed) = rules.get(module.as_str()) else {
            wrong.push(format!("{}: the module `{module}` stands in no rule", file.display()));
            continue;
        };
        for (line, name) in named(&std::fs::read_to_string(file).unwrap()) {
            let fine = name == module || SERVES_ALL.contains(&name.as_str()) || allowed.contains(&name.as_str());
            if !fine {
                wrong.push(format!(
                    "{}:{line}: `{module}` imports `{name}`",
                    file.strip_prefix(&root).unwrap().display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "against the arrow:\n{}", wrong.join("\n"));
}

#[test]
fn the_simulated_tenant_depends_on_nothing_of_ours() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sim/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    assert!(!dependencies.contains("graphgate"), "{dependencies}");
}

#[test]
fn long_files_say_why() {
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
fn no_rest_answer_leaves_with_text_as_people_wrote_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let direct = |path: &&PathBuf| {
        !path.ends_with("extract.rs") && std::fs::read_to_string(path).unwrap().contains("axum::Json")
    };
    let wrong: Vec<_> = files.iter().filter(direct).collect();
    assert!(wrong.is_empty(), "answer with `extract::Shown`: {wrong:?}");
}
