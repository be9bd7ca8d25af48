//! Many clients at once, each on a connection of its own, each sending its next call as soon as it has an answer.

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

/// Calls a server with requests chosen by the call's number.
pub async fn run(
    address: &str,
    clients: usize,
    until: Until,
    next: impl Fn(usize) -> Request,
) -> anyhow::Result<Outcome> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
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
                Ok((status, body)) => check(status, body),
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
