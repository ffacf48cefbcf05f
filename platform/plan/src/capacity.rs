//! How much a node has room for, by arithmetic: sandboxes, connections, sockets and native code, of what its machine
//! has and its kernel allows.
//!
//! Room is a bound, not a reservation: a task's quota of memory says what its sandboxes may really take. Half of the
//! machine's memory is counted for small sandboxes; the other half is for what they grow to, and for all else.

use skiff_types::MemorySize;
use std::fmt;

/// The part of the machine's memory that sandboxes as they start may take: one in so many.
const SANDBOX_MEMORY_SHARE: u64 = 2;
/// The part that mapped native code may take where nothing else is said.
const CODE_MEMORY_SHARE_DEFAULT: u64 = 8;
/// The part that it may take if it is asked for: all that is not counted for sandboxes.
const CODE_MEMORY_SHARE_MOST: u64 = 2;
/// The part of a process' memory mappings that native code may take.
const CODE_MAPS_SHARE: u64 = 8;
/// Memory mappings of a process that are neither a sandbox's nor code's: its own, its libraries', its heap's.
const MAPS_RESERVED: u64 = 4_096;
/// The part of the address space that is not counted on: it comes in pieces. One in so many.
const ADDRESS_SPACE_RESERVE: u64 = 4;
/// Descriptors that a worker needs beside its connections': its sockets and files, code on its way to be mapped,
/// connections that are being handed over.
const DESCRIPTORS_RESERVED: u64 = 256;
/// The part of the other descriptors that is not for connections, but for tasks' sockets that lead out of their worker:
/// one in so many at least.
const SOCKETS_SHARE: u64 = 4;
/// Connections of one worker where nothing else is said.
const CONNECTIONS_DEFAULT: u64 = 10_000;

/// What a machine has, and what its kernel allows one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory, in bytes: the machine's, or what the control group may use if that is less.
    pub memory_bytes: u64,
    /// Memory mappings of one process (`vm.max_map_count`).
    pub maps: u64,
    /// Open files of one process (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Address space of one process, in bytes (`RLIMIT_AS`, or what the processor can address).
    pub address_bytes: u64,
}

/// What room for one sandbox takes of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxCost {
    /// Resident memory of a small one, in bytes.
    pub memory_bytes: u64,
    /// Memory mappings.
    pub maps: u64,
    /// Address space, in bytes.
    pub address_bytes: u64,
    /// Memory mappings of one component's native code.
    pub maps_of_code: u64,
}

/// What the node's owner asks for, of all workers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Sandboxes at once.
    pub sandboxes: Option<u64>,
    /// Connections at once.
    pub connections: Option<u64>,
    /// Mapped native code, in bytes.
    pub code_bytes: Option<u64>,
}

/// What each worker has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Sandboxes at once, and what keeps it from being more.
    pub sandboxes: (u64, Limit),
    /// Connections at once, and what keeps it from being more.
    pub connections: (u64, Limit),
    /// Sockets of tasks at once that lead out of their worker, to others or to the outside, and what keeps it from
    /// being more: all descriptors that connections do not take.
    pub sockets: (u64, Limit),
    /// Components whose native code is mapped, and what keeps it from being more.
    pub components: (u64, Limit),
    /// Mapped native code, in bytes, and what keeps it from being more.
    pub code_bytes: (u64, Limit),
}

/// What keeps a number from being larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The owner asked for no more.
    Asked(&'static str),
    /// The machine's memory.
    Memory,
    /// The kernel's bound on memory mappings.
    Maps,
    /// The kernel's bound on open files.
    Descriptors,
    /// What one process can address.
    AddressSpace,
    /// More is seldom of use; who needs it asks for it.
    Default(&'static str),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked(option) | Self::Default(option) => option,
            Self::Memory => "the machine's memory",
            Self::Maps => "vm.max_map_count",
            Self::Descriptors => "the limit of open files",
            Self::AddressSpace => "the address space",
        })
    }
}

/// More was asked for than there is room for; the text says what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} {asked}: there is room for {room}, limited by {limit}; ask for less, or raise that limit")]
pub struct TooMuch {
    /// The option.
    pub option: &'static str,
    /// What was asked for.
    pub asked: String,
    /// What there is.
    pub room: String,
    /// Why there is no more.
    pub limit: Limit,
}

