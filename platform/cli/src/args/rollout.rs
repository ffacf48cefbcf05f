//! What changes how a service is deployed: the flags of `skiff deploy`, and `skiff scale`, `skiff rollback` and
//! `skiff rollout`.

use clap::{Args, Subcommand};
use skiff_api::{PutDeploymentConfiguration, Setting};
use skiff_types::{CircuitBreaker, HostPattern, Name, Span, StrategyName};

/// How a service goes from one revision to the next.
#[derive(Debug, Clone, Default, Args)]
pub struct DeploymentArgs {
    /// Healthy running tasks that there are at least while it is deployed, in percent of the desired count, rounded up: 0 to
    /// 100, less than 100 where --max-percent is 100 [default: the manifest's `min-healthy`, else as it is, else 100]
    #[arg(long, value_name = "PERCENT")]
    pub min_healthy: Option<u16>,
    /// Running and pending tasks that there are at most meanwhile, in percent of the desired count, rounded down: 100 to 400
    /// [default: the manifest's `max-percent`, else as it is, else 200]
    #[arg(long, value_name = "PERCENT")]
    pub max_percent: Option<u16>,
    /// What becomes of a deployment whose tasks fail: off (it goes on), stop or rollback [default: the manifest's
    /// `circuit-breaker`, else as it is, else rollback]
    #[arg(long, value_name = "WORD")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How long after a task's start failed checks do not count, like 30s; 1h at most [default: the manifest's `grace`, else as it is,
    /// else what its checks say]
    #[arg(long, value_name = "TIME")]
    pub grace: Option<Span>,
    /// How requests come to the next revision: rolling (task by task), or by weight beside the one before: blue-green (all at
    /// once), canary (a few first) or linear (step by step) [default: the manifest's `strategy`, else as it is, else rolling]
    #[arg(long, value_name = "WORD")]
    pub strategy: Option<StrategyName>,
    /// How long the revision before stays once all requests go to the next, like 5m; 24h at most; of blue-green, canary and
    /// linear [default: the manifest's `bake`, else as it is, else 15m]
    #[arg(long, value_name = "TIME")]
    pub bake: Option<Span>,
    /// How many requests of a hundred go to the next revision first, of canary; 1 to 100 [default: the manifest's
    /// `canary-percent`, else as it is, else 5]
    #[arg(long, value_name = "PERCENT")]
    pub canary_percent: Option<u16>,
    /// How long these alone, of canary; 24h at most [default: the manifest's `canary-bake`, else as it is, else 10m]
    #[arg(long, value_name = "TIME")]
    pub canary_bake: Option<Span>,
    /// How many requests of a hundred more each step brings, of linear; 3 to 100 [default: the manifest's `step-percent`, else
    /// as it is, else 10]
    #[arg(long, value_name = "PERCENT")]
    pub step_percent: Option<u16>,
    /// How long there is from each step to the next, of linear; 24h at most [default: the manifest's `step-bake`, else as it
    /// is, else 6m]
    #[arg(long, value_name = "TIME")]
    pub step_bake: Option<Span>,
    /// An alarm by which a deployment is given up and rolled back; can be given several times [default: the manifest's
    /// `deployment-alarms`, else as it is]
    #[arg(long = "deployment-alarm", value_name = "ALARM")]
    pub alarms: Vec<Name>,
    /// A host that leads to the next revision alone while it is beside the one before; can be given several times [default: the
    /// manifest's `test-hosts`, else as it is]
    #[arg(long = "test-host", value_name = "HOST")]
    pub test_hosts: Vec<HostPattern>,
}

impl DeploymentArgs {
    /// What is asked for: by these, else by `section`; `None` if nothing is. What the section says of another strategy than
    /// that which is named here does not count.
    pub(crate) fn asked(
        &self,
        section: Option<&PutDeploymentConfiguration>,
    ) -> Option<PutDeploymentConfiguration> {
        let section = section.cloned().unwrap_or_default();
        let is_other = self.strategy.is_some_and(|strategy| section.strategy != Some(strategy));
        let of_strategy = if is_other { PutDeploymentConfiguration::default() } else { section.clone() };
        let asked = PutDeploymentConfiguration {
            min_healthy_percent: self.min_healthy.or(section.min_healthy_percent),
            max_percent: self.max_percent.or(section.max_percent),
            circuit_breaker: self.circuit_breaker.or(section.circuit_breaker),
            grace: self.grace.map_or(section.grace, Setting::Given),
            strategy: self.strategy.or(section.strategy),
            bake: self.bake.or(of_strategy.bake),
            canary_percent: self.canary_percent.or(of_strategy.canary_percent),
            canary_bake: self.canary_bake.or(of_strategy.canary_bake),
            step_percent: self.step_percent.or(of_strategy.step_percent),
            step_bake: self.step_bake.or(of_strategy.step_bake),
            alarms: match self.alarms.is_empty() {
                true => section.alarms,
                false => Some(self.alarms.clone()),
            },
            test_hosts: match self.test_hosts.is_empty() {
                true => section.test_hosts,
                false => Some(self.test_hosts.clone()),
            },
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
    /// Halt a service's deployment: it takes no further step, and its weight stays where it is
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
