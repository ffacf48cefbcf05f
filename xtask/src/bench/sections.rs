//! What can be measured, in the order of the report.

pub(crate) mod balancer;
pub(crate) mod neighbours;

mod adversary;
mod app;
mod cold_start;
mod density;
mod events;
mod inside;
mod latency;
mod network;
mod parts;
mod queue_kills;
mod queue_scaling;
mod queues;
mod quotas;
mod recovery;
mod recovery_of_rollouts;
mod rollouts;
mod scaling;
mod services;
mod shares;
mod throughput;
mod thumbnails;
mod zero;

use crate::bench::report::Section;
use crate::bench::setup::Bench;

/// A part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Requests per second and CPU per request, beside every peer
    Throughput,
    /// Latency at half of the saturating rate, in an open loop, beside every peer
    Latency,
    /// Cold starts by stage
    ColdStart,
    /// Sandboxes alive at once, each blocked in a host call
    Density,
    /// Idle services: start-up, memory, the first answer of any one
    Services,
    /// Services without a task: the first answer of each
    Zero,
    /// A neighbour that spins
    Neighbours,
    /// Eight spinners on saturated cores
    Shares,
    /// Every way to misbehave: what its neighbour feels, what is left behind, how soon it ends when it is cancelled
    Adversary,
    /// The network between tasks: calls, streams, connections, rules, and the neighbour of who attacks it
    Network,
    /// The load balancer beside nginx and haproxy: proxying, TLS, rules, idle connections, changes, failing targets, overload
    Balancer,
    /// Rolling updates, rollbacks by the circuit breaker and other counts under load: whether a request fails
    Rollouts,
    /// Load that leaps, and load that is noisy, under a scaling policy: when capacity follows, and whether it stays
    Scaling,
    /// Workers and platforms that are killed; from a push to the first answer
    Recovery,
    /// Platforms that are killed in the middle of each kind of rollout: whether it ends
    RecoveryOfRollouts,
    /// Durable queues beside Redis streams and NATS JetStream that sync each message
    Queues,
    /// A million messages, while the platform is killed every three seconds: lost, repeated, out of order
    QueueKills,
    /// From an event to the first instruction of the task that it starts; CPU per event on a bus of 10,000 rules
    Events,
    /// A service that 100,000 messages wake: from no task to 20, over a kill, and back
    QueueScaling,
    /// 1,000 images by the AWS CLI, while the platform is killed ten times
    Thumbnails,
    /// The cost of each quota, by switching it off
    Quotas,
    /// The parts inside one thread, by Criterion
    Inside,
}

impl Name {
    /// Measures it.
    pub(crate) fn measure(self, bench: &Bench) -> anyhow::Result<Section> {
        match self {
            Self::Throughput => throughput::measure(bench),
            Self::Latency => latency::measure(bench),
            Self::ColdStart => cold_start::measure(bench),
            Self::Density => density::measure(bench),
            Self::Services => services::measure(bench),
            Self::Zero => zero::measure(bench),
            Self::Neighbours => neighbours::measure(bench),
            Self::Shares => shares::measure(bench),
            Self::Adversary => adversary::measure(bench),
            Self::Network => network::measure(bench),
            Self::Balancer => balancer::measure(bench),
            Self::Rollouts => rollouts::measure(bench),
            Self::Scaling => scaling::measure(bench),
            Self::Recovery => recovery::measure(bench),
            Self::RecoveryOfRollouts => recovery_of_rollouts::measure(bench),
            Self::Queues => queues::measure(bench),
            Self::QueueKills => queue_kills::measure(bench),
            Self::Events => events::measure(bench),
            Self::QueueScaling => queue_scaling::measure(bench),
            Self::Thumbnails => thumbnails::measure(bench),
            Self::Quotas => quotas::measure(bench),
            Self::Inside => inside::measure(bench),
        }
    }
}
