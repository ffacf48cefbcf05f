//! The one node that there is so far: this machine, as placement sees it.
//!
//! What always holds: its id is the same at each start, so that a platform that starts again finds its tasks on it.

use anyhow::bail;
use skiff_cli::UpArgs;
use skiff_types::{Attributes, MemorySize, NodeCapacity, NodeSpec, Overcommit};

/// What it is called.
const ID: &str = "local";
/// CPU units of one core.
const UNITS_OF_CORE: u64 = 1_024;

/// This machine, with what it was told to be called by and to take. `cores` are those that it may run on.
pub(crate) fn this_node(args: &UpArgs, cores: usize, memory_bytes: u64) -> anyhow::Result<NodeSpec> {
    Ok(NodeSpec {
        id: ID.parse()?,
        attributes: attributes(args)?,
        capacity: NodeCapacity {
            cpu_units: cores as u64 * UNITS_OF_CORE,
            memory: MemorySize::from_bytes(memory_bytes),
            tasks: skiff_ledger::SLOTS as u32,
        },
        overcommit: Overcommit { cpu: args.overcommit_cpu, memory: args.overcommit_memory },
        is_draining: false,
    })
}

/// What every node has, as ECS's instances have it, and what whoever starts it says.
fn attributes(args: &UpArgs) -> anyhow::Result<Attributes> {
    let built_in =
        [("skiff.os-type", std::env::consts::OS), ("skiff.cpu-architecture", std::env::consts::ARCH)];
    let mut attributes = Attributes::new();
    for (name, value) in built_in {
        attributes.insert(name.parse()?, value.parse()?);
    }
    for (name, value) in &args.attributes {
        if attributes.insert(name.clone(), value.clone()).is_some() {
            bail!(
                "the attribute {name} has a value already: say each once with --attribute, and none of Skiff's own"
            );
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use skiff_cli::{Cli, Command};

    fn args(more: &[&str]) -> UpArgs {
        let line = ["skiff", "up"].iter().chain(more);
        match Cli::parse_from(line).command {
            Command::Up(args) => args,
            other => panic!("{other:?} is not `up`"),
        }
    }

    #[test]
    fn the_node_is_the_machine_times_its_factors() {
        let more = ["--overcommit-cpu", "4", "--overcommit-memory", "1.5", "--attribute", "zone=a"];
        let node = this_node(&args(&more), 2, 1 << 30).unwrap();
        assert_eq!((node.capacity.cpu_units, node.capacity.memory.bytes()), (2_048, 1 << 30));
        assert_eq!((node.room().cpu_units, node.room().memory.bytes()), (8_192, 3 << 29));
        let attribute = |name: &str| node.attributes[&name.parse().unwrap()].to_string();
        assert_eq!((attribute("zone"), attribute("skiff.os-type")), ("a".to_owned(), "linux".to_owned()));
    }

    #[test]
    fn an_attribute_has_one_value() {
        let twice: [&[&str]; 2] =
            [&["--attribute", "zone=a", "--attribute", "zone=b"], &["--attribute", "skiff.os-type=x"]];
        for more in twice {
            let error = this_node(&args(more), 1, 1).unwrap_err();
            assert!(error.to_string().contains("has a value already"), "{error}");
        }
    }
}
