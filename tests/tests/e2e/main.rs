//! The end-to-end tests: one binary, so that one link step and one machine's worth of parallelism serve them all.
#![forbid(unsafe_code)]

mod harness;
