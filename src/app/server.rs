//! The HTTP server: a task a connection, none of which may take for ever to say what it wants, and never more of them than
//! the process can hold.
//!
//! When all seats are taken, the connection that has rested longest makes room for the next: one that has not yet sent a
//! whole head, or rests between two requests. So who opens sockets and says nothing keeps nobody out.

mod seats;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::seats::{Busy, Seats};
use crate::api::Peer;
use crate::clock::Clock;
use crate::os;

/// Rest when the process has no more sockets to give.
const NO_SOCKETS: Duration = Duration::from_secs(1);
/// The most bytes of one connection that are read ahead, and the most a head may have.
const READ_AHEAD: usize = 64 * 1024;
/// Files and sockets that are left to the store, the log and calls to others.
const RESERVED_FILES: usize = 128;

/// What a server grants its connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a connection may take for the head of a request, and may rest between two.
    pub head_time: Duration,
    /// The most connections at once.
    pub connections: usize,
    /// The most of them from one address.
    pub of_one_address: usize,
}

impl Limits {
    /// What this process can hold: one idle connection takes some 10 KiB.
    #[must_use]
    pub fn of_this_process() -> Self {
        const MOST: usize = 4096;
        let files = os::most_files().unwrap_or(usize::MAX);
        let connections = files.saturating_sub(RESERVED_FILES).max(files / 2).clamp(1, MOST);
        Self {
            // Longer than the usual clients keep a connection that they do not use, so that theirs is the end that
            // closes it.
            head_time: Duration::from_secs(75),
            connections,
            of_one_address: (connections / 2).max(1),
        }
    }
}

/// Answers requests until stopped, and then those under way.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, clock: Clock, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(READ_AHEAD);
    let connections = GracefulShutdown::new();
    let seats = Arc::new(Seats::new(limits.connections, limits.of_one_address));
    while let Some((stream, address)) = stop.run_until_cancelled(accept(&listener, &clock)).await {
        let Some(seat) = seats.take(address) else {
            tracing::debug!("every connection is busy: one more is closed");
            continue;
        };
        let _unimportant = stream.set_nodelay(true); // a stream of events is sent as it comes
        let left = seat.evicted();
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let busy = seat.busy();
            request.extensions_mut().insert(Peer(address));
            let answer = router.call(request);
            async move {
                let answer = answer.await;
                answer.map(|answer: Response<Body>| answer.map(|body| Body::new(Answer { body, _busy: busy })))
            }
        });
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            match left.run_until_cancelled(connection).await {
                Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
                Some(Ok(())) => {}
                None => tracing::debug!("a resting connection made room for another"),
            }
        });
    }
    drop(listener); // a new connection is refused at once from here on
    connections.shutdown().await;
}

/// The body of an answer; its connection is busy until all of it was handed on.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The next connection, and the address it comes from.
async fn accept(listener: &TcpListener, clock: &Clock) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip()),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted => {}
                _ => {
                    tracing::error!(%error, "no connection can be taken");
                    clock.sleep(NO_SOCKETS).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A server whose connections have a fifth of a second for a head, and whose answers take twice as long.
    async fn started() -> (std::net::SocketAddr, CancellationToken, JoinHandle<()>) {
        started_with(Limits { head_time: Duration::from_millis(200), connections: 100, of_one_address: 100 }).await
    }

    async fn started_with(limits: Limits) -> (std::net::SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let slow = async || {
            Clock::system().sleep(Duration::from_millis(400)).await;
            "done"
        };
        let router = Router::new().route("/", get(slow));
        (address, stop.clone(), tokio::spawn(serve(listener, router, limits, Clock::system(), stop)))
    }

    /// Everything the server says until it closes the connection.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut said = Vec::new();
        timeout(SOON, stream.read_to_end(&mut said)).await.expect("the connection is closed").unwrap();
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn slow_request_head_closes_the_connection() {
        let (address, ..) = started().await;
        for begun in ["", "GET / HTTP/1.1\r\nhost: x\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            assert!(!rest(&mut stream).await.contains("200"), "{begun:?}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 200 OK") && said.ends_with("done"), "an answer may take longer: {said}");
    }

    #[tokio::test]
    async fn shutdown_answers_running_requests_and_accepts_no_more() {
        let (address, stop, server) = started().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        Clock::system().sleep(Duration::from_millis(100)).await;
        stop.cancel();
        assert!(rest(&mut stream).await.ends_with("done"));
        timeout(SOON, server).await.unwrap().unwrap();
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn idle_connection_is_closed_for_a_new_one_and_busy_ones_are_kept() {
        const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let limits = Limits { head_time: SOON, connections: 3, of_one_address: 3 };
        let (address, ..) = started_with(limits).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(HEAD).await.unwrap();
        Clock::system().sleep(Duration::from_millis(100)).await;
        // Many that say nothing, or half a head: the busy one is answered all the same, and so is one that comes last.
        let mut silent = Vec::new();
        for number in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            }
            silent.push(stream);
        }
        let mut last = TcpStream::connect(address).await.unwrap();
        last.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(rest(&mut last).await.ends_with("done"));
        let mut answer = vec![0; 400];
        let read = timeout(SOON, busy.read(&mut answer)).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).ends_with("done"));
        assert_eq!(rest(&mut silent[0]).await, "", "the first that rested was closed");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed() {
        const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let (address, ..) = started_with(Limits { head_time: SOON, connections: 4, of_one_address: 2 }).await;
        let mut busy = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(HEAD).await.unwrap();
            busy.push(stream);
        }
        Clock::system().sleep(Duration::from_millis(100)).await;
        let mut third = TcpStream::connect(address).await.unwrap();
        let _ = third.write_all(HEAD).await;
        let mut said = Vec::new();
        let _ = timeout(SOON, third.read_to_end(&mut said)).await.expect("the connection is closed");
        assert_eq!(said, b"", "one address has no more than its share");
        for stream in &mut busy {
            assert!(rest(stream).await.ends_with("done"));
        }
    }
}
