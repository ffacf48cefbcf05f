//! Running other programs, and the set-up that every task needs.

use crate::GUESTS;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What takes this long is worth knowing where one looks for what makes a run slow.
const LONG: Duration = Duration::from_secs(10);

/// What guests are built for.
pub(crate) const WASM_TARGET: &str = "wasm32-wasip2";

/// The repository's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root folder")
}

/// A cargo command in the root folder.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(root());
    // Set by the cargo that runs this very program; a nested one must find its own workspace.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command
}

/// Runs a command, showing what it prints, and how long it took where that is long; an error if it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let began = Instant::now();
    let status = command.status().with_context(|| format!("`{shown}` can't be started"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    let took = began.elapsed();
    if took >= LONG {
        eprintln!("`{shown}` took {} s", took.as_secs());
    }
    Ok(())
}

/// Runs a command and gives back what it prints; an error, with what it said, if it fails.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("`{shown}` can't be started"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a program is on the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Adds the WebAssembly target to the toolchain, unless it is there.
pub(crate) fn add_wasm_target() -> anyhow::Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(WASM_TARGET).is_dir() {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", WASM_TARGET])).with_context(|| {
        format!("guests need Rust's target {WASM_TARGET}; add it to your toolchain as your system does it")
    })
}

/// Builds the examples and the tests' guests.
pub(crate) fn build_guests() -> anyhow::Result<()> {
    add_wasm_target()?;
    for folder in GUESTS {
        run(cargo("build").args(["--release", "--target", WASM_TARGET]).current_dir(root().join(folder)))?;
    }
    Ok(())
}

/// Builds the platform, and what measures it, and says where the programs are.
///
/// All at once, so that crates have the same features for whoever wants them; but for the fuzzing program, which holds the
/// whole platform once more.
pub(crate) fn build_programs(profile: &str) -> anyhow::Result<PathBuf> {
    let programs = ["--workspace", "--bins", "--exclude", "skiff-fuzz"];
    run(cargo("build").args(["--profile", profile]).args(programs))?;
    // Where cargo puts the profile of that name (The Cargo Book, "Build Cache").
    Ok(root().join("target").join(if profile == "dev" { "debug" } else { profile }))
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name = |word: &std::ffi::OsStr| match Path::new(word).file_name() {
        Some(name) if Path::new(word).is_absolute() => name.to_string_lossy().into_owned(),
        _ => word.to_string_lossy().into_owned(),
    };
    words.map(name).collect::<Vec<_>>().join(" ")
}
