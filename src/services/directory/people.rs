//! People by id and by name, remembered for a day.
//!
//! Tasks name people by object id, callers by sign-in name or display name. A plan's group is read once, which covers
//! nearly everyone on its board; anybody else is looked up singly. Long because a name is judged by what is remembered, the group and the directory in
//! turn, and what one of them says decides what the next is asked.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph::{self, Call, Identity};
use crate::ids::{GroupId, UserId};
use crate::services::names::{composed, is_close, same_name};
use crate::services::{Error, graph_error};
use crate::telemetry::metrics::Lookups;

/// How long a name is believed.
const LIFE: TimeDelta = TimeDelta::hours(24);
/// How long nobody is looked for again whom the directory does not have.
const ABSENT: TimeDelta = TimeDelta::hours(1);
/// How long the directory's only person of a name is believed to be the only one.
const DECIDED: TimeDelta = TimeDelta::minutes(10);
/// How long the directory is left alone after it did not answer.
const PAUSE: TimeDelta = TimeDelta::minutes(1);
/// The longest an answer waits for names.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most people offered as candidates, and looked up at once.
const CANDIDATES: u16 = 10;
/// Most people looked up for one page of an answer.
pub(in crate::services) const A_FEW: usize = 10;
/// Most people looked up for a report.
pub(in crate::services) const MANY: usize = 100;

/// A person as GraphGate shows them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Person {
    /// The object id.
    pub id: UserId,
    /// The display name.
    pub name: String,
    /// The sign-in name.
    pub upn: String,
    /// The mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
}

impl From<graph::users::User> for Person {
    fn from(user: graph::users::User) -> Self {
        Self { id: user.id, name: user.display_name, upn: user.user_principal_name, mail: user.mail }
    }
}

/// A person and when we last heard of them.
type Met = (Arc<Person>, DateTime<Utc>);

/// A lookup of names.
pub struct Names<'a> {
    known: &'a HashMap<UserId, Met>,
    all_known: Cell<bool>,
}

impl Names<'_> {
    /// The display name of a person; the id where nobody is known for it.
    pub fn of<'s>(&'s self, id: &'s UserId) -> &'s str {
        if let Some((person, _)) = self.known.get(id) {
            return &person.name;
        }
        self.all_known.set(false);
        id.as_str()
    }

    /// Whether every id asked for so far had a name.
    #[must_use]
    pub fn all_known(&self) -> bool {
        self.all_known.get()
    }
}

/// The people GraphGate has met.
pub struct People {
    pub(super) graph: graph::Client,
    clock: Clock,
    known: RwLock<HashMap<UserId, Met>>,
    /// Until when an id is not asked for.
    absent: RwLock<HashMap<UserId, DateTime<Utc>>>,
    /// Until when a group's members are not asked for.
    groups: RwLock<HashMap<GroupId, DateTime<Utc>>>,
    /// The members of groups, as they were read last.
    members: RwLock<HashMap<GroupId, BTreeSet<UserId>>>,
    /// Whom the directory has for a name, and until when that is believed.
    decided: RwLock<HashMap<String, Met>>,
    group_reads: tokio::sync::Mutex<()>,
    lookups: Lookups,
}

impl People {
    pub(super) fn new(graph: graph::Client, clock: Clock) -> Self {
        Self {
            graph,
            clock,
            known: RwLock::default(),
            absent: RwLock::default(),
            groups: RwLock::default(),
            members: RwLock::default(),
            decided: RwLock::default(),
            group_reads: tokio::sync::Mutex::default(),
            lookups: Lookups::default(),
        }
    }

    /// Lookups answered from memory, and those that asked the directory.
    #[must_use]
    pub const fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Whether the group's members are known, or were asked for lately in vain.
    pub(in crate::services) fn has_met_group(&self, group: &GroupId) -> bool {
        let groups = self.groups.read();
        groups.get(group).is_some_and(|until| self.clock.steady() < *until)
    }

    /// Makes sure the group's members are known. A directory that cannot be read costs names, not answers.
    pub async fn meet_group(&self, group: &GroupId) {
        let now = self.clock.steady();
        let met = || self.has_met_group(group);
        if met() {
            return;
        }
        let _one_at_a_time = self.group_reads.lock().await;
        if met() {
            return;
        }
        let until = match self.graph.list_group_members(&Call::interactive(Identity::Application), group).await {
            Ok(members) => {
                self.lookups.miss();
                let met = members.into_iter().map(|user| self.remember(user).id.clone()).collect();
                self.members.write().insert(group.clone(), met);
                now + LIFE
            }
            Err(error) => {
                tracing::warn!(%group, %error, "the members of a group cannot be read; ids stand for names");
                now + PAUSE
            }
        };
        self.groups.write().insert(group.clone(), until);
    }

    /// Makes the next question about a group's members ask the directory.
    pub fn forget_group(&self, group: &GroupId) {
        self.groups.write().remove(group);
    }

