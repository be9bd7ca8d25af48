//! What a definition is: the value of an `s|` row.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ScheduleItem;
use crate::auth::StoredCaller;
use crate::ids::Entropy;
use crate::keyring::{Keyring, KeyringError, Sealed};
use crate::services::reports::request::{Format, ReportRequest};
use crate::services::workflow::{Claim, State, Steps};

/// The arguments of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// Its name; one of the same name is replaced
    pub name: String,
    /// Cron, in the report's time zone: `0 16 * * fri`
    pub schedule: String,
    /// What the report is like
    #[serde(default)]
    pub report: ReportRequest,
    /// Days the report looks back; default 14
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Files; default html
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<Format>>,
    /// Mail addresses
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_to: Option<Vec<String>>,
    /// Teams Workflows address a card is posted to
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
}

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The pattern.
    pub schedule: String,
    /// The zone of the pattern and of the report's days.
    pub time_zone: String,
    /// What the report is like; its plans by id, or none for all.
    pub report: ReportRequest,
    /// Days the report looks back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Its files.
    pub formats: Vec<Format>,
    /// Who gets mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mail_to: Vec<String>,
    /// Where a card is posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Who made it.
    pub by: String,
    /// Whether its name is one of its maker's own: of a maker whom something limits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
    /// Who that is: a run may do what its maker may do then. Without it nothing is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<StoredCaller>,
    /// When the maker was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<DateTime<Utc>>,
    /// Why it does not run any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// When it is due next.
    pub next: DateTime<Utc>,
    /// The run somebody is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// How the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Outcome>,
}

/// A workflow's address: anybody who knows it may post, so it is kept sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The whole address.
    pub url: Sealed,
    /// Its host, for people.
    pub host: String,
}

/// What addresses of workflows are sealed for.
const WEBHOOK: &str = "webhook";

impl Webhook {
    /// Seals an address for the schedule in a row: in another schedule's row it does not open.
    pub(super) fn sealed(
        keyring: &Keyring,
        row: &str,
        url: &str,
        host: String,
        entropy: &Entropy,
    ) -> Result<Self, KeyringError> {
        Ok(Self { url: keyring.seal(&purpose(row), url, entropy)?, host })
    }

    /// The address, for the schedule it was sealed for. Former versions sealed all for one purpose.
    pub(super) fn unsealed(&self, keyring: &Keyring, row: &str) -> Result<String, KeyringError> {
        keyring.unseal(&purpose(row), &self.url).or_else(|_| keyring.unseal(WEBHOOK, &self.url))
    }
}

fn purpose(row: &str) -> String {
    format!("{WEBHOOK}|{row}")
}

/// A run that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The time it was due.
    pub due: DateTime<Utc>,
    /// The call that began it, where that call may come a second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Making the report, whose result is its id, and each delivery; what is attempted of a mail is its draft's immutable id.
    pub steps: Steps<String, Option<String>>,
    /// Who is on it, and whether it waits.
    pub claim: Claim,
}

/// The step that makes the report.
const REPORT: &str = "report";

impl Run {
    pub(super) fn new(due: DateTime<Utc>) -> Self {
        Self { due, by: None, steps: Steps::default(), claim: Claim::default() }
    }

    /// The id of its report, once that is made.
    #[must_use]
    pub fn report(&self) -> Option<&str> {
        match self.steps.state(&REPORT.to_owned()) {
            State::Done(id) => id.as_deref(),
            State::Ahead | State::Attempted(_) => None,
        }
    }

    /// Notes that the report is made.
    pub(super) fn made(&mut self, report: &str) {
        self.steps.done(REPORT.to_owned(), Some(report.to_owned()));
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The time it was due.
    pub due: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Whether everything was made and delivered.
    pub ok: bool,
    /// The report, if it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl Definition {
    /// The key of its row.
    #[must_use]
    pub fn key(&self) -> String {
        super::key(self.own.then_some(self.by.as_str()), &self.name)
    }

    /// Whether it does not run, or ran badly the last time.
    #[must_use]
    pub fn is_stopped_or_failing(&self) -> bool {
        self.stopped.is_some() || self.last.as_ref().is_some_and(|last| !last.ok)
    }

    /// The definition as callers see it.
    #[must_use]
    pub fn shown(&self) -> ScheduleItem {
        ScheduleItem {
            name: self.name.clone(),
            schedule: self.schedule.clone(),
            time_zone: self.time_zone.clone(),
            kind: self.report.kind.unwrap_or_default(),
            plans: self.report.plans.clone().unwrap_or_default(),
            formats: self.formats.clone(),
            mail_to: self.mail_to.clone(),
            webhook_host: self.webhook.as_ref().map(|webhook| webhook.host.clone()),
            next: self.next,
            stopped: self.stopped.clone(),
            last: self.last.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_webhook_address_is_bound_to_its_row() {
        let entropy = Entropy::seeded(1);
        let ring = Keyring::parse(&crate::keyring::generate(&entropy), "tenant").unwrap();
        let url = "https://prod-1.logic.azure.com/x?sig=secret";
        let row = |owner, name| super::super::key(owner, name);
        let weekly = row(None, "Weekly");
        let webhook = Webhook::sealed(&ring, &weekly, url, "prod-1.logic.azure.com".into(), &entropy).unwrap();
        assert_eq!(webhook.unsealed(&ring, &row(None, " weekly ")).unwrap(), url, "however the name is written");
        for another in [row(None, "Another"), row(Some("somebody"), "Weekly")] {
            assert!(webhook.unsealed(&ring, &another).is_err());
        }
        let former = Webhook { url: ring.seal(WEBHOOK, url, &entropy).unwrap(), host: String::new() };
        assert_eq!(former.unsealed(&ring, &weekly).unwrap(), url);
    }
}
