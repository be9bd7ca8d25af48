//! Making, keeping, finding and writing reports for a caller.
//!
//! Long because what a caller may see is decided here once for every way to a report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::archive::{Archive, ReportItem};
use super::build::build;
use super::delivery::ReportSender;
use super::download::{self, Signer};
use super::history::{Outcome, Recorder};
use super::model::Report;
use super::render;
use super::request::{Format, ReportRequest};
use super::schedule::LEASE;
use crate::auth::{Caller, Denied, Gate};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::ids::Entropy;
use crate::keyring::Keyring;
use crate::rows::{Partition, StoreError};
use crate::services::IntoJson;
use crate::services::audit::Audit;
use crate::services::planner::Planner;
use crate::services::planner::facts::PlanFacts;
use crate::services::print_time;
use crate::services::workflow::Leases;
use crate::services::{Environment, Error};

/// Why files that were asked for are not in the answer.
const NO_ADDRESS: &str = "no files: nothing listens here that they could be downloaded from; `resource` has all figures, and \
     `graphgate report --out FILE` writes a file";
/// Reports in a list.
const LISTED: usize = 100;

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The zone of days when a request names none.
    pub time_zone: Tz,
    /// How long reports are kept.
    pub keep: TimeDelta,
    /// The server's public address, for addresses in answers; where it listens if not set.
    pub public_url: Option<String>,
    /// A folder with fonts for scripts the embedded ones lack.
    pub fonts: Option<PathBuf>,
    /// The program that sets PDFs; this one if not set.
    pub typesetter: Option<PathBuf>,
}

/// The report service.
pub struct Reports {
    pub(super) planner: Arc<Planner>,
    /// The schedules, by who made them and name.
    pub(super) schedules: Partition,
    recorder: Recorder,
    pub(super) archive: Archive,
    pub(super) sender: ReportSender,
    signer: Signer,
    pub(super) gate: Arc<Gate>,
    pub(super) audit: Audit,
    pub(super) keyring: Keyring,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) settings: Settings,
    listening_at: OnceLock<String>,
    pub(super) recorded_at: Mutex<Option<DateTime<Utc>>>,
    /// Of runs of schedules.
    pub(super) leases: Leases,
    /// Turns of files that are written for a download.
    turns: Semaphore,
}

/// Whether a report is kept, so that it can be read again and in other formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Files that are written at once for downloads: who has an address has no rate limit.
const AT_ONCE: usize = 4;
/// How long a download waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a caller gets of a new report: how things are, and where the rest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReportReceipt {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The report in a few sentences.
    pub summary: String,
    /// The whole report, where it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Addresses by format, good for 15 minutes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub downloads: BTreeMap<&'static str, String>,
    /// What a reader should know of the data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl IntoJson for ReportReceipt {}

/// The reports a caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReportList {
    /// The reports, the newest first.
    pub reports: Vec<ReportItem>,
    /// Whether these are all.
    pub complete: bool,
    /// When the list was read.
    pub as_of: String,
}

impl IntoJson for ReportList {}

/// A report in a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// What recording the day did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Plans read.
    pub plans: usize,
    /// Plans of which something was new.
    pub changed: usize,
    /// Plans that could not be read.
    pub failed: usize,
}

