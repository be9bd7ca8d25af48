//! The reconciler over months: a stand-in for Graph that fails, forgets and loses answers, and a clock the test moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use graphgate::clock::{Clock, ManualClock};
use graphgate::error::ErrorCode;
use graphgate::graph::subscriptions::NewSubscription;
use graphgate::ids::Entropy;
use graphgate::rows::TenantTables;
use graphgate::services::Error;
use graphgate::services::subscriptions::{
    Cause, Content, Found, Kind, Origin, Receiver, Record, Refusal, Remote, Resync, SubscriptionReconciler,
    SubscriptionStore, Target, Wanted,
};
use graphgate::store::MemoryTables;

const TENANT: &str = "t";
const USER: &str = "02bd9fd6-8f93-4758-87c3-1fb73740a315";

#[derive(Default)]
struct Told {
    live: Vec<Found>,
    /// Times without a subscription, by resource: from when until when.
    lapses: Vec<(String, DateTime<Utc>, Option<DateTime<Utc>>)>,
    resyncs: Vec<(String, DateTime<Utc>)>,
    made: u32,
    most_alike: usize,
}

/// Graph, and the world behind it.
struct World {
    clock: Clock,
    entropy: Entropy,
    failing: f64,
    told: Mutex<Told>,
}

impl World {
    fn expire(&self, told: &mut Told) {
        let now = self.clock.now();
        let (live, over): (Vec<_>, Vec<_>) = told.live.drain(..).partition(|found| found.expires_at > now);
        told.live = live;
        told.lapses.extend(over.into_iter().map(|found| (found.resource, found.expires_at, None)));
    }

    /// Whether a call fails, and if so, whether it has its effect all the same.
    fn fate(&self) -> (bool, bool) {
        let fails = self.entropy.fraction() < self.failing;
        (fails, !fails || self.entropy.fraction() < 0.5)
    }

    /// Graph forgets a subscription.
    fn forget_one(&self) {
        let mut told = self.told.lock().unwrap();
        self.expire(&mut told);
        if let Some(found) = told.live.pop() {
            told.lapses.push((found.resource, self.clock.now(), None));
        }
    }
}

fn lost() -> Refusal {
    Refusal::Other(Error::new(ErrorCode::GraphFailed, "no answer").perhaps_changed())
}

#[async_trait]
impl Remote for World {
    async fn list(&self) -> Result<Vec<Found>, Error> {
        tokio::task::yield_now().await;
        let mut told = self.told.lock().unwrap();
        self.expire(&mut told);
        if self.fate().0 {
            return Err(Error::new(ErrorCode::GraphFailed, "no answer"));
        }
        Ok(told.live.clone())
    }

    async fn create(&self, new: &NewSubscription) -> Result<Found, Refusal> {
        tokio::task::yield_now().await;
        let (fails, happens) = self.fate();
        let mut told = self.told.lock().unwrap();
        self.expire(&mut told);
        if !happens {
            return Err(lost());
        }
        if told.live.iter().any(|found| found.resource == new.resource) {
            return Err(Refusal::Exists);
        }
        told.made += 1;
        let found = Found {
            id: told.made.to_string(),
            resource: new.resource.clone(),
            url: new.notification_url.clone(),
            expires_at: new.expires_at,
        };
        let now = self.clock.now();
        for (_, _, end) in
            told.lapses.iter_mut().filter(|(resource, _, end)| *resource == new.resource && end.is_none())
        {
            *end = Some(now);
        }
        told.live.push(found.clone());
        let alike = told.live.iter().filter(|found| found.resource == new.resource).count();
        told.most_alike = told.most_alike.max(alike);
        if fails { Err(lost()) } else { Ok(found) }
    }

    async fn renew(&self, id: &str, until: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
        tokio::task::yield_now().await;
        let (fails, happens) = self.fate();
        let mut told = self.told.lock().unwrap();
        self.expire(&mut told);
        if !happens {
            return Err(lost());
        }
        let found = told.live.iter_mut().find(|found| found.id == id).ok_or(Refusal::Gone)?;
        found.expires_at = until;
        if fails { Err(lost()) } else { Ok(until) }
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        let mut told = self.told.lock().unwrap();
        self.expire(&mut told);
        told.live.retain(|found| found.id != id);
        Ok(())
    }
}

#[async_trait]
impl Resync for World {
    async fn resync(&self, target: &Target) -> Result<(), Error> {
        if self.fate().0 {
            return Err(Error::new(ErrorCode::GraphFailed, "no answer"));
        }
        self.told.lock().unwrap().resyncs.push((target.resource(), self.clock.now()));
        Ok(())
    }
}

