//! What a tenant holds when it starts.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// What a tenant holds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scenario {
    /// Contoso: 40 users, 5 groups, 8 plans, 1,200 tasks.
    #[default]
    Demo,
    /// One user in one group, no plan.
    Empty,
    /// So many of each, made of the demo tenant's words.
    Sized(Size),
    /// A snapshot saved over the control API.
    File(PathBuf),
}

/// How large a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// People in the directory.
    pub people: usize,
    /// Groups; the first ones have a plan each.
    pub groups: usize,
    /// Plans.
    pub plans: usize,
    /// Tasks of each plan.
    pub tasks: usize,
}

impl Size {
    /// Reads `plans=200,tasks=200`, with `people` and `groups` beside it where they differ from forty and one a plan.
    fn parse(text: &str) -> Option<Self> {
        let mut size = Self { people: 40, groups: 0, plans: 0, tasks: 0 };
        for part in text.split(',') {
            let (name, number) = part.split_once('=')?;
            let place = match name {
                "people" => &mut size.people,
                "groups" => &mut size.groups,
                "plans" => &mut size.plans,
                "tasks" => &mut size.tasks,
                _ => return None,
            };
            *place = number.parse().ok()?;
        }
        size.groups = size.groups.max(size.plans);
        Some(size)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { people, groups, plans, tasks } = self;
        write!(f, "people={people},groups={groups},plans={plans},tasks={tasks}")
    }
}

impl FromStr for Scenario {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "demo" => Self::Demo,
            "empty" => Self::Empty,
            text => Size::parse(text).map_or_else(|| Self::File(text.into()), Self::Sized),
        })
    }
}
