//! `cargo xtask test`: everything that must hold before a change may land, in stages.
//!
//! All stages run, also after a failed one, so that one run reports all failures.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    examples,
    idle::Idle,
    log::{Log, succeeds},
    npm, package, page, report,
    screen::Screen,
    setup::{self, TARGET, Tools},
    site, size,
};

struct Stage {
    /// Its name on the command line.
    name: &'static str,
    what: &'static str,
    /// How long it takes on a small machine without a cache, if that is long.
    usually: &'static str,
    run: fn(&Workshop<'_>) -> Result<Outcome>,
}

const STAGES: &[Stage] = &[
    Stage { name: "format", what: "cargo fmt --check", usually: "", run: format },
    Stage { name: "lints", what: "cargo clippy", usually: "3 min the first time", run: lints },
    Stage { name: "docs", what: "cargo doc", usually: "2 min the first time", run: docs },
    Stage { name: "site", what: "the documents as a site, and its links", usually: "", run: site },
    Stage { name: "dependencies", what: "cargo deny", usually: "", run: dependencies },
    Stage { name: "native", what: "cargo test", usually: "5 min the first time", run: native },
    Stage { name: "browser", what: "wasm-bindgen-test in Chromium", usually: "2 min the first time", run: browser },
    Stage { name: "firefox", what: "wasm-bindgen-test in Firefox", usually: "3 min the first time", run: firefox },
    Stage {
        name: "webkit",
        what: "wasm-bindgen-test and pages in WebKitGTK",
        usually: "3 min the first time",
        run: webkit,
    },
    Stage { name: "example", what: "a page in a framework", usually: "2 min the first time", run: example },
    Stage {
        name: "product",
        what: "page, package and binary, as they are shipped",
        usually: "5 min the first time",
        run: product,
    },
    Stage { name: "packages", what: "packages of that binary, installed and used", usually: "", run: packages },
    Stage { name: "end-to-end", what: "real browser, real gateways", usually: "5 min", run: end_to_end },
    Stage {
        name: "differential",
        what: "the same scripts at Resgate and at our gateway",
        usually: "1 min",
        run: differential,
    },
    Stage { name: "chaos", what: "three of everything under faults", usually: "2 min", run: chaos },
];

/// What the stages work with.
struct Workshop<'a> {
    context: &'a Context,
    tools: &'a Tools,
}

enum Outcome {
    Passed,
    Skipped(&'static str),
}

/// Sets up and runs all stages, or those that are named.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let stages = chosen(arguments)?;
    let tools = setup::ensure(context, setup::Needs::Tests)?;
    let workshop = Workshop { context, tools: &tools };
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for stage in stages {
        let usually = if stage.usually.is_empty() { String::new() } else { format!(" (usually {})", stage.usually) };
        report::begin(format_args!("{}: {}{usually}", stage.name, stage.what));
        let start = Instant::now();
        let result = (stage.run)(&workshop);
        rows.push(row(stage.name, &result, start.elapsed()));
        if let Err(error) = result {
            report::line(format_args!("{error:#}"));
            failed.push(stage.name);
        }
    }
    report::line("");
    rows.iter().for_each(report::line);
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn chosen(arguments: &[String]) -> Result<Vec<&'static Stage>> {
    if let Some(unknown) = arguments.iter().find(|name| STAGES.iter().all(|stage| stage.name != **name)) {
        let names: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        bail!("there is no stage `{unknown}`; there are: {}", names.join(", "));
    }
    let is_chosen = |stage: &&Stage| arguments.is_empty() || arguments.iter().any(|name| name == stage.name);
    Ok(STAGES.iter().filter(is_chosen).collect())
}

fn row(name: &str, result: &Result<Outcome>, time: Duration) -> String {
    let word = match result {
        Ok(Outcome::Passed) => "ok".to_owned(),
        Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
        Err(_) => "FAILED".to_owned(),
    };
    format!("{name:<14}{:>6}  {word}", report::clock(time))
}

fn format(workshop: &Workshop<'_>) -> Result<Outcome> {
    workshop.quietly("format", &mut workshop.cargo(&["fmt", "--all", "--check"]))
}

