//! Carries out what the state machine wants done. Must not decide anything.

use std::mem;

use relogin_gateway_proto::Action;
use tokio::task::spawn_blocking;

use super::Driver;
use crate::{
    connection::{Connection, Way},
    event::Verdict,
    line::CloseReason,
    trace,
};

impl Driver {
    /// Carries out all that the state machine wants done by now.
    pub(super) fn act(&mut self) {
        let mut discarded = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            self.work += 1;
            match action {
                Action::Send { connection: key, frame, is_secret } => {
                    let Some(Connection { way: Way::Line(line), .. }) = self.connections.get(&key) else { continue };
                    trace::sent(key.0, &frame);
                    self.frames.sent += 1;
                    self.frames.bytes_sent += frame.len() as u64;
                    let sent = if is_secret {
                        line.send_secret(frame)
                    } else {
                        let shared = self.last_shared.count(&frame, &self.memory);
                        line.send(frame, shared)
                    };
                    if sent.is_err() {
                        // Its own actions follow those that are waiting already.
                        self.cut(key, CloseReason::BEHIND);
                    }
                }
                Action::Done { connection: key } => {
                    if let Some(connection) = self.connections.get_mut(&key) {
                        connection.unanswered -= 1;
                        self.unanswered -= 1;
                        if let Way::Line(line) = &connection.way {
                            line.give_back();
                        }
                    }
                }
                Action::Accept { connection: key, header } => {
                    if let Some(connection) = self.connections.get_mut(&key)
                        && let Way::Verdict(verdict) = mem::replace(&mut connection.way, Way::Accepted)
                    {
                        // A client that has left reports that by itself.
                        verdict.send(Verdict::Accept(header)).ok();
                    }
                }
                Action::Reject { connection: key, status, header, body } => {
                    if let Some(Connection { way: Way::Verdict(verdict), .. }) = self.remove(key) {
                        verdict.send(Verdict::Reject { status, header, body }).ok();
                    }
                }
                Action::Respond { connection: key, answer } => {
                    if let Some(Connection { way: Way::Answer(way), .. }) = self.remove(key) {
                        way.send(*answer).ok();
                    }
                }
                Action::Close { connection: key, code, reason } => {
                    let crowd = self.crowd;
                    if let Some(connection) = self.remove(key) {
                        connection.hang_up(CloseReason::of_the_machine(code, reason).to_a_crowd_of(crowd));
                    }
                }
                Action::Listen { tag, pattern } => self.requests.listen(relogin_bus::Tag(tag.0), pattern),
                Action::Ask { tag, asker, subject, payload } => {
                    trace::asked(tag.0, &subject, &payload);
                    self.requests.ask(relogin_bus::Tag(tag.0), asker, subject, payload);
                }
                Action::Complain(malformed) => trace::complain(&malformed),
                Action::Decode(encoded) => {
                    let decoded = self.decoded.clone();
                    // Nobody waits for it any more if the driver has ended.
                    spawn_blocking(move || decoded.send(encoded.decode()).ok());
                }
                Action::Discard(large) => discarded.push(large),
                Action::Release { tag } => self.requests.release(relogin_bus::Tag(tag.0)),
            }
        }
        self.last_shared.forget();
        if !discarded.is_empty() {
            // It takes milliseconds, and nobody waits for it.
            spawn_blocking(move || drop(discarded));
        }
    }
}
