//! How all instances of a service are, in a table.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Duration,
};

use humantime::format_duration;
use serde::Serialize;

use super::table::TextTable;
use crate::control::protocol::{ControlAnswer, Status};

/// All instances of a service.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AllInstances {
    /// Those that have answered, the oldest first.
    pub(super) instances: Vec<Status>,
    /// The ids of those that others have had a sign of lately, and that have not answered.
    pub(super) missing: Vec<String>,
}

const HEADS: [&str; 7] = ["INSTANCE", "VERSION", "UP", "STORE", "SESSIONS", "CONNECTIONS", "READY"];

const NONE: &str = "-";

impl AllInstances {
    /// What these answers say, and those of them that say something else.
    pub(super) fn of(answers: Vec<ControlAnswer>) -> (Self, Vec<ControlAnswer>) {
        let (mut instances, mut refused) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                ControlAnswer::Status(status) => instances.push(*status),
                other => refused.push(other),
            }
        }
        instances.sort_by(|one: &Status, other| (one.started, id(one)).cmp(&(other.started, id(other))));
        let known = instances.iter().filter_map(|status| status.instances.as_ref());
        let known: BTreeSet<_> = known.flat_map(|known| &known.others).cloned().collect();
        let missing = known.into_iter().filter(|other| !instances.iter().any(|status| id(status) == other)).collect();
        (Self { instances, missing }, refused)
    }

    /// Whether each of them answers clients.
    pub(super) fn are_ready(&self) -> bool {
        self.missing.is_empty() && self.instances.iter().all(|status| status.ready)
    }

    /// A row for each.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let count = |count: Option<u64>| count.map_or_else(|| NONE.to_owned(), |count| count.to_string());
        let mut rows: Vec<_> = self
            .instances
            .iter()
            .map(|status| {
                [
                    id(status).to_owned(),
                    status.version.clone(),
                    format_duration(Duration::from_secs(status.uptime)).to_string(),
                    status.store.clone(),
                    count(status.sessions),
                    count(status.connections),
                    super::status::ready(status),
                ]
            })
            .collect();
        rows.extend(self.missing.iter().map(|missing| {
            let mut row = HEADS.map(|_| NONE.to_owned());
            row[0].clone_from(missing);
            "no: it does not answer".clone_into(&mut row[6]);
            row
        }));
        TextTable::new(HEADS).write(&rows, out)
    }
}

/// The id of an instance; one that can only be alone has none.
fn id(status: &Status) -> &str {
    status.instances.as_ref().map_or(NONE, |instances| &instances.this)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::control::protocol::{BusStatus, BusStatusKind, ControlRefusal, InstancesStatus};

    fn status(this: &str, others: &[&str], started: u64) -> Status {
        Status {
            version: "0.1.0".to_owned(),
            name: "session".to_owned(),
            ready: true,
            problem: None,
            started,
            uptime: 93_784,
            store: "jetstream".to_owned(),
            sessions: Some(1_234_567),
            connections: None,
            bus: BusStatus { kind: BusStatusKind::Nats, connected: true },
            instances: Some(InstancesStatus {
                this: this.to_owned(),
                others: others.iter().map(|&other| other.to_owned()).collect(),
            }),
        }
    }

    fn printed(all: &AllInstances) -> String {
        let mut text = Vec::new();
        all.print(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_instance_has_a_row_and_those_that_should_have_answered_do_too() {
        let unready = Status {
            ready: false,
            problem: Some("the connection to NATS is lost".to_owned()),
            sessions: None,
            connections: Some(12),
            uptime: 4,
            ..status("0c", &["0b", "0d"], 1)
        };
        let answers =
            [status("0b", &["0c", "0a", "0d"], 2), unready].map(|status| ControlAnswer::Status(Box::new(status)));
        let refusal = ControlAnswer::Error(ControlRefusal::is_for_one());
        let (all, refused) = AllInstances::of([answers.to_vec(), vec![refusal.clone()]].concat());
        assert_eq!(refused, [refusal]);
        assert!(!all.are_ready());
        expect![[r#"
            INSTANCE  VERSION  UP             STORE      SESSIONS  CONNECTIONS  READY
            0c        0.1.0    4s             jetstream  -         12           no: the connection to NATS is lost
            0b        0.1.0    1day 2h 3m 4s  jetstream  1234567   -            yes
            0a        -        -              -          -         -            no: it does not answer
            0d        -        -              -          -         -            no: it does not answer
        "#]]
        .assert_eq(&printed(&all));
    }

    #[test]
    fn one_that_can_only_be_alone_has_no_id() {
        let alone = Status { instances: None, store: "sled".to_owned(), ..status("", &[], 1) };
        let (all, _) = AllInstances::of(vec![ControlAnswer::Status(Box::new(alone))]);
        assert!(all.are_ready());
        expect![[r#"
            INSTANCE  VERSION  UP             STORE  SESSIONS  CONNECTIONS  READY
            -         0.1.0    1day 2h 3m 4s  sled   1234567   -            yes
        "#]]
        .assert_eq(&printed(&all));
    }

    #[test]
    fn all_are_ready_only_if_none_is_missing() {
        let of = |others: &[&str]| AllInstances::of(vec![ControlAnswer::Status(Box::new(status("0a", others, 1)))]).0;
        assert!(of(&[]).are_ready() && !of(&["0b"]).are_ready());
    }
}
