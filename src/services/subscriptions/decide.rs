//! What a record needs now: a pure function of the record, of what Graph has, and of the time.

use chrono::{DateTime, Utc};

use super::record::{Cause, Record, Wanted};
use super::remote::Found;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// Graph has one of ours that the record does not know.
    Adopt(Found),
    /// Graph has one that goes to us, and nobody here knows its secret: delete it, make another.
    Replace(Found),
    /// Make one.
    Create,
    /// What there was is of no use any more: note the gap, make another.
    Recreate(Cause),
    /// Lengthen its life.
    Renew,
    /// Delete it, and the record.
    Delete,
}

/// What Graph has, as far as we know.
#[derive(Debug, Clone, Copy)]
pub enum Actual<'a> {
    /// All of it.
    Listed(&'a [Found]),
    /// It could not be asked.
    Unknown,
}

/// Whether two resources are the same to Graph.
#[must_use]
pub fn same_resource(one: &str, other: &str) -> bool {
    one.trim_start_matches('/').eq_ignore_ascii_case(other.trim_start_matches('/'))
}

/// Decides. `url` is where notifications should go.
#[must_use]
pub fn decide(record: &Record, actual: Actual<'_>, url: &str, now: DateTime<Utc>) -> Action {
    if record.wanted == Wanted::No {
        return Action::Delete;
    }
    let found = |matches: &dyn Fn(&Found) -> bool| match actual {
        Actual::Listed(all) => all.iter().find(|found| matches(found)).cloned(),
        Actual::Unknown => None,
    };
    let Some(live) = &record.live else {
        let resource = record.target.resource();
        let lost = found(&|found| same_resource(&found.resource, &resource) && found.url == url);
        // Its secret is one of ours only if an attempt may have worked: otherwise nothing it tells could be believed.
        return match lost {
            Some(found) if record.in_doubt && found.expires_at > now => Action::Adopt(found),
            Some(found) => Action::Replace(found),
            None => Action::Create,
        };
    };
    if live.expires_at <= now {
        return Action::Recreate(Cause::Expired);
    }
    if matches!(actual, Actual::Listed(_)) && found(&|found| found.id == live.id).is_none() {
        return Action::Recreate(Cause::Gone);
    }
    if live.url != url {
        return Action::Recreate(Cause::Moved);
    }
    let half = (live.expires_at - live.granted_at) / 2;
    if record.reauthorize || now >= live.granted_at + half {
        return Action::Renew;
    }
    Action::Keep
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::record::{Live, Origin};
    use super::super::target::{Content, Kind, Target};
    use super::*;

    const URL: &str = "https://h/api/graph_webhook";

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    fn record(live: bool) -> Record {
        let target = Target::new(Kind::Users, Vec::new(), Content::Without).unwrap();
        let mut record = Record::new(target, "users".into(), Origin::Settings, at(0));
        let live = live.then(|| Live { id: "1".into(), url: URL.into(), granted_at: at(0), expires_at: at(100) });
        record.live = live;
        record
    }

    fn found(id: &str) -> Found {
        Found { id: id.into(), resource: "/Users".into(), url: URL.into(), expires_at: at(100) }
    }

    #[test]
    fn subscription_is_renewed_at_half_its_lifetime() {
        let mut record = record(true);
        let actual = [found("1")];
        let act = |record: &Record, now| decide(record, Actual::Listed(&actual), URL, now);
        assert_eq!(act(&record, at(49)), Action::Keep);
        assert_eq!(act(&record, at(50)), Action::Renew);
        assert_eq!(act(&record, at(100)), Action::Recreate(Cause::Expired));
        record.reauthorize = true;
        assert_eq!(act(&record, at(1)), Action::Renew, "at once when Graph asks");
    }

    #[test]
    fn missing_subscription_is_recreated_and_unknown_own_one_is_adopted() {
        assert_eq!(decide(&record(true), Actual::Listed(&[]), URL, at(1)), Action::Recreate(Cause::Gone));
        assert_eq!(decide(&record(true), Actual::Unknown, URL, at(1)), Action::Keep, "not knowing is not losing");
        let mut lost = record(false);
        let actual = [found("2")];
        assert_eq!(
            decide(&lost, Actual::Listed(&actual), URL, at(1)),
            Action::Replace(found("2")),
            "its secret is not ours"
        );
        lost.secrets.push("attempt".into());
        assert_eq!(decide(&lost, Actual::Listed(&actual), URL, at(1)), Action::Replace(found("2")), "it was answered");
        lost.in_doubt = true;
        assert_eq!(decide(&lost, Actual::Listed(&actual), URL, at(1)), Action::Adopt(found("2")));
        assert_eq!(decide(&lost, Actual::Listed(&[]), URL, at(1)), Action::Create);
    }

    #[test]
    fn undeclared_subscription_is_deleted_and_a_new_url_recreates_it() {
        let mut unwanted = record(true);
        assert_eq!(
            decide(&unwanted, Actual::Listed(&[found("1")]), "https://other", at(1)),
            Action::Recreate(Cause::Moved)
        );
        unwanted.wanted = Wanted::No;
        assert_eq!(decide(&unwanted, Actual::Unknown, URL, at(1)), Action::Delete);
    }
}
