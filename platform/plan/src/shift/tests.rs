//! Properties of shifts: what a rollout decides and what a service plans by it, on a small model of a service whose tasks live,
//! fail and are found healthy late.

use super::*;
use crate::living::live;
use crate::rollout::{self, Asked, Rollout};
use crate::service::{self, Action, Known, Wanted};
use proptest::prelude::{Just, any, prop};
use proptest::strategy::Strategy as _;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use skiff_types::{
    CircuitBreaker, DeploymentConfiguration, DeploymentId, Group, Kind, Name, Namespace, RolloutState, Span,
    StopCode, StoppedReason, TaskStatus,
};

const BAKE_MS: u64 = 60_000;
const BAKE: Span = Span::from_ms(BAKE_MS);
const CANARY: Strategy = Strategy::Canary { percent: 10, canary_bake: BAKE, bake: BAKE };
const LINEAR: Strategy = Strategy::Linear { step_percent: 25, step_bake: BAKE, bake: BAKE };
const BLUE_GREEN: Strategy = Strategy::BlueGreen { bake: BAKE };

fn definition(revision: u32) -> TaskDefinitionId {
    TaskDefinitionId { family: "hello".parse().unwrap(), revision }
}

/// A service whose first revision completed.
struct Model {
    name: Name,
    configuration: DeploymentConfiguration,
    desired: u32,
    /// The revision that its user wants, and the number of that deployment.
    wanted: (TaskDefinitionId, u64),
    is_paused: bool,
    is_aborted: bool,
    raised: Vec<Name>,
    rollout: Rollout,
    tasks: Vec<Task>,
    now_ms: u64,
    made: u64,
}

impl Model {
    fn of(strategy: Strategy, desired: u32) -> Self {
        let configuration = DeploymentConfiguration { strategy, ..DeploymentConfiguration::default() };
        let first = definition(1);
        let asked = Asked {
            deployment: DeploymentId::from_parts(1, [0; 10]),
            definition: &first,
            desired,
            circuit_breaker: CircuitBreaker::RollBack,
            is_paused: false,
            is_aborted: false,
            strategy: Strategy::Rolling,
            raised: &[],
        };
        let rollout = Rollout::begin(None, &asked, 1_000_000);
        let mut model = Self {
            name: "hello".parse().unwrap(),
            configuration,
            desired,
            wanted: (first, 1),
            is_paused: false,
            is_aborted: false,
            raised: vec![],
            rollout,
            tasks: vec![],
            now_ms: 1_000_000,
            made: 0,
        };
        model.settle();
        assert_eq!(model.rollout.state, RolloutState::Completed);
        model
    }

    fn deploy(&mut self, revision: u32) {
        if self.wanted.0 != definition(revision) {
            self.wanted = (definition(revision), self.wanted.1 + 1);
            (self.is_paused, self.is_aborted) = (false, false);
        }
    }

    fn known() -> Known {
        Known { kind: Some(Kind::Http), checked_within_ms: 0 }
    }

    fn serving(&self, revision: &TaskDefinitionId) -> usize {
        self.tasks.iter().filter(|task| task.definition == *revision && serves(task)).count()
    }

    fn living(&self) -> usize {
        self.tasks.iter().filter(|task| !task.is_stopping()).count()
    }

    fn decided(&self) -> Rollout {
        let tasks: Vec<&Task> = self.tasks.iter().collect();
        let is_whole = |revision: &TaskDefinitionId| self.serving(revision) == self.desired as usize;
        let is_complete = |revision: &TaskDefinitionId| {
            let runs_another =
                |task: &Task| task.definition != *revision && task.stop.is_none() && task.is_ready();
            is_whole(revision) && !self.tasks.iter().any(runs_another)
        };
        let asked = Asked {
            deployment: DeploymentId::from_parts(self.wanted.1, [0; 10]),
            definition: &self.wanted.0,
            desired: self.desired,
            circuit_breaker: self.configuration.circuit_breaker,
            is_paused: self.is_paused,
            is_aborted: self.is_aborted,
            strategy: self.configuration.strategy,
            raised: &self.raised,
        };
        let seen = rollout::Seen {
            tasks: &tasks,
            known: &Self::known(),
            is_complete: &is_complete,
            is_whole: &is_whole,
            can_go_back: true,
            now_ms: self.now_ms,
            new_id: DeploymentId::from_parts(self.wanted.1, [1; 10]),
        };
        rollout::next(Some(&self.rollout), &asked, &seen)
    }

