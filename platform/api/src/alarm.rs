//! Alarms: what may be said of one, what it is, and what it was.
//!
//! The words are those of CloudWatch's `PutMetricAlarm` and `DescribeAlarmHistory`, but that an action is an address that the
//! change is posted to. What a call leaves out gets its default: a call replaces all that an alarm says.

use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    AlarmAction, AlarmActions, AlarmSpec, AlarmState, Comparison, Dimensions, Measure, MetricName, MetricOf,
    MetricValue, MissingData, Name, Namespace, QualifiedName, SeriesId, Span, Statistic, WebhookUrl,
};

/// A metric that is to be watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAlarm {
    /// What is watched.
    #[schemars(with = "text::MetricName")]
    pub metric: MetricName,
    /// The service that Skiff measures it of; left out, it is a custom metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// The series of a custom metric that has exactly these.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    #[schemars(with = "text::Dimensions")]
    pub dimensions: Dimensions,
    /// What one datapoint is of the values of a period; where left out, `Sum` of what is counted and `Average` of all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Statistic>")]
    pub statistic: Option<Statistic>,
    /// How long the values of one datapoint are collected: whole seconds, from 1s to 1d; 1 minute where left out. Of a period
    /// of a minute or more there is a datapoint each minute all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub period: Option<Span>,
    /// What a datapoint is held against.
    pub threshold: f64,
    /// How; `GreaterThanThreshold` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Comparison>")]
    pub comparison: Option<Comparison>,
    /// How many datapoints are looked at; 1 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_periods: Option<u32>,
    /// How many of them must breach the threshold; all of them where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datapoints_to_alarm: Option<u32>,
    /// What a period is taken for that has no values; `missing` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::MissingData>")]
    pub treat_missing_data: Option<MissingData>,
    /// Where a change to `ALARM` is posted to; 5 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::WebhookUrl>")]
    pub alarm_actions: Vec<WebhookUrl>,
    /// Where a change to `OK` is posted to; 5 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::WebhookUrl>")]
    pub ok_actions: Vec<WebhookUrl>,
    /// Where a change to `INSUFFICIENT_DATA` is posted to; 5 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::WebhookUrl>")]
    pub insufficient_data_actions: Vec<WebhookUrl>,
}

impl PutAlarm {
    /// The period where none is given.
    pub const PERIOD_DEFAULT: Span = Span::from_ms(60_000);

    /// What this means for an alarm of this name; an error says what to do. Whether the metric is there, it does not know.
    pub fn to_domain(&self, name: QualifiedName) -> Result<AlarmSpec, InvalidSpec> {
        let measure = self.metric.measure().filter(|_| self.service.is_some());
        let of = match &self.service {
            Some(service) => MetricOf::Service(QualifiedName::new(name.namespace.clone(), service.clone())),
            None => MetricOf::Custom(name.namespace.clone()),
        };
        let evaluation_periods = self.evaluation_periods.unwrap_or(1);
        let spec = AlarmSpec {
            name,
            metric: SeriesId { of, metric: self.metric.clone(), dimensions: self.dimensions.clone() },
            statistic: self
                .statistic
                .unwrap_or_else(|| measure.map_or(Statistic::Average, Measure::usual_statistic)),
            period: self.period.unwrap_or(Self::PERIOD_DEFAULT),
            threshold: MetricValue::new(self.threshold).ok_or(InvalidSpec::AlarmThreshold)?,
            comparison: self.comparison.unwrap_or(Comparison::GreaterThanThreshold),
            evaluation_periods,
            datapoints_to_alarm: self.datapoints_to_alarm.unwrap_or(evaluation_periods),
            missing: self.treat_missing_data.unwrap_or_default(),
            actions: AlarmActions {
                ok: webhooks(&self.ok_actions)?,
                alarm: webhooks(&self.alarm_actions)?,
                insufficient_data: webhooks(&self.insufficient_data_actions)?,
            },
        };
        spec.check()?;
        Ok(spec)
    }
}

/// The actions that these addresses are, if they can be asked.
fn webhooks(addresses: &[WebhookUrl]) -> Result<Vec<AlarmAction>, InvalidSpec> {
    let action = |url: &WebhookUrl| match is_plain(url) {
        true => Ok(AlarmAction::Webhook(url.clone())),
        false => Err(InvalidSpec::AlarmWebhook { url: url.clone() }),
    };
    addresses.iter().map(action).collect()
}

