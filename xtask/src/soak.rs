//! The soak: an hour of mixed and adversarial load, in which nothing may grow.
//!
//! What it does, and what it compares, is a test (`platform/server/tests/it/soak.rs`) that takes a minute in CI; here it
//! runs for longer, on a platform that was built for release, and shows its series.

use crate::shell::{self, build_guests, build_programs, cargo};

/// How long to soak.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Minutes of load.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// Soaks a platform of its own.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    build_guests()?;
    let binary = build_programs("release")?.join("skiff");
    let test = ["--workspace", "--test", "it", "--", "--exact", "--nocapture", "soak::nothing_grows"];
    let mut soak = cargo("test");
    soak.args(test).env("SKIFF_BINARY", binary).env("SKIFF_SOAK_MINUTES", args.minutes.to_string());
    shell::run(&mut soak)
}
