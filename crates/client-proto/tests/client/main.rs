//! The client machine in virtual time, without a browser and without a network.
//!
//! Two stages: one [`support::Tab`] against frames written by hand, where each order can be forced;
//! and a [`support::World`] of browsers, tabs, a gateway and a service with the real session rules,
//! where a seed chooses it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on panics, and one that failed names its seed"
)]

mod support;

mod addresses;
mod agreement;

mod bare;
mod bound;
mod connection;
mod crowd;
mod diagnostics;
mod faults;
mod garbage;
mod gateways;

mod legacy;
mod login;
mod logout;
mod orders;
mod orphaned_logins;
mod other_client;
mod pending;
mod places;
mod plain;
mod reasons;
mod resources;
mod session_manager;
mod storage;
mod storm;

mod worlds;
