//! A world around the shipped code, small enough to be seen whole: every order of events in it is
//! tried, by `stateright`.
//!
//! **Real**: the rules of sessions ([`relogin_session::decide`], keys and records), and in each tab
//! the client that browsers run ([`relogin_client_proto::Client`]). **Modelled**, each in a file:
//! browser tabs and what they share, a gateway, the service's steps around a decision, a thief.
//! What can go wrong is counted in a [`Budget`](budget::Budget); within it, all of it is tried at
//! each moment.
//!
//! **What a state leaves out, and why that is right or in which direction it is not:**
//! - *Absolute times.* Each tab has a clock of its own, which jumps to the tab's next deadline when
//!   its timer fires; so a message may take longer than any deadline. Of a client's times a state
//!   has their order only. Two states whose times are in the same order but not equally far apart
//!   count as one: a behaviour that depends on such lengths may be missed. The worlds of
//!   `crates/client-proto/tests/client` have them.
//! - *Random waits.* The dice of back-off always fall the same way. Whatever order of events other
//!   dice would bring is there already, since a message and a timer may overtake each other anyway.
//! - *The service's concurrency.* Requests of one session are dealt with one at a time, as its
//!   connection locks (`service/src/sessions/`) ensure. A request is carried out as one step of the
//!   model, or cut off by a crash after any of its writes and messages: what others do between two
//!   of these has the same effect before or after them.
//! - *Deadlines of sessions.* Nothing expires: the service's clock stands still.
//! - *Requests that no session depends on* (handshake, the user model's subscription, challenges)
//!   are answered at once.
//! - *Names.* Attempts, sockets and connections are numbered by the tab that draws them; no other
//!   tab draws the same.
//!
//! - *Late events that change nothing.* A timer that only tidies up costs nothing; sockets open at
//!   once.
//! - *The liveness probe*, users that change, and several sessions but for the worlds with a login.
//!
//! In most worlds storage is one text, and a swap is one step. In those of [two
//! places](budget::Config::places) a swap is made by the shipped code
//! ([`relogin_client_proto::storage`]), and between what it reads and what it writes the others can
//! come in, or a crash.
//!
//! Between a tab's look at storage and what it then writes there, the others can come in; and with
//! that, a read is as stale as it gets.
#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a world that cannot go on is a mistake in it"
)]

pub mod budget;
pub mod canon;
pub mod gateway;
pub mod model;
pub mod mutant;
pub mod places;
pub mod properties;
pub mod run;
pub mod service;
pub mod several;
pub mod tab;
pub mod thief;
pub mod trace;
pub mod world;
