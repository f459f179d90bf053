//! Two instances of one name: the second does not start, and if they meet later, no session ends.

use relogin_test_support::nats_server::{NatsServer, Wire};
use serde_json::json;

use crate::{
    nats_gateway::{DEADLINE, Gateway},
    program::Folder,
};

#[tokio::test]
async fn a_second_instance_of_a_name_does_not_start() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let options = |data: &str| format!("--demo --data {data} --nats {}", nats.url());
    let first = folder.serve(&options("one")).await;
    let line = folder.run(&format!("serve {}", options("two")), "").refused();
    assert!(line.starts_with("relogin: another relogin named \"session\" runs on this NATS"), "{line}");
    // Another name is another service.
    let other = folder.serve(&options("three").replace("--demo", "--name other")).await;
    other.stop().await;
    // A killed instance releases the name.
    for _ in 0..3 {
        let killed = folder.serve(&options("four").replace("--demo", "--name killed")).await;
        killed.kill().await;
    }
    first.stop().await;
    folder.serve(&options("two")).await.stop().await;
}

#[tokio::test]
async fn one_of_two_instances_that_start_at_once_stays() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    for _ in 0..5 {
        let start = |data: &str| {
            let args = format!("serve --demo --store memory --data {data} --nats {}", nats.url());
            let mut command = folder.command(&args);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let mut both = [start("one"), start("two")];
        // One of them ends by itself; which one is not determined.
        let looking = async {
            loop {
                if let Some(n) = (0..2).find(|n| both[*n].try_wait().unwrap().is_some()) {
                    break n;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let Ok(loser) = tokio::time::timeout(DEADLINE, looking).await else {
            both.iter_mut().for_each(|child| child.kill().unwrap());
            panic!("both stay");
        };
        assert_eq!(both[loser].wait().unwrap().code(), Some(2));
        let winner = &mut both[1 - loser];
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(winner.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(line, "relogin: ready on nats\n");
        crate::start::terminate(winner);
    }
}

/// The network was cut in two, each half with an instance of its own, and is whole again: one NATS
/// for the first instance, which was cut off from it meanwhile.
#[tokio::test]
async fn instances_that_meet_later_say_so_and_end_no_session() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let wire = Wire::to(&nats).await;
    let gateway = Gateway::connect(&nats.url()).await;
    let options = |data: &str, url: &str| format!("--demo --data {data} --listen 127.0.0.1:0 --nats {url}");
    let first = folder.serve(&options("one", &wire.url())).await;
    let jane = json!({"username": "jane", "password": "jane"});
    let old = gateway.auth("login", "c1", jane.clone()).await["result"]["reloginKey"].take();
    wire.cut();
    first.says("lost the connection to NATS").await;
    let second = folder.serve(&options("two", &nats.url())).await;
    let new = gateway.auth("login", "c2", jane.clone()).await["result"]["reloginKey"].take();
    assert_eq!(second.get("/healthz").await, 200);
    wire.mend();
    first.says("another instance named \"session\" answers on this NATS").await;
    second.says("another instance named \"session\" answers on this NATS").await;
    assert_eq!((first.get("/healthz").await, second.get("/healthz").await), (503, 503));
    // Both sessions go on: the instance that has one answers, and the other does not.
    for (on, key) in [("c3", &old), ("c4", &new)] {
        let answer = gateway.auth("relogin", on, json!({"reloginKey": key})).await;
        assert!(answer["result"]["reloginKey"].is_string(), "{answer}");
    }
    second.stop().await;
    first.says("the other instance is gone").await;
    assert_eq!(first.get("/healthz").await, 200);
    let refused = gateway.auth("relogin", "c5", json!({"reloginKey": new})).await;
    assert_eq!(refused["error"]["code"], "session.invalidReloginKey");
    first.stop().await;
}
