//! Durable queues: messages that are sent, received and deleted, beside Redis streams and NATS JetStream, which are told to sync each.
//!
//! Every connection sends some messages, and then receives as many, one call after the other; what it received it deletes with its
//! next receive, as a consumer would, each server in the way that it has for that. So each message costs its server two durable
//! steps, or a part of them. What a connection does costs all clients about the same: none has a library.

mod nats;
mod ours;
mod redis;

use crate::bench::disk;
use crate::bench::processes::{Guard, cpu};
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number, quantile};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a message.
const BODY_BYTES: usize = 256;
/// Messages of one call.
const BATCHES: [usize; 2] = [1, 10];
/// How long what is left over may take once no more is sent.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a queue.
trait Line: Send {
    /// Sends messages. They are on the drive when it returns.
    fn send(&mut self, bodies: &[&str]) -> anyhow::Result<()>;
    /// Deletes the messages that the last take received, and receives others, so many at most; how many it received.
    fn take(&mut self, most: usize) -> anyhow::Result<usize>;
    /// Deletes the messages that the last take received.
    fn finish(&mut self) -> anyhow::Result<()>;
}

type Open = Box<dyn Fn(usize) -> anyhow::Result<Box<dyn Line>>>;

/// A server, with a queue.
struct Server {
    name: &'static str,
    pid: u32,
    /// Opens the connection of a number.
    open: Open,
    _guard: Option<Guard>,
}

/// What the rounds of a server showed, by batch.
type Rounds = [Vec<Round>; BATCHES.len()];

/// What one round of a server showed.
#[derive(Clone, Copy)]
struct Round {
    messages_per_s: f64,
    cpu_us: f64,
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(None, &[], &[])?;
    let mut servers = vec![ours::start(&platform)?];
    let mut left_out = Vec::new();
    for (name, peer) in [("Redis", redis::start(bench)), ("NATS", nats::start(bench))] {
        match peer {
            Ok(peer) => servers.push(peer),
            Err(error) => left_out.push(format!("{name}: {error:#}")),
        }
    }
    let syncs = disk::syncs_us(bench.folder(), Duration::ZERO)?;
    let mut rounds: Vec<Rounds> = servers.iter().map(|_| Rounds::default()).collect();
    for _ in 0..bench.settings.rounds {
        for (server, rounds) in servers.iter().zip(&mut rounds) {
            for (batch, rounds) in BATCHES.into_iter().zip(rounds) {
                rounds.push(round(bench, server, batch).with_context(|| server.name)?);
            }
        }
    }
    let names: Vec<&str> = servers.iter().map(|server| server.name).collect();
    let shown = section(bench, &names, &rounds, &syncs);
    drop(servers);
    platform.stop()?;
    Ok(Section { left_out, ..shown })
}

