//! What connections cost that stay open and ask for nothing.

use crate::bench::processes::memory_mib;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::number;
use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Connections that there are to be, and in a quick run.
const WANTED: usize = 20_000;
const WANTED_QUICKLY: usize = 1_000;
/// Files that the bench has open beside them, at most.
const OTHERS: u64 = 1_000;
/// Megabytes (10^6 bytes) that the whole platform may take then.
const MEMORY_MB_MAX: f64 = 250.0;
const MIB: f64 = (1 << 20) as f64;
/// What each asks for once.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: idle.localhost\r\n\r\n";

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let wanted = if bench.settings.quick { WANTED_QUICKLY } else { WANTED };
    // Only who may do everything can raise it beyond the maximum.
    let maximum = getrlimit(Resource::Nofile).maximum.map(|most| most.max(wanted as u64 + OTHERS));
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).with_context(|| {
        format!("{wanted} connections need as many open files: raise the limit, as with `ulimit -Hn`")
    })?;
    let (platform, _) = bench.platform(None, &[], &[])?;
    platform.skiff_output(&["listener", "create", "http", "--respond", "204"])?;
    let before_mib = memory_mib(platform.pid())?;
    let mut open = Vec::with_capacity(wanted);
    for number in 0..wanted {
        let asked = ask(&platform.http);
        open.push(asked.with_context(|| format!("connection {number} of {wanted}"))?);
    }
    let with_mib = memory_mib(platform.pid())?;
    let alive = open.iter_mut().map(again).filter(Result::is_ok).count();
    drop(open);
    platform.stop()?;
    let each_kib = (with_mib - before_mib) * 1_024.0 / wanted as f64;
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    Ok(Section {
        method: vec![
            "idle connections: each asks once and stays open; when all have, each is asked again, to see that none was \
             closed. Memory is that of all the platform's processes before that"
                .to_owned(),
        ],
        tables: vec![Table {
            title: "Connections of clients that are idle".to_owned(),
            header: vec!["what", ""],
            rows: vec![
                row("open, and answered again in the end", format!("{alive} of {wanted}")),
                row(
                    "memory of the platform before and with them, MiB (PSS)",
                    format!("{} and {}", number(before_mib), number(with_mib)),
                ),
                row("memory of each, KiB (PSS)", number(each_kib)),
            ],
        }],
        goals: vec![
            Goal::at_least("connections that stay open while they are idle", alive as f64, wanted as f64, ""),
            Goal::at_most(
                format!("memory of the platform with {wanted} of them"),
                with_mib * MIB / 1e6,
                MEMORY_MB_MAX,
                " MB",
            ),
        ],
        data: json!({ "alive": alive, "before_mib": before_mib, "with_mib": with_mib }),
        ..Section::default()
    })
}

fn ask(address: &str) -> anyhow::Result<TcpStream> {
    let mut connection = TcpStream::connect(address)?;
    again(&mut connection)?;
    Ok(connection)
}

/// Asks on a connection, and reads the answer, which has no body.
fn again(connection: &mut TcpStream) -> anyhow::Result<()> {
    const HEAD_BYTES_MAX: usize = 4096;
    connection.write_all(REQUEST)?;
    let (mut head, mut scratch) = (Vec::new(), [0; HEAD_BYTES_MAX]);
    while !head.ends_with(b"\r\n\r\n") {
        let count = connection.read(&mut scratch)?;
        head.extend_from_slice(&scratch[..count]);
        if count == 0 || head.len() > HEAD_BYTES_MAX {
            bail!("it was answered with {:?}", String::from_utf8_lossy(&head));
        }
    }
    if !head.starts_with(b"HTTP/1.1 204 ") {
        bail!("it was answered with {:?}", String::from_utf8_lossy(&head));
    }
    Ok(())
}
