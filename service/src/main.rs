//! The `relogin` program.
#![forbid(unsafe_code)]

fn main() {}
