//! What a caller may do: toolsets by name, each for reading or for writing too. What is not granted is denied.

use std::collections::BTreeMap;

/// How far a toolset may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only tools that change nothing.
    Read,
    /// All tools.
    Write,
}

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// For toolsets that are not named.
    every: Option<Mode>,
    named: BTreeMap<String, Mode>,
    operator: bool,
}

impl Grant {
    /// All toolsets, and the operator's pages.
    #[must_use]
    pub fn everything() -> Self {
        Self { every: Some(Mode::Write), named: BTreeMap::new(), operator: true }
    }

    /// Nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self { every: None, named: BTreeMap::new(), operator: false }
    }

    /// All toolsets up to a mode, but not the operator's pages.
    #[must_use]
    pub fn every(mode: Mode) -> Self {
        Self { every: Some(mode), ..Self::nothing() }
    }

    /// Some toolsets up to a mode.
    pub fn toolsets<N: Into<String>>(names: impl IntoIterator<Item = N>, mode: Mode) -> Self {
        Self { named: names.into_iter().map(|name| (name.into(), mode)).collect(), ..Self::nothing() }
    }

    /// The operator's pages too.
    #[must_use]
    pub fn and_operate(self) -> Self {
        Self { operator: true, ..self }
    }

    /// How far a toolset may be used; `None` is not at all.
    #[must_use]
    pub fn mode(&self, toolset: &str) -> Option<Mode> {
        self.every.max(self.named.get(toolset).copied())
    }

    /// Whether metrics, token status and the audit log may be seen.
    #[must_use]
    pub const fn is_operator(&self) -> bool {
        self.operator
    }

    /// Whether nothing is granted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// What either grants.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            every: self.every.max(other.every),
            named: self.names(other).map(|name| (name.clone(), self.mode(name).max(other.mode(name)))).collect_some(),
            operator: self.operator || other.operator,
        }
    }

    /// What both grant.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            every: self.every.min(other.every),
            named: self.names(other).map(|name| (name.clone(), self.mode(name).min(other.mode(name)))).collect_some(),
            operator: self.operator && other.operator,
        }
    }

    fn names<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a String> {
        self.named.keys().chain(other.named.keys())
    }
}

/// Collects what is granted, leaving out what is not.
trait CollectSome {
    fn collect_some(self) -> BTreeMap<String, Mode>;
}

impl<I: Iterator<Item = (String, Option<Mode>)>> CollectSome for I {
    fn collect_some(self) -> BTreeMap<String, Mode> {
        self.filter_map(|(name, mode)| Some((name, mode?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_without_a_grant_is_denied() {
        let grant = Grant::toolsets(["planner"], Mode::Read);
        assert_eq!(grant.mode("planner"), Some(Mode::Read));
        assert_eq!(grant.mode("reports"), None);
        assert!(!grant.is_operator() && Grant::nothing().mode("planner").is_none());
        assert!(Grant::everything().is_operator() && !Grant::every(Mode::Write).is_operator());
    }

    #[test]
    fn grant_intersection_is_the_lesser_and_union_the_greater() {
        let reads = Grant::every(Mode::Read);
        let plans = Grant::toolsets(["planner"], Mode::Write);
        assert_eq!(reads.and(&plans).mode("planner"), Some(Mode::Read));
        assert_eq!(reads.and(&plans).mode("reports"), None);
        assert_eq!(reads.or(&plans).mode("planner"), Some(Mode::Write));
        assert_eq!(reads.or(&plans).mode("reports"), Some(Mode::Read));
        assert_eq!(Grant::everything().and(&plans), plans);
        assert!(plans.and(&Grant::toolsets(["reports"], Mode::Read)).is_nothing());
    }
}
