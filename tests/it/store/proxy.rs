//! Stands between the program and the emulator and spoils answers: one request for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request, known by its first line and its number among those like it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    /// It is passed on, and so is its answer.
    Pass,
    /// It is passed on, and its answer is thrown away with the connection.
    LoseAnswer,
    /// It never arrives; the connection breaks.
    LoseRequest,
    /// It is passed on twice, and the second answer comes back.
    Twice,
}

/// Starts a proxy before `port`; `fate` hears whether a request is a transaction, and the number of such requests
/// before it.
pub async fn before(port: u16, fate: impl Fn(bool, u32) -> Fate + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fate = Arc::new(fate);
    let counts = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (fate, counts) = (fate.clone(), counts.clone());
            tokio::spawn(async move {
                let decide = |transaction: bool| {
                    fate(transaction, counts[usize::from(transaction)].fetch_add(1, Ordering::SeqCst))
                };
                let _ = serve(client, port, decide).await; // a client that went away is no concern of ours
            });
        }
    });
    address.port()
}

async fn serve(mut client: TcpStream, port: u16, fate: impl Fn(bool) -> Fate) -> std::io::Result<()> {
    let request = read(&mut client).await?;
    let fate = fate(request.starts_with(b"POST /devstoreaccount1/$batch"));
    if fate == Fate::LoseRequest {
        return Ok(());
    }
    let mut answer = forward(&request, port).await?;
    if fate == Fate::Twice {
        answer = forward(&request, port).await?;
    }
    if fate != Fate::LoseAnswer {
        client.write_all(&answer).await?;
        client.shutdown().await?;
    }
    Ok(())
}

/// Reads one request: its head, and as much body as it announces.
async fn read(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if request.len() >= end + 4 + length {
                return Ok(request);
            }
        }
        if client.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Sends it on, asking for the connection to be closed, and reads the whole answer.
async fn forward(request: &[u8], port: u16) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let line = request.windows(2).position(|window| window == b"\r\n").unwrap() + 2;
    server.write_all(&request[..line]).await?;
    server.write_all(b"connection: close\r\n").await?;
    server.write_all(&request[line..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}
