//! What is written in several places says the same everywhere: tools, settings and error codes in the documents, the
//! schemas clients see, the settings of the deployment.

mod deployment;
mod functions;
mod tools;

use graphgate::config::VARIABLES;
use graphgate::error::ErrorCode;
use graphgate::services::subscriptions::{KINDS, Part};
use graphgate::toolsets;
use graphgate::toolsets::tool::{Effect, Tool};

/// Permissions that nearly every tool needs, and the document names once.
const EVERYWHERE: [&str; 2] = ["Group.Read.All", "User.ReadBasic.All"];

fn tool_table(tools: &[Tool]) -> String {
    let row = |tool: &Tool| {
        let effect = match tool.effect {
            Effect::Reads => "reads",
            Effect::Adds => "adds",
            Effect::AddsOnce => "adds once",
            Effect::Changes => "changes",
            Effect::Removes => "removes",
            Effect::Reverts => "takes back",
        };
        let own = tool.runs_as.application().iter().filter(|name| !EVERYWHERE.contains(name));
        let permissions = own.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let toolset = tool.toolset;
        format!("| `{}` | {toolset} | {} | {effect} | {permissions} |\n", tool.name, tool.description)
    };
    format!(
        "| tool | toolset | what it does | effect | Graph permission besides these |\n|---|---|---|---|---|\n{}",
        tools.iter().map(row).collect::<String>()
    )
}

fn setting_table() -> String {
    let row = |variable: &graphgate::config::Variable| {
        format!("| `{}` | {} | {} |\n", variable.name, variable.default, variable.meaning)
    };
    format!("| variable | default | meaning |\n|---|---|---|\n{}", VARIABLES.iter().map(row).collect::<String>())
}

fn error_table() -> String {
    let row = |code: &ErrorCode| {
        let retry = if code.retry() == graphgate::error::Retry::Worthwhile { "yes" } else { "no" };
        let class = serde_json::to_value(code.class()).unwrap();
        let class = class.as_str().unwrap().to_owned();
        let (status, exit, meaning) = (code.http_status(), code.exit_code(), code.meaning());
        format!("| `{code}` | {meaning} | {class} | {status} | {exit} | {retry} |\n")
    };
    let rows: String = ErrorCode::ALL.iter().map(row).collect();
    format!("| code | meaning | class | HTTP | exit | repeat? |\n|---|---|---|---|---|---|\n{rows}")
}

fn kind_table() -> String {
    let rows = KINDS.iter().map(|facts| {
        let names = facts.names.iter().map(|part| match part {
            Part::Group => "GROUP",
            Part::User => "USER",
            Part::Id => "ID",
        });
        let named = names.collect::<Vec<_>>().join("/");
        let colon = if named.is_empty() { "" } else { ":" };
        format!("| `{}{colon}{named}` | `{}` |\n", facts.name, facts.permission)
    });
    format!("| what | Graph permission |\n|---|---|\n{}", rows.collect::<String>())
}

/// Replaces what stands between the marks of a generated part.
fn replaced(page: &str, text: &str, name: &str, content: &str) -> String {
    let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
    let start = text.find(&open).unwrap_or_else(|| panic!("{page} has no part `{name}`")) + open.len();
    let end = start + text[start..].find(close).expect("the part ends");
    format!("{}{content}{}", &text[..start], &text[end..])
}

/// `UPDATE_README=1 cargo nextest run tables` writes them.
#[test]
fn the_tables_of_the_documents_are_what_the_program_says() {
    let pages = [
        ("docs/tools.md", "tools", tool_table(&toolsets::tools())),
        ("docs/settings.md", "settings", setting_table()),
        ("docs/errors.md", "errors", error_table()),
        ("docs/notifications.md", "kinds", kind_table()),
    ];
    for (page, name, table) in pages {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted = replaced(page, &text, name, &table);
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(path, &wanted).unwrap();
        } else {
            assert!(text == wanted, "the table of {page} is old: UPDATE_README=1 cargo nextest run tables");
        }
    }
}