    fn planned(&self) -> service::Plan {
        let wanted = Wanted {
            name: &self.name,
            definition: &self.rollout.definition,
            completed: self.rollout.last_completed(),
            blue: self.rollout.blue(),
            desired: self.desired,
            configuration: &self.configuration,
            is_paused: self.rollout.is_paused,
            is_failed: self.rollout.state == RolloutState::Failed,
        };
        service::plan(&wanted, &Self::known(), &self.tasks.iter().collect::<Vec<_>>(), self.now_ms)
    }

    /// Decides, writes it down, and carries out what follows, as the reconciler does.
    fn look(&mut self) {
        self.rollout = self.decided();
        assert_eq!(self.decided(), self.rollout, "decided twice");
        for action in self.planned().actions {
            match action {
                Action::Start { definition, attempt, start_after_ms } => {
                    self.start(definition, attempt, start_after_ms);
                }
                Action::Stop { task, reason } => {
                    let task = self.tasks.iter_mut().find(|other| other.id == task).expect("a known task");
                    task.stop = Some(reason);
                }
            }
        }
    }

    fn start(&mut self, definition: TaskDefinitionId, attempt: u32, start_after_ms: u64) {
        self.made += 1;
        self.tasks.push(Task {
            attempt,
            start_after_ms,
            ..Task::new(
                TaskId::from_parts(self.made, [0; 10]),
                Namespace::default(),
                Group::Service(self.name.clone()),
                definition,
                self.now_ms,
            )
        });
    }

    /// Lets every task take the step that is due.
    fn live(&mut self) {
        live(&mut self.tasks, self.now_ms);
    }

    /// So many looks, a little time between them, in which no bake ends.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.now_ms += 10;
            self.look();
            self.live();
        }
    }

    fn bake(&mut self) {
        self.now_ms += BAKE_MS;
        self.settle();
    }

    /// The newest task of a revision ends by itself.
    fn fail(&mut self, revision: &TaskDefinitionId) {
        let now_ms = self.now_ms;
        let found = self.tasks.iter_mut().rfind(|task| task.definition == *revision && serves(task));
        if let Some(task) = found {
            task.stop = Some(StoppedReason { code: StopCode::Trapped, message: "no".to_owned() });
            (task.status, task.stopped_at_ms) = (TaskStatus::Stopped, Some(now_ms));
        }
    }

    fn shift(&self) -> &Shift {
        self.rollout.shift.as_ref().expect("weight moves")
    }

    fn division(&self) -> Option<Division> {
        let able: Vec<&Task> = self.tasks.iter().filter(|task| serves(task)).collect();
        self.rollout.shift.as_ref()?.divide(self.desired, &able)
    }

    /// How many of a hundred requests go to a revision.
    fn weight_of(&self, revision: &TaskDefinitionId) -> u16 {
        match self.division() {
            Some(Division { green, percent, .. }) if !green.is_empty() => {
                if self.shift().green == *revision {
                    percent
                } else {
                    100 - percent
                }
            }
            Some(_) => u16::from(self.shift().green != *revision) * 100,
            None => u16::from(self.serving(revision) > 0) * 100,
        }
    }
}

fn serves(task: &Task) -> bool {
    task.is_ready() && task.stop.is_none()
}

#[track_caller]
fn check_steps(strategy: Strategy, expected: &[u16]) {
    let mut model = Model::of(strategy, 2);
    model.deploy(2);
    model.look();
    assert_eq!((model.shift().percent, model.weight_of(&definition(1))), (0, 100), "green is not there yet");
    assert_eq!(model.living(), 4, "both sides are to be whole");
    let mut percents = Vec::new();
    loop {
        model.settle();
        let percent = model.shift().percent;
        percents.push(percent);
        assert_eq!(model.weight_of(&definition(2)), percent);
        assert_eq!((model.serving(&definition(1)), model.serving(&definition(2))), (2, 2));
        let next_ms = model.rollout.again_at_ms(&strategy).expect("there is more to come");
        model.now_ms = next_ms - 200;
        model.settle();
        assert_eq!(model.shift().percent, percent, "its time is not over");
        if percent == 100 {
            break;
        }
        model.now_ms = next_ms;
    }
    assert_eq!(percents, expected);
    model.bake();
    assert_eq!((model.rollout.state, model.rollout.shift.as_ref()), (RolloutState::Completed, None));
    assert_eq!((model.serving(&definition(1)), model.serving(&definition(2))), (0, 2));
    assert_eq!(model.rollout.last_completed(), Some(&definition(2)));
}

