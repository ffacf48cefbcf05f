//! What connections cost that stay open and ask for nothing.
//!
//! A process may have so many files open, and who runs this can seldom raise that: the connections are held by processes of
//! their own ([`hold`]).

use crate::bench::processes::memory_mib;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::number;
use anyhow::{Context, bail, ensure};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Connections that there are to be, and in a quick run.
const WANTED: usize = 20_000;
const WANTED_QUICKLY: usize = 1_000;
/// Connections that the platform has room for: more, since the workers do not share them evenly to the last.
const ROOM: &str = "24000";
/// Connections that one process holds.
const HELD_EACH: usize = 5_000;
/// How long they are idle before it is seen what they take.
const IDLE: Duration = Duration::from_secs(5);
/// Megabytes (10^6 bytes) that the whole platform may take then.
const MEMORY_MB_MAX: f64 = 250.0;
const MIB: f64 = (1 << 20) as f64;
/// What each asks for once.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: idle.localhost\r\n\r\n";

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let wanted = if bench.settings.quick { WANTED_QUICKLY } else { WANTED };
    // A worker closes who is idle where it has as many connections as it may.
    let (platform, _) = bench.platform(None, &["--connections", ROOM], &[])?;
    platform.skiff_output(&["listener", "create", "http", "--respond", "204"])?;
    let before_mib = memory_mib(platform.pid())?;
    let begin = |first: usize| Holder::begin(&platform.http, HELD_EACH.min(wanted - first));
    let holders: Vec<Holder> = (0..wanted).step_by(HELD_EACH).map(begin).collect::<Result<_, _>>()?;
    let at_once_mib = memory_mib(platform.pid())?;
    sleep(IDLE);
    let with_mib = memory_mib(platform.pid())?;
    let alive = holders.into_iter().map(Holder::end).sum::<anyhow::Result<usize>>()?;
    platform.stop()?;
    let each_kib = (with_mib - before_mib) * 1_024.0 / wanted as f64;
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    Ok(Section {
        method: vec![format!(
            "idle connections: each asks once and stays open; {} s after the last has, it is seen what all of the platform's \
             processes take; then each asks again, to see that none was closed",
            IDLE.as_secs()
        )],
        tables: vec![Table {
            title: "Connections of clients that are idle".to_owned(),
            header: vec!["what", ""],
            rows: vec![
                row("open, and answered again in the end", format!("{alive} of {wanted}")),
                row("memory of the platform before them, MiB (PSS)", number(before_mib)),
                row("as soon as all have asked", number(at_once_mib)),
                row("when they are idle", number(with_mib)),
                row("of that each, KiB", number(each_kib)),
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
        data: json!({ "alive": alive, "before_mib": before_mib, "at_once_mib": at_once_mib, "with_mib": with_mib }),
        ..Section::default()
    })
}

/// A process that holds connections.
struct Holder {
    process: Child,
    tell: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Holder {
    /// One whose connections are open, and have each asked once.
    fn begin(address: &str, connections: usize) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["hold", address, &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let tell = process.stdin.take().context("its standard input is a pipe")?;
        let told = BufReader::new(process.stdout.take().context("its standard output is a pipe")?);
        let mut holder = Self { process, tell, told };
        let open = holder.line()?;
        ensure!(open == connections, "only {open} of {connections} connections are open");
        Ok(holder)
    }

    /// How many of its connections are answered once more.
    fn end(mut self) -> anyhow::Result<usize> {
        self.tell.write_all(b"\n")?;
        self.line()
    }

    fn line(&mut self) -> anyhow::Result<usize> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        line.trim().parse().context("a process that is to hold connections ended")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Opens connections that ask once, and says how many; once it is told anything, asks again, and says how many are answered.
pub(crate) fn hold(address: &str, connections: usize) -> anyhow::Result<()> {
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        open.push(ask(address).with_context(|| format!("connection {number} of {connections}"))?);
    }
    println!("{}", open.len());
    std::io::stdin().read_line(&mut String::new())?;
    println!("{}", open.iter_mut().map(again).filter(Result::is_ok).count());
    Ok(())
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
