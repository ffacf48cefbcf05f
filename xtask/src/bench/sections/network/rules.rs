//! How soon a change of a security group takes effect: a flow that stands is cut, the next connection is denied, and let in
//! again.
//!
//! Two clients, in two workers, each keep a connection to one server open, and try for the next as soon as it is cut. Times
//! are from the start of `skiff sg` to when the client's program noticed, by one clock: that of the logs.

use super::programs::{PORT, hear, now_ms, serve, start};
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{number, quantile};
use crate::platform::Platform;
use serde::Serialize;
use serde_json::json;

/// Clients: one beside the server, one in the other worker.
const CLIENTS: usize = 2;
/// Connections that the server takes before it does anything else: never so many.
const HELD: &str = "1000000";
/// The rule on either side. They are revoked in turn: one is enough.
const RULES: [[&str; 2]; 2] = [["web", "tcp:7000 to db"], ["db", "tcp:7000 from web"]];
/// How long a change may take, in milliseconds.
const EFFECT_MS_MAX: f64 = 1_000.0;

/// What one client noticed of a rule that was revoked and allowed again, in milliseconds since each was begun.
#[derive(Debug, Clone, Copy, Serialize)]
struct Noticed {
    cut_ms: u64,
    denied_ms: u64,
    let_in_ms: u64,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(None, &["--workers", "2"], &[])?;
    for [group, _] in RULES {
        platform.skiff_output(&["sg", "create", group, "--no-rules"])?;
    }
    for [group, rule] in RULES {
        platform.skiff_output(&["sg", "allow", group, rule])?;
    }
    let script = format!("hold {PORT} {HELD}");
    let servers = serve(&platform, "traffic", "door", &script, &["--security-group", "db"])?;
    let target = servers[0].target();
    let client = |_| start(&platform, "traffic", &["--security-group", "web"], &["knock", &target]);
    let clients = (0..CLIENTS).map(client).collect::<anyhow::Result<Vec<_>>>()?;
    for client in &clients {
        hear(&platform, client, "open", 0)?;
    }
    let mut noticed = Vec::new();
    for trial in 0..bench.settings.trials {
        let these = change(&platform, &clients, RULES[trial % RULES.len()])?;
        println!("trial {trial}: {these:?}");
        noticed.extend(these);
    }
    platform.stop()?;
    Ok(section(bench, &noticed))
}

/// Revokes a rule and allows it again: what each client noticed.
fn change(platform: &Platform, clients: &[String], [group, rule]: [&str; 2]) -> anyhow::Result<Vec<Noticed>> {
    let revoked_ms = now_ms();
    platform.skiff_output(&["sg", "revoke", group, rule])?;
    let mut noticed = Vec::new();
    for client in clients {
        let cut_ms = hear(platform, client, "cut", revoked_ms)? - revoked_ms;
        let denied_ms = hear(platform, client, "denied", revoked_ms)? - revoked_ms;
        noticed.push(Noticed { cut_ms, denied_ms, let_in_ms: 0 });
    }
    let allowed_ms = now_ms();
    platform.skiff_output(&["sg", "allow", group, rule])?;
    for (client, noticed) in clients.iter().zip(&mut noticed) {
        noticed.let_in_ms = hear(platform, client, "open", allowed_ms)? - allowed_ms;
    }
    Ok(noticed)
}

fn section(bench: &Bench, noticed: &[Noticed]) -> Section {
    type Case = (&'static str, fn(&Noticed) -> u64);
    const CASES: [Case; 3] = [
        ("a rule is revoked: a flow that stands is cut", |noticed| noticed.cut_ms),
        ("a rule is revoked: the next connection is denied", |noticed| noticed.denied_ms),
        ("a rule is allowed: the next connection is let in", |noticed| noticed.let_in_ms),
    ];
    let at = |of: fn(&Noticed) -> u64, share| quantile(noticed.iter().map(|one| of(one) as f64), share);
    let row = |(what, of): &Case| vec![(*what).to_owned(), number(at(*of, 0.5)), number(at(*of, 1.0))];
    let goal =
        |(what, of): &Case| Goal::at_most(format!("{what}, at most"), at(*of, 1.0), EFFECT_MS_MAX, " ms");
    Section {
        method: vec![format!(
            "rules: {} trials, {CLIENTS} clients in two workers, the rule of either side in turn; ms from the start of \
             `skiff sg` to when the client noticed",
            bench.settings.trials
        )],
        tables: vec![Table {
            title: "How soon a rule takes effect".to_owned(),
            header: vec!["what", "p50 ms", "most ms"],
            rows: CASES.iter().map(row).collect(),
        }],
        goals: CASES.iter().map(goal).collect(),
        data: json!({ "trials": noticed }),
        ..Section::default()
    }
}
