//! A set of few things: in order, in one piece of memory, and a single word where it is empty.
//!
//! A replica holds two for each task, most of them with one member or none. A tree sets room for eleven aside with the first.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thin_vec::ThinVec;

/// A set of few things, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T>(ThinVec<T>);

impl<T> Few<T> {
    /// The set without members.
    #[must_use]
    pub fn new() -> Self {
        Self(ThinVec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Takes a member in; answers whether it is new.
    pub fn insert(&mut self, member: T) -> bool {
        match self.0.binary_search(&member) {
            Ok(_) => false,
            Err(place) => {
                self.0.insert(place, member);
                true
            }
        }
    }

    /// Takes a member out; answers whether it was there.
    pub fn remove(&mut self, member: &T) -> bool {
        match self.0.binary_search(member) {
            Ok(place) => {
                self.0.remove(place);
                true
            }
            Err(_) => false,
        }
    }

    /// What is a member of one of the two alone.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        let gone = self.iter().filter(|member| !other.contains(member));
        gone.chain(other.iter().filter(|member| !self.contains(member)))
    }

    /// Whether something is a member.
    #[must_use]
    pub fn contains(&self, member: &T) -> bool {
        self.0.binary_search(member).is_ok()
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        let mut all: ThinVec<T> = members.into_iter().collect();
        all.sort();
        all.dedup();
        all.shrink_to_fit();
        Self(all)
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = thin_vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Serialize> Serialize for Few<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Ord + Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(ThinVec::deserialize(deserializer)?.into_iter().collect())
    }
}
