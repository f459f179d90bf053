//! Changes of models and collections: applying them, and finding them between two states.
//!
//! Applying gives back what really changed, so that nobody is notified of what stays as it is.

use std::borrow::Borrow;

use crate::{Change, Map, Value};

/// What a change event carries: the members that change.
pub type Changes<V = Value> = Map<String, Change<V>>;

/// One step from a collection to another. [Collection add
/// event](https://resgate.io/docs/specification/res-service-protocol/#collection-add-event).
#[derive(Clone, Debug, PartialEq)]
pub enum Step<V = Value> {
    /// A value is put in at an index.
    Add(usize, V),
    /// The value at an index is taken out.
    Remove(usize),
}

/// Applies a change event to `model`. Returns the members that were not like that before.
#[must_use]
pub fn apply<V: Clone + PartialEq>(model: &mut Map<String, V>, changes: Changes<V>) -> Changes<V> {
    let mut effective = Map::new();
    for (name, change) in changes {
        let before = match &change {
            Change::Set(value) if model.get(&name) == Some(value) => continue,
            Change::Set(value) => model.insert(name.clone(), value.clone()),
            Change::Delete => model.remove(&name),
        };
        if before.is_some() || change != Change::Delete {
            effective.insert(name, change);
        }
    }
    effective
}

/// Puts `value` in at `index`. `false`, and nothing happens, if the collection is too short.
#[must_use]
pub fn add<V>(collection: &mut Vec<V>, index: usize, value: V) -> bool {
    let fits = index <= collection.len();
    if fits {
        collection.insert(index, value);
    }
    fits
}

/// Takes out the value at `index`. `None`, and nothing happens, if there is none.
#[must_use]
pub fn remove<V>(collection: &mut Vec<V>, index: usize) -> Option<V> {
    (index < collection.len()).then(|| collection.remove(index))
}

/// The changes that make the model `old` the model `new`.
#[must_use]
pub fn between_models<V: Clone + PartialEq>(old: &Map<String, V>, new: &Map<String, V>) -> Changes<V> {
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Change::Delete));
    let differ = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
    gone.chain(differ.map(|(name, value)| (name.clone(), value.clone().into()))).collect()
}

/// How many values [`between_collections`] may find to differ before it gives up on the fewest
/// steps: its time and memory grow with the square of them.
const MOST_DIFFERENCES: usize = 1024;

/// The steps that make the collection `old` the collection `new`, in the order in which they are to
/// be taken: the removals first, back to front, then the additions, front to back.
#[must_use]
pub fn between_collections<T: PartialEq + Borrow<V>, V: Clone>(old: &[T], new: &[T]) -> Vec<Step<V>> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_part, new_part) = (&old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end]);

    let common = longest_common(old_part, new_part);
    let (old_kept, new_kept): (Vec<_>, Vec<_>) = common.into_iter().unzip();
    let removed = (0..old_part.len()).rev().filter(|index| old_kept.binary_search(index).is_err());
    let added = (0..new_part.len()).filter(|index| new_kept.binary_search(index).is_err());
    removed
        .map(|index| Step::Remove(start + index))
        .chain(added.map(|index| Step::Add(start + index, new_part[index].borrow().clone())))
        .collect()
}

/// The longest common subsequence, as pairs of indices in rising order; an empty one if finding it
/// costs too much. After E. W. Myers, "An O(ND) difference algorithm and its variations", 1986.
fn longest_common<V: PartialEq>(a: &[V], b: &[V]) -> Vec<(usize, usize)> {
    let most = MOST_DIFFERENCES.min(a.len() + b.len());
    // On the diagonal k, k - middle more values of `a` than of `b` are dealt with; and of `a`,
    // furthest[k] at the most.
    let middle = most + 1;
    let mut furthest = vec![0; 2 * middle + 1];
    let mut rounds = Vec::new();
    for d in 0..=most {
        for k in (middle - d..=middle + d).step_by(2) {
            let from = came_from(&furthest[k - 1..=k + 1], k, middle - d, middle + d);
            let mut x = furthest[from] + usize::from(from < k);
            let mut y = x + middle - k;
            while a.get(x).is_some_and(|value| Some(value) == b.get(y)) {
                (x, y) = (x + 1, y + 1);
            }
            furthest[k] = x;
            if x >= a.len() && y >= b.len() {
                return retrace(&rounds, (a.len(), b.len()), middle);
            }
        }
        rounds.push(furthest[middle - d..=middle + d].to_vec());
    }
    Vec::new()
}

/// The diagonal from which, with one difference more, the diagonal `k` is reached, of those between
/// `first` and `last`; `around`: how far its neighbours and itself have got.
fn came_from(around: &[usize], k: usize, first: usize, last: usize) -> usize {
    if k == first || (k != last && around[0] < around[2]) { k + 1 } else { k - 1 }
}

