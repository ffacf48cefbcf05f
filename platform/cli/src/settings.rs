//! Settings that may be there or not: what `--name` and `--no-name` say of one, and how one is told.

use crate::args::HealthCheckArgs;
use skiff_api::{Limit, Setting, TargetHealthCheck, TargetHealthCheckSpec};
use skiff_types::Limit as DomainLimit;

/// What is to become of a setting that is given, or taken away, or not spoken of.
pub(crate) fn setting<T>(given: Option<T>, is_taken_away: bool) -> Setting<T> {
    match given {
        Some(value) => Setting::Given(value),
        None if is_taken_away => Setting::None,
        None => Setting::Kept,
    }
}

/// The same of a limit.
pub(crate) fn limit(given: Option<DomainLimit>, is_taken_away: bool) -> Setting<Limit> {
    setting(given.map(Limit::from), is_taken_away)
}

/// What is to become of a health check: what the options do not speak of is as it is at `present`.
pub(crate) fn health_check(
    args: &HealthCheckArgs,
    present: Option<TargetHealthCheck>,
) -> Setting<TargetHealthCheckSpec> {
    if !args.is_spoken_of() {
        return setting(None, args.no_health_check);
    }
    let before = present.map(TargetHealthCheckSpec::from).unwrap_or_default();
    let path = match &args.health_check {
        Some(by) => by.path().map(str::to_owned),
        None => before.path,
    };
    // Where it is enough to connect there is nothing that could match.
    let matcher = before.matcher.filter(|_| path.is_some());
    Setting::Given(TargetHealthCheckSpec {
        path,
        interval: args.health_interval.or(before.interval),
        timeout: args.health_timeout.or(before.timeout),
        healthy: args.healthy.or(before.healthy),
        unhealthy: args.unhealthy.or(before.unhealthy),
        matcher: args.matcher.clone().or(matcher),
    })
}

/// A health check in one line.
pub(crate) fn health_check_text(check: &TargetHealthCheck) -> String {
    let TargetHealthCheck { path, interval, timeout, healthy, unhealthy, matcher } = check;
    let success = match path {
        Some(path) => format!("{path} answers {matcher}"),
        None => "it connects".to_owned(),
    };
    format!(
        "{success} within {timeout}, every {interval}; healthy after {healthy}, unhealthy after {unhealthy}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, TargetGroupCommand};
    use clap::Parser;
    use serde_json::{Value, json};

    fn args(words: &str) -> HealthCheckArgs {
        let line = format!("skiff target-group create a --outside 192.0.2.7:80 {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::TargetGroup { command: TargetGroupCommand::Create(args) } = cli.command else {
            panic!()
        };
        args.health
    }

    fn present() -> TargetHealthCheck {
        serde_json::from_value(json!({
            "path": "/ready", "interval": "5s", "timeout": "1s", "healthy": 3, "unhealthy": 4, "matcher": "200-299",
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(words: &str, present: Option<TargetHealthCheck>, expected: Value) {
        let Setting::Given(check) = health_check(&args(words), present) else { panic!("{words}: no check") };
        assert_eq!(serde_json::to_value(check).unwrap(), expected, "{words}");
    }

    #[test]
    fn what_is_not_spoken_of_is_as_it_was() {
        check("--health-check /up", None, json!({ "path": "/up" }));
        check("--health-check tcp --healthy 2", None, json!({ "healthy": 2 }));
        check(
            "--health-interval 30s",
            Some(present()),
            json!({
                "path": "/ready", "interval": "30s", "timeout": "1s", "healthy": 3, "unhealthy": 4,
                "matcher": "200-299",
            }),
        );
        check(
            "--health-check tcp",
            Some(present()),
            json!({ "interval": "5s", "timeout": "1s", "healthy": 3, "unhealthy": 4 }),
        );
        assert_eq!(health_check(&args(""), Some(present())), Setting::Kept);
        assert_eq!(health_check(&args("--no-health-check"), Some(present())), Setting::None);
    }

    #[test]
    fn a_check_is_told_in_a_line() {
        assert_eq!(
            health_check_text(&present()),
            "/ready answers 200-299 within 1s, every 5s; healthy after 3, unhealthy after 4"
        );
        let connecting = TargetHealthCheck { path: None, ..present() };
        assert!(health_check_text(&connecting).starts_with("it connects within 1s, every 5s;"));
    }
}
