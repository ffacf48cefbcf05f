//! The load balancer's parts: listeners, their rules, target groups, and certificates.
//!
//! Listeners and certificates belong to the platform; rules and target groups to a namespace. What a rule of the load balancer is
//! called `ListenerRule` here, since a security group has rules too. Bounds are checked where a wire type becomes a
//! domain type, not while JSON is read.

mod action;
mod certificate;
mod explain;
mod health_check;
mod invalid;
mod limit;
mod listener;
mod rule;
mod setting;
mod target;
mod target_group;

pub use action::{Action, FixedResponse, Forward, Redirect, WeightedGroup};
pub use certificate::{Certificate, PutCertificate};
pub use explain::{ExplainRequest, ExplainedTargetGroup, ExplanationStep, RequestExplanation, TakenBy};
pub use health_check::{TargetHealthCheck, TargetHealthCheckSpec};
pub use invalid::InvalidSpec;
pub use limit::Limit;
pub use listener::{Listener, PutListener};
pub use rule::{ListenerRule, ListenerRuleListQuery, PutListenerRule};
pub use setting::Setting;
pub use target::Target;
pub use target_group::{PutTargetGroup, TargetGroup, Targets};

#[cfg(test)]
mod tests;
