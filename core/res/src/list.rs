//! A list for collections of any length: putting a value in or taking one out moves the places of those behind it, not the values.
//!
//! In a vector of values, of ten thousand a hundred and fifty kilobytes are moved for each: more than all else that an event costs.

use std::{fmt, iter::Map, slice};

use serde::{Serialize, Serializer};

/// Values in order.
#[derive(Clone, PartialEq)]
pub struct List<T>(Vec<Box<T>>);

/// The iterator of [`List::iter`].
pub type Iter<'a, T> = Map<slice::Iter<'a, Box<T>>, fn(&'a Box<T>) -> &'a T>;

impl<T> List<T> {
    /// The values.
    pub fn iter(&self) -> Iter<'_, T> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The places of the values.
    #[must_use]
    pub fn places(&self) -> &[Box<T>] {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `value` in at `index`. `false`, and nothing happens, if the list is too short.
    #[must_use]
    pub fn insert(&mut self, index: usize, value: T) -> bool {
        let fits = index <= self.0.len();
        if fits {
            self.0.insert(index, Box::new(value));
        }
        fits
    }

    /// Takes out the value at `index`. `None`, and nothing happens, if there is none.
    #[must_use]
    pub fn remove(&mut self, index: usize) -> Option<T> {
        (index < self.0.len()).then(|| *self.0.remove(index))
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values.into_iter().map(Box::new).collect())
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is what a vector is.
        #[test]
        fn values_come_and_go_as_in_a_vector(
            length in 0..40_usize,
            steps in prop::collection::vec((any::<bool>(), 0..60_usize), 0..60),
        ) {
            let mut vector: Vec<usize> = (0..length).collect();
            let mut list: List<usize> = vector.clone().into();
            for (n, (more, index)) in steps.into_iter().enumerate() {
                if more {
                    let fits = index <= vector.len();
                    if fits {
                        vector.insert(index, n);
                    }
                    prop_assert_eq!(list.insert(index, n), fits);
                } else {
                    let there = index < vector.len();
                    prop_assert_eq!(list.remove(index), there.then(|| vector.remove(index)));
                }
                prop_assert_eq!(list.len(), vector.len());
            }
            prop_assert!(list.iter().eq(&vector));
            prop_assert_eq!(list.is_empty(), vector.is_empty());
            prop_assert_eq!(serde_json::to_string(&list).unwrap(), serde_json::to_string(&vector).unwrap());
            prop_assert_eq!(&list, &vector.into());
        }
    }
}
