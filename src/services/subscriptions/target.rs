//! What can be watched: kinds, the resource each stands for, and how long Graph lets a subscription live.
//!
//! Every id is parsed before it gets into a resource. A notification's own `resource` is never turned into an address:
//! it leads to our record, and the record to a target.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, UserId, digest};
use crate::services::Error;

/// A kind of thing that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One group.
    Group,
    /// All groups.
    Groups,
    /// One user.
    User,
    /// All users.
    Users,
    /// A mailbox.
    Mail,
    /// A calendar.
    Events,
    /// Contacts.
    Contacts,
    /// A Microsoft To Do list.
    Todo,
    /// Messages of a Teams channel.
    Channel,
    /// Messages of a Teams chat.
    Chat,
    /// A OneDrive or document library.
    Drive,
    /// A SharePoint list.
    List,
}

/// What holds for a kind.
pub struct Facts {
    /// The kind.
    pub kind: Kind,
    /// Its name in settings and tools.
    pub name: &'static str,
    /// What has to be named.
    pub names: &'static [Part],
    /// The longest life of a subscription (Learn: subscription resource type), in minutes.
    pub minutes: u32,
    /// The longest life of one that carries the changed resource; `None` where Graph has none.
    pub minutes_with_data: Option<u32>,
    /// Which changes Graph tells of.
    pub changes: &'static str,
    /// The application permission that is enough.
    pub permission: &'static str,
}

/// A part of a target's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A group, by id or name.
    Group,
    /// A user, by id or name.
    User,
    /// An id taken as it is.
    Id,
}

const ALL: &str = "created,updated,deleted";

/// The table. Creating a user or group tells of an update, too; drives and lists tell of nothing else.
pub const KINDS: &[Facts] = &[
    facts(Kind::Group, "group", &[Part::Group], 41_760, None, "updated,deleted", "Group.Read.All"),
    facts(Kind::Groups, "groups", &[], 41_760, None, "updated,deleted", "Group.Read.All"),
    facts(Kind::User, "user", &[Part::User], 41_760, None, "updated,deleted", "User.Read.All"),
    facts(Kind::Users, "users", &[], 41_760, None, "updated,deleted", "User.Read.All"),
    facts(Kind::Mail, "mail", &[Part::User], 10_080, Some(1_440), ALL, "Mail.Read"),
    facts(Kind::Events, "events", &[Part::User], 10_080, Some(1_440), ALL, "Calendars.Read"),
    facts(Kind::Contacts, "contacts", &[Part::User], 10_080, Some(1_440), ALL, "Contacts.Read"),
    facts(Kind::Todo, "todo", &[Part::User, Part::Id], 4_230, None, ALL, "Tasks.ReadWrite"),
    facts(Kind::Channel, "channel", &[Part::Group, Part::Id], 4_320, Some(4_320), ALL, "ChannelMessage.Read.All"),
    facts(Kind::Chat, "chat", &[Part::Id], 4_320, Some(4_320), ALL, "Chat.Read.All"),
    facts(Kind::Drive, "drive", &[Part::Id], 42_300, None, "updated", "Files.Read.All"),
    facts(Kind::List, "list", &[Part::Id, Part::Id], 42_300, None, "updated", "Sites.Read.All"),
];

const fn facts(
    kind: Kind,
    name: &'static str,
    names: &'static [Part],
    minutes: u32,
    minutes_with_data: Option<u32>,
    changes: &'static str,
    permission: &'static str,
) -> Facts {
    Facts { kind, name, names, minutes, minutes_with_data, changes, permission }
}

impl Kind {
    /// What holds for it.
    #[must_use]
    pub fn facts(self) -> &'static Facts {
        let found = KINDS.iter().find(|facts| facts.kind == self);
        found.unwrap_or_else(|| unreachable!("every kind stands in the table"))
    }

    /// The kind of a name.
    ///
    /// # Errors
    /// When there is none of that name; all are listed.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let found = KINDS.iter().find(|facts| facts.name.eq_ignore_ascii_case(name.trim()));
        found.map(|facts| facts.kind).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|facts| facts.name).collect();
            let hint = "Planner itself tells nobody of changes: watch the plan's group";
            Error::invalid(format!("`{name}` cannot be watched; known: {}", known.join(", "))).hint(hint)
        })
    }
}