impl Reports {
    /// Sets the service up.
    #[must_use]
    pub fn new(
        environment: &Environment,
        planner: Arc<Planner>,
        access: (Arc<Gate>, Audit),
        output: (Arc<dyn Blobs>, ReportSender),
        settings: Settings,
    ) -> Self {
        let Environment { tables, clock, entropy, keyring, .. } = environment.clone();
        let ((gate, audit), (blobs, sender)) = (access, output);
        let signer = Signer::new(keyring.clone());
        let archive = Archive::new(&tables, blobs);
        let schedules = tables.partition("schedules");
        let recorder = Recorder::new(tables);
        let leases = Leases::new(&schedules, clock.clone(), entropy.clone(), LEASE);
        Self {
            planner,
            schedules,
            recorder,
            archive,
            sender,
            signer,
            gate,
            audit,
            keyring,
            clock,
            entropy,
            settings,
            listening_at: OnceLock::new(),
            recorded_at: Mutex::default(),
            leases,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Tells where the server listens; addresses in answers begin so unless a public one is configured.
    pub fn listens_at(&self, base: &str) {
        let _ = self.listening_at.set(base.to_owned()); // a second socket of the same server is as good
    }

    /// Makes a report, keeps it, and answers where it is. What is kept is written: for a caller who may only read, the
    /// answer holds the summary alone, and nothing is kept.
    ///
    /// # Errors
    /// Wishes that cannot be met, plans that are not there or not the caller's to see, and a store that fails.
    pub async fn generate(
        &self,
        caller: &Caller,
        request: &ReportRequest,
        formats: &[Format],
        keep: Keep,
    ) -> Result<ReportReceipt, Error> {
        for format in formats {
            can_write(*format)?;
        }
        let report = self.make(caller, request).await?;
        if keep == Keep::No {
            let mut receipt = self.receipt(&report, &[]);
            receipt.resource = None;
            receipt.notes.push("the report is not kept, so there are no files: the caller may only read".to_owned());
            return Ok(receipt);
        }
        self.archive.keep(caller, &report, &caller.name).await?;
        Ok(self.receipt(&report, formats))
    }

    /// Makes a report, and records its plans on the way.
    pub(super) async fn make(&self, caller: &Caller, request: &ReportRequest) -> Result<Report, Error> {
        let now = self.clock.now();
        let options = request.understand(now, self.settings.time_zone)?;
        let named = request.plans.as_deref().unwrap_or_default();
        let mut plans = self.planner.facts(caller, named, options.kind.spans_plans()).await?;
        let mut histories = Vec::with_capacity(plans.len());
        for plan in &mut plans {
            plan.set_zone(self.settings.time_zone); // the days that are recorded are the deployment's
            // A day that cannot be kept is no reason to have no report.
            if let Err(error) = self.record_plan(plan, now).await {
                tracing::warn!(plan = plan.id, %error, "a plan's day cannot be recorded");
            }
            histories.push(self.recorder.read(&plan.id, options.days.from).await?);
            plan.set_zone(options.days.zone);
        }
        let id = self.entropy.ulid(now);
        // Nine thousand tasks take long enough to be in the way of other callers.
        let made = tokio::task::spawn_blocking(move || build(id, &options, &plans, &histories)).await;
        made.map_err(|error| {
            tracing::error!(%error, "a report cannot be made");
            Error::new(ErrorCode::Internal, "a fault of GraphGate; it has been logged")
        })
    }

    async fn record_plan(&self, plan: &PlanFacts, now: DateTime<Utc>) -> Result<Outcome, StoreError> {
        let journal = |after| self.planner.moves(plan, after);
        self.recorder.record(plan, &journal, self.settings.time_zone, now).await
    }

    /// Keeps the counts of the day and what changed, of every plan in use: what the scheduler calls.
    ///
    /// # Errors
    /// When the plans cannot be listed or the store fails.
    pub async fn record(&self) -> Result<Recorded, Error> {
        let mut recorded = Recorded::default();
        for mut plan in self.planner.stored_facts().await? {
            plan.set_zone(self.settings.time_zone);
            recorded.plans += 1;
            match self.record_plan(&plan, self.clock.now()).await {
                Ok(Outcome::Recorded) => recorded.changed += 1,
                Ok(Outcome::NothingNew) => {}
                Err(error) => {
                    tracing::warn!(plan = plan.id, %error, "a plan's day cannot be recorded");
                    recorded.failed += 1;
                }
            }
        }
        Ok(recorded)
    }

    fn receipt(&self, report: &Report, formats: &[Format]) -> ReportReceipt {
        let expires = self.clock.now() + download::LIFE;
        let address = |format: &Format| Some((format.word(), self.address(&report.id, *format, expires)?));
        let downloads: BTreeMap<_, _> = formats.iter().filter_map(address).collect();
        let mut notes = report.notes.clone();
        if downloads.is_empty() && !formats.is_empty() {
            notes.push(NO_ADDRESS.to_owned());
        }
        ReportReceipt {
            id: report.id.clone(),
            title: report.title.clone(),
            summary: report.summary.clone(),
            resource: Some(format!("planner://reports/{}", report.id)),
            downloads,
            notes,
        }
    }

    /// The full address of a report's file.
    /// `None` where no address is known, as over standard input without `PUBLIC_URL`.
    pub(super) fn address(&self, id: &str, format: Format, expires: DateTime<Utc>) -> Option<String> {
        let base = self.settings.public_url.as_ref().or_else(|| self.listening_at.get())?;
        Some(format!("{}{}", base.trim_end_matches('/'), self.signer.address(id, format, expires)))
    }

    /// The reports a caller may see, the newest first.
    ///
    /// # Errors
    /// When the store fails, or the caller's plans cannot be read.
    pub async fn list(&self, caller: &Caller) -> Result<ReportList, Error> {
        let visibility = self.planner.visibility(caller, false).await?;
        let mut reports = self.archive.list().await?;
        reports.retain(|report| report.plan_ids.iter().all(|id| visibility.reaches(id)));
        let complete = reports.len() <= LISTED;
        reports.truncate(LISTED);
        Ok(ReportList { reports, complete, as_of: print_time(self.clock.now()) })
    }

    /// A report whole.
    ///
    /// # Errors
    /// When there is none of that id among those the caller may see.
    pub async fn report(&self, caller: &Caller, id: &str) -> Result<Report, Error> {
        let item = self.archive.item(id).await?.ok_or_else(|| unknown(id))?;
        let visibility = self.planner.visibility(caller, false).await?;
        if !item.plan_ids.iter().all(|id| visibility.reaches(id)) {
            return Err(unknown(id)); // as if it did not exist
        }
        self.archive.read(id).await?.ok_or_else(|| unknown(id))
    }

    /// A report in a format.
    ///
    /// # Errors
    /// As [`Self::report`]; and when the format cannot be written.
    pub async fn file(&self, caller: &Caller, id: &str, format: Format) -> Result<File, Error> {
        can_write(format)?;
        let report = self.report(caller, id).await?;
        let _turn = self.turn().await?;
        self.write(report, format).await
    }

    /// A report in a format, for the holders of its signed address: as long as the one who had it made may see it.
    ///
    /// # Errors
    /// When the address is not good or its maker's rights have ended, or the report is gone.
    pub async fn download(&self, id: &str, format: Format, expires: i64, signature: &str) -> Result<File, Error> {
        self.signer.check(id, format, expires, signature, self.clock.now())?;
        can_write(format)?;
        let kept = self.archive.row(id).await?.ok_or_else(|| unknown(id))?;
        let maker = match &kept.maker {
            Some(maker) => self.gate.restore(maker).await,
            None => Err(Denied::Missing),
        };
        let maker = maker.map_err(|denied| match denied {
            Denied::Unavailable(_) | Denied::NotYet(_) | Denied::Throttled(_) | Denied::Paused => {
                Error::new(ErrorCode::StoreFailed, "whether the address still holds cannot be found out at present")
                    .hint("try again in a moment")
            }
            Denied::Missing | Denied::Refused(_) | Denied::Expired(_) | Denied::Challenged(_) | Denied::Powerless => {
                Error::new(ErrorCode::Unauthenticated, "the person who had the report made may not see it any more")
                    .hint("somebody who may asks for the report again")
            }
        })?;
        let report = self.report(&maker, id).await?;
        let _turn = self.turn().await?;
        self.write(report, format).await
    }

    /// Waits until a file may be written for a download.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        let turn = self.clock.timeout(PATIENCE, self.turns.acquire()).await;
        turn.and_then(Result::ok).ok_or_else(|| Error {
            retry_after: Some(PATIENCE),
            ..Error::new(ErrorCode::Throttled, "too many files of reports are being written")
                .hint("fetch the file again in a few seconds")
        })
    }

    pub(super) async fn write(&self, report: Report, format: Format) -> Result<File, Error> {
        let name = format!("{}.{}", file_name(&report), format.extension());
        let content = match format {
            Format::Pdf => {
                let setter = render::pdf::Setter {
                    program: self.settings.typesetter.clone(),
                    fonts: self.settings.fonts.clone(),
                };
                setter.typeset(&report, &self.clock).await?
            }
            format => {
                let written = tokio::task::spawn_blocking(move || render::write(&report, format)).await;
                written.map_err(|error| {
                    tracing::error!(%error, "a report cannot be written");
                    Error::new(ErrorCode::Internal, "a fault of GraphGate; it has been logged")
                })??
            }
        };
        Ok(File { name, format, content })
    }

    /// Forgets reports and days that are older than they are kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let day = (now - self.settings.keep.max(TimeDelta::days(400))).date_naive();
        for plan in self.planner.stored_facts().await? {
            self.recorder.forget_before(&plan.id, day).await?;
        }
        Ok(self.archive.sweep(now - self.settings.keep).await?)
    }
}

/// Refuses a format this build cannot write.
pub(super) fn can_write(format: Format) -> Result<(), Error> {
    if format == Format::Pdf { render::pdf::available() } else { Ok(()) }
}

/// What a file of the report is called on a machine of any make.
fn file_name(report: &Report) -> String {
    let subject = match report.plans.as_slice() {
        [only] => only.title.as_str(),
        _ => "plans",
    };
    let mut name = format!("{} {subject}", report.kind.word()).to_lowercase();
    name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name: String = name.trim_matches('-').chars().take(60).collect();
    format!("{}-{}", name.trim_end_matches('-'), report.to)
}

fn unknown(id: &str) -> Error {
    let id: String = id.chars().take(40).collect();
    Error::new(ErrorCode::NotFound, format!("there is no report `{id}` you may see"))
        .hint("`GET /api/reports` lists them; reports are deleted after a while")
}
