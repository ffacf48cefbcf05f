//! Measures Skiff and writes what it saw to `benches/results/`.
//!
//! *throughput*: beside `wasmtime serve`, in interleaved rounds. A row is the median of its rounds. CPU is what the
//! server's processes used, all of them, divided by the requests that were answered. A server is warmed up before its
//! first round; a round with a wrong answer fails the run.

mod adversary;
pub(crate) mod isolation;
mod recovery;
mod report;
mod wrk;

use crate::platform::Platform;
use crate::shell::{self, build_guests, cargo, find, root};
use anyhow::{Context, bail};
use procfs::process::Process;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wrk::Load;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum, default_value = "throughput")]
    what: What,
    /// Rounds of each server, interleaved.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections held open.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Only servers whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// What can be measured.
#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Requests per second and CPU per request, beside `wasmtime serve`; cold starts by stage.
    Throughput,
    /// A neighbour that spins.
    Isolation,
    /// Every way to misbehave: what its neighbour feels, what is left behind, how soon it ends when it is cancelled.
    Adversary,
    /// Workers and platforms that are killed; from a push to the first answer.
    Recovery,
}

/// One server under load.
struct Subject {
    name: &'static str,
    url: String,
    host: Option<&'static str>,
    pid: u32,
    rounds: Vec<Round>,
}

/// What one round showed.
#[derive(Debug, Clone)]
struct Round {
    requests_per_second: f64,
    cpu_us_per_request: f64,
    p50_ms: f64,
    p99_ms: f64,
    memory_mib: f64,
}

/// Measures what is asked for.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    find("wrk").context("the load comes from `wrk`; install it (Debian: `apt-get install wrk`)")?;
    match args.what {
        What::Throughput => throughput(&args),
        What::Isolation => isolation::measure(&args),
        What::Adversary => adversary::measure(&args),
        What::Recovery => recovery::measure(),
    }
}

fn throughput(args: &Args) -> anyhow::Result<()> {
    build_guests()?;
    shell::run(cargo("build").args(["--release", "--package", "skiff-server"]))?;
    let data = tempfile::tempdir()?;
    let ports = ["--http", "127.0.0.1:0", "--api", "127.0.0.1:0"];
    let (platform, ready) =
        Platform::start(&root().join("target/release/skiff"), &data.path().join("data"), &ports)?;
    for example in ["hello", "hello-p3"] {
        let size = ["--cpu", "4096", "--memory", "1GiB", "--concurrency", "500"];
        platform.skiff(&[&["deploy", &format!("examples/{example}")][..], &size].concat())?;
    }
    let mut peers = Vec::new();
    let mut subjects = vec![
        skiff(&platform, "skiff, hello (WASI 0.2), fresh sandbox per request", "hello.localhost"),
        skiff(&platform, "skiff, hello-p3 (WASI 0.3), fresh sandbox per request", "hello-p3.localhost"),
    ];
    match find("wasmtime") {
        Some(wasmtime) => {
            for (name, guest, arguments) in WASMTIME_SERVERS {
                let (child, address) = start_wasmtime(&wasmtime, guest, arguments)?;
                subjects.push(Subject {
                    name,
                    url: format!("http://{address}/"),
                    host: None,
                    pid: child.0.id(),
                    rounds: Vec::new(),
                });
                peers.push(child);
            }
        }
        None => eprintln!("note: `wasmtime` is not on the PATH, so there is nothing to compare with"),
    }
    subjects.retain(|subject| args.only.as_ref().is_none_or(|only| subject.name.contains(only)));
    measure(args, &mut subjects)?;
    let cold = ["hello", "hello-p3"].map(|name| {
        platform.skiff_output(&["bench", "cold-start", name, "--requests", "500"]).map(|text| (name, text))
    });
    let cold: Vec<(&str, String)> = cold.into_iter().collect::<anyhow::Result<_>>()?;
    report::write(args, &subjects, &cold, ready)?;
    drop(peers);
    platform.stop()
}

/// What `wasmtime serve` is started with: by default it reuses an instance for 128 requests in WASI 0.3, for one in 0.2.
const WASMTIME_SERVERS: [(&str, &str, &[&str]); 3] = [
    ("wasmtime serve, hello (WASI 0.2), fresh instance per request", "hello", &["-Scli"]),
    (
        "wasmtime serve, hello-p3 (WASI 0.3), fresh instance per request",
        "hello_p3",
        &["-Scli,p3", "-Wcomponent-model-async", "--max-instance-reuse-count", "1"],
    ),
    (
        "wasmtime serve, hello-p3 (WASI 0.3), reuse 128 x 16",
        "hello_p3",
        &["-Scli,p3", "-Wcomponent-model-async"],
    ),
];

fn skiff(platform: &Platform, name: &'static str, host: &'static str) -> Subject {
    let url = format!("http://{}/", platform.http);
    Subject { name, url, host: Some(host), pid: platform.pid(), rounds: Vec::new() }
}

fn measure(args: &Args, subjects: &mut [Subject]) -> anyhow::Result<()> {
    let load = |subject: &Subject, seconds| Load {
        url: subject.url.clone(),
        host: subject.host,
        connections: args.connections,
        seconds,
    };
    for subject in &*subjects {
        load(subject, 2).run()?;
    }
    for round in 1..=args.rounds {
        for subject in &mut *subjects {
            let before = tree_cpu(subject.pid)?;
            let result = load(subject, args.seconds).run()?;
            let cpu = tree_cpu(subject.pid)? - before;
            let round_result = Round {
                requests_per_second: result.requests_per_second,
                cpu_us_per_request: cpu.as_secs_f64() * 1e6 / result.requests as f64,
                p50_ms: result.p50_ms,
                p99_ms: result.p99_ms,
                memory_mib: tree_memory_mib(subject.pid)?,
            };
            println!("round {round}: {}: {round_result:.1?}", subject.name);
            subject.rounds.push(round_result);
        }
    }
    Ok(())
}

/// A server that ends when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_wasmtime(wasmtime: &Path, guest: &str, arguments: &[&str]) -> anyhow::Result<(Server, String)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let component = root().join(format!("examples/target/wasm32-wasip2/release/{guest}.wasm"));
    let mut command = Command::new(wasmtime);
    command.arg("serve").args(arguments).args(["--addr", &address]).arg(component);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Server(command.spawn()?);
    let started = Instant::now();
    while TcpStream::connect(&address).is_err() {
        if server.0.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(30) {
            bail!("`wasmtime serve` did not start on {address} for {guest}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((server, address))
}

/// A process and its children.
fn tree(pid: u32) -> anyhow::Result<Vec<Process>> {
    let parent = Process::new(pid as i32)?;
    let children = procfs::process::all_processes()?
        .filter_map(Result::ok)
        .filter(|process| process.stat().is_ok_and(|stat| stat.ppid == pid as i32));
    Ok(std::iter::once(parent).chain(children).collect())
}

fn tree_cpu(pid: u32) -> anyhow::Result<Duration> {
    let ticks = tree(pid)?
        .iter()
        .filter_map(|process| process.stat().ok())
        .map(|stat| stat.utime + stat.stime)
        .sum::<u64>();
    Ok(Duration::from_millis(ticks * 1_000 / procfs::ticks_per_second()))
}

fn tree_memory_mib(pid: u32) -> anyhow::Result<f64> {
    let pss = |process: &Process| {
        let rollup = process.smaps_rollup().ok()?;
        rollup.memory_map_rollup.into_iter().next()?.extension.map.get("Pss").copied()
    };
    Ok(tree(pid)?.iter().filter_map(pss).sum::<u64>() as f64 / f64::from(1 << 20))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