/// Whether it has a host, and no password, which nobody sends.
pub(crate) fn is_plain(url: &WebhookUrl) -> bool {
    let authority = url.as_str().parse::<http::Uri>().ok().and_then(|uri| uri.into_parts().authority);
    authority.is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
}

/// The addresses that actions post to.
fn addresses(actions: &[AlarmAction]) -> Vec<WebhookUrl> {
    let address = |action: &AlarmAction| match action {
        AlarmAction::Webhook(url) => url.clone(),
    };
    actions.iter().map(address).collect()
}

/// The service that a series is of; none of a custom one, nor of a task, of which there is no alarm.
fn service_of(series: &SeriesId) -> Option<Name> {
    match &series.of {
        MetricOf::Service(service) => Some(service.name.clone()),
        MetricOf::Task(_) | MetricOf::Custom(_) => None,
    }
}

/// The call that makes it so, nothing left out.
impl From<&AlarmSpec> for PutAlarm {
    fn from(spec: &AlarmSpec) -> Self {
        Self {
            metric: spec.metric.metric.clone(),
            service: service_of(&spec.metric),
            dimensions: spec.metric.dimensions.clone(),
            statistic: Some(spec.statistic),
            period: Some(spec.period),
            threshold: spec.threshold.get(),
            comparison: Some(spec.comparison),
            evaluation_periods: Some(spec.evaluation_periods),
            datapoints_to_alarm: Some(spec.datapoints_to_alarm),
            treat_missing_data: Some(spec.missing),
            alarm_actions: addresses(&spec.actions.alarm),
            ok_actions: addresses(&spec.actions.ok),
            insufficient_data_actions: addresses(&spec.actions.insufficient_data),
        }
    }
}

/// An alarm: what it watches, and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alarm {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// What is watched.
    #[schemars(with = "text::MetricName")]
    pub metric: MetricName,
    /// The service that Skiff measures it of; absent where it is a custom metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// Which series of a custom metric.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    #[schemars(with = "text::Dimensions")]
    pub dimensions: Dimensions,
    /// What one datapoint is of the values of a period.
    #[schemars(with = "text::Statistic")]
    pub statistic: Statistic,
    /// How long the values of one datapoint are collected.
    #[schemars(with = "text::Span")]
    pub period: Span,
    /// What a datapoint is held against.
    pub threshold: f64,
    /// How.
    #[schemars(with = "text::Comparison")]
    pub comparison: Comparison,
    /// How many datapoints are looked at.
    pub evaluation_periods: u32,
    /// How many of them must breach the threshold.
    pub datapoints_to_alarm: u32,
    /// What a period is taken for that has no values.
    #[schemars(with = "text::MissingData")]
    pub treat_missing_data: MissingData,
    /// Where a change to `ALARM` is posted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::WebhookUrl>")]
    pub alarm_actions: Vec<WebhookUrl>,
    /// Where a change to `OK` is posted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::WebhookUrl>")]
    pub ok_actions: Vec<WebhookUrl>,
    /// Where a change to `INSUFFICIENT_DATA` is posted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::WebhookUrl>")]
    pub insufficient_data_actions: Vec<WebhookUrl>,
    /// What it says.
    pub status: AlarmStatus,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed by its user, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Alarm {
    /// An alarm that is to be so, and says this.
    pub fn new(
        spec: &AlarmSpec,
        revision: u64,
        status: AlarmStatus,
        created_at_ms: u64,
        updated_at_ms: u64,
    ) -> Self {
        Self {
            name: spec.name.name.clone(),
            namespace: spec.name.namespace.clone(),
            revision,
            metric: spec.metric.metric.clone(),
            service: service_of(&spec.metric),
            dimensions: spec.metric.dimensions.clone(),
            statistic: spec.statistic,
            period: spec.period,
            threshold: spec.threshold.get(),
            comparison: spec.comparison,
            evaluation_periods: spec.evaluation_periods,
            datapoints_to_alarm: spec.datapoints_to_alarm,
            treat_missing_data: spec.missing,
            alarm_actions: addresses(&spec.actions.alarm),
            ok_actions: addresses(&spec.actions.ok),
            insufficient_data_actions: addresses(&spec.actions.insufficient_data),
            status,
            created_at_ms,
            updated_at_ms,
        }
    }
}

