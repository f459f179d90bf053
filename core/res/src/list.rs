//! A list for collections of any length: values in chunks, so that putting one in or taking one out moves those of its chunk only.
//!
//! In one vector, of ten thousand values a hundred and fifty kilobytes are moved for each: more than all else that an event costs.

use std::{fmt, iter::Flatten, slice, vec};

use serde::{Serialize, Serializer};

/// The most that a chunk holds.
const MOST: usize = 256;

/// Values in order.
#[derive(Clone)]
pub struct List<T> {
    /// None of them empty, but the only one.
    chunks: Vec<Vec<T>>,
}

/// The iterator of [`List::iter`].
pub type Iter<'a, T> = Flatten<slice::Iter<'a, Vec<T>>>;

impl<T> List<T> {
    /// The values.
    pub fn iter(&self) -> Iter<'_, T> {
        self.chunks.iter().flatten()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Puts `value` in at `index`. `false`, and nothing happens, if the list is too short.
    #[must_use]
    pub fn insert(&mut self, index: usize, value: T) -> bool {
        let (at, index) = self.place(index);
        let Some(chunk) = self.chunks.get_mut(at).filter(|chunk| index <= chunk.len()) else { return false };
        chunk.insert(index, value);
        if chunk.len() > MOST {
            let rest = chunk.split_off(MOST / 2);
            self.chunks.insert(at + 1, rest);
        }
        true
    }

    /// Takes out the value at `index`. `None`, and nothing happens, if there is none.
    #[must_use]
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let (mut at, mut index) = self.place(index);
        if self.chunks.get(at).is_some_and(|chunk| index == chunk.len()) {
            (at, index) = (at + 1, 0);
        }
        let chunk = self.chunks.get_mut(at).filter(|chunk| index < chunk.len())?;
        let value = chunk.remove(index);
        if chunk.is_empty() && self.chunks.len() > 1 {
            self.chunks.remove(at);
        }
        Some(value)
    }

    /// The chunk that has this index, or ends with it, and where in it.
    fn place(&self, mut index: usize) -> (usize, usize) {
        let mut at = 0;
        while let Some(chunk) = self.chunks.get(at).filter(|chunk| index > chunk.len()) {
            (at, index) = (at + 1, index - chunk.len());
        }
        (at, index)
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values = values.into_iter();
        let mut chunks = Vec::new();
        loop {
            let chunk: Vec<T> = values.by_ref().take(MOST).collect();
            if chunk.is_empty() && !chunks.is_empty() {
                return Self { chunks };
            }
            chunks.push(chunk);
        }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        values.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = Flatten<vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
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
            length in 0..3 * MOST,
            steps in prop::collection::vec((any::<bool>(), 0..4 * MOST), 0..4 * MOST),
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
            prop_assert!(list.chunks.iter().all(|chunk| chunk.len() <= MOST && (list.chunks.len() == 1 || !chunk.is_empty())));
            prop_assert_eq!(serde_json::to_string(&list).unwrap(), serde_json::to_string(&vector).unwrap());
            prop_assert_eq!(&list, &vector.into());
        }
    }

    #[test]
    fn it_can_be_emptied_and_filled() {
        let mut list = List::from(vec![1]);
        assert_eq!((list.remove(1), list.remove(0), list.remove(0), list.is_empty()), (None, Some(1), None, true));
        assert!(!list.insert(1, 2) && list.insert(0, 2));
        assert_eq!(list.into_iter().collect::<Vec<_>>(), [2]);
    }
}
