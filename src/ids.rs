//! Identifiers, and the only source of randomness.
//!
//! Microsoft's ids are parsed once at the edge into types of their own, so that past it a plan cannot be taken for a
//! task and nothing unexpected gets into a URL or a storage key. A [`TaskId`] is ours: it names the plan's partition
//! in its first four characters, so that a task is found without an index. Ids of a kind are equally long, so they are
//! kept in place: a replica has a dozen for each task.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng, RngExt, SeedableRng};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is no valid id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id ({expected})")]
pub struct InvalidId {
    kind: &'static str,
    expected: &'static str,
    text: String,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $length:expr, $kind:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Parses the textual form.
            ///
            /// # Errors
            /// When the text has not the form this kind of id has.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(usize, u8) -> bool = $valid;
                match <[u8; $length]>::try_from(text.as_bytes()) {
                    Ok(bytes) if bytes.iter().enumerate().all(|(place, byte)| valid(place, *byte)) => Ok(Self(bytes)),
                    _ => Err(InvalidId { kind: $kind, expected: $expected, text: text.chars().take(64).collect() }),
                }
            }

            /// The textual form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default() // all of it is ASCII
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text($kind, PhantomData))
            }
        }
    };
}

/// Reads an id of the named kind from text, without a copy of it.
struct Text<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} id", self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

id_type!(
    /// A Planner plan. 28 characters, case-sensitive, made by the service.
    PlanId, 28, "plan", "28 characters: letters, digits, `-`, `_`", is_planners
);
id_type!(
    /// A Planner bucket. 28 characters, case-sensitive, made by the service.
    BucketId, 28, "bucket", "28 characters: letters, digits, `-`, `_`", is_planners
);
id_type!(
    /// A task as Planner names it. 28 characters, case-sensitive, made by the service.
    PlannerTaskId, 28, "Planner task", "28 characters: letters, digits, `-`, `_`", is_planners
);
id_type!(
    /// A Microsoft 365 group: a GUID.
    GroupId, 36, "group", "a GUID", is_guids
);
id_type!(
    /// A user of the directory: a GUID.
    UserId, 36, "user", "a GUID", is_guids
);
id_type!(
    /// The four characters that name a plan's partition inside a [`TaskId`].
    PlanKey, PLAN_KEY_LENGTH, "plan key", "4 lower-case characters", is_base32
);
id_type!(
    /// A task of the replica: plan key (4) and task part (10), lower-case base 32.
    TaskId, TASK_ID_LENGTH, "task", "14 lower-case letters and digits", is_base32
);

const PLAN_KEY_LENGTH: usize = 4;
const TASK_PART_LENGTH: usize = 10;
const TASK_ID_LENGTH: usize = PLAN_KEY_LENGTH + TASK_PART_LENGTH;
/// Crockford's alphabet: no `i`, `l`, `o`, `u`, so that an id read aloud is understood.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn is_planners(_: usize, byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_guids(place: usize, byte: u8) -> bool {
    if matches!(place, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() }
}

fn is_base32(_: usize, byte: u8) -> bool {
    ALPHABET.contains(&byte)
}

/// The `N` low characters of `number` in base 32.
fn base32<const N: usize>(number: u128) -> [u8; N] {
    std::array::from_fn(|place| {
        let digit = (number >> (5 * (N - 1 - place))) & 31;
        ALPHABET.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'0')
    })
}