    /// Forgets a person.
    pub fn forget(&self, id: &UserId) {
        self.known.write().remove(id);
        self.absent.write().remove(id);
        self.decided.write().retain(|_, (person, _)| person.id != *id);
    }

    /// Forgets everybody.
    pub fn forget_everybody(&self) {
        self.known.write().clear();
        self.absent.write().clear();
        self.decided.write().clear();
        self.groups.write().clear();
    }

    pub(super) fn remember(&self, user: graph::users::User) -> Arc<Person> {
        let person = Arc::new(Person::from(user));
        let mut known = self.known.write();
        known.insert(person.id.clone(), (person.clone(), self.clock.steady()));
        person
    }

    pub(super) fn recall(&self, matches: impl Fn(&Person) -> bool) -> Vec<Arc<Person>> {
        let now = self.clock.steady();
        let known = self.known.read();
        known
            .values()
            .filter(|(person, at)| now - *at < LIFE && matches(person))
            .map(|(person, _)| person.clone())
            .collect()
    }

    /// Calls `show` with a lookup of names by id.
    pub fn with_names<T>(&self, show: impl FnOnce(&Names<'_>) -> T) -> T {
        let known = self.known.read();
        show(&Names { known: &known, all_known: Cell::new(true) })
    }

    /// The name of one person; the id where nobody is known for it.
    #[must_use]
    pub fn name(&self, id: &UserId) -> String {
        self.lookups.hit();
        self.with_names(|names| names.of(id).to_owned())
    }

    /// Looks up people by id that are not known yet, so that their names can be shown: at most `most` of them. Who is not
    /// found, or not soon, keeps the id for a name.
    pub async fn meet(&self, ids: impl IntoIterator<Item = &UserId>, most: usize) {
        let now = self.clock.steady();
        let unknown: Vec<UserId> = {
            let known = self.known.read();
            let absent = self.absent.read();
            let is_open = |id: &&UserId| !known.contains_key(*id) && absent.get(*id).is_none_or(|until| now >= *until);
            let open: BTreeSet<&UserId> = ids.into_iter().filter(is_open).collect();
            open.into_iter().take(most).cloned().collect()
        };
        if unknown.is_empty() {
            return;
        }
        let call = Call::interactive(Identity::Application);
        let lookups = unknown.iter().cloned().map(|id| {
            let call = &call;
            async move {
                match self.graph.get_user(call, id.as_str()).await {
                    Ok(Some(user)) => drop(self.remember(user)),
                    Ok(None) => self.leave(id, now + ABSENT),
                    Err(error) => tracing::debug!(%error, "a person cannot be looked up"),
                }
            }
        });
        let looked_up = futures::stream::iter(lookups).buffer_unordered(usize::from(CANDIDATES)).collect::<()>();
        let _late = self.clock.timeout(PATIENCE, looked_up).await;
        for id in unknown {
            self.leave(id, now + PAUSE);
        }
    }

    /// Does not ask for somebody before `until`, unless they are known meanwhile, or a later time was noted.
    fn leave(&self, id: UserId, until: DateTime<Utc>) {
        let mut absent = self.absent.write();
        let noted = absent.entry(id).or_insert(until);
        *noted = until.max(*noted);
    }

    /// Whether a text means exactly one person who is known.
    #[must_use]
    pub fn knows(&self, text: &str) -> bool {
        let by_id = UserId::parse(&text.trim().to_lowercase()).ok();
        let fits =
            |person: &Person| by_id.as_ref().map_or_else(|| is_called(person, text.trim()), |id| person.id == *id);
        self.recall(fits).len() == 1
    }

    /// As [`Self::resolve`], among the members of groups that were met, and others, without asking anybody.
    ///
    /// # Errors
    /// When nobody or several of them are meant.
    pub(in crate::services) fn resolve_among(
        &self,
        text: &str,
        groups: &BTreeSet<&GroupId>,
        others: &BTreeSet<UserId>,
    ) -> Result<Arc<Person>, Error> {
        let text = text.trim();
        let by_id = UserId::parse(&text.to_lowercase()).ok();
        let members: BTreeSet<UserId> = {
            let members = self.members.read();
            groups.iter().filter_map(|group| members.get(*group)).flatten().chain(others).cloned().collect()
        };
        let fits = |person: &Person| by_id.as_ref().map_or_else(|| is_called(person, text), |id| person.id == *id);
        let found = self.recall(|person| members.contains(&person.id) && fits(person));
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => {
                let typed = text.to_lowercase();
                let begins = |person: &Person| !typed.is_empty() && person.name.to_lowercase().starts_with(&typed);
                let fits = |person: &Person| begins(person) || is_close(&person.name, text);
                let mut close = self.recall(|person| members.contains(&person.id) && fits(person));
                close.truncate(usize::from(CANDIDATES));
                Err(unknown(text, &close))
            }
            several => Err(ambiguous(text, several)),
        }
    }

