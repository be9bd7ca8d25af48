//! Finding people by what somebody remembers of a name: accents, apostrophes, the order of names and slips of the pen do
//! not count. What is found this way is offered, never taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::people::{People, Person};
use super::words::{is_close, plain, same_name};
use super::{Freshness, IntoJson, Planner};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::{Call, Identity};
use crate::ids::GroupId;
use crate::services::Error;
use crate::services::planner::remote::graph_error;

/// People on a page, unless asked otherwise.
const PAGE: u32 = 25;
/// Most people on a page.
const LARGEST_PAGE: u32 = 100;
/// Words of a search that are looked up; a name has few.
const WORDS: usize = 3;
/// Letters of a word the directory is asked for: a slip of the pen is seldom among the first.
const LETTERS: usize = 3;
/// Most people the directory lists for one word.
const LISTED: u16 = 100;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PersonView {
    /// The object id.
    pub id: String,
    /// The display name.
    pub name: String,
    /// The sign-in name.
    pub upn: String,
    /// The mail address, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
}

/// People who were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PeopleFound {
    /// The people, those who fit best first.
    pub people: Vec<PersonView>,
    /// Whether these are all.
    pub complete: bool,
    /// Leads to the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl IntoJson for PeopleFound {}

impl Planner {
    /// Finds people by name, or lists the members of a plan's group. A caller who may not touch every plan finds the
    /// members of the groups of its own.
    ///
    /// # Errors
    /// When neither a search nor a plan is given, the cursor is damaged, or the directory cannot be read.
    pub async fn find_people(
        &self,
        caller: &Caller,
        search: Option<&str>,
        plan: Option<&str>,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<PeopleFound, Error> {
        let search = search.map(str::trim).filter(|text| !text.is_empty());
        let from = match cursor.map(str::parse::<usize>) {
            None => 0,
            Some(Ok(from)) => from,
            Some(Err(_)) => {
                return Err(
                    Error::new(ErrorCode::ExpiredCursor, "the cursor is damaged").hint("start again without `cursor`")
                );
            }
        };
        let groups = self.groups_to_search(caller, plan).await?;
        let found = match (&groups, search) {
            (Some(groups), _) => self.people.members_of(groups).await,
            (None, Some(search)) => {
                self.spend(caller, WORDS)?;
                self.people.look_for(search).await?
            }
            (None, None) => {
                return Err(Error::invalid("`search` is missing")
                    .hint("give a name or a part of one, or a plan in `plan_id` for the members of its group"));
            }
        };
        let mut ranked: Vec<(u8, Arc<Person>)> = found
            .into_iter()
            .filter_map(|person| Some((search.map_or(Some(0), |search| fit(&person, search))?, person)))
            .collect();
        ranked.sort_by(|left, right| {
            let key =
                |(rank, person): &(u8, Arc<Person>)| (*rank, plain(&person.name).into_owned(), person.upn.clone());
            key(left).cmp(&key(right))
        });
        let total = ranked.len();
        let limit = limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize;
        let people: Vec<PersonView> =
            ranked.into_iter().skip(from).take(limit).map(|(_, person)| view(&person)).collect();
        let next = from + people.len();
        let complete = next >= total;
        let note = (total == 0).then(|| {
            let place = if groups.is_some() { "in the groups searched" } else { "in the directory" };
            format!("nobody {place} has a name like that; another spelling or a part of the name may find them")
        });
        Ok(PeopleFound { people, complete, cursor: (!complete).then(|| next.to_string()), note })
    }

    /// The groups whose members are searched; `None` for the whole directory.
    async fn groups_to_search(&self, caller: &Caller, plan: Option<&str>) -> Result<Option<Vec<GroupId>>, Error> {
        if plan.is_some() {
            let handle = self.catalog.resolve(&caller.plan_scope, plan).await?;
            self.ready(&handle, Freshness::Usual).await?;
            let group = super::known_plan(handle.plan())?.group.clone();
            return Ok(Some(group.into_iter().collect()));
        }
        if caller.plan_scope.is_everywhere() {
            return Ok(None);
        }
        let listing = self.catalog.list(&caller.plan_scope, false).await?;
        let mut groups: Vec<GroupId> = listing.plans.iter().filter_map(|plan| plan.group.clone()).collect();
        groups.sort();
        groups.dedup();
        Ok(Some(groups))
    }

    /// The person a caller names: `me`, an id, an address or a display name, which means a member of the plan's `group`
    /// before anybody else.
    ///
    /// # Errors
    /// When nobody or several people are meant, or the directory cannot be read.
    pub(super) async fn assignee(
        &self,
        caller: &Caller,
        group: Option<&GroupId>,
        text: &str,
    ) -> Result<Arc<Person>, Error> {
        if !text.trim().eq_ignore_ascii_case("me") {
            return self.person(caller, group, text).await;
        }
        match &caller.object_id {
            Some(id) => self.people.resolve(id.as_str()).await,
            None => Err(Error::new(ErrorCode::UserNotFound, "`me` is nobody: the caller is no person")
                .hint("give a sign-in name or a display name; `find_people` finds them")),
        }
    }
}

impl People {
    /// The members of groups.
    async fn members_of(&self, groups: &[GroupId]) -> Vec<Arc<Person>> {
        for group in groups {
            self.meet_group(group).await;
        }
        self.recall(|person| groups.iter().any(|group| self.is_member(&person.id, group)))
    }

