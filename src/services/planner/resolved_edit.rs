//! From what a caller asks for a task to the fields it sets: names looked up, words read, limits checked.
//!
//! Everything that needs the directory or the plan is looked up once; what depends on the task's present state (a list
//! that replaces another one) is decided inside the transaction, by [`ResolvedEdit::edits`]. Long because every field that can be
//! set has its lines here.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use super::checklist::ChecklistEdit;
use super::days::{day_of, settle};
use super::input::{CLEARABLE, ChecklistInput, CreateTask, ReferenceInput, UpdateTask};
use super::lists::{Members, ReferencesEdit};
use super::lookup::categories;
use super::version::ReadLists;
use super::words::{Status, parse_priority};
use super::{CustomFields, Limits, Planner};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::{BucketId, Entropy, TaskId, UserId};
use crate::services::Error;
use crate::sync::field_value::edit_field;
use crate::sync::model::{DetailFields, Few, Field, FieldEdit, FieldRef, FieldValue, PlanRecord, TaskFields};

/// What a caller wants of a task, with every name looked up.
#[derive(Debug, Clone, Default)]
pub(super) struct ResolvedEdit {
    title: Option<String>,
    bucket: Option<BucketId>,
    percent: Option<u8>,
    status: Option<Status>,
    priority: Option<u8>,
    start: Option<Option<DateTime<Utc>>>,
    due: Option<Option<DateTime<Utc>>>,
    /// In which a date that is there already means a day.
    zone: Tz,
    assignees: Option<Members<UserId>>,
    categories: Option<Members<u8>>,
    description: Option<String>,
    checklist: Option<ChecklistEdit>,
    references: Option<ReferencesEdit>,
    /// What the caller had read of the lists it gives whole.
    read: Option<ReadLists>,
    custom: Option<BTreeMap<String, Value>>,
    clear_custom: bool,
}

/// Entries of lists that were given whole which are removed though nobody has named them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub assignees: Vec<UserId>,
    pub categories: Vec<u8>,
    pub checklist: Vec<String>,
    pub references: Vec<String>,
}

impl ResolvedEdit {
    /// Whether the present details have to be known to carry this out.
    pub(super) fn needs_details(&self) -> bool {
        self.checklist.is_some() || self.references.is_some() || self.custom.is_some() || self.clear_custom
    }

    /// Whether the edit touches the details at all.
    pub(super) fn touches_details(&self) -> bool {
        self.needs_details() || self.description.is_some()
    }

    /// Whether some of it is so already on a task that is now `current`, as far as is known: of `edits` it changes only
    /// `changed`. A list that is given whole by somebody who has not read it says nothing of entries that are not known
    /// here; it stays what it is.
    pub(super) fn repeats(&self, current: &TaskFields, edits: &[FieldEdit], changed: &[Field]) -> bool {
        let has_read = self.read.is_some();
        let items = changed.iter().filter(|field| matches!(field, Field::Checklist(_))).count();
        let references = changed.iter().filter(|field| matches!(field, Field::Reference(_))).count();
        let is_changed = |field: FieldRef<'_>| changed.iter().any(|changed| FieldRef::from(changed) == field);
        edits.iter().map(FieldEdit::field).any(|field| !field.is_entry() && !is_changed(field))
            || self.status.is_some_and(|status| Status::of(current.percent_complete) == status)
            || self.assignees.as_ref().is_some_and(|edit| edit.repeats(&current.assignees, has_read))
            || self.categories.as_ref().is_some_and(|edit| edit.repeats(&current.categories, has_read))
            || self.checklist.as_ref().is_some_and(|edit| edit.repeats(items, has_read))
            || self.references.as_ref().is_some_and(|edit| edit.repeats(references, has_read))
    }

