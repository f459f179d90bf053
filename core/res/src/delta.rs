//! Changes of models and collections: applying them, and finding them between two states.
//!
//! Applying gives back what really changed, so that nobody is told of what stays as it is.

use std::collections::BTreeMap;

use crate::{Change, Collection, Model, Value};

/// What a change event carries: the members that change.
pub type Changes = BTreeMap<String, Change>;

/// One step from a collection to another.
/// [Collection add event](https://resgate.io/docs/specification/res-service-protocol/#collection-add-event).
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A value is put in at an index.
    Add(usize, Value),
    /// The value at an index is taken out.
    Remove(usize),
}

/// Applies a change event to `model`. Returns the members that were not like that before.
#[must_use]
pub fn apply(model: &mut Model, changes: Changes) -> Changes {
    let mut effective = Changes::new();
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
pub fn add(collection: &mut Collection, index: usize, value: Value) -> bool {
    let fits = index <= collection.len();
    if fits {
        collection.insert(index, value);
    }
    fits
}

/// Takes out the value at `index`. `None`, and nothing happens, if there is none.
#[must_use]
pub fn remove(collection: &mut Collection, index: usize) -> Option<Value> {
    (index < collection.len()).then(|| collection.remove(index))
}

/// The changes that make the model `old` the model `new`.
#[must_use]
pub fn between_models(old: &Model, new: &Model) -> Changes {
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Change::Delete));
    let differ = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
    gone.chain(differ.map(|(name, value)| (name.clone(), value.clone().into()))).collect()
}

/// The largest table that [`between_collections`] makes, in cells. Beyond it, the steps are no longer the fewest.
const TABLE_LIMIT: usize = 1 << 20;

/// The steps that make the collection `old` the collection `new`, in the order in which they are to be taken: the
/// removals first, back to front, then the additions, front to back.
#[must_use]
pub fn between_collections(old: &[Value], new: &[Value]) -> Vec<Step> {
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
        .chain(added.map(|index| Step::Add(start + index, new_part[index].clone())))
        .collect()
}

/// The longest common subsequence, as pairs of indices in rising order; an empty one if finding it costs too much.
fn longest_common(a: &[Value], b: &[Value]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    if (a.len() + 1).saturating_mul(width) > TABLE_LIMIT {
        return Vec::new();
    }
    // lengths[i * width + j]: the length for a[i..] and b[j..].
    let mut lengths = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i * width + j] = if a[i] == b[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
    fn only_what_changes_is_told() {
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