/// Whether notifications carry the changed resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// They say that something changed, and what.
    #[default]
    Without,
    /// They carry it, encrypted for our certificate.
    Included,
}

impl From<Option<bool>> for Content {
    fn from(included: Option<bool>) -> Self {
        if included == Some(true) { Self::Included } else { Self::Without }
    }
}

/// Something that is watched, its names turned into ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// The ids its kind needs, in the kind's order.
    pub ids: Vec<String>,
    /// Whether notifications carry it.
    #[serde(default)]
    pub content: Content,
}

impl Target {
    /// A target of ids that have been looked up.
    ///
    /// # Errors
    /// When an id has a form no id of its part has.
    pub fn new(kind: Kind, ids: Vec<String>, content: Content) -> Result<Self, Error> {
        let facts = kind.facts();
        if ids.len() != facts.names.len() {
            return Err(Error::invalid(format!("`{}` takes {} ids, not {}", facts.name, facts.names.len(), ids.len())));
        }
        for (part, id) in facts.names.iter().zip(&ids) {
            let fine = match part {
                Part::Group => GroupId::parse(id).is_ok(),
                Part::User => UserId::parse(id).is_ok(),
                Part::Id => is_id(id),
            };
            if !fine {
                return Err(Error::invalid(format!("`{id}` is not an id that `{}` takes", facts.name)));
            }
        }
        if content == Content::Included && facts.minutes_with_data.is_none() {
            return Err(Error::invalid(format!("notifications of `{}` never carry what changed", facts.name)));
        }
        Ok(Self { kind, ids, content })
    }

    fn id(&self, place: usize) -> &str {
        self.ids.get(place).map_or("", String::as_str)
    }

    /// The resource as Graph names it.
    #[must_use]
    pub fn resource(&self) -> String {
        let (one, two) = (self.id(0), self.id(1));
        let select = |fields| if self.content == Content::Included { fields } else { "" };
        match self.kind {
            Kind::Group => format!("groups/{one}"),
            Kind::Groups => "groups".to_owned(),
            Kind::User => format!("users/{one}"),
            Kind::Users => "users".to_owned(),
            Kind::Mail => {
                format!("users/{one}/messages{}", select("?$select=id,subject,from,receivedDateTime,bodyPreview"))
            }
            Kind::Events => format!("users/{one}/events{}", select("?$select=id,subject,start,end,organizer")),
            Kind::Contacts => format!("users/{one}/contacts{}", select("?$select=id,displayName,emailAddresses")),
            Kind::Todo => format!("users/{one}/todo/lists/{two}/tasks"),
            Kind::Channel => format!("teams/{one}/channels/{two}/messages"),
            Kind::Chat => format!("chats/{one}/messages"),
            Kind::Drive => format!("drives/{one}/root"),
            Kind::List => format!("sites/{one}/lists/{two}"),
        }
    }

    /// The longest life Graph gives a subscription on it.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        let facts = self.kind.facts();
        let minutes = match self.content {
            Content::Without => facts.minutes,
            Content::Included => facts.minutes_with_data.unwrap_or(facts.minutes),
        };
        Duration::from_mins(u64::from(minutes))
    }

    /// The key of its record: the same wherever it is declared.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{:013x}", self.kind.facts().name, digest(&["watch", &self.resource()]) >> 76)
    }

    /// The group, where one group is watched.
    #[must_use]
    pub fn group(&self) -> Option<GroupId> {
        matches!(self.kind, Kind::Group).then(|| GroupId::parse(self.id(0)).ok()).flatten()
    }

    /// The user, where one user is watched.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        matches!(self.kind, Kind::User).then(|| UserId::parse(self.id(0)).ok()).flatten()
    }
}