fn lints(workshop: &Workshop<'_>) -> Result<Outcome> {
    let strict = ["--all-targets", "--", "-D", "warnings"];
    workshop.quietly("lints", workshop.cargo(&["clippy", "--workspace"]).args(strict))?;
    workshop.quietly(
        "lints-web",
        workshop.cargo(&["clippy", "--package", WEB, "--all-features", "--target", TARGET]).args(strict),
    )
}

fn docs(workshop: &Workshop<'_>) -> Result<Outcome> {
    let doc = |arguments: &[&str]| {
        let mut command = workshop.cargo(&["doc", "--no-deps", "--document-private-items"]);
        command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
        command
    };
    workshop.quietly("docs", &mut doc(&["--workspace"]))?;
    workshop.quietly("docs-web", &mut doc(&["--package", WEB, "--all-features", "--target", TARGET]))
}

/// Links to the web are not followed: what they lead to changes without us.
fn site(workshop: &Workshop<'_>) -> Result<Outcome> {
    let site = site::build(workshop.context)?;
    let modules = workshop.tools.path("RESCLIENT_DIR").context("linkinator was set up")?.join("node_modules");
    let mut check = workshop.context.command(workshop.tools.path("NODE").context("Node was set up")?);
    check.arg(modules.join("linkinator/build/src/cli.js")).arg(site);
    check.args(["--verbosity", "error", "--recurse", "--check-fragments", "--skip", "^https?://(?!localhost)"]);
    // An address in an example.
    check.args(["--skip", "^http://localhost:8082/"]);
    workshop.quietly("site-links", &mut check)
}

fn dependencies(workshop: &Workshop<'_>) -> Result<Outcome> {
    workshop.quietly(
        "dependencies",
        &mut workshop.cargo(&["deny", "--workspace", "check", "bans", "licenses", "sources"]),
    )?;
    if !succeeds(workshop.cargo(&["deny", "fetch", "db"])) {
        return Ok(Outcome::Skipped("known holes, whose list cannot be fetched; licences and sources are ok"));
    }
    workshop.quietly("advisories", &mut workshop.cargo(&["deny", "--workspace", "check", "advisories"]))
}

fn native(workshop: &Workshop<'_>) -> Result<Outcome> {
    let arguments = ["test", "--workspace", "--exclude", END_TO_END, "--exclude", CHAOS, "--no-fail-fast"];
    workshop.tests("native", &mut workshop.cargo(&arguments))?;
    // Its run is a stage of its own.
    workshop.tests("native-chaos", &mut workshop.cargo(&["test", "--package", CHAOS, "--lib"]))
}

fn browser(workshop: &Workshop<'_>) -> Result<Outcome> {
    let idle = Idle::new()?;
    let mut tests = browser_tests(workshop, &idle);
    workshop.tests("browser", tests.env_remove("GECKODRIVER"))
}

fn firefox(workshop: &Workshop<'_>) -> Result<Outcome> {
    let Ok(driver) = setup::ensure_firefox(workshop.context) else {
        return Ok(Outcome::Skipped("Firefox and geckodriver cannot be had here"));
    };
    let idle = Idle::new()?;
    let mut tests = browser_tests(workshop, &idle);
    // The runner takes the first driver that is set.
    workshop.tests("firefox", tests.env("GECKODRIVER", driver))
}

fn webkit(workshop: &Workshop<'_>) -> Result<Outcome> {
    let Ok(webkit) = setup::ensure_webkit(workshop.context) else {
        return Ok(Outcome::Skipped("WebKitGTK, its driver and Xvfb cannot be had here"));
    };
    let idle = Idle::new()?;
    let screen = Screen::start(webkit.path("XVFB").context("Xvfb was set up")?)?;
    let mut tests = browser_tests(workshop, &idle);
    // The runner knows WebKit's driver by Safari's name.
    tests.env_remove("GECKODRIVER").env("SAFARIDRIVER", webkit.path("WEBKIT_DRIVER").context("the driver was set up")?);
    workshop.tests("webkit", tests.env("DISPLAY", screen.display()))?;

    let mut pages = workshop.cargo(&["test", "--package", END_TO_END, "--test", "webkit", "--no-fail-fast"]);
    pages.env("RELOGIN_BIN", page::build(workshop.context)?).env("RELOGIN_NPM", npm::build(workshop.context)?);
    workshop.tests("webkit-pages", webkit.name_to(&mut pages))
}

