//! Tools on people.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::directory::{PeopleFound, PeopleQuery};
use crate::toolsets::tool::{Context, Effect, RunsAs, Tool};
use crate::toolsets::{Presence, Toolset};

/// Graph permissions of looking people up.
const READS: RunsAs =
    RunsAs::Either { application: &["User.ReadBasic.All", "Group.Read.All"], delegated: &["User.ReadBasic.All"] };

/// The toolset.
pub fn toolset() -> Toolset {
    let tools = vec![Tool::new(
        "find_people",
        "Find people by name, forgiving accents, order and typos, or list the members of a plan's group.",
        Effect::Reads,
        READS,
        find_people,
    )];
    Toolset {
        name: "directory",
        description: "People of the tenant, and the members of plans",
        instructions: "",
        presence: Presence::Listed,
        tools,
        aliases: &[],
        resources: Vec::new(),
        completions: Vec::new(),
        prompts: &[],
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindPeople {
    /// Name, part of one, or address
    search: Option<String>,
    /// Only members of this plan's group; id or title
    plan_id: Option<String>,
    /// From the previous page
    cursor: Option<String>,
    /// People per page (25)
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
}

async fn find_people(context: Context, arguments: FindPeople) -> Result<PeopleFound, Error> {
    let FindPeople { search, plan_id, cursor, limit } = arguments;
    let query = PeopleQuery { search: search.as_deref(), cursor: cursor.as_deref(), limit };
    context.services.planner.find_people(&context.caller, plan_id.as_deref(), query).await
}
