//! What `skiff target-group create` says of how targets are checked.

use clap::Args;
use skiff_types::{Matcher, Span};

/// How targets are checked; with any of these there is a check.
#[derive(Debug, Clone, Default, Args)]
pub struct HealthCheckArgs {
    /// Check targets by connecting, with `tcp`, or by asking for this path; of gRPC it is the method that is called
    /// [default, of a new check: tcp; of gRPC: /AWS.ALB/healthcheck]
    #[arg(long, value_name = "tcp|PATH", value_parser = check_by, conflicts_with = "no_health_check")]
    pub health_check: Option<CheckBy>,
    /// From one check to the next: 1s to 5m [default, of a new check: 10s]
    #[arg(long, value_name = "TIME", conflicts_with = "no_health_check")]
    pub health_interval: Option<Span>,
    /// How long the answer may take: 100ms to the interval [default, of a new check: 5s]
    #[arg(long, value_name = "TIME", conflicts_with = "no_health_check")]
    pub health_timeout: Option<Span>,
    /// Successes in a row after which an unhealthy target is healthy, 10 at most [default, of a new check: 5]
    #[arg(long, value_name = "N", conflicts_with = "no_health_check")]
    pub healthy: Option<u32>,
    /// Failures in a row after which a target is unhealthy, 10 at most [default, of a new check: 2]
    #[arg(long, value_name = "N", conflicts_with = "no_health_check")]
    pub unhealthy: Option<u32>,
    /// Which statuses are a success, like 200-299,302; of gRPC its codes [default, of a new check: 200; of gRPC: 12]
    #[arg(long, value_name = "STATUSES", conflicts_with = "no_health_check")]
    pub matcher: Option<Matcher>,
    /// Do not check targets: what requests show counts alone, and a task's own check
    #[arg(long)]
    pub no_health_check: bool,
}

impl HealthCheckArgs {
    /// Whether there is to be a check that has something of this.
    pub(crate) fn is_spoken_of(&self) -> bool {
        let Self { health_check, health_interval, health_timeout, healthy, unhealthy, matcher, .. } = self;
        let times = health_interval.is_some() || health_timeout.is_some();
        let counts = healthy.is_some() || unhealthy.is_some();
        health_check.is_some() || times || counts || matcher.is_some()
    }
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckBy {
    /// It connects.
    Connecting,
    /// It asks for this.
    Path(String),
}

impl CheckBy {
    /// What it asks for.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::Connecting => None,
            Self::Path(path) => Some(path),
        }
    }
}

fn check_by(text: &str) -> Result<CheckBy, String> {
    match text {
        "tcp" => Ok(CheckBy::Connecting),
        path if path.starts_with('/') => Ok(CheckBy::Path(path.to_owned())),
        _ => Err(format!("{text:?} is neither \"tcp\" nor a path, like \"/ready\"")),
    }
}