    /// The edits of a task that is now `current`, and what that drops from lists given blindly.
    ///
    /// # Errors
    /// When the result would be one Planner refuses, or an entry that is named is not there.
    pub(super) fn edits(
        &self,
        current: &TaskFields,
        custom: &CustomFields,
        limits: &Limits,
        entropy: &Entropy,
    ) -> Result<(Vec<FieldEdit>, Dropped), Error> {
        let mut dropped = Dropped::default();
        let nothing = DetailFields::default();
        let details = current.details.as_deref().unwrap_or(&nothing);
        let mut edits: Vec<FieldEdit> = Vec::new();
        let mut set = |value: FieldValue| edits.push(FieldEdit::Set(value));
        let (start, due) = settle((self.start, self.due), (current.start, current.due), self.zone);
        if let Some(title) = &self.title {
            set(FieldValue::Title(title.clone()));
        }
        if let Some(bucket) = &self.bucket {
            set(FieldValue::Bucket(bucket.clone()));
        }
        // A word says nothing about the per cent of a task it already fits.
        let status = self.status.filter(|status| Status::of(current.percent_complete) != *status);
        if let Some(percent) = self.percent.or(status.map(Status::percent)) {
            set(FieldValue::PercentComplete(percent));
        }
        if let Some(priority) = self.priority {
            set(FieldValue::Priority(priority));
        }
        if let Some(start) = start {
            edits.push(FieldEdit::of(&Field::Start, start.map(FieldValue::Start)));
        }
        if let Some(due) = due {
            edits.push(FieldEdit::of(&Field::Due, due.map(FieldValue::Due)));
        }
        let read = self.read.as_ref();
        if let Some(edit) = &self.assignees {
            let was_read = read.map(|read| |user: &UserId| read.has_assignee(user));
            let wanted = edit.result(&current.assignees, was_read);
            dropped.assignees = edit.dropped(&current.assignees, &wanted);
            for user in current.assignees.differing(&wanted) {
                edits.push(if wanted.contains(user) {
                    FieldEdit::Set(FieldValue::Assignee(user.clone()))
                } else {
                    FieldEdit::Clear(Field::Assignee(user.clone()))
                });
            }
        }
        if let Some(edit) = &self.categories {
            let was_read = read.map(|read| |number: &u8| read.has_category(*number));
            let wanted = edit.result(&current.categories, was_read);
            dropped.categories = edit.dropped(&current.categories, &wanted);
            for number in current.categories.differing(&wanted) {
                edits.push(if wanted.contains(number) {
                    FieldEdit::Set(FieldValue::Category(*number))
                } else {
                    FieldEdit::Clear(Field::Category(*number))
                });
            }
        }
        if let Some(description) = &self.description {
            let text = custom.replace_text(&details.description, description)?;
            edits.push(FieldEdit::Set(FieldValue::Description(text)));
        }
        if let Some(edit) = &self.checklist {
            let (of_items, left_out) = edit.apply(details, read, entropy)?;
            edits.extend(of_items);
            dropped.checklist = left_out;
        }
        if let Some(edit) = &self.references {
            let (of_references, left_out) = edit.apply(details, read)?;
            edits.extend(of_references);
            dropped.references = left_out;
        }
        if read.is_some() {
            dropped = Dropped::default(); // the caller knew what it left out
        }
        self.custom_edits(current, details, custom, &mut edits)?;
        self.check(current, &edits, limits)?;
        Ok((edits, dropped))
    }

    fn custom_edits(
        &self,
        current: &TaskFields,
        details: &DetailFields,
        custom: &CustomFields,
        edits: &mut Vec<FieldEdit>,
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
        for edit in edits.iter() {
            if let FieldEdit::Set(FieldValue::Description(text)) = edit {
                with_text.description.clone_from(text);
            }
        }
        edits.extend(custom.write(&wanted, &with_text)?);
        Ok(())
    }

    /// Checks the result as a whole; the fields it checks are those the edit touches.
    fn check(&self, current: &TaskFields, edits: &[FieldEdit], limits: &Limits) -> Result<(), Error> {
        let mut result = current.clone();
        for edit in edits {
            edit_field(&mut result, edit);
        }
        if (self.start.is_some() || self.due.is_some())
            && let (Some(start), Some(due)) = (result.start, result.due)
            && day_of(start, self.zone) > day_of(due, self.zone)
        {
            let (start, due) = (day_of(start, self.zone), day_of(due, self.zone));
            let message = format!("the task would start ({start}) after it is due ({due})");
            return Err(Error::invalid(message).hint("change `start_date` or `due_date`, or clear one"));
        }
        let nothing = DetailFields::default();
        let details = result.details.as_deref().unwrap_or(&nothing);
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
                    format!("{count} {what} are more than Planner takes ({limit}, `{name}`)"),
                )
                .hint("shorten the list or split the task"));
            }
        }
        Ok(())
    }

    /// A new task.
    ///
    /// # Errors
    /// As [`Self::edits`].
    pub(super) fn task(&self, custom: &CustomFields, limits: &Limits, entropy: &Entropy) -> Result<TaskFields, Error> {
        let mut task = TaskFields::blank();
        if self.touches_details() {
            task = task.with_details();
        }
        for edit in self.edits(&task, custom, limits, entropy)?.0 {
            edit_field(&mut task, &edit);
        }
        Ok(task)
    }
}

