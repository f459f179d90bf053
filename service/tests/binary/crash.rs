//! SIGKILL, two hundred times, with relogins in flight: what was answered holds, what was used stays used.

use futures_util::future::join_all;
use relogin_tests::res::Res;
use serde_json::Value;
use tokio::sync::watch;

use crate::program::{Folder, Service};

const ROUNDS: usize = 200;
const CLIENTS: usize = 8;

/// A browser's storage, as the keeper has it, and every key that it has put away.
struct Client {
    key: Value,
    generation: u64,
    /// The attempt that is written before a request and stays until its answer.
    attempt: Option<String>,
    used: Vec<Value>,
    attempts: u64,
    name: usize,
}

impl Client {
    async fn log_in(name: usize, service: &Service) -> Self {
        let answer = service.connect().await.log_in("jane", "sesame").await.unwrap();
        let mut client = Self { key: Value::Null, generation: 0, attempt: None, used: Vec::new(), attempts: 0, name };
        client.keep(answer);
        client.used.clear();
        client
    }

    /// Uses the key. False if the service went before it answered.
    async fn relogin(&mut self, res: &mut Res) -> bool {
        let attempt = self.attempt.get_or_insert_with(|| {
            self.attempts += 1;
            // 128 bits in base64url: the digits and, for the last four bits and padding, `A`.
            format!("{:02}{:019}A", self.name, self.attempts)
        });
        match res.relogin(&self.key, Some(attempt)).await {
            Ok(answer) => {
                let answer = answer.payload().unwrap();
                // The next one, whether the service made it now or before it was killed.
                assert_eq!(answer["generation"], self.generation + 1, "client {}", self.name);
                self.keep(answer);
                true
            }
            Err(_) => false,
        }
    }

    fn keep(&mut self, mut answer: Value) {
        self.used.push(std::mem::replace(&mut self.key, answer["reloginKey"].take()));
        self.generation = answer["generation"].as_u64().unwrap();
        self.attempt = None;
    }

    /// Uses its key again and again until the service is gone, and counts the answers.
    async fn relogin_until_killed(&mut self, mut res: Res, answers: &watch::Sender<usize>) {
        while self.relogin(&mut res).await {
            answers.send_modify(|answers| *answers += 1);
        }
    }

    /// A thief brings the used key of the given age; nobody keeps the session.
    async fn is_robbed(&self, service: &Service, age: usize) {
        let used = &self.used[age % self.used.len()];
        for key in [used, &self.key] {
            let answer = service.connect().await.relogin(key, None).await.unwrap();
            assert_eq!(answer.code(), Some("session.invalidReloginKey"), "client {}", self.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_crashes_lose_nothing_and_give_nothing_away() {
    let folder = Folder::new();
    folder.run("user add jane --password-stdin", "sesame").success();
    let mut clients = Vec::new();
    let mut in_flight = 0;
    for round in 0..ROUNDS {
        let service = folder.serve("").await;
        if clients.is_empty() {
            clients = join_all((0..CLIENTS).map(|name| Client::log_in(name, &service))).await;
        }

        // Every acknowledged key resumes: also of the client that did nothing since, and with an attempt under way or without.
        let resumed = join_all(clients.iter_mut().map(async |client| {
            let mut res = service.connect().await;
            assert!(client.relogin(&mut res).await, "the service is up");
            res
        }));
        let connections = resumed.await;

        // Every used one ends its session.
        let victim = round % CLIENTS;
        clients[victim].is_robbed(&service, round * 7).await;
        clients[victim] = Client::log_in(victim, &service).await;

        // All but the victim and one that rests relogin without pause; killed in the middle of that, sooner or later.
        let (answers, mut count) = watch::channel(0);
        let kill_at = round * 13 % 41;
        let rests = (round + 1) % CLIENTS;
        let busy = clients.iter_mut().zip(connections).filter(|(client, _)| ![victim, rests].contains(&client.name));
        let relogins = join_all(busy.map(|(client, res)| client.relogin_until_killed(res, &answers)));
        let kill = async {
            count.wait_for(|answers| *answers >= kill_at).await.unwrap();
            service.kill().await;
        };
        tokio::join!(relogins, kill);
        in_flight += clients.iter().filter(|client| client.attempt.is_some()).count();
    }
    // Or else it was no test of what happens to requests in flight.
    assert!(in_flight > ROUNDS, "{in_flight} requests were in flight");
}
