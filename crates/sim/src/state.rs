//! What the tenant holds. Resources are kept as compact JSON text, because most answers are that text and a
//! tenant of 10,000 tasks then needs a few megabytes; a change parses, edits and writes one resource.
//!
//! Planner resources carry a version for their ETag, all versions they ever had, and for each property the
//! version that last changed it: that is what Planner's tolerant rule for stale ETags needs.
//!
//! Long because everything that keeps the tables consistent with each other is here and nowhere else.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entra::{Redirects, Rights, rights};
use super::graph::etag::Kind;
use super::rng::Rng;
pub use super::table::{Entity, Table};

/// A JSON object.
pub type Object = Map<String, Value>;

/// Versions remembered per resource; an ETag older than that counts as unknown.
const MAX_VERSIONS: usize = 512;
/// Past states remembered for stale listings.
const MAX_HISTORY: usize = 20_000;

/// A Planner resource taken out together with its deleted group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    kind: usize,
    id: String,
    parent: String,
    entity: Entity,
}

/// A soft-deleted user or group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deleted {
    /// `user` or `group`.
    pub kind: String,
    pub entity: Entity,
    #[serde(default)]
    parts: Vec<Part>,
}

/// An app registration with what it was granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Application {
    pub client_id: String,
    pub object_id: String,
    pub display_name: String,
    pub secret: String,
    /// Application permissions (app roles) on Microsoft Graph.
    pub roles: Vec<String>,
    /// Delegated permissions on Microsoft Graph that users of this application may be asked for.
    pub scopes: Vec<String>,
    /// Where people come back to after they signed in.
    #[serde(default = "Redirects::usual")]
    pub redirect_uris: Redirects,
    /// Whether the device code flow may do without a secret.
    #[serde(default = "rights::yes")]
    pub public_flows: bool,
    /// Names of the application's own API, beside `api://{client_id}`.
    #[serde(default)]
    pub identifier_uris: Vec<String>,
    /// Scopes of the application's own API; empty = any name.
    #[serde(default)]
    pub exposes: Vec<String>,
    /// Applications whose users need not consent to the own API (`preAuthorizedApplications`).
    #[serde(default)]
    pub preauthorized: Vec<String>,
    /// Applications whose consent page covers what this one needs (`knownClientApplications`).
    #[serde(default)]
    pub known_clients: Vec<String>,
    /// Whether only assigned people may sign in, and who is.
    #[serde(default)]
    pub assignment_required: bool,
    #[serde(default)]
    pub assigned: Vec<String>,
    /// Whether people of the second tenant sign in with it there.
    #[serde(default)]
    pub multi_tenant: bool,
}

impl Application {
    /// A registration that nothing was granted to.
    pub fn new(client_id: &str, object_id: String, display_name: &str, secret: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            object_id,
            display_name: display_name.to_owned(),
            secret: secret.to_owned(),
            roles: Vec::new(),
            scopes: Vec::new(),
            redirect_uris: Redirects::usual(),
            public_flows: true,
            identifier_uris: Vec::new(),
            exposes: Vec::new(),
            preauthorized: Vec::new(),
            known_clients: Vec::new(),
            assignment_required: false,
            assigned: Vec::new(),
            multi_tenant: false,
        }
    }
}

