//! `skiff metrics`: what was measured.

use clap::{Args, Subcommand};
use skiff_types::{MetricName, Name, Span, Statistic};
use std::path::PathBuf;

/// `skiff metrics`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  skiff metrics hello                                      what is measured of a service
  skiff metrics hello CPUUtilization                       the last 15 minutes of a service, drawn
  skiff metrics hello RequestCount --since 1h --period 1m  requests by the minute
  skiff metrics hello TargetResponseTime --statistic p99 --svg p99.svg
  skiff metrics 5e8f01b2 MemoryUtilization                 one task
  skiff metrics queue/depth --dimension queue=mails        a metric of your own
  skiff metrics ls                                         what there is
  skiff metrics put queue/depth 7 --dimension queue=mails

Skiff measures of services: CPUUtilization and MemoryUtilization (percent of what the tasks' sizes
allow), RequestCount, RequestCountPerTarget, TargetResponseTime (seconds),
HTTPCode_Target_2XX_Count to HTTPCode_Target_5XX_Count, RunningTaskCount, DesiredTaskCount and, of
those that consume queues, BacklogPerTask; and the first two of tasks. Seconds are kept for 15
minutes, minutes for 15 days. Of a service that nobody calls nothing is kept; to ask for a metric of
it has it measured for the next 15 minutes."
)]
pub struct MetricsArgs {
    /// What to do instead of showing a metric.
    #[command(subcommand)]
    pub command: Option<MetricsCommand>,
    /// A service, a task's id or the last digits of it; or a metric of your own, if nothing follows and no service
    /// has that name
    #[arg(value_name = "NAME|TASK|METRIC", required = true)]
    pub subject: Option<String>,
    /// The metric
    #[arg(value_name = "METRIC")]
    pub metric: Option<MetricName>,
    /// Only the last so long, like 1h
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub since: Span,
    /// Average, Sum, Minimum, Maximum, SampleCount, or a percentile like p99.9 [default: Sum of what is
    /// counted, Average of all else]
    #[arg(long, value_name = "STATISTIC")]
    pub statistic: Option<Statistic>,
    /// How long each period is [default: the shortest that makes 180 of them at most]
    #[arg(long, value_name = "TIME")]
    pub period: Option<Span>,
    /// What tells series of a metric of your own apart; may be given up to four times
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = dimension)]
    pub dimensions: Vec<(Name, String)>,
    /// Draw it into this file instead, as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

impl MetricsArgs {
    /// Whether it is said how a metric is to be shown: then what nothing follows is a metric, and never whose.
    pub(crate) fn is_of_a_metric(&self) -> bool {
        self.metric.is_some()
            || self.statistic.is_some()
            || self.period.is_some()
            || self.svg.is_some()
            || !self.dimensions.is_empty()
    }
}

/// What `skiff metrics` does beside showing one.
#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// List what was measured
    #[command(after_help = "\
Examples:
  skiff metrics ls                    of services, and metrics of your own
  skiff metrics ls --service hello    of one service
  skiff metrics ls --task 5e8f01b2    of one task")]
    Ls(MetricsListArgs),
    /// Add a value to a metric of your own
    #[command(after_help = "\
Examples:
  skiff metrics put jobs/done 1
  skiff metrics put queue/depth 7 --dimension queue=mails --dimension zone=a")]
    Put(MetricsPutArgs),
}

/// `skiff metrics ls`.
#[derive(Debug, Args)]
pub struct MetricsListArgs {
    /// Only this service's
    #[arg(long, value_name = "NAME", conflicts_with = "task")]
    pub service: Option<Name>,
    /// Only this task's: its id, or the last digits of it
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
}

/// `skiff metrics put`.
#[derive(Debug, Args)]
pub struct MetricsPutArgs {
    /// The metric
    #[arg(value_name = "METRIC")]
    pub metric: MetricName,
    /// The value
    #[arg(allow_negative_numbers = true, value_parser = value)]
    pub value: f64,
    /// What tells series of the metric apart; may be given up to four times
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = dimension)]
    pub dimensions: Vec<(Name, String)>,
}

/// A number that others can be added to: not NaN, and not infinite.
fn value(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| format!("{text:?} is not a number, like 7 or -0.5"))
}

pub(super) fn dimension(text: &str) -> Result<(Name, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    let name = name.parse().map_err(|error: skiff_types::ParseError| error.to_string())?;
    Ok((name, value.to_owned()))
}