/// The first 128 bits of SHA-256 over `parts`, each ended by a NUL.
#[must_use]
pub fn digest(parts: &[&str]) -> u128 {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

impl PlanKey {
    /// The key a plan should get; `attempt` counts up while the directory finds the key taken by another plan.
    #[must_use]
    pub fn derive(plan: &PlanId, attempt: u32) -> Self {
        Self(base32(digest(&["plan", plan.as_str(), &attempt.to_string()])))
    }
}

impl TaskId {
    /// The id of a task first seen on Planner: the same on every instance that imports it.
    #[must_use]
    pub fn imported(plan: &PlanKey, task: &PlannerTaskId) -> Self {
        Self::of(plan, digest(&["task", task.as_str()]))
    }

    /// An id for a task we create, from 50 bits of `entropy`.
    #[must_use]
    pub fn random(plan: &PlanKey, entropy: &Entropy) -> Self {
        Self::of(plan, u128::from(entropy.number()))
    }

    /// An id that follows from a key: deriving it again gives the same.
    #[must_use]
    pub fn keyed(plan: &PlanKey, caller: &str, key: &str) -> Self {
        Self::of(plan, digest(&["key", caller, key]))
    }

    fn of(plan: &PlanKey, number: u128) -> Self {
        let part: [u8; TASK_PART_LENGTH] = base32(number);
        let mut id = [0; TASK_ID_LENGTH];
        for (place, byte) in id.iter_mut().zip(plan.0.iter().chain(&part)) {
            *place = *byte;
        }
        Self(id)
    }

    /// The partition this task lives in.
    #[must_use]
    pub fn plan_key(&self) -> PlanKey {
        let [a, b, c, d, ..] = self.0;
        PlanKey([a, b, c, d])
    }
}

/// The program's only source of randomness; seeded in tests and simulations.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<rand::rngs::StdRng>>),
}

impl Entropy {
    /// The operating system's randomness.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A reproducible stream.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(rand::rngs::StdRng::seed_from_u64(seed)))))
    }

    /// 64 random bits.
    #[must_use]
    pub fn number(&self) -> u64 {
        match &self.0 {
            #[allow(clippy::disallowed_methods)] // the one place that may ask the system
            Source::System => rand::rng().next_u64(),
            Source::Seeded(rng) => rng.lock().next_u64(),
        }
    }

    /// A number in `0.0..1.0`.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        match &self.0 {
            #[allow(clippy::disallowed_methods)]
            Source::System => rand::rng().random(),
            Source::Seeded(rng) => rng.lock().random(),
        }
    }

    /// A random GUID (version 4).
    #[must_use]
    pub fn guid(&self) -> String {
        let bits = (u128::from(self.number()) << 64) | u128::from(self.number());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }

    /// A sortable id: 10 characters of milliseconds, 16 of randomness.
    #[must_use]
    pub fn ulid(&self, now: chrono::DateTime<chrono::Utc>) -> String {
        let millis = u128::try_from(now.timestamp_millis()).unwrap_or(0);
        let random = (u128::from(self.number()) << 64) | u128::from(self.number());
        let text = [&base32::<10>(millis)[..], &base32::<16>(random)].concat();
        String::from_utf8(text).unwrap_or_default() // all of it is ASCII
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planner_id_has_28_characters_of_its_alphabet() {
        assert!(PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").is_ok());
        assert!(PlanId::parse("xqQg5FS2LkCp935s/FIFm2QAFkHM").is_err());
        assert_eq!(
            PlanId::parse("x").unwrap_err().to_string(),
            "`x` is not a plan id (28 characters: letters, digits, `-`, `_`)"
        );
    }

    #[test]
    fn a_task_id_names_its_partition() {
        let plan = PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap();
        let key = PlanKey::derive(&plan, 0);
        let task = TaskId::random(&key, &Entropy::seeded(1));
        assert_eq!(task.plan_key(), key);
        assert_eq!(TaskId::parse(task.as_str()), Ok(task));
    }

    #[test]
    fn imported_task_ids_are_deterministic() {
        let key = PlanKey::derive(&PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap(), 0);
        let task = PlannerTaskId::parse("01gzSlKkIUSUl6DF_EilrmQAKDhh").unwrap();
        assert_eq!(TaskId::imported(&key, &task), TaskId::imported(&key, &task));
    }

    #[test]
    fn ulids_sort_by_time() {
        let entropy = Entropy::seeded(1);
        let early = entropy.ulid(chrono::DateTime::UNIX_EPOCH);
        let late = entropy.ulid(chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(9000));
        assert!(early < late);
    }
}
