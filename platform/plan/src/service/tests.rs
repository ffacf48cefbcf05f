//! Properties of the service planner, on a small model of a service that applies its actions and lets tasks live.

use super::*;
use proptest::prelude::*;
use skiff_types::{Group, Namespace, TaskDefinitionId};

fn definition(revision: u32) -> TaskDefinitionId {
    TaskDefinitionId { family: "hello".parse().unwrap(), revision }
}

fn spec(revision: u32, desired: u32) -> ServiceSpec {
    ServiceSpec {
        name: "hello".parse().unwrap(),
        definition: definition(revision),
        desired,
        hosts: vec![],
        paths: vec![],
        security_groups: None,
        listen: vec![],
    }
}

/// A service in miniature: its tasks, and a clock.
struct Model {
    known: Known,
    tasks: Vec<Task>,
    now_ms: u64,
    made: u8,
}

impl Model {
    fn new() -> Self {
        Self::of(Kind::Command)
    }

    fn of(kind: Kind) -> Self {
        let known = Known { kind: Some(kind), checked_within_ms: 0 };
        Self { known, tasks: vec![], now_ms: 1_000_000, made: 0 }
    }

    fn plan(&self, spec: &ServiceSpec) -> Vec<Action> {
        plan(spec, &self.known, &self.tasks.iter().collect::<Vec<_>>(), self.now_ms)
    }

    fn apply(&mut self, spec: &ServiceSpec, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { attempt, start_after_ms } => {
                    self.made = self.made.wrapping_add(1);
                    self.tasks.push(Task {
                        id: TaskId::from_parts(self.now_ms, [self.made; 10]),
                        namespace: Namespace::default(),
                        definition: spec.definition.clone(),
                        group: Group::Service(spec.name.clone()),
                        overrides: None,
                        address: None,
                        status: TaskStatus::Provisioning,
                        stop: None,
                        exit_code: None,
                        health: Health::Unchecked,
                        health_reason: None,
                        restarts: 0,
                        last_stop: None,
                        attempt,
                        created_at_ms: self.now_ms,
                        start_after_ms,
                        started_at_ms: None,
                        ready_at_ms: None,
                        stopped_at_ms: None,
                    });
                }
                Action::Stop { task, reason } => {
                    let task = self.tasks.iter_mut().find(|other| other.id == task).expect("a known task");
                    assert!(!task.is_stopping(), "stopped twice");
                    task.stop = Some(reason);
                }
            }
        }
    }

    /// Lets every task take the step that is due.
    fn live(&mut self) {
        let now_ms = self.now_ms;
        for task in &mut self.tasks {
            if task.stop.is_some() {
                task.status = TaskStatus::Stopped;
                task.stopped_at_ms.get_or_insert(now_ms);
            } else if task.start_after_ms <= now_ms {
                task.status = TaskStatus::Running;
                task.started_at_ms.get_or_insert(now_ms);
                task.ready_at_ms.get_or_insert(now_ms);
            }
        }
    }

    fn fail(&mut self, index: usize) {
        let serving: Vec<_> = self.tasks.iter_mut().filter(|task| serves(task)).collect();
        let count = serving.len();
        if let Some(task) = serving.into_iter().nth(index % count.max(1)) {
            task.stop = Some(StoppedReason { code: StopCode::Exited, message: String::new() });
        }
    }

    fn sicken(&mut self, index: usize) {
        let serving: Vec<_> = self.tasks.iter_mut().filter(|task| serves(task)).collect();
        let count = serving.len();
        if let Some(task) = serving.into_iter().nth(index % count.max(1)) {
            task.health = Health::Unhealthy;
        }
    }

    fn serving(&self) -> usize {
        self.tasks.iter().filter(|task| serves(task)).count()
    }
}

fn serves(task: &Task) -> bool {
    task.is_ready() && task.stop.is_none()
}

