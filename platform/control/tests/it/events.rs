//! The stream of events: what happens is on it, in order and once, for whoever reads, over restarts.

use crate::fixture::{Disk, Platform, name, namespace, until};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use skiff_api::{Event, EventDetail, EventQuery, PutEventRule, PutQueue, ReceiveMessages};
use skiff_ports::journal::{EventFilter, Forget, Journal, JournalQuery, Marks, Note, Take};
use skiff_ports::store::StoreError;
use skiff_types::{
    DeploymentEventName, EventLevel, EventType, ServiceActionName, StopCode, TaskId, TaskStatus,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A journal that takes nothing in, or shows nothing, while it is told not to: as one that a process did not come to before it was
/// killed.
struct Shut {
    journal: Arc<dyn Journal>,
    takes_nothing: AtomicBool,
    shows_nothing: AtomicBool,
}

impl Shut {
    /// The disk as it is, and the same with such a journal.
    fn on(disk: &Disk) -> (Arc<Self>, Disk) {
        let (takes_nothing, shows_nothing) = (AtomicBool::new(false), AtomicBool::new(false));
        let shut = Arc::new(Self { journal: disk.journal.clone(), takes_nothing, shows_nothing });
        (shut.clone(), Disk { journal: shut, ..disk.clone() })
    }
}

#[async_trait]
impl Journal for Shut {
    async fn append(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        if self.takes_nothing.load(Relaxed) {
            return Err(StoreError::Storage("the test has shut it".into()));
        }
        self.journal.append(notes).await
    }

    async fn marks(&self) -> Result<Marks, StoreError> {
        self.journal.marks().await
    }

    async fn read(&self, query: JournalQuery) -> Result<Vec<skiff_types::Event>, StoreError> {
        if self.shows_nothing.load(Relaxed) {
            return Ok(vec![]);
        }
        self.journal.read(query).await
    }

    async fn forget(&self, forget: Forget) -> Result<u64, StoreError> {
        self.journal.forget(forget).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.journal.sync().await
    }
}

async fn read(platform: &Platform, query: EventQuery) -> Vec<Event> {
    let events = platform.client.read_events(&namespace(), &query).await.unwrap();
    events.map(Result::unwrap).collect().await
}

fn of_type(event_type: EventType) -> EventQuery {
    EventQuery { types: vec![event_type], ..EventQuery::default() }
}

/// The states of a task, and whether it was to end, as they are on the stream.
fn life(events: &[Event], id: TaskId) -> Vec<(TaskStatus, bool)> {
    let change = |event: &Event| {
        let EventDetail::TaskStateChange(change) = &event.detail else { return None };
        let state = (change.last_status, change.desired_status == TaskStatus::Stopped);
        (change.task == id).then_some(state)
    };
    events.iter().filter_map(change).collect()
}

fn actions(events: &[Event]) -> Vec<ServiceActionName> {
    let action = |event: &Event| {
        let EventDetail::ServiceAction(action) = &event.detail else { return None };
        Some(action.event_name)
    };
    events.iter().filter_map(action).collect()
}

fn deployments(events: &[Event]) -> Vec<DeploymentEventName> {
    let state = |event: &Event| {
        let EventDetail::DeploymentStateChange(change) = &event.detail else { return None };
        Some(change.event_name)
    };
    events.iter().filter_map(state).collect()
}

/// Waits until the stream has all that is to come of a task that has stopped.
async fn ended(platform: &Platform, id: TaskId) -> Vec<Event> {
    let query = EventQuery { task: Some(id), ..EventQuery::default() };
    until("the task's end is on the stream", || async {
        let events = read(platform, query.clone()).await;
        let last = life(&events, id).last().copied();
        last.is_some_and(|(status, _)| status == TaskStatus::Stopped).then_some(events)
    })
    .await
}

fn assert_in_order(events: &[Event]) {
    assert!(events.is_sorted_by(|one, next| one.id < next.id), "{events:?}");
}

#[tokio::test]
async fn a_job_is_told_of_from_the_first_state_to_the_last() {
    let platform = Platform::start().await;
    platform.push("job", "exit 3").await;
    platform.register("job", "job").await;
    let task = platform.run("job").await;
    let events = ended(&platform, task.id).await;
    assert_in_order(&events);
    let mut states: Vec<TaskStatus> = life(&events, task.id).into_iter().map(|(status, _)| status).collect();
    states.dedup();
    assert_eq!(states.first(), Some(&TaskStatus::Provisioning));
    assert_eq!(states.last(), Some(&TaskStatus::Stopped));
    assert!(states.is_sorted(), "{states:?}");
    let last = events.last().unwrap();
    let EventDetail::TaskStateChange(change) = &last.detail else { panic!("{last:?}") };
    assert_eq!((change.stop_code, change.exit_code), (Some(StopCode::Exited), Some(3)));
    assert_eq!(last.source.as_str(), "skiff.ecs");
    assert_eq!(last.resources.len(), 1, "no service started it");
    let stopped_at = change.stopped_at.as_ref().unwrap();
    assert!(last.message.contains("has stopped (Exited)") && last.time == *stopped_at, "{last:?}");
}

#[tokio::test]
async fn a_service_is_told_of_by_its_deployments_its_actions_and_its_tasks() {
    let platform = Platform::start().await;
    platform.deploy("web", "daemon", 2).await;
    platform.completed("web").await;
    platform.deploy("other", "http", 1).await;
    platform.completed("other").await;
    let victim = platform.running("web").await.remove(0).id;
    platform.node.end(victim, None, StopCode::Trapped);
    ended(&platform, victim).await;
    platform.completed("web").await;
    let of_web = EventQuery { services: vec![name("web")], ..EventQuery::default() };
    let events = until("the failure is told of", || async {
        let events = read(&platform, of_web.clone()).await;
        actions(&events).contains(&ServiceActionName::TasksStopped).then_some(events)
    })
    .await;
    assert_in_order(&events);
    assert!(
        events.iter().all(|event| event.resources.iter().any(|one| one.to_string() == "service/default/web"))
    );
    assert_eq!(deployments(&events), [DeploymentEventName::InProgress, DeploymentEventName::Completed]);
    assert!(actions(&events).contains(&ServiceActionName::SteadyState), "{events:?}");
    let failure = events.iter().find(|event| event.message.contains("ended:")).expect("a sentence");
    assert!(failure.resources.iter().any(|one| one.to_string() == format!("task/default/{victim}")));
    let EventDetail::ServiceAction(action) = &failure.detail else { panic!("{failure:?}") };
    assert_eq!((action.event_name, action.event_type), (ServiceActionName::TasksStopped, EventLevel::Info));

    let all = read(&platform, EventQuery::default()).await;
    assert!(all.len() > events.len(), "the other service is told of, too");
    let tasks = read(&platform, of_type(EventType::Task)).await;
    assert!(!tasks.is_empty());
    assert!(tasks.iter().all(|event| matches!(event.detail, EventDetail::TaskStateChange(_))));
    let tail = read(&platform, EventQuery { tail: Some(3), ..of_web.clone() }).await;
    let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
    let again = read(&platform, of_web).await;
    assert!(again.len() >= events.len() && tail.len() >= 3);
    assert_eq!(ids(&again)[..events.len()], ids(&events));
    assert!(read(&platform, of_type(EventType::Alarm)).await.is_empty());
    let types = vec![EventType::Deployment, EventType::Service];
    let several = read(&platform, EventQuery { types, ..EventQuery::default() }).await;
    assert!(!deployments(&several).is_empty() && !actions(&several).is_empty(), "{several:?}");
    assert!(several.iter().all(|event| !matches!(event.detail, EventDetail::TaskStateChange(_))));
}

#[tokio::test]
async fn who_follows_sees_all_of_it_once_and_what_was_before_is_there_after_a_restart() {
    let platform = Platform::start().await;
    platform.push("job", "exit 0").await;
    platform.register("job", "job").await;
    let first = platform.run("job").await.id;
    let before = ended(&platform, first).await;
    let follow = EventQuery { follow: Some(true), ..of_type(EventType::Task) };
    let mut followed = platform.client.read_events(&namespace(), &follow).await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(platform.run("job").await.id);
    }
    let (mut seen, mut left) = (Vec::new(), jobs.len() + 1);
    while left > 0 {
        let next = tokio::time::timeout(Duration::from_secs(20), followed.next()).await;
        let event = next.expect("the stream goes on").expect("it does not end").unwrap();
        let EventDetail::TaskStateChange(change) = &event.detail else { panic!("{event:?}") };
        left -= usize::from(change.last_status == TaskStatus::Stopped);
        seen.push(event);
    }
    assert_in_order(&seen);
    assert_eq!(seen[..before.len()], before);
    for id in &jobs {
        let states = life(&seen, *id);
        assert_eq!(states.first(), Some(&(TaskStatus::Provisioning, false)), "{states:?}");
        assert_eq!(states.last(), Some(&(TaskStatus::Stopped, true)), "{states:?}");
        assert!(states.is_sorted(), "{states:?}");
    }
    let mut late = platform.client.read_events(&namespace(), &follow).await.unwrap();
    for event in &seen {
        assert_eq!(late.next().await.unwrap().unwrap(), *event);
    }
    drop((followed, late));

    let disk = platform.stop().await;
    let platform = Platform::start_on(disk).await;
    assert_eq!(read(&platform, of_type(EventType::Task)).await, seen);
    let next = platform.run("job").await.id;
    let events = ended(&platform, next).await;
    assert!(events[0].id > seen.last().unwrap().id, "ids go on over a restart");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_a_process_did_not_come_to_tell_the_next_one_tells_once() {
    let disk = Disk::new();
    let (journal, shut) = Shut::on(&disk);
    let platform = Platform::start_on(shut).await;
    platform.push("job", "exit 3").await;
    platform.register("job", "job").await;
    let told = platform.run("job").await.id;
    let before = ended(&platform, told).await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    until("the service is steady", || async {
        let events = read(&platform, of_type(EventType::Service)).await;
        actions(&events).contains(&ServiceActionName::SteadyState).then_some(())
    })
    .await;
    journal.takes_nothing.store(true, Relaxed);
    let untold = platform.run("job").await.id;
    platform.reaches(untold, TaskStatus::Stopped).await;
    let definition = platform.service("web").await.spec.definition.to_string();
    platform.put("web", &definition, 2).await;
    platform.completed("web").await;
    let of_untold = EventQuery { task: Some(untold), ..EventQuery::default() };
    assert!(read(&platform, of_untold.clone()).await.is_empty());
    platform.stop().await;

    for _ in 0..2 {
        let platform = Platform::start_on(disk.clone()).await;
        let events = ended(&platform, untold).await;
        assert_eq!(life(&events, untold), [(TaskStatus::Stopped, true)], "what it is, and not what it was");
        // What a service tells it has in a list.
        let scaled = until("the service is told to be scaled", || async {
            let events = read(&platform, of_type(EventType::Service)).await;
            let scaled = |event: &&Event| event.message.contains("to a desired count of 2");
            let found = events.iter().filter(scaled).count();
            (found > 0).then_some(found)
        })
        .await;
        assert_eq!(scaled, 1);
        let all = read(&platform, of_type(EventType::Task)).await;
        assert_eq!(life(&all, told), life(&before, told));
        assert_in_order(&all);
        platform.stop().await;
    }
}

#[tokio::test]
async fn a_rule_is_told_what_was_recorded_since_it_is_there_whatever_ended_meanwhile() {
    let disk = Disk::new();
    let (journal, shut) = Shut::on(&disk);
    let platform = Platform::start_on(shut).await;
    platform.push("job", "exit 3").await;
    platform.register("job", "job").await;
    let before = platform.run("job").await.id;
    ended(&platform, before).await;
    // From here on nothing comes from the journal to the buses.
    journal.shows_nothing.store(true, Relaxed);
    let (here, queue) = (namespace(), name("ended"));
    platform.client.put_queue(&here, &queue, &PutQueue::default(), None).await.unwrap();
    let rule = json!({
        "pattern": { "source": ["skiff.ecs"], "detail": { "lastStatus": ["STOPPED"] } },
        "targets": [{ "id": "ended", "to": { "queue": { "name": "ended" } } }],
    });
    let rule: PutEventRule = serde_json::from_value(rule).unwrap();
    platform.client.put_event_rule(&here, &name("ended"), &rule, None).await.unwrap();
    let since = platform.run("job").await.id;
    let filter = EventFilter { task: Some(since), ..EventFilter::default() };
    let query = JournalQuery { after: None, filter, take: Take::Newest(1) };
    until("its end is in the journal", || async {
        let last = disk.journal.read(query.clone()).await.unwrap().pop()?;
        last.message.contains("has stopped").then_some(())
    })
    .await;
    platform.stop().await;

    let platform = Platform::start_on(disk).await;
    let receive: ReceiveMessages = serde_json::from_value(json!({ "wait": "0ms" })).unwrap();
    let receive = &ReceiveMessages { delete: true, ..receive };
    let message = until("it is told of", || async {
        let received = platform.client.receive_messages(&namespace(), &name("ended"), receive).await.unwrap();
        received.messages.into_iter().next()
    })
    .await;
    let event: Value = serde_json::from_str(message.body.as_deref().unwrap()).unwrap();
    assert_eq!(event["detail"]["task"], since.to_string(), "what was before the rule is not told: {event}");
}

#[tokio::test]
async fn what_is_gone_is_told_of_and_what_never_was_is_a_mistake() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    platform.client.delete_service(&namespace(), &name("web"), None).await.unwrap();
    platform.gone("web").await;
    let of = |service: &str| EventQuery { services: vec![name(service)], ..EventQuery::default() };
    assert!(!read(&platform, of("web")).await.is_empty());
    let both = EventQuery { services: vec![name("web"), name("never")], ..EventQuery::default() };
    let refused = platform.client.read_events(&namespace(), &both).await.map(drop).unwrap_err();
    assert_eq!(refused.to_string(), "there is no service never in default");
    let never = platform.client.read_events(&namespace(), &of("never")).await.map(drop);
    assert_eq!(never.unwrap_err().code(), Some(skiff_api::ErrorCode::NotFound));
}
