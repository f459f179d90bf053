//! Calls of a service behind the gateway: one at a time, and many in flight.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    client::Client,
    figures::{median, percentile, us},
    service::Service,
    side::{Gateway, Side, Times},
};

const ROUNDS: usize = 7;
const MEASURED: Duration = Duration::from_millis(1_500);

/// How many clients there are, and how many calls each has in flight.
const PARTS: [(&str, usize, usize); 2] = [("one at a time", 1, 1), ("500 in flight", 50, 10)];

const PARAMS: &str = r#"{"id":42,"name":"some name","done":true}"#;

struct Contender {
    side: Side,
    _service: Service,
    rounds: Vec<Round>,
}

struct Round {
    calls: usize,
    /// Milliseconds from a call to its answer, if there is one at a time.
    p50: f64,
    p99: f64,
    cost: Times,
}

pub(crate) async fn measure() -> Result<()> {
    let mut contenders = Vec::new();
    for gateway in Gateway::BOTH {
        let side = Side::before_nats(gateway).await?;
        let _service = Service::behind(&side)?;
        contenders.push(Contender { side, _service, rounds: Vec::new() });
    }
    for (name, clients, in_flight) in PARTS {
        for _ in 0..ROUNDS {
            for contender in &mut contenders {
                contender.round(clients, in_flight).await?;
            }
        }
        println!("  calls, {name}; medians of {ROUNDS} rounds of {} s, in turns", MEASURED.as_secs_f64());
        let rounds: Vec<_> = contenders.iter_mut().map(|contender| contender.report(in_flight == 1)).collect();
        let pairs = || rounds[0].iter().zip(&rounds[1]);
        let pace = median(pairs().map(|(ours, theirs)| ours.calls as f64 / theirs.calls as f64));
        let cost = median(pairs().map(|(ours, theirs)| theirs.each() / ours.each()));
        println!("    calls a second, ours / Resgate: {pace:.2}; processor time, Resgate / ours: {cost:.2}");
    }
    Ok(())
}

impl Round {
    /// Microseconds of processor time for each call.
    fn each(&self) -> f64 {
        us(self.cost.total()) / self.calls as f64
    }
}

impl Contender {
    async fn round(&mut self, clients: usize, in_flight: usize) -> Result<()> {
        let mut callers = Vec::new();
        for _ in 0..clients {
            let mut client = Client::open(self.side.address).await?;
            // Else access would be asked for before each call.
            client.request("subscribe.bench.model.called", "null").await?;
            callers.push(client);
        }
        self.side.is_idle().await?;
        let before = self.side.times()?;
        let end = Instant::now() + MEASURED;
        let callers: JoinSet<_> = callers.into_iter().map(|client| call(client, in_flight, end)).collect();
        let times = callers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        let cost = self.side.times()?.since(&before);
        let mut times = times.concat();
        let [p50, p99] = [50, 99].map(|percent| percentile(&mut times, percent));
        self.rounds.push(Round { calls: times.len(), p50, p99, cost });
        Ok(())
    }

    /// Prints the rounds, and takes them.
    fn report(&mut self, has_times: bool) -> Vec<Round> {
        let rounds = std::mem::take(&mut self.rounds);
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
        let calls = of(|round| round.calls as f64);
        let sum = Times::sum(rounds.iter().map(|round| &round.cost));
        let times = if has_times {
            format!(", p50 {:.3} ms, p99 {:.3} ms", of(|round| round.p50), of(|round| round.p99))
        } else {
            String::new()
        };
        let count = rounds.iter().map(|round| round.calls).sum();
        println!(
            "    {:<8} {:.0} calls a second{times}; {}",
            self.side.gateway.name(),
            calls / MEASURED.as_secs_f64(),
            sum.each(count)
        );
        rounds
    }
}

/// Calls until the end comes, with so many in flight, and answers how long each took. Of several in
/// flight it cannot be known, because answers need not come in order.
async fn call(mut client: Client, in_flight: usize, end: Instant) -> Result<Vec<Duration>> {
    let (mut times, mut sent) = (Vec::new(), VecDeque::new());
    let mut next = in_flight;
    loop {
        let now = Instant::now();
        if now < end {
            let frames: Vec<_> = (0..next).map(|_| client.frame("call.bench.model.called.set", PARAMS)).collect();
            client.write(&frames.concat()).await?;
            sent.extend((0..next).map(|_| now));
        }
        next = 0;
        // All that has come.
        while next == 0 || client.has_more() {
            let Some(begun) = sent.pop_front() else { return Ok(times) };
            client.answer().await?;
            times.push(begun.elapsed());
            next += 1;
        }
    }
}
