//! From what a caller asks for a task to the fields it sets: names looked up, words read, limits checked.
//!
//! Everything that needs the directory or the plan is looked up once; what depends on the task's present state (a list
//! that replaces another one) is decided inside the transaction, by [`Wish::pieces`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::input::{ChecklistInput, CreateTask, ReferenceInput, UpdateTask};
use super::lookup::categories;
use super::words::{Status, parse_date, parse_priority, print_date};
use super::{CustomFields, Limits, Planner};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::{BucketId, Entropy, UserId};
use crate::services::Error;
use crate::sync::merge::{assemble, set_piece};
use crate::sync::model::{DetailFields, Field, PlanRecord, TaskFields};

/// Where a new checklist item goes: behind the one before it (Planner: order hints).
const LAST: &str = " !";

/// Fields `clear` may name.
const CLEARABLE: &[&str] = &[
    "description",
    "assignee_ids",
    "start_date",
    "due_date",
    "checklist",
    "references",
    "categories",
    "custom_fields",
];

/// What a caller wants of a task, with every name looked up.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    title: Option<String>,
    bucket: Option<BucketId>,
    percent: Option<u8>,
    priority: Option<u8>,
    start: Option<Option<DateTime<Utc>>>,
    due: Option<Option<DateTime<Utc>>>,
    assignees: Option<BTreeSet<UserId>>,
    categories: Option<BTreeSet<u8>>,
    description: Option<String>,
    checklist: Option<Vec<ChecklistInput>>,
    references: Option<Vec<ReferenceInput>>,
    custom: Option<BTreeMap<String, Value>>,
    clear_custom: bool,
}

impl Wish {
    /// Whether the present details have to be known to carry this out.
    pub(super) fn needs_details(&self) -> bool {
        self.checklist.is_some() || self.references.is_some() || self.custom.is_some() || self.clear_custom
    }

    /// Whether the wish touches the details at all.
    pub(super) fn touches_details(&self) -> bool {
        self.needs_details() || self.description.is_some()
    }

    /// The fields to set on a task that is now `current`.
    ///
    /// # Errors
    /// When the result would be one Planner refuses.
    pub(super) fn pieces(
        &self,
        current: &TaskFields,
        custom: &CustomFields,
        limits: &Limits,
        entropy: &Entropy,
    ) -> Result<Vec<(Field, Value)>, Error> {
        let nothing = DetailFields::default();
        let details = current.details.as_ref().unwrap_or(&nothing);
        let mut pieces: Vec<(Field, Value)> = Vec::new();
        let mut set = |field: Field, value: Value| pieces.push((field, value));
        let date = |time: &Option<DateTime<Utc>>| time.map_or(Value::Null, |time| Value::from(time.to_rfc3339()));
        if let Some(title) = &self.title {
            set(Field::Title, Value::from(title.as_str()));
        }
        if let Some(bucket) = &self.bucket {
            set(Field::Bucket, Value::from(bucket.as_str()));
        }
        if let Some(percent) = self.percent {
            set(Field::PercentComplete, Value::from(percent));
        }
        if let Some(priority) = self.priority {
            set(Field::Priority, Value::from(priority));
        }
        if let Some(start) = &self.start {
            set(Field::Start, date(start));
        }
        if let Some(due) = &self.due {
            set(Field::Due, date(due));
        }
        if let Some(wanted) = &self.assignees {
            for user in current.assignees.symmetric_difference(wanted) {
                set(Field::Assignee(user.clone()), Value::Bool(wanted.contains(user)));
            }
        }
        if let Some(wanted) = &self.categories {
            for number in current.categories.symmetric_difference(wanted) {
                set(Field::Category(*number), Value::Bool(wanted.contains(number)));
            }
        }
        if let Some(description) = &self.description {
            set(Field::Description, Value::from(custom.replace_text(&details.description, description)));
        }
        if let Some(wanted) = &self.checklist {
            checklist(details, wanted, entropy, &mut set);
        }
        if let Some(wanted) = &self.references {
            for url in details.references.keys().filter(|url| !wanted.iter().any(|reference| reference.url == **url)) {
                set(Field::Reference(url.clone()), Value::Null);
            }
            for reference in wanted {
                let kind = details.references.get(&reference.url).and_then(|known| known.kind.clone());
                let kind = kind.unwrap_or_else(|| "Other".to_owned());
                set(
                    Field::Reference(reference.url.clone()),
                    serde_json::json!({"alias": reference.title, "kind": kind}),
                );
            }
        }
        self.custom_pieces(current, details, custom, &mut pieces)?;
        self.check(current, &pieces, limits)?;
        Ok(pieces)
    }

