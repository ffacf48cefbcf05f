//! Properties of the circuit breaker, against one that looks at the whole history.

use super::*;
use crate::service::RAN_WELL_MS;
use proptest::prelude::*;
use skiff_types::{Group, Namespace, TaskStatus};

fn definition(revision: u32) -> TaskDefinitionId {
    TaskDefinitionId { family: "hello".parse().unwrap(), revision }
}

fn id(number: u8) -> DeploymentId {
    DeploymentId::from_parts(u64::from(number), [number; 10])
}

/// A service whose first revision completed, and that is given the second.
struct Model {
    known: Known,
    tasks: Vec<Task>,
    rollout: Rollout,
    to: TaskDefinitionId,
    desired: u32,
    circuit_breaker: CircuitBreaker,
    is_paused: bool,
    is_aborted: bool,
    is_complete: bool,
    can_go_back: bool,
    raised: Vec<Name>,
    now_ms: u64,
}

impl Model {
    fn of(circuit_breaker: CircuitBreaker, desired: u32) -> Self {
        let (first, second) = (definition(1), definition(2));
        let asked = |deployment, definition| Asked {
            deployment,
            definition,
            desired,
            circuit_breaker,
            is_paused: false,
            is_aborted: false,
            strategy: skiff_types::Strategy::Rolling,
            raised: &[],
        };
        let mut before = Rollout::begin(None, &asked(id(1), &first), 1_000);
        before.settle(RolloutState::Completed, String::new(), 1_000);
        let rollout = Rollout::begin(Some(&before), &asked(id(2), &second), 1_000_000);
        Self {
            known: Known { kind: Some(Kind::Http), checked_within_ms: 0 },
            tasks: vec![],
            rollout,
            to: second,
            desired,
            circuit_breaker,
            is_paused: false,
            is_aborted: false,
            is_complete: false,
            can_go_back: true,
            raised: vec![],
            now_ms: 1_000_000,
        }
    }

    fn judged(&self) -> Rollout {
        let tasks: Vec<&Task> = self.tasks.iter().collect();
        let asked = Asked {
            deployment: id(2),
            definition: &self.to,
            desired: self.desired,
            circuit_breaker: self.circuit_breaker,
            is_paused: self.is_paused,
            is_aborted: self.is_aborted,
            strategy: skiff_types::Strategy::Rolling,
            raised: &self.raised,
        };
        let seen = Seen {
            tasks: &tasks,
            known: &self.known,
            is_complete: &|_| self.is_complete,
            is_whole: &|_| self.is_complete,
            can_go_back: self.can_go_back,
            now_ms: self.now_ms,
            new_id: id(3),
        };
        next(Some(&self.rollout), &asked, &seen)
    }

    /// Takes in what is decided, which then decides nothing more.
    fn look(&mut self) {
        self.rollout = self.judged();
        assert_eq!(self.judged(), self.rollout, "decided twice");
        self.now_ms += 10;
    }

    fn task(&mut self, revision: u32) -> &mut Task {
        let number = u8::try_from(self.tasks.len()).unwrap();
        self.tasks.push(Task {
            status: TaskStatus::Running,
            started_at_ms: Some(self.now_ms),
            ready_at_ms: Some(self.now_ms),
            ..Task::new(
                TaskId::from_parts(self.now_ms, [number; 10]),
                Namespace::default(),
                Group::Service("hello".parse().unwrap()),
                definition(revision),
                self.now_ms,
            )
        });
        self.tasks.last_mut().unwrap()
    }

    fn fails(&mut self, code: StopCode) {
        let now_ms = self.now_ms;
        let task = self.task(2);
        (task.status, task.ready_at_ms, task.stopped_at_ms) = (TaskStatus::Stopped, None, Some(now_ms));
        task.stop = Some(StoppedReason { code, message: "no".to_owned() });
        self.look();
    }

    fn serves(&mut self) {
        self.task(2);
        self.look();
    }
}

#[test]
fn the_threshold_is_that_of_ecs() {
    let cases = [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (399, 200), (400, 200), (1_000, 200)];
    for (desired, expected) in cases {
        assert_eq!(threshold(desired), expected, "{desired}");
    }
}

/// A rollout of which two tasks failed, and how many failures count once others are as `live` has them.
fn failures_after(kind: Kind, checked_within_ms: u64, live: impl FnOnce(&mut Model)) -> u32 {
    let mut model = Model::of(CircuitBreaker::RollBack, 9);
    model.known = Known { kind: Some(kind), checked_within_ms };
    model.fails(StopCode::Trapped);
    model.fails(StopCode::Trapped);
    assert_eq!(model.rollout.failed_tasks, 2);
    live(&mut model);
    model.look();
    model.rollout.failed_tasks
}

