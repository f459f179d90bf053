//! Going through what resources refer to, one reference after the other, so that it can be left and
//! taken up again. What is gone through must stay as it is meanwhile. Knows neither bus nor cache.

use std::{
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    vec,
};

use relogin_res::ResourceId;

use super::subscription::Subscriptions;
use crate::discard::Bulk;

/// A resource, and the last of what it refers to that was looked at.
type Place = (ResourceId, Option<ResourceId>);

/// Goes through some resources and as far down as it is told to.
#[derive(Debug)]
pub(crate) struct Walk {
    roots: vec::IntoIter<ResourceId>,
    path: Vec<Place>,
}

/// Where a walk has come.
#[derive(Debug)]
pub(crate) enum Visit {
    /// To one of those with which it began.
    Root(ResourceId),
    /// To what another one refers to.
    Child(ResourceId),
    /// Back.
    Back,
}

/// Goes through some resources, and once through what each of them refers to.
#[derive(Debug)]
pub(crate) struct Edges {
    resources: Arc<Vec<ResourceId>>,
    next: usize,
    at: Option<Place>,
}

/// Where that has come.
#[derive(Debug)]
pub(crate) enum Edge {
    /// To a resource.
    Begin(ResourceId),
    /// To one that it refers to.
    Child(ResourceId),
    /// To the end of what it refers to.
    End(ResourceId),
}

impl Walk {
    /// Begins with `roots`.
    pub(crate) fn from(roots: Vec<ResourceId>) -> Self {
        Self { roots: roots.into_iter(), path: Vec::new() }
    }

    /// Begins with what a resource refers to.
    pub(crate) fn below(rid: ResourceId) -> Self {
        Self { roots: Vec::new().into_iter(), path: vec![(rid, None)] }
    }

    /// The next step; `None` at the end.
    pub(crate) fn step(&mut self, subscriptions: &Subscriptions) -> Option<Visit> {
        let Some(place) = self.path.last_mut() else { return self.roots.next().map(Visit::Root) };
        Some(match next_child(subscriptions, place) {
            Some(child) => Visit::Child(child),
            None => {
                self.path.pop();
                Visit::Back
            }
        })
    }

    /// Goes on with what this one refers to, before the others.
    pub(crate) fn descend(&mut self, rid: ResourceId) {
        self.path.push((rid, None));
    }
}

impl Edges {
    pub(crate) fn of(resources: &Arc<Vec<ResourceId>>) -> Self {
        Self { resources: Arc::clone(resources), next: 0, at: None }
    }

    /// The next step; `None` at the end.
    pub(crate) fn step(&mut self, subscriptions: &Subscriptions) -> Option<Edge> {
        let Some(place) = &mut self.at else {
            let rid = self.resources.get(self.next)?.clone();
            self.next += 1;
            self.at = Some((rid.clone(), None));
            return Some(Edge::Begin(rid));
        };
        let child = next_child(subscriptions, place).map(Edge::Child);
        child.or_else(|| self.at.take().map(|(rid, _)| Edge::End(rid)))
    }
}

impl Bulk for Edges {
    fn bulk(&self) -> usize {
        self.resources.bulk()
    }
}

fn next_child(subscriptions: &Subscriptions, (rid, last): &mut Place) -> Option<ResourceId> {
    let references = &subscriptions.get(rid)?.references;
    let after = last.as_ref().map_or(Unbounded, Excluded);
    let (child, _) = references.range::<ResourceId, _>((after, Unbounded)).next()?;
    *last = Some(child.clone());
    Some(child.clone())
}
