//! Fuzzing: what strangers may send, as targets that any input may be thrown at.
//!
//! A target is a plain function of bytes ([`target`]). It is run in three ways: by the tests, on its corpus and seeded
//! mutations of it; by this binary, on files that are named to it; and by libFuzzer, guided by coverage, where this
//! binary was built by `cargo xtask fuzz`. Which target libFuzzer runs is said by the environment variable
//! `SKIFF_FUZZ_TARGET`: its command line is libFuzzer's own.
//!
//! What always holds: a target panics if and only if the code under test broke what it promises, whatever the timing.

#![cfg_attr(fuzzing, no_main)]

mod target;
mod targets;

#[cfg(test)]
mod mutate;
#[cfg(test)]
mod tests;

/// As in a worker: a guest pays for what the host holds for it.
#[global_allocator]
static ALLOCATOR: skiff_sandbox::CountingAllocator<std::alloc::System> =
    skiff_sandbox::CountingAllocator(std::alloc::System);

#[cfg(fuzzing)]
mod coverage_guided {
    use crate::target::Target;
    use clap::ValueEnum;
    use std::sync::LazyLock;

    static TARGET: LazyLock<Target> = LazyLock::new(|| {
        let name = std::env::var("SKIFF_FUZZ_TARGET").expect("SKIFF_FUZZ_TARGET names a target");
        Target::from_str(&name, false).expect("SKIFF_FUZZ_TARGET names a target")
    });

    libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.run(input));
}

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    use clap::Parser;

    /// Runs a target once on each file, and panics where the code under test breaks its promise.
    #[derive(Parser)]
    struct Args {
        /// What to run.
        target: target::Target,
        /// Its inputs.
        #[arg(required = true)]
        files: Vec<std::path::PathBuf>,
    }

    let args = Args::parse();
    for file in &args.files {
        args.target.run(&std::fs::read(file)?);
        println!("{}: the promise was kept", file.display());
    }
    Ok(())
}