    /// People whose name is like a text: from the directory, and among those who are known.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) async fn look_for(&self, text: &str) -> Result<Vec<Arc<Person>>, Error> {
        let plain = plain(text);
        let words = plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut beginnings: Vec<String> = words.map(|word| word.chars().take(LETTERS).collect()).collect();
        beginnings.truncate(WORDS);
        beginnings.push(text.chars().take(LETTERS).collect()); // as it was typed, with its accents
        beginnings.sort();
        beginnings.dedup();
        let mut found: BTreeMap<String, Arc<Person>> = BTreeMap::new();
        for beginning in beginnings.iter().filter(|beginning| !beginning.trim().is_empty()) {
            let users =
                self.graph.find_users(&Call::interactive(Identity::Application), beginning.trim(), LISTED).await;
            for user in users.map_err(graph_error)? {
                let person = self.remember(user);
                found.insert(person.id.to_string(), person);
            }
        }
        for person in self.recall(|_| true) {
            found.insert(person.id.to_string(), person);
        }
        Ok(found.into_values().filter(|person| fit(person, text).is_some()).collect())
    }
}

/// How well a person fits a search; lower is better, `None` not at all.
fn fit(person: &Person, search: &str) -> Option<u8> {
    let address = |address: &str| plain(address).starts_with(&*plain(search));
    if same_name(&person.name, search) || same_name(&person.upn, search) {
        return Some(0);
    }
    if is_close(&person.name, search) || address(&person.upn) || person.mail.as_deref().is_some_and(address) {
        return Some(1);
    }
    is_slip(&person.name, search).then_some(2)
}

/// Whether every word of a search is a word of the name, but for slips of the pen: one in a short word, two in a long one.
pub(super) fn is_slip(name: &str, search: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let plain = plain(text);
        let words = plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let (name, search) = (words(name), words(search));
    let near = |word: &String, known: &String| {
        let slips = if word.chars().count() < 6 { 1 } else { 2 };
        word.chars().count() > 2 && strsim::osa_distance(word, known) <= slips
    };
    !search.is_empty()
        && search.iter().all(|word| name.iter().any(|known| known.starts_with(word) || near(word, known)))
}

fn view(person: &Person) -> PersonView {
    let mail = person.mail.clone().filter(|mail| !mail.eq_ignore_ascii_case(&person.upn));
    PersonView { id: person.id.to_string(), name: person.name.clone(), upn: person.upn.clone(), mail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_typos_match_a_name_and_other_names_do_not() {
        for (name, typed) in
            [("Adele Vance", "Adle Vance"), ("Adele Vance", "vanec, adele"), ("Søren Kjærgaard", "Soren Kjergaard")]
        {
            assert!(is_slip(name, typed), "{name} {typed}");
        }
        for (name, typed) in [("Adele Vance", "Alex Wilber"), ("Bo Li", "Al Xu"), ("Adele Vance", "")] {
            assert!(!is_slip(name, typed), "{name} {typed}");
        }
    }
}
