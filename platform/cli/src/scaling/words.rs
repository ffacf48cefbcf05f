//! What moves a service's count, in the words of the command line and of the manifest: `RequestCountPerTarget=6000`.
//!
//! Each is one text, and is printed as it is read. What no service can be scaled by, the API refuses.

use skiff_api::{ScheduledScaling, StepAdjustment, StepScaling, TargetTracking};
use skiff_types::{Adjustment, Dimensions, MetricName, MetricValue, Name, ParseError, Zone};
use std::str::FromStr;

const TARGET: &str = "a target: [NAME:]METRIC=VALUE and settings behind commas, like RequestCountPerTarget=6000 or \
                      cpu:CPUUtilization=60,scale-in-cooldown=2m";
const STEP: &str = "a step policy: [NAME:]ALARM=STEPS and settings behind commas, like busy=+2 or \
                    busy=0..20:+10%,20..:+30%,cooldown=1m";
const SCHEDULE: &str = "a schedule: NAME=WHEN,min=N,max=N,zone=ZONE, like day=cron(0 8 ? * MON-FRI *),min=10";

/// `[NAME:]METRIC=VALUE[,SETTING]…`
pub(crate) fn target(text: &str) -> Result<TargetTracking, String> {
    let mut parts = text.split(',');
    let (head, value) =
        parts.next().and_then(|head| head.split_once('=')).ok_or_else(|| wrong(text, TARGET))?;
    let (name, metric) = named(head)?;
    let metric: MetricName = parsed(metric)?;
    let mut tracking = TargetTracking {
        name: name.or_else(|| name_after(&metric)).ok_or_else(|| wrong(text, TARGET))?,
        metric,
        dimensions: Dimensions::default(),
        statistic: None,
        target: parsed(value)?,
        scale_out_cooldown: None,
        scale_in_cooldown: None,
        disable_scale_in: false,
    };
    let mut dimensions = Vec::new();
    for setting in parts {
        match setting.split_once('=') {
            Some(("statistic", value)) => tracking.statistic = Some(parsed(value)?),
            Some(("scale-out-cooldown", value)) => tracking.scale_out_cooldown = Some(parsed(value)?),
            Some(("scale-in-cooldown", value)) => tracking.scale_in_cooldown = Some(parsed(value)?),
            Some(("dimension", value)) => dimensions.push(value),
            None if setting == "no-scale-in" => tracking.disable_scale_in = true,
            Some(_) | None => {
                let known = "statistic=, scale-out-cooldown=, scale-in-cooldown=, dimension=NAME=VALUE and no-scale-in";
                return Err(format!("{setting:?} is no setting of a target; there are {known}"));
            }
        }
    }
    tracking.dimensions = parsed(&dimensions.join(","))?;
    Ok(tracking)
}

/// The same again, with all that is known of it.
pub(crate) fn target_text(tracking: &TargetTracking) -> String {
    let TargetTracking { name, metric, target, .. } = tracking;
    let mut text = format!("{name}:{metric}={target}");
    let mut add = |setting: String| text = format!("{text},{setting}");
    tracking.dimensions.iter().for_each(|(name, value)| add(format!("dimension={name}={value}")));
    tracking.statistic.into_iter().for_each(|statistic| add(format!("statistic={statistic}")));
    tracking.scale_out_cooldown.into_iter().for_each(|span| add(format!("scale-out-cooldown={span}")));
    tracking.scale_in_cooldown.into_iter().for_each(|span| add(format!("scale-in-cooldown={span}")));
    if tracking.disable_scale_in {
        add("no-scale-in".to_owned());
    }
    text
}

