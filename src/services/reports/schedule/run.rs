//! Running what is due.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::cron::Cron;
use super::definition::{Definition, Outcome, Run, WEBHOOK};
use super::{key, no_plans};
use crate::auth::Caller;
use crate::rows::{Row, RowVersion, Write};
use crate::services::Error;
use crate::services::reports::delivery::Parcel;
use crate::services::reports::download::LIFE_IN_MESSAGE;
use crate::services::reports::service::{Recorded, Reports};

/// How long whoever claimed a run is believed to be on it: longer than a job may take.
const CLAIM: TimeDelta = TimeDelta::minutes(10);
/// How often the days are recorded and what is old is swept out.
const RECORD_EVERY: TimeDelta = TimeDelta::minutes(10);

/// What the timer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TimerReport {
    /// Definitions that were due and run here.
    pub run: usize,
    /// Of these, those with a problem.
    pub failed: usize,
    /// Definitions another instance was faster with.
    pub taken: usize,
    /// What recording the day did, when it was time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

impl Reports {
    /// Runs the definitions that are due, and now and then records the day: what the scheduler calls.
    ///
    /// # Errors
    /// When the store fails. A definition that fails is written down with its reason and does not stop the others.
    pub async fn run_due(&self) -> Result<TimerReport, Error> {
        let mut report = TimerReport::default();
        if self.is_time_to_record() {
            report.recorded = Some(self.record().await?);
            self.sweep().await?;
        }
        for (row, definition) in self.definitions().await? {
            let now = self.clock.now();
            let abandoned = definition.run.as_ref().is_some_and(|run| run.until <= now);
            let busy = definition.run.is_some() && !abandoned;
            if busy || (definition.next > now && !abandoned) {
                continue;
            }
            // However many times were missed, the next one lies ahead: they are made up for by this run.
            let Some(next) = following(&definition, now) else { continue };
            match self.claim(row, definition, now, next).await? {
                None => report.taken += 1,
                Some((version, definition)) => {
                    report.run += 1;
                    let ended = self.carry_out(version, definition).await?;
                    report.failed += usize::from(ended.last.is_none_or(|last| !last.ok));
                }
            }
        }
        Ok(report)
    }

    fn is_time_to_record(&self) -> bool {
        let now = self.clock.now();
        let mut last = self.recorded_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|last| now - last >= RECORD_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }

