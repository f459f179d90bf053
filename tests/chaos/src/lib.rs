//! Chaos: three NATS servers that keep sessions on all of them, three instances of the service, two
//! Resgates and a gateway in an instance, 200 tabs with the shipped client, and thieves; servers,
//! instances and gateways are killed, halted and cut off at random, by a seed. A checker then says
//! what the history shows.
//!
//! `history`, `check` and `plan` are pure; `world` has the programs, `tab` the clients, `people`
//! what they do. Must not know how the service keeps sessions.
#![forbid(unsafe_code)]

pub mod browser;
pub mod check;
pub mod history;
pub mod people;
pub mod plan;
pub mod program;
pub mod record;
pub mod run;
pub mod tab;
pub mod world;