#[derive(Debug, Clone)]
enum Event {
    Deploy(u32),
    Scale(u32),
    Fail(usize),
    Sicken(usize),
    Wait(u64),
    Live,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..4u32).prop_map(Event::Deploy),
        (0..6u32).prop_map(Event::Scale),
        (0..6usize).prop_map(Event::Fail),
        (0..6usize).prop_map(Event::Sicken),
        (0..400_000u64).prop_map(Event::Wait),
        Just(Event::Live),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #[test]
    fn whatever_happens_it_converges_without_a_gap(
        events in events(),
        is_http in any::<bool>(),
        checked_within_ms in prop::sample::select(vec![0, 20_000_u64]),
    ) {
        let kind = if is_http { Kind::Http } else { Kind::Command };
        let (mut model, mut spec) = (Model::of(kind), spec(1, 2));
        model.known.checked_within_ms = if is_http { checked_within_ms } else { 0 };
        for event in events {
            match event {
                Event::Deploy(revision) => spec.definition = definition(revision),
                Event::Scale(desired) => spec.desired = desired,
                Event::Fail(index) => model.fail(index),
                Event::Sicken(index) => model.sicken(index),
                Event::Wait(ms) => model.now_ms += ms,
                Event::Live => model.live(),
            }
            let before = model.serving();
            let actions = model.plan(&spec);
            model.apply(&spec, actions);
            let kept = before.min(spec.desired as usize);
            prop_assert!(model.serving() >= kept, "stopped what served with nothing in its stead");
            let unhealthy = model.tasks.iter().filter(|task| is_unhealthy(task) && task.stop.is_none()).count();
            let spared_max = if is_http { spec.desired as usize } else { 0 };
            prop_assert!(unhealthy <= spared_max, "{unhealthy} unhealthy tasks stay");
            prop_assert_eq!(model.plan(&spec), vec![], "planned twice");
        }
        for _ in 0..4 {
            model.now_ms += BACKOFF_MOST_MS;
            model.live();
            let actions = model.plan(&spec);
            model.apply(&spec, actions);
        }
        model.live();
        let living: Vec<_> = model.tasks.iter().filter(|task| serves(task)).collect();
        prop_assert_eq!(living.len(), spec.desired as usize);
        prop_assert!(living.iter().all(|task| task.definition == spec.definition));
    }
}

#[test]
fn waits_double_while_it_fails_and_start_over_once_it_ran_well() {
    let (mut model, spec) = (Model::new(), spec(1, 1));
    let mut waits = Vec::new();
    for _ in 0..15 {
        let actions = model.plan(&spec);
        let Action::Start { start_after_ms, .. } = actions[0] else { panic!("{actions:?}") };
        waits.push(start_after_ms - model.now_ms);
        model.apply(&spec, actions);
        model.now_ms = start_after_ms;
        model.live();
        model.fail(0);
        model.live();
    }
    assert_eq!(waits[..6], [0, 100, 200, 400, 800, 1_600]);
    assert_eq!(waits[14], BACKOFF_MOST_MS);

    let actions = model.plan(&spec);
    model.apply(&spec, actions);
    model.now_ms += BACKOFF_MOST_MS;
    model.live();
    model.now_ms += RAN_WELL_MS;
    model.fail(0);
    let after = model.plan(&spec);
    assert_eq!(after, [Action::Start { attempt: 1, start_after_ms: model.now_ms + BACKOFF_FIRST_MS }]);
}

#[test]
fn waits_double_although_one_that_was_stopped_still_finishes_what_it_has() {
    let cases = [(StopCode::UserInitiated, [0, 100, 200, 400]), (StopCode::Unhealthy, [100, 200, 400, 800])];
    for (code, expected) in cases {
        let (mut model, spec) = (Model::new(), spec(1, 1));
        let actions = model.plan(&spec);
        model.apply(&spec, actions);
        model.live();
        model.now_ms += RAN_WELL_MS;
        model.tasks[0].stop = Some(StoppedReason { code, message: String::new() });
        let mut waits = Vec::new();
        for _ in 0..expected.len() {
            let actions = model.plan(&spec);
            let Action::Start { start_after_ms, .. } = actions[0] else { panic!("{actions:?}") };
            waits.push(start_after_ms - model.now_ms);
            model.apply(&spec, actions);
            model.now_ms = start_after_ms;
            model.live();
            let finishing = &mut model.tasks[0];
            (finishing.status, finishing.stopped_at_ms) = (TaskStatus::Stopping, None);
            model.fail(0);
        }
        assert_eq!(waits, expected, "{code}");
    }
}