    /// Writes "I am on it"; `None` when somebody else was faster. A run that was abandoned is taken over as it stands.
    pub(super) async fn claim(
        &self,
        row: Row,
        mut definition: Definition,
        now: DateTime<Utc>,
        next: DateTime<Utc>,
    ) -> Result<Option<(RowVersion, Definition)>, Error> {
        let due = definition.next.min(now);
        let run = definition.run.take().unwrap_or(Run {
            due,
            until: now,
            by: None,
            report: None,
            begun: Vec::new(),
            done: Vec::new(),
        });
        definition.run = Some(Run { until: now + CLAIM, ..run });
        definition.next = next;
        match self.note(&row.version, &definition).await {
            Ok(version) => Ok(Some((version, definition))),
            Err(error) if error.code == crate::error::ErrorCode::StoreFailed && error.retry_after.is_none() => {
                // Whether the row has moved on tells a lost race from a broken store.
                let current = self.tables.get(&self.schedules(), &row.key).await?;
                if current.is_some_and(|current| current.version == row.version) { Err(error) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }

    async fn note(&self, version: &RowVersion, definition: &Definition) -> Result<RowVersion, Error> {
        let write = Write::replace(key(&definition.name), version, definition)?;
        let versions = self.tables.commit(&self.schedules(), vec![write]).await?;
        Ok(versions.into_iter().flatten().next().unwrap_or_else(|| version.clone()))
    }

    /// Makes the report, delivers it, and writes down how it went.
    pub(super) async fn carry_out(
        &self,
        mut version: RowVersion,
        mut definition: Definition,
    ) -> Result<Definition, Error> {
        let mut problems = Vec::new();
        if let Err(error) = self.make_and_deliver(&mut version, &mut definition, &mut problems).await {
            problems.push(error.message);
        }
        let run = definition.run.take();
        let outcome = Outcome {
            due: run.as_ref().map_or(definition.next, |run| run.due),
            ended: self.clock.now(),
            ok: problems.is_empty(),
            report: run.and_then(|run| run.report),
            problems,
        };
        if !outcome.ok {
            tracing::warn!(
                schedule = definition.name,
                problems = outcome.problems.len(),
                "a scheduled report failed in part"
            );
        }
        definition.last = Some(outcome);
        // Somebody may have changed or removed the definition meanwhile: theirs stands.
        if let Err(error) = self.note(&version, &definition).await {
            tracing::warn!(schedule = definition.name, %error, "how a run ended cannot be noted");
        }
        Ok(definition)
    }

    async fn make_and_deliver(
        &self,
        version: &mut RowVersion,
        definition: &mut Definition,
        problems: &mut Vec<String>,
    ) -> Result<(), Error> {
        let made = definition.run.as_ref().and_then(|run| run.report.clone());
        let report = match made {
            Some(id) => self.archive.read(&id).await?,
            None => None,
        };
        let report = match report {
            Some(report) => report,
            None => {
                let mut request = definition.report.clone();
                if request.plans.as_ref().is_some_and(Vec::is_empty) {
                    return Err(no_plans()); // written before such schedules were refused
                }
                request.time_zone = Some(definition.time_zone.clone());
                if let Some(days) = definition.days {
                    let zone = super::zone(&definition.time_zone)?;
                    let today = self.clock.now().with_timezone(&zone).date_naive();
                    request.from = Some((today - TimeDelta::days(i64::from(days) - 1)).to_string());
                }
                let report = self.make(&Caller::local(), &request).await?;
                self.archive.keep(&report, &format!("schedule {}", definition.name)).await?;
                if let Some(run) = &mut definition.run {
                    run.report = Some(report.id.clone());
                }
                *version = self.note(version, definition).await?;
                report
            }
        };
        let expires = self.clock.now() + LIFE_IN_MESSAGE;
        let mut parcel = Parcel { report: report.clone(), files: Vec::new(), links: Vec::new() };
        for format in &definition.formats {
            parcel.links.extend(self.address(&report.id, *format, expires).map(|address| (*format, address)));
            match self.write(report.clone(), *format).await {
                Ok(file) => parcel.files.push(file),
                Err(error) => problems.push(error.message),
            }
        }
        let webhook = definition.webhook.as_ref().map(|webhook| self.keyring.unseal(WEBHOOK, &webhook.url));
        let webhook = webhook.transpose().unwrap_or_else(|error| {
            tracing::warn!(schedule = definition.name, %error, "the address of a workflow cannot be read");
            problems.push("the workflow's address cannot be read any more; add the schedule again with it".to_owned());
            None
        });
        for delivery in self.courier.deliveries(&definition.mail_to, webhook.as_deref()) {
            let name = delivery.name();
            let Some(run) = &mut definition.run else { break };
            if run.done.contains(&name) {
                continue;
            }
            if run.begun.contains(&name) {
                problems
                    .push(format!("{name}: a run before this one was cut off while it delivered; it is not repeated"));
                continue;
            }
            run.begun.push(name.clone());
            *version = self.note(version, definition).await?;
            match self.courier.deliver(&delivery, &parcel).await {
                Ok(()) => {
                    if let Some(run) = &mut definition.run {
                        run.done.push(name);
                    }
                    *version = self.note(version, definition).await?;
                }
                Err(error) => problems.push(format!("{name}: {}", error.message)),
            }
        }
        Ok(())
    }
}

/// When a definition is due after an instant; `None` for one that no longer reads, which its own page shows.
fn following(definition: &Definition, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let zone = super::zone(&definition.time_zone).ok()?;
    Cron::parse(&definition.schedule).ok()?.next_after(now, zone)
}
