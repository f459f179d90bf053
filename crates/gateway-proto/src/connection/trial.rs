//! Finding out what nothing holds any more, circles of references included: a step at a time, while
//! nothing changes. Knows neither bus nor cache.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::ResourceId;

use super::{
    subscription::{Subscription, Subscriptions},
    walk::{Visit, Walk},
};

/// Which references count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hold {
    /// All: what keeps subscriptions.
    Needed,
    /// Those that the client knows of: what keeps resources with the client.
    Visible,
}

/// Which of some resources and what they refer to nothing holds any more. Looks no further than the
/// resources below them: it counts which references to them come from among themselves.
#[derive(Debug)]
pub(crate) struct Trial {
    hold: Hold,
    /// How often each of them is referred to from among themselves.
    from_within: BTreeMap<ResourceId, u32>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Counting references.
    Count(Walk),
    /// Looking for those to which there are more, which others hold. The last one that was looked
    /// at, and those that are held.
    Compare(Option<ResourceId>, Vec<ResourceId>),
    /// Taking out those that are held, and what they hold.
    Spare(Walk),
    Done,
}

impl Hold {
    /// The subscription to a resource that only references can hold.
    fn candidate<'a>(self, subscriptions: &'a Subscriptions, rid: &ResourceId) -> Option<&'a Subscription> {
        let subscription = subscriptions.get(rid)?;
        let (applies, is_pinned) = match self {
            Self::Needed => (true, subscription.pins > 0),
            Self::Visible => (subscription.is_visible(), false),
        };
        (applies && subscription.direct == 0 && !is_pinned).then_some(subscription)
    }

    fn parents(self, subscription: &Subscription) -> u32 {
        match self {
            Self::Needed => subscription.parents,
            Self::Visible => subscription.visible_parents,
        }
    }
}

impl Trial {
    pub(crate) fn new(hold: Hold, starts: Vec<ResourceId>) -> Self {
        Self { hold, from_within: BTreeMap::new(), phase: Phase::Count(Walk::from(starts)) }
    }

    /// Does a step. True at the end.
    pub(crate) fn step(&mut self, subscriptions: &Subscriptions) -> bool {
        match &mut self.phase {
            Phase::Count(walk) => match walk.step(subscriptions) {
                Some(Visit::Root(rid)) => self.visit(&rid, 0, subscriptions),
                Some(Visit::Child(rid)) => self.visit(&rid, 1, subscriptions),
                Some(Visit::Back) => {}
                None => self.phase = Phase::Compare(None, Vec::new()),
            },
            Phase::Compare(last, held) => {
                let after = last.as_ref().map_or(Unbounded, Excluded);
                let next = self.from_within.range::<ResourceId, _>((after, Unbounded)).next();
                if let Some((rid, count)) = next {
                    let it = self.hold.candidate(subscriptions, rid);
                    if it.is_some_and(|it| self.hold.parents(it) > *count) {
                        held.push(rid.clone());
                    }
                    *last = Some(rid.clone());
                } else {
                    self.phase = Phase::Spare(Walk::from(std::mem::take(held)));
                }
            }
            Phase::Spare(walk) => match walk.step(subscriptions) {
                Some(Visit::Root(rid) | Visit::Child(rid)) => {
                    if self.from_within.remove(&rid).is_some() {
                        walk.descend(rid);
                    }
                }
                Some(Visit::Back) => {}
                None => self.phase = Phase::Done,
            },
            Phase::Done => return true,
        }
        false
    }

    /// What nothing holds. To be asked at the end.
    pub(crate) fn unheld(self) -> Vec<ResourceId> {
        self.from_within.into_keys().collect()
    }

    fn visit(&mut self, rid: &ResourceId, references: u32, subscriptions: &Subscriptions) {
        if self.hold.candidate(subscriptions, rid).is_none() {
            return;
        }
        if let Some(count) = self.from_within.get_mut(rid) {
            *count += references;
        } else {
            self.from_within.insert(rid.clone(), references);
            if let Phase::Count(walk) = &mut self.phase {
                walk.descend(rid.clone());
            }
        }
    }
}
