//! Fuzzing for longer than CI does: libFuzzer, guided by the coverage of an instrumented build.
//!
//! The targets and their corpora lie in `platform/fuzz`. What is found on the way is kept under `target/fuzz`, so that
//! the next run goes on from there; the corpora in the repository stay small and chosen by hand.

use crate::shell::{self, build_guests, cargo, output, root};
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags of the instrumented build: those that cargo-fuzz sets, but for the sanitizers, which need a nightly compiler.
const RUSTFLAGS: [&str; 6] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// What is built: with the features that the rest of the workspace has.
const BUILT: [&str; 3] = ["--workspace", "--bin", "skiff-fuzz"];
/// Longest input that is tried, in bytes.
const INPUT_BYTES_MAX: usize = 8_192;
/// After which an input that is still running counts as a crash.
const INPUT_SECONDS_MAX: u64 = 60;

/// What to fuzz.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target, by the name of its folder in `platform/fuzz/corpus`; all of them, one after the other, if there is
    /// none.
    target: Option<String>,
    /// How long for each target.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Runs the target once on this input, in a build like that of the tests, instead of fuzzing.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

/// Fuzzes, or runs one input again.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let known = targets()?;
    if let Some(target) = args.target.as_ref().filter(|&target| !known.contains(target)) {
        bail!("there is no target {target:?}; there are {}", known.join(", "));
    }
    if let (Some(target), Some(input)) = (&args.target, &args.input) {
        let input = input.canonicalize().with_context(|| format!("{} can't be read", input.display()))?;
        shell::run(cargo("build").args(BUILT))?;
        return shell::run(Command::new(root().join("target/debug/skiff-fuzz")).arg(target).arg(input));
    }
    build_guests()?;
    let binary = build_instrumented()?;
    for target in args.target.map_or(known, |target| vec![target]) {
        fuzz(&binary, &target, args.minutes)?;
    }
    Ok(())
}

/// The names of all targets: each has a corpus.
fn targets() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(corpora())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds the targets with libFuzzer, in a folder of their own: its flags would have everything else built again.
fn build_instrumented() -> anyhow::Result<PathBuf> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    output(Command::new(&compiler).arg("--version")).context(
        "libFuzzer is C++, so a C++ compiler is needed (Debian: `apt-get install g++`), or one that CXX names; the \
         tests run the same targets without it",
    )?;
    // Named, so that the flags hold for what runs here and not for what runs during the build.
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let folder = work().join("build");
    let mut build = cargo("build");
    build.args(BUILT).args(["--target", host, "--target-dir"]).arg(&folder);
    shell::run(build.env("RUSTFLAGS", RUSTFLAGS.join(" ")))?;
    Ok(folder.join(host).join("debug/skiff-fuzz"))
}

/// Runs libFuzzer on one target.
fn fuzz(binary: &Path, target: &str, minutes: u64) -> anyhow::Result<()> {
    let found = work().join("corpus").join(target);
    let crashes = work().join("crashes").join(target);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&crashes)?;
    let mut command = Command::new(binary);
    command
        .env("SKIFF_FUZZ_TARGET", target)
        .current_dir(root())
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg("-print_final_stats=1")
        // libFuzzer writes what it finds into the first folder.
        .arg(&found)
        .arg(corpora().join(target));
    shell::run(&mut command).with_context(|| {
        format!(
            "the input that did it is the newest file in {0}; see it again with `cargo xtask fuzz {target} --input \
             {0}/FILE`, and keep it in platform/fuzz/corpus/{target} once it is mended",
            crashes.display()
        )
    })?;
    println!("{target}: nothing found in {minutes} minutes; what was learnt is in {}", found.display());
    Ok(())
}

fn corpora() -> PathBuf {
    root().join("platform/fuzz/corpus")
}

fn work() -> PathBuf {
    root().join("target/fuzz")
}
