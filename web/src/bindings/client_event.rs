//! What happens to a client and its resources, as JavaScript is told of it.

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
    /// The connection's state is another one.
    Connection {
        /// The new one.
        state: ConnectionState,
    },
    /// How far a resource can be trusted is another thing.
    Freshness {
        /// The resource.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// How far.
        freshness: Freshness,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[tsify(optional)]
        error: Option<ErrorValue>,
    },
    /// A model is there.
    Model {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// All that it has.
        #[tsify(type = "Record<string, ResValue>")]
        values: Members<'a, Value>,
    },
    /// A collection is there.
    Collection {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// All that it has.
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
    /// A collection has got a value.
    Add {
        /// The collection.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// Where it is now.
        index: u32,
        /// The value.
        #[tsify(type = "ResValue")]
        value: ResValue<'a>,
    },
    /// A collection has lost a value.
    Remove {
        /// The collection.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// Where it was.
        index: u32,
    },
    /// A custom event.
    Custom {
        /// Whose.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
        /// Its name.
        name: &'a str,
        /// What it says.
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
    /// A resource is not kept any longer.
    Forgotten {
        /// Its id.
        #[serde(with = "serde_wasm_bindgen::preserve")]
        #[tsify(type = "string")]
        rid: JsString,
    },
}

/// `connecting`: for the first time. `reconnecting`: the connection was lost, and is tried again with
/// back-off.
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

/// How far a resource can be trusted.
#[derive(Clone, Copy, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "crate::Freshness has them")]
pub enum Freshness {
    Loading,
    Live,
    Stale,
    Failed,
}

/// Resource ids as JavaScript has them, so that each crosses once.
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

/// `event` as a [`ClientEvent`]; none of a session, which this client does not keep. The engine has what
/// the resource holds.
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
