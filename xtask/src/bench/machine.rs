//! What was measured, and on what: the machine and the versions.

use crate::bench::peers;
use crate::bench::setup::Bench;
use crate::shell::{output, root};
use procfs::{CpuInfo, Current, Meminfo};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine and the versions.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// The commit that `skiff` was built from, or that it was given as a file.
    pub(crate) skiff: String,
    pub(crate) wasmtime: String,
    pub(crate) workerd: String,
    pub(crate) rustc: String,
}

impl Machine {
    /// Reads them.
    pub(crate) fn read(bench: &Bench, binary_given: bool) -> anyhow::Result<Self> {
        let line = |program: &Path, arguments: &[&str]| -> String {
            let said = output(Command::new(program).args(arguments)).unwrap_or_default();
            said.lines().next().unwrap_or("not found").trim().to_owned()
        };
        let peer = |program: Option<PathBuf>| program.map(|program| line(&program, &["--version"]));
        let of = |name: &str, arguments: &[&str]| line(Path::new(name), arguments);
        let version = line(&bench.binary, &["--version"]);
        let commit = of("git", &["-C", &root().to_string_lossy(), "rev-parse", "--short", "HEAD"]);
        // All of the machine's, even if this process may use fewer.
        let processors = CpuInfo::current()?;
        Ok(Self {
            processor: processors.model_name(0).unwrap_or("unknown processor").to_owned(),
            cores: processors.num_cores(),
            memory_gib: Meminfo::current()?.mem_total as f64 / f64::from(1 << 30),
            kernel: of("uname", &["-sr"]),
            skiff: match binary_given {
                true => format!("{version}, a binary that was given, measured by the tools at {commit}"),
                false => format!("{version} at {commit}, release build"),
            },
            wasmtime: peer(peers::wasmtime_program()).unwrap_or_else(|| "no wasmtime".to_owned()),
            workerd: peer(peers::workerd_program()).unwrap_or_else(|| "no workerd".to_owned()),
            rustc: of("rustc", &["--version"]),
        })
    }

    /// A line for each, for people.
    pub(crate) fn lines(&self) -> [String; 2] {
        let Self { processor, cores, memory_gib, kernel, skiff, wasmtime, workerd, rustc } = self;
        [
            format!("machine: {cores} cores, {processor}, {memory_gib:.0} GiB of memory, {kernel}"),
            format!("versions: {skiff}; {wasmtime}; {workerd}; {rustc}"),
        ]
    }
}
