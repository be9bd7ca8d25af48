//! The groups a person belongs to, directly or through other groups, remembered for some minutes.
//!
//! One request a person at a time, however many of their calls wait for it. A person taken out of a group is out of its
//! plans two minutes later at most. While the directory does not answer, what it last said holds for a quarter of an hour;
//! after that the person sees nothing, because a reach that cannot be checked is none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use crate::auth::PlanScope;
use crate::clock::Clock;
use crate::graph::{self, Call, Identity};
use crate::ids::{GroupId, UserId};
use crate::services::{Error, graph_error};

/// How long memberships are believed.
const LIFE: TimeDelta = TimeDelta::minutes(2);
/// How long they hold while the directory cannot be asked.
const LAST_RESORT: TimeDelta = TimeDelta::minutes(15);
/// Most people remembered; beyond that those read longest ago are forgotten.
const KEPT: usize = 5000;

type Groups = Arc<HashSet<GroupId>>;

/// One person's groups, and the lock that makes reading them single.
#[derive(Default)]
struct Slot {
    known: Mutex<Option<(Groups, DateTime<Utc>)>>,
    reading: tokio::sync::Mutex<()>,
}

impl Slot {
    fn known(&self) -> Option<(Groups, DateTime<Utc>)> {
        self.known.lock().clone()
    }
}

/// The memberships of the people who call.
pub struct Memberships {
    graph: graph::Client,
    clock: Clock,
    people: Mutex<HashMap<UserId, Arc<Slot>>>,
}

impl Memberships {
    pub(super) fn new(graph: graph::Client, clock: Clock) -> Self {
        Self { graph, clock, people: Mutex::default() }
    }

    /// The groups that bound a reach; none where it is bound by nobody's.
    ///
    /// # Errors
    /// When the directory cannot be asked and has not been heard for a quarter of an hour.
    pub async fn of(&self, plan_scope: &PlanScope) -> Result<Groups, Error> {
        let Some(user) = plan_scope.member() else { return Ok(Groups::default()) };
        let slot = self.slot(user);
        let young = |at: DateTime<Utc>, life| self.clock.steady() - at < life;
        if let Some((groups, _)) = slot.known().filter(|(_, at)| young(*at, LIFE)) {
            return Ok(groups);
        }
        let _one_at_a_time = slot.reading.lock().await;
        if let Some((groups, _)) = slot.known().filter(|(_, at)| young(*at, LIFE)) {
            return Ok(groups);
        }
        match self.graph.list_groups_of_user(&Call::interactive(Identity::Application), user).await {
            Ok(groups) => {
                let groups: Groups = Arc::new(groups.into_iter().collect());
                let read = (groups.clone(), self.clock.steady());
                *slot.known.lock() = Some(read);
                Ok(groups)
            }
            Err(error) => match slot.known().filter(|(_, at)| young(*at, LAST_RESORT)) {
                Some((groups, _)) => {
                    tracing::warn!(%error, "a person's groups cannot be read again; the last answer holds");
                    Ok(groups)
                }
                None => Err(graph_error(error)),
            },
        }
    }

    fn slot(&self, user: &UserId) -> Arc<Slot> {
        let mut people = self.people.lock();
        if people.len() >= KEPT && !people.contains_key(user) {
            let oldest = people.iter().min_by_key(|(_, slot)| slot.known().map(|(_, at)| at));
            if let Some(oldest) = oldest.map(|(user, _)| user.clone()) {
                people.remove(&oldest);
            }
        }
        people.entry(user.clone()).or_default().clone()
    }
}
