//! The `relogin` program from outside: command line, environment, standard streams, sockets,
//! signals.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that draws a seed says which")]

mod backup;
mod client;
#[cfg(target_os = "linux")]
mod clock;
mod cluster;
mod connections;
mod control;
mod crash;
mod cut_short;
mod gateway_options;
mod instances;
mod jetstream;
mod last_seen;
mod metrics;
mod monitoring;
mod nats_gateway;
mod password;
mod permissions;
mod program;
mod reload;
mod resgate_config;
mod rollback;
mod rolling;
mod secrets;
mod secrets_in_nats;
mod sessions;
mod several;
mod start;
mod texts;
mod tls;
mod traces;
mod user;
mod waiting;
