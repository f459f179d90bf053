//! Events on their way from a gateway to a client.

use serde::Serialize;
use serde_json::Value as Json;

use super::{ResourceSet, encode};
use crate::{Change, Collection, Error, Members, Model, ResourceId, Value, delta::Changes, members};

/// An event. [Event
/// object](https://resgate.io/docs/specification/res-client-protocol/#event-object).
#[derive(Clone, Debug)]
pub struct Event {
    /// The resource.
    pub rid: ResourceId,
    /// The event's name.
    pub name: String,
    /// None if there are none, or null; to be read with [`EventKind::read`].
    pub data: Option<Json>,
}

/// What an event says.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// Members of a model changed.
    Change(ChangeEvent),
    /// A collection got a value.
    Add(AddEvent),
    /// A collection lost a value.
    Remove(RemoveEvent),
    /// The resource is no longer directly subscribed.
    Unsubscribe(UnsubscribeEvent),
    /// The resource is gone.
    Delete,
    /// Anything else: the service's own, with what it carries; null if nothing.
    Custom(Json),
}

/// Data of a change event. [Model change
/// event](https://resgate.io/docs/specification/res-client-protocol/#model-change-event).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeEvent<V = Changes, M = Model, C = Collection> {
    /// The members that changed.
    pub values: V,
    /// What the new values refer to.
    #[serde(flatten)]
    pub resources: ResourceSet<M, C>,
}

/// Data of an add event. [Collection add
/// event](https://resgate.io/docs/specification/res-client-protocol/#collection-add-event).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddEvent<V = Value, M = Model, C = Collection> {
    /// Where the value is put in.
    pub idx: usize,
    /// The value.
    pub value: V,
    /// What the value refers to.
    #[serde(flatten)]
    pub resources: ResourceSet<M, C>,
}

/// Data of a remove event. [Collection remove
/// event](https://resgate.io/docs/specification/res-client-protocol/#collection-remove-event).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RemoveEvent {
    /// Where the value was.
    pub idx: usize,
}

/// Data of an unsubscribe event. [Unsubscribe
/// event](https://resgate.io/docs/specification/res-client-protocol/#unsubscribe-event).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnsubscribeEvent {
    /// Why.
    pub reason: Error,
}

impl EventKind {
    /// Reads the data of an event called `name`. `None` if it is one that RES defines and its data
    /// are not as RES says.
    #[must_use]
    pub fn read(name: &str, data: Option<Json>) -> Option<Self> {
        match name {
            "delete" => return Some(Self::Delete),
            "change" | "add" | "remove" | "unsubscribe" => {}
            _ => return Some(Self::Custom(data.unwrap_or_default())),
        }
        let mut data = members(data?)?;
        let idx = |data: &Members| usize::try_from(data.get("idx")?.as_u64()?).ok();
        let mut taken = |name| data.get_mut(name).map(Json::take);
        Some(match name {
            "change" => {
                let values = members(taken("values")?)?.into_iter();
                let values = values.map(|(name, json)| Some((name, Change::parse(json).ok()?)));
                let values = values.collect::<Option<Changes>>()?;
                Self::Change(ChangeEvent { values, resources: ResourceSet::take_from(&mut data)? })
            }
            "add" => {
                let value = Value::parse(taken("value")?).ok()?;
                Self::Add(AddEvent { idx: idx(&data)?, value, resources: ResourceSet::take_from(&mut data)? })
            }
            "remove" => Self::Remove(RemoveEvent { idx: idx(&data)? }),
            _ => Self::Unsubscribe(UnsubscribeEvent { reason: Error::read(taken("reason")?)? }),
        })
    }
}