/// Load by all connections for a while, and until nothing is left.
fn round(bench: &Bench, server: &Server, batch: usize) -> anyhow::Result<Round> {
    let lines = (0..bench.settings.connections).map(|number| (server.open)(number));
    let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
    let (sent, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    let body = "x".repeat(BODY_BYTES);
    let bodies = vec![body.as_str(); batch];
    let (cpu_before, began) = (cpu(server.pid)?, Instant::now());
    let until = began + Duration::from_secs_f64(bench.settings.seconds);
    thread::scope(|scope| {
        let (sent, taken, bodies) = (&sent, &taken, &bodies);
        let works = lines.into_iter().map(|line| scope.spawn(move || work(line, bodies, until, sent, taken)));
        let works: Vec<_> = works.collect();
        works.into_iter().try_for_each(|work| work.join().expect("a connection does not panic"))
    })?;
    let took = began.elapsed().as_secs_f64();
    let messages = taken.into_inner() as f64;
    let used = cpu(server.pid)?.saturating_sub(cpu_before);
    Ok(Round { messages_per_s: messages / took, cpu_us: used.as_secs_f64() * 1e6 / messages })
}

fn work(
    mut line: Box<dyn Line>,
    bodies: &[&str],
    until: Instant,
    sent: &AtomicU64,
    taken: &AtomicU64,
) -> anyhow::Result<()> {
    while Instant::now() < until {
        sent.fetch_add(bodies.len() as u64, Relaxed);
        line.send(bodies)?;
        taken.fetch_add(line.take(bodies.len())? as u64, Relaxed);
    }
    let began = Instant::now();
    while taken.load(Relaxed) < sent.load(Relaxed) {
        taken.fetch_add(line.take(bodies.len())? as u64, Relaxed);
        if began.elapsed() > DRAIN_PATIENCE {
            bail!("{} messages were sent, and {} came", sent.load(Relaxed), taken.load(Relaxed));
        }
    }
    line.finish()
}

/// What the rounds of servers showed, of which the first is ours.
fn section(bench: &Bench, names: &[&str], rounds: &[Rounds], syncs: &[f64]) -> Section {
    let spread = |rounds: &[Round], value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let rate = |rounds: &[Round]| spread(rounds, |round| round.messages_per_s);
    let cost = |rounds: &[Round]| spread(rounds, |round| round.cpu_us);
    let (mut tables, mut goals, mut losses) = (vec![], vec![], vec![]);
    let mut data: Vec<Value> = vec![];
    for (index, batch) in BATCHES.into_iter().enumerate() {
        let of_batch: Vec<&[Round]> = rounds.iter().map(|rounds| rounds[index].as_slice()).collect();
        let row = |(name, rounds): (&&str, &&[Round])| {
            data.push(json!({ "server": name, "batch": batch, "messages_per_s": rate(rounds), "cpu_us": cost(rounds) }));
            vec![(*name).to_owned(), rate(rounds).to_string(), cost(rounds).to_string()]
        };
        tables.push(Table {
            title: format!("Sent, received and deleted, {batch} in a call"),
            header: vec!["server", "messages/s", "CPU µs per message"],
            rows: names.iter().zip(&of_batch).map(row).collect(),
        });
        let peers = of_batch.iter().skip(1);
        let fastest = peers.clone().map(|rounds| rate(rounds).median).reduce(f64::max);
        let cheapest = peers.map(|rounds| cost(rounds).median).reduce(f64::min);
        let (Some(fastest), Some(cheapest)) = (fastest, cheapest) else { continue };
        let (our_rate, our_cost) = (rate(of_batch[0]), cost(of_batch[0]));
        let what = |of: &str| format!("{batch} in a call: {of}, beside the better peer's");
        goals.push(Goal::at_least(what("messages/s"), our_rate, fastest, "/s"));
        goals.push(Goal::at_most(what("CPU per message"), our_cost, cheapest, " µs"));
        if our_rate.median < fastest || our_cost.median > cheapest {
            losses.push(format!("{batch} in a call: {our_rate}/s for {our_cost} µs each"));
        }
    }
    Section {
        title: "Queues",
        method: vec![
            format!(
                "{} connections, each of which sends messages of {BODY_BYTES} bytes and then receives as many, and deletes those \
                 with its next receive; rounds end when nothing is left, and all that was received is deleted. Skiff: a send, and a \
                 receive that says what was handled",
                bench.settings.connections
            ),
            "Redis: a stream with a group, appendfsync always; XADD, and in one write XACK and XDEL of what came before and \
             XREADGROUP. NATS: a JetStream work queue with sync_interval always, on files; publish, and in one write an \
             acknowledgement that is answered, of each that came before, and a pull"
                .to_owned(),
            format!(
                "a page and a sync of this drive take {} µs at p50, {} at p99; servers and clients on all cores",
                number(quantile(syncs.iter().copied(), 0.5)),
                number(quantile(syncs.iter().copied(), 0.99))
            ),
        ],
        tables,
        goals,
        losses,
        data: data.into(),
        ..Section::default()
    }
}