#[test]
fn failures_are_forgotten_by_a_task_of_it_that_is_proven_and_lasts() {
    let of = |revision: u32| {
        move |model: &mut Model| {
            model.task(revision);
        }
    };
    assert_eq!(failures_after(Kind::Http, 0, of(2)), 0);
    assert_eq!(failures_after(Kind::Http, 0, of(1)), 2, "of another revision");
    let stopping = |model: &mut Model| {
        let reason = StoppedReason { code: StopCode::UserInitiated, message: String::new() };
        model.task(2).stop = Some(reason);
    };
    assert_eq!(failures_after(Kind::Http, 0, stopping), 2, "it stops");
    assert_eq!(failures_after(Kind::Http, 5_000, of(2)), 2, "not checked yet");
    let checked = |model: &mut Model| {
        model.task(2);
        model.now_ms += 5_000;
    };
    assert_eq!(failures_after(Kind::Http, 5_000, checked), 0);
    let after = |ran_ms: u64| {
        move |model: &mut Model| {
            model.task(2);
            model.now_ms += ran_ms;
        }
    };
    assert_eq!(failures_after(Kind::Command, 0, after(RAN_WELL_MS - 1)), 2, "a program may still end");
    assert_eq!(failures_after(Kind::Command, 0, after(RAN_WELL_MS)), 0);
}

#[test]
fn a_task_that_was_ready_before_the_last_failure_forgives_none_however_long_it_lasts() {
    for kind in [Kind::Http, Kind::Command] {
        let mut model = Model::of(CircuitBreaker::RollBack, 9);
        model.known.kind = Some(kind);
        model.serves();
        model.now_ms += 2 * RAN_WELL_MS;
        for failed in 1..=3 {
            model.fails(StopCode::Trapped);
            assert_eq!(model.rollout.failed_tasks, failed, "{kind:?}");
        }
        model.now_ms += 2 * RAN_WELL_MS;
        model.look();
        assert_eq!(model.rollout.failed_tasks, 3, "{kind:?}");
    }
}

#[test]
fn what_it_goes_to_and_may_go_back_to_is_needed() {
    let mut rollout = Model::of(CircuitBreaker::RollBack, 2).rollout;
    let needed = |rollout: &Rollout| [1, 2, 3].map(|revision| rollout.needs(&definition(revision)));
    assert_eq!(needed(&rollout), [true, true, false]);
    rollout.settle(RolloutState::Completed, String::new(), 2_000_000);
    assert_eq!(needed(&rollout), [false, true, false]);
}

#[test]
fn it_rolls_back_to_the_last_that_completed_and_says_why() {
    let mut model = Model::of(CircuitBreaker::RollBack, 4);
    for failed in 1..=2 {
        model.fails(StopCode::Trapped);
        assert_eq!((model.rollout.state, model.rollout.failed_tasks), (RolloutState::InProgress, failed));
    }
    model.fails(StopCode::Trapped);
    let back = &model.rollout;
    assert_eq!((&back.definition, &back.rolled_back_from), (&definition(1), &Some(definition(2))));
    assert_eq!((back.id, back.for_, back.state), (id(3), id(2), RolloutState::InProgress));
    assert!(back.reason.starts_with("3 of its tasks failed, the last of them "), "{}", back.reason);
    assert!(back.reason.ends_with("(Trapped: no)"), "{}", back.reason);
    assert_eq!(back.last_completed(), Some(&definition(1)));
    assert!(back.needs(&definition(1)) && !back.needs(&definition(2)));
    model.is_complete = true;
    let reason = model.rollout.reason.clone();
    model.look();
    assert_eq!((model.rollout.state, &model.rollout.reason), (RolloutState::Completed, &reason));
}

#[test]
fn what_was_asked_for_was_given_up_once_it_failed_or_is_rolled_back() {
    let mut model = Model::of(CircuitBreaker::RollBack, 1);
    assert!(!model.rollout.was_given_up(), "it is under way");
    let mut done = model.rollout.clone();
    done.settle(RolloutState::Completed, String::new(), 2_000_000);
    assert!(!done.was_given_up());
    (0..3).for_each(|_| model.fails(StopCode::Exited));
    assert!(model.rollout.state == RolloutState::InProgress && model.rollout.was_given_up());
    model.is_complete = true;
    model.look();
    assert!(model.rollout.state == RolloutState::Completed && model.rollout.was_given_up());
    let mut stopped = Model::of(CircuitBreaker::Stop, 1);
    (0..3).for_each(|_| stopped.fails(StopCode::Exited));
    assert!(stopped.rollout.rolled_back_from.is_none() && stopped.rollout.was_given_up());
}

