//! What it costs to pass a request on to a host outside by HTTP/1.1, and how long it takes at half of what the slower of
//! Skiff and nginx saturates at.

use super::proxies::{Proxy, Started, Target, begin};
use crate::bench::compare::ratio;
use crate::bench::load::Load;
use crate::bench::processes;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number};
use serde::Serialize;
use serde_json::json;

/// Bytes of the bodies.
const SIZES: [usize; 2] = [1 << 10, 64 << 10];
/// Warms each up for this part of a round's time.
const WARM_UP_PART: f64 = 0.4;

#[derive(Debug, Clone, Serialize)]
struct Round {
    per_second: f64,
    cpu_us_per_request: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// What was measured of one of them, at one size of bodies.
struct Of {
    proxy: Proxy,
    saturated: Vec<Round>,
    at_half: Vec<Round>,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let mut section = Section {
        method: vec![
            "proxying: one target, `skiff-native`, which runs with the driver on one core; the load balancer has the \
             other. Connections stay open on both sides. Skiff and nginx write an access log"
                .to_owned(),
        ],
        ..Section::default()
    };
    let target = [Target::start(bench)?];
    let mut started = Vec::new();
    for proxy in Proxy::ALL {
        match begin(bench, proxy, &target) {
            Ok(running) => started.push((proxy, running)),
            Err(error) => section.left_out.push(format!("proxying by {}: {error:#}", proxy.name())),
        }
    }
    let mut data = Vec::new();
    for bytes in SIZES {
        let all = of_size(bench, &started, bytes)?;
        add(&mut section, bytes, &all);
        let rounds = all
            .iter()
            .map(|of| json!({ "proxy": of.proxy.name(), "saturated": of.saturated, "at_half": of.at_half }));
        data.push(json!({ "bytes": bytes, "proxies": rounds.collect::<Vec<_>>() }));
    }
    for (_, Started { platform, .. }) in started {
        platform.map_or(Ok(()), |platform| platform.stop())?;
    }
    section.data = data.into();
    Ok(section)
}

/// Interleaved rounds: of as many requests as each can pass on, then at half of what the slower of Skiff and nginx can.
fn of_size(bench: &Bench, started: &[(Proxy, Started)], bytes: usize) -> anyhow::Result<Vec<Of>> {
    let mut all: Vec<Of> = started
        .iter()
        .map(|(proxy, _)| Of { proxy: *proxy, saturated: Vec::new(), at_half: Vec::new() })
        .collect();
    for (_, proxy) in started {
        round(bench, proxy, bytes, None, bench.settings.seconds * WARM_UP_PART)?;
    }
    for _ in 0..bench.settings.rounds {
        for (of, (proxy, running)) in all.iter_mut().zip(started) {
            let round = round(bench, running, bytes, None, bench.settings.seconds)?;
            println!("{}, {bytes} bytes: {round:.1?}", proxy.name());
            of.saturated.push(round);
        }
    }
    let compared = all.iter().filter(|of| of.proxy != Proxy::Haproxy);
    let rate = compared.map(|of| per_second(of).median).fold(f64::INFINITY, f64::min) / 2.0;
    for _ in 0..bench.settings.rounds {
        for (of, (proxy, running)) in all.iter_mut().zip(started) {
            let round = round(bench, running, bytes, Some(rate.floor()), bench.settings.seconds)?;
            println!("{}, {bytes} bytes at {rate:.0}/s: {round:.1?}", proxy.name());
            of.at_half.push(round);
        }
    }
    Ok(all)
}

fn per_second(of: &Of) -> Spread {
    Spread::of(of.saturated.iter().map(|round| round.per_second))
}

fn round(
    bench: &Bench,
    proxy: &Started,
    bytes: usize,
    rate: Option<f64>,
    seconds: f64,
) -> anyhow::Result<Round> {
    let server = &proxy.running;
    let load = Load {
        core: Some(bench.cores.driver),
        path: format!("/bytes/{bytes}"),
        rate,
        seconds,
        ..Load::new(bench, &server.address, &server.host)
    };
    let before = processes::cpu(server.pid)?;
    let outcome = load.run_soundly(bench)?;
    let cpu = processes::cpu(server.pid)? - before;
    Ok(Round {
        per_second: outcome.answered_per_second,
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / outcome.answered as f64,
        p50_ms: outcome.latency.p50_us / 1e3,
        p99_ms: outcome.latency.p99_us / 1e3,
    })
}

fn add(section: &mut Section, bytes: usize, all: &[Of]) {
    let kib = bytes >> 10;
    let spread = |rounds: &[Round], value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let row = |of: &Of| {
        vec![
            of.proxy.name().to_owned(),
            per_second(of).to_string(),
            spread(&of.saturated, |round| round.cpu_us_per_request).to_string(),
            spread(&of.saturated, |round| round.p99_ms).to_string(),
            spread(&of.at_half, |round| round.p50_ms).to_string(),
            spread(&of.at_half, |round| round.p99_ms).to_string(),
        ]
    };
    section.tables.push(Table {
        title: format!("Passing on bodies of {kib} KiB"),
        header: vec![
            "load balancer",
            "requests/s",
            "CPU µs per request",
            "p99 ms, saturated",
            "p50 ms, at half",
            "p99 ms, at half",
        ],
        rows: all.iter().map(row).collect(),
    });
    let of = |proxy: Proxy| all.iter().find(|of| of.proxy == proxy);
    let (Some(ours), Some(theirs)) = (of(Proxy::Skiff), of(Proxy::Nginx)) else { return };
    let cpu = ratio((&ours.saturated, &theirs.saturated), |round: &Round| round.cpu_us_per_request);
    let late = ratio((&ours.at_half, &theirs.at_half), |round: &Round| round.p99_ms);
    section.goals.push(Goal::at_most(
        format!("passing on {kib} KiB: CPU per request, of nginx's"),
        cpu,
        1.0,
        "",
    ));
    let what = format!("passing on {kib} KiB: p99 at half of what the slower saturates at, of nginx's");
    section.goals.push(Goal::at_most(what, late, 1.0, ""));
    for (what, ratio) in [("CPU per request", cpu), ("p99 at half load", late)] {
        if ratio.median > 1.0 {
            let times = number(ratio.median);
            section.losses.push(format!("passing on {kib} KiB, {what}: {times} times nginx's"));
        }
    }
}