/// The frame of an event; no data leaves them out.
#[must_use]
pub fn encode_event(rid: &ResourceId, name: &str, data: Option<&impl Serialize>) -> String {
    #[derive(Serialize)]
    struct Wire<'a, T> {
        event: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a T>,
    }
    encode(&Wire { event: format!("{rid}.{name}"), data })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{json, value::RawValue};

    use super::*;
    use crate::client::Message;

    fn check(name: &str, data: Option<&impl Serialize>, expected: &Expect) -> Option<EventKind> {
        let frame = encode_event(&ResourceId::parse("a.b?q=1.5").unwrap(), name, data);
        expected.assert_eq(&frame);
        match Message::parse(&frame) {
            Some(Message::Event(event)) if event.rid.as_str() == "a.b?q=1.5" && event.name == name => {
                EventKind::read(name, event.data)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_survive_the_wire() {
        let values: Changes = serde_json::from_value(json!({"x": {"rid": "c"}, "y": {"action": "delete"}})).unwrap();
        let resources = ResourceSet::read(json!({"collections": {"c": [1]}})).unwrap();
        let change = ChangeEvent { values, resources };
        let kind = check(
            "change",
            Some(&change),
            &expect![[
                r#"{"event":"a.b?q=1.5.change","data":{"values":{"x":{"rid":"c"},"y":{"action":"delete"}},"collections":{"c":[1]}}}"#
            ]],
        );
        assert!(matches!(kind, Some(EventKind::Change(found)) if found == change));

        let add = AddEvent { idx: 2, value: Value::NULL, resources: ResourceSet::<Model, Collection>::default() };
        let kind = check("add", Some(&add), &expect![[r#"{"event":"a.b?q=1.5.add","data":{"idx":2,"value":null}}"#]]);
        assert!(matches!(kind, Some(EventKind::Add(found)) if found == add));

        let remove = RemoveEvent { idx: 0 };
        let kind = check("remove", Some(&remove), &expect![[r#"{"event":"a.b?q=1.5.remove","data":{"idx":0}}"#]]);
        assert!(matches!(kind, Some(EventKind::Remove(found)) if found == remove));

        let unsubscribe = UnsubscribeEvent { reason: Error::deleted() };
        let kind = check(
            "unsubscribe",
            Some(&unsubscribe),
            &expect![[
                r#"{"event":"a.b?q=1.5.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}"#
            ]],
        );
        assert!(matches!(kind, Some(EventKind::Unsubscribe(found)) if found == unsubscribe));

        let kind = check("delete", None::<&()>, &expect![[r#"{"event":"a.b?q=1.5.delete"}"#]]);
        assert!(matches!(kind, Some(EventKind::Delete)));
        let kind =
            check("rotated", Some(&json!({"n": 1})), &expect![[r#"{"event":"a.b?q=1.5.rotated","data":{"n":1}}"#]]);
        assert!(matches!(kind, Some(EventKind::Custom(data)) if data == json!({"n": 1})));
    }

    #[test]
    fn texts_of_models_stand_in_for_models() {
        let model = RawValue::from_string(r#"{"z" : 1}"#.into()).unwrap();
        let mut resources = ResourceSet::<&RawValue, &RawValue>::default();
        resources.models.insert(ResourceId::parse("m").unwrap(), &model);
        let event = ChangeEvent { values: &*model, resources };
        let frame = encode_event(&ResourceId::parse("a").unwrap(), "change", Some(&event));
        expect![[r#"{"event":"a.change","data":{"values":{"z" : 1},"models":{"m":{"z" : 1}}}}"#]].assert_eq(&frame);
    }

    #[test]
    fn malformed_data_is_no_event() {
        let parsed = |text: &str| match Message::parse(text) {
            Some(Message::Event(event)) => EventKind::read(&event.name, event.data).is_some(),
            _ => false,
        };
        assert!(parsed(r#"{"event":"a.change","data":{"values":{}}}"#));
        assert!(!parsed(r#"{"event":"a.change","data":{"values":[]}}"#));
        assert!(!parsed(r#"{"event":"a.change"}"#));
        assert!(!parsed(r#"{"event":"a.add","data":{"idx":-1,"value":1}}"#));
    }
}
