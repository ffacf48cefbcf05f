//! What a neighbour that spins costs: a guest at 256 CPU units beside a native process that takes the same share.
//!
//! The platform is pinned to one core and the load to the other. Each round measures `hello` alone, beside the spinning
//! guest, and beside the native process, in turn. The native process spins for 25 ms of each 100 ms, as the kernel's CPU
//! controller holds a container to a quarter of a core by default (`cpu.cfs_period_us`).

use super::wrk::{Load, Outcome};
use super::{Server, median, report};
use crate::platform::Platform;
use crate::shell::{build_guests, cargo, root, run};
use anyhow::Context;
use std::fmt::Write as _;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the spinning guest is given, of 1024 units a core.
const SPINNER_UNITS: &str = "256";
/// The native spinner's period, and how much of it it spins.
const PERIOD: Duration = Duration::from_millis(100);
const SPIN: Duration = Duration::from_millis(25);

/// A neighbour's effect in one round.
struct Round {
    alone: Outcome,
    guest: Outcome,
    native: Outcome,
    guest_share: f64,
}

/// Picks one of a round's outcomes.
type Case = fn(&Round) -> &Outcome;

/// Runs the rounds and writes the report.
pub(super) fn measure(args: &super::Args) -> anyhow::Result<()> {
    build_guests()?;
    run(cargo("build").args(["--release", "--package", "skiff-server"]))?;
    let data = tempfile::tempdir()?;
    let ports = ["--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--workers", "1"];
    let (platform, _) =
        Platform::start(&root().join("target/release/skiff"), &data.path().join("data"), &ports)?;
    pin(platform.pid(), 0)?;
    pin(std::process::id(), 1)?;
    platform.skiff(&[
        "deploy",
        "examples/hello",
        "--cpu",
        "4096",
        "--memory",
        "1GiB",
        "--concurrency",
        "500",
    ])?;
    let misbehave = root().join("platform/server/tests/guests/target/wasm32-wasip2/release/misbehave.wasm");
    let misbehave = misbehave.to_string_lossy();
    platform.skiff(&[
        "deploy",
        &misbehave,
        "--name",
        "spinner",
        "--cpu",
        SPINNER_UNITS,
        "--timeout",
        "1h",
    ])?;
    let rounds: Vec<Round> =
        (0..args.rounds).map(|_| round(args, &platform)).collect::<anyhow::Result<_>>()?;
    let text = render(args, &rounds)?;
    report::save("isolation", "What a spinning neighbour costs", &text)?;
    platform.stop()
}

/// Spins for a quarter of the time, until it is killed: the native neighbour.
pub(crate) fn spin() -> ! {
    loop {
        let started = Instant::now();
        while started.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        sleep(PERIOD.saturating_sub(started.elapsed()));
    }
}

fn round(args: &super::Args, platform: &Platform) -> anyhow::Result<Round> {
    let load = Load {
        url: format!("http://{}/", platform.http),
        host: Some("hello.localhost"),
        connections: 8,
        seconds: args.seconds,
    };
    let alone = load.run()?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--header", "host: spinner.localhost"]);
    let spinning =
        Server(curl.arg(format!("http://{}/spin", platform.http)).spawn().context("needs `curl`")?);
    let series = r#"skiff_cpu_seconds_total{namespace="default",service="spinner"}"#;
    // The bucket's first burst is not the share that it settles at.
    sleep(Duration::from_millis(500));
    let (before, started) = (platform.metric(series)?, Instant::now());
    let guest = load.run()?;
    let guest_share = (platform.metric(series)? - before) / started.elapsed().as_secs_f64();
    drop(spinning);
    let native = Server(Command::new(std::env::current_exe()?).arg("spin").spawn()?);
    pin(native.0.id(), 0)?;
    let beside_native = load.run()?;
    drop(native);
    println!(
        "alone {alone:?}\nbeside the guest {guest:?}, its share {guest_share:.4}\nbeside the process {beside_native:?}"
    );
    Ok(Round { alone, guest, native: beside_native, guest_share })
}

fn render(args: &super::Args, rounds: &[Round]) -> anyhow::Result<String> {
    let mut text = String::new();
    let command = format!("cargo xtask bench isolation --rounds {} --seconds {}", args.rounds, args.seconds);
    report::preamble(&mut text, &command)?;
    writeln!(
        text,
        "- platform pinned to core 0, load (`wrk -t1 -c8`) to core 1; medians of {} rounds\n",
        rounds.len()
    )?;
    writeln!(text, "| `hello` | requests/s | p50 ms | p99 ms |\n| --- | --- | --- | --- |")?;
    let cases: [(&str, Case); 3] = [
        ("alone", |round| &round.alone),
        ("beside a guest that spins at 256 units", |round| &round.guest),
        ("beside a native process that spins 25 ms of 100", |round| &round.native),
    ];
    for (name, of) in cases {
        let of = |field: fn(&Outcome) -> f64| median(rounds.iter().map(|round| field(of(round))).collect());
        writeln!(
            text,
            "| {name} | {:.0} | {:.2} | {:.2} |",
            of(|outcome| outcome.requests_per_second),
            of(|outcome| outcome.p50_ms),
            of(|outcome| outcome.p99_ms)
        )?;
    }
    let shares: Vec<String> =
        rounds.iter().map(|round| format!("{:.2}%", round.guest_share * 100.0)).collect();
    let ratios = rounds.iter().map(|round| round.guest.p99_ms / round.native.p99_ms).collect();
    writeln!(text, "\n- the guest's share of the core, by round: {}", shares.join(", "))?;
    writeln!(
        text,
        "- p99 beside the guest, as a multiple of that beside the process, median of pairs: {:.2}",
        median(ratios)
    )?;
    Ok(text)
}

pub(super) fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    // With all threads, and the workers that it has started.
    let children = super::tree(pid)?;
    for process in children {
        run(Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &process.pid().to_string()]))?;
    }
    Ok(())
}
