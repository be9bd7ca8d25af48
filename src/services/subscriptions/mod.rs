//! Subscriptions to change notifications: what should be watched, and that it is.
//!
//! What is wanted comes from the settings and from callers and stands in rows; the [`SubscriptionReconciler`] makes Graph agree with
//! it. Planner itself tells nobody of changes: a plan is watched through its group, and refreshed when the group changes.

mod decide;
mod reconciler;
mod record;
mod remote;
mod target;
mod view;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use url::Url;

pub use reconciler::{Resync, Status, SubscriptionReconciler};
pub use record::{Cause, Gap, Origin, Record, SubscriptionStore, Wanted};
pub use remote::{Found, GraphSubscriptions, Receiver, Refusal, Remote};
pub use target::{Content, KINDS, Kind, Part, SubscriptionSpec, Target};
pub use view::{ListedSubscriptions, NamedSubscription, ShownGap, ShownSubscription};

use super::directory::Directory;
use super::planner::Planner;
use super::workflow::Versioned;
use super::{Environment, Error};
use crate::auth::{Denied, Gate};
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::ids::Entropy;
use crate::rows::StoreError;

/// The toolset that subscriptions belong to.
pub const TOOLSET: &str = "subscriptions";
/// Where notifications arrive, below the public address.
pub const NOTIFICATIONS_PATH: &str = "/api/graph_webhook";
/// Where lifecycle notifications arrive.
pub const LIFECYCLE_PATH: &str = "/api/graph_webhook/lifecycle";

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What is to be watched.
    pub specs: Vec<SubscriptionSpec>,
    /// The program's address as Graph reaches it; where it listens if unset.
    pub public_url: Option<Url>,
}

/// The service.
pub struct Subscriptions {
    reconciler: SubscriptionReconciler,
    planner: Arc<Planner>,
    directory: Arc<Directory>,
    gate: Arc<Gate>,
    config: Config,
    certificate: Option<(String, String)>,
    /// Where the program listens: known once it does.
    listening: OnceLock<Url>,
    clock: Clock,
    entropy: Entropy,
}

/// What the service is built from besides the planner and its settings.
pub struct Parts {
    /// Says what those who wanted something may still do.
    pub gate: Arc<Gate>,
    /// Who and which groups are named.
    pub directory: Arc<Directory>,
    /// Graph's side.
    pub remote: Arc<dyn Remote>,
    /// Id and base64 of the certificate for notifications with content.
    pub certificate: Option<(String, String)>,
}

/// Refreshes plans, and forgets names.
struct PlannerResync(Arc<Planner>);

#[async_trait]
impl Resync for PlannerResync {
    async fn resync(&self, target: &Target) -> Result<(), Error> {
        if let Some(group) = target.group() {
            self.0.refresh_group(&group).await.map(drop)
        } else if matches!(target.kind, Kind::Groups | Kind::Users | Kind::User) {
            self.0.forget_names();
            Ok(())
        } else {
            Ok(())
        }
    }
}

impl Subscriptions {
    /// The service; nothing is asked yet.
    #[must_use]
    pub fn new(environment: &Environment, planner: Arc<Planner>, config: Config, parts: Parts) -> Self {
        let Environment { tables, clock, entropy, .. } = environment.clone();
        let Parts { gate, directory, remote, certificate } = parts;
        let store = SubscriptionStore::new(&tables);
        let reconciler = SubscriptionReconciler::new(
            store,
            remote,
            Arc::new(PlannerResync(planner.clone())),
            clock.clone(),
            entropy.clone(),
        );
        Self { reconciler, planner, directory, gate, config, certificate, listening: OnceLock::new(), clock, entropy }
    }

    /// Whether the settings name anything.
    #[must_use]
    pub fn are_declared(&self) -> bool {
        !self.config.specs.is_empty()
    }

    /// Notes where the program listens, for deployments that name no public address.
    pub fn listens_at(&self, address: std::net::SocketAddr) {
        if let Ok(url) = Url::parse(&format!("http://{address}/")) {
            let _ = self.listening.set(url);
        }
    }

    /// The address Graph reaches the program at.
    #[must_use]
    pub fn public_url(&self) -> Option<&Url> {
        self.config.public_url.as_ref().or_else(|| self.listening.get())
    }

    /// What is remembered.
    #[must_use]
    pub fn store(&self) -> &SubscriptionStore {
        &self.reconciler.store
    }

    fn receiver(&self) -> Result<Receiver, Error> {
        let base = self.public_url().map(|url| url.as_str().trim_end_matches('/').to_owned()).ok_or_else(|| {
            Error::new(ErrorCode::Configuration, "it is not known where Graph reaches this program")
                .hint("set `PUBLIC_URL` to its https address")
        })?;
        Ok(Receiver {
            url: format!("{base}{NOTIFICATIONS_PATH}"),
            lifecycle_url: format!("{base}{LIFECYCLE_PATH}"),
            certificate: self.certificate.clone(),
        })
    }

    /// Makes Graph agree with what is wanted: what the timer calls.
    ///
    /// # Errors
    /// When the store fails, or nothing can be subscribed because the program's address is not known.
    pub async fn renew(&self) -> Result<Status, Error> {
        if self.reconciler.is_read_only() {
            return Ok(Status::default()); // Graph's subscriptions run out; the gap is made up for later
        }
        let undeclared = self.declare().await?;
        self.end_those_of_ended_callers().await?;
        let mut status = match self.receiver() {
            Ok(receiver) => self.reconciler.run(&receiver).await?,
            Err(_) if self.store().all().await?.is_empty() => Status::default(),
            Err(error) => return Err(error),
        };
        status.failed += undeclared;
        Ok(status)
    }

