//! How bodies come in: in time, and never more of them at once than memory holds.
//!
//! Of a body that is slow, or beyond what all callers, one address or one caller may have in memory, the rest is not
//! waited for: the request is refused, and nothing of it was done, for handlers begin with a whole body.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};

use super::Peer;
use super::problem::Problem;
use crate::auth::{Caller, Principal};
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;

/// What a body that is waited for must bring.
const KIB_A_SECOND: usize = 32;
/// How often that is checked, in seconds.
const EVERY: usize = 10;
const PATIENCE: Duration = Duration::from_secs(EVERY as u64);
/// The bytes it must have brought each time.
const LEAST: usize = KIB_A_SECOND * 1024 * EVERY;
/// How soon a body may come again for which there was no room.
const COME_BACK: Duration = Duration::from_secs(10);

/// What is granted: bytes that are held, and bodies that are waited for.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    bytes: usize,
    unfinished: usize,
}

const MIB: usize = 1024 * 1024;
/// What all requests together may have.
const ALL: Amount = Amount { bytes: 64 * MIB, unfinished: 512 };
/// What one address may have; behind a proxy all callers share one.
const ONE_ADDRESS: Amount = Amount { bytes: 32 * MIB, unfinished: 256 };
/// What one caller may have who has proved who it is.
const ONE_CALLER: Amount = Amount { bytes: 16 * MIB, unfinished: 64 };

/// Whose share a body counts to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Party {
    All,
    Address(IpAddr),
    Caller(String),
}

impl Party {
    const fn most(&self) -> Amount {
        match self {
            Self::All => ALL,
            Self::Address(_) => ONE_ADDRESS,
            Self::Caller(_) => ONE_CALLER,
        }
    }
}

/// What every party has of what is granted.
#[derive(Clone, Default)]
pub struct Intake(Arc<Mutex<HashMap<Party, Amount>>>);

impl Intake {
    /// The request with a body that keeps to time and to its parties' shares, and its share, which lasts until the
    /// request is answered.
    pub fn meter(&self, request: Request, clock: &Clock) -> (Request, Arc<Share>) {
        let mut parties = vec![Party::All];
        parties.extend(request.extensions().get::<Peer>().map(|Peer(address)| Party::Address(*address)));
        let caller = request.extensions().get::<Caller>().filter(|caller| caller.kind != Principal::Local);
        parties.extend(caller.map(|caller| Party::Caller(caller.name.clone())));
        let share = Arc::new(Share { intake: self.clone(), parties, has: Mutex::default() });
        let request = request.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            let timer = clock.clone();
            let wait = move || timer.sleep(PATIENCE).boxed();
            Body::new(Metered { body, share: share.clone(), fresh: 0, timer: None, wait: Box::new(wait) })
        });
        (request, share)
    }

    fn parties(&self) -> MutexGuard<'_, HashMap<Party, Amount>> {
        self.0.lock()
    }
}

/// Why the rest of a body is not waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Slow,
    NoRoom,
}

#[derive(Default)]
struct Has {
    amount: Amount,
    refused: Option<Refusal>,
}

/// What one request has of its parties' shares; given back when it is dropped.
pub struct Share {
    intake: Intake,
    parties: Vec<Party>,
    has: Mutex<Has>,
}

impl Share {
    /// The refusal, if the body was not waited for.
    pub fn refused(&self) -> Option<Problem> {
        Some(match self.has().refused? {
            Refusal::Slow => Problem::refused(
                StatusCode::REQUEST_TIMEOUT,
                Error::new(ErrorCode::TimedOut, "the body came too slowly")
                    .hint(format!("send at least {KIB_A_SECOND} KiB a second")),
            ),
            Refusal::NoRoom => Problem::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                Error {
                    retry_after: Some(COME_BACK),
                    ..Error::new(ErrorCode::Throttled, "too many bodies are on their way").hint("send fewer at once")
                },
            ),
        })
    }

    /// Adds to what the request has, unless one of its parties would have more than it may.
    fn add(&self, more: Amount) -> Result<(), Refusal> {
        let mut parties = self.intake.parties();
        let with = |party: &Party| {
            let has = parties.get(party).copied().unwrap_or_default();
            Amount { bytes: has.bytes + more.bytes, unfinished: has.unfinished + more.unfinished }
        };
        let fits = |party: &Party| {
            let (then, most) = (with(party), party.most());
            then.bytes <= most.bytes && then.unfinished <= most.unfinished
        };
        if !self.parties.iter().all(fits) {
            return Err(self.refuse(Refusal::NoRoom));
        }
        for party in &self.parties {
            let has = parties.entry(party.clone()).or_default();
            has.bytes += more.bytes;
            has.unfinished += more.unfinished;
        }
        drop(parties);
        let mut has = self.has();
        has.amount.bytes += more.bytes;
        has.amount.unfinished += more.unfinished;
        Ok(())
    }

    fn give_back(&self, less: Amount) {
        let mut parties = self.intake.parties();
        for party in &self.parties {
            let Some(has) = parties.get_mut(party) else { continue };
            has.bytes = has.bytes.saturating_sub(less.bytes);
            has.unfinished = has.unfinished.saturating_sub(less.unfinished);
            if has.bytes == 0 && has.unfinished == 0 {
                parties.remove(party);
            }
        }
    }

    /// Notes that the body is waited for.
    fn waits(&self) -> Result<(), Refusal> {
        let waits = self.has().amount.unfinished > 0;
        if waits { Ok(()) } else { self.add(Amount { bytes: 0, unfinished: 1 }) }
    }

    /// Notes that nothing more of the body is waited for.
    fn ended(&self) {
        let unfinished = std::mem::take(&mut self.has().amount.unfinished);
        self.give_back(Amount { bytes: 0, unfinished });
    }

    fn refuse(&self, why: Refusal) -> Refusal {
        self.has().refused = Some(why);
        why
    }

    fn has(&self) -> MutexGuard<'_, Has> {
        self.has.lock()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let amount = self.has().amount;
        self.give_back(amount);
    }
}

