//! The sections `[[alarm]]` of a manifest: what is watched of its service, or of metrics of one's own.
//!
//! They say what `skiff alarm put` does. Whose a metric is is not said: what Skiff measures is the service's.

use super::{ManifestError, Reader, Table, Value};
use skiff_api::PutAlarm;
use skiff_types::{Comparison, Dimensions, Name};

const KEYS: [&str; 15] = [
    "name",
    "metric",
    "dimensions",
    "above",
    "at-least",
    "below",
    "at-most",
    "statistic",
    "period",
    "periods",
    "datapoints",
    "missing",
    "on-alarm",
    "on-ok",
    "on-insufficient-data",
];
/// The keys that say a threshold, of which there is one, and how it is breached.
const THRESHOLDS: [(&str, Comparison); 4] = [
    ("above", Comparison::GreaterThanThreshold),
    ("at-least", Comparison::GreaterThanOrEqualToThreshold),
    ("below", Comparison::LessThanThreshold),
    ("at-most", Comparison::LessThanOrEqualToThreshold),
];

/// A section `[[alarm]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmSection {
    /// The alarm's name.
    pub name: Name,
    /// What it says, but for the service that it is of.
    pub body: PutAlarm,
}

impl Reader<'_> {
    pub(super) fn alarms(&self, value: &Value<'_>) -> Result<Vec<AlarmSection>, ManifestError> {
        let wrong = || self.wrong("alarm", value, "a list of sections: [[alarm]] and its keys below it");
        let sections = value.get_ref().as_array().ok_or_else(wrong)?;
        sections.iter().map(|section| self.alarm(section)).collect()
    }

    fn alarm(&self, value: &Value<'_>) -> Result<AlarmSection, ManifestError> {
        let table = self.table("alarm", value)?;
        self.refuse_unknown(table, &KEYS, "[[alarm]]")?;
        let required = |key: &str| {
            let message = format!("the key \"{key}\" is missing; an alarm must have it");
            table.get(key).ok_or_else(|| self.error(&value.span(), message))
        };
        let (name, metric) = (required("name")?, required("metric")?);
        let (comparison, threshold) = self.threshold(value, table)?;
        let count = |key: &str| table.get(key).map(|value| self.count(key, value, 1)).transpose();
        let addresses = |key: &str| table.get(key).map_or(Ok(Vec::new()), |value| self.list(key, value));
        let body = PutAlarm {
            metric: self.parsed("metric", metric)?,
            service: None,
            dimensions: table
                .get("dimensions")
                .map_or(Ok(Dimensions::default()), |value| self.parsed("dimensions", value))?,
            statistic: table.get("statistic").map(|value| self.parsed("statistic", value)).transpose()?,
            period: table.get("period").map(|value| self.parsed("period", value)).transpose()?,
            threshold,
            comparison: Some(comparison),
            evaluation_periods: count("periods")?,
            datapoints_to_alarm: count("datapoints")?,
            treat_missing_data: table
                .get("missing")
                .map(|value| self.parsed("missing", value))
                .transpose()?,
            alarm_actions: addresses("on-alarm")?,
            ok_actions: addresses("on-ok")?,
            insufficient_data_actions: addresses("on-insufficient-data")?,
        };
        Ok(AlarmSection { name: self.parsed("name", name)?, body })
    }

    fn threshold(&self, section: &Value<'_>, table: &Table<'_>) -> Result<(Comparison, f64), ManifestError> {
        let given =
            THRESHOLDS.into_iter().filter_map(|(key, comparison)| Some((key, comparison, table.get(key)?)));
        let given: Vec<_> = given.collect();
        let [(key, comparison, value)] = given[..] else {
            let keys = THRESHOLDS.map(|(key, _)| key).join(", ");
            return Err(self.error(&section.span(), format!("an alarm has one threshold: one of {keys}")));
        };
        Ok((comparison, self.number(key, value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn parse(text: &str) -> Result<Vec<AlarmSection>, String> {
        let text = format!("name = \"a\"\ncomponent = \"a.wasm\"\n{text}");
        let manifest = Manifest::parse(&text, Path::new("skiff.toml"));
        manifest.map(|manifest| manifest.alarms).map_err(|error| error.to_string())
    }

    #[test]
    fn alarms_are_read_as_they_are_put() {
        let alarms = parse(
            "[[alarm]]\nname = \"busy\"\nmetric = \"cpuutilization\"\nabove = 80\n\
             [[alarm]]\nname = \"slow\"\nmetric = \"jobs\"\ndimensions = \"queue=a\"\nat-most = -0.5\nstatistic = \"p99\"\n\
             period = \"10s\"\nperiods = 5\ndatapoints = 3\nmissing = \"ignore\"\non-alarm = [\"http://a/\"]\n\
             on-ok = [\"http://b/\"]\non-insufficient-data = [\"http://c/\"]\n",
        )
        .unwrap();
        let told = |at: usize| (alarms[at].name.to_string(), serde_json::to_value(&alarms[at].body).unwrap());
        let busy =
            json!({ "metric": "CPUUtilization", "threshold": 80.0, "comparison": "GreaterThanThreshold" });
        assert_eq!(told(0), ("busy".to_owned(), busy));
        let slow = json!({
            "metric": "jobs", "dimensions": "queue=a", "threshold": -0.5, "comparison": "LessThanOrEqualToThreshold",
            "statistic": "p99", "period": "10s", "evaluation_periods": 5, "datapoints_to_alarm": 3,
            "treat_missing_data": "ignore", "alarm_actions": ["http://a/"], "ok_actions": ["http://b/"],
            "insufficient_data_actions": ["http://c/"],
        });
        assert_eq!((told(1), alarms.len()), (("slow".to_owned(), slow), 2));
    }

    #[test]
    fn what_is_wrong_with_an_alarm_is_said() {
        let start = "[[alarm]]\nname = \"busy\"\nmetric = \"jobs\"\n";
        for (more, expected) in [
            ("", "an alarm has one threshold: one of above, at-least, below, at-most"),
            ("above = 1\nbelow = 2", "an alarm has one threshold"),
            ("above = \"1\"", "6: above: \"1\" is not a number, like 80 or 0.5, without quotes"),
            ("above = inf", "6: above: inf is not a number"),
            ("abvoe = 1", "6: the key \"abvoe\" is unknown in [[alarm]]; did you mean \"above\"?"),
            ("above = 1\nperiods = 0", "7: periods: 0 is not a whole number from 1 upwards"),
            ("above = 1\nmissing = \"no\"", "7: missing: \"no\" is not how missing data is treated"),
            ("above = 1\non-ok = [\"ftp://a\"]", "7: on-ok: \"ftp://a\" is not an address of HTTP or HTTPS"),
        ] {
            let error = parse(&format!("{start}{more}")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = parse("[[alarm]]\nmetric = \"jobs\"\nabove = 1").unwrap_err();
        assert!(error.contains("the key \"name\" is missing"), "{error}");
        let error = parse("alarm = 7").unwrap_err();
        assert!(error.contains("3: alarm: 7 is not a list of sections"), "{error}");
    }
}
