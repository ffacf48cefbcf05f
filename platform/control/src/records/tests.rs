//! What is written is read again, and so is what older versions wrote.

use super::*;
use crate::model::{Definition, TaskObject};
use skiff_plan::shift::{Shift, Stage};
use skiff_types::{
    CircuitBreaker, DEFAULT_STOP_TIMEOUT, DeploymentConfiguration, Group, Health, Kind, Placement, Restart,
    RolloutState, ServiceActionName, Span, StoppedReason, Strategy, Task, TaskAddress, TaskStatus,
};
use std::fmt::Debug;

/// An object is written like this, and read from that again.
#[track_caller]
pub(super) fn check<T: Stored + PartialEq + Debug>(object: &T, written: &str) {
    let written = format!(r#"{{"version":1,"object":{written}}}"#);
    assert_eq!(String::from_utf8(object.encode().unwrap().to_vec()).unwrap(), written);
    assert_eq!(&T::decode(written.as_bytes()).unwrap(), object);
}

fn image() -> Image {
    Image {
        namespace: Namespace::default(),
        repository: "team/hello".to_owned(),
        tag: "v1.0".to_owned(),
        manifest: Digest::from_bytes([1; 32]),
        component: Digest::from_bytes([2; 32]),
        component_bytes: 72_000,
        created_at_ms: 1,
        updated_at_ms: 2,
    }
}

fn notes() -> ServiceNotes {
    let mut notes = ServiceNotes::new("default/hello".parse().unwrap(), 7);
    notes.counted.push(TaskId::from_parts(9, [3; 10]));
    notes.asleep = Some(Asleep { since_ms: 8, said_at_ms: 7 });
    notes.definition = Some("hello:3".parse().unwrap());
    notes.rollout = Some(Rollout {
        id: DeploymentId::from_parts(9, [4; 10]),
        for_: DeploymentId::from_parts(8, [5; 10]),
        definition: "hello:2".parse().unwrap(),
        state: RolloutState::InProgress,
        reason: "3 of its tasks failed".to_owned(),
        failed_tasks: 1,
        counted: vec![TaskId::from_parts(9, [3; 10])],
        failed_at_ms: 10,
        completed: None,
        began_at_ms: 9,
        changed_at_ms: 9,
        rolled_back_from: Some("hello:3".parse().unwrap()),
        is_paused: false,
        unwatched: vec![],
        shift: None,
    });
    let event = |at_ms| ServiceEvent {
        at_ms,
        name: Some(ServiceActionName::TasksStopped.into()),
        message: "a task ended".to_owned(),
        task: None,
        stop_code: Some(StopCode::Exited),
    };
    (0..30).for_each(|at_ms| notes.note(event(at_ms)));
    notes
}

fn task() -> TaskObject {
    let task = Task {
        id: TaskId::from_parts(5, [9; 10]),
        namespace: Namespace::default(),
        definition: "job:1".parse().unwrap(),
        group: Group::Family("job".parse().unwrap()),
        overrides: Some(Command {
            arguments: vec!["a".to_owned()],
            environment: [("K".to_owned(), "V".to_owned())].into(),
            stdin: None,
        }),
        node: Some("local".parse().unwrap()),
        address: Some(TaskAddress {
            v4: "10.64.0.16".parse().unwrap(),
            v6: "fd73:6b69:6666::10".parse().unwrap(),
        }),
        status: TaskStatus::Stopped,
        stop: Some(StoppedReason { code: StopCode::Exited, message: "exited with 3".to_owned() }),
        exit_code: Some(3),
        health: Health::Unchecked,
        health_reason: None,
        restarts: 0,
        last_stop: None,
        attempt: 2,
        created_at_ms: 5,
        start_after_ms: 6,
        started_at_ms: Some(7),
        ready_at_ms: Some(7),
        stopped_at_ms: Some(8),
    };
    let constraints = vec!["memberOf(attribute:zone == a)".parse().unwrap()];
    let placement = Placement { constraints, ..Placement::default() };
    TaskObject { task, kind: Kind::Command, placement, updated_at_ms: 8 }
}

/// One that was started again, and is unhealthy.
fn daemon() -> TaskObject {
    let TaskObject { task, kind, placement, updated_at_ms } = task();
    let task = Task {
        status: TaskStatus::Running,
        last_stop: task.stop,
        stop: None,
        exit_code: None,
        health: Health::Unhealthy,
        health_reason: Some("refused".to_owned()),
        restarts: 2,
        ready_at_ms: Some(9),
        stopped_at_ms: None,
        ..task
    };
    TaskObject { task, kind, placement, updated_at_ms }
}

#[test]
fn objects_come_back_from_disk_as_they_were() {
    assert_eq!(Image::decode(&image().encode().unwrap()).unwrap(), image());
    assert_eq!(TaskObject::decode(&task().encode().unwrap()).unwrap(), task());
    assert_eq!(TaskObject::decode(&daemon().encode().unwrap()).unwrap(), daemon());
    let mut starting = daemon();
    (starting.task.health, starting.task.ready_at_ms) = (Health::Starting, None);
    assert_eq!(TaskObject::decode(&starting.encode().unwrap()).unwrap(), starting);
    let notes = notes();
    assert_eq!(notes.events.len(), ServiceNotes::EVENTS_MAX);
    assert_eq!(notes.events[0].at_ms, 29);
    assert_eq!(ServiceNotes::decode(&notes.encode().unwrap()).unwrap(), notes);
}

#[test]
fn only_steps_of_a_services_task_wait_for_no_drive() {
    let mut object = task();
    object.task.group = Group::Service("web".parse().unwrap());
    let stop = object.task.stop.take();
    object.task.status = TaskStatus::Running;
    assert_eq!(object.durability(), Durability::System);
    object.task.stop = stop;
    assert_eq!(object.durability(), Durability::Drive, "somebody was told that it is to stop");
    object.task.group = Group::Family("job".parse().unwrap());
    object.task.stop = None;
    assert_eq!(object.durability(), Durability::Drive, "it may not begin twice");
    assert_eq!(notes().durability(), Durability::Drive);
}

#[test]
fn what_is_on_disk_today_is_read_tomorrow() {
    let text = String::from_utf8(task().encode().unwrap().to_vec()).unwrap();
    let written = r#"{"version":1,"object":{"id":"00000000000579098909090909090909","namespace":"default","definition":"job:1","kind":"command","placement":{"constraints":["memberOf(attribute:zone == a)"]},"group":"family:job","overrides":{"arguments":["a"],"environment":{"K":"V"}},"node":"local","address":{"v4":"10.64.0.16","v6":"fd73:6b69:6666::10"},"status":"STOPPED","stop":{"code":"Exited","message":"exited with 3"},"exit_code":3,"health":"unchecked","restarts":0,"attempt":2,"created_at_ms":5,"updated_at_ms":8,"start_after_ms":6,"started_at_ms":7,"stopped_at_ms":8}}"#;
    assert_eq!(text, written);
}

#[test]
fn what_was_on_disk_before_there_was_a_network_is_read() {
    let without = |text: &str, part: &str| {
        assert!(text.contains(part), "{text}");
        text.replace(part, "")
    };
    let text = String::from_utf8(task().encode().unwrap().to_vec()).unwrap();
    let before = without(&text, r#""address":{"v4":"10.64.0.16","v6":"fd73:6b69:6666::10"},"#);
    assert_eq!(TaskObject::decode(before.as_bytes()).unwrap().task.address, None);
    let service = r#"{"version":1,"object":{"namespace":"default","spec":{"name":"a","definition":"a:1","desired":1,"hosts":[],"paths":[]},"created_at_ms":1,"updated_at_ms":1,"deployed_at_ms":1,"removed":false}}"#;
    let service = Service::decode(service.as_bytes()).unwrap();
    assert_eq!(service.spec.security_groups, None);
    assert!(!String::from_utf8_lossy(&service.encode().unwrap()).contains("security_groups"));
}

#[test]
fn what_was_on_disk_before_there_were_daemons_is_read() {
    let written = r#"{"version":1,"object":{"id":"00000000000579098909090909090909","namespace":"default","definition":"job:1","kind":"command","group":"family:job","overrides":{"arguments":["a"],"environment":{"K":"V"}},"address":{"v4":"10.64.0.16","v6":"fd73:6b69:6666::10"},"status":"STOPPED","stop":{"code":"Exited","message":"exited with 3"},"exit_code":3,"attempt":2,"created_at_ms":5,"updated_at_ms":8,"start_after_ms":6,"started_at_ms":7,"stopped_at_ms":8}}"#;
    let mut task = task();
    (task.task.node, task.placement) = (None, Placement::default());
    assert_eq!(TaskObject::decode(written.as_bytes()).unwrap(), task);
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let written = r#"{"version":1,"object":{"namespace":"default","id":"a:1","image":"a:1","component":"DIGEST","requested":{"cpu":null,"memory":null,"timeout":null,"concurrency":null,"queue":null,"request_body":null,"response_body":null,"log_rate":null,"reuse":null},"limits":{"cpu":"256","memory":"128MiB","timeout":"30s","concurrency":100,"queue":100,"request_body":"10MiB","response_body":"100MiB","log_rate":"1MiB"},"command":{"arguments":[],"environment":{}},"report":{"kind":"command","generation":"0.2","imports":[],"exports":[],"minimum_memory_bytes":1,"component_bytes":1,"native_bytes":1,"compile_ms":1,"initialization":null},"created_at_ms":1,"deregistered":false}}"#;
    let mut definition = Definition::decode(written.replace("DIGEST", digest).as_bytes()).unwrap();
    assert_eq!((definition.definition.port, definition.definition.restart), (None, Restart::Never));
    assert_eq!(definition.definition.stop_timeout, DEFAULT_STOP_TIMEOUT);

    definition.definition.port = Some(6379);
    definition.definition.health_check.unhealthy = 7;
    definition.definition.stop_timeout = Span::from_ms(5_000);
    definition.definition.restart = Restart::OnFailure;
    assert_eq!(Definition::decode(&definition.encode().unwrap()).unwrap(), definition);
}

#[test]
fn how_weight_moves_is_kept_and_an_older_deployment_rolls() {
    let mut configuration = DeploymentConfiguration {
        alarms: vec!["slow".parse().unwrap()],
        test_hosts: vec!["green.example".parse().unwrap()],
        ..DeploymentConfiguration::default()
    };
    let bake = Span::from_ms(7);
    for strategy in [
        Strategy::Rolling,
        Strategy::BlueGreen { bake },
        Strategy::Canary { percent: 5, canary_bake: bake, bake },
        Strategy::Linear { step_percent: 20, step_bake: bake, bake },
    ] {
        configuration.strategy = strategy;
        let record = DeploymentConfigurationRecord::from(configuration.clone());
        let written = serde_json::to_string(&record).unwrap();
        let read: DeploymentConfigurationRecord = serde_json::from_str(&written).unwrap();
        assert_eq!(DeploymentConfiguration::from(read), configuration);
    }
    let old = r#"{"min_healthy_percent":100,"max_percent":200,"circuit_breaker":"rollback"}"#;
    let read: DeploymentConfigurationRecord = serde_json::from_str(old).unwrap();
    assert_eq!(DeploymentConfiguration::from(read), DeploymentConfiguration::default());

    let old = r#"{"id":"0193f0c5c00070008000000000000002","definition":"a:2","state":"IN_PROGRESS","reason":"","failed_tasks":0,"counted":[],"failed_at_ms":0,"completed":"a:1","began_at_ms":1,"changed_at_ms":1}"#;
    let record: RolloutRecord = serde_json::from_str(old).unwrap();
    let mut rollout = Rollout::from(record);
    assert!(!rollout.is_paused && rollout.shift.is_none() && rollout.unwatched.is_empty());
    let begun = Shift::begin("a:1".parse().unwrap(), "a:2".parse().unwrap(), 5);
    rollout.unwatched = vec!["slow".parse().unwrap()];
    rollout.is_paused = true;
    for stage in [Stage::Forward, Stage::CleanUp, Stage::Back] {
        rollout.shift = Some(Shift { stage, percent: 10, step: 1, held_ms: Some(3), ..begun.clone() });
        let written = serde_json::to_string(&RolloutRecord::from(&rollout)).unwrap();
        let read: RolloutRecord = serde_json::from_str(&written).unwrap();
        assert_eq!(Rollout::from(read), rollout);
    }
}

#[test]
fn a_newer_or_damaged_record_is_an_error() {
    let newer = br#"{"version":2,"thing":[]}"#;
    assert!(matches!(TaskObject::decode(newer), Err(RecordError::Newer(2))));
    for damaged in [&b""[..], b"{}", b"\xff", br#"{"version":1,"object":{}}"#] {
        assert!(matches!(TaskObject::decode(damaged), Err(RecordError::Damaged(_))));
    }
}

#[test]
fn what_was_on_disk_before_deployments_had_names_is_read() {
    let service = r#"{"version":1,"object":{"namespace":"default","spec":{"name":"a","definition":"a:1","desired":1,"hosts":[],"paths":[]},"created_at_ms":1,"updated_at_ms":1,"deployed_at_ms":7,"removed":false}}"#;
    let mut service = Service::decode(service.as_bytes()).unwrap();
    assert_eq!(service.spec.deployment, DeploymentConfiguration::default());
    assert_eq!(service.deployment, DeploymentId::from_parts(7, [0; 10]));
    assert_eq!((service.is_paused, service.aborted), (false, None));
    service.is_paused = true;
    service.aborted = Some(service.deployment);
    service.spec.deployment.grace = Some(Span::from_ms(30_000));
    service.spec.deployment.circuit_breaker = CircuitBreaker::Stop;
    assert_eq!(Service::decode(&service.encode().unwrap()).unwrap(), service);

    let notes = r#"{"version":1,"object":{"service":"default/a","service_created_at_ms":1,"restarts":0,"counted":[],"events":[],"definition":"a:1","desired":1,"completed":true}}"#;
    assert_eq!(ServiceNotes::decode(notes.as_bytes()).unwrap().rollout, None);
}