/// `[NAME:]ALARM=STEP[,STEP]…[,SETTING]…`
pub(crate) fn step(text: &str) -> Result<StepScaling, String> {
    let (head, rest) = text.split_once('=').ok_or_else(|| wrong(text, STEP))?;
    let (name, alarm) = named(head)?;
    let alarm: Name = parsed(alarm)?;
    let mut scaling = StepScaling {
        name: name.unwrap_or_else(|| alarm.clone()),
        alarm,
        adjustment: None,
        steps: vec![],
        cooldown: None,
        min_magnitude: 0,
    };
    for part in rest.split(',') {
        match part.split_once('=') {
            Some(("cooldown", value)) => scaling.cooldown = Some(parsed(value)?),
            Some(("min-magnitude", value)) => {
                let count = value.parse::<u32>();
                scaling.min_magnitude = count.map_err(|_| format!("{value:?} is not a number of tasks"))?;
            }
            Some(_) | None => {
                let (adjustment, step) = one_step(part).ok_or_else(|| wrong(part, STEP))?;
                if scaling.adjustment.is_some_and(|other| other != adjustment) {
                    return Err(format!(
                        "{text:?} has steps of several kinds; let all be by tasks (+2), by percent (+10%), or to a count \
                         (=5)"
                    ));
                }
                scaling.adjustment = Some(adjustment);
                scaling.steps.push(step);
            }
        }
    }
    Ok(scaling)
}

/// `[LOWER..UPPER:]CHANGE`
fn one_step(text: &str) -> Option<(Adjustment, StepAdjustment)> {
    let (range, change) = text.rsplit_once(':').unwrap_or(("..", text));
    let (lower, upper) = range.split_once("..")?;
    let bound = |text: &str| match text {
        "" => Some(None),
        text => text.parse::<MetricValue>().ok().map(Some),
    };
    let (adjustment, number) = match (change.strip_prefix('='), change.strip_suffix('%')) {
        (Some(count), _) => (Adjustment::ExactCapacity, count),
        (None, Some(percent)) => (Adjustment::PercentChangeInCapacity, percent),
        (None, None) => (Adjustment::ChangeInCapacity, change),
    };
    let step = StepAdjustment { lower: bound(lower)?, upper: bound(upper)?, change: number.parse().ok()? };
    Some((adjustment, step))
}

/// The same again, with all that is known of it.
pub(crate) fn step_text(scaling: &StepScaling) -> String {
    let StepScaling { name, alarm, steps, .. } = scaling;
    let steps: Vec<String> = steps.iter().map(|step| one_step_text(step, scaling.adjustment)).collect();
    let mut text = format!("{name}:{alarm}={}", steps.join(","));
    if let Some(cooldown) = scaling.cooldown {
        text = format!("{text},cooldown={cooldown}");
    }
    if scaling.min_magnitude > 0 {
        text = format!("{text},min-magnitude={}", scaling.min_magnitude);
    }
    text
}

fn one_step_text(step: &StepAdjustment, adjustment: Option<Adjustment>) -> String {
    let change = match adjustment.unwrap_or(Adjustment::ChangeInCapacity) {
        Adjustment::ChangeInCapacity => format!("{:+}", step.change),
        Adjustment::PercentChangeInCapacity => format!("{:+}%", step.change),
        Adjustment::ExactCapacity => format!("={}", step.change),
    };
    let bound = |bound: Option<MetricValue>| bound.map(|bound| bound.to_string()).unwrap_or_default();
    match (step.lower, step.upper) {
        (None, None) => change,
        (lower, upper) => format!("{}..{}:{change}", bound(lower), bound(upper)),
    }
}

/// `NAME=WHEN[,min=N][,max=N][,zone=ZONE]`
pub(crate) fn schedule(text: &str) -> Result<ScheduledScaling, String> {
    let error = || wrong(text, SCHEDULE);
    let (name, rest) = text.split_once('=').ok_or_else(error)?;
    // There are commas within the parentheses.
    let end = rest.find(')').ok_or_else(error)? + 1;
    let (when, settings) = rest.split_at(end);
    let mut scheduled = ScheduledScaling {
        name: parsed(name)?,
        schedule: parsed(when)?,
        zone: Zone::default(),
        min: None,
        max: None,
    };
    let mut settings = settings.split(',');
    if settings.next() != Some("") {
        return Err(error());
    }
    for setting in settings {
        let count =
            |value: &str| value.parse::<u32>().map_err(|_| format!("{value:?} is not a number of tasks"));
        match setting.split_once('=') {
            Some(("min", value)) => scheduled.min = Some(count(value)?),
            Some(("max", value)) => scheduled.max = Some(count(value)?),
            Some(("zone", value)) => scheduled.zone = parsed(value)?,
            Some(_) | None => {
                return Err(format!(
                    "{setting:?} is no setting of a schedule; there are min=, max= and zone="
                ));
            }
        }
    }
    Ok(scheduled)
}

