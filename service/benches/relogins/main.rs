//! What Relogin costs, in parts that can be run one by one. Each part puts its figures beside those
//! of a responder that answers the same bytes without doing anything, measured in turns with it:
//! what counts is the ratio, for machines differ and are busy.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people who measure")]

mod backup;
mod client;
mod cluster;
mod contender;
mod figures;
mod flood;
mod jetstream;
mod million;
mod pace;
mod responder;

use std::path::Path;

const PARTS: [&str; 8] = ["pace", "single", "bound", "flood", "million", "backup", "jetstream", "bucket"];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments[..] {
        // This program is also what it measures beside.
        [responder::RESPONDER, part, url] => runtime.block_on(responder::respond(part, url)),
        [million::FILLER, folder, sessions] => runtime.block_on(million::fill(Path::new(folder), sessions)),
        // Cargo says --bench; without, somebody runs all targets as tests.
        ["--bench"] => PARTS.iter().for_each(|part| run(part, &runtime)),
        [part, "--bench"] | ["--bench", part] => run(part, &runtime),
        _ => {}
    }
}

fn run(part: &str, runtime: &tokio::runtime::Runtime) {
    println!("{part} (load {})", figures::load());
    match part {
        "pace" => runtime.block_on(pace::pace()),
        "single" => runtime.block_on(pace::single()),
        "bound" => runtime.block_on(pace::bound()),
        "flood" => runtime.block_on(flood::flood()),
        "jetstream" => runtime.block_on(jetstream::jetstream()),
        "bucket" => runtime.block_on(jetstream::bucket()),
        "backup" => runtime.block_on(backup::backup()),
        "million" => runtime.block_on(million::million()),
        _ => println!("  there is no such part; there are {PARTS:?}"),
    }
}