#[test]
fn weight_moves_by_the_steps_of_each_strategy_and_blue_goes_after_the_last_bake() {
    check_steps(BLUE_GREEN, &[100]);
    check_steps(CANARY, &[10, 100]);
    check_steps(LINEAR, &[25, 50, 75, 100]);
}

#[test]
fn what_is_given_up_has_no_weight_at_once_and_goes() {
    let alarm: fn(&mut Model) = |model| {
        model.raised = vec!["slow".parse().unwrap()];
        model.look();
    };
    let abort: fn(&mut Model) = |model| {
        model.is_aborted = true;
        model.look();
    };
    // The end of the first may not speak against the revision, if it ran for long.
    let failures: fn(&mut Model) = |model| {
        for _ in 0..4 {
            model.fail(&definition(2));
            model.look();
            if model.rollout.rolled_back_from.is_some() {
                return;
            }
            model.now_ms += 1_000;
            model.live();
        }
    };
    for (what, give_up) in [("alarm", alarm), ("abort", abort), ("failures", failures)] {
        for steps in 0..3 {
            let mut model = Model::of(LINEAR, 4);
            model.deploy(2);
            model.settle();
            (0..steps).for_each(|_| model.bake());
            assert_eq!(model.shift().percent, 25 * (steps + 1), "{what}");
            give_up(&mut model);
            assert_eq!(model.rollout.rolled_back_from, Some(definition(2)), "{what}");
            assert_eq!((model.shift().stage, model.shift().percent), (Stage::Back, 0), "{what}");
            assert_eq!(model.weight_of(&definition(1)), 100, "{what}");
            model.settle();
            assert_eq!(model.rollout.state, RolloutState::Completed, "{what}");
            assert_eq!((model.serving(&definition(1)), model.living()), (4, 4), "{what}");
        }
    }
}

#[test]
fn what_is_given_up_while_blue_goes_leaves_the_requests_to_all_that_serve() {
    let mut model = Model::of(CANARY, 4);
    // One task comes at a time, once both need not be whole.
    model.configuration.max_percent = 125;
    model.deploy(2);
    model.settle();
    model.bake();
    model.now_ms += BAKE_MS;
    model.look();
    assert_eq!((model.shift().stage, model.serving(&definition(1))), (Stage::CleanUp, 0));
    model.is_aborted = true;
    model.look();
    assert_eq!(model.rollout.rolled_back_from, Some(definition(2)));
    model.live();
    model.look();
    assert_eq!((model.serving(&definition(1)), model.division()), (1, None), "one can't have them all");
    model.settle();
    assert_eq!(model.rollout.state, RolloutState::Completed);
    assert_eq!((model.serving(&definition(1)), model.living()), (4, 4));
}

#[test]
fn one_that_stops_instead_keeps_blue_whole_and_its_own_without_weight() {
    let mut model = Model::of(CANARY, 3);
    model.configuration.circuit_breaker = CircuitBreaker::Stop;
    model.deploy(2);
    model.settle();
    model.raised = vec!["slow".parse().unwrap()];
    model.settle();
    assert_eq!(model.rollout.state, RolloutState::Failed);
    assert_eq!((model.weight_of(&definition(1)), model.weight_of(&definition(2))), (100, 0));
    model.fail(&definition(1));
    model.fail(&definition(2));
    model.now_ms += BAKE_MS;
    model.settle();
    assert_eq!(
        (model.serving(&definition(1)), model.serving(&definition(2))),
        (3, 2),
        "no more of it starts"
    );
    model.is_aborted = true;
    model.settle();
    assert_eq!((model.serving(&definition(1)), model.living()), (3, 3));
}

#[test]
fn a_halted_shift_stays_at_its_step_and_the_time_does_not_count() {
    let mut model = Model::of(CANARY, 2);
    model.deploy(2);
    model.settle();
    let next_ms = model.rollout.again_at_ms(&CANARY).unwrap();
    model.now_ms = next_ms - 1_000;
    model.is_paused = true;
    model.look();
    assert_eq!(model.rollout.again_at_ms(&CANARY), None);
    for _ in 0..5 {
        model.bake();
        assert_eq!(model.shift().percent, 10);
    }
    model.fail(&definition(2));
    model.now_ms += 1_000;
    model.settle();
    assert_eq!(model.serving(&definition(2)), 2, "its tasks are kept all the same");
    model.is_paused = false;
    model.look();
    assert_eq!(model.rollout.again_at_ms(&CANARY), Some(model.now_ms + 1_000), "what was left of it");
    model.now_ms += 1_000;
    model.settle();
    assert_eq!(model.shift().percent, 100);
}

