//! The executor: a vector of futures, a seeded pick among those that are ready, and a clock that jumps to the next
//! wake-up. Futures belong to the outside world or to the instance; a crash drops those of the instance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use graphgate::clock::{Clock, TimeSource};

/// A small generator (splitmix64): fast, and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

/// Who owns a future.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    World,
    Instance(usize),
}

struct Timers {
    now: i64,
    serial: u64,
    heap: BinaryHeap<Reverse<(i64, u64)>>,
    wakers: std::collections::HashMap<u64, Waker>,
}

/// Virtual time in milliseconds, and what is to be started.
pub struct Time {
    timers: Mutex<Timers>,
    started: Mutex<Vec<(Owner, BoxFuture<'static, ()>)>>,
}

pub fn epoch() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

/// A virtual instant as the engine sees it.
pub fn instant(millis: i64) -> DateTime<Utc> {
    epoch() + TimeDelta::milliseconds(millis)
}

impl Time {
    pub fn new() -> Arc<Self> {
        let timers = Timers { now: 0, serial: 0, heap: BinaryHeap::new(), wakers: std::collections::HashMap::new() };
        Arc::new(Self { timers: Mutex::new(timers), started: Mutex::default() })
    }
    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap()
    }
    pub fn millis(&self) -> i64 {
        self.timers().now
    }
    /// A clock that is so many ms ahead of the true one.
    pub fn clock_ahead(self: &Arc<Self>, skew: i64) -> Clock {
        Clock::from_source(Arc::new(Source(self.clone(), skew)))
    }
    /// Completes after `millis`; after 0 the others get a turn first.
    pub fn wait(self: &Arc<Self>, millis: i64) -> Wait {
        Wait { time: self.clone(), until: self.millis() + millis, polled: false }
    }
    pub fn start(&self, owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
        self.started.lock().unwrap().push((owner, Box::pin(future)));
    }
    /// Jumps to the next wake-up, unless it lies after `end`.
    fn jump(&self, end: i64) -> bool {
        let mut timers = self.timers();
        let Some(Reverse((at, _))) = timers.heap.peek().copied() else { return false };
        if at > end {
            return false;
        }
        timers.now = timers.now.max(at);
        while let Some(Reverse((due, serial))) = timers.heap.peek().copied() {
            if due > at {
                break;
            }
            timers.heap.pop();
            if let Some(waker) = timers.wakers.remove(&serial) {
                waker.wake();
            }
        }
        true
    }
}

struct Source(Arc<Time>, i64);

impl TimeSource for Source {
    fn now(&self) -> DateTime<Utc> {
        instant(self.0.millis() + self.1)
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.0.wait(i64::try_from(duration.as_millis()).unwrap()))
    }
}

pub struct Wait {
    time: Arc<Time>,
    until: i64,
    polled: bool,
}

impl Future for Wait {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.time.timers();
        if timers.now >= self.until && self.polled {
            return Poll::Ready(());
        }
        if timers.now >= self.until {
            drop(timers);
            self.polled = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        timers.serial += 1;
        let serial = timers.serial;
        timers.heap.push(Reverse((self.until, serial)));
        timers.wakers.insert(serial, context.waker().clone());
        drop(timers);
        self.polled = true;
        Poll::Pending
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Running {
    owner: Owner,
    flag: Arc<Flag>,
    waker: Waker,
    future: BoxFuture<'static, ()>,
}

/// The futures of a history.
pub struct Executor {
    pub time: Arc<Time>,
    running: Vec<Running>,
    /// Instances that stand still, and until when: a paused process, a machine that sleeps.
    stalled: Vec<(usize, i64)>,
    pub steps: u64,
    pub hash: u64,
}

impl Executor {
    pub fn new(time: Arc<Time>) -> Self {
        Self { time, running: Vec::new(), stalled: Vec::new(), steps: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Runs until `end`, until nothing can happen any more, or until `steps` polls are done: then `true`.
    pub fn run(&mut self, rng: &Mutex<Rng>, end: i64, steps: u64) -> bool {
        let mut ready: Vec<usize> = Vec::new();
        loop {
            for (owner, future) in self.time.started.lock().unwrap().drain(..) {
                let flag = Arc::new(Flag(AtomicBool::new(true)));
                let waker = Waker::from(flag.clone());
                self.running.push(Running { owner, flag, waker, future });
            }
            ready.clear();
            let now = self.time.millis();
            self.stalled.retain(|(_, until)| *until > now);
            let stalled = &self.stalled;
            ready.extend((0..self.running.len()).filter(|index| {
                let running = &self.running[*index];
                running.flag.0.load(Ordering::Relaxed)
                    && !stalled.iter().any(|(instance, _)| running.owner == Owner::Instance(*instance))
            }));
            if ready.is_empty() {
                if self.time.jump(end) {
                    continue;
                }
                return false;
            }
            if self.steps >= steps {
                return true;
            }
            self.steps += 1;
            let index = *rng.lock().unwrap().pick(&ready);
            let running = &mut self.running[index];
            running.flag.0.store(false, Ordering::Relaxed);
            self.hash = (self.hash ^ index as u64 ^ (self.time.millis() as u64) << 8).wrapping_mul(0x0100_0000_01b3);
            if running.future.as_mut().poll(&mut Context::from_waker(&running.waker)).is_ready() {
                drop(self.running.swap_remove(index));
            }
        }
    }

    /// An instance is stalled for so many ms, and then continues as if nothing had been.
    pub fn stall(&mut self, instance: usize, millis: i64) {
        self.stalled.push((instance, self.time.millis() + millis));
        let time = self.time.clone();
        self.time.start(Owner::World, async move { time.wait(millis).await }); // something to wake up for
    }

    /// What is stalled continues.
    pub fn wake(&mut self) {
        self.stalled.clear();
    }

    /// An instance dies: everything it was doing is gone.
    pub fn crash(&mut self, instance: usize) {
        let dead = Owner::Instance(instance);
        self.time.started.lock().unwrap().retain(|(owner, _)| *owner != dead);
        self.running.retain(|running| running.owner != dead);
    }
}
