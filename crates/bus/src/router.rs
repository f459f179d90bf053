//! Finds the patterns that match a subject: a trie of their parts, so that a lookup among thousands
//! of subscriptions costs no more than the subject has parts. Must not depend on mailboxes.

use std::collections::HashMap;

/// Values by pattern.
#[derive(Debug)]
pub(super) struct Router<T> {
    root: Node<T>,
    last: u64,
}

/// Identifies an inserted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteId(u64);

#[derive(Debug)]
struct Node<T> {
    /// Next parts by their text.
    literal: HashMap<Box<str>, Node<T>>,
    /// The next part is `*`.
    any: Option<Box<Node<T>>>,
    /// The rest is `>`: at least one more part.
    rest: Vec<(RouteId, T)>,
    /// The pattern ends here.
    here: Vec<(RouteId, T)>,
}

impl<T> Router<T> {
    pub(super) fn new() -> Self {
        Self { root: Node::new(), last: 0 }
    }

    /// Inserts `value` under `pattern`, which has been checked.
    pub(super) fn insert(&mut self, pattern: &str, value: T) -> RouteId {
        self.last += 1;
        let id = RouteId(self.last);
        let mut node = &mut self.root;
        for part in pattern.split('.') {
            match part {
                ">" => {
                    node.rest.push((id, value));
                    return id;
                }
                "*" => node = node.any.get_or_insert_with(|| Box::new(Node::new())),
                _ => node = node.literal.entry(part.into()).or_insert_with(Node::new),
            }
        }
        node.here.push((id, value));
        id
    }

    /// Removes the value `id` that was inserted under `pattern`.
    pub(super) fn remove(&mut self, pattern: &str, id: RouteId) {
        self.root.remove(pattern.split('.'), id);
    }

    /// True if no value is left.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// Calls `found` with each value whose pattern matches `subject`.
    pub(super) fn find(&self, subject: &str, found: &mut impl FnMut(&T)) {
        self.root.find(Some(subject), found);
    }
}

impl<T> Node<T> {
    fn new() -> Self {
        Self { literal: HashMap::new(), any: None, rest: Vec::new(), here: Vec::new() }
    }

    fn find(&self, subject: Option<&str>, found: &mut impl FnMut(&T)) {
        let Some(subject) = subject else {
            return self.here.iter().for_each(|(_, value)| found(value));
        };
        self.rest.iter().for_each(|(_, value)| found(value));
        let (part, left) = match subject.split_once('.') {
            Some((part, left)) => (part, Some(left)),
            None => (subject, None),
        };
        if let Some(node) = self.literal.get(part) {
            node.find(left, found);
        }
        if let Some(node) = &self.any {
            node.find(left, found);
        }
    }

    fn remove<'a>(&mut self, mut parts: impl Iterator<Item = &'a str>, id: RouteId) {
        match parts.next() {
            None => self.here.retain(|(other, _)| *other != id),
            Some(">") => self.rest.retain(|(other, _)| *other != id),
            Some("*") => {
                if let Some(node) = &mut self.any {
                    node.remove(parts, id);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(part) => {
                if let Some(node) = self.literal.get_mut(part) {
                    node.remove(parts, id);
                    if node.is_empty() {
                        self.literal.remove(part);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.rest.is_empty() && self.any.is_none() && self.literal.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(router: &Router<usize>, subject: &str) -> Vec<usize> {
        let mut values = Vec::new();
        router.find(subject, &mut |value| values.push(*value));
        values.sort_unstable();
        values
    }

    /// The definition, part by part: what the trie must agree with.
    fn matches(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", pattern @ ..], [_, subject @ ..]) => matches(pattern, subject),
            ([p, pattern @ ..], [s, subject @ ..]) => p == s && matches(pattern, subject),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn finds_what_matches_and_nothing_that_was_removed(
            patterns in prop::collection::vec(("([ab*]\\.){0,3}[ab*>]", any::<bool>()), 0..12),
            subject in "([abc]\\.){0,4}[abc]",
        ) {
            let mut router = Router::new();
            let ids: Vec<_> = patterns.iter().enumerate().map(|(n, (pattern, _))| router.insert(pattern, n)).collect();
            for ((pattern, keep), id) in patterns.iter().zip(&ids) {
                if !keep {
                    router.remove(pattern, *id);
                }
            }
            let subject_parts: Vec<_> = subject.split('.').collect();
            let expected: Vec<_> = (0..patterns.len())
                .filter(|&n| patterns[n].1 && matches(&patterns[n].0.split('.').collect::<Vec<_>>(), &subject_parts))
                .collect();
            prop_assert_eq!(found(&router, &subject), expected);

            for ((pattern, _), id) in patterns.iter().zip(&ids) {
                router.remove(pattern, *id);
            }
            prop_assert!(router.is_empty());
        }
    }
}
