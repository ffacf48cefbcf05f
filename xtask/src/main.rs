//! The project's own tasks: `cargo xtask demo`, `test`, `ci`, `tidy`, `fuzz`, `sim`, `bench`, `soak`.
//!
//! Each does all its own set-up; a machine with Rust and a C compiler is enough, but for tests with the clients of others
//! ([`clients`]).

mod bench;
mod clients;
mod demo;
mod fuzz;
mod platform;
mod shell;
mod sim;
mod soak;
mod tidy;

use clap::{Parser, Subcommand};
use shell::{cargo, root};
use std::process::ExitCode;

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Starts the platform, deploys the examples, calls them through the load balancer, shows their cold starts.
    Demo(demo::Args),
    /// Builds the guests and runs every test.
    Test {
        /// Arguments for `cargo test`, like `-p skiff-edge`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What CI runs: formatting, lints, tidy, test, sim.
    Ci,
    /// Checks the structure: crate tiers, file headers, who names wasmtime.
    Tidy,
    /// Fuzzes what strangers may send, guided by coverage; needs a C++ compiler.
    Fuzz(fuzz::Args),
    /// Measures Skiff beside its peers, and writes a report to `benches/results/`.
    Bench(Box<bench::Args>),
    /// Runs the control plane in simulated worlds: `--seed N [--trace]`, `--seeds A..B`, `--scale`.
    Sim(sim::Args),
    /// Loads a platform for an hour, with guests that misbehave among others, and fails if anything grows.
    Soak(soak::Args),
    /// A native process that takes a quarter of a core: the neighbour that `bench neighbours` compares with.
    #[command(hide = true)]
    Spin,
    /// Holds connections open: for `bench balancer`.
    #[command(hide = true)]
    Hold {
        /// Where to.
        address: String,
        /// How many.
        connections: usize,
    },
}

/// Folders whose packages are built for WebAssembly, each by itself: in one build the SDK's features for WASI 0.2 and
/// 0.3, which exclude each other, would meet.
const GUESTS: [&str; 11] = [
    "examples/hello",
    "examples/hello-p3",
    "examples/http-daemon",
    "examples/job",
    "examples/kv",
    "examples/orders",
    "examples/orders/fulfil",
    "examples/table",
    "examples/thumbnails",
    "platform/server/tests/guests",
    "platform/server/tests/guests/events-http",
];
/// Workspaces of guests, by folder.
const GUEST_WORKSPACES: [&str; 2] = ["examples", "platform/server/tests/guests"];
/// Those of them that have tests of their own, which run on the host.
const TESTED_GUESTS: [&str; 2] = ["examples/orders/fulfil", "examples/thumbnails"];
/// The SDK's workspace, which is built for the host too.
const SDK_WORKSPACE: &str = "sdk/rust";

fn main() -> ExitCode {
    match run(Xtask::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Demo(args) => demo::run(args),
        Task::Test { arguments } => test(&arguments),
        Task::Ci => ci(),
        Task::Tidy => tidy::run(),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Bench(args) => bench::run(&args),
        Task::Sim(args) => sim::start(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Spin => bench::sections::neighbours::spin(),
        Task::Hold { address, connections } => bench::sections::balancer::hold(&address, connections),
    }
}

/// Runs tests; those that need a program which is not there are skipped, and named.
fn test(arguments: &[String]) -> anyhow::Result<()> {
    shell::build_guests()?;
    clients::prepare();
    let skipped = clients::skipped_file()?;
    let everything = ["--workspace".to_owned()];
    let chosen = if arguments.is_empty() { &everything[..] } else { arguments };
    let mut tests = cargo("test");
    tests.args(chosen).env("SKIFF_SKIPPED", &skipped);
    let tested = shell::run(&mut tests);
    clients::tell_skipped(&skipped);
    tested?;
    if arguments.is_empty() {
        shell::run(cargo("test").args(["--features", "json"]).current_dir(root().join(SDK_WORKSPACE)))?;
        for folder in TESTED_GUESTS {
            shell::run(cargo("test").current_dir(root().join(folder)))?;
        }
    }
    Ok(())
}

fn ci() -> anyhow::Result<()> {
    shell::add_wasm_target()?;
    for workspace in GUEST_WORKSPACES.into_iter().chain([SDK_WORKSPACE, "."]) {
        shell::run(cargo("fmt").args(["--all", "--check"]).current_dir(root().join(workspace)))?;
    }
    tidy::run()?;
    let deny = ["--", "-D", "warnings"];
    for folder in GUESTS {
        let target = ["--release", "--target", shell::WASM_TARGET];
        shell::run(cargo("clippy").args(target).args(deny).current_dir(root().join(folder)))?;
    }
    shell::run(cargo("clippy").args(["--workspace", "--all-targets"]).args(deny))?;
    test(&[])?;
    sim::ci()
}
