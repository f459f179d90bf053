//! The Relogin service: sessions for RES APIs, and an embedded gateway.
#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod client_address;
pub mod clock;
pub mod config;
pub mod control;
pub mod cookie;
pub mod dbsc;
pub mod demo;
pub mod descriptors;
pub mod events;
pub mod expiry;
pub mod http;
pub mod instance;
pub mod issuers;
pub mod last_seen;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod needs;
pub mod origins;
pub mod probing;
pub mod proof;
pub mod reload;
pub mod repetitions;
pub mod resending;
pub mod reset;
pub mod secret;
pub mod sessions;
pub mod signing;
mod spans;
pub mod traces;
mod trickle;
