//! What several parts of Relogin need of the machine they run on: files written so that they last
//! ([`disk`]), errors on one line ([`errors`]), and log lines that strangers cannot flood
//! ([`log_throttle`], [`complaint`]), and places in configuration files ([`toml_place`]). Must not
//! depend on any other crate of the project.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod complaint;
pub mod disk;
pub mod errors;
pub mod log_throttle;
pub mod toml_place;
