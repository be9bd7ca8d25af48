//! Names in settings: those that do not exist stop the start, and the one that was meant is named.

use super::{Reader, VARIABLES, aliases};
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

/// The longest name a server may have.
const LONGEST_NAME: usize = 64;

/// The toolsets and tools that are offered, and the name of the server that offers them.
pub(super) fn offered(reader: &mut Reader<'_>) -> mcp::Config {
    let mut toolsets = reader.list("ENABLED_TOOLSETS");
    let (tools, disabled) = (reader.list("ENABLED_TOOLS"), reader.list("DISABLED_TOOLS"));
    let lists_everything = toolsets.iter().any(|name| name == mcp::ALL);
    toolsets.retain(|name| name != mcp::ALL);
    if let Err(wrong) = check_toolsets(&toolsets) {
        reader.problems.push(format!("`ENABLED_TOOLSETS`: {wrong}"));
    }
    if lists_everything {
        toolsets.clear();
    }
    let known = mcp::tool_names();
    for (setting, names) in [("ENABLED_TOOLS", &tools), ("DISABLED_TOOLS", &disabled)] {
        for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
            reader.problems.push(format!("`{setting}`: {}", unknown("tool", name, &known)));
        }
    }
    let mode = reader.parsed("TOOL_MODE", mcp::Mode::default(), mcp::Mode::named, "`list` or `search`");
    let fits = |text: &str| {
        let fits = text.chars().count() <= LONGEST_NAME && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    };
    let name = reader.parsed("SERVER_NAME", "graphgate".to_owned(), fits, "at most 64 characters on one line");
    let read_only = reader.flag("READ_ONLY");
    let offer = mcp::Offer { read_only, toolsets, lists_everything, tools, disabled };
    mcp::Config { name, offer, mode, ..mcp::Config::default() }
}

/// Names of the environment that are none of our variables and come close to one: probably misspelt.
pub(super) fn misspelt(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = || VARIABLES.iter().map(|variable| variable.name);
    let other = |name: &String| name.len() >= SHORTEST && !aliases::is_old(name) && known().all(|known| known != name);
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
