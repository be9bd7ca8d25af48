//! Which application permissions of Microsoft Graph a deployment needs: exactly those of the tools it offers.

use std::collections::BTreeMap;

use super::tool::{Effect, Tool};
use super::{Config, tools};

/// A permission and what needs it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Needed {
    /// Its name, as in `Tasks.ReadWrite.All`.
    pub permission: &'static str,
    /// The toolsets that need it.
    pub toolsets: Vec<&'static str>,
    /// How many tools need it.
    pub tools: usize,
}

/// The permissions a deployment needs with these settings, by name. A permission to read is left out where the one to
/// read and write is needed anyway.
#[must_use]
pub fn needed(config: &Config) -> Vec<Needed> {
    let offered = |tool: &&Tool| config.offers(tool) && (!config.read_only || tool.effect == Effect::Reads);
    let mut needed: BTreeMap<&'static str, Needed> = BTreeMap::new();
    let tools = tools::all();
    for tool in tools.iter().filter(offered) {
        for permission in tool.permissions {
            let entry =
                needed.entry(permission).or_insert_with(|| Needed { permission, toolsets: Vec::new(), tools: 0 });
            entry.tools += 1;
            if !entry.toolsets.contains(&tool.toolset.name()) {
                entry.toolsets.push(tool.toolset.name());
            }
        }
    }
    let names: Vec<&str> = needed.keys().copied().collect();
    needed.into_values().filter(|entry| !names.iter().any(|other| covers(other, entry.permission))).collect()
}

/// Whether holding `held` lets an application do what `wanted` is for.
#[must_use]
pub fn satisfies(held: &str, wanted: &str) -> bool {
    held == wanted || covers(held, wanted)
}

/// Whether one permission is the writing one of the other, which reads.
fn covers(writing: &str, reading: &str) -> bool {
    reading.split_once(".Read.").is_some_and(|(resource, scope)| writing == format!("{resource}.ReadWrite.{scope}"))
        || (reading == "User.ReadBasic.All" && writing == "User.Read.All")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(config: &Config) -> Vec<&'static str> {
        needed(config).into_iter().map(|entry| entry.permission).collect()
    }

    #[test]
    fn reading_needs_less_than_writing() {
        let planner = Config { toolsets: vec!["planner".into()], ..Config::default() };
        let reading = Config { read_only: true, ..planner.clone() };
        assert_eq!(names(&reading), ["Group.Read.All", "Tasks.Read.All", "User.ReadBasic.All"]);
        assert_eq!(names(&planner), ["Group.Read.All", "Tasks.ReadWrite.All", "User.ReadBasic.All"]);
        assert!(names(&Config { toolsets: vec!["none".into()], ..Config::default() }).is_empty());
    }

    #[test]
    fn a_greater_permission_satisfies_a_lesser() {
        assert!(satisfies("Tasks.ReadWrite.All", "Tasks.Read.All") && satisfies("User.Read.All", "User.ReadBasic.All"));
        assert!(
            !satisfies("Tasks.Read.All", "Tasks.ReadWrite.All") && !satisfies("Group.ReadWrite.All", "Tasks.Read.All")
        );
    }
}
