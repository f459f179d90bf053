//! Events and new contents, as they happen to cached resources. Must not depend on who is notified.

use std::sync::Arc;

use relogin_res::service::event_subject;

use super::{Cache, Cause, News, Notice, notice};
use crate::{bus::Bus, content::Content, counts::MessageKind, ids::ResourceKey};

impl Cache {
    /// Takes note of an event on the resource name `name`.
    pub(crate) fn on_event(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) -> Vec<Notice> {
        let Some(queries) = self.names.get(name) else { return Vec::new() };
        if event == "reaccess" {
            // Waits for nothing: what comes after it must not be seen by who may not.
            self.reset_access(name, Cause::Event);
            return Vec::new();
        }
        if queries.is_locked() {
            self.hold(name, event, payload, bus);
            return Vec::new();
        }
        self.apply_to_name(name, event, payload, bus)
    }

    /// Lets an event happen to a resource name for which nothing waits.
    pub(super) fn apply_to_name(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) -> Vec<Notice> {
        if event == "query" {
            self.begin_round(name, payload, bus);
            return Vec::new();
        }
        self.apply_plain(name, event, payload, bus).into_iter().collect()
    }

    /// Lets an event happen to the resource of the name that has no query, however its subscribers
    /// call it.
    fn apply_plain(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) -> Option<Notice> {
        let key = self.names.get(name)?.find(None)?;
        // A name without a query may still be a query resource, which has query events only.
        let is_plain = self.resources.get(&key)?.query().is_none();
        if is_plain { self.apply(key, event, payload, bus) } else { None }
    }

    /// Lets an event happen to a resource.
    pub(super) fn apply(&mut self, key: ResourceKey, event: &str, payload: &[u8], bus: &mut Bus) -> Option<Notice> {
        let resource = self.resources.get_mut(&key)?;
        let happened = match resource.on_event(event, payload) {
            Ok(happened) => happened?,
            Err(problem) => {
                bus.complain(MessageKind::Event, event_subject(resource.rid.name(), event), problem);
                return None;
            }
        };
        let event = happened.in_bytes(payload.len());
        let is_delete = event.is_delete();
        let notice = notice(key, News::Event(Arc::new(event)));
        if is_delete {
            self.drop_resource(key, bus);
        }
        Some(notice)
    }

    /// Makes `content`, which had so many bytes, the content of a resource.
    pub(super) fn replace(&mut self, key: ResourceKey, content: &Content, bytes: usize) -> Vec<Notice> {
        let Some(resource) = self.resources.get_mut(&key) else { return Vec::new() };
        let events = resource.replace(content).unwrap_or_default().into_iter();
        events.map(|event| notice(key, News::Event(Arc::new(event.in_bytes(bytes))))).collect()
    }

    /// Deletes a resource, and announces that.
    pub(super) fn delete(&mut self, key: ResourceKey, bus: &mut Bus) -> Option<Notice> {
        let resource = self.resources.get_mut(&key)?;
        let event = resource.delete(None);
        let notice = notice(key, News::Event(Arc::new(event)));
        self.drop_resource(key, bus);
        Some(notice)
    }
}