#[test]
fn without_a_way_back_it_stops() {
    let failed = |mut model: Model| {
        for _ in 0..3 {
            model.fails(StopCode::Exited);
        }
        assert_eq!(model.rollout.definition, definition(2));
        (model.rollout.state, model.rollout.reason)
    };
    let (state, reason) = failed(Model::of(CircuitBreaker::Stop, 1));
    assert_eq!(state, RolloutState::Failed);
    assert!(!reason.contains(NOTHING_BEFORE), "{reason}");
    let (state, reason) = failed(Model { can_go_back: false, ..Model::of(CircuitBreaker::RollBack, 1) });
    assert_eq!(state, RolloutState::Failed);
    assert!(reason.ends_with(NOTHING_BEFORE), "{reason}");
    assert_eq!(failed(Model::of(CircuitBreaker::Off, 1)), (RolloutState::InProgress, String::new()));
}

#[test]
fn what_does_not_speak_against_the_revision_does_not_count() {
    let mut model = Model::of(CircuitBreaker::RollBack, 1);
    for code in [
        StopCode::UserInitiated,
        StopCode::ServiceSchedulerInitiated,
        StopCode::PlatformStopped,
        StopCode::WorkerLost,
        StopCode::NodeLost,
    ] {
        model.fails(code);
    }
    let now_ms = model.now_ms;
    let reason = StoppedReason { code: StopCode::Exited, message: String::new() };
    let old = model.task(1);
    (old.stop, old.stopped_at_ms) = (Some(reason.clone()), Some(now_ms));
    let before = model.task(2);
    (before.stop, before.stopped_at_ms, before.created_at_ms) = (Some(reason.clone()), Some(now_ms), 999_999);
    let well = model.task(2);
    (well.stop, well.stopped_at_ms) = (Some(reason), Some(now_ms + RAN_WELL_MS));
    model.look();
    assert_eq!((model.rollout.failed_tasks, &model.rollout.counted), (0, &vec![]));
}

#[test]
fn a_program_that_starts_and_ends_at_once_is_no_success() {
    let mut model = Model::of(CircuitBreaker::RollBack, 1);
    model.known.kind = Some(Kind::Command);
    for _ in 0..2 {
        model.fails(StopCode::Exited);
        model.serves();
    }
    assert_eq!(model.rollout.failed_tasks, 2);
    model.now_ms += RAN_WELL_MS;
    model.look();
    assert_eq!(model.rollout.failed_tasks, 0, "they run well");
}

#[test]
fn a_paused_rollout_is_not_given_up_but_can_be_aborted() {
    let mut model = Model { is_paused: true, ..Model::of(CircuitBreaker::RollBack, 1) };
    for _ in 0..5 {
        model.fails(StopCode::Unhealthy);
    }
    assert_eq!((model.rollout.state, model.rollout.failed_tasks), (RolloutState::InProgress, 5));
    model.is_aborted = true;
    model.look();
    assert_eq!(model.rollout.rolled_back_from, Some(definition(2)));
    assert_eq!(model.rollout.reason, "its user aborted it");

    let mut first = Model { is_aborted: true, can_go_back: false, ..Model::of(CircuitBreaker::Off, 1) };
    first.look();
    assert_eq!(first.rollout.state, RolloutState::Failed);
    let mut stopped = Model::of(CircuitBreaker::Stop, 1);
    for _ in 0..3 {
        stopped.fails(StopCode::Exited);
    }
    stopped.is_aborted = true;
    stopped.look();
    assert_eq!(stopped.rollout.definition, definition(1), "what was stopped can be rolled back by hand");
}

#[test]
fn another_deployment_begins_anew_and_remembers_what_completed() {
    let mut model = Model::of(CircuitBreaker::Stop, 1);
    for _ in 0..3 {
        model.fails(StopCode::Exited);
    }
    let third = definition(3);
    let asked = Asked {
        deployment: id(4),
        definition: &third,
        desired: 1,
        circuit_breaker: CircuitBreaker::Stop,
        is_paused: false,
        is_aborted: false,
        strategy: skiff_types::Strategy::Rolling,
        raised: &[],
    };
    let anew = Rollout::begin(Some(&model.rollout), &asked, 2_000_000);
    assert_eq!((anew.state, anew.failed_tasks), (RolloutState::InProgress, 0));
    assert_eq!(anew.completed, Some(definition(1)), "the second never did");
    let first = definition(1);
    let back = Rollout::begin(Some(&model.rollout), &Asked { definition: &first, ..asked }, 2_000_000);
    assert_eq!(back.completed, None, "it is the one itself");
}

