//! Pure crates take time and random values as arguments, so that the same code is simulated, fuzzed
//! and shipped.

use super::{
    imports::{has_word, paths_from},
    manifests, report, sources,
};

/// The pure crates.
const PURE_CRATES: &[&str] = &[
    "crates/json",
    "crates/res",
    "crates/session",
    "crates/session-manager",
    "crates/client-proto",
    "crates/gateway-proto",
];

/// The libraries that they may use: none of them does I/O, looks at a clock, draws random values or
/// waits.
const PURE: &[&str] = &[
    "base64",
    "base64ct",
    "bytes",
    "hkdf",
    "hmac",
    "percent-encoding",
    "postcard",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "zeroize",
];

/// The parts of the standard library that are not pure.
const IMPURE_STD: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread"];
/// Clocks, and waiting for them.
const WORDS: &[&str] = &["Instant", "SystemTime", "async", "await"];

#[test]
fn pure_crates_depend_on_pure_libraries_only() {
    let mut complaints = Vec::new();
    for manifest in manifests::all().iter().filter(|manifest| PURE_CRATES.contains(&manifest.folder.as_str())) {
        for name in &manifest.dependencies {
            if !name.starts_with("relogin-") && !PURE.contains(&name.as_str()) {
                complaints.push(format!(
                    "{}/Cargo.toml: `{name}` is not on the list of pure libraries. If it does I/O, reads a clock, draws random \
                     values or waits, use it in service or web and hand its results in as arguments; else add it to PURE in \
                     xtask/tests/tidy/purity.rs",
                    manifest.folder
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn pure_crates_take_nothing_from_the_world() {
    let mut complaints = Vec::new();
    for source in PURE_CRATES.iter().flat_map(|folder| sources::below(folder)) {
        let code = source.product_code();
        let mut taken: Vec<String> = paths_from(&code, "std")
            .into_iter()
            .filter(|path| IMPURE_STD.contains(&path[1].as_str()))
            .map(|path| path.join("::"))
            .collect();
        taken.extend(WORDS.iter().filter(|word| has_word(&code, word)).map(|word| (*word).to_owned()));
        for what in taken {
            complaints.push(format!(
                "{}: uses `{what}`; a pure crate only decides: take it as an argument, or return an action",
                source.path
            ));
        }
    }
    report(complaints);
}