/// A body that keeps to time and to shares.
struct Metered {
    body: Body,
    share: Arc<Share>,
    /// Bytes since the timer began.
    fresh: usize,
    timer: Option<BoxFuture<'static, ()>>,
    wait: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Metered {
    /// The next frame, or why there is none.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let refusal = self.share.has().refused;
        if let Some(why) = refusal {
            return Poll::Ready(Some(Err(refused(why))));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            if let Some(Ok(frame)) = &frame {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.fresh += bytes;
                if let Err(why) = self.share.add(Amount { bytes, unfinished: 0 }) {
                    return Poll::Ready(Some(Err(refused(why))));
                }
            }
            if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
                self.share.ended();
            }
            return Poll::Ready(frame);
        }
        if let Err(why) = self.share.waits() {
            return Poll::Ready(Some(Err(refused(why))));
        }
        let timer = self.timer.get_or_insert_with(&self.wait);
        while timer.as_mut().poll(context).is_ready() {
            if std::mem::take(&mut self.fresh) < LEAST {
                return Poll::Ready(Some(Err(refused(self.share.refuse(Refusal::Slow)))));
            }
            *timer = (self.wait)();
        }
        Poll::Pending
    }
}

fn refused(why: Refusal) -> axum::Error {
    axum::Error::new(std::io::Error::other(match why {
        Refusal::Slow => "the body came too slowly",
        Refusal::NoRoom => "too many bodies are on their way",
    }))
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = this.poll(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            this.share.ended();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures::{StreamExt, stream};

    use super::*;
    use crate::clock::ManualClock;

    fn request(caller: Option<&str>, body: Body) -> Request {
        let mut request = Request::new(body);
        request.extensions_mut().insert(Peer(IpAddr::from([192, 0, 2, 1])));
        if let Some(name) = caller {
            let caller = Caller { name: name.into(), kind: Principal::ApiKey, ..Caller::nobody() };
            request.extensions_mut().insert(caller);
        }
        request
    }

    /// A body that has brought so much and never ends.
    fn half(bytes: usize) -> Body {
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![7; bytes]))]);
        Body::from_stream(begun.chain(stream::pending()))
    }

    /// Reads as far as there is something to read; answers the share of what waits.
    fn begin(intake: &Intake, caller: Option<&str>, body: Body) -> (Body, Arc<Share>) {
        let (request, share) = intake.meter(request(caller, body), &Clock::system());
        let mut body = request.into_body();
        let mut context = Context::from_waker(futures::task::noop_waker_ref());
        while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut body).poll_frame(&mut context) {}
        (body, share)
    }

    fn status(share: &Share) -> Option<u16> {
        share.refused().map(|problem| problem.respond(None).status().as_u16())
    }

    #[tokio::test]
    async fn buffered_body_bytes_are_limited_per_caller_address_and_total() {
        let intake = Intake::default();
        let of = |name| -> Vec<_> { (0..5).map(|_| begin(&intake, Some(name), half(4 * MIB))).collect() };
        let one = of("one");
        let refused: Vec<_> = one.iter().map(|(_, share)| status(share)).collect();
        assert_eq!(refused, [None, None, None, None, Some(503)], "16 MiB of one caller");
        let two = of("two");
        let three = begin(&intake, Some("three"), half(MIB));
        assert_eq!((status(&two[3].1), status(&three.1)), (None, Some(503)), "32 MiB of one address");
        drop(one);
        assert_eq!(status(&begin(&intake, Some("three"), half(MIB)).1), None);
        drop((two, three));
        assert!(intake.parties().is_empty(), "everything is given back");
    }

    #[tokio::test]
    async fn concurrent_bodies_are_limited() {
        let intake = Intake::default();
        let waiting: Vec<_> = (0..300).map(|_| begin(&intake, None, half(10))).collect();
        let refused = waiting.iter().filter(|(_, share)| status(share) == Some(503)).count();
        assert_eq!(refused, 44);
        // One that comes whole is taken all the same.
        let (request, share) = intake.meter(request(None, Body::from("whole")), &Clock::system());
        assert_eq!(to_bytes(request.into_body(), 10).await.unwrap(), "whole");
        assert_eq!(status(&share), None);
    }

    #[tokio::test]
    async fn slow_bodies_are_refused_and_fast_enough_ones_read() {
        let source = ManualClock::at(chrono::DateTime::UNIX_EPOCH);
        let clock = Clock::from_source(source.clone());
        for (bytes, refused) in [(1000, Some(408)), (LEAST, None)] {
            let (mut sender, receiver) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
            let (request, share) = Intake::default().meter(request(None, Body::from_stream(receiver)), &clock);
            let mut body = request.into_body();
            let mut context = Context::from_waker(futures::task::noop_waker_ref());
            for _ in 0..3 {
                sender.start_send(Ok(vec![7; bytes].into())).unwrap();
                while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut body).poll_frame(&mut context) {}
                source.advance(PATIENCE.saturating_sub(Duration::from_secs(1)));
                assert!(share.refused().is_some() || Pin::new(&mut body).poll_frame(&mut context).is_pending());
                source.advance(Duration::from_secs(1));
                let _ = Pin::new(&mut body).poll_frame(&mut context);
            }
            assert_eq!(status(&share), refused, "{bytes} bytes in ten seconds");
        }
    }
}
