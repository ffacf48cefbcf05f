//! Alarms: evaluated when their periods end, written down before anybody is told, posted until somebody takes it; over a restart
//! too, and kept while something follows them.

use crate::fixture::{Platform, name, namespace, until};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use skiff_api::{
    Alarm, ClientError, ErrorCode, EventDetail, EventQuery, MetricDatum, PageQuery, PutAlarm,
    PutDeploymentConfiguration, PutMetricData, PutService,
};
use skiff_control::{Recorded, recorded};
use skiff_ports::store::Key;
use skiff_ports::webhook::{WebhookError, WebhookPost, Webhooks};
use skiff_types::AlarmState;
use std::sync::Mutex;

/// Addresses that take what is posted, or answer as the test says.
#[derive(Default)]
pub(crate) struct Hooks {
    posts: Mutex<Vec<WebhookPost>>,
    refusal: Mutex<Option<WebhookError>>,
}

impl Hooks {
    /// The changes that were posted, each as the address, its id and its state; one for each attempt.
    fn posted(&self) -> Vec<(String, String, String)> {
        let told = |post: &WebhookPost| {
            let body: Value = serde_json::from_slice(&post.body).unwrap();
            assert_eq!(body["detail-type"], "CloudWatch Alarm State Change");
            assert_eq!(body["id"], post.id, "the id is the same in both places");
            let state = body["detail"]["state"]["value"].as_str().unwrap().to_owned();
            (post.url.to_string(), post.id.clone(), state)
        };
        self.posts.lock().unwrap().iter().map(told).collect()
    }

    fn answer(&self, refusal: Option<WebhookError>) {
        *self.refusal.lock().unwrap() = refusal;
    }
}

