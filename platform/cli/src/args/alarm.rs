//! `skiff alarm`: metrics that are watched.

use clap::{ArgGroup, Args, Subcommand};
use skiff_api::PutAlarm;
use skiff_types::{Comparison, Dimensions, MetricName, MissingData, Name, Span, Statistic, WebhookUrl};

/// What alarms are, below the help of `skiff alarm`.
pub(super) const ALARM_HELP: &str = "\
Examples:
  skiff alarm put busy CPUUtilization --service web --above 80 --on-alarm https://example.com/hook
  skiff alarm ls                  which there are, and what each says
  skiff alarm history busy        when it changed, and why

An alarm is OK, in ALARM, or has INSUFFICIENT_DATA. Every change is an event of `skiff events`, is
posted to the addresses that are given for the new state, and can be followed by a scaling policy or
by the deployments of a service.";

/// `skiff alarm …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum AlarmCommand {
    /// Create an alarm, or replace all that it says
    Put(Box<AlarmPutArgs>),
    /// List alarms
    #[command(after_help = "Examples:\n  skiff alarm ls\n  skiff alarm ls --output json")]
    Ls,
    /// Show an alarm: what it watches, what it says, and why
    #[command(after_help = "Examples:\n  skiff alarm show busy")]
    Show {
        /// The alarm
        name: Name,
    },
    /// List the last 100 changes of an alarm's state, newest first
    #[command(after_help = "Examples:\n  skiff alarm history busy")]
    History {
        /// The alarm
        name: Name,
    },
    /// Remove alarms that nothing follows
    #[command(after_help = "Examples:\n  skiff alarm rm busy")]
    Rm {
        /// The alarms
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff alarm put`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("threshold").args(["above", "at_least", "below", "at_most"]).required(true),
    after_help = "\
Examples:
  skiff alarm put busy CPUUtilization --service web --above 80
  skiff alarm put slow TargetResponseTime --service web --statistic p99 --above 0.5 --period 10s
      --periods 5 --datapoints 3        3 out of 5 periods of ten seconds
  skiff alarm put errors HTTPCode_Target_5XX_Count --service web --above 0 --missing notBreaching
      --on-alarm https://example.com/hook --on-ok https://example.com/hook
  skiff alarm put full queue/depth --dimension queue=mails --at-least 1000    a metric of your own

It is evaluated when a period ends; of a period of a minute or more each minute, over what came in
the last period then. What is posted is the event as JSON, in the shape of EventBridge's
\"CloudWatch Alarm State Change\", with the header webhook-id. Where nobody answers, or with 5xx, 408,
425 or 429, it is tried again for an hour, and may come twice under the same id; any other answer
than 2xx, as 404 or a redirection, ends it."
)]
pub struct AlarmPutArgs {
    /// Its name in the namespace
    pub name: Name,
    /// What is watched: what Skiff measures of a service, or a metric of your own; see `skiff metrics`
    #[arg(value_name = "METRIC")]
    pub metric: MetricName,
    /// The service that Skiff measures it of; without it, it is a metric of your own
    #[arg(long, value_name = "NAME")]
    pub service: Option<Name>,
    /// What tells series of a metric of your own apart; may be given up to four times
    #[arg(
        long = "dimension",
        value_name = "NAME=VALUE",
        value_parser = super::metrics::dimension,
        conflicts_with = "service"
    )]
    pub dimensions: Vec<(Name, String)>,
    /// It is too much above this
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub above: Option<f64>,
    /// It is too much at this, or above
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub at_least: Option<f64>,
    /// It is too little below this
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub below: Option<f64>,
    /// It is too little at this, or below
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub at_most: Option<f64>,
    /// What one datapoint is of the values of a period: Average, Sum, Minimum, Maximum, SampleCount, or a percentile like p99.9
    /// [default: Sum of what is counted, Average of all else]
    #[arg(long, value_name = "STATISTIC")]
    pub statistic: Option<Statistic>,
    /// How long the values of a datapoint are collected, in whole seconds: 1s to 1d [default: 1m]
    #[arg(long, value_name = "TIME")]
    pub period: Option<Span>,
    /// How many datapoints are looked at [default: 1]
    #[arg(long, value_name = "N")]
    pub periods: Option<u32>,
    /// How many of them must be beyond the threshold [default: all]
    #[arg(long, value_name = "M")]
    pub datapoints: Option<u32>,
    /// What a period without values is taken for: missing, notBreaching, breaching or ignore [default: missing]
    #[arg(long, value_name = "WORD")]
    pub missing: Option<MissingData>,
    /// Where a change to ALARM is posted to; may be given up to five times
    #[arg(long, value_name = "URL")]
    pub on_alarm: Vec<WebhookUrl>,
    /// Where a change to OK is posted to; may be given up to five times
    #[arg(long, value_name = "URL")]
    pub on_ok: Vec<WebhookUrl>,
    /// Where a change to INSUFFICIENT_DATA is posted to; may be given up to five times
    #[arg(long, value_name = "URL")]
    pub on_insufficient_data: Vec<WebhookUrl>,
}

impl AlarmPutArgs {
    /// What the platform is told; with these dimensions, which are those of the arguments, each once.
    pub(crate) fn body(&self, dimensions: Dimensions) -> PutAlarm {
        let given = [
            (Comparison::GreaterThanThreshold, self.above),
            (Comparison::GreaterThanOrEqualToThreshold, self.at_least),
            (Comparison::LessThanThreshold, self.below),
            (Comparison::LessThanOrEqualToThreshold, self.at_most),
        ];
        let given = given.into_iter().find_map(|(comparison, given)| Some((comparison, given?)));
        let (comparison, threshold) = given.expect("the grammar asks for one of them");
        PutAlarm {
            metric: self.metric.clone(),
            service: self.service.clone(),
            dimensions,
            statistic: self.statistic,
            period: self.period,
            threshold,
            comparison: Some(comparison),
            evaluation_periods: self.periods,
            datapoints_to_alarm: self.datapoints,
            treat_missing_data: self.missing,
            alarm_actions: self.on_alarm.clone(),
            ok_actions: self.on_ok.clone(),
            insufficient_data_actions: self.on_insufficient_data.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::{Value, json};

    fn told(words: &str) -> Option<Value> {
        let line = format!("skiff alarm put busy {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).ok()?;
        let Command::Alarm { command: AlarmCommand::Put(args) } = cli.command else { panic!() };
        Some(serde_json::to_value(args.body(Dimensions::default())).unwrap())
    }

    #[test]
    fn the_common_case_is_short() {
        let expected = json!({
            "metric": "CPUUtilization", "service": "web", "threshold": 80.0, "comparison": "GreaterThanThreshold",
        });
        assert_eq!(told("cpuutilization --service web --above 80"), Some(expected));
    }

    #[test]
    fn all_that_an_alarm_says_can_be_given() {
        let words = "jobs --at-most -0.5 --statistic p99.9 --period 10s --periods 5 --datapoints 3 --missing breaching \
                     --on-alarm http://a/ --on-alarm http://b/ --on-ok http://c/ --on-insufficient-data http://d/";
        let expected = json!({
            "metric": "jobs", "threshold": -0.5, "comparison": "LessThanOrEqualToThreshold", "statistic": "p99.9",
            "period": "10s", "evaluation_periods": 5, "datapoints_to_alarm": 3, "treat_missing_data": "breaching",
            "alarm_actions": ["http://a/", "http://b/"], "ok_actions": ["http://c/"],
            "insufficient_data_actions": ["http://d/"],
        });
        assert_eq!(told(words), Some(expected));
        assert_eq!(told("jobs --at-least 1").unwrap()["comparison"], "GreaterThanOrEqualToThreshold");
        assert_eq!(told("jobs --below 1").unwrap()["comparison"], "LessThanThreshold");
    }

    #[test]
    fn an_alarm_has_one_threshold_and_one_metric() {
        for bad in
            ["jobs", "jobs --above 1 --below 0", "--above 1", "jobs --above 1 --service a --dimension a=b"]
        {
            assert_eq!(told(bad), None, "{bad} was taken");
        }
    }
}
