//! One change of a model that many clients are subscribed to: how long it takes until the last of
//! them has it, and what it costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use relogin_tests::DEADLINE;
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    client::Client,
    figures::{median, percentile, scaled, us},
    service::Service,
    side::{Gateway, Side, Times},
};

const CLIENTS: usize = 2_000;
const ROUNDS: usize = 5;
/// Events of a round.
const EVENTS: usize = 40;

/// Clients that are subscribed to one model, and read what comes.
#[derive(Debug)]
pub(crate) struct Subscribers {
    model: &'static str,
    reading: JoinSet<Result<()>>,
    received: Arc<Received>,
    /// The number of the last event.
    last: usize,
}

/// How many clients have received the event at hand.
#[derive(Debug, Default)]
struct Received {
    count: AtomicUsize,
    all: AtomicUsize,
    by_all: Notify,
}

struct Contender {
    side: Side,
    service: Service,
    subscribers: Subscribers,
    rounds: Vec<Round>,
}

struct Round {
    times: Vec<Duration>,
    cost: Times,
}

pub(crate) async fn measure() -> Result<()> {
    let mut contenders = Vec::new();
    for gateway in Gateway::ALL {
        let side = Side::before_nats(gateway).await?;
        let service = Service::behind(&side)?;
        let mut subscribers = Subscribers::new("watched");
        for _ in 0..scaled(CLIENTS) {
            subscribers.open(&side).await?;
        }
        contenders.push(Contender { side, service, subscribers, rounds: Vec::new() });
    }
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.round().await?;
        }
    }
    let clients = scaled(CLIENTS);
    println!("  one event to {clients} clients; medians of {ROUNDS} rounds of {EVENTS}, in turns");
    contenders.iter_mut().for_each(Contender::report);
    for (of, name) in [(0, "ours"), (2, "constant")] {
        let pairs = || contenders[1].rounds.iter().zip(&contenders[of].rounds);
        let time = median(pairs().map(|(theirs, other)| theirs.p50() / other.p50()));
        let cost = median(pairs().map(|(theirs, other)| theirs.each() / other.each()));
        println!("    Resgate / {name}: until the last client has it {time:.2}, processor time {cost:.2}");
    }
    Ok(())
}

impl Round {
    /// Milliseconds until the last client has it.
    fn p50(&self) -> f64 {
        percentile(&mut self.times.clone(), 50)
    }

    /// Microseconds of processor time for each event.
    fn each(&self) -> f64 {
        us(self.cost.total()) / self.times.len() as f64
    }
}

impl Contender {
    async fn round(&mut self) -> Result<()> {
        self.side.is_idle().await?;
        let before = self.side.times()?;
        let mut times = Vec::new();
        for _ in 0..EVENTS {
            times.push(self.subscribers.change(&self.service).await?);
        }
        let cost = self.side.times()?.since(&before);
        self.rounds.push(Round { times, cost });
        Ok(())
    }

    fn report(&mut self) {
        let mut times: Vec<_> = self.rounds.iter().flat_map(|round| &round.times).copied().collect();
        let [p50, p99] = [50, 99].map(|percent| percentile(&mut times, percent));
        let sum = Times::sum(self.rounds.iter().map(|round| &round.cost));
        println!(
            "    {:<8} the last client has it after p50 {p50:.2} ms, p99 {p99:.2} ms; for each client {}",
            self.side.gateway.name(),
            sum.each(times.len() * scaled(CLIENTS))
        );
    }
}

impl Subscribers {
    /// Nobody yet; of this model.
    pub(crate) fn new(model: &'static str) -> Self {
        Self { model, reading: JoinSet::new(), received: Arc::default(), last: 0 }
    }

    /// Opens a connection and subscribes.
    pub(crate) async fn open(&mut self, side: &Side) -> Result<()> {
        let mut client = Client::open(side.address).await?;
        client.request(&format!("subscribe.bench.model.{}", self.model), "null").await?;
        self.received.all.fetch_add(1, Ordering::Relaxed);
        let received = Arc::clone(&self.received);
        self.reading.spawn(async move {
            loop {
                client.event().await?;
                received.note();
            }
        });
        Ok(())
    }

    /// Changes the model, and answers how long it takes until all have the event.
    pub(crate) async fn change(&mut self, service: &Service) -> Result<Duration> {
        self.last += 1;
        self.received.count.store(0, Ordering::Relaxed);
        let begin = Instant::now();
        service.change(self.model, self.last)?;
        let received = timeout(DEADLINE, async {
            tokio::select! {
                () = self.received.by_all.notified() => Ok(begin.elapsed()),
                Some(ended) = self.reading.join_next() => match ended? {
                    Ok(()) => bail!("a client has ended"),
                    Err(error) => Err(error),
                }
            }
        });
        let Ok(received) = received.await else { bail!("not all clients have the event in time") };
        ensure!(self.received.count.load(Ordering::Relaxed) == self.reading.len(), "an event came twice");
        received
    }
}

impl Received {
    fn note(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.all.load(Ordering::Relaxed) {
            self.by_all.notify_one();
        }
    }
}