#[async_trait]
impl Webhooks for Hooks {
    async fn post(&self, post: WebhookPost) -> Result<(), WebhookError> {
        self.posts.lock().unwrap().push(post);
        self.refusal.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// An alarm of the largest queue of any second, which goes to one address as it is and to another when it is over.
fn wanted() -> PutAlarm {
    let body = json!({
        "metric": "queue/depth", "statistic": "Maximum", "period": "1s", "threshold": 10,
        "treat_missing_data": "ignore", "alarm_actions": ["http://hooks/alarm"], "ok_actions": ["http://hooks/ok"],
    });
    serde_json::from_value(body).unwrap()
}

async fn put(platform: &Platform, alarm: &str, body: &PutAlarm) -> Result<Alarm, ClientError> {
    platform.client.put_alarm(&namespace(), &name(alarm), body, None).await
}

async fn get(platform: &Platform, alarm: &str) -> Alarm {
    platform.client.get_alarm(&namespace(), &name(alarm)).await.unwrap()
}

/// Puts values of the metric until the alarm is in this state.
async fn driven_to(platform: &Platform, alarm: &str, depth: f64, state: AlarmState) -> Alarm {
    until(&format!("{alarm} is {state}"), || async {
        let datum = MetricDatum {
            metric: "queue/depth".parse().unwrap(),
            dimensions: Default::default(),
            at_ms: None,
            value: Some(depth),
            values: None,
            counts: None,
            statistics: None,
        };
        platform.client.put_metric_data(&namespace(), &PutMetricData { data: vec![datum] }).await.unwrap();
        let alarm = get(platform, alarm).await;
        (alarm.status.state == state).then_some(alarm)
    })
    .await
}

async fn delivered(platform: &Platform, alarm: &str) {
    until("everything is posted", || async {
        (get(platform, alarm).await.status.undelivered == 0).then_some(())
    })
    .await;
}

async fn history(platform: &Platform, alarm: &str) -> Vec<(AlarmState, AlarmState)> {
    let (client, query) = (&platform.client, PageQuery { limit: Some(1_000), cursor: None });
    let page = client.list_alarm_history(&namespace(), &name(alarm), &query).await.unwrap();
    let times: Vec<u64> = page.items.iter().map(|transition| transition.at_ms).collect();
    assert!(times.is_sorted_by(|one, two| one >= two), "{times:?}");
    page.items.iter().map(|transition| (transition.before, transition.after)).collect()
}

#[tokio::test]
async fn a_metric_that_goes_over_its_threshold_and_back_is_told_of() {
    let platform = Platform::start().await;
    let made = put(&platform, "deep", &wanted()).await.unwrap();
    assert_eq!((made.status.state, made.status.evaluated_at_ms), (AlarmState::InsufficientData, None));
    let deep = driven_to(&platform, "deep", 11.0, AlarmState::Alarm).await;
    assert!(deep.status.reason.contains("> 10"), "{}", deep.status.reason);
    let calm = driven_to(&platform, "deep", 10.0, AlarmState::Ok).await;
    assert!(calm.status.since_ms > deep.status.since_ms, "{calm:?}");
    assert_eq!(
        history(&platform, "deep").await,
        [(AlarmState::Alarm, AlarmState::Ok), (AlarmState::InsufficientData, AlarmState::Alarm)]
    );
    delivered(&platform, "deep").await;
    let posted = platform.hooks.posted();
    let told: Vec<(&str, &str)> =
        posted.iter().map(|(url, _, state)| (url.as_str(), state.as_str())).collect();
    assert_eq!(told, [("http://hooks/alarm", "ALARM"), ("http://hooks/ok", "OK")]);

    let changes = until("both are on the stream", || async {
        let changes = changes(&platform).await;
        (changes.len() >= 2).then_some(changes)
    })
    .await;
    assert_eq!(
        changes,
        [(AlarmState::InsufficientData, AlarmState::Alarm), (AlarmState::Alarm, AlarmState::Ok)]
    );
}

/// What the stream of events tells of alarms.
async fn changes(platform: &Platform) -> Vec<(AlarmState, AlarmState)> {
    let events = platform.client.read_events(&namespace(), &EventQuery::default()).await.unwrap();
    let events: Vec<_> = events.map(|event| event.unwrap().detail).collect().await;
    let change = |detail: EventDetail| {
        let EventDetail::AlarmStateChange(change) = detail else { return None };
        Some((change.previous_state.value, change.state.value))
    };
    events.into_iter().filter_map(change).collect()
}

#[tokio::test]
async fn what_nobody_took_is_posted_by_the_next_life_under_the_same_id() {
    let platform = Platform::start().await;
    platform.hooks.answer(Some(WebhookError::Failed("nobody is there".to_owned())));
    put(&platform, "deep", &wanted()).await.unwrap();
    driven_to(&platform, "deep", 11.0, AlarmState::Alarm).await;
    let tried = until("it is tried twice", || async {
        let posted = platform.hooks.posted();
        (posted.len() >= 2).then_some(posted)
    })
    .await;
    assert_eq!(tried[0], tried[1]);
    assert_eq!(get(&platform, "deep").await.status.undelivered, 1);

    let platform = Platform::start_on(platform.stop().await).await;
    let deep = get(&platform, "deep").await;
    assert_eq!((deep.status.state, history(&platform, "deep").await.len()), (AlarmState::Alarm, 1));
    delivered(&platform, "deep").await;
    assert_eq!(platform.hooks.posted(), [tried[0].clone()]);
}

#[tokio::test]
async fn a_deployment_that_begins_before_an_alarm_is_evaluated_again_goes_by_what_is_noted_of_it() {
    let platform = Platform::start().await;
    put(&platform, "deep", &wanted()).await.unwrap();
    driven_to(&platform, "deep", 11.0, AlarmState::Alarm).await;
    // From now on only when a minute ends.
    put(&platform, "deep", &PutAlarm { period: None, ..wanted() }).await.unwrap();

    let platform = Platform::start_on(platform.stop().await).await;
    platform.push("web", "http").await;
    platform.register("web", "web").await;
    let deployment = PutDeploymentConfiguration { alarms: Some(vec![name("deep")]), ..Default::default() };
    let body = PutService { deployment: Some(deployment), ..crate::fixture::wanted("web", 1) };
    platform.client.put_service(&namespace(), &name("web"), &body, None).await.unwrap();
    platform.completed("web").await;
    let notes = platform.disk.store.list(&Key::parse("status").unwrap()).await.unwrap().entries;
    let unwatched = notes.iter().find_map(|entry| match recorded(&entry.key, &entry.value)? {
        Recorded::Rollout { rollout, .. } => Some(rollout?.unwatched),
        Recorded::Task(_) | Recorded::Service(_) | Recorded::Other => None,
    });
    assert_eq!(unwatched, Some(vec![name("deep")]), "it was in ALARM when the deployment began");
}

#[tokio::test]
async fn what_is_refused_for_good_is_given_up() {
    let platform = Platform::start().await;
    platform.hooks.answer(Some(WebhookError::Refused("no".to_owned())));
    put(&platform, "deep", &wanted()).await.unwrap();
    driven_to(&platform, "deep", 11.0, AlarmState::Alarm).await;
    delivered(&platform, "deep").await;
    assert_eq!(platform.hooks.posted().len(), 1);
}

#[tokio::test]
async fn an_alarm_of_a_service_is_evaluated_though_nobody_calls_it() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    let body = json!({
        "metric": "RunningTaskCount", "service": "hello", "period": "1s", "threshold": 1,
        "comparison": "LessThanThreshold",
    });
    put(&platform, "gone", &serde_json::from_value(body).unwrap()).await.unwrap();
    let state = |expected: AlarmState| {
        let platform = &platform;
        until("the alarm follows", move || async move {
            (get(platform, "gone").await.status.state == expected).then_some(())
        })
    };
    state(AlarmState::Ok).await;
    platform.put("hello", "hello", 0).await;
    state(AlarmState::Alarm).await;
}

#[tokio::test]
async fn an_alarm_is_changed_as_a_whole_and_starts_over_when_it_is_made_anew() {
    let platform = Platform::start().await;
    put(&platform, "deep", &wanted()).await.unwrap();
    let deep = driven_to(&platform, "deep", 11.0, AlarmState::Alarm).await;
    // What is left out has its default again; the state stays.
    let plain = PutAlarm { period: None, alarm_actions: vec![], ok_actions: vec![], ..wanted() };
    let changed = put(&platform, "deep", &plain).await.unwrap();
    assert_eq!((changed.period, changed.alarm_actions.len()), (PutAlarm::PERIOD_DEFAULT, 0));
    assert_eq!((changed.status.state, changed.status.since_ms), (AlarmState::Alarm, deep.status.since_ms));
    let stale = platform.client.put_alarm(&namespace(), &name("deep"), &plain, Some(deep.revision)).await;
    assert_eq!(stale.unwrap_err().code(), Some(ErrorCode::PreconditionFailed));

    platform.client.delete_alarm(&namespace(), &name("deep"), None).await.unwrap();
    let missing = platform.client.get_alarm(&namespace(), &name("deep")).await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NotFound));
    let anew = put(&platform, "deep", &plain).await.unwrap();
    assert_eq!(anew.status.state, AlarmState::InsufficientData);
    assert!(history(&platform, "deep").await.is_empty());
}