/// Everything a tenant holds; the snapshot format is this struct as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tenant {
    pub tenant_id: String,
    pub display_name: String,
    pub domain: String,
    pub rng: Rng,
    /// The last version given to a Planner resource.
    pub version: u32,
    /// The last place given in the order of creation.
    pub order: u64,
    /// Counts every change of anything; the page asks for it.
    #[serde(default)]
    pub changes: u64,
    pub applications: Vec<Application>,
    /// Consent, ended sessions, policies and the second tenant.
    #[serde(default)]
    pub rights: Rights,
    pub users: Table,
    pub groups: Table,
    pub members: HashMap<String, Vec<String>>,
    pub owners: HashMap<String, Vec<String>>,
    pub managers: HashMap<String, String>,
    #[serde(default)]
    pub deleted: BTreeMap<String, Deleted>,
    pub subscriptions: Table,
    /// Group settings, extensions and other small directory objects, by path.
    #[serde(default)]
    pub objects: Table,
    /// Mail by its owner.
    #[serde(default)]
    pub mail: Table,
    /// Cards posted to workflows.
    #[serde(default)]
    pub posts: Table,
    /// Tasks that repeat, by id, with the days between two of them. Graph v1.0 does not show it.
    #[serde(default)]
    pub recurring: BTreeMap<String, i64>,
    planner: [Table; 8],
    #[serde(skip)]
    history: VecDeque<Past>,
    /// How far back listings may go; zero keeps no history.
    #[serde(default)]
    pub stale_seconds: i64,
}

#[derive(Clone, Debug)]
struct Past {
    at: DateTime<Utc>,
    kind: Kind,
    parent: Box<str>,
    id: Box<str>,
    order: u64,
    before: Option<Entity>,
}