#[test]
fn another_deployment_takes_greens_place_beside_what_completed_last() {
    let mut model = Model::of(CANARY, 4);
    model.deploy(2);
    model.settle();
    model.deploy(3);
    model.look();
    let Shift { blue, green, percent, .. } = model.shift();
    assert_eq!((blue, green, *percent), (&definition(1), &definition(3), 0));
    assert_eq!(model.weight_of(&definition(1)), 100, "what was superseded has no weight any more");
    assert!(model.living() <= 8);
    model.settle();
    assert_eq!((model.serving(&definition(2)), model.shift().percent), (0, 10));

    // Once all went to it for as long as it was to be looked at, it counts as completed.
    model.bake();
    model.now_ms += BAKE_MS;
    model.look();
    assert_eq!(model.shift().stage, Stage::CleanUp);
    model.deploy(4);
    model.look();
    assert_eq!((&model.shift().blue, &model.shift().green), (&definition(3), &definition(4)));
}

#[test]
fn what_is_of_neither_revision_goes_although_the_weight_is_halted() {
    let mut model = Model::of(CANARY, 4);
    model.deploy(2);
    model.settle();
    model.deploy(3);
    model.is_paused = true;
    model.settle();
    assert_eq!([1, 2, 3].map(|revision| model.serving(&definition(revision))), [4, 0, 4]);
    assert_eq!((model.shift().percent, model.weight_of(&definition(1))), (0, 100));
}

#[test]
fn what_is_of_neither_revision_has_requests_as_long_as_blue_is_not_whole() {
    let mut model = Model::of(CANARY, 2);
    for revision in [2, 3] {
        model.start(definition(revision), 0, 0);
    }
    model.live();
    let shift = Shift::begin(definition(1), definition(3), model.now_ms);
    let revisions = |ids: &[TaskId]| -> Vec<u32> {
        let of = |id: &TaskId| model.tasks.iter().find(|task| task.id == *id).unwrap().definition.revision;
        ids.iter().map(of).collect()
    };
    let divided = |tasks: &[&Task]| {
        let division = shift.divide(2, tasks)?;
        Some((revisions(&division.blue), revisions(&division.green)))
    };
    let all: Vec<&Task> = model.tasks.iter().collect();
    assert_eq!(divided(&all), Some((vec![1, 1], vec![3])));
    assert_eq!(divided(&all[1..]), Some((vec![1, 2], vec![3])), "one of blue is missing");
    assert_eq!(divided(&all[2..]), Some((vec![2], vec![3])));
    assert_eq!(divided(&all[3..]), None, "anybody is better than nobody");
}

#[test]
fn what_is_given_up_while_it_is_halted_goes_back_and_is_halted_no_more() {
    let mut model = Model::of(CANARY, 2);
    model.deploy(2);
    model.settle();
    model.is_paused = true;
    model.settle();
    assert!(model.shift().held_ms.is_some());
    model.raised = vec!["slow".parse().unwrap()];
    model.look();
    let Shift { stage, percent, held_ms, .. } = model.shift();
    assert_eq!((*stage, *percent, *held_ms), (Stage::Back, 0, None));
}

#[test]
fn a_first_deployment_and_one_without_tasks_roll() {
    let mut idle = Model::of(CANARY, 0);
    idle.deploy(2);
    idle.settle();
    assert_eq!((idle.rollout.state, &idle.rollout.definition), (RolloutState::Completed, &definition(2)));
    idle.desired = 2;
    idle.deploy(3);
    idle.look();
    assert_eq!(idle.rollout.shift, None, "nobody serves that could have requests meanwhile");
    idle.settle();
    assert_eq!((idle.rollout.state, idle.serving(&definition(3))), (RolloutState::Completed, 2));
}

#[test]
fn what_is_scaled_meanwhile_is_scaled_on_both_sides() {
    let mut model = Model::of(CANARY, 2);
    model.deploy(2);
    model.settle();
    for desired in [5, 1, 0, 3] {
        model.desired = desired;
        model.settle();
        let serving = [1, 2].map(|revision| model.serving(&definition(revision)));
        assert_eq!(serving, [desired as usize; 2]);
        assert_eq!(model.shift().percent, 10);
    }
    model.bake();
    model.bake();
    assert_eq!((model.rollout.state, model.living()), (RolloutState::Completed, 3));
}

