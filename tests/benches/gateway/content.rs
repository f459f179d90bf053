//! Much content for many clients that ask for it at once: a large collection, and a collection of
//! many models.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::{
    client::Client,
    figures::{median, ms, scaled, us},
    service::{ITEMS, MODELS, Service},
    side::{Gateway, Side, Times},
};

const ROUNDS: usize = 5;

/// What is asked for, how many ask, and about how long the answer is.
const PARTS: [(&str, &str, usize, usize); 2] =
    [("list", "items", 500, 20 * ITEMS), ("references", "models", 100, 90 * MODELS)];

struct Contender {
    side: Side,
    _service: Service,
    rounds: Vec<Round>,
}

struct Round {
    /// Until the last client has all of it.
    time: Duration,
    cost: Times,
}

pub(crate) async fn measure() -> Result<()> {
    for (kind, what, clients, least) in PARTS {
        let clients = scaled(clients);
        let mut contenders = Vec::new();
        for gateway in Gateway::BOTH {
            let side = Side::before_nats(gateway).await?;
            let _service = Service::behind(&side)?;
            contenders.push(Contender { side, _service, rounds: Vec::new() });
        }
        for round in 0..ROUNDS {
            for contender in &mut contenders {
                // Another one each time, which is not cached.
                contender.round(&format!("subscribe.bench.{kind}.{round}"), clients, least).await?;
            }
        }
        let count = if kind == "list" { ITEMS } else { MODELS };
        println!("  {count} {what} each to {clients} clients; medians of {ROUNDS} rounds, in turns");
        for contender in &contenders {
            contender.report(clients)?;
        }
        let pairs = || contenders[0].rounds.iter().zip(&contenders[1].rounds);
        let time = median(pairs().map(|(ours, theirs)| ms(theirs.time) / ms(ours.time)));
        let cost = median(pairs().map(|(ours, theirs)| us(theirs.cost.total()) / us(ours.cost.total())));
        println!("    Resgate / ours: until the last client has it {time:.2}, processor time {cost:.2}");
    }
    Ok(())
}

impl Contender {
    async fn round(&mut self, method: &str, clients: usize, least: usize) -> Result<()> {
        let mut opened = Vec::new();
        for _ in 0..clients {
            opened.push(Client::open(self.side.address).await?);
        }
        self.side.is_idle().await?;
        let (before, begin) = (self.side.times()?, Instant::now());
        let mut asking = JoinSet::new();
        for mut client in opened {
            let method = method.to_owned();
            asking.spawn(async move {
                let length = client.request(&method, "null").await?.len();
                anyhow::Ok((begin.elapsed(), length, client))
            });
        }
        let answered = asking.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        let cost = self.side.times()?.since(&before);
        let shortest = answered.iter().map(|(_, length, _)| *length).min().unwrap_or_default();
        ensure!(shortest >= least, "an answer has {shortest} bytes");
        let time = answered.iter().map(|(time, ..)| *time).max().unwrap_or_default();
        self.rounds.push(Round { time, cost });
        Ok(())
    }

    fn report(&self, clients: usize) -> Result<()> {
        let sum = Times::sum(self.rounds.iter().map(|round| &round.cost));
        println!(
            "    {:<8} the last client has it after {:.0} ms; at most {} MB resident; for each client {}",
            self.side.gateway.name(),
            median(self.rounds.iter().map(|round| ms(round.time))),
            self.side.memory()?.peak / 1_000_000,
            sum.each(clients * self.rounds.len())
        );
        Ok(())
    }
}
