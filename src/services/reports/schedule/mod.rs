//! Reports that make themselves: definitions with a schedule, run by a timer on whichever instance comes first.
//!
//! A definition is one row, and its run stands in it, claimed as every [`workflow`](crate::services::workflow) is: what a
//! run writes and what its maker changes exclude each other. What was missed while nothing ran is made up for by one
//! run, not by one for each time missed. Each delivery is a step of the run, so that one taken over after a crash
//! repeats none that may have reached somebody.

pub mod cron;
mod definition;
mod run;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use definition::{Definition, Outcome, ScheduleRequest, Webhook};

use self::cron::Cron;
use self::definition::Run;
use super::request::zone;
use super::service::{Reports, can_write};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::rows::{Expect, Write};
use crate::services::Error;
use crate::services::IntoJson;
use crate::services::planner::Visibility;
use crate::services::print_time;
use crate::services::workflow::Versioned;
use chrono::{DateTime, TimeDelta, Utc};

/// How long who claimed a run is believed to be on it: longer than a job may take.
pub(super) const LEASE: TimeDelta = TimeDelta::minutes(10);
/// Most definitions of a deployment.
const MOST: usize = 200;
/// A definition that has been due for so long, and that nobody runs, is overdue.
const OVERDUE: TimeDelta = TimeDelta::minutes(10);
/// Most definitions of one caller.
const MOST_OF_ONE: usize = 50;
/// How often it is noted that a definition's maker has called.
const SEEN_EVERY: TimeDelta = TimeDelta::days(1);
/// Most recipients of one.
const RECIPIENTS: usize = 50;

/// A definition as callers see it: addresses of webhooks hold secrets and are not shown whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleItem {
    /// Its name.
    pub name: String,
    /// The pattern: minute, hour, day of month, month, day of week.
    pub schedule: String,
    /// The zone of the pattern.
    pub time_zone: String,
    /// What about.
    #[serde(rename = "type")]
    pub kind: super::request::Kind,
    /// Plans, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<String>,
    /// Files attached or linked.
    pub formats: Vec<super::Format>,
    /// Who gets mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mail_to: Vec<String>,
    /// The host a card is posted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_host: Option<String>,
    /// When it is due next.
    pub next: DateTime<Utc>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Outcome>,
}

impl IntoJson for ScheduleItem {}

/// The definitions a caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ScheduleList {
    /// The definitions, by name.
    pub schedules: Vec<ScheduleItem>,
    /// Whether these are all.
    pub complete: bool,
    /// When the list was read.
    pub as_of: String,
}

impl IntoJson for ScheduleList {}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ScheduleRemoved {
    /// Its name.
    pub removed: String,
}

impl IntoJson for ScheduleRemoved {}

/// The row key of a name: of a caller whom something limits, among that caller's own, so that a name tells nothing of
/// others' schedules.
fn key(owner: Option<&str>, name: &str) -> String {
    let name = name.trim().to_lowercase();
    let digest = match owner {
        Some(owner) => crate::ids::digest(&["schedule", owner, &name]),
        None => crate::ids::digest(&["schedule", &name]),
    };
    format!("s|{digest:032x}")
}

impl Reports {
    /// Adds a definition, or replaces the one of its name.
    ///
    /// # Errors
    /// What would make every run fail is refused now: a pattern, zone, plan, format or recipient that cannot be.
    pub async fn schedule(&self, caller: &Caller, request: &ScheduleRequest) -> Result<ScheduleItem, Error> {
        let definition = self.define(caller, request).await?;
        let known = self.schedules.get(&definition.key()).await?;
        if known.is_none() {
            let all = self.definitions().await?;
            let own = all.iter().filter(|other| other.record.by == caller.name).count();
            if all.len() >= MOST || own >= MOST_OF_ONE {
                let message = if own >= MOST_OF_ONE {
                    format!("you have {MOST_OF_ONE} schedules already")
                } else {
                    format!("there are {MOST} schedules already")
                };
                return Err(
                    Error::new(ErrorCode::LimitExceeded, message).hint("remove one that is not needed any more")
                );
            }
        }
        let expect = known.map_or(Expect::Absent, |row| Expect::Version(row.version));
        self.commit_of(caller, &definition, Write::put(definition.key(), expect, &definition)?).await?;
        Ok(definition.shown())
    }

    /// Commits a caller's write of a definition, with its row for the audit log.
    async fn commit_of(&self, caller: &Caller, definition: &Definition, write: Write) -> Result<(), Error> {
        for plan in definition.report.plans.iter().flatten() {
            caller.touch("plan_id", plan);
        }
        let trace = caller.trace(self.schedules.name(), &[("schedule", &definition.name)])?;
        self.schedules.commit(std::iter::once(write).chain(trace).collect()).await?;
        Ok(())
    }

