//! What idle connections and subscribed resources cost as they become more, and how long an event
//! takes to as many clients: a table and a plot.

use std::fs;

use anyhow::{Context, Result};
use relogin_tests::{parts, process::raise_descriptor_limit};

use crate::{
    client::Client,
    events::Subscribers,
    figures::{median, ms, scaled, us},
    plot::{Line, Panel, svg},
    service::Service,
    side::{Gateway, Side},
};

const COUNTS: [usize; 3] = [1_000, 5_000, 20_000];
/// How many clients share the resources.
const CLIENTS: usize = 100;
/// Events at each number of clients.
const EVENTS: usize = 20;
/// Descriptors that a gateway needs for itself, at most.
const KEPT_BACK: usize = 1_100;

/// What was measured at a number of connections or resources.
struct Point {
    count: usize,
    /// Of the gateway, in bytes more than at first.
    memory: f64,
    /// What one more has cost of processor time, in microseconds: of the gateway, and of all.
    cost: [f64; 2],
    /// Milliseconds until the last client has an event.
    event: f64,
}

pub(crate) async fn measure() -> Result<()> {
    let (mut connections, mut resources) = (Vec::new(), Vec::new());
    for gateway in Gateway::BOTH {
        let points = with_connections(gateway).await?;
        print(gateway, "connections with a subscription to one model", &points);
        connections.push((gateway, points));
    }
    for gateway in Gateway::BOTH {
        let points = with_resources(gateway).await?;
        print(gateway, &format!("models, shared among {} clients", scaled(CLIENTS)), &points);
        resources.push((gateway, points));
    }
    let path = parts::target().join("gateway-growth.svg");
    fs::write(&path, plot(&connections, &resources)).context("writing the plot")?;
    println!("    plot: {}", path.display());
    Ok(())
}

async fn with_connections(gateway: Gateway) -> Result<Vec<Point>> {
    let most = raise_descriptor_limit()?.saturating_sub(KEPT_BACK);
    let side = Side::before_nats(gateway).await?;
    let service = Service::behind(&side)?;
    let mut subscribers = Subscribers::new("watched");
    // The first ones have parts of the program loaded that the others find there.
    for _ in 0..scaled(CLIENTS) {
        subscribers.open(&side).await?;
    }
    subscribers.change(&service).await?;
    side.is_idle().await?;
    let at_first = side.memory()?.resident as f64;
    let mut points = Vec::new();
    let mut open = 0;
    for count in COUNTS {
        let count = scaled(count).min(most - scaled(CLIENTS));
        let before = side.times()?;
        for _ in open..count {
            subscribers.open(&side).await?;
        }
        let cost = side.times()?.since(&before);
        side.is_idle().await?;
        let memory = side.memory()?.resident as f64 - at_first;
        let mut times = Vec::new();
        for _ in 0..EVENTS {
            times.push(ms(subscribers.change(&service).await?));
        }
        let cost = [cost.gateway(), cost.total()].map(|cost| us(cost) / (count - open) as f64);
        points.push(Point { count, memory, cost, event: median(times) });
        open = count;
    }
    Ok(points)
}

async fn with_resources(gateway: Gateway) -> Result<Vec<Point>> {
    let side = Side::before_nats(gateway).await?;
    let service = Service::behind(&side)?;
    let mut watching = Subscribers::new("watched");
    let mut clients = Vec::new();
    for _ in 0..scaled(CLIENTS) {
        watching.open(&side).await?;
        clients.push(Client::open(side.address).await?);
    }
    watching.change(&service).await?;
    side.is_idle().await?;
    let at_first = side.memory()?.resident as f64;
    let mut points = Vec::new();
    let mut open = 0;
    for count in COUNTS {
        let each = scaled(count) / clients.len();
        let before = side.times()?;
        for (number, client) in clients.iter_mut().enumerate() {
            let frame = |n| client.frame(&format!("subscribe.bench.model.{number}-{n}"), "null");
            let frames: Vec<_> = (open..each).map(frame).collect();
            client.write(&frames.concat()).await?;
            for _ in open..each {
                client.answer().await?;
            }
        }
        let cost = side.times()?.since(&before);
        side.is_idle().await?;
        let memory = side.memory()?.resident as f64 - at_first;
        let mut times = Vec::new();
        for _ in 0..EVENTS {
            times.push(ms(watching.change(&service).await?));
        }
        let new = (each - open) * clients.len();
        let cost = [cost.gateway(), cost.total()].map(|cost| us(cost) / new as f64);
        points.push(Point { count: each * clients.len(), memory, cost, event: median(times) });
        open = each;
    }
    Ok(points)
}

fn print(gateway: Gateway, what: &str, points: &[Point]) {
    println!("  {}: {what}", gateway.name());
    for Point { count, memory, cost: [own, all], event } in points {
        let each = memory / 1e3 / *count as f64;
        println!(
            "    {count:>6}: {:.1} MB more, {each:.1} kB each; one more cost {own:.0} us in the gateway, {all:.0} us in \
             all; the last client has an event after {event:.2} ms",
            memory / 1e6
        );
    }
}

fn plot(connections: &[(Gateway, Vec<Point>)], resources: &[(Gateway, Vec<Point>)]) -> String {
    let lines = |of: &[(Gateway, Vec<Point>)], figure: fn(&Point) -> f64| {
        let line = |(gateway, points): &(Gateway, Vec<Point>)| Line {
            name: gateway.name(),
            points: points.iter().map(|point| (point.count as f64, figure(point))).collect(),
        };
        of.iter().map(line).collect()
    };
    svg(&[
        Panel {
            title: "Memory for idle connections, MB",
            across: "connections",
            lines: lines(connections, |point| point.memory / 1e6),
        },
        Panel {
            title: "An event until the last client has it, ms",
            across: "connections",
            lines: lines(connections, |point| point.event),
        },
        Panel { title: "Memory for models, MB", across: "models", lines: lines(resources, |point| point.memory / 1e6) },
    ])
}
