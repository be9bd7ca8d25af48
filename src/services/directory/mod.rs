//! The tenant's directory: people by id and by name, the groups they belong to, what users and groups are called.
//!
//! What is there is answered from memory; what is not is looked up within each caller's budget ([`LookupBudget`]). Whom a caller
//! may learn of because of its plans is decided by the Planner service, which knows them.

mod budget;
mod memberships;
mod metadata;
mod people;
mod search;

use crate::ids::{GroupId, UserId};
use crate::services::{Environment, Error};

pub use budget::LookupBudget;
pub(in crate::services) use budget::{BELIEVED, Recent};
pub use memberships::Memberships;
pub use metadata::{Cache, Metadata};
pub(in crate::services) use people::{A_FEW, MANY};
pub use people::{Names, People, Person};
pub use search::{PAGE, PeopleFound, PeopleQuery, PersonView};

/// People, groups and memberships of the tenant.
pub struct Directory {
    /// People by id and by name.
    pub people: People,
    /// The groups that callers belong to.
    pub memberships: Memberships,
    /// What users and groups are called.
    pub metadata: Cache,
    /// What callers may ask for that is not known.
    pub budget: LookupBudget,
}

impl Directory {
    /// Sets the service up; a caller may cause so many requests to Graph a minute, 0 is no limit.
    #[must_use]
    pub fn new(environment: &Environment, lookups_per_minute: u32) -> Self {
        let Environment { tables, clock, graph, .. } = environment;
        Self {
            people: People::new(graph.clone(), clock.clone()),
            memberships: Memberships::new(graph.clone(), clock.clone()),
            metadata: Cache::new(tables, clock.clone()),
            budget: LookupBudget::new(lookups_per_minute, clock.clone()),
        }
    }

    /// Forgets a person, on every instance within a minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_user(&self, user: &UserId) -> Result<(), Error> {
        self.people.forget(user);
        self.metadata.forget("user", user.as_str()).await
    }

    /// Forgets what a group is called and who belongs to it, on every instance within a minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_group(&self, group: &GroupId) -> Result<(), Error> {
        self.people.forget_group(group);
        self.metadata.forget("group", group.as_str()).await
    }
}
