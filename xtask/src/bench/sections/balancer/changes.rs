//! Whether requests fail while certificates, rules and target groups change under them.

use super::handshakes::{Certificate, import, wrk};
use super::proxies::Target;
use crate::bench::load::Load;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::platform::Platform;
use serde_json::json;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Requests a second meanwhile.
const RATE: f64 = 5_000.0;
/// Changes of each kind, and in a quick run.
const CHANGES: usize = 100;
const CHANGES_QUICKLY: usize = 10;
/// For so long the load goes on at least, before and after the changes as well.
const AROUND: Duration = Duration::from_secs(1);
/// Connections that make a handshake for each request.
const HANDSHAKERS: usize = 2;
/// An estimate of what a change takes at most, for the length of the load.
const CHANGE_MAX: Duration = Duration::from_millis(200);

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let changes = if bench.settings.quick { CHANGES_QUICKLY } else { CHANGES };
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    let targets = [Target::start(bench)?, Target::start(bench)?];
    for (name, target) in ["one", "two"].into_iter().zip(&targets) {
        platform.skiff_output(&["target-group", "create", name, "--outside", &target.address])?;
    }
    platform.skiff_output(&["listener", "create", "http", "--forward", "one=1,two=1"])?;
    let certificates = [Certificate::make(bench, "a.localhost")?, Certificate::make(bench, "b.localhost")?];
    import(&platform, "exchanged", &certificates[0])?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let secure = ["listener", "create", "secure", "--port", &port, "--protocol", "https"];
    platform.skiff_output(&[&secure[..], &["--certificate", "exchanged", "--respond", "200"]].concat())?;

    let seconds = (CHANGE_MAX * 3 * changes as u32 + 2 * AROUND).as_secs_f64();
    let load = Load {
        core: Some(bench.cores.driver),
        rate: Some(RATE),
        seconds,
        ..Load::new(bench, &platform.http, &platform.http)
    };
    let (outcome, handshakes, changed) = std::thread::scope(|scope| {
        let driven = scope.spawn(|| load.run(bench));
        let shaken = scope.spawn(|| wrk(bench, &format!("127.0.0.1:{port}"), HANDSHAKERS, seconds));
        std::thread::sleep(AROUND);
        let began = Instant::now();
        let changed = change(&platform, &certificates, changes).map(|()| began.elapsed());
        let joined = "the load does not panic";
        (driven.join().expect(joined), shaken.join().expect(joined), changed)
    });
    let (outcome, handshakes, changed) = (outcome?, handshakes?, changed?);
    platform.stop()?;
    println!("{outcome}\n{handshakes} handshakes; the changes took {changed:.1?}");
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let failed = outcome.errors.total() as f64;
    Ok(Section {
        method: vec![format!(
            "changes: {RATE:.0} requests a second in an open loop and as many handshakes of TLS as {HANDSHAKERS} connections \
             make; meanwhile a certificate is exchanged, a rule changed and two target groups reweighed by the CLI, {changes} \
             times each. A handshake or request that fails there fails the run"
        )],
        tables: vec![Table {
            title: "Changes under load".to_owned(),
            header: vec!["what", ""],
            rows: vec![
                row("changes", format!("{} in {:.1} s", 3 * changes, changed.as_secs_f64())),
                row("requests that were due meanwhile, and failed", format!("{}, {failed}", outcome.due)),
                row("why", outcome.errors.to_string()),
                row("handshakes", handshakes.to_string()),
                row("p99 of the requests, ms", format!("{:.2}", outcome.latency.p99_us / 1e3)),
            ],
        }],
        goals: vec![Goal::at_most("requests that failed while all that was changed", failed, 0.0, "")],
        data: json!({ "outcome": outcome, "handshakes": handshakes, "changes": 3 * changes,
            "seconds": changed.as_secs_f64() }),
        ..Section::default()
    })
}

fn change(platform: &Platform, certificates: &[Certificate; 2], times: usize) -> anyhow::Result<()> {
    for time in 0..times {
        import(platform, "exchanged", &certificates[time % 2])?;
        let value = format!("path=/v{time}/*");
        let rule = ["rule", "create", "changing", "--priority", "1", "--if", &value, "--forward"];
        let groups = format!("one={},two={}", time % 10, 10 - time % 10);
        platform.skiff_output(&[&rule[..], &[if time % 2 == 0 { "one" } else { "two" }]].concat())?;
        platform.skiff_output(&["listener", "create", "http", "--forward", &groups])?;
    }
    Ok(())
}
