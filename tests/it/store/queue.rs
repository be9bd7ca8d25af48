//! One suite, every backend: what a queue promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use graphgate::clock::{Clock, ManualClock};
use graphgate::ids::Entropy;
use graphgate::queue::{MAX_DEQUEUES, MAX_MESSAGE, Mailbox, Queue};
use graphgate::rows::{StoreError, Tables, TenantTables};
use graphgate::services::poison::Poison;
use graphgate::store::{AzureQueue, EmbeddedTables, MemoryTables, RowQueue};

use crate::support::azurite::{self, Azurite};

const SECOND: Duration = Duration::from_secs(1);

/// A clock the suite moves, or the real one where the queue has a clock of its own.
enum Time {
    Manual(Arc<ManualClock>),
    Real,
}

impl Time {
    async fn pass(&self, time: Duration) {
        match self {
            Self::Manual(clock) => clock.advance(time),
            Self::Real => tokio::time::sleep(time + Duration::from_millis(300)).await,
        }
    }
}

async fn suite(queue: Arc<dyn Queue>, time: &Time) {
    // What is sent is received once, and again only after its time.
    let text = "{\"text\":\"<ä> & \\\"任务😀\\\" \\u0001\"}";
    queue.send(text, Duration::ZERO).await.unwrap();
    let first = queue.receive(32, 2 * SECOND).await.unwrap().remove(0);
    assert_eq!((first.text.as_str(), first.dequeue_count), (text, 1));
    assert!(queue.receive(32, SECOND).await.unwrap().is_empty(), "it is hidden");
    time.pass(2 * SECOND).await;
    let second = queue.receive(32, 60 * SECOND).await.unwrap().remove(0);
    assert_eq!((&second.id, second.dequeue_count), (&first.id, 2));
    // A receipt that was overtaken has no power.
    queue.delete(&first).await.unwrap();
    queue.postpone(&first, Duration::ZERO).await.unwrap();
    assert!(queue.receive(32, SECOND).await.unwrap().is_empty());
    assert_eq!(queue.state().await.unwrap().waiting, 1);
    // Giving back, now and later.
    queue.postpone(&second, Duration::ZERO).await.unwrap();
    let third = queue.receive(32, 60 * SECOND).await.unwrap().remove(0);
    assert_eq!(third.dequeue_count, 3);
    queue.delete(&third).await.unwrap();
    queue.delete(&third).await.unwrap();
    assert_eq!(queue.state().await.unwrap().waiting, 0);
    // Delayed.
    queue.send("1", 2 * SECOND).await.unwrap();
    assert!(queue.receive(32, SECOND).await.unwrap().is_empty());
    time.pass(2 * SECOND).await;
    let delayed = queue.receive(32, SECOND).await.unwrap().remove(0);
    queue.delete(&delayed).await.unwrap();
    // Long, and too long.
    let long = format!("\"{}\"", "x".repeat(MAX_MESSAGE - 2));
    queue.send(&long, Duration::ZERO).await.unwrap();
    let received = queue.receive(1, 60 * SECOND).await.unwrap().remove(0);
    assert_eq!(received.text, long);
    queue.delete(&received).await.unwrap();
    let refused = queue.send(&format!("{long}x"), Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    // Poison after the last time, and again after a redrive.
    queue.send("\"bad\"", Duration::ZERO).await.unwrap();
    for round in 1..=2 {
        for count in 1..=MAX_DEQUEUES {
            let message = queue.receive(1, 60 * SECOND).await.unwrap().remove(0);
            assert_eq!((message.text.as_str(), message.dequeue_count), ("\"bad\"", count));
            queue.postpone(&message, Duration::ZERO).await.unwrap();
        }
        assert!(queue.receive(1, SECOND).await.unwrap().is_empty());
        let state = queue.state().await.unwrap();
        assert_eq!((state.waiting, state.poisoned), (0, 1));
        if round == 1 {
            assert_eq!(queue.redrive(32, &|text| text != "\"bad\"").await.unwrap(), 0, "nobody wants it");
            assert_eq!(queue.poisoned(32).await.unwrap().len(), 1, "it can be seen all the same");
            assert_eq!(queue.redrive(32, &|text| text == "\"bad\"").await.unwrap(), 1);
            let state = queue.state().await.unwrap();
            assert_eq!((state.waiting, state.poisoned, state.oldest_at.is_some()), (1, 0, true));
        }
    }
}

/// Producers and consumers at once: every message arrives, each once, at everybody.
async fn nothing_is_lost_or_doubled(queue: Arc<dyn Queue>, producers: usize, each: usize) {
    let sending = (0..producers).map(|producer| {
        let queue = queue.clone();
        tokio::spawn(async move {
            for number in 0..each {
                queue.send(&format!("\"{producer}-{number}\""), Duration::ZERO).await.unwrap();
            }
        })
    });
    let sending: Vec<_> = sending.collect();
    let receiving = (0..producers).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let (mut texts, mut idle) = (Vec::new(), 0);
            while idle < 20 {
                let messages = queue.receive(4, 300 * SECOND).await.unwrap();
                if messages.is_empty() {
                    idle += 1;
                    tokio::time::sleep(Duration::from_millis(25)).await;
                } else {
                    idle = 0;
                }
                for message in messages {
                    queue.delete(&message).await.unwrap();
                    texts.push(message.text);
                }
            }
            texts
        })
    });
    let receiving: Vec<_> = receiving.collect();
    for producer in sending {
        producer.await.unwrap();
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for consumer in receiving {
        let texts = consumer.await.unwrap();
        assert!(texts.len() >= each / 10, "a consumer got only {}", texts.len());
        for text in texts {
            *seen.entry(text).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), producers * each);
    assert!(seen.values().all(|times| *times == 1), "a message arrived twice");
}

