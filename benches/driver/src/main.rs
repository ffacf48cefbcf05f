//! `skiff-driver`: the load driver as a program. What came of a run goes to standard output, for people or as JSON.

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skiff_driver::{Load, Pace, run};
use std::net::ToSocketAddrs;
use std::time::Duration;

/// Drives an HTTP/1.1 server from one thread and measures it.
///
/// With --rate requests are due at that rate whatever the server does, and latencies count from when they were due.
/// Without it each connection sends when it has its answer, which finds the rate at which the server saturates.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  skiff-driver 127.0.0.1:8080 --host hello.localhost               how many a second
  skiff-driver 127.0.0.1:8080 --host hello.localhost --rate 5000   how long each takes at 5000 a second")]
struct Args {
    /// The server
    #[arg(value_name = "HOST:PORT")]
    target: String,
    /// The path of every request
    #[arg(long, default_value = "/", value_parser = path)]
    path: String,
    /// The `Host` header; of several, each request takes the next [default: the server's address]
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Connections held open
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Requests due per second: an open loop [default: a closed loop, as fast as the server answers]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// How requests of an open loop arrive
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    arrivals: Arrivals,
    /// What the gaps of --arrivals poisson follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// For how long requests are due
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Requests at most [default: as many as are due]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// How long the last answers may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    grace: f64,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arrivals {
    /// With equal gaps
    Constant,
    /// With exponentially distributed gaps, as independent clients make them
    Poisson,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    raise_descriptor_limit()?;
    let mut addresses = args
        .target
        .to_socket_addrs()
        .with_context(|| format!("{:?} is not the address of a server, like 127.0.0.1:8080", args.target))?;
    let Some(target) = addresses.next() else { bail!("{:?} has no address", args.target) };
    let hosts = if args.hosts.is_empty() { vec![args.target.clone()] } else { args.hosts };
    if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
        bail!("{wrong:?} can't be sent as a host");
    }
    let outcome = run(&Load {
        target,
        path: args.path,
        hosts,
        connections: args.connections as usize,
        pace: match (args.rate, args.arrivals) {
            (None, _) => Pace::Saturate,
            (Some(per_second), Arrivals::Constant) => Pace::Constant { per_second },
            (Some(per_second), Arrivals::Poisson) => Pace::Poisson { per_second, seed: args.seed },
        },
        duration: Duration::from_secs_f64(args.seconds),
        requests_max: args.requests,
        grace: Duration::from_secs_f64(args.grace),
    })?;
    match args.output {
        Output::Text => println!("{outcome}"),
        Output::Json => println!("{}", serde_json::to_string(&outcome)?),
    }
    Ok(())
}

/// Every connection takes a descriptor: all that the system allows are asked for.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the limit of open files can't be raised to its maximum")
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn path(text: &str) -> Result<String, String> {
    let sound = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| text.to_owned()).ok_or_else(|| format!("{text:?} is not a path, like /hello?name=me"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("{text:?} is not a number of requests per second above 0"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| format!("{text:?} is not a number of seconds from 0 to 86400"))
}
