//! The events of a client and its resources, as they are passed to JavaScript. Must not depend on
//! how they are passed.

use js_sys::JsString;
use relogin_client::Engine;
use relogin_client_proto::Resource;
use relogin_res::{Change, Map, ResourceId, Value, delta::Step};
use serde::Serialize;
use tsify::Tsify;
use wasm_bindgen::JsValue;

use super::{
    error::ErrorValue,
    to_js,
    value::{Items, Members, Plain, ResValue},
};
use crate::{Event, ResourceChange};

/// Something that has happened.
#[derive(Debug, Serialize, Tsify)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ClientEvent<'a> {
    /// The connection's state has changed.
    Connection {
        /// The new state.
        state: ConnectionState,
    },
    /// The freshness of a resource has changed.
    Freshness {
        /// The resource.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// Its new freshness.
        freshness: Freshness,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[tsify(optional)]
        error: Option<ErrorValue>,
    },
    /// A model has been loaded.
    Model {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// All its values.
        #[tsify(type = "Record<string, ResValue>")]
        values: Members<'a, Value>,
    },
    /// A collection has been loaded.
    Collection {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// All its values.
        #[tsify(type = "ResValue[]")]
        items: Items<'a>,
    },
    /// Members of a model have changed.
    Change {
        /// The model.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// The new values.
        #[tsify(type = "Record<string, ResValue>")]
        values: Members<'a, Change>,
    },
    /// A value was added to a collection.
    Add {
        /// The collection.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// The index of the value.
        index: u32,
        /// The value.
        #[tsify(type = "ResValue")]
        value: ResValue<'a>,
    },
    /// A value was removed from a collection.
    Remove {
        /// The collection.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// The index that the value had.
        index: u32,
    },
    /// A custom event.
    Custom {
        /// The resource.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// Its name.
        name: &'a str,
        /// Its data.
        #[tsify(type = "unknown")]
        data: Plain<'a>,
    },
    /// The service has deleted a resource.
    Deleted {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
    },
    /// A resource is no longer kept.
    Forgotten {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
    },
}

/// `connecting`: for the first time. `reconnecting`: the connection was lost, and is tried again
/// with back-off. `stopped`: for good.
#[derive(Clone, Copy, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "said above, where TypeScript shows it")]
pub enum ConnectionState {
    Connecting,
    Connected,
    Reconnecting,
    Stopped,
}

impl From<crate::ConnectionState> for ConnectionState {
    fn from(state: crate::ConnectionState) -> Self {
        match state {
            crate::ConnectionState::Connecting => Self::Connecting,
            crate::ConnectionState::Connected => Self::Connected,
            crate::ConnectionState::Reconnecting { .. } => Self::Reconnecting,
            crate::ConnectionState::Stopped => Self::Stopped,
        }
    }
}

/// Whether the values of a resource are up to date.
#[derive(Clone, Copy, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "crate::Freshness has them")]
pub enum Freshness {
    Loading,
    Live,
    Stale,
    Failed,
}

/// Resource ids as JavaScript texts, so that each is converted once.
#[derive(Debug, Default)]
pub(super) struct Ids(Map<ResourceId, JsString>);

impl Ids {
    fn get(&mut self, rid: &ResourceId) -> JsString {
        if let Some(known) = self.0.get(rid) {
            return known.clone();
        }
        let text = JsString::from(rid.as_str());
        self.0.insert(rid.clone(), text.clone());
        text
    }
}

/// Converts `event` to a [`ClientEvent`], with the values that `engine` has. `None` for events of a
/// session, which this client does not keep.
pub(super) fn to_value(event: &Event, engine: &Engine, ids: &mut Ids) -> Option<JsValue> {
    let event = match event {
        Event::Connection(state) => ClientEvent::Connection { state: (*state).into() },
        Event::Changed(rid, ResourceChange::Loaded) => {
            let text = ids.get(rid);
            return engine.read(rid, |loaded| {
                to_js(&match loaded {
                    Resource::Model(model) => ClientEvent::Model { rid: text, values: Members(model.as_slice()) },
                    Resource::Collection(items) => ClientEvent::Collection { rid: text, items: Items(items) },
                })
            });
        }
        Event::Changed(rid, change) => changed(ids.get(rid), change)?,
        Event::Freshness(rid, freshness) => {
            let (freshness, error) = match freshness {
                crate::Freshness::Loading => (Freshness::Loading, None),
                crate::Freshness::Live => (Freshness::Live, None),
                crate::Freshness::Stale => (Freshness::Stale, None),
                crate::Freshness::Failed(error) => (Freshness::Failed, Some(error.into())),
            };
            ClientEvent::Freshness { rid: ids.get(rid), freshness, error }
        }
        Event::Custom { rid, name, data } => ClientEvent::Custom { rid: ids.get(rid), name, data: Plain(data) },
        Event::Forgotten(rid) => {
            let text = ids.get(rid);
            ids.0.remove(rid);
            ClientEvent::Forgotten { rid: text }
        }
        _ => return None,
    };
    Some(to_js(&event))
}

fn changed(rid: JsString, change: &ResourceChange) -> Option<ClientEvent<'_>> {
    Some(match change {
        ResourceChange::Model(changes) => ClientEvent::Change { rid, values: Members(changes) },
        ResourceChange::Collection(Step::Add(index, value)) => {
            ClientEvent::Add { rid, index: *index as u32, value: value.into() }
        }
        ResourceChange::Collection(Step::Remove(index)) => ClientEvent::Remove { rid, index: *index as u32 },
        ResourceChange::Deleted => ClientEvent::Deleted { rid },
        ResourceChange::Loaded => return None,
    })
}
