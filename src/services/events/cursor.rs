//! The position of a listener: for each plan, the number of the last transaction it has received, or how many events of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::ErrorCode;
use crate::ids::PlanKey;
use crate::services::Error;

/// Characters of a plan's key.
const KEY: usize = 4;
/// The cursor of a listener that has received nothing.
const NOTHING: &str = "-";

/// A cursor. As text it is each plan's key and number, as in `c4tz118.k0vd2`: short, and fit for a header or an address.
/// `c4tz118-2` has received two events of transaction 118, and of all before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<PlanKey, Place>);

/// A transaction, and how many of its events were received; 0 for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    number: u64,
    events: usize,
}

impl Cursor {
    /// The last transaction received as a whole in a plan.
    #[must_use]
    pub fn at(&self, plan: &PlanKey) -> Option<u64> {
        let place = self.0.get(plan)?;
        Some(if place.events == 0 { place.number } else { place.number.saturating_sub(1) })
    }

    /// How many events were received of a transaction that was not received as a whole.
    #[must_use]
    pub fn events_of(&self, plan: &PlanKey, number: u64) -> usize {
        self.0.get(plan).filter(|place| place.number == number).map_or(0, |place| place.events)
    }

    /// Notes that everything up to a transaction has been received.
    pub fn move_to(&mut self, plan: &PlanKey, number: u64) {
        self.0.insert(plan.clone(), Place { number, events: 0 });
    }

    /// Notes that so many events of a transaction have been received, and everything before it.
    pub fn move_into(&mut self, plan: &PlanKey, number: u64, events: usize) {
        self.0.insert(plan.clone(), Place { number, events });
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NOTHING);
        }
        for (index, (plan, Place { number, events })) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{plan}{number}")?;
            if *events > 0 {
                write!(f, "-{events}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == NOTHING {
            return Ok(Self::default());
        }
        let piece = |piece: &str| {
            let (plan, place) = piece.split_at_checked(KEY)?;
            let (number, events) = match place.split_once('-') {
                Some((number, events)) => (number, events.parse().ok()?),
                None => (place, 0),
            };
            Some((PlanKey::parse(plan).ok()?, Place { number: number.parse().ok()?, events }))
        };
        text.split('.').map(piece).collect::<Option<_>>().map(Self).ok_or_else(|| {
            Error::new(ErrorCode::ExpiredCursor, "the cursor is damaged").hint("start again without a cursor")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_round_trips() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        cursor.move_to(&PlanKey::parse("k0vd").unwrap(), 2);
        cursor.move_to(&PlanKey::parse("c4tz").unwrap(), 118);
        assert_eq!(cursor.to_string(), "c4tz118.k0vd2");
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    }

    #[test]
    fn cursor_within_a_transaction_counts_delivered_events() {
        let plan = PlanKey::parse("c4tz").unwrap();
        let mut cursor = Cursor::default();
        cursor.move_into(&plan, 118, 2);
        assert_eq!(cursor.to_string(), "c4tz118-2");
        let read: Cursor = "c4tz118-2".parse().unwrap();
        assert_eq!((read.at(&plan), read.events_of(&plan, 118), read.events_of(&plan, 119)), (Some(117), 2, 0));
        cursor.move_to(&plan, 118);
        assert_eq!((cursor.at(&plan), cursor.events_of(&plan, 118)), (Some(118), 0));
    }

    #[test]
    fn a_damaged_cursor_is_refused() {
        for text in ["", "x", "c4tz", "c4tz-1", "c4tz1-", "c4tz1.", "C4TZ1", "c4tz1,k0vd2", "ééé1"] {
            assert_eq!(text.parse::<Cursor>().unwrap_err().code, ErrorCode::ExpiredCursor, "{text}");
        }
    }
}
