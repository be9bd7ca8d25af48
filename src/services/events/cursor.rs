//! Where a listener stands: for each plan, the number of the last transaction it has heard of.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::ErrorCode;
use crate::ids::PlanKey;
use crate::services::Error;

/// Characters of a plan's key.
const KEY: usize = 4;
/// The cursor of somebody who has heard of no plan.
const NOTHING: &str = "-";

/// A cursor. As text it is each plan's key and number, as in `c4tz118.k0vd2`: short, and fit for a header or an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<PlanKey, u64>);

impl Cursor {
    /// The last transaction heard of in a plan.
    #[must_use]
    pub fn at(&self, plan: &PlanKey) -> Option<u64> {
        self.0.get(plan).copied()
    }

    /// Notes that everything up to a transaction has been heard of.
    pub fn move_to(&mut self, plan: &PlanKey, number: u64) {
        self.0.insert(plan.clone(), number);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NOTHING);
        }
        for (place, (plan, number)) in self.0.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            write!(f, "{dot}{plan}{number}")?;
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
            let (plan, number) = piece.split_at_checked(KEY)?;
            Some((PlanKey::parse(plan).ok()?, number.parse().ok()?))
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
    fn a_cursor_reads_back_as_it_was_written() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        cursor.move_to(&PlanKey::parse("k0vd").unwrap(), 2);
        cursor.move_to(&PlanKey::parse("c4tz").unwrap(), 118);
        assert_eq!(cursor.to_string(), "c4tz118.k0vd2");
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    }

    #[test]
    fn a_damaged_cursor_is_refused() {
        for text in ["", "x", "c4tz", "c4tz-1", "c4tz1.", "C4TZ1", "c4tz1,k0vd2", "ééé1"] {
            assert_eq!(text.parse::<Cursor>().unwrap_err().code, ErrorCode::ExpiredCursor, "{text}");
        }
    }
}
