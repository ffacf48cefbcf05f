//! The simulator (`platform/sim`): seeds by hand, and what CI runs of them.

use crate::shell::{cargo, root, run};
use std::process::Command;

/// The seeds that CI runs, and for how many seconds it begins new ones.
const CI_SEEDS: &str = "0..600";
const CI_SECONDS: &str = "60";

/// What the simulator is asked for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `--seed N [--trace]`, `--seeds A..B [--steps]` or `--scale`; seeds 0..300 where nothing is said.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulator and starts it; as it is released, where it is to be measured.
pub(crate) fn start(args: &Args) -> anyhow::Result<()> {
    let is_measured = args.arguments.iter().any(|argument| argument == "--scale");
    let mut command = cargo("run");
    command.args(["--quiet", "--package", "skiff-sim"]);
    if is_measured {
        command.arg("--release");
    }
    run(command.arg("--").args(&args.arguments))
}

/// Some hundreds of seeds, as many as there is time for, by the simulator that was built with all tests: by itself it would be
/// built anew, with other features of what it depends on.
pub(crate) fn ci() -> anyhow::Result<()> {
    let simulator = root().join("target/debug/skiff-sim");
    run(Command::new(simulator).args(["--seeds", CI_SEEDS, "--within", CI_SECONDS]))
}
