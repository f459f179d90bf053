//! Benchmarks in a real browser: resources beside ResClient, and the time from navigation to
//! "logged in". Only the ratios within one run mean something. No figure fails the benchmark, but a
//! wrong result does.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people who measure")]

mod figures;
mod gateway;
mod reload;
mod resources;

use relogin_tests::{
    play::{Failure, play},
    stage::Arrangement,
};

/// The parts; the first one is all of them.
const PARTS: [&str; 3] = ["browser", "resources", "reload"];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let asked: Vec<_> = arguments.iter().filter(|argument| *argument != "--bench").collect();
    // Cargo passes --bench to benchmarks. Without it, all targets are run as tests.
    if asked.len() == arguments.len() {
        return Ok(());
    }
    let part = asked.first().map_or(PARTS[0], |part| part.as_str());
    println!("{part} (load {})", figures::load());
    if !PARTS.contains(&part) {
        println!("  there is no such part; there are {PARTS:?}");
    }
    if part == "browser" || part == "resources" {
        play(Arrangement::Embedded, "bench-resources", resources::measure).await?;
    }
    if part == "browser" || part == "reload" {
        play(Arrangement::Embedded, "bench-reload", reload::measure).await?;
    }
    Ok(())
}