fn browser_tests(workshop: &Workshop<'_>, idle: &Idle) -> Command {
    let mut tests = workshop.cargo(&["test", "--package", WEB, "--all-features", "--target", TARGET, "--tests"]);
    tests.arg("--no-fail-fast");
    tests.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", "wasm-bindgen-test-runner");
    // For all tests together, in seconds. The default of 20 is too short for a busy machine. Each
    // test has its own limits.
    tests.env("WASM_BINDGEN_TEST_TIMEOUT", "120");
    tests.env("WASM_BINDGEN_TEST_ADDRESS", idle.address());
    tests
}

fn example(workshop: &Workshop<'_>) -> Result<Outcome> {
    examples::build(workshop.context)?;
    Ok(Outcome::Passed)
}

fn product(workshop: &Workshop<'_>) -> Result<Outcome> {
    page::build(workshop.context)?;
    size::check("page", &page::folder(workshop.context), size::PAGE)?;
    size::check("package", &npm::build(workshop.context)?, size::PACKAGE)?;
    npm::build_example(workshop.context)?;
    Ok(Outcome::Passed)
}

/// Of the binary that the other stages run: a static one would take minutes more, and is tried by
/// `cargo xtask package`.
fn packages(workshop: &Workshop<'_>) -> Result<Outcome> {
    let folder = workshop.context.target.join("packages");
    package::pack_twice(workshop.context, &page::build(workshop.context)?, &folder)?;
    workshop.tests("packages", &mut package::tests(workshop.context, &folder))
}

fn end_to_end(workshop: &Workshop<'_>) -> Result<Outcome> {
    // These are up to date already, unless this stage runs alone.
    let binary = page::build(workshop.context)?;
    let package = npm::build(workshop.context)?;
    let hello = npm::build_example(workshop.context)?;
    let rust_example = examples::build(workshop.context)?;
    // All but `webkit`, `packages` and `differential`, which have stages of their own.
    let chosen = ["--lib", "--test", "e2e", "--test", "abuse"];
    let mut tests = workshop.cargo(&["test", "--package", END_TO_END, "--no-fail-fast"]);
    tests.args(chosen);
    tests.env("RELOGIN_BIN", binary).env("RELOGIN_NPM", package);
    tests.env("RELOGIN_HELLO", hello).env("RELOGIN_RUST_EXAMPLE", rust_example);
    workshop.tests("end-to-end", &mut tests)
}

fn differential(workshop: &Workshop<'_>) -> Result<Outcome> {
    let binary = page::build(workshop.context)?;
    let mut tests = workshop.cargo(&["test", "--package", END_TO_END, "--test", "differential", "--no-fail-fast"]);
    workshop.tests("differential", tests.env("RELOGIN_BIN", binary))
}

/// Always the same faults, so that a failure is the change's more likely than the seed's.
fn chaos(workshop: &Workshop<'_>) -> Result<Outcome> {
    let binary = page::build(workshop.context)?;
    let mut run = workshop.cargo(&["test", "--package", CHAOS, "--test", "minute"]);
    workshop.tests("chaos", run.env("RELOGIN_BIN", binary))
}

const WEB: &str = "relogin-web";
const END_TO_END: &str = "relogin-tests";
const CHAOS: &str = "relogin-chaos";

impl Workshop<'_> {
    fn cargo(&self, arguments: &[&str]) -> Command {
        self.context.cargo(arguments)
    }

    fn quietly(&self, log: &str, command: &mut Command) -> Result<Outcome> {
        Log::create(self.context, log)?.run(command)?;
        Ok(Outcome::Passed)
    }

    fn tests(&self, log: &str, command: &mut Command) -> Result<Outcome> {
        Log::create(self.context, log)?.run_tests(self.tools.name_to(command))?;
        Ok(Outcome::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_can_be_named_and_stay_in_their_order() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen(&words).map(|stages| stages.iter().map(|stage| stage.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), STAGES.len());
        assert_eq!(names(&["browser", "format"]).unwrap(), ["format", "browser"]);
        assert!(names(&["fromat"]).is_err());
    }
}