/// Goes back through the rounds, and collects what was found to be common.
fn retrace(rounds: &[Vec<usize>], (mut x, mut y): (usize, usize), middle: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for d in (0..=rounds.len()).rev() {
        let k = x + middle - y;
        let (mut from_x, mut from_y) = (0, 0);
        if d > 0 {
            // A round has the diagonals middle - (d - 1)..=middle + (d - 1).
            let at =
                |k: usize| (k + d - 1).checked_sub(middle).and_then(|n| rounds[d - 1].get(n)).copied().unwrap_or(0);
            let from = came_from(&[at(k - 1), 0, at(k + 1)], k, middle - d, middle + d);
            (from_x, from_y) = (at(from), at(from) + middle - from);
        }
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            pairs.push((x, y));
        }
        (x, y) = (from_x, from_y);
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Collection, Model};

    fn model(json: serde_json::Value) -> Model {
        serde_json::from_value(json).unwrap()
    }

    fn changes(json: serde_json::Value) -> Changes {
        serde_json::from_value(json).unwrap()
    }

    fn letters(text: &str) -> Collection {
        text.chars().map(|c| Value::of(json!(c))).collect()
    }

    #[test]
    fn only_what_changes_is_returned() {
        let mut it = model(json!({"a": 1, "b": {"rid": "x"}, "c": {"data": [1]}, "d": null}));
        let delete = json!({"action": "delete"});
        let told = apply(
            &mut it,
            changes(json!({"a": 2, "b": {"rid": "x"}, "c": {"data": [1]}, "d": delete, "e": delete, "f": null})),
        );
        assert_eq!(told, changes(json!({"a": 2, "d": delete, "f": null})));
        assert_eq!(it, model(json!({"a": 2, "b": {"rid": "x"}, "c": {"data": [1]}, "f": null})));
    }

    #[test]
    fn indices_are_checked() {
        let mut it = letters("ab");
        assert!(add(&mut it, 2, Value::NULL));
        assert!(!add(&mut it, 4, Value::NULL));
        assert_eq!(remove(&mut it, 2), Some(Value::NULL));
        assert_eq!(remove(&mut it, 2), None);
        assert_eq!(it, letters("ab"));
    }

    #[test]
    fn the_difference_of_models_leads_from_one_to_the_other() {
        let (old, new) = (model(json!({"a": 1, "b": 2})), model(json!({"b": 3, "c": 4})));
        let found = between_models(&old, &new);
        assert_eq!(found, changes(json!({"a": {"action": "delete"}, "b": 3, "c": 4})));
        let mut it = old;
        assert_eq!(apply(&mut it, found.clone()), found);
        assert_eq!(it, new);
    }

    #[test]
    fn the_difference_of_collections_leads_from_one_to_the_other_in_the_fewest_steps() {
        for (old, new, steps) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abcdef", "abXdef", 2),
            ("abcabba", "cbabac", 5),
            ("xaxbxc", "abc", 3),
            ("abc", "xaxbxc", 3),
            ("ab", "ba", 2),
        ] {
            let found = between_collections(&letters(old), &letters(new));
            assert_eq!(found.len(), steps, "{old} {new}");
            assert_eq!(taken(letters(old), found), letters(new), "{old} {new}");
        }
    }

    #[test]
    fn a_difference_too_costly_to_find_still_leads_there() {
        let (old, new): (Collection, Collection) =
            ((0..2000).map(|n| Value::of(json!(n))).collect(), (0..2000).rev().map(|n| Value::of(json!(n))).collect());
        assert_eq!(taken(old.clone(), between_collections(&old, &new)), new);
    }

    #[test]
    fn few_differences_of_many_values_are_found_in_the_fewest_steps() {
        let old: Collection = (0..10_000).map(|n| Value::of(json!(n % 777))).collect();
        let mut new = old.clone();
        for n in 0..100 {
            new.remove(n * 97);
            new.insert(n * 53, Value::of(json!("new")));
        }
        let found = between_collections(&old, &new);
        assert_eq!(found.len(), 200);
        assert_eq!(taken(old, found), new);
    }

    #[test]
    fn the_steps_are_as_few_as_a_table_of_all_finds() {
        // All words of up to five letters of two, against each other.
        let words: Vec<String> = (0..=5_u32)
            .flat_map(|length| {
                (0..1_u32 << length)
                    .map(move |bits| (0..length).map(|n| if bits >> n & 1 == 0 { 'a' } else { 'b' }).collect())
            })
            .collect();
        for old in &words {
            for new in &words {
                let (from, to) = (letters(old), letters(new));
                let found = between_collections(&from, &to);
                assert_eq!(found.len(), old.len() + new.len() - 2 * common(&from, &to), "{old} {new}");
                assert_eq!(taken(from, found), to, "{old} {new}");
            }
        }
    }

    fn common(a: &[Value], b: &[Value]) -> usize {
        match (a, b) {
            ([x, a_rest @ ..], [y, b_rest @ ..]) if x == y => 1 + common(a_rest, b_rest),
            ([_, a_rest @ ..], [_, b_rest @ ..]) => common(a_rest, b).max(common(a, b_rest)),
            _ => 0,
        }
    }

    fn taken(mut from: Collection, steps: Vec<Step>) -> Collection {
        for step in steps {
            match step {
                Step::Add(index, value) => assert!(add(&mut from, index, value)),
                Step::Remove(index) => assert!(remove(&mut from, index).is_some()),
            }
        }
        from
    }
}
