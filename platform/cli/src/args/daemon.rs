//! What `skiff run` and `skiff deploy` say of daemons alike.

use clap::Args;
use skiff_types::Span;

/// Where a daemon listens, how its health is checked, and how it ends.
#[derive(Debug, Clone, Default, Args)]
pub struct DaemonArgs {
    /// The port that the program listens on: makes it a daemon, which the load balancer leads to while it is healthy
    /// [default: the manifest's `port`, else none]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Between two checks of a daemon's health. One succeeds once its connection is in the listener's backlog: a program
    /// that hangs is noticed when that is full [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub health_interval: Option<Span>,
    /// How long a check may take [default: 2s]
    #[arg(long, value_name = "TIME")]
    pub health_timeout: Option<Span>,
    /// How long after its start checks may fail before the first one that succeeds [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub health_start_period: Option<Span>,
    /// How long a daemon's open connections may take to end once it is to stop [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub stop_timeout: Option<Span>,
}