fn targets() -> Vec<Target> {
    let target = |kind, ids: &[&str]| {
        Target::new(kind, ids.iter().map(|id| (*id).to_owned()).collect(), Content::Without).unwrap()
    };
    vec![
        target(Kind::Group, &[USER]),
        target(Kind::Users, &[]),
        target(Kind::Mail, &[USER]),
        target(Kind::Chat, &["19:chat@thread.v2"]),
        target(Kind::Todo, &[USER, "list"]),
    ]
}

struct Setting {
    source: Arc<ManualClock>,
    clock: Clock,
    world: Arc<World>,
    reconcilers: Vec<SubscriptionReconciler>,
    receiver: Receiver,
}

fn setting(seed: u64, instances: u64, failing: f64) -> Setting {
    let source = ManualClock::at(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    let clock = Clock::from_source(source.clone());
    let world = World { clock: clock.clone(), entropy: Entropy::seeded(seed), failing, told: Mutex::default() };
    let world = Arc::new(world);
    let tables = Arc::new(MemoryTables::default());
    let reconciler = |number: u64| {
        let store = SubscriptionStore::new(&TenantTables::new(tables.clone(), TENANT));
        SubscriptionReconciler::new(
            store,
            world.clone(),
            world.clone(),
            clock.clone(),
            Entropy::seeded(seed * 100 + number),
        )
    };
    let reconcilers = (0..instances).map(reconciler).collect();
    let url = "https://h/api/graph_webhook".to_owned();
    let receiver = Receiver { lifecycle_url: format!("{url}/lifecycle"), url, certificate: None };
    Setting { source, clock, world, reconcilers, receiver }
}

impl Setting {
    async fn declare(&self) {
        for target in targets() {
            let record = Record::new(target, "x".into(), Origin::Settings, self.clock.now());
            self.reconcilers[0].store.insert(&record).await.unwrap();
        }
    }

    async fn run(&self) {
        futures::future::join_all(
            self.reconcilers.iter().map(|reconciler| async { reconciler.run(&self.receiver).await.unwrap() }),
        )
        .await;
    }
}

const QUARTER: Duration = Duration::from_mins(15);

/// 90 days, a run every quarter of an hour, 30 % of all calls failing, half of those with effect; nobody there for up to
/// six hours about every third day; Graph forgets a subscription about every second day.
async fn no_lapse_goes_unnoticed(seed: u64, instances: u64) {
    let setting = setting(seed, instances, 0.3);
    setting.declare().await;
    let chance = Entropy::seeded(seed + 7);
    let (mut down_until, mut outages) = (setting.clock.now(), Vec::new());
    for _ in 0..90 * 96 {
        setting.source.advance(QUARTER);
        if chance.fraction() < 1.0 / 192.0 {
            setting.world.forget_one();
        }
        let now = setting.clock.now();
        if now < down_until {
            continue;
        }
        if chance.fraction() < 1.0 / 288.0 {
            down_until = now + TimeDelta::minutes(15 * (1 + (chance.number() % 24).cast_signed()));
            outages.push((now, down_until));
            continue;
        }
        setting.run().await;
    }
    for _ in 0..96 {
        setting.source.advance(QUARTER);
        setting.run().await;
    }
    let store = &setting.reconcilers[0].store;
    let (gaps, kept) = (store.gaps().await.unwrap(), store.all().await.unwrap());
    let told = setting.world.told.lock().unwrap();
    assert_eq!(told.most_alike, 1);
    assert!(told.lapses.len() > 20 && outages.len() > 10, "{} lapses, {} outages", told.lapses.len(), outages.len());
    let keys: BTreeMap<String, String> = targets().iter().map(|target| (target.resource(), target.key())).collect();
    for (resource, from, until) in &told.lapses {
        let until = until.unwrap_or_else(|| panic!("{resource} lapsed at {from} and was never made again"));
        let covers = |gap: &&graphgate::services::subscriptions::Gap| {
            gap.record == keys[resource] && gap.began_at <= *from && gap.ended_at.is_some_and(|end| end >= until)
        };
        let gap = gaps.iter().find(covers);
        let gap = gap.unwrap_or_else(|| panic!("seed {seed}: {resource} from {from} until {until}: in no gap"));
        let resynced_at = gap.resynced_at.expect("made up for");
        assert!(resynced_at >= gap.ended_at.unwrap());
        assert!(told.resyncs.iter().any(|(what, at)| what == resource && *at >= until), "{resource} {until}");
    }
    for (from, until) in outages.iter().filter(|(from, until)| *until - *from > TimeDelta::hours(4)) {
        for key in keys.values() {
            let covered = gaps.iter().any(|gap| {
                gap.record == *key && gap.began_at <= *from && gap.ended_at.is_some_and(|end| end >= *until)
            });
            assert!(covered, "seed {seed}: nobody there from {from} until {until}, and no gap of {key}");
        }
    }
    for kept in kept {
        let record = kept.record;
        assert!(record.is_active(setting.clock.now()) && record.gap.is_none(), "{record:?}");
        let live = record.live.unwrap();
        assert!(told.live.iter().any(|found| found.id == live.id), "the store and Graph agree");
    }
}

#[tokio::test]
async fn reconciler_records_every_lapse_over_ninety_days_of_failures() {
    no_lapse_goes_unnoticed(1, 1).await;
}

#[tokio::test]
async fn three_reconcilers_record_every_lapse_over_ninety_days_of_failures() {
    no_lapse_goes_unnoticed(2, 3).await;
}

#[tokio::test]
async fn reconciler_adopts_a_subscription_whose_create_answer_was_lost() {
    let setting = setting(3, 1, 0.0);
    setting.declare().await;
    setting.run().await;
    // As if the process had died between Graph's answer and the note of it.
    let store = &setting.reconcilers[0].store;
    for mut kept in store.all().await.unwrap() {
        (kept.record.live, kept.record.in_doubt) = (None, true);
        store.replace(&kept, &[]).await.unwrap();
    }
    let adopted = setting.reconcilers[0].run(&setting.receiver).await.unwrap();
    assert_eq!((adopted.adopted, adopted.created), (5, 0));
    // As if the store had been lost: no secret is known, so nothing they tell could be believed.
    for mut kept in store.all().await.unwrap() {
        (kept.record.live, kept.record.secrets) = (None, Vec::new());
        store.replace(&kept, &[]).await.unwrap();
    }
    let replaced = setting.reconcilers[0].run(&setting.receiver).await.unwrap();
    assert_eq!((replaced.adopted, replaced.created), (0, 5));
    // As if a backup had been restored: what it knows of is there no more, and its secrets do not open what is.
    for mut kept in store.all().await.unwrap() {
        let live = kept.record.live.as_mut().unwrap();
        live.id = format!("before {}", live.id);
        kept.record.secrets = vec!["older".to_owned()];
        store.replace(&kept, &[]).await.unwrap();
    }
    let restored = setting.reconcilers[0].run(&setting.receiver).await.unwrap();
    assert_eq!((restored.adopted, restored.created), (0, 5));
    let known = store.all().await.unwrap().into_iter().map(|kept| kept.record.live.unwrap().id).collect::<Vec<_>>();
    assert!(setting.world.told.lock().unwrap().live.iter().all(|found| known.contains(&found.id)));
    assert_eq!(setting.world.told.lock().unwrap().live.len(), 5);
}

#[tokio::test]
async fn reconciler_deletes_undeclared_subscriptions_of_this_deployment_only() {
    let setting = setting(4, 1, 0.0);
    setting.declare().await;
    let found = |id: &str, url: &str| Found {
        id: id.into(),
        resource: format!("drives/{id}/root"),
        url: url.into(),
        expires_at: setting.clock.now() + TimeDelta::days(1),
    };
    setting.world.told.lock().unwrap().live =
        vec![found("stray", &setting.receiver.url), found("foreign", "https://elsewhere/hook")];
    setting.run().await;
    let ids: Vec<String> = setting.world.told.lock().unwrap().live.iter().map(|found| found.id.clone()).collect();
    assert!(!ids.contains(&"stray".to_owned()) && ids.contains(&"foreign".to_owned()), "{ids:?}");
    // Given up: deleted there and forgotten here.
    let store = &setting.reconcilers[0].store;
    for mut kept in store.all().await.unwrap() {
        kept.record.wanted = Wanted::No;
        store.replace(&kept, &[]).await.unwrap();
    }
    setting.run().await;
    assert!(store.all().await.unwrap().is_empty());
    assert_eq!(setting.world.told.lock().unwrap().live.len(), 1);
}

#[tokio::test]
async fn renewal_of_a_missing_subscription_creates_another_and_records_the_gap() {
    let setting = setting(5, 1, 0.0);
    setting.declare().await;
    setting.run().await;
    for _ in 0..5 {
        setting.world.forget_one();
    }
    let key = targets()[0].key();
    let store = &setting.reconcilers[0].store;
    let mut kept = store.get(&key).await.unwrap().unwrap();
    kept.record.reauthorize = true;
    store.replace(&kept, &[]).await.unwrap();
    setting.source.advance(QUARTER);
    let status = setting.reconcilers[0].attend_to(&key, &setting.receiver).await.unwrap();
    assert_eq!((status.created, status.resynced), (1, 1));
    let gaps = store.gaps().await.unwrap();
    assert_eq!((gaps.len(), gaps[0].cause), (1, Cause::Gone));
    assert!(gaps[0].resynced_at >= gaps[0].ended_at && gaps[0].ended_at.is_some());
}