    async fn define(&self, caller: &Caller, request: &ScheduleRequest) -> Result<Definition, Error> {
        let name = request.name.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() || name.chars().count() > 80 {
            return Err(Error::invalid("`name` has 1 to 80 characters"));
        }
        let zone = request.report.time_zone.as_deref().map(zone).transpose()?.unwrap_or(self.settings.time_zone);
        let cron = Cron::parse(&request.schedule)?;
        let now = self.clock.now();
        let options = request.report.understand(now, zone)?;
        if request.report.from.is_some() || request.report.to.is_some() {
            return Err(Error::invalid("a schedule's period ends on the day it runs")
                .hint("leave `from` and `to` out, or set `days`"));
        }
        let formats = request.formats.clone().unwrap_or_else(|| vec![super::Format::Html]);
        formats.iter().try_for_each(|format| can_write(*format))?;
        let mail_to = request.mail_to.clone().unwrap_or_default();
        if mail_to.len() > RECIPIENTS {
            return Err(Error::new(ErrorCode::LimitExceeded, format!("more than {RECIPIENTS} recipients")));
        }
        self.sender.check(&mail_to, request.webhook_url.as_deref())?;
        // The plans are those the caller may see now: a run has no caller to ask for.
        let named = request.report.plans.clone().unwrap_or_default();
        let everything = named.is_empty() && options.kind.spans_plans() && caller.plan_scope.is_everywhere();
        let mut report = request.report.clone();
        report.plans = None;
        if !everything {
            let plans = self.planner.facts(caller, &named, options.kind.spans_plans()).await?;
            if plans.is_empty() {
                return Err(no_plans());
            }
            report.plans = Some(plans.into_iter().map(|plan| plan.id).collect());
        }
        let next = cron.next_after(now, zone).ok_or_else(|| Error::invalid("the schedule never comes due"))?;
        let everywhere = caller.plan_scope.is_everywhere();
        let row = key((!everywhere).then_some(caller.name.as_str()), &name);
        Ok(Definition {
            name,
            schedule: request.schedule.split_whitespace().collect::<Vec<_>>().join(" "),
            time_zone: zone.name().to_owned(),
            report,
            days: request.days.map(|days| days.clamp(1, 366)),
            formats,
            mail_to,
            webhook: request.webhook_url.as_deref().map(|url| self.seal(&row, url)).transpose()?,
            by: caller.name.clone(),
            own: !everywhere,
            maker: Some(caller.stored()),
            seen: Some(now),
            stopped: None,
            next,
            run: None,
            last: None,
        })
    }

    fn seal(&self, row: &str, url: &str) -> Result<Webhook, Error> {
        let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let sealed = Webhook::sealed(&self.keyring, row, url, host, &self.entropy);
        sealed.map_err(|error| Error::new(ErrorCode::Internal, error.to_string()))
    }

    pub(super) async fn definitions(&self) -> Result<Vec<Versioned<Definition>>, Error> {
        let mut found = Versioned::<Definition>::scan(&self.schedules, "s|").await?;
        found.sort_by_key(|definition| definition.record.name.to_lowercase());
        Ok(found)
    }

