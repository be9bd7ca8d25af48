//! Random tasks for the tests of laws: every field a task can have, from few values, so that two tasks often agree.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::model::{ChecklistItem, DetailFields, Few, Reference, TaskFields};
use crate::ids::{BucketId, UserId};

fn second() -> impl Strategy<Value = DateTime<Utc>> {
    (0i64..3).prop_map(|seconds| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(seconds * 1_500))
}

fn members<T: Ord + std::fmt::Debug>(member: impl Strategy<Value = T>) -> impl Strategy<Value = Few<T>> {
    prop::collection::btree_set(member, 0..3).prop_map(|members| members.into_iter().collect())
}

fn user() -> impl Strategy<Value = UserId> {
    (0..3).prop_map(|number| UserId::parse(&format!("00000000-0000-4000-8000-{number:012}")).unwrap())
}

fn bucket() -> impl Strategy<Value = BucketId> {
    (0..3).prop_map(|number| BucketId::parse(&format!("{number:028}")).unwrap())
}

fn reference() -> impl Strategy<Value = Reference> {
    (prop::option::of("[pq]"), prop::option::of(prop::sample::select(vec!["Word", "Other"])))
        .prop_map(|(alias, kind)| Reference { alias, kind: kind.map(str::to_owned) })
}

/// Checklist items have no order of their own: where they stand is no value.
fn item() -> impl Strategy<Value = ChecklistItem> {
    ("[pq]", any::<bool>()).prop_map(|(title, checked)| ChecklistItem { title, checked, order: String::new() })
}

prop_compose! {
    fn any_details()(
        description in "[xy]?", checklist in prop::collection::btree_map("[kl]", item(), 0..3),
        references in prop::collection::btree_map("https://[ab]", reference(), 0..3),
    ) -> DetailFields {
        let (checklist, references): (BTreeMap<_, _>, BTreeMap<_, _>) = (checklist, references);
        DetailFields { description, checklist, references }
    }
}

prop_compose! {
    /// A task; its details may not have been read.
    pub fn any_task()(
        title in "[ab]", bucket in prop::option::of(bucket()), percent in prop::sample::select(vec![0u8, 50, 100]),
        priority in 0u8..3, start in prop::option::of(second()), due in prop::option::of(second()),
        assignees in members(user()), categories in members(1u8..4), details in prop::option::of(any_details()),
    ) -> TaskFields {
        TaskFields {
            title, bucket, percent_complete: percent, priority, start, due, assignees, categories,
            details: details.map(Box::new),
        }
    }
}