#[test]
fn an_alarm_gives_it_up_but_not_one_that_was_raised_before() {
    let raised = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Name>>();
    let with = |circuit_breaker| {
        let mut model = Model::of(circuit_breaker, 4);
        model.rollout.unwatched = raised(&["old"]);
        model.raised = raised(&["old"]);
        model.look();
        assert_eq!((model.rollout.state, &model.rollout.rolled_back_from), (RolloutState::InProgress, &None));
        // It would complete now.
        (model.is_complete, model.is_paused) = (true, true);
        model.raised = raised(&["old", "slow"]);
        model
    };
    for circuit_breaker in [CircuitBreaker::RollBack, CircuitBreaker::Off] {
        let mut model = with(circuit_breaker);
        model.is_complete = false;
        model.look();
        assert_eq!(model.rollout.rolled_back_from, Some(definition(2)));
        assert_eq!(model.rollout.reason, "the alarm slow is in ALARM");
        assert!(!model.rollout.is_paused, "what goes back is not halted");
        model.look();
        assert_eq!(model.rollout.definition, definition(1), "it gives nothing up that goes back");
    }
    let mut stopped = with(CircuitBreaker::Stop);
    stopped.look();
    assert_eq!(stopped.rollout.state, RolloutState::Failed);
    assert_eq!(stopped.rollout.reason, "the alarm slow is in ALARM");
    let mut first = Model { can_go_back: false, ..with(CircuitBreaker::RollBack) };
    first.look();
    assert_eq!(first.rollout.state, RolloutState::Failed);
    assert!(first.rollout.reason.ends_with(NOTHING_BEFORE), "{}", first.rollout.reason);
}

#[test]
fn what_is_in_alarm_at_the_start_is_not_watched() {
    let (raised, second) = (["slow".parse().unwrap()], definition(2));
    let asked = Asked {
        deployment: id(2),
        definition: &second,
        desired: 1,
        circuit_breaker: CircuitBreaker::RollBack,
        is_paused: false,
        is_aborted: false,
        strategy: skiff_types::Strategy::Rolling,
        raised: &raised,
    };
    assert_eq!(Rollout::begin(None, &asked, 1).unwatched, raised);
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    Fails,
    Serves,
    Looks,
    Forgets,
}

/// Failures more often than others.
const MOMENTS: [Moment; 5] = [Moment::Fails, Moment::Fails, Moment::Serves, Moment::Looks, Moment::Forgets];

proptest! {
    #[test]
    fn it_decides_what_the_whole_history_says(
        moments in prop::collection::vec(prop::sample::select(MOMENTS.to_vec()), 0..60),
        desired in 0..12_u32,
        breaker in prop::sample::select(CircuitBreaker::ALL.to_vec()),
    ) {
        let mut model = Model::of(breaker, desired);
        let (mut in_a_row, mut has_tripped) = (0, false);
        for moment in moments {
            match moment {
                Moment::Fails => {
                    model.fails(StopCode::Exited);
                    in_a_row += 1;
                }
                Moment::Serves => {
                    model.serves();
                    in_a_row = 0;
                }
                Moment::Looks => model.look(),
                // As stopped tasks are, after a while.
                Moment::Forgets => model.tasks.retain(|task| task.stop.is_none()),
            }
            has_tripped |= in_a_row >= threshold(desired) && breaker != CircuitBreaker::Off;
            let rollout = &model.rollout;
            let is_given_up = rollout.state == RolloutState::Failed || rollout.rolled_back_from.is_some();
            prop_assert_eq!(is_given_up, has_tripped);
            if has_tripped {
                let (definition, state) = match breaker {
                    CircuitBreaker::RollBack => (definition(1), RolloutState::InProgress),
                    CircuitBreaker::Stop | CircuitBreaker::Off => (definition(2), RolloutState::Failed),
                };
                prop_assert_eq!((&rollout.definition, rollout.state), (&definition, state));
            } else {
                prop_assert_eq!(rollout.failed_tasks, in_a_row);
            }
        }
    }
}