impl Planner {
    /// Looks up what a new task names.
    ///
    /// # Errors
    /// Unknown or ambiguous names, malformed words, broken limits; nothing was changed.
    pub(super) async fn creation(
        &self,
        caller: &Caller,
        plan: &PlanRecord,
        input: &CreateTask,
    ) -> Result<ResolvedEdit, Error> {
        let mut edit = ResolvedEdit {
            title: Some(self.title(&input.title)?),
            bucket: match &input.bucket_id {
                Some(text) => Some(self.bucket(&caller.plan_scope, plan, text)?),
                None => plan.buckets.first().map(|bucket| bucket.id.clone()),
            },
            description: input.description.clone().filter(|text| !text.is_empty()),
            percent: input.percent_complete,
            status: progress(input.status.as_deref(), input.percent_complete)?,
            priority: input.priority.as_deref().map(parse_priority).transpose()?,
            start: self.date("start_date", input.start_date.as_deref())?.map(Some),
            due: self.date("due_date", input.due_date.as_deref())?.map(Some),
            checklist: input.checklist.clone().filter(|items| !items.is_empty()).map(ChecklistEdit::Whole),
            references: input.references.clone().filter(|items| !items.is_empty()).map(ReferencesEdit::Whole),
            categories: input
                .categories
                .as_deref()
                .map(|names| categories(plan, names))
                .transpose()?
                .map(Members::Whole),
            custom: input.custom_fields.clone().filter(|fields| !fields.is_empty()),
            zone: self.settings.time_zone,
            ..ResolvedEdit::default()
        };
        check_references(input.references.as_deref())?;
        check_items(input.checklist.as_deref())?;
        if let Some(names) = &input.assignee_ids {
            edit.assignees = Some(Members::Whole(self.assignees(caller, plan, names).await?));
        }
        Ok(edit)
    }

    /// Looks up what a change names.
    ///
    /// # Errors
    /// As [`Self::creation`], and when nothing is named that could change.
    pub(super) async fn change(
        &self,
        caller: &Caller,
        plan: &PlanRecord,
        task: &TaskId,
        input: &UpdateTask,
    ) -> Result<ResolvedEdit, Error> {
        if input.is_empty() {
            return Err(Error::invalid("no field is named that should change")
                .hint("name the fields to set, or those to empty in `clear`"));
        }
        let status = progress(input.status.as_deref(), input.percent_complete)?;
        let mut edit = ResolvedEdit {
            title: input.title.as_deref().map(|title| self.title(title)).transpose()?,
            bucket: input.bucket_id.as_deref().map(|text| self.bucket(&caller.plan_scope, plan, text)).transpose()?,
            percent: input.percent_complete,
            status,
            description: input.description.clone(),
            priority: input.priority.as_deref().map(parse_priority).transpose()?,
            start: self.date("start_date", input.start_date.as_deref())?.map(Some),
            due: self.date("due_date", input.due_date.as_deref())?.map(Some),
            custom: input.custom_fields.clone(),
            read: input.version.as_deref().map(|text| ReadLists::parse(text, task)).transpose()?,
            zone: self.settings.time_zone,
            ..ResolvedEdit::default()
        };
        self.list_changes(caller, plan, input, &mut edit).await?;
        for name in input.clear.iter().flatten() {
            edit.clear(name)?;
        }
        Ok(edit)
    }

