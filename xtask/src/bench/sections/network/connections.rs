//! How many connections between tasks can be open at once, and what memory they take.
//!
//! Every connection is used once, after the last of them was opened, and all stay open. They are all in one worker: across
//! workers each takes a descriptor in both, and the kernel's bound on open files is far lower than what memory allows.

use super::programs::{PORT, Server, hear, serve, start};
use crate::bench::processes::memory_mib;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::number;
use serde_json::json;
use std::time::Instant;

/// Connections that there are to be, and in a quick run.
const WANTED: usize = 50_000;
const WANTED_QUICKLY: usize = 4_000;
/// Connections of one pair of tasks: about half of what the network allows a task.
const OF_A_PAIR: usize = 2_000;
/// Memory of each task at most: what is measured is far below.
const MEMORY: [&str; 2] = ["--memory", "256MiB"];
/// Megabytes (10^6 bytes) that the whole platform may take then.
const MEMORY_MB_MAX: f64 = 1_000.0;
const MIB: f64 = (1 << 20) as f64;
/// How many are open at the servers' side.
const OPEN: &str = r#"skiff_network_connections_open{namespace="default",service="holder"}"#;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let wanted = if bench.settings.quick { WANTED_QUICKLY } else { WANTED };
    let (pairs, of_a_pair) = (wanted.div_ceil(OF_A_PAIR).to_string(), OF_A_PAIR.to_string());
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    let script = format!("hold {PORT} {OF_A_PAIR}");
    let arguments = [&["--desired", &pairs], &MEMORY[..]].concat();
    let holders = serve(&platform, "traffic", "holder", &script, &arguments)?;
    let before_mib = memory_mib(platform.pid())?;
    let began = Instant::now();
    let open =
        |holder: &Server| start(&platform, "traffic", &MEMORY, &["crowd", &holder.target(), &of_a_pair]);
    let crowds = holders.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    for crowd in &crowds {
        hear(&platform, crowd, &format!("{OF_A_PAIR} answered"), 0)?;
    }
    let came_s = began.elapsed().as_secs_f64();
    let open = platform.metric(OPEN)?;
    let with_mib = memory_mib(platform.pid())?;
    platform.stop()?;

    let each_kib = (with_mib - before_mib) * 1_024.0 / open.max(1.0);
    let all_mb = with_mib * MIB / 1e6;
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let rows = vec![
        row("connections open", format!("{open:.0} of {wanted} asked for, between {pairs} pairs of tasks")),
        row("until all were open and had been used, s", number(came_s)),
        row(
            "memory of the platform before and with them, MiB (PSS)",
            format!("{} and {}", number(before_mib), number(with_mib)),
        ),
        row("memory of each, both ends and their programs, KiB (PSS)", number(each_kib)),
    ];
    Ok(Section {
        method: vec![format!(
            "connections: {pairs} tasks take {OF_A_PAIR} each from as many others, in one worker; each is used once, and all \
             stay open. Memory is that of all the platform's processes, with the guests at both ends"
        )],
        tables: vec![Table { title: "Connections that are open".to_owned(), header: vec!["what", ""], rows }],
        goals: vec![
            Goal::at_least("connections between tasks open at once", open, WANTED as f64, ""),
            Goal::at_most(
                format!("memory of the platform with {open:.0} of them"),
                all_mb,
                MEMORY_MB_MAX,
                " MB",
            ),
        ],
        data: json!({ "wanted": wanted, "open": open, "came_s": came_s, "before_mib": before_mib,
            "with_mib": with_mib }),
        ..Section::default()
    })
}
