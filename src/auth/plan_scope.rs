//! Which plans a caller may touch: those that every limit allows. A value; who is a member of what is looked up where
//! it is applied, in the catalogue of plans.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, PlanId, UserId};

/// An allow-list: some plans, and all plans of some groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// All plans of these groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupId>,
    /// These plans.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub plans: BTreeSet<PlanId>,
}

impl Limit {
    /// Whether the list names nothing, which is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.plans.is_empty()
    }

    /// What either list allows.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.groups.extend(other.groups);
        self.plans.extend(other.plans);
        self
    }

    fn allows(&self, plan: &PlanId, group: Option<&GroupId>) -> bool {
        self.plans.contains(plan) || group.is_some_and(|group| self.groups.contains(group))
    }
}

/// Which plans a caller may touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanScope {
    limits: Vec<Limit>,
    member: Option<UserId>,
}

impl PlanScope {
    /// Every plan of the deployment.
    #[must_use]
    pub fn everywhere() -> Self {
        Self::default()
    }

    /// Also within an allow-list; an empty one changes nothing.
    #[must_use]
    pub fn within(mut self, limit: Limit) -> Self {
        if !limit.is_empty() {
            self.limits.push(limit);
        }
        self
    }

    /// Within both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.limits.extend(other.limits);
        self.member = self.member.or(other.member);
        self
    }

    /// Also within the groups a person belongs to.
    #[must_use]
    pub fn of_member(mut self, user: UserId) -> Self {
        self.member = Some(user);
        self
    }

    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.limits.is_empty() && self.member.is_none()
    }

    /// Whether an allow-list bounds it.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        !self.limits.is_empty()
    }

    /// The person whose groups bound the scope.
    #[must_use]
    pub fn member(&self) -> Option<&UserId> {
        self.member.as_ref()
    }

    /// Whether a plan may be touched by somebody whose groups are `memberships`.
    #[must_use]
    pub fn allows(&self, plan: &PlanId, group: Option<&GroupId>, memberships: &HashSet<GroupId>) -> bool {
        self.is_member(group, memberships) && self.limits.iter().all(|limit| limit.allows(plan, group))
    }

    /// Whether plans may be made in a group: only where all its plans may be touched.
    #[must_use]
    pub fn allows_group(&self, group: &GroupId, memberships: &HashSet<GroupId>) -> bool {
        self.is_member(Some(group), memberships) && self.limits.iter().all(|limit| limit.groups.contains(group))
    }

    fn is_member(&self, group: Option<&GroupId>, memberships: &HashSet<GroupId>) -> bool {
        self.member.is_none() || group.is_some_and(|group| memberships.contains(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(digit: char) -> GroupId {
        GroupId::parse(&"00000000-0000-0000-0000-00000000000x".replace('x', &digit.to_string())).unwrap()
    }

    fn plan(letter: char) -> PlanId {
        PlanId::parse(&letter.to_string().repeat(28)).unwrap()
    }

    #[test]
    fn plan_scope_allows_by_plan_or_group_and_all_limits_apply() {
        let nobody = HashSet::new();
        let key = Limit { groups: BTreeSet::from([group('1')]), plans: BTreeSet::from([plan('b')]) };
        let plan_scope = PlanScope::everywhere().within(key);
        assert!(plan_scope.allows(&plan('a'), Some(&group('1')), &nobody));
        assert!(plan_scope.allows(&plan('b'), Some(&group('2')), &nobody));
        assert!(!plan_scope.allows(&plan('a'), Some(&group('2')), &nobody));
        assert!(!plan_scope.allows(&plan('a'), None, &nobody));
        let narrower = plan_scope.within(Limit { plans: BTreeSet::from([plan('b')]), ..Limit::default() });
        assert!(!narrower.allows(&plan('a'), Some(&group('1')), &nobody));
        assert!(narrower.allows(&plan('b'), None, &nobody));
        assert!(!narrower.allows_group(&group('1'), &nobody), "a list of plans lets nobody make another");
    }

    #[test]
    fn plan_scope_of_a_person_is_their_groups() {
        let user = UserId::parse("00000000-0000-0000-0000-0000000000aa").unwrap();
        let plan_scope = PlanScope::everywhere().of_member(user);
        let memberships = HashSet::from([group('1')]);
        assert!(plan_scope.allows(&plan('a'), Some(&group('1')), &memberships));
        assert!(!plan_scope.allows(&plan('a'), Some(&group('2')), &memberships));
        assert!(!plan_scope.allows(&plan('a'), None, &memberships), "a plan of nobody is nobody's");
        assert!(!plan_scope.is_everywhere() && PlanScope::everywhere().allows(&plan('a'), None, &HashSet::new()));
    }

    #[test]
    fn empty_plan_list_is_no_limit() {
        assert!(PlanScope::everywhere().within(Limit::default()).is_everywhere());
    }
}
