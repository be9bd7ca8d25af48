//! Sending what a round of a push decided: equal actions of several tasks travel as one call of the port, and every
//! answer is put beside the task it belongs to.

use super::Engine;
use super::fold::{Answer, Applied, Was, pair};
use super::handle::PlanHandle;
use super::model::{TaskFields, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::plan::Action;
use super::ports::{DetailChanges, RemoteTask, TaskChanges};
use crate::crash;
use crate::ids::PlannerTaskId;

impl Engine {
    pub(super) async fn send_creates(&self, handle: &PlanHandle, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let wanted: Vec<_> = actions.iter().filter(|(_, action)| *action == Action::Create).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let fields: Vec<TaskFields> = wanted.iter().map(|(record, _)| record.fields.clone()).collect();
        crash::point("create.before");
        let answers = self.planner.create(&handle.id, &fields).await;
        crash::point("create.after");
        pair(Was::Create, &wanted, answers, |task| Applied::Task(Box::new(task)))
    }

    pub(super) async fn send_updates(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut changes: Vec<(PlannerTaskId, String, TaskChanges)> = Vec::new();
        for asked in actions {
            if let (Action::Update(change), Some(remote)) = (&asked.1, &asked.0.remote) {
                wanted.push(asked);
                changes.push((remote.id.clone(), if_match(&remote.etag, Mutant::PatchWithoutIfMatch), change.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        crash::point("update.before");
        let answers = self.planner.update(&changes).await;
        crash::point("update.after");
        pair(Was::Update, &wanted, answers, |task| Applied::Task(Box::new(task)))
    }

    pub(super) async fn send_details(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut changes: Vec<(PlannerTaskId, String, DetailChanges)> = Vec::new();
        for asked in actions {
            if let (Action::UpdateDetails(change), Some(remote)) = (&asked.1, &asked.0.remote) {
                wanted.push(asked);
                changes.push((remote.id.clone(), remote.details_etag.clone().unwrap_or_default(), change.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        crash::point("details.before");
        let answers = self.planner.update_details(&changes).await;
        crash::point("details.after");
        pair(Was::UpdateDetails, &wanted, answers, Applied::Details)
    }

    pub(super) async fn send_deletes(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut tasks = Vec::new();
        for asked in actions {
            if let (Action::Delete, Some(remote)) = (&asked.1, &asked.0.remote) {
                wanted.push(asked);
                tasks.push((remote.id.clone(), if_match(&remote.etag, Mutant::DeleteWithoutIfMatch)));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        crash::point("delete.before");
        let answers = self.planner.delete(&tasks).await;
        crash::point("delete.after");
        pair(Was::Delete, &wanted, answers, |()| Applied::Deleted)
    }

    pub(super) async fn send_reads(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let select = |wanted: &Action| -> (Vec<&(TaskRecord, Action)>, Vec<PlannerTaskId>) {
            actions
                .iter()
                .filter(|(_, action)| action == wanted)
                .filter_map(|asked| Some((asked, asked.0.planner_id()?.clone())))
                .unzip()
        };
        let (tasks, task_ids) = select(&Action::Read);
        let (details, details_ids) = select(&Action::ReadDetails);
        let mut answers = Vec::new();
        if !tasks.is_empty() {
            let found = self.planner.read(&task_ids).await;
            let apply = |task: Option<RemoteTask>| task.map_or(Applied::Gone, |task| Applied::Task(Box::new(task)));
            answers.extend(pair(Was::Read, &tasks, found, apply));
        }
        if !details.is_empty() {
            let found = self.planner.read_details(&details_ids).await;
            answers
                .extend(pair(Was::ReadDetails, &details, found, |found| found.map_or(Applied::Gone, Applied::Details)));
        }
        if !answers.is_empty() {
            crash::point("reads.after");
        }
        answers
    }
}

fn if_match(etag: &str, mutant: Mutant) -> String {
    if is_on(mutant) { "*".into() } else { etag.to_owned() }
}
