//! The permissions that the service needs on a message bus, to subscribe and to publish. They are
//! listed here in advance, so that missing ones are found at start. Must not depend on a transport.

use relogin_bus::Need;
use relogin_res::service::{SYSTEM_RESET, SYSTEM_TOKEN_RESET, event_subject, token_subject};

use crate::{auth::outcomes, control, demo::DEMO_NAME};

/// A connection id that belongs to nobody: no gateway acts on messages to it.
const PROBE: &str = "reloginprobe";

/// What this process does on the bus.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// The resource name.
    pub name: String,
    /// It serves the demo's resource.
    pub demo: bool,
    /// It has a gateway.
    pub gateway: bool,
    /// It shares its store with other instances.
    pub shared: bool,
    /// It answers operators.
    pub control: bool,
    /// It asks a service for users here.
    pub users: Option<String>,
    /// It publishes the audit trail here.
    pub audit: Option<String>,
}

/// The permissions for that.
#[must_use]
pub fn needs(uses: &Uses) -> Vec<Need> {
    let name = &uses.name;
    let mut needs: Vec<_> = ["auth", "access", "get", "call"]
        .into_iter()
        .map(|kind| Need::subscribe(format!("{kind}.{name}.>")))
        .chain([Need::subscribe(format!("access.{name}")), Need::subscribe_to("_INBOX.>", format!("_INBOX.{PROBE}.*"))])
        .collect();
    let (user, sessions) = (format!("{name}.user.{PROBE}"), format!("{name}.sessions.{PROBE}"));
    needs.extend([
        Need::publish("conn.*.token", token_subject(PROBE), r#"{"token":null}"#),
        Need::publish(format!("event.{name}.user.*.change"), event_subject(&user, "change"), r#"{"values":{}}"#),
        Need::publish(format!("event.{name}.user.*.rotated"), event_subject(&user, "rotated"), "null"),
        Need::publish(SYSTEM_RESET, SYSTEM_RESET, "{}").used_at_start(),
        Need::publish(
            SYSTEM_TOKEN_RESET,
            SYSTEM_TOKEN_RESET,
            format!(r#"{{"tids":[],"subject":"auth.{name}.renew"}}"#),
        ),
        Need::publish("_INBOX.>", format!("_INBOX.{PROBE}.answer"), ""),
    ]);
    if uses.demo {
        needs.extend([
            Need::subscribe(format!("access.{DEMO_NAME}.>")),
            Need::subscribe(format!("get.{DEMO_NAME}.>")),
            Need::publish(
                format!("event.{DEMO_NAME}.model.change"),
                event_subject(&format!("{DEMO_NAME}.model"), "change"),
                r#"{"values":{}}"#,
            ),
        ]);
    }
    if uses.gateway {
        needs.extend([
            Need::subscribe("conn.*.token"),
            Need::subscribe_to(format!("event.{name}.user.*.*"), event_subject(&user, "*")),
            Need::subscribe_to(format!("event.{name}.sessions.>"), event_subject(&sessions, "*")),
            Need::subscribe(SYSTEM_RESET),
            Need::subscribe(SYSTEM_TOKEN_RESET),
            // Without a reply subject, so that nobody answers them.
            Need::publish(format!("auth.{name}.*"), format!("auth.{name}.{PROBE}"), "{}"),
            Need::publish(format!("access.{name}.user.*"), format!("access.{user}"), "{}"),
            Need::publish(format!("get.{name}.user.*"), format!("get.{user}"), "{}"),
            Need::publish(format!("access.{name}.sessions.>"), format!("access.{sessions}"), "{}"),
            Need::publish(format!("get.{name}.sessions.>"), format!("get.{sessions}"), "{}"),
        ]);
    }
    if uses.shared {
        let logins = outcomes::subject(name);
        needs.extend([Need::subscribe(logins.clone()), Need::publish(logins.clone(), logins, "")]);
    }
    if uses.gateway && uses.shared {
        // Each instance is answered at a method of its own.
        needs.push(Need::publish(format!("auth.{name}.renew.*"), format!("auth.{name}.renew.{PROBE}"), "{}"));
    }
    if uses.control {
        needs.extend(control::bus::needs(name));
    }
    if let Some(subject) = &uses.users {
        needs.extend([Need::subscribe(format!("{subject}.changed")), Need::untried(subject)]);
    }
    needs.extend(uses.audit.as_ref().map(Need::untried));
    needs
}

/// What a gateway would rather listen to than to thousands of names and connections one by one.
#[must_use]
pub fn wildcards(uses: &Uses) -> Vec<Need> {
    if uses.gateway { vec![Need::subscribe("event.>"), Need::subscribe("conn.*.token")] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use relogin_bus::{Act, check_pattern, check_subject};

    use super::*;

    #[test]
    fn each_need_is_tried_on_a_subject_that_it_covers() {
        let uses = Uses {
            name: "session".into(),
            demo: true,
            gateway: true,
            shared: true,
            control: true,
            users: Some("my.users".into()),
            audit: Some("my.audit".into()),
        };
        let needs = needs(&uses);
        for need in &needs {
            check_pattern(&need.permission.pattern).unwrap();
            if !need.subject.is_empty() && need.permission.act == Act::Publish {
                check_subject(&need.subject).unwrap();
            }
        }
        // Well below the 128 refusals that async-nats keeps.
        assert!(needs.len() < 64);
    }
}
