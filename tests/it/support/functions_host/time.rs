//! `functionTimeout`: how long an invocation may take, proxied requests and their streams included.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Inner;

/// How long an invocation may still take to end when its time is over; then its process is killed.
const GRACE: Duration = Duration::from_secs(2);

/// An invocation under way; it has ended when this is dropped.
pub struct Watched {
    /// Its time is over: it has failed, and an answer that has begun is torn.
    pub torn: CancellationToken,
    /// Its process has been killed for it.
    pub killed: CancellationToken,
    _ended: DropGuard,
}

/// `hh:mm:ss`
pub fn seconds(time: &Value) -> u64 {
    time.as_str().unwrap().split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap())
}

impl Inner {
    /// Watches over an invocation that begins now. For each that has not ended in time the process of its group is killed
    /// once, with everything else it does.
    pub fn watched(self: Arc<Self>, function: &str, group: &str) -> Watched {
        let (torn, killed, ended) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let watched = Watched { torn: torn.clone(), killed: killed.clone(), _ended: ended.clone().drop_guard() };
        let timeout = Duration::from_secs(seconds(&self.app.host["functionTimeout"]));
        let (function, group) = (function.to_owned(), group.to_owned());
        tokio::spawn(async move {
            if tokio::time::timeout(timeout, ended.cancelled()).await.is_ok() {
                return;
            }
            self.timeouts.lock().unwrap().push(function);
            torn.cancel();
            if tokio::time::timeout(GRACE, ended.cancelled()).await.is_err() {
                self.groups[&group].kill_and_restart().await;
                killed.cancel();
            }
        });
        watched
    }
}
