//! A list for collections of any length: putting a value in or taking one out moves the places of
//! those behind it, not the values.
//!
//! In a vector of values, of ten thousand a hundred and sixty kilobytes are moved for each, on
//! average: more than all else that an event costs. With each value in a box of its own, loading
//! them takes as many allocations more.

use std::{fmt, mem};

use serde::{Serialize, Serializer};

/// Values in order.
#[derive(Clone)]
pub struct List<T> {
    /// Where in `values` each of them is.
    places: Vec<usize>,
    /// And what is left of those that were taken out.
    values: Vec<T>,
}

impl<T> List<T> {
    /// The values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.places.iter().map(|place| &self.values[*place])
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Puts `value` in at `index`. `false`, and nothing happens, if the list is too short.
    #[must_use]
    pub fn insert(&mut self, index: usize, value: T) -> bool {
        let fits = index <= self.places.len();
        if fits {
            self.places.insert(index, self.values.len());
            self.values.push(value);
        }
        fits
    }
}

impl<T: Default> List<T> {
    /// Takes out the value at `index`. `None`, and nothing happens, if there is none.
    #[must_use]
    pub fn remove(&mut self, index: usize) -> Option<T> {
        (index < self.places.len()).then(|| {
            let removed = mem::take(&mut self.values[self.places.remove(index)]);
            // Most of it is what is left of others: what is there moves together, once in as many
            // removals as that takes moves.
            if self.values.len() > 2 * self.places.len() {
                let values = self.places.iter().map(|place| mem::take(&mut self.values[*place]));
                *self = values.collect::<Vec<_>>().into();
            }
            removed
        })
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        Self { places: (0..values.len()).collect(), values }
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
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
                prop_assert!(list.values.len() <= 2 * list.len(), "what was taken out takes room");
            }
            prop_assert!(list.iter().eq(&vector));
            prop_assert_eq!(list.is_empty(), vector.is_empty());
            prop_assert_eq!(serde_json::to_string(&list).unwrap(), serde_json::to_string(&vector).unwrap());
            prop_assert_eq!(&list, &vector.into());
        }
    }
}
