//! A collection in which each field of a task stands once, in field order. One allocation and no copy of the keys:
//! every merge of a task makes three.

use super::field::FieldRef;

/// What belongs to a field.
pub trait OfField {
    /// The field.
    fn field(&self) -> FieldRef<'_>;
}

/// Members by their field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByField<T>(Vec<T>);

impl<T> ByField<T> {
    /// The collection without members.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, in the order of their fields.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Keeps the members that fulfil a condition.
    pub fn retain(&mut self, keeps: impl FnMut(&T) -> bool) {
        self.0.retain(keeps);
    }
}

impl<T: OfField> ByField<T> {
    /// Members that are in the order of their fields already, each field once.
    pub(super) fn in_order(members: Vec<T>) -> Self {
        debug_assert!(members.is_sorted_by(|left, right| left.field() < right.field()));
        Self(members)
    }

    fn place<'a>(&self, field: impl Into<FieldRef<'a>>) -> Result<usize, usize> {
        let field = field.into();
        self.0.binary_search_by(|member| member.field().cmp(&field))
    }

    /// The member of a field.
    #[must_use]
    pub fn get<'a>(&self, field: impl Into<FieldRef<'a>>) -> Option<&T> {
        self.0.get(self.place(field).ok()?)
    }

    /// Whether a field has a member.
    #[must_use]
    pub fn contains<'a>(&self, field: impl Into<FieldRef<'a>>) -> bool {
        self.place(field).is_ok()
    }

    /// Takes the member of a field out.
    pub fn take<'a>(&mut self, field: impl Into<FieldRef<'a>>) -> Option<T> {
        let place = self.place(field).ok()?;
        Some(self.0.remove(place))
    }

    /// Puts a member in, in place of the one its field had.
    pub fn insert(&mut self, member: T) {
        match self.place(member.field()) {
            Ok(place) => {
                if let Some(known) = self.0.get_mut(place) {
                    *known = member;
                }
            }
            Err(place) => self.0.insert(place, member),
        }
    }

    /// The fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.0.iter().map(OfField::field)
    }
}

impl<T> Default for ByField<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Of several members of a field the last one counts.
impl<T: OfField> FromIterator<T> for ByField<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        let mut all = Self::new();
        for member in members {
            all.insert(member);
        }
        all
    }
}

impl<T: OfField, const N: usize> From<[T; N]> for ByField<T> {
    fn from(members: [T; N]) -> Self {
        members.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a ByField<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> IntoIterator for ByField<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
