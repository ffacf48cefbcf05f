//! On which nodes tasks run, and the commands about nodes.

use clap::{Args, Subcommand};
use skiff_api::PutPlacement;
use skiff_types::{PlacementConstraint, PlacementStrategy, SchedulingStrategy};

/// On which nodes tasks may run, where a command takes it.
#[derive(Debug, Clone, Default, Args)]
pub struct PlacementArgs {
    /// What a node must be for the tasks to run there: `distinctInstance` (one task each), or like 'memberOf(attribute:zone ==
    /// a)'; may be given many times, and all hold [default: the manifest's `constraints`, else as it is, else any node]
    #[arg(long = "constraint", value_name = "CONSTRAINT")]
    pub constraints: Vec<PlacementConstraint>,
    /// Which of these nodes is taken: spread(instance), spread(attribute:NAME), binpack(cpu), binpack(memory) or random; may be
    /// given many times: where the first finds several as good, the next decides [default: the manifest's
    /// `placement-strategies`, else as it is, else where the most memory is free]
    #[arg(long = "placement-strategy", value_name = "STRATEGY")]
    pub strategies: Vec<PlacementStrategy>,
}

/// How many tasks a service has, where a command takes it.
#[derive(Debug, Clone, Default, Args)]
pub struct SchedulingArgs {
    /// REPLICA for as many tasks as are desired, DAEMON for one on each node that comes into question [default: the manifest's
    /// `scheduling`, else as it is, else REPLICA]
    #[arg(long, value_name = "REPLICA|DAEMON")]
    pub scheduling: Option<SchedulingStrategy>,
}

impl PlacementArgs {
    /// What is asked for: by the command line, else by the manifest; nothing where neither says anything.
    pub(crate) fn asked(
        &self,
        scheduling: Option<SchedulingStrategy>,
        manifest: Option<&PutPlacement>,
    ) -> Option<PutPlacement> {
        let PutPlacement { constraints, strategies, scheduling: of_manifest } =
            manifest.cloned().unwrap_or_default();
        let asked = PutPlacement {
            constraints: said(&self.constraints).or(constraints),
            strategies: said(&self.strategies).or(strategies),
            scheduling: scheduling.or(of_manifest),
        };
        (asked != PutPlacement::default()).then_some(asked)
    }
}

/// What is given at least once.
fn said<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

/// `skiff nodes …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum NodesCommand {
    /// List nodes: what they are, what they have, what of it is used
    #[command(after_help = "Examples:\n  skiff nodes ls\n  skiff nodes ls --output json")]
    Ls,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_counts_more_than_the_manifest() {
        let nothing = PlacementArgs::default();
        assert_eq!(nothing.asked(None, None), None);
        assert_eq!(nothing.asked(None, Some(&PutPlacement::default())), None);
        let manifest = PutPlacement {
            constraints: Some(vec!["distinctInstance".parse().unwrap()]),
            strategies: Some(vec!["random".parse().unwrap()]),
            scheduling: None,
        };
        assert_eq!(nothing.asked(None, Some(&manifest)), Some(manifest.clone()));
        let strategies = vec!["binpack(cpu)".parse().unwrap()];
        let args = PlacementArgs { strategies: strategies.clone(), ..nothing };
        let expected = PutPlacement {
            strategies: Some(strategies),
            scheduling: Some(SchedulingStrategy::Daemon),
            ..manifest.clone()
        };
        assert_eq!(args.asked(Some(SchedulingStrategy::Daemon), Some(&manifest)), Some(expected));
    }
}
