//! Running what is due.
//!
//! A run that is cut off is taken up again where it stopped, and so is one whose mail could not be sent for a reason that
//! passes. Mail is never sent twice: it is a draft first, whose id is noted before it is sent, and by which it is found
//! when it was. A card has nothing to find it by, so it is posted at most once.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::cron::Cron;
use super::definition::{Definition, Outcome, Run};
use super::no_plans;
use crate::auth::{Caller, Denied, Principal};
use crate::error::{ErrorCode, Retry};
use crate::services::audit::Operation;
use crate::services::reports::delivery::{Delivery, OutgoingReport};
use crate::services::reports::download::LIFE_IN_MESSAGE;
use crate::services::reports::model::Report;
use crate::services::reports::service::{Recorded, Reports};
use crate::services::workflow::{Backoff, State, Versioned};
use crate::services::{Changed, Error};

/// When a run is tried again: 40 times, over some 18 hours.
const BACKOFF: Backoff = Backoff::new(TimeDelta::minutes(1), TimeDelta::minutes(30)).tries(40);
/// How long a person's or an application's roles are believed, which only their own calls tell of.
const UNSEEN: TimeDelta = TimeDelta::days(90);
/// Why a delivery that cannot be looked up is not made.
const GIVEN_UP: &str = "a run before this one was cut off while it delivered, or was not answered; it is not repeated";
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
        for mut kept in self.definitions().await? {
            let now = self.clock.now();
            let definition = &kept.record;
            let is_due = match &definition.run {
                Some(run) => self.leases.is_due(&run.claim),
                None => definition.next <= now,
            };
            if !is_due {
                continue;
            }
            // However many times were missed, the next one lies ahead: they are made up for by this run.
            let Some(next) = following(definition, now) else { continue };
            let maker = match self.maker(definition, now).await {
                Ok(maker) => maker,
                Err(why @ (Denied::Unavailable(_) | Denied::Paused)) => {
                    tracing::warn!(
                        schedule = definition.name,
                        %why,
                        "whether its maker may still run it is not known yet"
                    );
                    continue;
                }
                Err(why) => {
                    self.stop(kept, next, &why).await;
                    report.stopped += 1;
                    continue;
                }
            };
            if self.claim(&mut kept, now, next).await? {
                report.run += 1;
                let ended = self.run_by_time(maker, kept).await?;
                report.failed += usize::from(ended.last.is_none_or(|last| !last.ok));
            } else {
                report.taken += 1;
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
    async fn stop(&self, mut kept: Versioned<Definition>, next: DateTime<Utc>, why: &Denied) {
        let why = match why {
            Denied::Powerless => "its maker may do nothing here any more".to_owned(),
            why => why.to_string(),
        };
        let definition = &mut kept.record;
        tracing::warn!(schedule = definition.name, by = definition.by, why, "a schedule does not run");
        let hint = "the one who may adds it again, or removes it";
        (definition.stopped, definition.next, definition.run) = (Some(format!("{why}; {hint}")), next, None);
        if let Err(error) = kept.write(&self.schedules, Vec::new()).await {
            tracing::warn!(schedule = kept.record.name, %error, "that a schedule does not run cannot be noted");
        }
    }

    /// A run that nobody has called for, with its row in the audit log: of its maker, who is the one it acts for.
    async fn run_by_time(&self, maker: Caller, kept: Versioned<Definition>) -> Result<Definition, Error> {
        let began_at = self.clock.now();
        let noted = self.audit.begin(&Operation {
            caller: &maker,
            name: "scheduled report".to_owned(),
            writes: true,
            arguments: None,
            ids: vec![("schedule", kept.record.name.clone())],
        });
        let maker = noted.of(maker);
        let ended = self.carry_out(&maker, kept).await;
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

    /// Claims a run, one that was cut off as it stands; `false` when another instance was faster.
    pub(super) async fn claim(
        &self,
        kept: &mut Versioned<Definition>,
        now: DateTime<Utc>,
        next: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let due = std::mem::replace(&mut kept.record.next, next).min(now);
        let run = kept.record.run.get_or_insert_with(|| Run::new(due));
        self.leases.take(&mut run.claim);
        Ok(kept.write(&self.schedules, Vec::new()).await?)
    }

    /// Changes a run and stores it.
    ///
    /// # Errors
    /// When another instance has taken the run over, or somebody has changed the definition: theirs stands.
    async fn note(&self, kept: &mut Versioned<Definition>, change: impl FnOnce(&mut Run)) -> Result<(), Error> {
        if let Some(run) = &mut kept.record.run {
            change(run);
            self.leases.renew(&mut run.claim);
        }
        if kept.write(&self.schedules, Vec::new()).await? {
            return Ok(());
        }
        Err(Error::new(ErrorCode::Conflict, "the schedule was changed, or its run taken over by another instance"))
    }

    /// Makes the report, delivers it, and writes down how it went.
    pub(super) async fn carry_out(&self, maker: &Caller, mut kept: Versioned<Definition>) -> Result<Definition, Error> {
        let mut problems = Problems::default();
        if let Err(error) = self.make_and_deliver(maker, &mut kept, &mut problems).await {
            problems.add(String::new(), &error);
        }
        let Problems { list: mut problems, passing } = problems;
        let (now, definition) = (self.clock.now(), &mut kept.record);
        let mut run = definition.run.take().unwrap_or_else(|| Run::new(definition.next));
        let (due, report) = (run.due, run.report().map(str::to_owned));
        if passing && let Some(pause) = run.claim.put_off(now, BACKOFF, &problems.join("; ")) {
            problems.push(format!("what is missing is tried again in {} min", pause.num_minutes()));
            definition.run = Some(run);
        }
        let outcome = Outcome { due, ended: now, ok: problems.is_empty(), report, problems };
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
        match kept.write(&self.schedules, Vec::new()).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(schedule = kept.record.name, "a schedule was changed while it ran"),
            Err(error) => tracing::warn!(schedule = kept.record.name, %error, "how a run ended cannot be noted"),
        }
        Ok(kept.record)
    }

    async fn make_and_deliver(
        &self,
        maker: &Caller,
        kept: &mut Versioned<Definition>,
        problems: &mut Problems,
    ) -> Result<(), Error> {
        let report = self.report_of(maker, kept).await?;
        let definition = &kept.record;
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
            match self.deliver(kept, &delivery, &outgoing).await {
                Ok(Delivered::Before) => {}
                Ok(Delivered::GivenUp) => problems.list.push(format!("{delivery}: {GIVEN_UP}")),
                Ok(Delivered::Now) => {
                    maker.touch("delivered", &delivery.id());
                    self.note(kept, |run| run.steps.done(delivery.id(), None)).await?;
                }
                Err(error) if matches!(delivery, Delivery::Mail(_)) => problems.add(format!("{delivery}: "), &error),
                Err(error) => problems.list.push(format!("{delivery}: {}", error.message)),
            }
        }
        Ok(())
    }

    /// The report of a run: the one that was made before it was cut off, or a new one.
    async fn report_of(&self, maker: &Caller, kept: &mut Versioned<Definition>) -> Result<Report, Error> {
        let definition = &kept.record;
        if let Some(id) = definition.run.as_ref().and_then(Run::report)
            && let Some(report) = self.archive.read(id).await?
        {
            return Ok(report);
        }
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
        self.note(kept, |run| run.made(&report.id)).await?;
        Ok(report)
    }

    /// Delivers a report, or goes on with a delivery that was attempted.
    async fn deliver(
        &self,
        kept: &mut Versioned<Definition>,
        delivery: &Delivery,
        outgoing: &OutgoingReport,
    ) -> Result<Delivered, Error> {
        let id = delivery.id();
        let known = kept.record.run.as_ref().map_or(State::Ahead, |run| run.steps.state(&id));
        match (known, delivery) {
            (State::Done(_), _) => return Ok(Delivered::Before),
            (State::Attempted(Some(draft)), _) => {
                let draft = draft.clone();
                match self.sender.is_sent(&draft).await? {
                    Some(true) => {}
                    Some(false) => self.send(kept, id, draft).await?,
                    None => {
                        let message =
                            "somebody removed the mail, or its copy among the sent ones; it is not sent again";
                        return Err(Error::new(ErrorCode::NotFound, message));
                    }
                }
            }
            (State::Attempted(None), _) => return Ok(Delivered::GivenUp),
            (State::Ahead, Delivery::Mail(to)) => match self.sender.draft(to, outgoing).await {
                Ok(draft) => self.send(kept, id, draft).await?,
                // Without the right to drafts it is sent at most once, as far as that can be known.
                Err(error) if error.code == ErrorCode::PermissionMissing => {
                    self.deliver_once(kept, delivery, outgoing).await?;
                }
                Err(error) => return Err(error),
            },
            (State::Ahead, Delivery::Card(_)) => self.deliver_once(kept, delivery, outgoing).await?,
        }
        Ok(Delivered::Now)
    }

    /// Delivers what cannot be looked for afterwards: once it is attempted it is given up.
    async fn deliver_once(
        &self,
        kept: &mut Versioned<Definition>,
        delivery: &Delivery,
        outgoing: &OutgoingReport,
    ) -> Result<(), Error> {
        self.note(kept, |run| run.steps.attempt(delivery.id(), None)).await?;
        self.sender.deliver(delivery, outgoing).await
    }

    /// Sends a draft: what was lost before, it is sent once.
    async fn send(&self, kept: &mut Versioned<Definition>, delivery: String, draft: String) -> Result<(), Error> {
        self.note(kept, |run| run.steps.attempt(delivery, Some(draft.clone()))).await?;
        match self.sender.send(&draft).await {
            Err(error) if error.changed == Changed::Unknown => match self.sender.is_sent(&draft).await {
                Ok(Some(true)) => Ok(()),
                _ => Err(error),
            },
            sent => sent,
        }
    }
}

/// Which run has delivered.
enum Delivered {
    /// This one.
    Now,
    /// One before it, which was cut off later.
    Before,
    /// Perhaps one before it.
    GivenUp,
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