    /// How the definitions are, for health.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn schedule_health(&self) -> Result<ScheduleHealth, Error> {
        let (all, now) = (self.definitions().await?, self.clock.now());
        let count = |is: &dyn Fn(&Definition) -> bool| all.iter().filter(|definition| is(&definition.record)).count();
        Ok(ScheduleHealth {
            schedules: all.len(),
            failing: count(&|definition| definition.is_stopped_or_failing()),
            overdue: count(&|definition| definition.run.is_none() && now - definition.next > OVERDUE),
        })
    }

    /// The definitions a caller may see.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_schedules(&self, caller: &Caller) -> Result<ScheduleList, Error> {
        let all = self.definitions().await?;
        let mut schedules = Vec::new();
        for definition in all.into_iter().filter(|definition| may_touch(caller, &definition.record)) {
            let mut item = self.see_maker(caller, definition).await?.shown();
            if self.sender.may_not_deliver() {
                item.stopped =
                    Some("the deployment is read-only (`READ_ONLY`): it runs once that may write".to_owned());
            }
            schedules.push(item);
        }
        Ok(ScheduleList { schedules, complete: true, as_of: print_time(self.clock.now()) })
    }

    /// Removes a definition. Reports it made are kept as long as others.
    ///
    /// # Errors
    /// When there is none of that name among the caller's.
    pub async fn unschedule(&self, caller: &Caller, name: &str) -> Result<ScheduleRemoved, Error> {
        let definition = self.named(caller, name).await?;
        self.commit_of(caller, &definition.record, definition.deletion()).await?;
        Ok(ScheduleRemoved { removed: definition.record.name })
    }

    /// Runs a definition now, besides its schedule.
    ///
    /// # Errors
    /// When there is none of that name among the caller's, or it is running.
    pub async fn run_schedule(&self, caller: &Caller, name: &str) -> Result<ScheduleItem, Error> {
        self.run_schedule_once(caller, name, None).await
    }

    /// As [`Self::run_schedule`], for a call that may come a second time under the same key: a run of its own that was cut
    /// off goes on.
    ///
    /// # Errors
    /// As [`Self::run_schedule`].
    pub async fn run_schedule_once(
        &self,
        caller: &Caller,
        name: &str,
        key: Option<&str>,
    ) -> Result<ScheduleItem, Error> {
        let mut kept = self.named(caller, name).await?;
        let definition = &mut kept.record;
        // Its plans were the caller's when it was made.
        let plans = definition.report.plans.as_deref().unwrap_or_default();
        let sees_all = |visibility: &Visibility| plans.iter().all(|plan| visibility.reaches(plan));
        let allowed = if plans.is_empty() {
            caller.plan_scope.is_everywhere()
        } else {
            sees_all(&self.planner.visibility(caller, false).await?)
                || sees_all(&self.planner.visibility(caller, true).await?)
        };
        if !allowed {
            let message = format!("`{}` reports on plans you may not use any more; nothing was sent", definition.name);
            return Err(Error::new(ErrorCode::PlanNotFound, message));
        }
        let now = self.clock.now();
        let own = |run: &Run| key.is_some() && run.by.as_deref() == key;
        if definition.run.as_ref().is_some_and(|run| self.leases.is_held(&run.claim) && !own(run)) {
            return Err(Error::new(ErrorCode::Conflict, format!("`{}` is running", definition.name))
                .hint("look again in a minute"));
        }
        let next = definition.next;
        definition.run.get_or_insert_with(|| Run::new(next.min(now))).by = key.map(str::to_owned);
        if !self.claim(&mut kept, now, next).await? {
            return Err(Error::new(ErrorCode::Conflict, "another instance has just begun to run it"));
        }
        Ok(self.carry_out(caller, kept).await?.shown())
    }

    /// Notes that a definition's maker has called: the roles it comes with now are those a run has.
    async fn see_maker(&self, caller: &Caller, mut kept: Versioned<Definition>) -> Result<Definition, Error> {
        let now = self.clock.now();
        let who = Some(caller.stored());
        let definition = &mut kept.record;
        let recent = definition.seen.is_some_and(|seen| now - seen < SEEN_EVERY);
        if definition.by != caller.name || (recent && definition.maker == who) || definition.run.is_some() {
            return Ok(kept.record);
        }
        (definition.maker, definition.seen) = (who, Some(now));
        if let Err(error) = kept.write(&self.schedules, Vec::new()).await {
            tracing::debug!(schedule = kept.record.name, %error, "that its maker called cannot be noted");
        }
        Ok(kept.record)
    }

    async fn named(&self, caller: &Caller, name: &str) -> Result<Versioned<Definition>, Error> {
        let unknown = || {
            Error::new(
                ErrorCode::NotFound,
                format!("there is no schedule `{}` of yours", name.chars().take(80).collect::<String>()),
            )
            .hint("`list_report_schedules` names them")
        };
        let everywhere = caller.plan_scope.is_everywhere();
        let own = key((!everywhere).then_some(caller.name.as_str()), name);
        if let Some(definition) = Versioned::get(&self.schedules, &own).await? {
            return Ok(definition);
        }
        if !everywhere {
            // One of before the caller was limited.
            let known = Versioned::<Definition>::get(&self.schedules, &key(None, name)).await?;
            return known.filter(|definition| definition.record.by == caller.name).ok_or_else(unknown);
        }
        let name_key = name.trim().to_lowercase();
        let mut found = self.definitions().await?;
        found.retain(|other| other.record.name.to_lowercase() == name_key);
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => {
                Err(Error::new(ErrorCode::AmbiguousName, format!("several callers have a schedule `{name}`"))
                    .hint("the one who made it changes or removes it"))
            }
            (None, _) => Err(unknown()),
        }
    }
}

/// How the definitions are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScheduleHealth {
    /// All of them.
    pub schedules: usize,
    /// Those that have stopped, or ended badly the last time.
    pub failing: usize,
    /// Those that are due and do not run: no timer works.
    pub overdue: usize,
}

/// A schedule over no plan: named to a run, no plans would be all of them.
fn no_plans() -> Error {
    Error::new(ErrorCode::PlanNotFound, "there is no plan you may use, so there is nothing to report")
}

/// Whether a definition is a caller's: their own, or anybody's to those whom nothing limits.
fn may_touch(caller: &Caller, definition: &Definition) -> bool {
    caller.plan_scope.is_everywhere() || definition.by == caller.name
}
