//! The embedded gateway: carries frames between WebSockets and the state machine of
//! `relogin-gateway-proto`, and messages between the state machine and a bus. Limits what one
//! client can make it hold. Must not depend on the RES protocol or sessions.
//!
//! One task owns the state machine (`driver`), one carries out its bus commands (`bus_commands`),
//! and each WebSocket has its own (`socket`), so that a slow client or a slow bus delays nobody
//! else.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod apart;
mod backpressure;
mod bus_commands;
mod connection;
mod counts;
mod deflate;
mod drain;
mod driver;
mod event;
mod extensions;
mod flow;
mod gateway;
mod http_api;
mod id_map;
mod inbound;
mod limits;
mod line;
mod memory;
mod messages;
mod origin;
mod outbox;
mod requests;
mod responses;
mod socket;
mod stop;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;

pub use counts::{DeflateStats, End, Refusal, Stats};
pub use gateway::{Gateway, Options};
pub use http_api::HttpApi;
pub use limits::Limits;
pub use origin::origin_of;
pub use relogin_gateway_proto::{
    ClientMethod, MessageKind, RequestCounts, RequestKind, RequestOutcome, Times,
    http::{Encoding, Methods},
};
