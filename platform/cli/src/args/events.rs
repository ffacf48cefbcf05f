//! `skiff events`: what happened.

use clap::Args;
use skiff_types::{EventType, Name, Span};

/// `skiff events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff events -f                           follow all of the namespace
  skiff events --service hello --since 1h   the last hour of a service and of its tasks
  skiff events --type deployment --tail 5   the last deployments
  skiff events --type alarm --type scaling  what alarms and scaling policies did
  skiff events --task 5e8f01b2              the life of one task
  skiff events -f --output json             a line of JSON each, in the shape of EventBridge

An event says when it happened, where it comes from, whom it happened to, and what happened. These
types there are: task (ECS Task State Change), deployment (ECS Deployment State Change), service
(ECS Service Action), alarm (CloudWatch Alarm State Change) and scaling (Application Auto Scaling
Scaling Activity State Change). 100,000 are kept, for 15 days; where there are more, the services
that have the most lose their oldest.")]
pub struct EventsArgs {
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only what happened within the last so long, like 5m
    #[arg(long, value_name = "TIME")]
    pub since: Option<Span>,
    /// Only what happened to this service and to its tasks; may be given several times
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<Name>,
    /// Only what happened to this task: its id, or the last digits of it
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Only events of this type: task, deployment, service, alarm or scaling; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<EventType>,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
}
