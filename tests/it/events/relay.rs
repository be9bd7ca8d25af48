//! Two instances and a Redis between them, which is there, is killed, and comes back.
//!
//! `REDIS_SERVER` names its executable; without it these tests say so and pass.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use graphgate::azure::Secret;
use serde_json::json;

use super::Listener;
use crate::api::ask;
use crate::process::Folder;
use crate::support::{Neighbour, PLAN, World};

/// A running Redis; killed when dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// Starts one; `None`, with a word, where there is none.
    #[allow(clippy::print_stdout)] // a reader of the run should know what was not tried
    fn start() -> Option<Self> {
        if std::env::var_os("REDIS_SERVER").is_none() {
            println!("skipped: `REDIS_SERVER` does not name Redis's executable");
            return None;
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self::on(free))
    }

    fn on(port: u16) -> Self {
        let program = std::env::var_os("REDIS_SERVER").unwrap();
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
async fn over_redis_listeners_at_another_instance_hear_sooner_and_without_it_as_much() {
    let Some(mut redis) = Redis::start() else { return };
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
async fn redis_is_killed_again_and_again_amid_writes_and_everything_is_heard_once() {
    let Some(mut redis) = Redis::start() else { return };
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
async fn what_nobody_of_ours_says_on_redis_is_ignored() {
    let Some(redis) = Redis::start() else { return };
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

#[tokio::test]
async fn a_cursor_of_one_instance_is_good_on_another_that_has_just_looked() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let (task, _) = world.task("Told elsewhere").await;
    let neighbour = world.beside(&folder.0).await;
    let mut cursor = neighbour.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].clone();
    for number in 0..20 {
        neighbour.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await; // so that it need not read again
        let title = format!("Told {number}");
        world.ok("update_task", json!({"task_id": task, "title": title})).await;
        let here = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
        assert!(here["changes"].to_string().contains(&title), "{here}");
        cursor = here["cursor"].clone();
        let there = neighbour.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
        assert!(there["reset"].as_array().is_none_or(Vec::is_empty), "nothing was lost: {there}");
        assert!(!there["changes"].to_string().contains(&title), "nothing is told twice: {there}");
        cursor = there["cursor"].clone();
    }
    neighbour.stop().await;
}
