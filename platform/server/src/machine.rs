//! What this machine has and its kernel allows, as [`skiff_plan::capacity`] wants to know it.
//!
//! What can't be read counts as the kernel's default, or as no bound.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skiff_plan::capacity::Machine;
use std::path::Path;

/// The kernel's default of `vm.max_map_count`.
const MAPS_DEFAULT: u64 = 65_530;
/// Address space that a process has on the processors that wasmtime runs on, in bytes.
const ADDRESS_BYTES: u64 = 1 << 47;

/// Reads it. Open files count as what the process may raise its limit to.
pub(crate) fn read() -> Machine {
    let info = rustix::system::sysinfo();
    let memory_bytes = info.totalram.saturating_mul(u64::from(info.mem_unit));
    Machine {
        memory_bytes: control_group_memory_bytes().map_or(memory_bytes, |bytes| bytes.min(memory_bytes)),
        maps: number(Path::new("/proc/sys/vm/max_map_count")).unwrap_or(MAPS_DEFAULT),
        descriptors: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
        address_bytes: getrlimit(Resource::As)
            .current
            .map_or(ADDRESS_BYTES, |bytes| bytes.min(ADDRESS_BYTES)),
    }
}

/// Every connection and every sandbox takes descriptors: all that the system allows are asked for.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files can't be raised to its maximum");
    }
}

/// The least that this process' control group or one around it may use (version 2 of control groups).
fn control_group_memory_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(path);
    let around = group.ancestors().take_while(|folder| folder.starts_with(root));
    around.filter_map(|folder| number(&folder.join("memory.max"))).min()
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_something_of_everything() {
        let machine = super::read();
        assert!(machine.memory_bytes > 64 << 20, "{machine:?}");
        assert!(machine.maps > 1_000 && machine.descriptors > 64, "{machine:?}");
        assert!(machine.address_bytes > 1 << 30, "{machine:?}");
    }
}