/// Every page of the documents can be reached from the README, and every link between them leads somewhere.
#[test]
fn document_links_resolve_and_the_readme_is_at_most_12_kib() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<_> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "crates/sim/README.md"]
        .iter()
        .map(|page| root.join(page))
        .collect();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let anchors = |text: &str| -> Vec<String> {
        let headings = text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
        let anchor = |heading: &str| -> String {
            let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
        };
        headings.map(anchor).collect()
    };
    let (mut linked, mut wrong) = (std::collections::BTreeSet::new(), Vec::new());
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = std::fs::read_to_string(&target).or_else(|_| std::fs::metadata(&target).map(|_| String::new()));
            let leads =
                found.is_ok_and(|text| anchor.is_none_or(|anchor| anchors(&text).iter().any(|it| it == anchor)));
            if !leads {
                wrong.push(format!("{}: {link}", page.display()));
            }
            linked.insert(target.canonicalize().unwrap_or(target));
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
    let orphans: Vec<_> = pages
        .iter()
        .filter(|page| page.starts_with(root.join("docs")) && !linked.contains(&page.canonicalize().unwrap()))
        .collect();
    assert!(orphans.is_empty(), "pages no other page links to: {orphans:?}");
    let readme = std::fs::metadata(root.join("README.md")).unwrap().len();
    assert!(readme <= 12_288, "the README has {readme} bytes: move parts into docs/");
}

#[test]
fn every_tool_has_the_schema_it_was_reviewed_with() {
    for tool in toolsets::tools() {
        insta::assert_json_snapshot!(format!("tool_{}", tool.name), tool.listed());
    }
}

#[test]
fn every_tool_has_valid_name_description_and_hints() {
    let tools = toolsets::tools();
    assert!(!tools.is_empty());
    for tool in &tools {
        assert!(
            tool.name.len() <= 48 && tool.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{}",
            tool.name
        );
        assert!(tool.description.ends_with('.') && tool.description.len() < 160, "{}", tool.name);
        let hints = tool.effect.hints();
        let all = [hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint];
        assert!(all.iter().all(Option::is_some), "{}", tool.name);
        let (application, delegated) = (tool.runs_as.application(), tool.runs_as.delegated());
        assert!(!application.is_empty() || !delegated.is_empty(), "{}", tool.name);
        let properties = tool.input["properties"].as_object().unwrap();
        assert!(
            properties.values().all(|property| property.get("description").is_some()),
            "{}: an argument without a word",
            tool.name
        );
    }
}

/// Every object in a schema says what it holds: some clients refuse the whole list of tools otherwise, others drop the
/// argument.
#[test]
fn tool_schemas_list_object_properties_and_integer_bounds() {
    fn walk(tool: &str, place: &str, schema: &serde_json::Value) {
        if schema["type"] == "object" {
            let properties =
                schema["properties"].as_object().unwrap_or_else(|| panic!("{tool} {place}: no properties"));
            // A tool without arguments has none.
            assert!(!properties.is_empty() || place.is_empty(), "{tool} {place}: no properties");
            properties.iter().for_each(|(name, inner)| walk(tool, &format!("{place}.{name}"), inner));
        }
        if schema["type"] == "array" {
            walk(tool, &format!("{place}[]"), &schema["items"]);
        }
        if schema["type"] == "integer" {
            let bounds = (schema["minimum"].as_u64(), schema["maximum"].as_u64());
            assert!(matches!(bounds, (Some(_), Some(most)) if most != 255), "{tool} {place}: {schema}");
        }
    }
    for tool in toolsets::tools() {
        walk(tool.name, "", &serde_json::Value::Object(tool.input.as_ref().clone()));
    }
    let fields = serde_json::json!({"Customer": {"type": "string"}});
    for tool in toolsets::tools() {
        let (name, offers) = (tool.name, ["create_task", "update_task"].contains(&tool.name));
        assert!(tool.input["properties"].get("custom_fields").is_none(), "{name}: none is configured");
        let tool = tool.with_custom_fields(fields.as_object().unwrap());
        assert_eq!(tool.input["properties"]["custom_fields"]["properties"] == fields, offers, "{name}");
    }
}
