//! Every seed that is kept, through the body of its target: what a fuzzer has found once is never
//! lost again.

use std::{collections::BTreeSet, fs, panic::AssertUnwindSafe, path::Path};

use relogin_fuzzed::TARGETS;
use relogin_session::Record;

#[test]
fn every_seed_passes_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (name, body) in TARGETS {
        let mut files: Vec<_> = fs::read_dir(seeds.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no seeds");
        for file in files {
            let input = fs::read(&file).unwrap();
            if let Err(failure) = std::panic::catch_unwind(AssertUnwindSafe(|| body(&input))) {
                eprintln!("failed on {}", file.display());
                std::panic::resume_unwind(failure);
            }
        }
    }
}

#[test]
fn every_target_has_a_program_and_seeds_and_nothing_else_has() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names = |folder: &str| -> BTreeSet<String> {
        let files = fs::read_dir(fuzz.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("seeds"), targets);
    assert_eq!(names("targets"), targets);
}

/// A seed of the format that is written now, or a fuzzer would have to find one.
#[test]
fn a_seed_is_a_record_in_the_current_format() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/session_record");
    let is_current = |input: &Vec<u8>| Record::decode(input).is_ok_and(|record| record.encode().unwrap() == *input);
    assert!(fs::read_dir(seeds).unwrap().any(|entry| is_current(&fs::read(entry.unwrap().path()).unwrap())));
}