/// What an alarm says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmStatus {
    /// Its state.
    #[schemars(with = "text::AlarmState")]
    pub state: AlarmState,
    /// Why it is in that state, for people.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The latest datapoint when it was last evaluated since the platform started; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// When that was, in milliseconds since 1970; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated_at_ms: Option<u64>,
    /// Posts of changes that nobody has taken yet; they are tried again.
    pub undelivered: u32,
}

/// A change of an alarm's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmTransition {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it was.
    #[schemars(with = "text::AlarmState")]
    pub before: AlarmState,
    /// What it became.
    #[schemars(with = "text::AlarmState")]
    pub after: AlarmState,
    /// Why, for people.
    pub reason: String,
    /// The latest datapoint then; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use skiff_types::AlarmError;

    fn read(body: Value) -> Result<AlarmSpec, InvalidSpec> {
        let body: PutAlarm = serde_json::from_value(body).unwrap();
        body.to_domain("shop/busy".parse().unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let spec = read(json!({ "metric": "RequestCount", "service": "web", "threshold": 80 })).unwrap();
        assert_eq!(spec.metric, SeriesId::of_service("shop/web".parse().unwrap(), Measure::RequestCount));
        assert_eq!((spec.statistic, spec.period), (Statistic::Sum, Span::from_ms(60_000)));
        assert_eq!((spec.evaluation_periods, spec.datapoints_to_alarm), (1, 1));
        assert_eq!((spec.comparison, spec.missing), (Comparison::GreaterThanThreshold, MissingData::Missing));
        let own =
            read(json!({ "metric": "RequestCount", "threshold": 0.5, "evaluation_periods": 5 })).unwrap();
        assert_eq!(own.metric.of, MetricOf::Custom("shop".parse().unwrap()));
        assert_eq!((own.statistic, own.datapoints_to_alarm), (Statistic::Average, 5));
    }

    #[test]
    fn what_is_shown_is_what_makes_it_so() {
        let spec = read(json!({
            "metric": "queue/depth", "dimensions": "queue=mails", "statistic": "p99", "period": "10s", "threshold": -1.5,
            "comparison": "LessThanThreshold", "evaluation_periods": 5, "datapoints_to_alarm": 3,
            "treat_missing_data": "breaching", "alarm_actions": ["http://127.0.0.1:9/a", "https://example.com"],
            "ok_actions": ["http://127.0.0.1:9/b"], "insufficient_data_actions": ["http://127.0.0.1:9/c"],
        }))
        .unwrap();
        let said = PutAlarm::from(&spec);
        assert_eq!(said.to_domain(spec.name.clone()).unwrap(), spec);
        let status = AlarmStatus {
            state: AlarmState::Ok,
            reason: String::new(),
            since_ms: 1,
            value: None,
            evaluated_at_ms: None,
            undelivered: 0,
        };
        let shown = serde_json::to_value(Alarm::new(&spec, 7, status, 1, 2)).unwrap();
        let said = serde_json::to_value(said).unwrap();
        for (field, value) in said.as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let put = |more: Value| {
            let mut body = json!({ "metric": "jobs", "threshold": 1 });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(body)
        };
        assert!(matches!(
            put(json!({ "period": "1500ms" })),
            Err(InvalidSpec::Alarm(AlarmError::Period { .. }))
        ));
        assert!(matches!(
            put(json!({ "datapoints_to_alarm": 2 })),
            Err(InvalidSpec::Alarm(AlarmError::Datapoints { .. }))
        ));
        let many = vec!["http://127.0.0.1:9/a"; 6];
        assert!(matches!(
            put(json!({ "ok_actions": many })),
            Err(InvalidSpec::Alarm(AlarmError::Actions { count: 6 }))
        ));
        for url in ["http://me:secret@example.com/", "http://exa[mple/"] {
            assert!(
                matches!(put(json!({ "alarm_actions": [url] })), Err(InvalidSpec::AlarmWebhook { .. })),
                "{url} was taken"
            );
        }
        let endless = PutAlarm { threshold: f64::INFINITY, ..PutAlarm::from(&put(json!({})).unwrap()) };
        assert_eq!(endless.to_domain("shop/a".parse().unwrap()), Err(InvalidSpec::AlarmThreshold));
    }
}
