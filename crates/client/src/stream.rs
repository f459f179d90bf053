//! Streams of values and events.

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use relogin_client_proto::Event;
use relogin_res::ResourceId;
use serde::de::DeserializeOwned;

use crate::{
    Error,
    held::Held,
    shared::{News, Shared},
};

/// A stream of a resource's newest values: one item whenever they, or the values of what it refers
/// to, have changed since the last item. A slow reader misses values in between, but never the last
/// ones. Ends with the client.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Changes<T> {
    held: Arc<Held>,
    watch: Watching,
    values: PhantomData<fn() -> T>,
}

/// A stream of the events of one resource, or of the client. A reader that falls 1,024 events
/// behind loses them, and gets one that says that the resource was loaded, so that it reads it
/// again. Ends with the client.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Events {
    watch: Watching,
    /// Keeps the resource subscribed.
    _held: Option<Arc<Held>>,
}

/// A watch, which ends when this is dropped.
#[derive(Debug)]
struct Watching {
    shared: Arc<Shared>,
    id: u64,
}

impl<T> Changes<T> {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        let watch = Watching::new(held.shared(), Some(held.rid.clone()), false);
        let rids = held.reach();
        watch.shared.lock().look_at(watch.id, rids);
        Self { held, watch, values: PhantomData }
    }
}

impl Events {
    /// The events of a resource.
    pub(crate) fn of(held: Arc<Held>) -> Self {
        Self { watch: Watching::new(held.shared(), Some(held.rid.clone()), true), _held: Some(held) }
    }

    /// The events of the client.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { watch: Watching::new(shared, None, true), _held: None }
    }
}

impl Watching {
    fn new(shared: &Arc<Shared>, rid: Option<ResourceId>, each: bool) -> Self {
        let id = shared.lock().watch(rid, each);
        Self { shared: Arc::clone(shared), id }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<News> {
        self.shared.lock().news(self.id, context.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T: DeserializeOwned> Stream for Changes<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.watch.poll(context).map(|news| match news {
            News::Changed => {
                let rids = self.held.reach();
                self.watch.shared.lock().look_at(self.watch.id, rids);
                Some(self.held.read())
            }
            News::Deleted => Some(Err(Error::Deleted)),
            News::Event(_) | News::Over => None,
        })
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.watch.poll(context).map(|news| match news {
            News::Event(event) => Some(event),
            News::Changed | News::Deleted | News::Over => None,
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.lock().unwatch(self.id);
    }
}
