//! A listener: reads what lies behind its cursor, then waits for more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::tail::Listening;
use super::view::views;
use super::{ChangePage, Committed, Cursor, EventView, Events};
use crate::auth::Caller;
use crate::services::Error;
use crate::services::print_time;
use crate::sync::PlanHandle;

/// How long the list of plans is believed.
const PLANS_LIFE: TimeDelta = TimeDelta::seconds(10);
/// Events read at once; each holds the changes of one transaction, some fifty at most.
const ROWS: usize = 50;
/// Changes a page may have; the transaction that reaches the limit is sent whole.
const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 500;
/// The row that says up to which number events have been deleted.
const SWEPT: &str = "w";

/// Something to tell a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMessage {
    /// What happened; `None` when events of the plan since the cursor are not kept any more.
    pub event: Option<EventView>,
    /// The plan.
    pub plan_id: String,
    /// The listener's cursor after it; `None` amid a transaction.
    pub cursor: Option<String>,
    /// The same, amid a transaction too.
    pub place: String,
}

/// A listener.
pub struct Feed {
    events: Arc<Events>,
    caller: Caller,
    only: Option<String>,
    cursor: Cursor,
    plans: Vec<Followed>,
    listed_at: DateTime<Utc>,
    queued: VecDeque<EventMessage>,
    /// Transactions of all plans.
    news: broadcast::Receiver<Committed>,
    /// Keeps the tail going, for those who wait.
    listening: Option<Arc<Listening>>,
}

struct Followed {
    handle: Arc<PlanHandle>,
    /// By this others see that the plan is listened to.
    _interest: watch::Receiver<u64>,
    /// Whether what was deleted has been compared with the cursor.
    checked: bool,
    /// Whether there may be something to read.
    changed: bool,
    /// The newest transaction that was announced.
    announced: u64,
}

impl Events {
    /// Starts to listen to one plan, by id or title, or to all the caller may see: behind a cursor, or from this moment
    /// on.
    ///
    /// # Errors
    /// When there is no such plan, the cursor is damaged, or the store cannot be read.
    pub async fn listen(
        self: &Arc<Self>,
        caller: &Caller,
        plan: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Feed, Error> {
        let listening = self.join();
        let mut feed = self.open(caller, plan, cursor).await?;
        feed.listening = Some(listening);
        Ok(feed)
    }

    /// A feed that nobody waits for.
    async fn open(self: &Arc<Self>, caller: &Caller, plan: Option<&str>, cursor: Option<&str>) -> Result<Feed, Error> {
        let known = cursor.map(str::parse::<Cursor>).transpose()?;
        let mut feed = Feed {
            news: self.planner.catalog().news(),
            listening: None,
            events: self.clone(),
            caller: caller.clone(),
            only: plan.map(str::to_owned),
            cursor: known.clone().unwrap_or_default(),
            plans: Vec::new(),
            listed_at: self.clock.steady(),
            queued: VecDeque::new(),
        };
        let listed = self.plans(caller, plan).await?;
        feed.follow(listed);
        if known.is_none() {
            for plan in &mut feed.plans {
                plan.handle.ensure_current().await?;
                plan.checked = true;
                let newest = plan.handle.sequence();
                feed.cursor.move_to(&plan.handle.key, newest);
            }
        }
        Ok(feed)
    }

    /// What has happened since a cursor, without waiting for more; without a cursor nothing but where to start from.
    /// `side` keeps what people did in Planner (`planner`), or agents here (`agent`).
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub async fn changes(
        self: &Arc<Self>,
        caller: &Caller,
        plan: Option<&str>,
        cursor: Option<&str>,
        side: Option<&str>,
        limit: Option<u32>,
    ) -> Result<ChangePage, Error> {
        if let Some(side) = side.filter(|side| !matches!(*side, "planner" | "agent")) {
            return Err(
                Error::invalid(format!("`{side}` is no side")).hint("use `planner` (what people did) or `agent`")
            );
        }
        let limit = limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize;
        let mut feed = self.open(caller, plan, cursor).await?;
        let mut page = ChangePage {
            changes: Vec::new(),
            cursor: feed.cursor.to_string(),
            complete: false,
            as_of: print_time(self.clock.now()),
            reset: Vec::new(),
        };
        loop {
            // A page ends between two transactions: only there is a cursor that skips nothing.
            if page.changes.len() >= limit && !page.cursor.is_empty() {
                return Ok(page);
            }
            match feed.queued.pop_front() {
                Some(message) => {
                    match message.event {
                        Some(event) if side.is_none_or(|side| event.side == side) => page.changes.push(event),
                        Some(_) => {}
                        None => page.reset.push(message.plan_id),
                    }
                    page.cursor = message.cursor.unwrap_or_default();
                }
                None if feed.read().await? => {}
                None => {
                    page.cursor = feed.cursor.to_string();
                    page.complete = true;
                    return Ok(page);
                }
            }
        }
    }
}

impl Feed {
    /// The listener's cursor, once it has received everything sent so far.
    #[must_use]
    pub fn cursor(&self) -> String {
        self.cursor.to_string()
    }

