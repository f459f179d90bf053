//! What several parts of Relogin need of the machine they run on: files written so that they last
//! ([`disk`]), errors on one line ([`errors`]), log lines that strangers cannot flood
//! ([`log_throttle`], [`complaint`]), places in configuration files ([`toml_place`]), counts of how
//! long things took ([`durations`]), and the target of spans ([`spans`]). Must not depend on any
//! other crate of the project.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod complaint;
pub mod disk;
pub mod durations;
pub mod errors;
pub mod log_throttle;
pub mod spans;
pub mod toml_place;
