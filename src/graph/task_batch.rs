//! Many tasks at once. One outcome per item, in the order given; one item's failure is no other's.

use serde::de::DeserializeOwned;

use super::batch::Progress;
use super::call::Call;
use super::client::{Client, decode};
use super::error::Error;
use super::request::Request;
use super::task_details::{TaskDetails, get_task_details, update_task_details};
use super::task_patch::{DetailsPatch, TaskBody, TaskPatch};
use super::tasks::{Deleted, Task, create_task, delete_task, deleted, get_task, update_task};
use crate::http_client::Answer;
use crate::ids::PlannerTaskId;

impl Client {
    /// Creates tasks. A create whose outcome is not known is not repeated: [`Error::is_ambiguous`].
    pub async fn batch_create_tasks(
        &self,
        call: &Call,
        bodies: &[TaskBody],
        progress: Progress<'_>,
    ) -> Vec<Result<Task, Error>> {
        let requests: Vec<_> = bodies.iter().map(create_task).collect();
        let outcomes = self.batch(call, &requests, progress).await;
        requests.iter().zip(outcomes).map(|(request, outcome)| read(request, &outcome?)).collect()
    }

    /// Changes tasks, each at its `ETag`.
    pub async fn batch_update_tasks(
        &self,
        call: &Call,
        changes: &[(PlannerTaskId, String, TaskPatch)],
        progress: Progress<'_>,
    ) -> Vec<Result<Task, Error>> {
        let patch =
            |(id, etag, patch): &(PlannerTaskId, String, TaskPatch)| (update_task(id, etag, patch), get_task(id));
        self.batch_change(call, changes.iter().map(patch).unzip(), progress).await
    }

    /// Changes the details of tasks, each at the details' `ETag`.
    pub async fn batch_update_details(
        &self,
        call: &Call,
        changes: &[(PlannerTaskId, String, DetailsPatch)],
        progress: Progress<'_>,
    ) -> Vec<Result<TaskDetails, Error>> {
        let patch = |(id, etag, patch): &(PlannerTaskId, String, DetailsPatch)| {
            (update_task_details(id, etag, patch), get_task_details(id))
        };
        self.batch_change(call, changes.iter().map(patch).unzip(), progress).await
    }

    /// Reads tasks; `None` for one that does not exist.
    pub async fn batch_get_tasks(
        &self,
        call: &Call,
        tasks: &[PlannerTaskId],
        progress: Progress<'_>,
    ) -> Vec<Result<Option<Task>, Error>> {
        self.batch_find(call, tasks.iter().map(get_task).collect(), progress).await
    }

    /// Reads the details of tasks; `None` for a task that does not exist.
    pub async fn batch_get_details(
        &self,
        call: &Call,
        tasks: &[PlannerTaskId],
        progress: Progress<'_>,
    ) -> Vec<Result<Option<TaskDetails>, Error>> {
        self.batch_find(call, tasks.iter().map(get_task_details).collect(), progress).await
    }

    /// Deletes tasks, each at its `ETag`.
    pub async fn batch_delete_tasks(
        &self,
        call: &Call,
        tasks: &[(PlannerTaskId, String)],
        progress: Progress<'_>,
    ) -> Vec<Result<Deleted, Error>> {
        let requests: Vec<_> = tasks.iter().map(|(id, etag)| delete_task(id, etag)).collect();
        let outcomes = self.batch(call, &requests, progress).await;
        outcomes.into_iter().map(|outcome| deleted(outcome.map(|_| ()))).collect()
    }

    async fn batch_find<T: DeserializeOwned>(
        &self,
        call: &Call,
        requests: Vec<Request>,
        progress: Progress<'_>,
    ) -> Vec<Result<Option<T>, Error>> {
        let outcomes = self.batch(call, &requests, progress).await;
        let found = |(request, outcome): (&Request, Result<Answer, Error>)| match outcome {
            Ok(answer) => read(request, &answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        requests.iter().zip(outcomes).map(found).collect()
    }

    /// Makes the changes, then reads those whose answer came without the entity (204).
    async fn batch_change<T: DeserializeOwned>(
        &self,
        call: &Call,
        (changes, reads): (Vec<Request>, Vec<Request>),
        progress: Progress<'_>,
    ) -> Vec<Result<T, Error>> {
        let outcomes = self.batch(call, &changes, progress).await;
        let silent = |outcome: &Result<Answer, Error>| outcome.as_ref().is_ok_and(|answer| answer.body.is_empty());
        let missing = outcomes.iter().zip(&reads).filter(|(outcome, _)| silent(outcome));
        let missing: Vec<_> = missing.map(|(_, read)| read.clone()).collect();
        let mut again = self.batch(call, &missing, &|_| ()).await.into_iter();
        let entity = |(outcome, request): (Result<Answer, Error>, &Request)| {
            if silent(&outcome) {
                let found = again.next().unwrap_or(outcome).and_then(|answer| read(request, &answer));
                return found.map_err(Error::after_write);
            }
            read(request, &outcome?)
        };
        outcomes.into_iter().zip(&changes).map(entity).collect()
    }
}

fn read<T: DeserializeOwned>(request: &Request, answer: &Answer) -> Result<T, Error> {
    decode(request.operation, &request.method, &answer.body).map_err(|error| error.with_delivery(answer.earlier))
}