#[test]
fn an_unhealthy_task_is_stopped_with_its_reason_and_another_waits_to_be_started() {
    let (mut model, spec) = (Model::new(), spec(1, 1));
    for expected_ms in [100, 200] {
        let actions = model.plan(&spec);
        model.apply(&spec, actions);
        model.now_ms += 1_000;
        model.live();
        let task = model.tasks.last_mut().expect("it was started");
        // As a daemon that was never reached.
        (task.ready_at_ms, task.health) = (None, Health::Unhealthy);
        task.health_reason = Some("nothing listens at port 6379".to_owned());
        let (id, now_ms) = (task.id, model.now_ms + RAN_WELL_MS);
        model.now_ms = now_ms;
        let actions = model.plan(&spec);
        let [Action::Stop { task, reason }, Action::Start { start_after_ms, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!((*task, reason.code), (id, StopCode::Unhealthy));
        assert_eq!(reason.message, "nothing listens at port 6379");
        assert_eq!(
            start_after_ms - now_ms,
            expected_ms,
            "never reached is no good start, however long it ran"
        );
        model.apply(&spec, actions);
        model.live();
    }
}

#[test]
fn an_unhealthy_http_task_stays_until_another_serves_and_waits_double_all_the_same() {
    let (mut model, spec) = (Model::of(Kind::Http), spec(1, 1));
    let actions = model.plan(&spec);
    model.apply(&spec, actions);
    model.live();
    for expected_ms in [100, 200, 400] {
        let sick = model.tasks.last_mut().expect("it was started");
        (sick.ready_at_ms, sick.health) = (None, Health::Unhealthy);
        let sick = sick.id;
        let actions = model.plan(&spec);
        let [Action::Start { start_after_ms, .. }] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(start_after_ms - model.now_ms, expected_ms);
        model.apply(&spec, actions);
        model.now_ms = start_after_ms;
        model.live();
        let actions = model.plan(&spec);
        let [Action::Stop { task, reason }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((*task, reason.code), (sick, StopCode::Unhealthy));
        model.apply(&spec, actions);
        // It has ended after the one in its place has started.
        model.now_ms += 1;
        model.live();
    }
    model.tasks.last_mut().expect("it was started").health = Health::Unhealthy;
    let none = ServiceSpec { desired: 0, ..spec };
    assert!(matches!(model.plan(&none)[..], [Action::Stop { .. }]), "a service that is to go spares none");
}

#[test]
fn a_task_that_is_not_reached_yet_keeps_the_old_one() {
    let (mut model, old, new) = (Model::new(), spec(1, 1), spec(2, 1));
    let actions = model.plan(&old);
    model.apply(&old, actions);
    model.live();
    let actions = model.plan(&new);
    model.apply(&new, actions);
    model.live();
    model.tasks[1].health = Health::Starting;
    assert_eq!(model.plan(&new), vec![]);
    model.tasks[1].health = Health::Healthy;
    assert!(matches!(&model.plan(&new)[..], [Action::Stop { task, .. }] if *task == model.tasks[0].id));
}

#[test]
fn a_task_that_is_checked_replaces_none_before_its_first_check_is_over() {
    let (old, new) = (spec(1, 1), spec(2, 1));
    for is_healthy in [true, false] {
        let mut model = Model::of(Kind::Http);
        model.known.checked_within_ms = 20_000;
        let actions = model.plan(&old);
        model.apply(&old, actions);
        model.live();
        model.now_ms += 60_000;
        let actions = model.plan(&new);
        model.apply(&new, actions);
        model.live();
        model.now_ms += 19_999;
        assert_eq!(model.plan(&new), vec![], "nothing is known of the new one");
        let (old, replacing) = (model.tasks[0].id, model.tasks[1].id);
        if is_healthy {
            model.tasks[1].health = Health::Healthy;
            assert!(matches!(model.plan(&new)[..], [Action::Stop { task, .. }] if task == old));
            model.tasks[1].health = Health::Unchecked;
            model.now_ms += 1;
            let actions = model.plan(&new);
            assert!(matches!(actions[..], [Action::Stop { task, .. }] if task == old), "nobody checks it");
        } else {
            model.tasks[1].health = Health::Unhealthy;
            let actions = model.plan(&new);
            let [Action::Stop { task, .. }, Action::Start { .. }] = actions[..] else {
                panic!("{actions:?}")
            };
            assert_eq!(task, replacing, "the old one serves");
        }
    }
}

#[test]
fn scaling_in_takes_the_newest() {
    let (mut model, wide, narrow) = (Model::new(), spec(1, 3), spec(1, 1));
    for _ in 0..3 {
        model.now_ms += 1;
        let missing = model.plan(&wide).into_iter().take(1).collect();
        model.apply(&wide, missing);
        model.live();
    }
    let oldest = model.tasks[0].id;
    let actions = model.plan(&narrow);
    model.apply(&narrow, actions);
    let left: Vec<_> = model.tasks.iter().filter(|task| serves(task)).map(|task| task.id).collect();
    assert_eq!(left, [oldest]);
}