    /// The next thing to tell; `None` when nothing happens for as long as `patience`.
    ///
    /// # Errors
    /// When the store or the list of plans cannot be read.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<EventMessage>, Error> {
        let until = self.events.clock.steady() + TimeDelta::from_std(patience).unwrap_or(TimeDelta::MAX);
        loop {
            if let Some(message) = self.queued.pop_front() {
                return Ok(Some(message));
            }
            if self.read().await? {
                continue;
            }
            let left = (until - self.events.clock.steady()).to_std().unwrap_or_default();
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left).await;
        }
    }

    /// Completes when a plan changes as far as this process knows, or the time has passed.
    async fn wait(&mut self, pause: Duration) {
        let pause = self.events.clock.sleep(pause);
        tokio::select! {
            heard = self.news.recv() => self.note_change(&heard),
            () = pause => {}
        }
    }

    /// Notes which plan there may be something to read of; of all when too much happened to be announced one by one.
    fn note_change(&mut self, heard: &Result<Committed, RecvError>) {
        for plan in &mut self.plans {
            match heard {
                Ok(committed) if committed.plan == plan.handle.id => {
                    (plan.changed, plan.announced) = (true, plan.announced.max(committed.number));
                }
                Ok(_) => {}
                Err(_) => plan.changed = true,
            }
        }
    }

    /// Lists the plans again.
    async fn list(&mut self) -> Result<(), Error> {
        self.listed_at = self.events.clock.steady();
        let listed = self.events.plans_lately(&self.caller, self.only.as_deref(), PLANS_LIFE).await?;
        self.follow(listed);
        Ok(())
    }

    /// Begins to follow the plans it has not followed yet, and leaves those that are not listed any more.
    fn follow(&mut self, listed: Vec<Arc<PlanHandle>>) {
        self.plans.retain(|plan| listed.iter().any(|handle| Arc::ptr_eq(handle, &plan.handle)));
        let now = self.events.clock.now();
        for handle in listed {
            handle.note_details_wanted(now);
            if !self.plans.iter().any(|plan| Arc::ptr_eq(&plan.handle, &handle)) {
                let interest = handle.committed();
                self.plans.push(Followed { handle, _interest: interest, checked: false, changed: true, announced: 0 });
            }
        }
    }

    /// Reads some of what lies behind the cursor; answers whether there was anything.
    async fn read(&mut self) -> Result<bool, Error> {
        if self.events.clock.steady() - self.listed_at > PLANS_LIFE {
            self.list().await?;
        }
        for _ in 0..self.plans.len() {
            self.plans.rotate_left(1); // a busy plan has its turn after all others
            let Some(plan) = self.plans.last_mut() else { break };
            if !plan.changed {
                continue;
            }
            let handle = &plan.handle;
            let mut after = self.cursor.at(&handle.key).unwrap_or(0);
            let known = handle.sequence();
            // Later on the tail sees to it that what is in memory is new.
            let known_of = after.max(plan.announced);
            let newest =
                if plan.checked && known_of <= known { known } else { self.events.newest(handle, known_of).await? };
            let plan_id = handle.id.to_string();
            // A number the plan has not reached: its rows were restored from a backup.
            let lost = after > newest || (!plan.checked && swept(handle).await? > after);
            plan.checked = true;
            if lost {
                after = if after > newest { newest } else { swept(handle).await? };
                self.cursor.move_to(&handle.key, after);
                let place = self.cursor.to_string();
                self.queued.push_back(EventMessage {
                    event: None,
                    plan_id: plan_id.clone(),
                    cursor: Some(place.clone()),
                    place,
                });
            }
            if newest <= after {
                plan.changed = false;
                continue;
            }
            let rows = handle.events(after, newest, ROWS).await?;
            let all = rows.len() < ROWS;
            for (number, event) in rows {
                let heard = self.cursor.events_of(&handle.key, number);
                let events = views(handle, &event, &self.events.directory.people);
                let count = events.len();
                for (index, event) in events.into_iter().enumerate().skip(heard) {
                    let is_last = index + 1 == count;
                    if is_last {
                        self.cursor.move_to(&handle.key, number);
                    } else {
                        self.cursor.move_into(&handle.key, number, index + 1);
                    }
                    let place = self.cursor.to_string();
                    let cursor = is_last.then(|| place.clone());
                    self.queued.push_back(EventMessage { event: Some(event), plan_id: plan_id.clone(), cursor, place });
                }
                self.cursor.move_to(&handle.key, number);
                after = number;
            }
            if all {
                self.cursor.move_to(&handle.key, after.max(newest)); // the transactions in between had no events
                plan.changed = false;
            }
            if !self.queued.is_empty() {
                return Ok(true);
            }
        }
        Ok(!self.queued.is_empty())
    }
}

/// Up to which number the plan's events have been deleted.
async fn swept(handle: &PlanHandle) -> Result<u64, Error> {
    Ok(handle.row(SWEPT).await?.map(|row| row.decode()).transpose()?.unwrap_or(0))
}
