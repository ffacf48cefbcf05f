//! The peers: `wasmtime serve`, `workerd`, and a native server of our own, each with the same answer.
//!
//! What always holds: a peer that this machine does not have is an error that says how to get it, never a number.

use crate::bench::processes::Guard;
use crate::bench::servers::{Kind, Placement, Running};
use crate::bench::setup::{Bench, example};
use crate::shell::{find, output, root};
use anyhow::{Context, bail};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a peer may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

type Start = fn(&Bench, Placement) -> anyhow::Result<Running>;

/// All peers, with what they are compared with, and how they are started.
pub(crate) const ALL: [(&str, Kind, Start); 5] = [
    ("wasmtime serve, hello (WASI 0.2), fresh instance per request", Kind::Fresh02, |bench, placement| {
        wasmtime(bench, placement, "hello", &["-Scli"])
    }),
    ("wasmtime serve, hello-p3 (WASI 0.3), fresh instance per request", Kind::Fresh03, |bench, placement| {
        let fresh = ["--max-instance-reuse-count", "1"];
        wasmtime(bench, placement, "hello-p3", &[&P3[..], &fresh].concat())
    }),
    ("wasmtime serve, hello-p3 (WASI 0.3), reuse 128 x 16", Kind::Reuse03, |bench, placement| {
        let reuse = ["--max-instance-reuse-count", "128", "--max-instance-concurrent-reuse-count", "16"];
        wasmtime(bench, placement, "hello-p3", &[&P3[..], &reuse].concat())
    }),
    ("workerd, JavaScript, one shared isolate", Kind::Other, workerd),
    ("hyper, native, no sandbox: the limit", Kind::Limit, native),
];

/// What to do where there is none.
pub(crate) const NO_WASMTIME: &str =
    "`wasmtime` is neither on the PATH nor in ~/.cargo/bin; `cargo install wasmtime-cli` brings it";

const P3: [&str; 2] = ["-Scli,p3", "-Wcomponent-model-async"];

fn wasmtime(
    bench: &Bench,
    placement: Placement,
    component: &str,
    arguments: &[&str],
) -> anyhow::Result<Running> {
    let program = wasmtime_program().context(NO_WASMTIME)?;
    start(bench, placement, |address| {
        let mut command = Command::new(program);
        command.arg("serve").args(arguments).args(["--addr", address]).arg(example(component));
        command
    })
}

/// Where `wasmtime` is, if it is anywhere.
pub(crate) fn wasmtime_program() -> Option<PathBuf> {
    let installed = || std::env::home_dir().map(|home| home.join(".cargo/bin/wasmtime"));
    find("wasmtime").or_else(|| installed().filter(|path| path.is_file()))
}

/// Where `workerd` is, if a run before has installed it.
pub(crate) fn workerd_program() -> Option<PathBuf> {
    let packages = std::fs::read_dir(workerd_folder().join("node_modules/@cloudflare")).ok()?;
    // The program itself is in a package of its own for each system; `workerd` is a script that starts it.
    let mut programs = packages.filter_map(Result::ok).map(|entry| entry.path().join("bin/workerd"));
    programs.find(|path| path.is_file())
}

fn workerd_folder() -> PathBuf {
    root().join("target/bench/workerd")
}

/// `workerd` comes from npm, into a folder under `target/`; what is there is not asked for again.
fn workerd(bench: &Bench, placement: Placement) -> anyhow::Result<Running> {
    let program = match workerd_program() {
        Some(program) => program,
        None => {
            let npm = find("npm").context("`workerd` comes from npm, which is not on the PATH")?;
            let folder = workerd_folder();
            std::fs::create_dir_all(&folder)?;
            let arguments = ["install", "workerd", "--no-audit", "--no-fund", "--prefix"];
            output(Command::new(npm).args(arguments).arg(&folder)).context("npm can't install `workerd`")?;
            workerd_program().context("npm has no `workerd` for this system")?
        }
    };
    start(bench, placement, |address| {
        let mut command = Command::new(program);
        command.arg("serve").arg(root().join("benches/workerd/hello.capnp"));
        command.arg(format!("--socket-addr=http={address}"));
        command
    })
}

fn native(bench: &Bench, placement: Placement) -> anyhow::Result<Running> {
    start(bench, placement, |address| {
        let mut command = Command::new(&bench.native);
        command.args(["--listen", address, "--threads", &placement.threads(bench).to_string()]);
        command
    })
}

/// Starts a peer on a free port and waits until it listens.
pub(crate) fn start(
    bench: &Bench,
    placement: Placement,
    command: impl FnOnce(&str) -> Command,
) -> anyhow::Result<Running> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut command = command(&address);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let spawn = || command.spawn().with_context(|| format!("{name} can't be started"));
    let mut guard = Guard(bench.cores.on(placement.server_core(bench), spawn)?);
    let started = Instant::now();
    while TcpStream::connect(&address).is_err() {
        if let Some(status) = guard.0.try_wait()? {
            bail!("{name} ended at once ({status})");
        }
        if started.elapsed() > START_TIMEOUT {
            bail!("{name} does not listen on {address} after {} s", START_TIMEOUT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Running { host: address.clone(), address, pid: guard.0.id(), _guard: Some(guard) })
}
