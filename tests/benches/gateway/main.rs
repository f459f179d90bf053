//! Our gateway beside Resgate: the same client, the same service, in turns. What counts is the
//! ratio within a run, for machines differ and are busy. No figure fails the benchmark, but a wrong
//! answer does.
//!
//! With `BENCH_DIVISOR=20` in the environment everything is 20 times smaller, to see whether it
//! works at all.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people who measure")]

mod calls;
mod client;
mod constant;
mod content;
mod events;
mod figures;
mod growth;
mod plot;
mod resumes;
mod service;
mod side;

use anyhow::Result;
use relogin_tests::process::raise_descriptor_limit;

/// The parts; the first one is all of them.
const PARTS: [&str; 6] = ["gateway", "resumes", "calls", "events", "content", "growth"];

// One thread, so that the client takes as little as it can of the processors that it shares with
// what is measured.
fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    raise_descriptor_limit()?;
    if let [program, listen, nats] = &arguments[..]
        && program == constant::PROGRAM
    {
        // As gateways run: on all processors.
        let runtime = tokio::runtime::Runtime::new()?;
        return runtime.block_on(constant::serve(listen, nats));
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&arguments))
}

/// Measures the parts that are asked for.
async fn measure(arguments: &[String]) -> Result<()> {
    let asked: Vec<_> = arguments.iter().filter(|argument| *argument != "--bench").collect();
    // Cargo passes --bench to benchmarks. Without it, all targets are run as tests.
    if asked.len() == arguments.len() {
        return Ok(());
    }
    let part = asked.first().map_or(PARTS[0], |part| part.as_str());
    if !PARTS.contains(&part) {
        println!("there is no such part; there are {PARTS:?}");
    }
    let is_asked = |name: &str| {
        let is_asked = part == PARTS[0] || part == name;
        if is_asked {
            println!("{name} (load {})", figures::load());
        }
        is_asked
    };
    if is_asked("resumes") {
        resumes::measure().await?;
    }
    if is_asked("calls") {
        calls::measure().await?;
    }
    if is_asked("events") {
        events::measure().await?;
    }
    if is_asked("content") {
        content::measure().await?;
    }
    if is_asked("growth") {
        growth::measure().await?;
    }
    Ok(())
}
