//! Two instances and a Redis between them, which is there, is killed, and comes back.
//!
//! `REDIS_SERVER` names its executable. The tests are ignored with that reason; `scripts/ci/tests.sh` runs them where it is.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use graphgate::azure::Secret;
use serde_json::json;

use crate::support::listener::Listener;
use crate::support::process::Folder;
use crate::support::rest::ask;
use crate::support::{Neighbour, PLAN, World};

/// A running Redis; killed when dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// Starts one.
    fn start() -> Self {
        Self::on(crate::support::free_port())
    }

    fn on(port: u16) -> Self {
        let program = std::env::var_os("REDIS_SERVER").expect("`REDIS_SERVER` names Redis's executable");
        let process = Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--requirepass", "s3cret", "--port", &port.to_string()])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("Redis starts");
        Self { process, port }
    }

    fn address(&self) -> Secret {
        Secret::new(&format!("redis://:s3cret@127.0.0.1:{}", self.port))
    }

    /// Kills it and starts another in its place.
    fn replace(&mut self) {
        self.kill();
        *self = Self::on(self.port);
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

/// One instance writes, somebody listens at the other.
struct Pair {
    world: World,
    neighbour: Neighbour,
    listener: Listener,
    task: String,
    written: usize,
}

impl Pair {
    async fn start(folder: &Folder, redis: Option<&Redis>) -> Self {
        let address = redis.map(Redis::address);
        let (ours, theirs) = (address.clone(), address);
        let world = World::in_folder_with(&folder.0, move |config| config.redis = ours).await;
        let (task, _) = world.task("Relayed").await;
        let neighbour = world.beside_with(&folder.0, move |config| config.redis = theirs).await;
        let plan = PLAN.replace(' ', "%20");
        let mut listener = Listener::at(&neighbour.api_url(), &format!("?plan={plan}"), None).await;
        assert_eq!(listener.hear().await.unwrap().name, "hello");
        Self { world, neighbour, listener, task, written: 0 }
    }

    /// Writes at one instance; answers the title that tells which write it was.
    async fn write(&mut self) -> String {
        self.written += 1;
        let title = format!("Relayed {}", self.written);
        self.world.ok("update_task", json!({"task_id": self.task, "title": title})).await;
        title
    }

    /// The titles of the next writes somebody hears of at the other.
    async fn hear(&mut self, count: usize) -> Vec<String> {
        let mut titles = Vec::new();
        while titles.len() < count {
            let heard = self.listener.hear().await.unwrap();
            assert_ne!(heard.name, "reset", "nothing was lost");
            if heard.name == "updated" {
                titles.push(heard.data["title"].as_str().unwrap().to_owned());
            }
        }
        titles
    }

    /// How long hearing of a write takes: the median of five.
    async fn delay(&mut self) -> Duration {
        let mut took = Vec::new();
        for _ in 0..5 {
            let started = Instant::now();
            let title = self.write().await;
            assert_eq!(self.hear(1).await, [title]);
            took.push(started.elapsed());
        }
        took.sort();
        took[took.len() / 2]
    }

    /// Waits until both instances say so of Redis.
    async fn until_redis_is(&self, status: &str) {
        for url in [self.world.api_url(), self.neighbour.api_url()] {
            let is = async || ask(&url, "GET", "/health").await.body["redis"]["status"] == status;
            self.world.until(&format!("Redis is {status}"), is).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs REDIS_SERVER"]
async fn redis_relays_events_sooner_and_none_are_lost_without_it() {
    let mut redis = Redis::start();
    let (folder, other) = (Folder::new(), Folder::new());
    let mut without = Pair::start(&other, None).await;
    let health = ask(&without.world.api_url(), "GET", "/health").await.body;
    assert!(health.get("redis").is_none(), "none is used: {health}");
    let usual = without.delay().await;

    let mut pair = Pair::start(&folder, Some(&redis)).await;
    pair.until_redis_is("ok").await;
    let sooner = pair.delay().await;
    assert!(sooner < usual / 2, "{sooner:?} with Redis, {usual:?} without");

    redis.kill();
    pair.until_redis_is("degraded").await;
    let health = ask(&pair.world.api_url(), "GET", "/health").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")), "the server itself goes on");
    let away = pair.delay().await;
    assert!(away > sooner, "nobody tells: {away:?}, {sooner:?} with Redis");

    let _back = Redis::on(redis.port);
    pair.until_redis_is("ok").await;
    let again = pair.delay().await;
    assert!(again < usual / 2, "{again:?} with Redis again, {usual:?} without");
}

#[tokio::test]
#[ignore = "needs REDIS_SERVER"]
async fn repeated_redis_kills_lose_and_repeat_no_event() {
    let mut redis = Redis::start();
    let folder = Folder::new();
    let mut pair = Pair::start(&folder, Some(&redis)).await;
    let mut written = Vec::new();
    for _ in 0..10 {
        for _ in 0..3 {
            written.push(pair.write().await);
        }
        redis.replace();
        for _ in 0..3 {
            written.push(pair.write().await);
        }
    }
    assert_eq!(pair.hear(written.len()).await, written);
}

#[tokio::test]
#[ignore = "needs REDIS_SERVER"]
async fn foreign_redis_messages_are_ignored() {
    let redis = Redis::start();
    let folder = Folder::new();
    let mut pair = Pair::start(&folder, Some(&redis)).await;
    pair.until_redis_is("ok").await;
    let client = redis::Client::open(redis.address().expose()).unwrap();
    let mut stranger = client.get_multiplexed_async_connection().await.unwrap();
    let channels: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").query_async(&mut stranger).await.unwrap();
    let plan = pair.world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    assert_eq!(channels.len(), 1, "{channels:?}");
    for message in ["", "nonsense", "../.. 1", &format!("{plan} {}", u64::MAX), &format!("{plan} 0")] {
        let heard: u64 = redis::cmd("PUBLISH").arg(&channels[0]).arg(message).query_async(&mut stranger).await.unwrap();
        assert_eq!(heard, 2, "both instances listen");
    }
    let title = pair.write().await;
    assert_eq!(pair.hear(1).await, [title]);
    pair.until_redis_is("ok").await;
}
