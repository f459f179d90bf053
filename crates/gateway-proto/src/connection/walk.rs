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

/// A resource, and how much of what it refers to was looked at.
#[derive(Debug)]
struct Place {
    rid: ResourceId,
    /// The next few of what it refers to, and the last of them: to find the place again costs more
    /// than to go on from it.
    ahead: vec::IntoIter<ResourceId>,
    last: Option<ResourceId>,
    has_more: bool,
}

/// How many references are looked up at a time.
const AHEAD: usize = 16;

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
        Self { roots: Vec::new().into_iter(), path: vec![Place::before(rid)] }
    }

    /// The next step; `None` at the end.
    pub(crate) fn step(&mut self, subscriptions: &Subscriptions) -> Option<Visit> {
        let Some(place) = self.path.last_mut() else { return self.roots.next().map(Visit::Root) };
        Some(match place.next_child(subscriptions) {
            Some(child) => Visit::Child(child),
            None => {
                self.path.pop();
                Visit::Back
            }
        })
    }

    /// Goes on with what this one refers to, before the others.
    pub(crate) fn descend(&mut self, rid: ResourceId) {
        self.path.push(Place::before(rid));
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
            self.at = Some(Place::before(rid.clone()));
            return Some(Edge::Begin(rid));
        };
        let child = place.next_child(subscriptions).map(Edge::Child);
        child.or_else(|| self.at.take().map(|place| Edge::End(place.rid)))
    }

    /// Goes on with the next resource, because this one refers to nothing.
    pub(crate) fn skip(&mut self) {
        self.at = None;
    }
}

impl Bulk for Edges {
    fn bulk(&self) -> usize {
        self.resources.bulk()
    }
}

impl Place {
    fn before(rid: ResourceId) -> Self {
        Self { rid, ahead: Vec::new().into_iter(), last: None, has_more: true }
    }

    fn next_child(&mut self, subscriptions: &Subscriptions) -> Option<ResourceId> {
        if self.ahead.len() == 0 && self.has_more {
            let references = &subscriptions.get(&self.rid)?.references;
            let after = self.last.as_ref().map_or(Unbounded, Excluded);
            let rest = references.range::<ResourceId, _>((after, Unbounded));
            let ahead: Vec<_> = rest.map(|(child, _)| child.clone()).take(AHEAD).collect();
            self.has_more = ahead.len() == AHEAD;
            self.last = if self.has_more { ahead.last().cloned() } else { None };
            self.ahead = ahead.into_iter();
        }
        self.ahead.next()
    }
}
