//! `skiff scaling`: how the count of a service's tasks moves by itself.

use crate::scaling::words;
use clap::{Args, Subcommand};
use skiff_api::{ScheduledScaling, StepScaling, TargetTracking};
use skiff_types::Name;

pub(super) const SCALING_HELP: &str = "\
Examples:
  skiff scaling put web --min 2 --max 40 --target RequestCountPerTarget=6000
  skiff scaling ls
  skiff scaling history web      what moved its count, and why";

/// `skiff scaling …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum ScalingCommand {
    /// Say within which bounds a service's count moves, and what moves it
    Put(ScalingPutArgs),
    /// List the services that are scaled
    #[command(after_help = "Examples:\n  skiff scaling ls\n  skiff scaling ls --output json")]
    Ls,
    /// Show what moves a service's count, and what moved it lately
    #[command(after_help = "Examples:\n  skiff scaling show web")]
    Show {
        /// The service
        name: Name,
    },
    /// Show what moved a service's count
    #[command(after_help = "Examples:\n  skiff scaling history web")]
    History {
        /// The service
        name: Name,
    },
    /// Leave the counts of services where they are, to be set by `skiff scale` again
    #[command(after_help = "Examples:\n  skiff scaling rm web")]
    Rm {
        /// The services
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff scaling put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff scaling put web --min 2 --max 40 --target RequestCountPerTarget=6000
  skiff scaling put web --min 2 --max 40 --target CPUUtilization=60 --target MemoryUtilization=80
  skiff scaling put web --min 1 --max 9 --target queue/depth=100,dimension=queue=mails
  skiff scaling put fulfil --min 0 --max 20 --target BacklogPerTask=100
  skiff scaling put web --min 2 --max 40 --step busy=0..20:+2,20..:+6,cooldown=1m --step calm=-1
  skiff scaling put web --min 2 --max 40 --schedule \"day=cron(0 8 ? * MON-FRI *),min=10,zone=Europe/Berlin\"

A target is kept: as many tasks are there as bring the metric to it. RequestCountPerTarget is requests
a minute for each task (6000 are 100 a second); CPUUtilization and MemoryUtilization are percent;
BacklogPerTask is messages of the queues that the service consumes, for each task; a metric of your
own, of what there is to do for each task, is named as `skiff metrics put` names it.
More tasks come within a second or two of the load; fewer only after calm as long as
scale-in-cooldown (5m), and never for what noise does. Settings behind a comma: statistic=p90,
scale-out-cooldown=, scale-in-cooldown=, dimension=NAME=VALUE, no-scale-in.

A step follows an alarm while it is in ALARM: +2 tasks, -10% of them, or =5 tasks, also by how far
the metric is beyond the threshold, LOWER..UPPER. Settings: cooldown= (5m), min-magnitude=.

A schedule changes the bounds from a time on: at(2026-11-20T13:00:00), rate(5 minutes) or
cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR), in UTC unless zone= says otherwise.

Of several, the one that wants most tasks wins; fewer come only where all agree. All that was said
of the service's scaling before is replaced. `skiff scale` sets the count within the bounds; from
there it moves on.")]
pub struct ScalingPutArgs {
    /// The service
    pub name: Name,
    /// The fewest tasks: 1 or more, unless the service scales to zero
    #[arg(long, value_name = "N")]
    pub min: u32,
    /// The most tasks
    #[arg(long, value_name = "N")]
    pub max: u32,
    /// A metric to keep at a value; may be given many times
    #[arg(long = "target", value_name = "[NAME:]METRIC=VALUE[,SETTING]", value_parser = words::target)]
    pub targets: Vec<TargetTracking>,
    /// Steps up or down while an alarm is in ALARM; may be given many times
    #[arg(long = "step", value_name = "[NAME:]ALARM=STEP[,STEP]", value_parser = words::step)]
    pub steps: Vec<StepScaling>,
    /// Other bounds from a time on; may be given many times
    #[arg(long = "schedule", value_name = "NAME=WHEN,min=N,max=N", value_parser = words::schedule)]
    pub schedules: Vec<ScheduledScaling>,
    /// Take no task away, whatever asks for it
    #[arg(long)]
    pub scale_in_protected: bool,
}