/// The same again.
pub(crate) fn schedule_text(scheduled: &ScheduledScaling) -> String {
    let ScheduledScaling { name, schedule, zone, min, max } = scheduled;
    let mut text = format!("{name}={schedule}");
    for (setting, count) in [("min", min), ("max", max)] {
        if let Some(count) = count {
            text = format!("{text},{setting}={count}");
        }
    }
    if *zone == Zone::default() { text } else { format!("{text},zone={zone}") }
}

/// What is before the colon, if there is one, and what is behind it.
fn named(text: &str) -> Result<(Option<Name>, &str), String> {
    match text.split_once(':') {
        Some((name, rest)) => Ok((Some(parsed(name)?), rest)),
        None => Ok((None, text)),
    }
}

/// The name of a policy that nobody gave one.
fn name_after(metric: &MetricName) -> Option<Name> {
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '-',
    };
    let letters: String = metric.as_str().chars().map(letter).take(Name::LENGTH_MAX).collect();
    letters.trim_end_matches('-').parse().ok()
}

fn parsed<T: FromStr<Err = ParseError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseError| error.to_string())
}

fn wrong(text: &str, expected: &str) -> String {
    format!("{text:?} is not {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_metric_and_a_value() {
        let plain = target("RequestCountPerTarget=6000").unwrap();
        assert_eq!((plain.name.as_str(), plain.target.get()), ("requestcountpertarget", 6_000.0));
        assert_eq!((plain.statistic, plain.scale_in_cooldown, plain.disable_scale_in), (None, None, false));
        for text in [
            "cpu:CPUUtilization=60",
            "a:queue/depth=0.5,dimension=queue=mails,dimension=zone=b,statistic=p90,scale-out-cooldown=10s,\
             scale-in-cooldown=2m,no-scale-in",
        ] {
            assert_eq!(target_text(&target(text).unwrap()), text);
        }
        assert_eq!(target("queue/depth_=1").unwrap().name.as_str(), "queue-depth");
        for bad in [
            "",
            "CPUUtilization",
            "CPUUtilization=",
            "CPU:CPUUtilization=1",
            "a=1,b=2",
            "a=1,scale-in",
            "a=60%",
        ] {
            assert!(target(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_step_is_by_tasks_by_percent_or_to_a_count() {
        let plain = step("busy=+2").unwrap();
        assert_eq!((plain.name.as_str(), plain.alarm.as_str()), ("busy", "busy"));
        assert_eq!(plain.adjustment, Some(Adjustment::ChangeInCapacity));
        assert_eq!(plain.steps, [StepAdjustment { lower: None, upper: None, change: 2 }]);
        for text in [
            "more:busy=0..10.5:+10%,10.5..:+30%,cooldown=30s,min-magnitude=2",
            "fewer:calm=..-20:-3,-20..0:-1",
            "off:calm==1",
        ] {
            assert_eq!(step_text(&step(text).unwrap()), text);
        }
        for bad in
            ["", "busy", "busy=", "busy=x", "busy=0:+2", "busy=0..10", "busy=+2,=5", "busy=+1,cooldown=5"]
        {
            assert!(step(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_schedule_is_a_time_and_what_holds_from_then_on() {
        for text in [
            "day=cron(0 8 ? * MON,WED *),min=10,max=40,zone=Europe/Berlin",
            "often=rate(5 minutes),min=3",
            "once=at(2026-11-20T13:00:00),max=9",
        ] {
            assert_eq!(schedule_text(&schedule(text).unwrap()), text);
        }
        for bad in [
            "",
            "day",
            "day=rate(5 minutes",
            "day=rate(5 minutes)min=3",
            "day=8:00,min=3",
            "d=rate(1 day),min=x",
        ] {
            assert!(schedule(bad).is_err(), "{bad:?} was taken");
        }
    }
}
