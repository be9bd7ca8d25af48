//! What is remembered of notifications, and for how long.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use graphgate::ids::Entropy;
use graphgate::rows::TenantTables;
use graphgate::services::notifications::{Entry, Journal, Outcome};
use graphgate::store::MemoryTables;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::hours(hours)
}

fn entry(hour: i64) -> Entry {
    let (received_at, done_at) = (at(hour), at(hour));
    let (subscription, change, note) = ("group-1".to_owned(), "updated".to_owned(), String::new());
    Entry { received_at, done_at, subscription, change, outcome: Outcome::Done, note }
}

#[tokio::test]
async fn notification_journal_remembers_duplicates_for_a_day_and_entries_for_a_week() {
    let journal = Journal::new(&TenantTables::new(Arc::new(MemoryTables::default()), "t"), Entropy::seeded(1));
    journal.note(&["a".to_owned()], &[entry(23), entry(24)], at(23)).await.unwrap();
    assert!(journal.seen("a", at(46)).await.unwrap(), "past midnight, too");
    assert!(!journal.seen("a", at(47)).await.unwrap() && !journal.seen("b", at(23)).await.unwrap());
    let latest = journal.latest(10).await.unwrap();
    assert_eq!(latest, [entry(24), entry(23)]);
    assert_eq!(journal.sweep(at(48)).await.unwrap(), 1, "the identity of the day before yesterday");
    assert_eq!(journal.sweep(at(24 * 8 - 1)).await.unwrap(), 1);
    assert_eq!(journal.latest(10).await.unwrap(), [entry(24)]);
}
