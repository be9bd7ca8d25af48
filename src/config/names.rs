//! Names in settings: those that do not exist stop the start, and the one that was meant is named.

use super::{Reader, VARIABLES};
use crate::mcp;

/// Variables of other programs have names too: one that is shorter than this is taken for no misspelling of ours.
const SHORTEST: usize = 7;

/// The known name that another one comes closest to, if any is close.
fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let far = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let (distance, known) = known.into_iter().map(|known| (far(known), known)).min()?;
    (distance <= 2 && distance < name.chars().count().div_ceil(2)).then_some(known)
}

/// What is wrong with a name that does not exist.
fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(meant) => format!("there is no {what} `{name}`; `{meant}` comes closest"),
        None if known.len() < 20 => format!("there is no {what} `{name}`; there are {}", known.join(", ")),
        None => format!("there is no {what} `{name}`"),
    }
}

/// Checks names of toolsets.
///
/// # Errors
/// What is wrong with the first that does not exist.
pub fn check_toolsets<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    let known = mcp::toolset_names();
    let mut wrong = names.into_iter().filter(|name| !known.contains(&name.as_str()));
    wrong.next().map_or(Ok(()), |name| Err(unknown("toolset", name, &known)))
}

/// The toolsets and tools that are offered.
pub(super) fn offered(reader: &mut Reader<'_>) -> mcp::Config {
    let (mut toolsets, tools) = (reader.list("ENABLED_TOOLSETS"), reader.list("ENABLED_TOOLS"));
    let lists_everything = toolsets.iter().any(|name| name == mcp::ALL);
    toolsets.retain(|name| name != mcp::ALL);
    if let Err(wrong) = check_toolsets(&toolsets) {
        reader.problems.push(format!("`ENABLED_TOOLSETS`: {wrong}"));
    }
    if lists_everything {
        toolsets.clear();
    }
    let known = mcp::tool_names();
    for name in tools.iter().filter(|name| !known.contains(&name.as_str())) {
        reader.problems.push(format!("`ENABLED_TOOLS`: {}", unknown("tool", name, &known)));
    }
    let mode = reader.parsed("TOOL_MODE", mcp::Mode::default(), mcp::Mode::named, "`list` or `search`");
    mcp::Config { toolsets, lists_everything, tools, mode, ..mcp::Config::default() }
}

/// Names of the environment that are none of our variables and come close to one: probably misspelt.
#[must_use]
pub fn misspelt(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = || VARIABLES.iter().map(|variable| variable.name);
    let other = |name: &String| name.len() >= SHORTEST && known().all(|known| known != name);
    let mut found: Vec<String> = names
        .into_iter()
        .filter(other)
        .filter_map(|name| {
            let meant = closest(&name, known())?;
            Some(format!("`{name}` is no setting; `{meant}` comes closest"))
        })
        .collect();
    found.sort();
    found
}
