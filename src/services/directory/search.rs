//! Finding people by what somebody remembers of a name: accents, apostrophes, the order of names and slips of the pen do
//! not count. What is found this way is offered, never taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::Directory;
use super::people::{People, Person};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::users::User;
use crate::graph::{Call, Identity};
use crate::ids::GroupId;
use crate::services::names::{is_close, is_slip, plain, same_name};
use crate::services::{Error, IntoJson, graph_error};

/// People on a page, unless asked otherwise.
pub const PAGE: u32 = 25;
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

/// Which people are asked for, and how many of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeopleQuery<'a> {
    /// A name, a part of one, or an address.
    pub search: Option<&'a str>,
    /// Leads to the rest, from the page before.
    pub cursor: Option<&'a str>,
    /// People on the page; [`PAGE`] unless said.
    pub limit: Option<u32>,
}

impl Directory {
    /// Finds people by name, among the members of groups or, without any, in the whole directory.
    ///
    /// # Errors
    /// When neither a search nor groups are given, the cursor is damaged, the caller's budget is used up, or the
    /// directory cannot be read.
    pub async fn find_people(
        &self,
        caller: &Caller,
        groups: Option<&[GroupId]>,
        query: PeopleQuery<'_>,
    ) -> Result<PeopleFound, Error> {
        let search = query.search.map(str::trim).filter(|text| !text.is_empty());
        let from = match query.cursor.map(str::parse::<usize>) {
            None => 0,
            Some(Ok(from)) => from,
            Some(Err(_)) => {
                return Err(
                    Error::new(ErrorCode::ExpiredCursor, "the cursor is damaged").hint("start again without `cursor`")
                );
            }
        };
        let found = match (groups, search) {
            (Some(groups), _) => self.people.members_of(groups).await,
            (None, Some(search)) => {
                self.budget.spend(caller, WORDS)?;
                match &caller.identity {
                    Identity::Application => self.people.search(search).await?,
                    // What a person may see is seen by nobody else.
                    person @ Identity::Person(_) => self.people.search_as(person, search).await?,
                }
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
        let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize;
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
    pub(super) async fn search(&self, text: &str) -> Result<Vec<Arc<Person>>, Error> {
        let mut found: BTreeMap<String, Arc<Person>> = BTreeMap::new();
        for user in self.listed(&Identity::Application, text).await? {
            let person = self.remember(user);
            found.insert(person.id.to_string(), person);
        }
        for person in self.recall(|_| true) {
            found.insert(person.id.to_string(), person);
        }
        Ok(found.into_values().filter(|person| fit(person, text).is_some()).collect())
    }

    /// As [`Self::search`], with somebody's own rights: nothing that is remembered for others is shown, and nothing is
    /// remembered.
    ///
    /// # Errors
    /// As [`Self::search`].
    async fn search_as(&self, identity: &Identity, text: &str) -> Result<Vec<Arc<Person>>, Error> {
        let listed = self.listed(identity, text).await?.into_iter().map(Person::from);
        let found: BTreeMap<String, Person> = listed.map(|person| (person.id.to_string(), person)).collect();
        Ok(found.into_values().filter(|person| fit(person, text).is_some()).map(Arc::new).collect())
    }

    /// Users of the directory whose names begin like the words of a text.
    async fn listed(&self, identity: &Identity, text: &str) -> Result<Vec<User>, Error> {
        let plain = plain(text);
        let words = plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut beginnings: Vec<String> = words.map(|word| word.chars().take(LETTERS).collect()).collect();
        beginnings.truncate(WORDS);
        beginnings.push(text.chars().take(LETTERS).collect()); // as it was typed, with its accents
        beginnings.sort();
        beginnings.dedup();
        let mut listed = Vec::new();
        for beginning in beginnings.iter().filter(|beginning| !beginning.trim().is_empty()) {
            let users = self.graph.find_users(&Call::interactive(identity.clone()), beginning.trim(), LISTED).await;
            listed.extend(users.map_err(graph_error)?);
        }
        Ok(listed)
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

fn view(person: &Person) -> PersonView {
    let mail = person.mail.clone().filter(|mail| !mail.eq_ignore_ascii_case(&person.upn));
    PersonView { id: person.id.to_string(), name: person.name.clone(), upn: person.upn.clone(), mail }
}