/// What each of so many workers has room for. There is always room for one of everything.
///
/// # Errors
/// If more was asked for than the machine has or the kernel allows.
pub fn capacity(
    machine: &Machine,
    cost: &SandboxCost,
    workers: u64,
    asked: &Asked,
) -> Result<Capacity, TooMuch> {
    let code_maps = machine.maps / CODE_MAPS_SHARE;
    let maps = machine.maps.saturating_sub(code_maps + MAPS_RESERVED);
    let address_bytes = machine.address_bytes - machine.address_bytes / ADDRESS_SPACE_RESERVE;
    let sandboxes = least([
        (machine.memory_bytes / SANDBOX_MEMORY_SHARE / workers / cost.memory_bytes, Limit::Memory),
        (maps / cost.maps, Limit::Maps),
        (address_bytes / cost.address_bytes, Limit::AddressSpace),
    ]);
    let descriptors = machine.descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    let connections_most = ((descriptors - descriptors / SOCKETS_SHARE).max(1), Limit::Descriptors);
    let connections = match asked.connections {
        Some(_) => connections_most,
        None => least([connections_most, (CONNECTIONS_DEFAULT, Limit::Default("--connections"))]),
    };
    let connections = granted("--connections", asked.connections, connections, workers, count)?;
    let sockets = least([(descriptors.saturating_sub(connections.0), Limit::Descriptors)]);
    let code_bytes_most = (machine.memory_bytes / CODE_MEMORY_SHARE_MOST / workers, Limit::Memory);
    let code_bytes_default = machine.memory_bytes / CODE_MEMORY_SHARE_DEFAULT / workers;
    let code_bytes = match asked.code_bytes {
        Some(_) => least([code_bytes_most]),
        None => least([code_bytes_most, (code_bytes_default, Limit::Default("--native-code"))]),
    };
    Ok(Capacity {
        sandboxes: granted("--sandboxes", asked.sandboxes, sandboxes, workers, count)?,
        connections,
        sockets,
        components: least([(code_maps / cost.maps_of_code, Limit::Maps)]),
        code_bytes: granted("--native-code", asked.code_bytes, code_bytes, workers, mebibytes)?,
    })
}

fn count(number: u64) -> String {
    number.to_string()
}

fn mebibytes(bytes: u64) -> String {
    MemorySize::from_mib(bytes >> 20).to_string()
}

fn least<const N: usize>(bounds: [(u64, Limit); N]) -> (u64, Limit) {
    let (room, limit) = bounds.into_iter().min_by_key(|(room, _)| *room).expect("there are bounds");
    (room.max(1), limit)
}

