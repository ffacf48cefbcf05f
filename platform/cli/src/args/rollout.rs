//! What changes how a service is deployed: the flags of `skiff deploy`, and `skiff scale`, `skiff rollback` and
//! `skiff rollout`.

use clap::{Args, Subcommand};
use skiff_api::{PutDeploymentConfiguration, Setting};
use skiff_types::{CircuitBreaker, Name, Span};

/// How a service goes from one revision to the next.
#[derive(Debug, Clone, Default, Args)]
pub struct DeploymentArgs {
    /// Healthy running tasks that there are at least while it is deployed, in percent of the desired count, rounded up
    /// [default: the manifest's `min-healthy`, else as it is, else 100]
    #[arg(long, value_name = "PERCENT")]
    pub min_healthy: Option<u16>,
    /// Running and pending tasks that there are at most meanwhile, in percent of the desired count, rounded down [default:
    /// the manifest's `max-percent`, else as it is, else 200]
    #[arg(long, value_name = "PERCENT")]
    pub max_percent: Option<u16>,
    /// What becomes of a deployment whose tasks fail: off (it goes on), stop or rollback [default: the manifest's
    /// `circuit-breaker`, else as it is, else rollback]
    #[arg(long, value_name = "WORD")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How long after a task's start failed checks do not count, like 30s [default: the manifest's `grace`, else as it is,
    /// else what its checks say]
    #[arg(long, value_name = "TIME")]
    pub grace: Option<Span>,
}

impl DeploymentArgs {
    /// What is asked for: by these, else by `section`; `None` if nothing is.
    pub(crate) fn asked(
        &self,
        section: Option<&PutDeploymentConfiguration>,
    ) -> Option<PutDeploymentConfiguration> {
        let section = section.copied().unwrap_or_default();
        let asked = PutDeploymentConfiguration {
            min_healthy_percent: self.min_healthy.or(section.min_healthy_percent),
            max_percent: self.max_percent.or(section.max_percent),
            circuit_breaker: self.circuit_breaker.or(section.circuit_breaker),
            grace: self.grace.map_or(section.grace, Setting::Given),
        };
        (asked != PutDeploymentConfiguration::default()).then_some(asked)
    }
}

/// `skiff scale`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  skiff scale hello 3\n  skiff scale hello 0 --no-wait")]
pub struct ScaleArgs {
    /// The service
    pub name: Name,
    /// How many tasks
    #[arg(value_name = "N")]
    pub desired: u32,
    /// Do not wait until they run
    #[arg(long)]
    pub no_wait: bool,
}

/// `skiff rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff rollback hello            to the last revision that completed before
  skiff rollback hello --to 3     to revision 3")]
pub struct RollbackArgs {
    /// The service
    pub name: Name,
    /// Which revision [default: the last that completed before]
    #[arg(long, value_name = "REVISION")]
    pub to: Option<u32>,
    /// Do not wait until it serves
    #[arg(long)]
    pub no_wait: bool,
}

pub(super) const ROLLOUT_HELP: &str = "\
Examples:
  skiff rollout status hello     how far it is, and what holds it up
  skiff rollout pause hello      halt it; what is lost is replaced by what completed before
  skiff rollout abort hello      give it up, and go back to the last revision that completed";

/// `skiff rollout …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum RolloutCommand {
    /// Show how far a service's deployment is
    #[command(
        after_help = "Examples:\n  skiff rollout status hello\n  skiff rollout status hello --output json"
    )]
    Status {
        /// The service
        name: Name,
    },
    /// Halt a service's deployment: it takes no further step
    #[command(after_help = "Examples:\n  skiff rollout pause hello")]
    Pause {
        /// The service
        name: Name,
    },
    /// Have a halted deployment go on
    #[command(after_help = "Examples:\n  skiff rollout resume hello")]
    Resume {
        /// The service
        name: Name,
    },
    /// Give a deployment up: the service goes back to the last revision that completed
    #[command(after_help = "Examples:\n  skiff rollout abort hello")]
    Abort {
        /// The service
        name: Name,
    },
}
