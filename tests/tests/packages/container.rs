//! Checks deploy/Containerfile without an engine: it copies what the archive has, and what it runs
//! is there and takes its arguments.

use std::{fs, process::Command};

use crate::{output, repository, taken::unpacked};

#[test]
fn the_container_file_is_made_of_the_archive() {
    let text = fs::read_to_string(repository().join("deploy/Containerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instructions: Vec<(&str, &str)> = lines.map(|line| line.split_once(' ').unwrap()).collect();
    let all = |name: &str| instructions.iter().filter(|(it, _)| *it == name).map(|(_, rest)| *rest).collect::<Vec<_>>();
    let one = |name: &str| {
        let found = all(name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]
    };
    let (_folder, root) = unpacked();
    let mut copied = Vec::new();
    for copy in all("COPY") {
        let mut words: Vec<&str> = copy.split(' ').collect();
        let target = words.pop().unwrap();
        for source in words {
            assert!(root.join(source).is_file(), "COPY {source}");
            copied.push(if target.ends_with('/') { format!("{target}{source}") } else { target.to_owned() });
        }
    }
    assert!(one("FROM").ends_with(":nonroot"), "has the user's folder, and no shell");
    assert_eq!(one("USER"), "65532:65532");
    assert_eq!(one("WORKDIR"), "/home/nonroot");

    let binary = root.join("relogin");
    let array = |json: &str| serde_json::from_str::<Vec<String>>(json).unwrap();
    let entry = array(one("ENTRYPOINT"));
    assert_eq!(entry.len(), 1);
    assert!(copied.contains(&entry[0]), "{entry:?} {copied:?}");
    let help = |args: &[String]| output(Command::new(&binary).args(args).arg("--help"));
    let serve = help(&array(one("CMD")));
    let (variable, address) = one("ENV").split_once('=').unwrap();
    assert!(serve.contains(&format!("[env: {variable}=")), "{variable}");
    assert_eq!(address.rsplit(':').next(), Some(one("EXPOSE")));
    let (_, check) = one("HEALTHCHECK").split_once(" CMD ").unwrap();
    let check = array(check);
    assert_eq!(check[0], entry[0]);
    // Its default address is that of ENV, from inside.
    assert!(help(&check[1..]).contains(&format!("[default: 127.0.0.1:{}]", one("EXPOSE"))), "{check:?}");
}
