//! Running what is due.
//!
//! A run that is cut off is taken up again where it stopped, and so is one whose mail could not be sent for a reason that
//! passes. Mail is never sent twice: it is a draft first, whose id is noted before it is sent, and by which it is found
//! when it was. A card has nothing to find it by, so it is posted at most once. Long because every step of a run is
//! noted in the same row.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::cron::Cron;
use super::definition::{Definition, Mail, Outcome, Run};
use super::no_plans;
use crate::auth::{Caller, Denied, Principal};
use crate::error::{ErrorCode, Retry};
use crate::rows::{Row, RowVersion, Write};
use crate::services::audit::Operation;
use crate::services::reports::delivery::{Delivery, OutgoingReport};
use crate::services::reports::download::LIFE_IN_MESSAGE;
use crate::services::reports::service::{Recorded, Reports};
use crate::services::{Changed, Error};

/// How long whoever claimed a run is believed to be on it: longer than a job may take.
const CLAIM: TimeDelta = TimeDelta::minutes(10);
/// How often a run is tried, over some 18 hours.
const TRIES: u32 = 40;
/// Longest pause between two tries.
const LONGEST_PAUSE: i64 = 30;
/// How long a person's or an application's roles are believed, which only their own calls tell of.
const UNSEEN: TimeDelta = TimeDelta::days(90);
/// The toolset of schedules.
const TOOLSET: &str = "reports";
/// How often the days are recorded and what is old is swept out.
const RECORD_EVERY: TimeDelta = TimeDelta::minutes(10);

/// What the timer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TimerReport {
    /// Definitions that were due and run here.
    pub run: usize,
    /// Of these, those with a problem.
    pub failed: usize,
    /// Definitions that were due and whose maker may not run them any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub stopped: usize,
    /// Definitions another instance was faster with.
    pub taken: usize,
    /// What recording the day did, when it was time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