    /// The changes of lists: each list is given whole, or some of its entries are named, never both.
    async fn list_changes(
        &self,
        caller: &Caller,
        plan: &PlanRecord,
        input: &UpdateTask,
        edit: &mut ResolvedEdit,
    ) -> Result<(), Error> {
        check_references(input.references.as_deref())?;
        check_references(input.add_references.as_deref())?;
        check_items(input.checklist.as_deref())?;
        check_items(input.add_checklist.as_deref())?;
        let list = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
        let (add, remove) = (&input.add_assignees, &input.remove_assignees);
        edit.assignees = match &input.assignee_ids {
            Some(names) => {
                alone("assignee_ids", add.is_some() || remove.is_some())?;
                Some(Members::Whole(self.assignees(caller, plan, names).await?))
            }
            None if add.is_some() || remove.is_some() => {
                let add = self.assignees(caller, plan, &list(add)).await?;
                let remove = self.assignees(caller, plan, &list(remove)).await?;
                Some(Members::Single { add, remove })
            }
            None => None,
        };
        let (add, remove) = (&input.add_categories, &input.remove_categories);
        edit.categories = match &input.categories {
            Some(names) => {
                alone("categories", add.is_some() || remove.is_some())?;
                Some(Members::Whole(categories(plan, names)?))
            }
            None if add.is_some() || remove.is_some() => {
                Some(Members::Single { add: categories(plan, &list(add))?, remove: categories(plan, &list(remove))? })
            }
            None => None,
        };
        let (tick, untick, remove) = (&input.tick_checklist, &input.untick_checklist, &input.remove_checklist);
        let single = input.add_checklist.is_some() || [tick, untick, remove].iter().any(|names| names.is_some());
        edit.checklist = match &input.checklist {
            Some(items) => {
                alone("checklist", single)?;
                Some(ChecklistEdit::Whole(items.clone()))
            }
            None => single.then(|| ChecklistEdit::Single {
                add: input.add_checklist.clone().unwrap_or_default(),
                tick: list(tick),
                untick: list(untick),
                remove: list(remove),
            }),
        };
        let (add, remove) = (&input.add_references, &input.remove_references);
        edit.references = match &input.references {
            Some(links) => {
                alone("references", add.is_some() || remove.is_some())?;
                Some(ReferencesEdit::Whole(links.clone()))
            }
            None => (add.is_some() || remove.is_some())
                .then(|| ReferencesEdit::Single { add: add.clone().unwrap_or_default(), remove: list(remove) }),
        };
        Ok(())
    }

    fn title(&self, text: &str) -> Result<String, Error> {
        let title = text.trim();
        let length = title.chars().count();
        if title.is_empty() {
            return Err(Error::invalid("`title` is empty").hint("give the task a title"));
        }
        if length > self.settings.limits.title {
            let message = format!("`title` has {length} characters, at most {} are taken", self.settings.limits.title);
            return Err(Error::new(ErrorCode::LimitExceeded, message).hint("put the rest into `description`"));
        }
        Ok(title.to_owned())
    }

    async fn assignees(&self, caller: &Caller, plan: &PlanRecord, names: &[String]) -> Result<Few<UserId>, Error> {
        let mut users = Few::new();
        for name in names {
            users.insert(self.assignee(caller, plan.group.as_ref(), name).await?.id.clone());
        }
        Ok(users)
    }
}

/// A list that is given whole is not changed entry by entry in the same call.
fn alone(list: &str, single: bool) -> Result<(), Error> {
    if single {
        let message = format!("`{list}` is given whole and changed entry by entry in one call");
        return Err(Error::invalid(message).hint("give the whole list, or the entries to add and remove"));
    }
    Ok(())
}

impl ResolvedEdit {
    fn clear(&mut self, name: &str) -> Result<(), Error> {
        let twice = match name {
            "description" => self.description.replace(String::new()).is_some(),
            "assignee_ids" | "assignees" => self.assignees.replace(Members::Whole(Few::new())).is_some(),
            "start_date" => self.start.replace(None).is_some(),
            "due_date" => self.due.replace(None).is_some(),
            "checklist" => self.checklist.replace(ChecklistEdit::Whole(Vec::new())).is_some(),
            "references" => self.references.replace(ReferencesEdit::Whole(Vec::new())).is_some(),
            "categories" => self.categories.replace(Members::Whole(Few::new())).is_some(),
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
        return Err(Error::invalid("a checklist item is empty"));
    }
    Ok(())
}

/// The status that is named, if it fits the per cent that are.
fn progress(status: Option<&str>, percent: Option<u8>) -> Result<Option<Status>, Error> {
    let status = status.map(Status::parse).transpose()?;
    match (status, percent) {
        (_, Some(percent)) if percent > 100 => {
            Err(Error::invalid(format!("`percent_complete` is {percent}")).hint("use 0 to 100"))
        }
        (Some(status), Some(percent)) if status != Status::of(percent) => {
            let message = format!("`status` {} contradicts `percent_complete` {percent}", status.word());
            Err(Error::invalid(message).hint("give one of them"))
        }
        (status, _) => Ok(status),
    }
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
