//! Properties of the service planner, on a small model of a service that applies its actions and lets tasks live.

use super::*;
use crate::living::live;
use proptest::prelude::*;
use skiff_types::{Group, Namespace, Span};

mod waits;

fn definition(revision: u32) -> TaskDefinitionId {
    TaskDefinitionId { family: "hello".parse().unwrap(), revision }
}

/// What a service is to have, owned.
#[derive(Debug, Clone)]
struct Spec {
    name: Name,
    definition: TaskDefinitionId,
    completed: Option<TaskDefinitionId>,
    desired: u32,
    configuration: DeploymentConfiguration,
    is_paused: bool,
    is_failed: bool,
}

impl Spec {
    fn within(self, min_healthy_percent: u16, max_percent: u16) -> Self {
        let configuration =
            DeploymentConfiguration { min_healthy_percent, max_percent, ..self.configuration };
        Self { configuration, ..self }
    }
}

fn spec(revision: u32, desired: u32) -> Spec {
    Spec {
        name: "hello".parse().unwrap(),
        definition: definition(revision),
        completed: None,
        desired,
        configuration: DeploymentConfiguration::default(),
        is_paused: false,
        is_failed: false,
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

    fn whole(&self, spec: &Spec) -> Plan {
        let wanted = Wanted {
            name: &spec.name,
            definition: &spec.definition,
            completed: spec.completed.as_ref(),
            blue: None,
            desired: spec.desired,
            configuration: &spec.configuration,
            is_paused: spec.is_paused,
            is_failed: spec.is_failed,
        };
        plan(&wanted, &self.known, &self.tasks.iter().collect::<Vec<_>>(), self.now_ms)
    }

    fn plan(&self, spec: &Spec) -> Vec<Action> {
        self.whole(spec).actions
    }

    fn apply(&mut self, spec: &Spec, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { definition, attempt, start_after_ms } => {
                    self.made = self.made.wrapping_add(1);
                    self.tasks.push(Task {
                        attempt,
                        start_after_ms,
                        ..Task::new(
                            TaskId::from_parts(self.now_ms, [self.made; 10]),
                            Namespace::default(),
                            Group::Service(spec.name.clone()),
                            definition,
                            self.now_ms,
                        )
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
        live(&mut self.tasks, self.now_ms);
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

    /// As after a `kill -9`: tasks of `http` are on their way again, under their ids; others have ended.
    fn restart(&mut self) {
        let running = self.tasks.iter_mut().filter(|task| task.status == TaskStatus::Running);
        for task in running.filter(|task| task.stop.is_none()) {
            if self.known.kind == Some(Kind::Http) {
                task.status = TaskStatus::Activating;
            } else {
                task.stop = Some(StoppedReason { code: StopCode::PlatformStopped, message: String::new() });
            }
        }
    }

    /// Plans and applies, and has every task take its step.
    fn step(&mut self, spec: &Spec) {
        let actions = self.plan(spec);
        self.apply(spec, actions);
        self.live();
    }

    fn serving(&self) -> usize {
        self.tasks.iter().filter(|task| serves(task)).count()
    }

    fn living(&self) -> usize {
        self.tasks.iter().filter(|task| !task.is_stopping()).count()
    }

    /// How many of the first revision run, how many of others are on their way, and how many of others run.
    fn picture(&self) -> [usize; 3] {
        let count = |is: &dyn Fn(&Task) -> bool| {
            self.tasks.iter().filter(|task| !task.is_stopping() && is(task)).count()
        };
        let is_first = |task: &Task| task.definition == definition(1);
        [
            count(&|task| is_first(task) && task.is_ready()),
            count(&|task| !is_first(task) && !task.is_ready()),
            count(&|task| !is_first(task) && task.is_ready()),
        ]
    }
}

fn serves(task: &Task) -> bool {
    task.is_ready() && task.stop.is_none()
}

#[derive(Debug, Clone)]
enum Event {
    Deploy(u32),
    Scale(u32),
    Bounds(u16, u16),
    Fail(usize),
    Sicken(usize),
    Restart,
    Wait(u64),
    Live,
}

/// Bounds that are not refused.
fn bounds() -> impl Strategy<Value = (u16, u16)> {
    let usual: Vec<(u16, u16)> = vec![(100, 200), (50, 100), (100, 150), (0, 100), (75, 125), (100, 400)];
    let bounds = prop::sample::select(usual);
    prop_oneof![bounds, (0..=100_u16, 101..=400_u16)]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..4u32).prop_map(Event::Deploy),
        (0..9u32).prop_map(Event::Scale),
        bounds().prop_map(|(min, max)| Event::Bounds(min, max)),
        (0..9usize).prop_map(Event::Fail),
        (0..9usize).prop_map(Event::Sicken),
        Just(Event::Restart),
        (0..400_000u64).prop_map(Event::Wait),
        Just(Event::Live),
        Just(Event::Live),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #[test]
    fn whatever_happens_it_converges_within_its_bounds(
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
                Event::Bounds(min, max) => spec = spec.within(min, max),
                Event::Fail(index) => model.fail(index),
                Event::Sicken(index) => model.sicken(index),
                Event::Restart => model.restart(),
                Event::Wait(ms) => model.now_ms += ms,
                Event::Live => model.live(),
            }
            let (served, lived) = (model.serving(), model.living());
            let actions = model.plan(&spec);
            let starts = actions.iter().any(|action| matches!(action, Action::Start { .. }));
            model.apply(&spec, actions);
            let least = spec.configuration.least(spec.desired) as usize;
            let most = spec.configuration.most(spec.desired) as usize;
            prop_assert!(model.serving() >= served.min(least), "fewer than the minimum are left");
            let allowed = if starts { most } else { lived };
            prop_assert!(model.living() <= allowed, "more than the maximum were started");
            let is_sick = |task: &&Task| task.health == Health::Unhealthy && task.stop.is_none();
            let sick = model.tasks.iter().filter(is_sick).count();
            let desired = spec.desired as usize;
            let spared_max = if is_http { desired.min(most - desired) } else { 0 };
            prop_assert!(sick <= spared_max, "{sick} unhealthy tasks stay");
            prop_assert_eq!(model.plan(&spec), vec![], "planned twice");
        }
        for _ in 0..50 {
            model.now_ms += BACKOFF_MOST_MS;
            model.step(&spec);
        }
        let living: Vec<_> = model.tasks.iter().filter(|task| serves(task)).collect();
        prop_assert_eq!(living.len(), spec.desired as usize);
        let is_stuck = model.whole(&spec).stuck.is_some();
        let is_done = living.iter().all(|task| task.definition == spec.definition);
        prop_assert!(is_done != is_stuck);
        let (least, most) = (spec.configuration.least(spec.desired), spec.configuration.most(spec.desired));
        prop_assert!(!is_stuck || least == most, "no step is allowed, and only then is it stuck");
        prop_assert_eq!(model.plan(&spec), vec![], "nothing moves any more");
    }
}

/// A service of four tasks that goes to the next revision: what there is after each plan, and once what was started serves.
fn pictures(min_healthy_percent: u16, max_percent: u16) -> Vec<[usize; 3]> {
    let (old, new) = (spec(1, 4), spec(2, 4).within(min_healthy_percent, max_percent));
    let mut model = Model::of(Kind::Http);
    model.step(&old);
    let mut pictures = vec![model.picture()];
    loop {
        let actions = model.plan(&new);
        if actions.is_empty() {
            return pictures;
        }
        model.apply(&new, actions);
        pictures.push(model.picture());
        model.live();
        pictures.push(model.picture());
    }
}

#[test]
fn four_tasks_at_a_minimum_of_100_and_a_maximum_of_150_percent() {
    let expected = [[4, 0, 0], [4, 2, 0], [4, 0, 2], [2, 2, 2], [2, 0, 4], [0, 0, 4], [0, 0, 4]];
    assert_eq!(pictures(100, 150), expected);
}

#[test]
fn four_tasks_at_a_minimum_of_50_and_a_maximum_of_100_percent() {
    assert_eq!(pictures(50, 100), [[4, 0, 0], [2, 2, 0], [2, 0, 2], [0, 2, 2], [0, 0, 4]]);
}

#[test]
fn four_tasks_at_the_bounds_that_hold_where_nothing_is_said() {
    assert_eq!(pictures(100, 200), [[4, 0, 0], [4, 4, 0], [4, 0, 4], [0, 0, 4], [0, 0, 4]]);
}

#[test]
fn where_no_step_is_allowed_it_says_so_until_one_is() {
    let (old, new) = (spec(1, 1), spec(2, 1).within(100, 150));
    let mut model = Model::of(Kind::Http);
    model.step(&old);
    let plan = model.whole(&new);
    assert_eq!((plan.actions, plan.again_at_ms), (vec![], None));
    let message = plan.stuck.expect("it is stuck").message;
    assert!(message.contains("a desired count of 1") && message.contains("hello:2"), "{message}");
    let wide = Spec { desired: 2, ..new };
    let plan = model.whole(&wide);
    assert_eq!((plan.actions.len(), plan.stuck), (2, None), "two of the new one start, which makes three");
    assert_eq!(model.whole(&old).stuck, None, "what is done is not stuck");
}

#[test]
fn nothing_is_stuck_while_something_is_under_way() {
    // One of the new ones is on its way.
    let (old, new) = (spec(1, 1), spec(2, 1));
    let mut model = Model::of(Kind::Http);
    model.step(&old);
    let actions = model.plan(&new);
    model.apply(&new, actions);
    let plan = model.whole(&new);
    assert_eq!((plan.actions, plan.stuck), (vec![], None));

    // The old one is, as after a start of the platform.
    let narrow = spec(2, 1).within(100, 150);
    let mut model = Model::of(Kind::Http);
    model.step(&old);
    model.restart();
    let plan = model.whole(&narrow);
    assert_eq!((plan.actions, plan.stuck), (vec![], None));
    model.live();
    assert!(model.whole(&narrow).stuck.is_some());

    // An unhealthy one stays until what takes its place was checked.
    let mut model = Model::of(Kind::Http);
    model.known.checked_within_ms = 5_000;
    model.step(&old);
    (model.tasks[0].ready_at_ms, model.tasks[0].health) = (None, Health::Unhealthy);
    let actions = model.plan(&old);
    assert!(matches!(actions[..], [Action::Start { .. }]), "{actions:?}");
    model.apply(&old, actions);
    model.now_ms += BACKOFF_FIRST_MS;
    model.live();
    // It lives again by that, but is as sick as before.
    (model.tasks[0].ready_at_ms, model.tasks[0].health) = (None, Health::Unhealthy);
    let plan = model.whole(&new);
    assert_eq!((plan.actions, plan.stuck), (vec![], None));
}

#[test]
fn a_grace_period_lets_checks_fail_and_holds_nothing_back_that_succeeds() {
    let mut spec = spec(1, 1);
    spec.configuration.grace = Some(Span::from_ms(60_000));
    let mut model = Model::of(Kind::Command);
    model.step(&spec);
    let started_ms = model.now_ms;
    (model.tasks[0].health, model.tasks[0].ready_at_ms) = (Health::Unhealthy, None);
    model.now_ms += 59_999;
    let plan = model.whole(&spec);
    assert_eq!((plan.actions, plan.again_at_ms), (vec![], Some(started_ms + 60_000)));
    model.now_ms += 1;
    let plan = model.whole(&spec);
    assert!(matches!(plan.actions[..], [Action::Stop { .. }, Action::Start { attempt: 1, .. }]), "{plan:?}");
    model.tasks[0].health = Health::Healthy;
    assert_eq!(model.whole(&spec), Plan::default());
}

#[test]
fn a_paused_deployment_takes_no_step_and_replaces_what_is_lost_by_what_completed() {
    let (old, new) = (spec(1, 4), spec(2, 4).within(50, 100));
    let mut model = Model::of(Kind::Http);
    model.step(&old);
    model.step(&new);
    let halted = Spec { is_paused: true, completed: Some(definition(1)), ..new };
    let failed = Spec { is_paused: false, is_failed: true, ..halted.clone() };
    for standing in [&halted, &failed] {
        assert_eq!(model.whole(standing), Plan::default());
        let mut model = Model { tasks: model.tasks.clone(), ..model };
        model.fail(3);
        let actions = model.plan(standing);
        let [Action::Start { definition: started, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(*started, definition(1));
        model.apply(standing, actions);
        assert_eq!(model.plan(standing), vec![]);
        let first = Spec { completed: None, ..standing.clone() };
        model.fail(0);
        assert_eq!(model.plan(&first), vec![], "there is nothing that is known to serve");
        let narrow = Spec { desired: 1, ..standing.clone() };
        model.live();
        assert_eq!(model.plan(&narrow).len(), model.living() - 2, "one of each stays");
        let gone = Spec { desired: 0, ..standing.clone() };
        assert_eq!(model.plan(&gone).len(), model.living());
    }
}

#[test]
fn what_served_before_a_restart_stays_until_enough_serve() {
    let (old, new) = (spec(1, 2), spec(2, 2));
    let mut model = Model::of(Kind::Http);
    model.step(&old);
    let actions = model.plan(&new);
    model.apply(&new, actions);
    model.restart();
    assert_eq!(model.plan(&new), vec![], "the old ones come back sooner than the new ones are known to");
    model.live();
    assert_eq!(model.plan(&new).len(), 2);
    let mut model = Model::of(Kind::Http);
    let actions = model.plan(&old);
    model.apply(&old, actions);
    let stopped = |action: &&Action| matches!(action, Action::Stop { .. });
    assert_eq!(model.plan(&new).iter().filter(stopped).count(), 2, "what never served goes at once");
}

#[test]
fn it_is_looked_at_again_when_a_check_would_have_spoken() {
    let (mut model, spec) = (Model::of(Kind::Http), spec(1, 1));
    model.known.checked_within_ms = 20_000;
    model.step(&spec);
    assert_eq!(model.whole(&spec).again_at_ms, Some(model.now_ms + 20_000));
    model.tasks[0].health = Health::Healthy;
    assert_eq!(model.whole(&spec).again_at_ms, None, "it has spoken");
    model.tasks[0].health = Health::Unchecked;
    model.now_ms += 20_000;
    assert_eq!(model.whole(&spec).again_at_ms, None);
}

#[test]
fn what_served_and_is_unhealthy_is_of_no_use_to_another_revision_whatever_its_grace() {
    let mut old = spec(1, 1);
    old.configuration.grace = Some(Span::from_ms(60_000));
    let new = Spec { definition: definition(2), ..old.clone() };
    let mut model = Model::new();
    model.step(&old);
    model.tasks[0].health = Health::Unhealthy;
    assert_eq!(model.plan(&old), vec![], "it may become well yet");
    let actions = model.plan(&new);
    assert!(matches!(&actions[..], [Action::Stop { .. }, Action::Start { .. }]), "{actions:?}");
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