const fn is_zero(count: &usize) -> bool {
    *count == 0
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
        if self.sender.may_not_deliver() {
            return Ok(report); // what is due waits until the deployment may write
        }
        for (row, definition) in self.definitions().await? {
            let now = self.clock.now();
            let abandoned = definition.run.as_ref().is_some_and(|run| run.until <= now || self.is_orphan(run));
            let busy = definition.run.is_some() && !abandoned;
            if busy || (definition.next > now && !abandoned) {
                continue;
            }
            // However many times were missed, the next one lies ahead: they are made up for by this run.
            let Some(next) = following(&definition, now) else { continue };
            let maker = match self.maker(&definition, now).await {
                Ok(maker) => maker,
                Err(Denied::Unavailable(why)) => {
                    tracing::warn!(
                        schedule = definition.name,
                        why,
                        "whether its maker may still run it is not known yet"
                    );
                    continue;
                }
                Err(why) => {
                    self.stop(&row, definition, next, &why).await?;
                    report.stopped += 1;
                    continue;
                }
            };
            match self.claim(row, definition, now, next).await? {
                None => report.taken += 1,
                Some((version, definition)) => {
                    report.run += 1;
                    let ended = self.run_by_time(maker, version, definition).await?;
                    report.failed += usize::from(ended.last.is_none_or(|last| !last.ok));
                }
            }
        }
        Ok(report)
    }

    /// Who a run acts for: the one who made the definition, with what that one may do now.
    async fn maker(&self, definition: &Definition, now: DateTime<Utc>) -> Result<Caller, Denied> {
        let ended = |why: &str| Denied::Refused(why.to_owned());
        let who = definition.maker.as_ref().ok_or_else(|| ended("it is not known who made it"))?;
        let by_token = matches!(who.kind, Principal::User | Principal::Application);
        if by_token && definition.seen.is_none_or(|seen| now - seen > UNSEEN) {
            return Err(ended("its maker has not called for 90 days, so the roles of then may be gone"));
        }
        let maker = self.gate.restore(who).await?;
        if maker.may_write(TOOLSET) { Ok(maker) } else { Err(ended("its maker may not schedule reports any more")) }
    }

    /// Notes that a definition does not run, and why. It is asked again the next time it is due.
    async fn stop(
        &self,
        row: &Row,
        mut definition: Definition,
        next: DateTime<Utc>,
        why: &Denied,
    ) -> Result<(), Error> {
        let why = match why {
            Denied::Powerless => "its maker may do nothing here any more".to_owned(),
            why => why.to_string(),
        };
        tracing::warn!(schedule = definition.name, by = definition.by, why, "a schedule does not run");
        let hint = "the one who may adds it again, or removes it";
        (definition.stopped, definition.next, definition.run) = (Some(format!("{why}; {hint}")), next, None);
        match self.note(&row.version, &definition).await {
            Ok(_) => Ok(()),
            Err(error) if error.code == ErrorCode::StoreFailed => {
                tracing::warn!(schedule = definition.name, %error, "that a schedule does not run cannot be noted");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A run that nobody has called for, with its row in the audit log: of its maker, who is the one it acts for.
    async fn run_by_time(
        &self,
        maker: Caller,
        version: RowVersion,
        definition: Definition,
    ) -> Result<Definition, Error> {
        let began_at = self.clock.now();
        let noted = self.audit.begin(&Operation {
            caller: &maker,
            name: "scheduled report".to_owned(),
            writes: true,
            arguments: None,
            ids: vec![("schedule", definition.name.clone())],
        });
        let maker = noted.of(maker);
        let ended = self.carry_out(&maker, version, definition).await;
        let outcome = match &ended {
            Ok(definition) if definition.last.as_ref().is_some_and(|last| last.ok) => "ok",
            Ok(_) => ErrorCode::GraphFailed.as_str(),
            Err(error) => error.code.as_str(),
        };
        let took = (self.clock.now() - began_at).to_std().unwrap_or_default();
        self.audit.record(noted, outcome, took).await;
        ended
    }

    fn is_time_to_record(&self) -> bool {
        let now = self.clock.now();
        let mut last = self.recorded_at.lock();
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
        let run = definition.run.take().unwrap_or(Run { due, until: now, ..Run::default() });
        definition.run = Some(Run { until: now + CLAIM, waits: false, tries: run.tries + 1, ..run });
        definition.next = next;
        match self.note(&row.version, &definition).await {
            Ok(version) => Ok(Some((version, definition))),
            Err(error) if error.code == ErrorCode::StoreFailed && error.retry_after.is_none() => {
                // Whether the row has moved on tells a lost race from a broken store.
                let current = self.schedules.get(&row.key).await?;
                if current.is_some_and(|current| current.version == row.version) { Err(error) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn note(&self, version: &RowVersion, definition: &Definition) -> Result<RowVersion, Error> {
        let write = Write::replace(definition.key(), version, definition)?;
        let versions = self.schedules.commit(vec![write]).await?;
        Ok(versions.into_iter().flatten().next().unwrap_or_else(|| version.clone()))
    }

    /// Makes the report, delivers it, and writes down how it went.
    pub(super) async fn carry_out(
        &self,
        maker: &Caller,
        mut version: RowVersion,
        mut definition: Definition,
    ) -> Result<Definition, Error> {
        let mut problems = Problems::default();
        if let Err(error) = self.make_and_deliver(maker, &mut version, &mut definition, &mut problems).await {
            problems.add(String::new(), &error);
        }
        let Problems { list: mut problems, passing } = problems;
        let run = definition.run.take();
        if let Some(run) = run.as_ref().filter(|run| passing && run.tries < TRIES) {
            let pause = TimeDelta::minutes(LONGEST_PAUSE.min(1 << (run.tries - 1).min(5)));
            definition.run = Some(Run { until: self.clock.now() + pause, waits: true, ..run.clone() });
            problems.push(format!("what is missing is tried again in {} min", pause.num_minutes()));
        }
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
        definition.stopped = None;
        // Somebody may have changed or removed the definition meanwhile: theirs stands.
        if let Err(error) = self.note(&version, &definition).await {
            tracing::warn!(schedule = definition.name, %error, "how a run ended cannot be noted");
        }
        Ok(definition)
    }

    async fn make_and_deliver(
        &self,
        maker: &Caller,
        version: &mut RowVersion,
        definition: &mut Definition,
        problems: &mut Problems,
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
                let report = self.make(maker, &request).await?;
                self.archive.keep(maker, &report, &format!("schedule {}", definition.name)).await?;
                if let Some(run) = &mut definition.run {
                    run.report = Some(report.id.clone());
                }
                *version = self.note(version, definition).await?;
                report
            }
        };
        let expires = self.clock.now() + LIFE_IN_MESSAGE;
        let mut outgoing = OutgoingReport { report: report.clone(), files: Vec::new(), links: Vec::new() };
        for format in &definition.formats {
            outgoing.links.extend(self.address(&report.id, *format, expires).map(|address| (*format, address)));
            match self.write(report.clone(), *format).await {
                Ok(file) => outgoing.files.push(file),
                Err(error) => problems.list.push(error.message),
            }
        }
        let webhook = definition.webhook.as_ref().map(|webhook| webhook.unsealed(&self.keyring, &definition.key()));
        let webhook = webhook.transpose().unwrap_or_else(|error| {
            tracing::warn!(schedule = definition.name, %error, "the address of a workflow cannot be read");
            problems
                .list
                .push("the workflow's address cannot be read any more; add the schedule again with it".to_owned());
            None
        });
        for delivery in self.sender.deliveries(&definition.mail_to, webhook.as_deref()) {
            let name = delivery.name();
            let Some(run) = &mut definition.run else { break };
            if run.done.contains(&name) {
                continue;
            }
            if run.begun.contains(&name) {
                let cut_off =
                    "a run before this one was cut off while it delivered, or was not answered; it is not repeated";
                problems.list.push(format!("{name}: {cut_off}"));
                continue;
            }
            let delivered = match &delivery {
                Delivery::Mail(to) => self.mail(version, definition, (&delivery, to), &outgoing).await,
                Delivery::Card(_) => self.deliver_once(version, definition, &delivery, &outgoing).await,
            };
            match delivered {
                Ok(()) => {
                    maker.touch("delivered", &name);
                    if let Some(run) = &mut definition.run {
                        run.done.push(name);
                    }
                    *version = self.note(version, definition).await?;
                }
                Err(error) if matches!(delivery, Delivery::Mail(_)) => problems.add(format!("{name}: "), &error),
                Err(error) => problems.list.push(format!("{name}: {}", error.message)),
            }
        }
        Ok(())
    }

    /// Delivers what cannot be looked for afterwards: that it was begun is noted, and then it is not begun again.
    async fn deliver_once(
        &self,
        version: &mut RowVersion,
        definition: &mut Definition,
        delivery: &Delivery,
        outgoing: &OutgoingReport,
    ) -> Result<(), Error> {
        if let Some(run) = &mut definition.run {
            run.begun.push(delivery.name());
        }
        *version = self.note(version, definition).await?;
        self.sender.deliver(delivery, outgoing).await
    }

    /// Sends a run's mail, or goes on with it: whatever was lost before, it is sent once.
    async fn mail(
        &self,
        version: &mut RowVersion,
        definition: &mut Definition,
        (delivery, to): (&Delivery, &[String]),
        outgoing: &OutgoingReport,
    ) -> Result<(), Error> {
        let known = definition.run.as_ref().and_then(|run| run.mail.clone());
        let draft = match known {
            Some(Mail { draft, sending: true }) => match self.sender.is_sent(&draft).await? {
                Some(true) => return Ok(()),
                Some(false) => draft,
                None => {
                    let message = "somebody removed the mail, or its copy among the sent ones; it is not sent again";
                    return Err(Error::new(ErrorCode::NotFound, message));
                }
            },
            Some(Mail { draft, .. }) => draft,
            None => match self.sender.draft(to, outgoing).await {
                Ok(draft) => draft,
                // Without the right to drafts it is sent at most once, as far as that can be known.
                Err(error) if error.code == ErrorCode::PermissionMissing => {
                    return self.deliver_once(version, definition, delivery, outgoing).await;
                }
                Err(error) => return Err(error),
            },
        };
        if let Some(run) = &mut definition.run {
            run.mail = Some(Mail { draft: draft.clone(), sending: true });
        }
        *version = self.note(version, definition).await?;
        match self.sender.send(&draft).await {
            Err(error) if error.changed == Changed::Unknown => match self.sender.is_sent(&draft).await {
                Ok(Some(true)) => Ok(()),
                _ => Err(error),
            },
            sent => sent,
        }
    }

    /// Whether whoever was on a run died before this process began: nobody else had the store open then.
    fn is_orphan(&self, run: &Run) -> bool {
        !run.waits && self.schedules.tables().was_alone() && run.until - CLAIM < self.started_at
    }
}

/// What went wrong in a run.
#[derive(Default)]
struct Problems {
    list: Vec<String>,
    /// Some of it passes by itself.
    passing: bool,
}

impl Problems {
    fn add(&mut self, what: String, error: &Error) {
        self.list.push(what + &error.message);
        self.passing |= error.code.retry() == Retry::Worthwhile;
    }
}

/// When a definition is due after an instant; `None` for one that no longer reads, which its own page shows.
fn following(definition: &Definition, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let zone = super::zone(&definition.time_zone).ok()?;
    Cron::parse(&definition.schedule).ok()?.next_after(now, zone)
}