#[tokio::test]
async fn an_alarm_that_a_scaling_policy_follows_stays_until_it_does_not() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    put(&platform, "deep", &wanted()).await.unwrap();
    let step = json!({ "name": "deep", "alarm": "deep", "steps": [{ "lower": 0, "change": 1 }] });
    let scaling = json!({ "min": 1, "max": 4, "policies": [{ "step": step }] });
    let (client, scaling) = (&platform.client, serde_json::from_value(scaling).unwrap());
    client.put_scaling(&namespace(), &name("hello"), &scaling, None).await.unwrap();
    let refused = client.delete_alarm(&namespace(), &name("deep"), None).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::FailedPrecondition));
    let expected = "the scaling of the service default/hello names the alarm default/deep";
    assert!(refused.to_string().starts_with(expected), "{refused}");
    client.delete_scaling(&namespace(), &name("hello"), None).await.unwrap();
    client.delete_alarm(&namespace(), &name("deep"), None).await.unwrap();
}

#[tokio::test]
async fn what_is_not_measured_or_can_not_be_evaluated_is_refused() {
    let platform = Platform::start().await;
    let refused = async |more: Value| {
        let mut body = json!({ "metric": "jobs", "threshold": 1 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = put(&platform, "bad", &serde_json::from_value(body).unwrap()).await.unwrap_err();
        (error.code(), error.to_string())
    };
    let (code, message) = refused(json!({ "service": "hello" })).await;
    assert_eq!(code, Some(ErrorCode::NotFound));
    assert!(message.contains("CPUUtilization"), "{message}");
    let (code, message) = refused(json!({ "period": "1ms" })).await;
    assert_eq!(code, Some(ErrorCode::InvalidArgument));
    assert!(message.contains("whole seconds"), "{message}");
    let (_, message) = refused(json!({ "evaluation_periods": 2, "datapoints_to_alarm": 3 })).await;
    assert!(message.contains("3 datapoints of 2"), "{message}");
    let (_, message) = refused(json!({ "ok_actions": ["http://me:secret@hooks/"] })).await;
    assert!(message.contains("user name and password"), "{message}");
    let listed = platform.client.list_alarms(&namespace(), &PageQuery::default()).await.unwrap();
    assert!(listed.items.is_empty());
}