#[test]
fn a_clock_that_is_put_back_neither_hurries_nor_holds_it_for_ever() {
    let mut model = Model::of(CANARY, 1);
    model.deploy(2);
    model.settle();
    model.now_ms -= 500_000;
    model.settle();
    assert_eq!(model.shift().percent, 10);
    model.bake();
    assert_eq!(model.shift().percent, 100);
}

#[derive(Debug, Clone)]
enum Event {
    Deploy(u32),
    Scale(u32),
    Fail(u32),
    Pause(bool),
    Abort,
    Alarm(bool),
    Wait(u64),
    Live,
}

fn events() -> impl proptest::strategy::Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..5_u32).prop_map(Event::Deploy),
        (1..6_u32).prop_map(Event::Scale),
        (1..5_u32).prop_map(Event::Fail),
        any::<bool>().prop_map(Event::Pause),
        Just(Event::Abort),
        any::<bool>().prop_map(Event::Alarm),
        (0..2 * BAKE_MS).prop_map(Event::Wait),
        Just(Event::Live),
        Just(Event::Live),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #[test]
    fn whatever_happens_who_has_requests_is_never_cut_below_the_minimum_and_every_shift_ends(
        events in events(),
        strategy in prop::sample::select(vec![BLUE_GREEN, CANARY, LINEAR, Strategy::Rolling]),
        breaker in prop::sample::select(CircuitBreaker::ALL.to_vec()),
    ) {
        let mut model = Model::of(strategy, 3);
        model.configuration.circuit_breaker = breaker;
        for event in events {
            match event {
                Event::Deploy(revision) => model.deploy(revision),
                Event::Scale(desired) => model.desired = desired,
                Event::Fail(revision) => model.fail(&definition(revision)),
                Event::Pause(is_paused) => model.is_paused = is_paused,
                Event::Abort => model.is_aborted = true,
                Event::Alarm(true) => model.raised = vec!["slow".parse().unwrap()],
                Event::Alarm(false) => model.raised.clear(),
                Event::Wait(ms) => model.now_ms += ms,
                Event::Live => model.live(),
            }
            let before = model.tasks.iter().filter(|task| serves(task)).count();
            let (lived, was) = (model.living(), model.rollout.clone());
            model.look();
            let least = model.configuration.least(model.desired) as usize;
            let serving = model.tasks.iter().filter(|task| serves(task)).count();
            prop_assert!(serving >= before.min(least), "fewer than the minimum are left to serve");
            let most = (2 * model.desired as usize).max(lived);
            prop_assert!(model.living() <= most, "more than the maximum were started");
            if let Some(Division { blue, green, percent }) = model.division() {
                prop_assert!(!blue.is_empty());
                prop_assert!(blue.iter().all(|task| !green.contains(task)));
                prop_assert!(percent <= 100);
            }
            if let Some(shift) = &model.rollout.shift {
                let is_back = shift.stage == Stage::Back;
                let has_failed = model.rollout.state == RolloutState::Failed;
                let has_ended = has_failed || model.rollout.rolled_back_from.is_some();
                prop_assert_eq!(is_back, has_ended);
                prop_assert!(!is_back || shift.percent == 0, "after a rollback green has no weight");
                let of_before = was.shift.filter(|_| was.id == model.rollout.id && !is_back);
                prop_assert!(of_before.is_none_or(|before| before.percent <= shift.percent), "weight only grows");
            }
            prop_assert_eq!(model.planned().actions, vec![], "planned twice");
        }
        (model.is_paused, model.is_aborted) = (false, false);
        model.raised.clear();
        for _ in 0..60 {
            model.now_ms += service::BACKOFF_MOST_MS;
            model.settle();
        }
        prop_assert!(model.rollout.state != RolloutState::InProgress, "every shift ends");
        let serves = match model.rollout.state {
            RolloutState::Completed => Some(&model.rollout.definition),
            RolloutState::InProgress | RolloutState::Failed => model.rollout.blue(),
        };
        if let Some(serves) = serves {
            prop_assert_eq!(model.weight_of(serves), 100);
            prop_assert_eq!(model.serving(serves), model.desired as usize);
        }
    }
}