/// Long texts lie beside the queue and go with their message.
async fn a_mailbox_takes_any_length(queue: Arc<dyn Queue>, tables: Arc<dyn Tables>) {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let mailbox = Mailbox::new(queue.clone(), tables, clock.clone(), entropy);
    let long = serde_json::to_string(&"ä\"任😀".repeat(80_000)).unwrap();
    for text in [long.as_str(), "\"short\""] {
        mailbox.send(text, Duration::ZERO).await.unwrap();
        let pointed = queue.receive(1, 60 * SECOND).await.unwrap().remove(0);
        assert_eq!(mailbox.open(&pointed.text).await.unwrap().as_deref(), Some(text));
        queue.postpone(&pointed, Duration::ZERO).await.unwrap();
        let message = mailbox.receive(1, 60 * SECOND).await.unwrap().remove(0);
        assert_eq!(message.text, text);
        mailbox.discard(&pointed.text).await.unwrap();
        if pointed.text != text {
            assert_eq!(mailbox.open(&pointed.text).await.unwrap(), None);
        }
        queue.delete(&message).await.unwrap();
    }
    mailbox.send(&long, Duration::ZERO).await.unwrap();
    assert_eq!(mailbox.sweep(clock.now() - chrono::TimeDelta::days(1)).await.unwrap(), 0, "it is young");
    assert!(mailbox.sweep(clock.now() + chrono::TimeDelta::minutes(1)).await.unwrap() > 1);
    assert!(mailbox.receive(1, SECOND).await.unwrap().is_empty(), "a pointer at nothing is dropped");
    assert_eq!(queue.state().await.unwrap().waiting, 0);
}

/// Gives up on everything that waits.
async fn give_up(queue: &Arc<dyn Queue>) {
    for _ in 0..MAX_DEQUEUES {
        for message in queue.receive(32, 60 * SECOND).await.unwrap() {
            queue.postpone(&message, Duration::ZERO).await.unwrap();
        }
    }
    assert!(queue.receive(32, SECOND).await.unwrap().is_empty());
}

#[tokio::test]
async fn poison_sweep_redrives_outage_failures_and_keeps_permanent_ones() {
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let clock = ManualClock::at("2026-11-28T12:00:00Z".parse().unwrap());
    let time = Clock::from_source(clock.clone());
    let queue = over(tables.clone(), "q", time.clone());
    let poison = Poison::new(vec![queue.clone()], &TenantTables::new(tables, "tenant"), time);
    for text in ["1", "2"] {
        queue.send(text, Duration::ZERO).await.unwrap();
    }
    poison.note_hopeless("q", "2").await;
    give_up(&queue).await;
    let swept = poison.sweep().await.unwrap();
    assert_eq!((swept.returned, swept.poisoned), (1, 1));
    let back = queue.receive(32, SECOND).await.unwrap();
    assert_eq!(back.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["1"]);
    // It does not come back for ever.
    let mut returns = 1;
    loop {
        clock.advance(2 * SECOND);
        give_up(&queue).await;
        match poison.sweep().await.unwrap().returned {
            0 => break,
            count => returns += count,
        }
    }
    assert_eq!((returns, queue.state().await.unwrap().poisoned), (96, 2), "a day at a quarter of an hour each");
    // A person has both tried again; then what is known of them is forgotten.
    assert_eq!(poison.redrive(None).await.unwrap()[0].messages, 2);
    give_up(&queue).await;
    assert_eq!(poison.sweep().await.unwrap().returned, 2);
}

fn over(tables: Arc<dyn Tables>, name: &str, clock: Clock) -> Arc<dyn Queue> {
    Arc::new(RowQueue::new(tables, name, clock, Entropy::system()))
}