/// Ids of Teams, drives and lists: opaque, but without anything that ends a path segment.
fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@!,=".contains(c);
    (1..=256).contains(&id.len()) && id.chars().all(plain) && !id.contains("..")
}

/// A spec as people write it: `group:Marketing`, `channel:Marketing/19:ab@thread.tacv2`, `mail+data:ada@contoso.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSpec {
    /// What to watch.
    pub kind: Kind,
    /// The names its kind needs.
    pub names: Vec<String>,
    /// Whether notifications should carry it.
    pub content: Content,
}

impl SubscriptionSpec {
    /// Reads one spec.
    ///
    /// # Errors
    /// When the kind is unknown, or the number of names is not the kind's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (kind, names) = text.split_once(':').unwrap_or((text, ""));
        let (kind, content) = match kind.trim().strip_suffix("+data") {
            Some(kind) => (kind, Content::Included),
            None => (kind, Content::Without),
        };
        let kind = Kind::parse(kind)?;
        let names = if names.trim().is_empty() { Vec::new() } else { split(kind, names) };
        Self::new(kind, names, content)
    }

    /// A spec with its names at hand.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn new(kind: Kind, names: Vec<String>, content: Content) -> Result<Self, Error> {
        let facts = kind.facts();
        if names.len() != facts.names.len() || names.iter().any(String::is_empty) {
            let parts = facts.names.iter().map(|part| match part {
                Part::Group => "GROUP",
                Part::User => "USER",
                Part::Id => "ID",
            });
            let parts = parts.collect::<Vec<_>>().join("/");
            let form = if parts.is_empty() { facts.name.to_owned() } else { format!("{}:{parts}", facts.name) };
            return Err(Error::invalid(format!("`{}` is written `{form}`", facts.name)));
        }
        Ok(Self { kind, names, content })
    }
}

fn split(kind: Kind, names: &str) -> Vec<String> {
    names.splitn(kind.facts().names.len().max(1), '/').map(|name| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "02bd9fd6-8f93-4758-87c3-1fb73740a315";

    #[test]
    fn every_subscription_kind_has_facts_and_a_resource() {
        for facts in KINDS {
            let ids = facts.names.iter().map(|part| if *part == Part::Id { "19:a@b.c" } else { ID }.to_owned());
            let target = Target::new(facts.kind, ids.collect(), Content::Without).unwrap();
            assert_eq!(target.kind.facts().name, facts.name);
            assert!(!target.resource().contains("//") && target.key().starts_with(facts.name));
            assert_eq!(target.lifetime(), Duration::from_secs(60 * u64::from(facts.minutes)));
        }
    }

    #[test]
    fn subscription_ids_stay_within_their_path_segment() {
        for id in ["", "a/b", "../x", "a?b", "a#b", "a b", "a%2fb", &"x".repeat(257)] {
            assert!(Target::new(Kind::Chat, vec![id.to_owned()], Content::Without).is_err(), "{id}");
        }
        assert!(Target::new(Kind::Group, vec!["marketing".to_owned()], Content::Without).is_err());
        assert!(Target::new(Kind::Group, vec![ID.to_owned()], Content::Included).is_err(), "groups carry nothing");
    }

    #[test]
    fn subscription_specs_parse() {
        let spec = |text| SubscriptionSpec::parse(text).unwrap();
        assert_eq!(spec("group: Marketing ").names, ["Marketing"]);
        assert_eq!(spec("channel:Digital/19:ab@thread.tacv2").names, ["Digital", "19:ab@thread.tacv2"]);
        assert_eq!(spec("mail+data:ada@contoso.com").content, Content::Included);
        assert!(spec("users").names.is_empty());
        for text in ["planner:x", "group", "users:x/y", "channel:Digital", ""] {
            assert!(SubscriptionSpec::parse(text).is_err(), "{text}");
        }
    }
}
