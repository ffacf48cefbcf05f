//! The records of alarms, and of what is noted of them.

use super::{Stored, record};
use crate::keys;
use crate::model::{Alarm, AlarmNotes, AlarmTransition, Delivery};
use serde::{Deserialize, Serialize};
use skiff_ports::store::Key;
use skiff_types::{
    AlarmAction, AlarmActions, AlarmSpec, AlarmState, Comparison, Dimensions, MetricName, MetricOf,
    MetricValue, MissingData, QualifiedName, SeriesId, Span, Statistic, WebhookUrl,
};
use std::sync::Arc;

/// What is done when an alarm changes its state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionRecord {
    Webhook(WebhookUrl),
}

fn actions(actions: &[AlarmAction]) -> Vec<ActionRecord> {
    let record = |action: &AlarmAction| match action {
        AlarmAction::Webhook(url) => ActionRecord::Webhook(url.clone()),
    };
    actions.iter().map(record).collect()
}

fn read_actions(records: Vec<ActionRecord>) -> Vec<AlarmAction> {
    let action = |record| match record {
        ActionRecord::Webhook(url) => AlarmAction::Webhook(url),
    };
    records.into_iter().map(action).collect()
}

/// An alarm's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct AlarmRecord {
    name: QualifiedName,
    of: MetricOf,
    metric: MetricName,
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    dimensions: Dimensions,
    statistic: Statistic,
    period: Span,
    threshold: MetricValue,
    comparison: Comparison,
    evaluation_periods: u32,
    datapoints_to_alarm: u32,
    missing: MissingData,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on_ok: Vec<ActionRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on_alarm: Vec<ActionRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on_insufficient_data: Vec<ActionRecord>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Alarm> for AlarmRecord {
    fn from(object: &Alarm) -> Self {
        let spec = &object.spec;
        Self {
            name: spec.name.clone(),
            of: spec.metric.of.clone(),
            metric: spec.metric.metric.clone(),
            dimensions: spec.metric.dimensions.clone(),
            statistic: spec.statistic,
            period: spec.period,
            threshold: spec.threshold,
            comparison: spec.comparison,
            evaluation_periods: spec.evaluation_periods,
            datapoints_to_alarm: spec.datapoints_to_alarm,
            missing: spec.missing,
            on_ok: actions(&spec.actions.ok),
            on_alarm: actions(&spec.actions.alarm),
            on_insufficient_data: actions(&spec.actions.insufficient_data),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<AlarmRecord> for Alarm {
    fn from(record: AlarmRecord) -> Self {
        let spec = AlarmSpec {
            name: record.name,
            metric: SeriesId { of: record.of, metric: record.metric, dimensions: record.dimensions },
            statistic: record.statistic,
            period: record.period,
            threshold: record.threshold,
            comparison: record.comparison,
            evaluation_periods: record.evaluation_periods,
            datapoints_to_alarm: record.datapoints_to_alarm,
            missing: record.missing,
            actions: AlarmActions {
                ok: read_actions(record.on_ok),
                alarm: read_actions(record.on_alarm),
                insufficient_data: read_actions(record.on_insufficient_data),
            },
        };
        Self {
            spec: Arc::new(spec),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for Alarm {
    const PREFIX: &'static str = "alarm";
    type Record = AlarmRecord;

    fn key(&self) -> Key {
        keys::alarm(&self.spec.name)
    }
}

record!(
    TransitionRecord = AlarmTransition {
        at_ms: u64,
        before: AlarmState,
        after: AlarmState,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
    }
);

record!(DeliveryRecord = Delivery { id: String, url: WebhookUrl, body: String, since_ms: u64 });

/// What is noted of an alarm.
#[derive(Serialize, Deserialize)]
pub(crate) struct AlarmNotesRecord {
    alarm: QualifiedName,
    alarm_created_at_ms: u64,
    state: AlarmState,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    changed_at_ms: u64,
    history: Vec<TransitionRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    undelivered: Vec<DeliveryRecord>,
}

impl From<&AlarmNotes> for AlarmNotesRecord {
    fn from(object: &AlarmNotes) -> Self {
        Self {
            alarm: object.alarm.clone(),
            alarm_created_at_ms: object.alarm_created_at_ms,
            state: object.state,
            reason: object.reason.clone(),
            value: object.value,
            changed_at_ms: object.changed_at_ms,
            history: object.history.iter().map(TransitionRecord::from).collect(),
            undelivered: object.undelivered.iter().map(DeliveryRecord::from).collect(),
        }
    }
}

impl From<AlarmNotesRecord> for AlarmNotes {
    fn from(record: AlarmNotesRecord) -> Self {
        Self {
            alarm: record.alarm,
            alarm_created_at_ms: record.alarm_created_at_ms,
            state: record.state,
            reason: record.reason,
            value: record.value,
            changed_at_ms: record.changed_at_ms,
            history: record.history.into_iter().map(AlarmTransition::from).collect(),
            undelivered: record.undelivered.into_iter().map(Delivery::from).collect(),
        }
    }
}

impl Stored for AlarmNotes {
    const PREFIX: &'static str = "alarmnotes";
    type Record = AlarmNotesRecord;

    fn key(&self) -> Key {
        keys::alarm_notes(&self.alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::check;

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let webhook = |url: &str| vec![AlarmAction::Webhook(url.parse().unwrap())];
        let plain = crate::alarms::tests::alarm("default/busy");
        check(
            &plain,
            r#"{"name":"default/busy","of":"service:default/web","metric":"CPUUtilization","statistic":"Average","period":"10s","threshold":"80","comparison":"GreaterThanThreshold","evaluation_periods":3,"datapoints_to_alarm":2,"missing":"missing","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let own = SeriesId {
            of: "namespace:default".parse().unwrap(),
            metric: "queue/depth".parse().unwrap(),
            dimensions: "queue=mails".parse().unwrap(),
        };
        let actions = AlarmActions {
            ok: webhook("http://a/ok"),
            alarm: webhook("http://a/alarm"),
            insufficient_data: webhook("http://a/none"),
        };
        let spec = AlarmSpec { metric: own, actions, ..(*plain.spec).clone() };
        check(
            &Alarm { spec: Arc::new(spec), ..plain },
            r#"{"name":"default/busy","of":"namespace:default","metric":"queue/depth","dimensions":"queue=mails","statistic":"Average","period":"10s","threshold":"80","comparison":"GreaterThanThreshold","evaluation_periods":3,"datapoints_to_alarm":2,"missing":"missing","on_ok":[{"webhook":"http://a/ok"}],"on_alarm":[{"webhook":"http://a/alarm"}],"on_insufficient_data":[{"webhook":"http://a/none"}],"created_at_ms":1,"updated_at_ms":2}"#,
        );
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let mut notes = crate::alarms::tests::notes("default/busy");
        notes.reason = "new".to_owned();
        check(
            &notes,
            r#"{"alarm":"default/busy","alarm_created_at_ms":1,"state":"INSUFFICIENT_DATA","reason":"new","changed_at_ms":1,"history":[]}"#,
        );
        let transition = AlarmTransition {
            at_ms: 5,
            before: AlarmState::InsufficientData,
            after: AlarmState::Alarm,
            reason: "busy".to_owned(),
            value: Some(90.5),
        };
        let post = Delivery {
            id: "07".to_owned(),
            url: "http://a/alarm".parse().unwrap(),
            body: "{}".to_owned(),
            since_ms: 5,
        };
        notes.change(transition, vec![post]);
        check(
            &notes,
            r#"{"alarm":"default/busy","alarm_created_at_ms":1,"state":"ALARM","reason":"busy","value":90.5,"changed_at_ms":5,"history":[{"at_ms":5,"before":"INSUFFICIENT_DATA","after":"ALARM","reason":"busy","value":90.5}],"undelivered":[{"id":"07","url":"http://a/alarm","body":"{}","since_ms":5}]}"#,
        );
    }
}
