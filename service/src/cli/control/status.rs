//! How a service is, in words.

use std::{
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use humantime::{format_duration, format_rfc3339_seconds};

use crate::control::protocol::{BusStatusKind, Status};

/// A line for each thing, aligned.
pub(super) fn print(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let count = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let ready = ready(status);
    let started = format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(status.started));
    let bus = match (status.bus.kind, status.bus.connected) {
        (BusStatusKind::Local, _) => "in the process",
        (BusStatusKind::Nats, true) => "NATS, connected",
        (BusStatusKind::Nats, false) => "NATS, not connected",
    };
    let mut lines = vec![
        ("name", status.name.clone()),
        ("version", status.version.clone()),
        ("ready", ready),
        ("up", format!("{}, since {started}", format_duration(Duration::from_secs(status.uptime)))),
        ("store", status.store.clone()),
        ("sessions", count(status.sessions)),
        ("bus", bus.to_owned()),
    ];
    if let Some(connections) = status.connections {
        lines.push(("connections", connections.to_string()));
    }
    if let Some(instances) = &status.instances {
        lines.push(("instances", format!("{}; this one is {}", instances.others.len() + 1, instances.this)));
    }
    for (what, how) in lines {
        writeln!(out, "{what:12}{}", how.replace(char::is_control, "\u{fffd}"))?;
    }
    Ok(())
}

/// Whether it can answer clients, and why not.
pub(super) fn ready(status: &Status) -> String {
    match (&status.problem, status.ready) {
        (_, true) => "yes".to_owned(),
        (Some(problem), false) => format!("no: {problem}"),
        (None, false) => "no".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::control::protocol::{BusStatus, InstancesStatus};

    fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            name: "session".to_owned(),
            ready: true,
            problem: None,
            started: 1_795_983_725_123,
            uptime: 93_784,
            store: "sled".to_owned(),
            sessions: Some(1_234_567),
            connections: Some(87),
            bus: BusStatus { kind: BusStatusKind::Local, connected: true },
            instances: None,
        }
    }

    fn printed(status: &Status) -> String {
        let mut text = Vec::new();
        print(status, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_thing_has_a_line() {
        expect![[r#"
            name        session
            version     0.1.0
            ready       yes
            up          1day 2h 3m 4s, since 2026-11-29T20:22:05Z
            store       sled
            sessions    1234567
            bus         in the process
            connections 87
        "#]]
        .assert_eq(&printed(&status()));
    }

    #[test]
    fn what_is_wrong_or_unknown_is_said() {
        let wrong = Status {
            ready: false,
            problem: Some("the connection to NATS is lost\u{1b}[2J".to_owned()),
            store: "jetstream".to_owned(),
            sessions: None,
            connections: None,
            bus: BusStatus { kind: BusStatusKind::Nats, connected: false },
            instances: Some(InstancesStatus { this: "0a".to_owned(), others: vec!["0b".to_owned(), "0c".to_owned()] }),
            ..status()
        };
        expect![[r#"
            name        session
            version     0.1.0
            ready       no: the connection to NATS is lost�[2J
            up          1day 2h 3m 4s, since 2026-11-29T20:22:05Z
            store       jetstream
            sessions    unknown
            bus         NATS, not connected
            instances   3; this one is 0a
        "#]]
        .assert_eq(&printed(&wrong));
    }
}
