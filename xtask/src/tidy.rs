//! The structure check: what the compiler does not see, and a reader relies on.

use crate::shell::{output, root};
use anyhow::bail;
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::path::Path;
use std::process::Command;

/// The tiers of the design: a crate depends only on crates of a lower tier. The ledger stands below `sandbox`, which
/// claims quotas in it on the way of every request, and itself knows none of ours but the words.
const TIERS: &[(&str, u32)] = &[
    ("skiff-types", 0),
    ("skiff-plot", 0),
    ("skiff-plan", 1),
    ("skiff-kit", 1),
    ("skiff-ports", 1),
    ("skiff-sqlite", 1),
    ("skiff-api", 1),
    ("skiff-ledger", 1),
    ("skiff-store", 2),
    ("skiff-registry", 2),
    ("skiff-net", 2),
    ("skiff-sandbox", 2),
    ("skiff-access", 2),
    ("skiff-data", 2),
    ("skiff-events", 2),
    ("skiff-memory", 2),
    ("skiff-edge", 3),
    ("skiff-testbed", 3),
    ("skiff-host-data", 3),
    ("skiff-host-events", 3),
    ("skiff-host-metrics", 3),
    ("skiff-host-net", 3),
    ("skiff-node", 3),
    ("skiff-control", 3),
    ("skiff-cli", 3),
    ("skiff-worker", 4),
    ("skiff-sim", 4),
    ("skiff-fuzz", 4),
    ("skiff-server", 5),
];

/// The crates that may hold `unsafe` code.
const UNSAFE_CRATES: &[&str] = &["platform/sandbox/", "platform/ledger/"];
/// Where everything happens in an order that the simulator can repeat; but not in what serves sockets.
const REPEATABLE: &str = "platform/control/src/";
const SERVES_SOCKETS: &str = "platform/control/src/http/";
/// The longest source file, in lines, its tests not counted.
const FILE_LINES_MAX: usize = 600;

/// Checks everything, and names all that is wrong at once.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut faults = tier_faults()?;
    let listed = output(
        Command::new("git").args(["ls-files", "-co", "--exclude-standard", "*.rs"]).current_dir(root()),
    )?;
    for name in listed.lines() {
        let path = root().join(name);
        if path.is_file() {
            faults.extend(file_faults(name, &std::fs::read_to_string(path)?));
        }
    }
    if !faults.is_empty() {
        bail!("{} faults in the structure:\n  {}", faults.len(), faults.join("\n  "));
    }
    println!("tidy: {} crates, {} files", TIERS.len(), listed.lines().count());
    Ok(())
}

fn tier_faults() -> anyhow::Result<Vec<String>> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    let tier = |name: &str| TIERS.iter().find(|(known, _)| *known == name).map(|(_, tier)| *tier);
    let mut faults = Vec::new();
    for package in &metadata.packages {
        // What is beside the platform, like `xtask` and the load driver, has no tier.
        if !package.manifest_path.starts_with(root().join("platform")) {
            continue;
        }
        let Some(own) = tier(&package.name) else {
            faults.push(format!("{} has no tier; add it to xtask/src/tidy.rs", package.name));
            continue;
        };
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development)
        {
            if tier(&dependency.name).is_some_and(|other| other >= own) {
                faults.push(format!(
                    "{} (tier {own}) depends on {}, which is not lower",
                    package.name, dependency.name
                ));
            }
            if dependency.name.starts_with("wasmtime") && !may_name_wasmtime(&package.name) {
                faults.push(format!(
                    "{} depends on {}; only sandbox and host-* may",
                    package.name, dependency.name
                ));
            }
        }
    }
    Ok(faults)
}

fn may_name_wasmtime(package: &str) -> bool {
    package == "skiff-sandbox" || package.starts_with("skiff-host-")
}

fn file_faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{name} does not open with a `//!` header that says what it does"));
    }
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().count();
    let is_test = Path::new(name).components().any(|part| part.as_os_str() == "tests");
    if lines > FILE_LINES_MAX && !is_test {
        faults.push(format!("{name} has {lines} lines without its tests; the most is {FILE_LINES_MAX}"));
    }
    let names =
        |word: &str| code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
    let package = name.strip_prefix("platform/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let platform = name.starts_with("platform/") && !is_test;
    if platform && names("wasmtime::") && !may_name_wasmtime(&format!("skiff-{package}")) {
        faults.push(format!("{name} names wasmtime; only sandbox and host-* may"));
    }
    if platform && names("unsafe {") && !UNSAFE_CRATES.iter().any(|allowed| name.starts_with(allowed)) {
        faults.push(format!("{name} holds unsafe code; only sandbox and ledger may"));
    }
    if name.starts_with(REPEATABLE) && !name.starts_with(SERVES_SOCKETS) {
        let mut lines = code.lines().zip(code.lines().skip(1));
        if lines.any(|(line, next)| line.contains("select! {") && next.trim() != "biased;") {
            faults.push(format!("{name} selects without `biased`; the simulator could not repeat it"));
        }
        for other in ["random::bytes", "std::time::Instant", "SystemTime"] {
            if names(other) {
                faults.push(format!("{name} names {other}; time and chance are its ports'"));
            }
        }
    }
    for leftover in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
        if name != "xtask/src/tidy.rs" && names(leftover) {
            faults.push(format!("{name} holds {leftover}…)"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_fault() {
        let faults = |name: &str, text: &str| file_faults(name, text).join("; ");
        assert_eq!(faults("platform/edge/src/a.rs", "//! A.\nfn a() {}\n"), "");
        assert!(faults("platform/edge/src/a.rs", "fn a() {}").contains("header"));
        assert!(faults("platform/edge/src/a.rs", "//! A.\nuse wasmtime::Engine;").contains("names wasmtime"));
        assert_eq!(faults("platform/sandbox/src/a.rs", "//! A.\nuse wasmtime::Engine;"), "");
        assert!(faults("platform/edge/src/a.rs", "//! A.\nfn a() { unsafe { b() } }").contains("unsafe"));
        assert!(faults("platform/edge/src/a.rs", "//! A.\nfn a() { todo!() }").contains("todo!"));
        let select = "//! A.\nfn a() {\n    select! {\n        () = b() => {}\n    }\n}\n";
        assert!(faults("platform/control/src/a.rs", select).contains("biased"));
        assert_eq!(faults("platform/control/src/http/a.rs", select), "");
        let biased = select.replace("() = b()", "biased;\n        () = b()");
        assert_eq!(faults("platform/control/src/a.rs", &biased), "");
        assert!(faults("platform/control/src/a.rs", "//! A.\nuse std::time::Instant;").contains("chance"));
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(FILE_LINES_MAX));
        assert!(faults("platform/edge/src/a.rs", &long).contains("lines"));
        let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}", "fn a() {}\n".repeat(FILE_LINES_MAX));
        assert_eq!(faults("platform/edge/src/a.rs", &tests), "");
    }

    #[test]
    fn this_tree_keeps_its_tiers() {
        assert_eq!(tier_faults().unwrap(), Vec::<String>::new());
    }
}
