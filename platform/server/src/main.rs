//! `skiff`, the one binary: the platform, its worker and compile processes, and the client of its API.
//!
//! It decides only which of them this process is.

mod data_dir;
mod engines;
mod machine;
mod meters;
mod nodes;
mod otlp;
mod outgoing;
mod secrets;
mod tls;
mod up;
mod webhook;

use anyhow::Context;
use clap::Parser;
use skiff_cli::{Cli, Command, CompileArgs};
use skiff_sandbox::{CountingAllocator, Without};
use std::process::ExitCode;

/// A request makes and drops some hundred small allocations, most of them in wasmtime; glibc's allocator took a tenth
/// of a worker's time. It is counted, so that a guest pays for what the host holds for it.
#[global_allocator]
static ALLOCATOR: CountingAllocator<mimalloc::MiMalloc> = CountingAllocator(mimalloc::MiMalloc);

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = switch_off() {
        return finish(Err(error));
    }
    match cli.command {
        Command::Up(args) => finish(start_tracing().and_then(|()| up::run(args))),
        Command::Worker(args) => finish(start_tracing().and_then(|()| skiff_worker::run(args.supervisor))),
        Command::Compile(args) => compile(&args),
        _ => skiff_cli::run(cli),
    }
}

fn compile(args: &CompileArgs) -> ExitCode {
    match skiff_node::die_with(args.supervisor) {
        Ok(()) => {
            skiff_sandbox::compile::run_child(&args.component, &args.digest, &args.output, args.snapshot)
        }
        Err(error) => finish(Err(error.into())),
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `SKIFF_BENCH_WITHOUT` names quotas that are switched off, for the benchmark that shows what they cost.
fn switch_off() -> anyhow::Result<()> {
    let Ok(names) = std::env::var("SKIFF_BENCH_WITHOUT") else { return Ok(()) };
    let without: Without = names.parse().map_err(anyhow::Error::msg).context("SKIFF_BENCH_WITHOUT")?;
    without.switch_off();
    Ok(())
}

/// What is logged where nobody says otherwise. rustls and s3s tell of what clients do, as often as they do it.
const LOG_DEFAULT: &str = "warn,rustls=error,s3s=off,skiff=info";

/// Logs go to standard error; `SKIFF_LOG` chooses which, as `tracing_subscriber`'s `EnvFilter` has it.
fn start_tracing() -> anyhow::Result<()> {
    let directives = std::env::var("SKIFF_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = directives.parse::<tracing_subscriber::EnvFilter>();
    let filter = filter.map_err(|error| {
        anyhow::Error::new(error)
            .context(format!("SKIFF_LOG={directives:?} is not a log filter, like \"info\""))
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
