//! The permissions that a bus user needs, and those that are missing. Must not depend on a
//! transport or RES.

use std::fmt;

use bytes::Bytes;

use super::router::Router;

/// What a process does on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// It subscribes.
    Subscribe,
    /// It publishes.
    Publish,
}

/// Something that must be permitted, or is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// The act.
    pub act: Act,
    /// The pattern of its subjects.
    pub pattern: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Subscribe => "subscribe to",
            Act::Publish => "publish to",
        };
        write!(f, "{act} {:?}", self.pattern)
    }
}

/// Something that must be permitted, and how to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The permission that is needed.
    pub permission: Permission,
    /// A subject that the pattern covers and nobody uses.
    pub subject: String,
    /// The payload of the test message to `subject`; every receiver ignores it.
    pub payload: Bytes,
    /// Not tried at start, because the same subject is then used in earnest.
    pub is_used_at_start: bool,
}

impl Need {
    /// To subscribe to `pattern`.
    #[must_use]
    pub fn subscribe(pattern: impl Into<String>) -> Self {
        let pattern = pattern.into();
        Self::subscribe_to(pattern.clone(), pattern)
    }

    /// To subscribe to what `pattern` covers, of which `subject` is an example.
    #[must_use]
    pub fn subscribe_to(pattern: impl Into<String>, subject: impl Into<String>) -> Self {
        let permission = Permission { act: Act::Subscribe, pattern: pattern.into() };
        Self { permission, subject: subject.into(), payload: Bytes::new(), is_used_at_start: false }
    }

    /// To publish to what `pattern` covers. To find out, `payload` is published to `subject`.
    #[must_use]
    pub fn publish(pattern: impl Into<String>, subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        let permission = Permission { act: Act::Publish, pattern: pattern.into() };
        Self { permission, subject: subject.into(), payload: payload.into(), is_used_at_start: false }
    }

    /// The same, but not tried at start: [`super::nats::NatsBus::publish_or_refuse`] does that.
    #[must_use]
    pub fn used_at_start(self) -> Self {
        Self { is_used_at_start: true, ..self }
    }

    /// To publish to `subject`, whose subscribers would act on a trial message. A refusal shows at
    /// the first use.
    #[must_use]
    pub fn untried(subject: impl Into<String>) -> Self {
        let permission = Permission { act: Act::Publish, pattern: subject.into() };
        Self { permission, subject: String::new(), payload: Bytes::new(), is_used_at_start: false }
    }
}

/// Finds the needs that a refused subject belongs to.
#[derive(Debug)]
pub(super) struct Needed {
    pub(super) needs: Vec<Need>,
    subscribe: Router<Permission>,
    publish: Router<Permission>,
}

impl Needed {
    pub(super) fn new(needs: Vec<Need>) -> Self {
        let (mut subscribe, mut publish) = (Router::new(), Router::new());
        for Need { permission, .. } in &needs {
            let router = match permission.act {
                Act::Subscribe => &mut subscribe,
                Act::Publish => &mut publish,
            };
            router.insert(&permission.pattern, permission.clone());
        }
        Self { needs, subscribe, publish }
    }

    /// What is needed and was refused, if `act` was refused on `subject`.
    pub(super) fn of(&self, act: Act, subject: &str) -> Vec<Permission> {
        let mut found = Vec::new();
        let router = match act {
            Act::Subscribe => &self.subscribe,
            Act::Publish => &self.publish,
        };
        router.find(subject, &mut |permission| found.push(permission.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_subject_is_matched_to_the_need_that_covers_it() {
        let needed = Needed::new(vec![
            Need::subscribe("auth.session.>"),
            Need::subscribe_to("conn.*.token", "conn.probe.token"),
            Need::publish("conn.*.token", "conn.probe.token", ""),
            Need::publish("event.session.>", "event.session.user.probe.change", ""),
        ]);
        let found = |act, subject| needed.of(act, subject).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found(Act::Subscribe, "auth.session.>"), [r#"subscribe to "auth.session.>""#]);
        assert_eq!(found(Act::Subscribe, "conn.c1.token"), [r#"subscribe to "conn.*.token""#]);
        assert_eq!(found(Act::Publish, "conn.c1.token"), [r#"publish to "conn.*.token""#]);
        assert_eq!(found(Act::Publish, "event.session.user.c1.change"), [r#"publish to "event.session.>""#]);
        // What a client asks of other services is their business.
        assert!(found(Act::Publish, "get.secret").is_empty());
        assert!(found(Act::Subscribe, "event.secret.*").is_empty());
        assert!(found(Act::Publish, "auth.session.>").is_empty());
    }
}
