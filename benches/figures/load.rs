//! Many clients at once, each on a connection of its own: each sending its next call as soon as it has an answer, or all
//! together at a rate that does not wait for answers.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::http::{Connection, Request, check};
use crate::report::{ms, quantile};

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After this many calls.
    Calls(usize),
}

/// What a load met.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Milliseconds of every call that succeeded.
    pub took: Vec<f64>,
    /// Calls that failed.
    pub errors: usize,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// From the first call sent to the last one answered.
    pub elapsed: Duration,
}

impl Outcome {
    fn fail(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Calls answered a second.
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // some thousands of calls
        let calls = self.took.len() as f64;
        calls / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of calls did not exceed, in milliseconds.
    pub fn latency(&self, share: f64) -> f64 {
        quantile(&self.took, share)
    }
}

/// Calls a server with requests for tools, chosen by the call's number.
pub async fn run(
    address: &str,
    clients: usize,
    until: Until,
    next: impl Fn(usize) -> Request,
) -> anyhow::Result<Outcome> {
    run_judged(address, clients, until, next, check).await
}

async fn connect(address: &str, clients: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
    Ok(connections)
}

/// As [`run`], with any requests and a judge of their answers.
pub async fn run_judged(
    address: &str,
    clients: usize,
    until: Until,
    next: impl Fn(usize) -> Request,
    judge: impl Fn(u16, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let connections = connect(address, clients).await?;
    let (number, outcome) = (Cell::new(0), RefCell::new(Outcome::default()));
    let started = Instant::now();
    let goes_on = || match until {
        Until::Time(limit) => started.elapsed() < limit,
        Until::Calls(count) => number.get() < count,
    };
    let client = async |mut connection: Connection| {
        while goes_on() {
            let request = next(number.replace(number.get() + 1));
            let sent = Instant::now();
            let verdict = match connection.send(&request).await {
                Ok((status, body)) => judge(status, body),
                Err(error) => Err(error),
            };
            let took = ms(sent.elapsed());
            match verdict {
                Ok(()) => outcome.borrow_mut().took.push(took),
                Err(error) => {
                    outcome.borrow_mut().fail(&error);
                    if let Ok(fresh) = Connection::open(address).await {
                        connection = fresh;
                    }
                }
            }
        }
    };
    futures::future::join_all(connections.into_iter().map(client)).await;
    let mut outcome = outcome.into_inner();
    outcome.elapsed = started.elapsed();
    Ok(outcome)
}

/// Calls a server at moments fixed beforehand, `per_second` for as long as `lasts`, however slow it is: each call's time
/// counts from the moment it was due, so that a server that stalls pays for all calls that had to wait meanwhile.
pub async fn run_open(
    address: &str,
    clients: usize,
    (per_second, lasts): (u32, Duration),
    next: impl Fn(usize) -> Request,
    judge: impl Fn(u16, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let connections = connect(address, clients).await?;
    let (number, outcome) = (Cell::new(0_u32), RefCell::new(Outcome::default()));
    let started = tokio::time::Instant::now();
    let client = async |mut connection: Connection| {
        loop {
            let mine = number.replace(number.get() + 1);
            let due = Duration::from_secs(1) * mine / per_second;
            if due >= lasts {
                return;
            }
            tokio::time::sleep_until(started + due).await;
            let verdict = match connection.send(&next(mine as usize)).await {
                Ok((status, body)) => judge(status, body),
                Err(error) => Err(error),
            };
            match verdict {
                Ok(()) => outcome.borrow_mut().took.push(ms(started.elapsed().saturating_sub(due))),
                Err(error) => {
                    outcome.borrow_mut().fail(&error);
                    if let Ok(fresh) = Connection::open(address).await {
                        connection = fresh;
                    }
                }
            }
        }
    };
    futures::future::join_all(connections.into_iter().map(client)).await;
    let mut outcome = outcome.into_inner();
    outcome.elapsed = started.elapsed();
    Ok(outcome)
}