async fn rows_keep_every_promise(tables: Arc<dyn Tables>) {
    let clock = ManualClock::at(chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000));
    suite(over(tables.clone(), "promises", Clock::from_source(clock.clone())), &Time::Manual(clock)).await;
    a_mailbox_takes_any_length(over(tables, "long", Clock::system()), Arc::new(MemoryTables::default())).await;
}

#[tokio::test]
async fn memory_queue_passes_the_queue_suite() {
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    rows_keep_every_promise(tables.clone()).await;
    nothing_is_lost_or_doubled(over(tables, "busy", Clock::system()), 20, 200).await;
}

#[tokio::test]
async fn file_queue_passes_the_queue_suite_and_keeps_messages() {
    let folder = super::folder();
    let tables: Arc<dyn Tables> = Arc::new(EmbeddedTables::open(&folder).unwrap());
    rows_keep_every_promise(tables.clone()).await;
    nothing_is_lost_or_doubled(over(tables.clone(), "busy", Clock::system()), 20, 50).await;
    over(tables, "kept", Clock::system()).send("1", Duration::ZERO).await.unwrap();
    let again: Arc<dyn Tables> = Arc::new(EmbeddedTables::open(&folder).unwrap());
    assert_eq!(over(again, "kept", Clock::system()).receive(1, SECOND).await.unwrap().len(), 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn two_processes_on_one_queue_file_get_no_message_twice() {
    let folder = super::folder();
    let open =
        || -> Arc<dyn Queue> { over(Arc::new(EmbeddedTables::open(&folder).unwrap()), "shared", Clock::system()) };
    let (one, two) = (open(), open());
    for number in 0..100 {
        one.send(&number.to_string(), Duration::ZERO).await.unwrap();
    }
    let take = async |queue: Arc<dyn Queue>| {
        let mut texts = Vec::new();
        for _ in 0..40 {
            texts.extend(queue.receive(4, 300 * SECOND).await.unwrap().into_iter().map(|message| message.text));
        }
        texts
    };
    let (mut texts, others) = futures::future::join(take(one), take(two)).await;
    texts.extend(others);
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 100);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn azurite_queues_pass_the_queue_suite() {
    let azurite = Azurite::start();
    let open = async |name: &str| {
        let config = Azurite::queues(azurite.queue_port);
        let opened = AzureQueue::open(config, name, azurite::connector()).await.expect("the queue opens");
        Arc::new(opened) as Arc<dyn Queue>
    };
    suite(open("promises").await, &Time::Real).await;
    a_mailbox_takes_any_length(open("long").await, Arc::new(azurite.tables().await)).await;
    nothing_is_lost_or_doubled(open("busy").await, 10, 30).await;
    assert_eq!(open("promises").await.state().await.unwrap().poisoned, 1, "a second instance finds the queue");
    let config = Azurite::queues(azurite.queue_port);
    let sas = config.endpoint.sas.as_ref().unwrap().expose();
    let url = format!("{}/long?{sas}", config.endpoint.url);
    let queue = open("long").await;
    assert!(reqwest::Client::new().delete(url).send().await.unwrap().status().is_success());
    let StoreError::Unavailable { reason } = queue.send("1", Duration::ZERO).await.unwrap_err() else { panic!() };
    assert_eq!(reason, "Azure Storage Queues: queue `long` does not exist");
}

#[tokio::test]
async fn queue_visibility_timeout_survives_a_clock_set_back() {
    let source = ManualClock::at("2026-11-28T12:00:00Z".parse().unwrap());
    let clock = Clock::from_source(source.clone());
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let queue = RowQueue::new(tables.clone(), "set-back", clock.clone(), Entropy::system());
    for text in ["1", "2", "3"] {
        queue.send(text, Duration::ZERO).await.unwrap();
    }
    let held = queue.receive(1, 600 * SECOND).await.unwrap();
    source.set_back(Duration::from_hours(24));
    assert_eq!(queue.receive(32, 600 * SECOND).await.unwrap().len(), 2, "what nobody has is seen at once");
    source.advance(601 * SECOND);
    assert_eq!(queue.receive(32, 600 * SECOND).await.unwrap().len(), 3, "what was handed out comes back in its time");
    drop(held);
    // The same for a process that starts with the right time, after one whose time was ahead.
    source.set_back(Duration::from_hours(24));
    let after = RowQueue::new(tables, "set-back", clock, Entropy::system());
    assert!(after.receive(32, SECOND).await.unwrap().is_empty());
    source.advance(601 * SECOND);
    assert_eq!(after.receive(32, SECOND).await.unwrap().len(), 3);
}