    fn custom_pieces(
        &self,
        current: &TaskFields,
        details: &DetailFields,
        custom: &CustomFields,
        pieces: &mut Vec<(Field, Value)>,
    ) -> Result<(), Error> {
        let mut wanted = self.custom.clone().unwrap_or_default();
        if self.clear_custom {
            for name in custom.read(&current.categories, Some(details)).into_keys() {
                wanted.entry(name).or_insert(Value::Null);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        // The block is written into the description this very call may set.
        let mut with_text = details.clone();
        if let Some((_, Value::String(text))) = pieces.iter().find(|(field, _)| *field == Field::Description) {
            with_text.description.clone_from(text);
        }
        pieces.extend(custom.write(&wanted, &with_text)?);
        Ok(())
    }

    /// Checks the result as a whole; the fields it checks are those the wish touches.
    fn check(&self, current: &TaskFields, pieces: &[(Field, Value)], limits: &Limits) -> Result<(), Error> {
        let mut result = current.clone();
        for (field, value) in pieces {
            set_piece(&mut result, field, value);
        }
        if (self.start.is_some() || self.due.is_some())
            && let (Some(start), Some(due)) = (result.start, result.due)
            && start > due
        {
            let message = format!("the task would start ({}) after it is due ({})", print_date(start), print_date(due));
            return Err(Error::invalid(message).hint("change `start_date` or `due_date`, or clear one"));
        }
        let nothing = DetailFields::default();
        let details = result.details.as_ref().unwrap_or(&nothing);
        let counts = [
            (
                "assignees",
                self.assignees.is_some(),
                result.assignees.len(),
                limits.assignees,
                "MaximumAssigneesInTasks",
            ),
            (
                "checklist items",
                self.checklist.is_some(),
                details.checklist.len(),
                limits.checklist,
                "MaximumChecklistItemsOnTask",
            ),
            (
                "references",
                self.touches_details(),
                details.references.len(),
                limits.references,
                "MaximumReferencesOnTask",
            ),
        ];
        for (what, touched, count, limit, name) in counts {
            if touched && count > limit {
                return Err(Error::new(
                    ErrorCode::LimitExceeded,
                    format!("{count} {what} are more than Planner takes ({limit}, `{name}`); nothing was changed"),
                )
                .hint("shorten the list or split the task"));
            }
        }
        Ok(())
    }

    /// A new task.
    ///
    /// # Errors
    /// As [`Self::pieces`].
    pub(super) fn task(&self, custom: &CustomFields, limits: &Limits, entropy: &Entropy) -> Result<TaskFields, Error> {
        let mut task = assemble(&BTreeMap::new(), self.touches_details());
        for (field, value) in self.pieces(&task, custom, limits, entropy)? {
            set_piece(&mut task, &field, &value);
        }
        Ok(task)
    }
}

fn checklist(details: &DetailFields, wanted: &[ChecklistInput], entropy: &Entropy, set: &mut impl FnMut(Field, Value)) {
    let mut left: Vec<(&String, &crate::sync::model::ChecklistItem)> = details.checklist.iter().collect();
    let mut last = left.iter().map(|(_, item)| item.order.as_str()).max().unwrap_or_default().to_owned();
    for item in wanted {
        if let Some(place) = left.iter().position(|(_, known)| known.title == item.title) {
            let (key, known) = left.remove(place);
            let value = serde_json::json!({"title": item.title, "checked": item.checked, "order": known.order});
            set(Field::Checklist(key.clone()), value);
        } else {
            let order = if last.is_empty() { LAST.to_owned() } else { format!("{last}{LAST}") };
            let value = serde_json::json!({"title": item.title, "checked": item.checked, "order": order});
            set(Field::Checklist(entropy.guid()), value);
            last = order;
        }
    }
    for (key, _) in left {
        set(Field::Checklist(key.clone()), Value::Null);
    }
}

impl Planner {
    /// Looks up what a new task names.
    ///
    /// # Errors
    /// Unknown or ambiguous names, malformed words, broken limits; nothing was changed.
    pub(super) async fn creation(&self, caller: &Caller, plan: &PlanRecord, input: &CreateTask) -> Result<Wish, Error> {
        let mut wish = Wish {
            title: Some(self.title(&input.title)?),
            bucket: match &input.bucket_id {
                Some(text) => Some(self.bucket(&caller.reach, plan, text)?),
                None => plan.buckets.first().map(|bucket| bucket.id.clone()),
            },
            description: input.description.clone().filter(|text| !text.is_empty()),
            priority: input.priority.as_deref().map(parse_priority).transpose()?,
            start: input.start_date.as_deref().map(|text| parse_date("start_date", text)).transpose()?.map(Some),
            due: input.due_date.as_deref().map(|text| parse_date("due_date", text)).transpose()?.map(Some),
            checklist: input.checklist.clone().filter(|items| !items.is_empty()),
            references: input.references.clone().filter(|items| !items.is_empty()),
            categories: input.categories.as_deref().map(|names| categories(plan, names)).transpose()?,
            custom: input.custom_fields.clone().filter(|fields| !fields.is_empty()),
            ..Wish::default()
        };
        check_references(input.references.as_deref())?;
        check_items(input.checklist.as_deref())?;
        wish.assignees = self.assignees(input.assignee_ids.as_deref()).await?;
        Ok(wish)
    }

    /// Looks up what a change names.
    ///
    /// # Errors
    /// As [`Self::creation`].
    pub(super) async fn change(&self, caller: &Caller, plan: &PlanRecord, input: &UpdateTask) -> Result<Wish, Error> {
        let percent = match (&input.status, input.percent_complete) {
            (Some(word), Some(percent)) if Status::parse(word)? != Status::of(percent) => {
                return Err(Error::invalid(format!("`status` {word} contradicts `percent_complete` {percent}"))
                    .hint("give one of them"));
            }
            (_, Some(percent)) if percent > 100 => {
                return Err(Error::invalid(format!("`percent_complete` is {percent}")).hint("use 0 to 100"));
            }
            (_, Some(percent)) => Some(percent),
            (Some(word), None) => Some(Status::parse(word)?.percent()),
            (None, None) => None,
        };
        let mut wish = Wish {
            title: input.title.as_deref().map(|title| self.title(title)).transpose()?,
            bucket: input.bucket_id.as_deref().map(|text| self.bucket(&caller.reach, plan, text)).transpose()?,
            percent,
            description: input.description.clone(),
            priority: input.priority.as_deref().map(parse_priority).transpose()?,
            start: input.start_date.as_deref().map(|text| parse_date("start_date", text)).transpose()?.map(Some),
            due: input.due_date.as_deref().map(|text| parse_date("due_date", text)).transpose()?.map(Some),
            checklist: input.checklist.clone(),
            references: input.references.clone(),
            categories: input.categories.as_deref().map(|names| categories(plan, names)).transpose()?,
            custom: input.custom_fields.clone(),
            ..Wish::default()
        };
        check_references(input.references.as_deref())?;
        check_items(input.checklist.as_deref())?;
        wish.assignees = self.assignees(input.assignee_ids.as_deref()).await?;
        for name in input.clear.iter().flatten() {
            wish.clear(name)?;
        }
        Ok(wish)
    }

    fn title(&self, text: &str) -> Result<String, Error> {
        let title = text.trim();
        let length = title.chars().count();
        if title.is_empty() {
            return Err(Error::invalid("`title` is empty"));
        }
        if length > self.settings.limits.title {
            let message = format!(
                "`title` has {length} characters, at most {} are taken; nothing was changed",
                self.settings.limits.title
            );
            return Err(Error::new(ErrorCode::LimitExceeded, message).hint("put the rest into `description`"));
        }
        Ok(title.to_owned())
    }

    async fn assignees(&self, names: Option<&[String]>) -> Result<Option<BTreeSet<UserId>>, Error> {
        let Some(names) = names else { return Ok(None) };
        let mut users = BTreeSet::new();
        for name in names {
            users.insert(self.people.resolve(name).await?.id.clone());
        }
        Ok(Some(users))
    }
}

impl Wish {
    fn clear(&mut self, name: &str) -> Result<(), Error> {
        let twice = match name {
            "description" => self.description.replace(String::new()).is_some(),
            "assignee_ids" | "assignees" => self.assignees.replace(BTreeSet::new()).is_some(),
            "start_date" => self.start.replace(None).is_some(),
            "due_date" => self.due.replace(None).is_some(),
            "checklist" => self.checklist.replace(Vec::new()).is_some(),
            "references" => self.references.replace(Vec::new()).is_some(),
            "categories" => self.categories.replace(BTreeSet::new()).is_some(),
            "custom_fields" => std::mem::replace(&mut self.clear_custom, true) || self.custom.is_some(),
            _ => {
                return Err(Error::invalid(format!("`clear` cannot empty `{name}`"))
                    .hint(format!("it takes {}", CLEARABLE.join(", "))));
            }
        };
        if twice {
            return Err(Error::invalid(format!("`{name}` is set and cleared in one call")));
        }
        Ok(())
    }
}

fn check_items(items: Option<&[ChecklistInput]>) -> Result<(), Error> {
    if items.unwrap_or_default().iter().any(|item| item.title.trim().is_empty()) {
        return Err(Error::invalid("a checklist item is empty; nothing was changed"));
    }
    Ok(())
}

fn check_references(references: Option<&[ReferenceInput]>) -> Result<(), Error> {
    for reference in references.unwrap_or_default() {
        let web =
            url::Url::parse(&reference.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !web {
            return Err(Error::invalid(format!("reference `{}` is no http(s) address", reference.url)));
        }
    }
    Ok(())
}