impl Tenant {
    /// An empty tenant.
    pub fn new(tenant_id: &str, display_name: &str, domain: &str, seed: u64) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            display_name: display_name.to_owned(),
            domain: domain.to_owned(),
            rng: Rng::new(seed),
            version: 0,
            order: 0,
            changes: 0,
            applications: Vec::new(),
            rights: Rights::default(),
            users: Table::default(),
            groups: Table::default(),
            members: HashMap::new(),
            owners: HashMap::new(),
            managers: HashMap::new(),
            deleted: BTreeMap::new(),
            subscriptions: Table::default(),
            objects: Table::default(),
            mail: Table::default(),
            posts: Table::default(),
            recurring: BTreeMap::new(),
            planner: Default::default(),
            history: VecDeque::new(),
            stale_seconds: 0,
        }
    }

    /// Takes the place of `former`: no id is given again, and every Planner resource has a newer ETag than any that
    /// `former` had, so that a program which knows `former` sees a change and never an old version.
    pub fn follow(&mut self, former: &Self) {
        for table in &mut self.planner {
            table.raise_versions(former.version);
        }
        self.version = self.version.saturating_add(former.version);
        self.rng = former.rng.clone();
        self.changes = self.changes.max(former.changes) + 1;
    }

    /// Rebuilds what a snapshot leaves out.
    pub fn index(&mut self) {
        for table in &mut self.planner {
            table.index();
        }
        for table in [
            &mut self.users,
            &mut self.groups,
            &mut self.subscriptions,
            &mut self.objects,
            &mut self.mail,
            &mut self.posts,
        ] {
            table.index();
        }
    }

    /// The Planner resources of a kind.
    #[allow(clippy::indexing_slicing)]
    pub fn planner(&self, kind: Kind) -> &Table {
        // The array has one table per variant of `Kind`.
        &self.planner[kind as usize]
    }

    // The array has one table per variant of `Kind`.
    #[allow(clippy::indexing_slicing)]
    fn planner_mut(&mut self, kind: Kind) -> &mut Table {
        &mut self.planner[kind as usize]
    }

    /// Adds a Planner resource below `parent` (empty = none). Details share the version of a creation.
    pub fn create(&mut self, now: DateTime<Utc>, kind: Kind, id: &str, parent: &str, object: &Object) {
        self.version += 1;
        self.order += 1;
        let entity =
            Entity { text: text(object), versions: vec![self.version], touched: Vec::new(), order: self.order };
        self.remember(now, kind, id, parent, entity.order, None);
        self.changes += 1;
        self.planner_mut(kind).insert(id, parent, entity);
    }

    /// Writes a changed Planner resource under a new version; `touched` names the changed properties.
    pub fn change(&mut self, now: DateTime<Utc>, kind: Kind, id: &str, object: &Object, touched: &[String]) {
        let table = self.planner(kind);
        let (Some(parent), Some(before)) = (table.parent(id).map(str::to_owned), table.get(id).cloned()) else {
            return;
        };
        self.remember(now, kind, id, &parent, before.order, Some(before));
        self.version += 1;
        self.changes += 1;
        let version = self.version;
        let Some(entity) = self.planner_mut(kind).get_mut(id) else {
            return;
        };
        entity.text = text(object);
        if entity.versions.len() >= MAX_VERSIONS {
            entity.versions.remove(0);
        }
        entity.versions.push(version);
        for path in touched {
            match entity.touched.iter_mut().find(|(known, _)| **known == **path) {
                Some((_, at)) => *at = version,
                None => entity.touched.push((path.as_str().into(), version)),
            }
        }
    }

    /// Gives a resource that was written down late the version it has had all along.
    pub fn keep_version(&mut self, kind: Kind, id: &str, version: u32) {
        if let Some(entity) = self.planner_mut(kind).get_mut(id) {
            entity.versions = vec![version];
        }
    }

    /// Removes a Planner resource.
    pub fn delete(&mut self, now: DateTime<Utc>, kind: Kind, id: &str) {
        if let Some((parent, entity)) = self.planner_mut(kind).remove(id) {
            self.changes += 1;
            self.remember(now, kind, id, &parent, entity.order, Some(entity));
        }
    }

    fn remember(&mut self, at: DateTime<Utc>, kind: Kind, id: &str, parent: &str, order: u64, before: Option<Entity>) {
        if self.stale_seconds == 0 || !matches!(kind, Kind::Plan | Kind::Bucket | Kind::Task) {
            return;
        }
        if self.history.len() >= MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Past { at, kind, parent: parent.into(), id: id.into(), order, before });
    }

    /// Starts (or with zero stops) keeping the past for stale listings.
    pub fn keep_past(&mut self, seconds: i64) {
        self.stale_seconds = seconds.max(0);
        if seconds <= 0 {
            self.history.clear();
        }
    }

    /// The resources below `parent` as a listing shows them: of now, or of `stale_seconds` ago.
    pub fn listing(&self, now: DateTime<Utc>, kind: Kind, parent: &str) -> Vec<(u64, String, Entity)> {
        let mut shown: BTreeMap<u64, (String, Entity)> = BTreeMap::new();
        for (id, entity) in self.planner(kind).of(parent) {
            shown.insert(entity.order, (id.to_owned(), entity.clone()));
        }
        let instant = now - TimeDelta::seconds(self.stale_seconds);
        for past in self.history.iter().rev().take_while(|p| p.at > instant) {
            if past.kind != kind || *past.parent != *parent {
                continue;
            }
            match &past.before {
                Some(before) => shown.insert(past.order, (past.id.to_string(), before.clone())),
                None => shown.remove(&past.order),
            };
        }
        shown.into_iter().map(|(order, (id, entity))| (order, id, entity)).collect()
    }

    /// Adds a directory object or subscription to `table`.
    pub fn add(&mut self, table: fn(&mut Self) -> &mut Table, id: &str, parent: &str, object: &Object) {
        self.order += 1;
        self.version += 1;
        self.changes += 1;
        let entity =
            Entity { text: text(object), versions: vec![self.version], touched: Vec::new(), order: self.order };
        table(self).insert(id, parent, entity);
    }

    /// Replaces a directory object or subscription.
    pub fn replace(&mut self, table: fn(&mut Self) -> &mut Table, id: &str, object: &Object) {
        self.version += 1;
        self.changes += 1;
        let version = self.version;
        if let Some(entity) = table(self).get_mut(id) {
            entity.text = text(object);
            entity.versions = vec![version];
        }
    }

    /// Removes a directory object or subscription.
    pub fn remove(&mut self, table: fn(&mut Self) -> &mut Table, id: &str) -> Option<Entity> {
        self.changes += 1;
        table(self).remove(id).map(|(_, entity)| entity)
    }

    /// The group a plan belongs to.
    pub fn group_of_plan(&self, plan: &str) -> Option<&str> {
        self.planner(Kind::Plan).parent(plan)
    }

    /// Removes a plan with everything in it.
    pub fn delete_plan(&mut self, now: DateTime<Utc>, plan: &str) {
        for (kind, id) in self.contents(plan) {
            self.delete(now, kind, &id);
        }
    }

    /// Removes a task with its details and board formats.
    pub fn delete_task(&mut self, now: DateTime<Utc>, task: &str) {
        for kind in TASK_PARTS {
            self.delete(now, kind, task);
        }
    }

    fn contents(&self, plan: &str) -> Vec<(Kind, String)> {
        let mut found = vec![(Kind::Plan, plan.to_owned()), (Kind::PlanDetails, plan.to_owned())];
        found.extend(self.planner(Kind::Bucket).of(plan).map(|(id, _)| (Kind::Bucket, id.to_owned())));
        for (id, _) in self.planner(Kind::Task).of(plan) {
            found.extend(TASK_PARTS.map(|kind| (kind, id.to_owned())));
        }
        found
    }

    /// Moves a user or a group to the deleted items. A group takes its plans along.
    pub fn soft_delete(&mut self, now: DateTime<Utc>, kind: &str, id: &str) {
        let table: fn(&mut Self) -> &mut Table = if kind == "group" { |t| &mut t.groups } else { |t| &mut t.users };
        let Some(mut entity) = self.remove(table, id) else {
            return;
        };
        let mut object = entity.object();
        object.insert("deletedDateTime".to_owned(), Value::String(super::clock::seconds(now)));
        entity.text = text(&object);
        self.version += 1;
        entity.versions = vec![self.version];
        let plans: Vec<String> = self.planner(Kind::Plan).of(id).map(|(plan, _)| plan.to_owned()).collect();
        let mut parts = Vec::new();
        let contents: Vec<(Kind, String)> = plans.iter().flat_map(|plan| self.contents(plan)).collect();
        for (kind, id) in contents {
            if let Some((parent, entity)) = self.planner_mut(kind).remove(&id) {
                parts.push(Part { kind: kind as usize, id, parent, entity });
            }
        }
        self.deleted.insert(id.to_owned(), Deleted { kind: kind.to_owned(), entity, parts });
    }

    /// Brings a deleted user or group back, a group with its plans; returns it.
    pub fn restore_deleted(&mut self, id: &str) -> Option<(String, Object)> {
        let Deleted { kind, mut entity, parts } = self.deleted.remove(id)?;
        self.changes += 1;
        let mut object = entity.object();
        object.insert("deletedDateTime".to_owned(), Value::Null);
        entity.text = text(&object);
        self.version += 1;
        entity.versions = vec![self.version];
        if kind == "group" { &mut self.groups } else { &mut self.users }.insert(id, "", entity);
        for part in parts {
            if let Some(table) = self.planner.get_mut(part.kind) {
                table.insert(&part.id, &part.parent, part.entity);
            }
        }
        Some((kind, object))
    }

    /// Finds a user by id or by user principal name; names compare without case.
    pub fn find_user(&self, key: &str) -> Option<(String, Object)> {
        if let Some(entity) = self.users.get(&key.to_ascii_lowercase()) {
            return Some((key.to_ascii_lowercase(), entity.object()));
        }
        if !key.contains('@') {
            return None;
        }
        let matches = |object: &Object| {
            object.get("userPrincipalName").and_then(Value::as_str).is_some_and(|upn| upn.eq_ignore_ascii_case(key))
        };
        let mut users = self.users.all().into_iter();
        users.find_map(|(id, e)| Some(e.object()).filter(&matches).map(|object| (id.to_owned(), object)))
    }

    /// Tells whether a user is a member of a group (owners need not be members).
    pub fn is_member(&self, group: &str, user: &str) -> bool {
        self.members.get(group).is_some_and(|members| members.iter().any(|m| m == user))
    }

    /// Finds an app registration.
    pub fn application(&self, client_id: &str) -> Option<&Application> {
        self.applications.iter().find(|a| a.client_id.eq_ignore_ascii_case(client_id))
    }
}

