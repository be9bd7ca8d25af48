//! Stored resources: their JSON text, their versions, and tables of them by id, parent and order of creation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::graph::etag::{self, Kind};
use super::state::Object;

/// One stored resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entity {
    /// The resource as JSON, without its ETag.
    #[serde(serialize_with = "write_text", deserialize_with = "read_text")]
    pub text: Arc<str>,
    /// Every version it had, oldest first.
    pub versions: Vec<u32>,
    /// Property path and the version that changed it last; absent = unchanged since creation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<(Box<str>, u32)>,
    /// Place in the order of creation.
    pub order: u64,
}

impl Entity {
    /// Parses the resource.
    pub fn object(&self) -> Object {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The present version.
    pub fn version(&self) -> u32 {
        self.versions.last().copied().unwrap_or_default()
    }

    /// The resource as JSON text with its ETag in front.
    pub fn with_etag(&self, kind: Kind) -> String {
        let etag = etag::write(kind, self.version()).replace('"', "\\\"");
        let rest = self.text.get(1..).unwrap_or("}");
        let comma = if rest.starts_with('}') { "" } else { "," };
        format!("{{\"@odata.etag\":\"{etag}\"{comma}{rest}")
    }

    /// Names of properties, among `paths`, that somebody changed after `version`.
    pub fn changed_since(&self, version: u32, paths: &[String]) -> Vec<String> {
        let changed =
            |path: &&String| self.touched.iter().any(|(touched, at)| *at > version && overlaps(touched, path));
        paths.iter().filter(changed).cloned().collect()
    }
}

/// Tells whether two property paths name the same value, or one contains the other.
fn overlaps(a: &str, b: &str) -> bool {
    let inside = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    inside(a, b) || inside(b, a)
}

fn write_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<Value>(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
}

fn read_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    Ok(Value::deserialize(deserializer)?.to_string().into())
}

/// The resources of one kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    rows: HashMap<Box<str>, Row>,
    #[serde(skip)]
    children: HashMap<Box<str>, BTreeMap<u64, Box<str>>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    parent: Box<str>,
    #[serde(flatten)]
    entity: Entity,
}

impl Table {
    /// Looks a resource up; ids are case-sensitive.
    pub fn get(&self, id: &str) -> Option<&Entity> {
        self.rows.get(id).map(|row| &row.entity)
    }

    /// The id of what a resource belongs to: the plan of a task, the group of a plan, else empty.
    pub fn parent(&self, id: &str) -> Option<&str> {
        self.rows.get(id).map(|row| &*row.parent)
    }

    /// How many resources belong to `parent`.
    pub fn count(&self, parent: &str) -> usize {
        self.children.get(parent).map_or(0, BTreeMap::len)
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The resources of `parent` in the order of their creation.
    pub fn of<'a>(&'a self, parent: &str) -> impl Iterator<Item = (&'a str, &'a Entity)> {
        let ids = self.children.get(parent).into_iter().flat_map(BTreeMap::values);
        ids.filter_map(|id| self.rows.get(id).map(|row| (&**id, &row.entity)))
    }

    /// All resources in the order of their creation.
    pub fn all(&self) -> Vec<(&str, &Entity)> {
        let mut all: Vec<_> = self.rows.iter().map(|(id, row)| (&**id, &row.entity)).collect();
        all.sort_by_key(|(_, entity)| entity.order);
        all
    }

    /// Adds a resource below `parent`.
    pub fn insert(&mut self, id: &str, parent: &str, entity: Entity) {
        self.children.entry(parent.into()).or_default().insert(entity.order, id.into());
        self.rows.insert(id.into(), Row { parent: parent.into(), entity });
    }

    /// Takes a resource out; returns it with its parent.
    pub fn remove(&mut self, id: &str) -> Option<(String, Entity)> {
        let row = self.rows.remove(id)?;
        if let Some(siblings) = self.children.get_mut(&row.parent) {
            siblings.remove(&row.entity.order);
        }
        Some((row.parent.into(), row.entity))
    }

    /// Rebuilds what a snapshot leaves out.
    pub fn index(&mut self) {
        self.children.clear();
        for (id, row) in &self.rows {
            self.children.entry(row.parent.clone()).or_default().insert(row.entity.order, id.clone());
        }
    }

    /// Raises every version, of the past too, by so many.
    pub fn raise_versions(&mut self, by: u32) {
        for Row { entity, .. } in self.rows.values_mut() {
            let versions = entity.versions.iter_mut().chain(entity.touched.iter_mut().map(|(_, version)| version));
            versions.for_each(|version| *version = version.saturating_add(by));
        }
    }

    /// Looks a resource up for a change.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Entity> {
        self.rows.get_mut(id).map(|row| &mut row.entity)
    }
}
