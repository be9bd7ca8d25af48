//! A tiny seeded generator (SplitMix64): ids, seed data and random faults come from it, so that the same
//! seed gives the same tenant on every machine. Not for secrets; the signing key comes from elsewhere.

use serde::{Deserialize, Serialize};

/// The letters of a Planner id.
const PLANNER_ID: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A deterministic source of numbers and ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Starts the sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`; 0 for an empty range.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// Returns true with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        ((self.next() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// Picks one item; `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Makes a directory object id.
    pub fn guid(&mut self) -> String {
        let bytes = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string()
    }

    // Six bits always lie within the 64 letters.
    #[allow(clippy::indexing_slicing)]
    fn letter(&mut self) -> char {
        PLANNER_ID[(self.next() >> 58) as usize & 63] as char
    }

    /// Makes a Planner id: 28 case-sensitive characters.
    pub fn planner_id(&mut self) -> String {
        // A first character that is a letter keeps ids usable as bare command line arguments.
        let mut id = String::with_capacity(28);
        while id.len() < 28 {
            let letter = self.letter();
            if !id.is_empty() || letter.is_ascii_alphabetic() {
                id.push(letter);
            }
        }
        id
    }

    /// Makes an opaque one-time value such as an authorization code.
    pub fn opaque(&mut self, length: usize) -> String {
        (0..length).map(|_| self.letter()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert_eq!(a.planner_id(), b.planner_id());
        assert_eq!(a.guid(), b.guid());
        assert_eq!(a.planner_id().len(), 28);
    }

    #[test]
    fn chance_faults_keep_their_rate() {
        let mut rng = Rng::new(1);
        let hits = (0..10_000).filter(|_| rng.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }
}