    /// Acts on one subscription at once.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn attend_to(&self, key: &str) -> Result<Status, Error> {
        if self.reconciler.is_read_only() {
            return Ok(Status::default());
        }
        self.reconciler.attend_to(key, &self.receiver()?).await
    }

    /// Changes a record, even where another instance changes it meanwhile; answers whether there is one.
    pub(super) async fn note(&self, key: &str, change: impl Fn(&mut Record)) -> Result<bool, Error> {
        for _ in 0..5 {
            let Some(mut kept) = self.store().get(key).await? else { return Ok(false) };
            change(&mut kept.record);
            kept.record.claim.release();
            let gap = kept.record.gap.clone();
            if self.store().replace(&kept, gap.as_slice()).await?.is_some() {
                return Ok(true);
            }
        }
        Err(changed_by_others())
    }

    /// Notes that notifications may be missing. After [`Cause::Removed`] the subscription is made again, after any other
    /// it lives on and is resynced.
    pub(super) async fn note_gap(
        &self,
        key: &str,
        cause: Cause,
        began_at: chrono::DateTime<chrono::Utc>,
    ) -> Result<bool, Error> {
        let now = self.clock.now();
        self.note(key, |record| {
            record.open_gap(cause, began_at, now, &self.entropy);
            if cause == Cause::Removed {
                record.live = None;
            } else {
                record.end_gap(now);
            }
        })
        .await
    }

    /// Writes records for what the settings name, and gives up those of settings that no longer do. Answers how many
    /// specs could not be understood yet: a name Graph cannot be asked for now keeps its record.
    async fn declare(&self) -> Result<usize, Error> {
        let mut kept = self.store().all().await?;
        let (mut keys, mut failed) = (Vec::new(), 0);
        for spec in &self.config.specs {
            match self.resolve(spec).await {
                Ok((target, label)) => {
                    keys.push(target.key());
                    let record = Record::new(target, label, Origin::Settings, self.clock.now());
                    self.ensure(record).await?;
                }
                Err(error) => {
                    failed += 1;
                    tracing::warn!(kind = spec.kind.facts().name, %error, "a declared subscription cannot be made");
                }
            }
        }
        if failed > 0 {
            return Ok(failed);
        }
        let over = |kept: &&mut Versioned<Record>| {
            kept.record.origin == Origin::Settings
                && kept.record.wanted == Wanted::Yes
                && !keys.contains(&kept.record.target.key())
        };
        for kept in kept.iter_mut().filter(over) {
            self.give_up(kept).await?;
        }
        Ok(0)
    }

    /// Gives up what callers wanted who may not watch anything any more: a key revoked, a role gone.
    async fn end_those_of_ended_callers(&self) -> Result<(), Error> {
        for mut kept in self.store().all().await? {
            let Some(maker) = kept.record.maker.clone().filter(|_| kept.record.wanted == Wanted::Yes) else { continue };
            let why = match self.gate.restore(&maker).await {
                Ok(caller) if caller.plan_scope.is_everywhere() && caller.may_write(TOOLSET) => continue,
                Err(Denied::Unavailable(_) | Denied::Paused) => continue,
                Ok(_) => "its maker may not watch anything any more".to_owned(),
                Err(why) => why.to_string(),
            };
            tracing::warn!(subscription = kept.record.target.key(), by = maker.name, why, "a subscription ends");
            kept.record.claim.reason = Some(why);
            self.give_up(&mut kept).await?;
        }
        Ok(())
    }

    /// Makes sure there is a record and it is wanted; answers whether that changed anything.
    async fn ensure(&self, record: Record) -> Result<bool, Error> {
        let Some(mut kept) = self.store().get(&record.target.key()).await? else {
            return match self.store().insert(&record).await {
                Ok(()) => Ok(true),
                Err(StoreError::Conflict { .. }) => Ok(false), // another instance was faster
                Err(error) => Err(error.into()),
            };
        };
        if kept.record.wanted == Wanted::Yes {
            return Ok(false);
        }
        kept.record.wanted = Wanted::Yes;
        (kept.record.origin, kept.record.maker) = (record.origin, record.maker);
        Ok(self.store().replace(&kept, &[]).await?.is_some())
    }

    /// Has a subscription deleted at the next chance; `false` when another instance was faster.
    async fn give_up(&self, kept: &mut Versioned<Record>) -> Result<bool, Error> {
        kept.record.wanted = Wanted::No;
        if !self.reconciler.leases.is_held(&kept.record.claim) {
            kept.record.claim.release();
        }
        Ok(self.store().replace(kept, &[]).await?.is_some())
    }

    /// Turns a spec's names into ids.
    async fn resolve(&self, spec: &SubscriptionSpec) -> Result<(Target, String), Error> {
        let facts = spec.kind.facts();
        let (mut ids, mut labels) = (Vec::new(), Vec::new());
        for (part, name) in facts.names.iter().zip(&spec.names) {
            let (id, label) = match part {
                Part::Group => self.planner.find_group(name).await?,
                Part::User => {
                    let person = self.directory.people.resolve(name).await?;
                    (person.id.to_string(), person.name.clone())
                }
                Part::Id => (name.clone(), name.clone()),
            };
            ids.push(id);
            labels.push(label);
        }
        let target = Target::new(spec.kind, ids, spec.content)?;
        let label = if labels.is_empty() { facts.name.to_owned() } else { labels.join(" / ") };
        Ok((target, label))
    }
}

fn changed_by_others() -> Error {
    Error::new(ErrorCode::Conflict, "others keep changing the subscription")
}