    /// Finds the one person an id, sign-in name, mail address or display name means.
    ///
    /// # Errors
    /// When nobody or several people are meant, or the directory cannot be read.
    pub async fn resolve(&self, text: &str) -> Result<Arc<Person>, Error> {
        self.resolve_in(text, None).await
    }

    /// As [`Self::resolve`], for somebody who is to work in a plan of `group`. A display name means a member of that group
    /// before anybody else; for all others the directory judges, because memory holds only whom somebody has met: the
    /// same call must not name one of two namesakes today and be refused tomorrow.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn resolve_in(&self, text: &str, group: Option<&GroupId>) -> Result<Arc<Person>, Error> {
        let text = &*composed(text.trim());
        if text.is_empty() {
            return Err(Error::invalid("an assignee is empty").hint("give a user id, a sign-in name or a display name"));
        }
        let by_id = UserId::parse(&text.to_lowercase()).ok();
        let known = self.recall(|person| match &by_id {
            Some(id) => person.id == *id,
            None => is_called(person, text),
        });
        let is_unique = by_id.is_some() || text.contains('@');
        let judged = if is_unique {
            known
        } else {
            let is_here = |person: &Arc<Person>| group.is_some_and(|group| self.is_member(&person.id, group));
            known.into_iter().filter(is_here).collect()
        };
        let judged = if judged.is_empty() { self.decided(text).into_iter().collect() } else { judged };
        if let [only] = judged.as_slice() {
            self.lookups.hit();
            return Ok(only.clone());
        }
        if judged.len() > 1 {
            return Err(ambiguous(text, &judged));
        }
        self.lookups.miss();
        let call = Call::interactive(Identity::Application);
        if is_unique && let Some(user) = self.graph.get_user(&call, text).await.map_err(graph_error)? {
            return Ok(self.remember(user));
        }
        if by_id.is_some() {
            return Err(unknown(text, &[]));
        }
        let found = match self.graph.find_users(&call, text, CANDIDATES).await {
            Ok(found) => found,
            // Where the directory does not answer, the only one who is known of that name has to do.
            Err(error) => match self.recall(|person| is_called(person, text)).as_slice() {
                [only] => return Ok(only.clone()),
                _ => return Err(graph_error(error)),
            },
        };
        let people: Vec<Arc<Person>> = found.into_iter().map(|user| self.remember(user)).collect();
        let exact: Vec<Arc<Person>> = people.iter().filter(|person| is_called(person, text)).cloned().collect();
        match exact.as_slice() {
            [only] => {
                let until = self.clock.steady() + DECIDED;
                let mut decided = self.decided.write();
                decided.insert(text.to_lowercase(), (only.clone(), until));
                Ok(only.clone())
            }
            [] => {
                let known = self.search(text).await.unwrap_or_default();
                let more = known.into_iter().filter(|person| people.iter().all(|found| found.id != person.id));
                let mut close: Vec<_> = people.iter().cloned().chain(more).collect();
                close.sort_by(|left, right| (&left.name, &left.upn).cmp(&(&right.name, &right.upn)));
                close.truncate(usize::from(CANDIDATES));
                Err(unknown(text, &close))
            }
            several => Err(ambiguous(text, several)),
        }
    }

    /// Whether somebody belongs to a group that was met.
    pub(super) fn is_member(&self, id: &UserId, group: &GroupId) -> bool {
        let members = self.members.read();
        members.get(group).is_some_and(|members| members.contains(id))
    }

    /// Whom the directory had for a name a short while ago.
    fn decided(&self, text: &str) -> Option<Arc<Person>> {
        let now = self.clock.steady();
        let decided = self.decided.read();
        decided.get(&text.to_lowercase()).filter(|(_, until)| now < *until).map(|(person, _)| person.clone())
    }
}

fn is_called(person: &Person, text: &str) -> bool {
    same_name(&person.name, text)
        || same_name(&person.upn, text)
        || person.mail.as_ref().is_some_and(|mail| same_name(mail, text))
}

fn listed(people: &[Arc<Person>]) -> String {
    people.iter().map(|person| format!("{} <{}>", person.name, person.upn)).collect::<Vec<_>>().join(", ")
}

fn ambiguous(text: &str, people: &[Arc<Person>]) -> Error {
    Error::new(ErrorCode::AmbiguousName, format!("`{text}` fits several people"))
        .hint(format!("give the sign-in name of one: {}", listed(people)))
}

pub(super) fn unknown(text: &str, close: &[Arc<Person>]) -> Error {
    let error = Error::new(ErrorCode::UserNotFound, format!("nobody is called `{text}`"));
    if close.is_empty() {
        error.hint(
            "give the sign-in name, as in `ada@contoso.com`, or the full display name; `find_people` finds people",
        )
    } else {
        error.hint(format!("close: {}", listed(close)))
    }
}
