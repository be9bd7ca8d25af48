//! Which application permissions of Microsoft Graph a deployment needs: exactly those of the tools it offers.

use std::collections::BTreeMap;

use crate::services::subscriptions::{SubscriptionSpec, TOOLSET};
use crate::toolsets;
use crate::toolsets::Offer;

/// A permission and what needs it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Needed {
    /// Its name, as in `Tasks.ReadWrite.All`.
    pub permission: &'static str,
    /// The toolsets that need it.
    pub toolsets: Vec<&'static str>,
    /// How many tools need it; none where something that is watched does.
    pub tools: usize,
}

/// The permissions a deployment needs with these settings for its tools and for what it watches, by name. A permission to
/// read is left out where the one to read and write is needed anyway.
#[must_use]
pub fn needed(offer: &Offer, watched: &[SubscriptionSpec]) -> Vec<Needed> {
    let mut needed: BTreeMap<&'static str, Needed> = BTreeMap::new();
    let toolsets = toolsets::all();
    let granted = toolsets.iter().filter(|toolset| offer.grants(toolset));
    for tool in granted.flat_map(|toolset| &toolset.tools).filter(|tool| offer.serves(tool)) {
        for permission in tool.runs_as.application() {
            let entry =
                needed.entry(permission).or_insert_with(|| Needed { permission, toolsets: Vec::new(), tools: 0 });
            entry.tools += 1;
            if !entry.toolsets.contains(&tool.toolset) {
                entry.toolsets.push(tool.toolset);
            }
        }
    }
    for permission in watched.iter().map(|spec| spec.kind.facts().permission) {
        let toolsets = vec![TOOLSET];
        needed.entry(permission).or_insert(Needed { permission, toolsets, tools: 0 });
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

    fn names(config: &Offer) -> Vec<&'static str> {
        needed(config, &[]).into_iter().map(|entry| entry.permission).collect()
    }

    #[test]
    fn read_tools_need_fewer_permissions_than_write_tools() {
        let planner = Offer { toolsets: vec!["planner".into()], ..Offer::default() };
        let reading = Offer { read_only: true, ..planner.clone() };
        assert_eq!(names(&reading), ["Group.Read.All", "Tasks.Read.All", "User.ReadBasic.All"]);
        assert_eq!(names(&planner), ["Group.Read.All", "Tasks.ReadWrite.All", "User.ReadBasic.All"]);
        assert!(names(&Offer { toolsets: vec!["none".into()], ..Offer::default() }).is_empty());
    }

    #[test]
    fn greater_permission_satisfies_a_lesser() {
        assert!(satisfies("Tasks.ReadWrite.All", "Tasks.Read.All") && satisfies("User.Read.All", "User.ReadBasic.All"));
        assert!(
            !satisfies("Tasks.Read.All", "Tasks.ReadWrite.All") && !satisfies("Group.ReadWrite.All", "Tasks.Read.All")
        );
    }

    #[test]
    fn subscription_kinds_need_their_own_permissions() {
        let watched = ["mail:ada@contoso.com", "group:Digital"].map(|text| SubscriptionSpec::parse(text).unwrap());
        let needed = needed(&Offer { toolsets: vec!["sync".to_owned()], ..Offer::default() }, &watched);
        let of = |name: &str| needed.iter().find(|entry| entry.permission == name);
        assert_eq!(of("Mail.Read").map(|entry| entry.tools), Some(0), "{needed:?}");
        assert!(of("Group.Read.All").is_some(), "{needed:?}");
    }
}
