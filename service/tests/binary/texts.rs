//! The texts that `relogin` makes of its own command line: configuration file, completions, manual
//! pages.

use std::{fs, process::Command};

use relogin_test_support::nats_server::NatsServer;

use crate::program::Folder;

/// The configuration file as it is printed, and with every key set, but for those that contradict
/// each other or need servers with certificates.
#[tokio::test]
async fn the_service_starts_with_the_printed_configuration() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let printed = folder.run("config", "").success();
    fs::write(folder.path("relogin.toml"), &printed).unwrap();
    let service = folder.serve("--store memory").await;
    assert_eq!(service.get("/healthz").await, 200);
    service.stop().await;

    folder.run("user --users users.toml add jane --password-stdin", "Uhu, Knarz und Quitte\n").success();
    let keys = printed.lines().filter_map(|line| line.strip_prefix('#'));
    let keys: Vec<_> = keys.filter(|line| line.starts_with(char::is_alphabetic)).collect();
    assert!(keys.len() > 50, "{printed}");
    // Files that are not here, and what goes with another store.
    let left_out =
        "tls-cert tls-key nats-creds nats-ca nats-cert nats-key jwt-issuers bucket replicas secret-passphrase";
    let name = |line: &str| line.split_once(" = ").unwrap().0.to_owned();
    let all = keys.iter().filter(|line| !left_out.split(' ').any(|left_out| left_out == name(line)));
    let here = all.fold(String::new(), |text, line| match name(line).as_str() {
        "listen" | "metrics-listen" => text + &line.replace(":8080", ":0").replace(":9090", ":0") + "\n",
        "nats" => format!("{text}nats = \"{}\"\n", nats.url()),
        "audit" => text + "audit = \"audit\"\n",
        "control-socket" => text + "control-socket = \"control.sock\"\n",
        _ => text + line + "\n",
    });
    fs::write(folder.path("relogin.toml"), &here).unwrap();
    let url = nats.url().to_string();
    let service = folder.serve(&format!("--nats {url}")).await;
    assert_ne!(service.address, "", "the gateway of the file");
    service.stop().await;
}

#[test]
fn completions_are_scripts_that_the_shell_takes() {
    let folder = Folder::new();
    for (shell, words) in [("bash", "--key-lifetime"), ("zsh", "--key-lifetime"), ("fish", "key-lifetime")] {
        let script = folder.run(&format!("completions {shell}"), "").success();
        assert!(script.contains(words) && script.contains("passwd"), "{script}");
    }
    fs::write(folder.path("script"), folder.run("completions bash", "").success()).unwrap();
    // Completes as bash does when a tab follows `relogin serve --key-l`.
    let ask = "source ./script; COMP_WORDS=(relogin serve --key-l) COMP_CWORD=2; \
               _relogin relogin --key-l serve; echo ${COMPREPLY[*]}";
    let output = Command::new("bash").args(["-c", ask]).current_dir(folder.path(".")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--key-lifetime\n", "{output:?}");
    let line = folder.run("completions csh", "").refused();
    assert!(line.starts_with("relogin: invalid value 'csh' for '<SHELL>'"), "{line}");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = Folder::new();
    folder.run("man pages/man1", "").success();
    let page = |name: &str| fs::read_to_string(folder.path(&format!("pages/man1/{name}.1"))).unwrap();
    assert!(page("relogin").contains("relogin\\-serve(1)"), "{}", page("relogin"));
    assert!(page("relogin-serve").contains("\\-\\-key\\-lifetime"), "{}", page("relogin-serve"));
    assert!(page("relogin-user-add").contains("\\-\\-password\\-stdin"));
    let line = folder.run("man /dev/null/pages", "").refused();
    assert!(line.starts_with("relogin: cannot write manual pages into /dev/null/pages: "), "{line}");
}