/// One worker's part of what was asked for; all that there is if nothing was.
fn granted(
    option: &'static str,
    asked: Option<u64>,
    (room, limit): (u64, Limit),
    workers: u64,
    show: fn(u64) -> String,
) -> Result<(u64, Limit), TooMuch> {
    let Some(asked) = asked else { return Ok((room, limit)) };
    let each = asked.div_ceil(workers);
    if each > room {
        return Err(TooMuch { option, asked: show(asked), room: show(room * workers), limit });
    }
    Ok((each, Limit::Asked(option)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;
    const LAPTOP: Machine =
        Machine { memory_bytes: 24 * GIB, maps: 65_530, descriptors: 1 << 20, address_bytes: 1 << 47 };
    const COST: SandboxCost =
        SandboxCost { memory_bytes: 256 << 10, maps: 8, address_bytes: 5 * GIB, maps_of_code: 8 };

    fn of(machine: Machine, asked: Asked) -> Result<Capacity, TooMuch> {
        capacity(&machine, &COST, 2, &asked)
    }

    #[test]
    fn the_scarcest_limits_and_is_named() {
        let sandboxes = |machine| of(machine, Asked::default()).unwrap().sandboxes;
        assert_eq!(sandboxes(LAPTOP), ((65_530 - 8_191 - 4_096) / 8, Limit::Maps));
        assert_eq!(
            sandboxes(Machine { maps: 1 << 30, ..LAPTOP }),
            ((1 << 47) / 4 * 3 / (5 * GIB), Limit::AddressSpace)
        );
        assert_eq!(sandboxes(Machine { memory_bytes: GIB, ..LAPTOP }), (1_024, Limit::Memory));
        let connections = |machine| of(machine, Asked::default()).unwrap().connections;
        assert_eq!(connections(LAPTOP), (10_000, Limit::Default("--connections")));
        assert_eq!(connections(Machine { descriptors: 1_024, ..LAPTOP }), (576, Limit::Descriptors));
        let sockets = |machine| of(machine, Asked::default()).unwrap().sockets;
        assert_eq!(sockets(LAPTOP), ((1 << 20) - 256 - 10_000, Limit::Descriptors));
        assert_eq!(sockets(Machine { descriptors: 1_024, ..LAPTOP }), (192, Limit::Descriptors));
        let code = of(LAPTOP, Asked::default()).unwrap();
        assert_eq!(code.components, (65_530 / 8 / 8, Limit::Maps));
        assert_eq!(code.code_bytes, (24 * GIB / 8 / 2, Limit::Default("--native-code")));
    }

    #[test]
    fn what_is_asked_for_is_divided_among_the_workers() {
        let asked = Asked { sandboxes: Some(5), connections: Some(100_000), code_bytes: Some(GIB) };
        let capacity = of(LAPTOP, asked).unwrap();
        assert_eq!(capacity.sandboxes, (3, Limit::Asked("--sandboxes")));
        assert_eq!(capacity.connections, (50_000, Limit::Asked("--connections")));
        assert_eq!(capacity.code_bytes, (GIB / 2, Limit::Asked("--native-code")));
    }

    #[test]
    fn all_that_there_is_room_for_is_granted_and_one_more_is_not() {
        let sandboxes = |number| {
            of(LAPTOP, Asked { sandboxes: Some(number), ..Asked::default() })
                .map(|capacity| capacity.sandboxes)
        };
        assert_eq!(sandboxes(13_310).unwrap(), (6_655, Limit::Asked("--sandboxes")));
        assert!(sandboxes(13_311).is_err());
        let code = |bytes| {
            of(LAPTOP, Asked { code_bytes: Some(bytes), ..Asked::default() })
                .map(|capacity| capacity.code_bytes)
        };
        assert_eq!(code(12 * GIB).unwrap(), (6 * GIB, Limit::Asked("--native-code")));
        assert!(code(12 * GIB + 1).is_err());
    }

    #[test]
    fn too_much_is_refused_with_what_would_help() {
        let refused = |asked| of(LAPTOP, asked).unwrap_err().to_string();
        assert_eq!(
            refused(Asked { sandboxes: Some(100_000), ..Asked::default() }),
            "--sandboxes 100000: there is room for 13310, limited by vm.max_map_count; ask for less, or raise that limit"
        );
        assert_eq!(
            refused(Asked { code_bytes: Some(10_000 * GIB), ..Asked::default() }),
            "--native-code 10000GiB: there is room for 12GiB, limited by the machine's memory; ask for less, or raise \
             that limit"
        );
    }

    proptest! {
        #[test]
        fn there_is_room_for_one_of_everything_and_never_more_than_the_machine_has(
            memory_bytes in 1..1u64 << 45, maps in 1..1u64 << 24, descriptors in 1..1u64 << 24, workers in 1..64u64,
        ) {
            let machine = Machine { memory_bytes, maps, descriptors, ..LAPTOP };
            let capacity = capacity(&machine, &COST, workers, &Asked::default()).unwrap();
            let (sandboxes, connections) = (capacity.sandboxes.0, capacity.connections.0);
            let (components, code_bytes) = (capacity.components.0, capacity.code_bytes.0);
            prop_assert!(sandboxes >= 1 && connections >= 1 && components >= 1 && code_bytes >= 1);
            prop_assert!(sandboxes == 1 || sandboxes * COST.maps + components * COST.maps_of_code <= maps);
            prop_assert!(code_bytes == 1 || code_bytes * workers <= memory_bytes);
            prop_assert!(sandboxes == 1 || sandboxes * workers * COST.memory_bytes <= memory_bytes);
            prop_assert!(connections + capacity.sockets.0 <= descriptors.max(2));
        }
    }
}
