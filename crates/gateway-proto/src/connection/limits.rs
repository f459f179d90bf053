//! Limits of one client: the length of its resource ids, the cost of its subscriptions, and its
//! pending requests to services.

use relogin_res::{
    Error, ResourceId,
    client::{Method, Request},
    rid::CID_TAG,
};

use super::{Connection, Shared};
use crate::bus::REQUEST_COST;

/// What a subscription costs beside its texts, in bytes: here, in the cache and in the bus, with a
/// small content.
const SUBSCRIPTION_COST: usize = 2048;

impl Connection {
    /// Looks whether a request may be carried out at all.
    ///
    /// # Errors
    /// The error that the client gets if it may not.
    pub(super) fn admit(&self, request: &Request, shared: &Shared) -> Result<(), Error> {
        let Some(rid) = request.method.resource() else { return Ok(()) };
        self.check_length(rid, shared)?;
        // What it will ask of services: nothing, whether it may and what there is, or whether it
        // may and the call.
        let rounds = match request.method {
            Method::Version | Method::Unsubscribe(_) => return Ok(()),
            Method::Auth(..) => 1,
            Method::Subscribe(_) | Method::Get(_) | Method::Call(..) | Method::New(_) => 2,
        };
        let params = request.params.as_ref().map_or(0, |params| params.get().len());
        let token = self.token.as_ref().map_or(0, |token| token.get().len());
        let head = if matches!(request.method, Method::Auth(..)) { self.origin.len() } else { 0 };
        let bytes = rounds * (REQUEST_COST + rid.as_str().len() + token) + params + head;
        let config = &shared.config;
        let (in_all, own) = shared.bus.asked_bytes(self.key);
        let is_over = own > 0 && own + bytes > config.max_request_bytes;
        let is_crowded = own + bytes > config.assured_bytes && in_all + bytes > config.max_request_bytes_in_all;
        if is_over || is_crowded { Err(Error::too_many_requests()) } else { Ok(()) }
    }

    /// Looks whether a resource id is too long: for a subject, or altogether.
    ///
    /// # Errors
    /// The reason that the client gets if it is.
    pub(super) fn check_length(&self, rid: &ResourceId, shared: &Shared) -> Result<(), Error> {
        let most = rid.as_str().len() + rid.as_str().len() / CID_TAG.len() * self.cid.len();
        if most <= shared.config.max_rid && most + "access..*".len() <= shared.config.max_subject {
            return Ok(());
        }
        let filled_in = |text: &str| {
            let tags = text.matches(CID_TAG).count();
            text.len().max(text.len() - tags * CID_TAG.len() + tags * self.cid.len())
        };
        // The longest subjects are those of calls, but for the method: `access.`, `event.` and `.*`
        // need no more than that.
        if filled_in(rid.name()) + "access..*".len() > shared.config.max_subject {
            Err(Error::subject_too_long())
        } else if filled_in(rid.as_str()) > shared.config.max_rid {
            Err(Error::invalid_query())
        } else {
            Ok(())
        }
    }

    /// True if the connection may have no further subscription.
    pub(super) fn has_all_subscriptions(&self, shared: &Shared) -> bool {
        let Shared { config, cache, subscription_bytes, .. } = shared;
        self.subscriptions.len() >= config.max_resources
            || self.subscription_bytes >= config.max_subscription_bytes
            || self.subscription_bytes >= config.assured_bytes
                && subscription_bytes + cache.content_bytes() >= config.max_subscription_bytes_in_all
    }

    /// Counts the cost of a subscription in.
    pub(super) fn count_in(&mut self, rid: &ResourceId, target: &ResourceId, shared: &mut Shared) {
        self.subscription_bytes += cost(rid, target);
        shared.subscriptions += 1;
        shared.subscription_bytes += cost(rid, target);
    }

    /// Counts it out.
    pub(super) fn count_out(&mut self, rid: &ResourceId, target: &ResourceId, shared: &mut Shared) {
        self.subscription_bytes -= cost(rid, target);
        shared.subscriptions -= 1;
        shared.subscription_bytes -= cost(rid, target);
    }
}

/// What a subscription costs, in bytes: its id stands here, and parts of it stand several times in
/// the cache and in the bus.
pub(crate) fn cost(rid: &ResourceId, target: &ResourceId) -> usize {
    SUBSCRIPTION_COST + rid.as_str().len() + 4 * target.as_str().len()
}