/// The resources that make up a task.
const TASK_PARTS: [Kind; 5] =
    [Kind::Task, Kind::TaskDetails, Kind::AssignedBoard, Kind::BucketBoard, Kind::ProgressBoard];

/// The members of a value that is an object; none of any other.
pub fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

/// Writes an object as compact text; searches rely on there being no spaces around `:` and `,`.
pub fn text(object: &Object) -> Arc<str> {
    serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stale_listing_shows_the_past_state() {
        let mut tenant = Tenant::new("t", "n", "d", 1);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        tenant.create(now, Kind::Task, "old", "plan", &object(json!({"title": "before"})));
        tenant.keep_past(20);
        tenant.create(now, Kind::Task, "new", "plan", &object(json!({})));
        tenant.change(now, Kind::Task, "old", &object(json!({"title": "after"})), &["title".to_owned()]);
        let early = tenant.listing(now + TimeDelta::seconds(5), Kind::Task, "plan");
        assert_eq!(early.len(), 1);
        assert!(early[0].2.text.contains("before"));
        assert_eq!(tenant.listing(now + TimeDelta::seconds(30), Kind::Task, "plan").len(), 2);
    }

    #[test]
    fn reset_tenant_has_newer_etags_and_distinct_ids() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let seeded = || {
            let mut tenant = Tenant::new("t", "n", "d", 1);
            tenant.create(now, Kind::Task, "task", "plan", &object(json!({"title": "seeded"})));
            tenant
        };
        let mut former = seeded();
        former.change(now, Kind::Task, "task", &object(json!({"title": "edited"})), &["title".to_owned()]);
        let (edited, given) = (former.planner(Kind::Task).get("task").unwrap().version(), former.rng.planner_id());
        let mut next = seeded();
        next.follow(&former);
        assert!(next.planner(Kind::Task).get("task").unwrap().version() > edited);
        assert_ne!(next.rng.planner_id(), given);
        next.change(now, Kind::Task, "task", &object(json!({"title": "again"})), &["title".to_owned()]);
        assert_eq!(next.planner(Kind::Task).get("task").unwrap().version(), next.version);
    }

    #[test]
    fn patch_of_one_property_leaves_others_unchanged() {
        let mut tenant = Tenant::new("t", "n", "d", 1);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        tenant.create(now, Kind::Task, "t", "p", &object(json!({"title": "a"})));
        let first = tenant.planner(Kind::Task).get("t").unwrap().version();
        tenant.change(now, Kind::Task, "t", &object(json!({"title": "b"})), &["title".to_owned()]);
        let task = tenant.planner(Kind::Task).get("t").unwrap();
        assert_eq!(task.changed_since(first, &["title".to_owned()]), ["title"]);
        assert!(task.changed_since(first, &["priority".to_owned()]).is_empty());
        assert!(task.changed_since(task.version(), &["title".to_owned()]).is_empty());
    }

    #[test]
    fn deleting_and_restoring_a_group_keeps_its_plans() {
        let mut tenant = Tenant::new("t", "n", "d", 1);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        tenant.add(|t| &mut t.groups, "g", "", &object(json!({"id": "g"})));
        tenant.create(now, Kind::Plan, "p", "g", &object(json!({})));
        tenant.create(now, Kind::Task, "t", "p", &object(json!({})));
        tenant.soft_delete(now, "group", "g");
        assert!(tenant.planner(Kind::Task).get("t").is_none());
        tenant.restore_deleted("g");
        assert_eq!(tenant.planner(Kind::Task).count("p"), 1);
    }
}
