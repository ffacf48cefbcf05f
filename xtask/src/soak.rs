//! The soak: an hour of mixed and adversarial load, in which nothing may grow.
//!
//! What it does, and what it compares, is a test (`platform/server/tests/it/soak.rs`) that takes a minute in CI; here it
//! runs for longer, on a release build, and shows its series.

use crate::shell::{self, build_guests, cargo};

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
    let test =
        ["--release", "--workspace", "--test", "it", "--", "--exact", "--nocapture", "soak::nothing_grows"];
    shell::run(cargo("test").args(test).env("SKIFF_SOAK_MINUTES", args.minutes.to_string()))
}
