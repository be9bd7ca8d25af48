//! The HTTP server: a task a connection, none of which may take for ever to say what it wants.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::api::Peer;
use crate::clock::Clock;

/// How long a connection may take for the head of a request, and may rest between two: longer than the usual clients
/// keep a connection that they do not use, so that theirs is the end that closes it.
pub const HEAD_TIME: Duration = Duration::from_secs(75);
/// Rest when the process has no more sockets to give.
const NO_SOCKETS: Duration = Duration::from_secs(1);

/// Answers requests until told to stop, and then those under way.
pub async fn serve(listener: TcpListener, router: Router, head_time: Duration, clock: Clock, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_time);
    let connections = GracefulShutdown::new();
    while let Some((stream, address)) = stop.run_until_cancelled(accept(&listener, &clock)).await {
        let _unimportant = stream.set_nodelay(true); // a stream of events is told as it comes
        let service = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(address.ip()));
            service.call(request)
        });
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener); // whoever comes now is refused at once
    connections.shutdown().await;
}

/// The next connection.
async fn accept(listener: &TcpListener, clock: &Clock) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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
    async fn started() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let slow = async || {
            Clock::system().sleep(Duration::from_millis(400)).await;
            "done"
        };
        let router = Router::new().route("/", get(slow));
        (
            address,
            stop.clone(),
            tokio::spawn(serve(listener, router, Duration::from_millis(200), Clock::system(), stop)),
        )
    }

    /// Everything the server says until it closes the connection.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut said = Vec::new();
        timeout(SOON, stream.read_to_end(&mut said)).await.expect("the connection is closed").unwrap();
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_does_not_finish_its_request_is_closed() {
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
    async fn what_is_under_way_at_the_end_is_answered_and_nothing_more_is_taken() {
        let (address, stop, server) = started().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        Clock::system().sleep(Duration::from_millis(100)).await;
        stop.cancel();
        assert!(rest(&mut stream).await.ends_with("done"));
        timeout(SOON, server).await.unwrap().unwrap();
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
