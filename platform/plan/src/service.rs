//! How a service keeps its desired count of tasks, and how it goes from one revision to the next: start what is missing,
//! replace what is old, stop what is too much. As ECS's scheduler does it, within the bounds of its deployment
//! configuration.
//!
//! It deliberately does not place tasks, nor check their health, nor say when a deployment has failed (`rollout` does): a
//! task that is `RUNNING`, and not known to be unhealthy or yet to be reached, serves; in the stead of another only once
//! its first check is over, where it is checked. One that is unhealthy is stopped, and counts as one that ended by itself;
//! but while no other serves, an unhealthy `http` task stays until one does, as far as there is room for those that are to
//! replace it, since the load balancer rather sends requests to it than to nobody.
//!
//! While weight moves from one revision (blue) to another (green), both are kept whole, each by itself: what is of neither is
//! replaced by blue's, and green serves in nobody's stead.
//!
//! What always holds: of the tasks that serve, none is stopped for a newer revision by which fewer than the minimum would
//! serve; nothing is started by which there would be more than the maximum, those that end apart, or while both revisions are
//! kept whole more than twice the desired count, if that is more; what was planned and carried out plans nothing more.

use skiff_types::{
    DeploymentConfiguration, Health, Kind, Name, StopCode, StoppedReason, Task, TaskDefinitionId, TaskId,
    TaskStatus,
};

/// The wait before a task that ended by itself is started again for the first time, in milliseconds.
pub const BACKOFF_FIRST_MS: u64 = 100;
/// The longest wait before a task is started again, in milliseconds.
pub const BACKOFF_MOST_MS: u64 = 300_000;
/// A program that nobody checks serves in the stead of others once it has stayed up for so long, in milliseconds.
pub const STAYS_UP_MS: u64 = 1_000;
/// A task that was ready this long ago had started well: the wait after it is the first one again; in milliseconds.
pub const RAN_WELL_MS: u64 = 30_000;

/// The tasks that there are at most while two revisions are kept whole, in percent of the desired count, unless more are
/// allowed at any time.
const BOTH_PERCENT: u16 = 200;

/// What is to be done for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a task.
    Start {
        /// What it runs.
        definition: TaskDefinitionId,
        /// How many tasks in a row failed before it; [`Task::attempt`].
        attempt: u32,
        /// Not before this time, in milliseconds since 1970; [`Task::start_after_ms`].
        start_after_ms: u64,
    },
    /// Stop a task.
    Stop {
        /// Which.
        task: TaskId,
        /// What it is told.
        reason: StoppedReason,
    },
}

/// What a service is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The service's name.
    pub name: &'a Name,
    /// What its tasks are to run.
    pub definition: &'a TaskDefinitionId,
    /// The last revision that completed: what takes the place of lost tasks while the service may not go on to
    /// `definition`.
    pub completed: Option<&'a TaskDefinitionId>,
    /// The revision that is to be whole beside `definition`, while requests may go to either.
    pub blue: Option<&'a TaskDefinitionId>,
    /// How many tasks; of a service that is to go none.
    pub desired: u32,
    /// How it goes from one revision to the next.
    pub configuration: &'a DeploymentConfiguration,
    /// Its user halted the deployment: it takes no step.
    pub is_paused: bool,
    /// The deployment has failed: it takes no step.
    pub is_failed: bool,
}

/// What is known of a service beside its tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// What its tasks are, where that is known.
    pub kind: Option<Kind>,
    /// Of `http` tasks that are checked: how long it takes at most until it is known of a new one whether it is healthy, in
    /// milliseconds; else 0.
    pub checked_within_ms: u64,
}

/// What is to be done now, and when to look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is to be done, in any order but that what is to stop makes room for what is to start.
    pub actions: Vec<Action>,
    /// Look again then, in milliseconds since 1970, if nothing has changed.
    pub again_at_ms: Option<u64>,
    /// Why the deployment can't go on.
    pub stuck: Option<Stuck>,
}

/// No step is allowed although not all tasks are what they are to be, and nothing is under way that would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Why, and what to do: a sentence for people.
    pub message: String,
}

/// What is to be done so that a service has what is wanted, given all its tasks, stopped ones too.
pub fn plan(wanted: &Wanted<'_>, known: &Known, tasks: &[&Task], now_ms: u64) -> Plan {
    let judge = Judge { wanted, known, now_ms };
    let living: Vec<&Task> = tasks.iter().copied().filter(|task| !task.is_stopping()).collect();
    let again_at_ms = judge.again_at_ms(&living);
    let (actions, stuck) = match wanted.blue {
        Some(blue) => (judge.keep_both(blue, living, tasks), None),
        None => judge.keep(living, tasks),
    };
    Plan { actions, again_at_ms, stuck }
}

/// Of how much use a task of an older revision still is; the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// It never served.
    None,
    /// It served before the platform was started again, and is on its way to do so.
    Returning,
    /// It serves, and nobody knows yet whether it is healthy.
    Unproven,
    /// It serves.
    Proven,
}

/// What can be said of a service's tasks at one time.
struct Judge<'a> {
    wanted: &'a Wanted<'a>,
    known: &'a Known,
    now_ms: u64,
}

impl Judge<'_> {
    fn desired(&self) -> usize {
        self.wanted.desired as usize
    }

    fn least(&self) -> usize {
        self.wanted.configuration.least(self.wanted.desired) as usize
    }

    fn most(&self) -> usize {
        self.wanted.configuration.most(self.wanted.desired).max(self.wanted.desired) as usize
    }

    fn is_http(&self) -> bool {
        self.known.kind == Some(Kind::Http)
    }

    /// When failed checks of a task begin to count.
    fn checks_count_from_ms(&self, task: &Task) -> u64 {
        let grace_ms = self.wanted.configuration.grace.map_or(0, |grace| grace.ms());
        task.started_at_ms.unwrap_or(task.created_at_ms).saturating_add(grace_ms)
    }

    fn is_unhealthy(&self, task: &Task) -> bool {
        task.health == Health::Unhealthy && self.checks_count_from_ms(task) <= self.now_ms
    }

    fn is_current(&self, task: &Task) -> bool {
        task.definition == *self.wanted.definition
    }

    fn use_of(&self, task: &Task) -> Use {
        match task.is_ready() {
            true if self.known.is_proven(task, self.now_ms) => Use::Proven,
            true => Use::Unproven,
            false if task.status < TaskStatus::Running && task.ready_at_ms.is_some() => Use::Returning,
            false => Use::None,
        }
    }

    /// When something is otherwise that follows from the time alone.
    fn again_at_ms(&self, living: &[&Task]) -> Option<u64> {
        let proven = living.iter().filter(|task| task.is_ready() && task.health != Health::Healthy);
        let proven = proven.map(|task| self.known.known_at_ms(task, self.now_ms));
        let sick = living.iter().filter(|task| task.health == Health::Unhealthy);
        let times = proven.chain(sick.map(|task| self.checks_count_from_ms(task)));
        times.filter(|at_ms| *at_ms > self.now_ms).min()
    }

    /// How many unhealthy tasks stay for want of others, and leave room for those that replace them.
    fn spared_max(&self, others: &[&Task]) -> usize {
        let is_served = others.iter().any(|task| self.known.is_proven(task, self.now_ms));
        let room = self.most() - self.desired();
        if self.is_http() && !is_served { room.min(self.desired()) } else { 0 }
    }

    /// What is to be done for these tasks; why the deployment can't go on, if that is so.
    fn keep(&self, living: Vec<&Task>, all: &[&Task]) -> (Vec<Action>, Option<Stuck>) {
        let (sick, rest): (Vec<&Task>, Vec<&Task>) =
            living.into_iter().partition(|task| self.is_unhealthy(task));
        let sick_count = sick.len();
        let sick = all_but_newest(sick, self.spared_max(&rest));
        let spared = sick_count - sick.len();
        let mut actions: Vec<Action> = sick.into_iter().map(stop_unhealthy).collect();
        let mut stuck = None;
        if self.wanted.is_paused || self.wanted.is_failed {
            self.stand(&rest, spared, all, &mut actions);
        } else {
            stuck = self.roll(&rest, spared, all, &mut actions);
        }
        (actions, stuck)
    }

    /// Blue is kept whole as if nobody deployed anything else, and green beside it, as far as there is room; a deployment that
    /// has failed starts no more of it. That its user halted it holds its weight, not its tasks.
    fn keep_both(&self, blue: &TaskDefinitionId, living: Vec<&Task>, all: &[&Task]) -> Vec<Action> {
        let configuration = DeploymentConfiguration {
            max_percent: self.wanted.configuration.max_percent.max(BOTH_PERCENT),
            ..self.wanted.configuration.clone()
        };
        let wanted = Wanted {
            definition: blue,
            configuration: &configuration,
            is_paused: false,
            is_failed: false,
            ..*self.wanted
        };
        let serving = Judge { wanted: &wanted, known: self.known, now_ms: self.now_ms };
        let (green, rest): (Vec<&Task>, Vec<&Task>) =
            living.into_iter().partition(|task| self.is_current(task));
        let (sick, green): (Vec<&Task>, Vec<&Task>) =
            green.into_iter().partition(|task| self.is_unhealthy(task));
        let surplus = green.len().saturating_sub(self.desired());
        let missing = self.desired().saturating_sub(green.len());
        let green_count = green.len() - surplus;
        let rest_count = rest.len();

        let (mut actions, _) = serving.keep(rest, all);
        let stops = actions.iter().filter(|action| matches!(action, Action::Stop { .. })).count();
        let mut room = serving.most().saturating_sub(rest_count - stops + green_count);
        actions.retain(|action| match action {
            Action::Start { .. } => {
                let has_room = room > 0;
                room = room.saturating_sub(1);
                has_room
            }
            Action::Stop { .. } => true,
        });
        actions.extend(sick.into_iter().map(stop_unhealthy));
        self.stop_scaled_in(first_to_go(green).take(surplus).collect(), &mut actions);
        if !self.wanted.is_failed {
            self.start(self.wanted.definition, missing.min(room), all, &mut actions);
        }
        actions
    }

    /// The deployment takes the steps that its bounds allow; why it can't go on, if that is so.
    fn roll(
        &self,
        tasks: &[&Task],
        spared: usize,
        all: &[&Task],
        actions: &mut Vec<Action>,
    ) -> Option<Stuck> {
        let (current, old): (Vec<&Task>, Vec<&Task>) =
            tasks.iter().copied().partition(|task| self.is_current(task));
        let surplus = current.len().saturating_sub(self.desired());
        let mut current: Vec<&Task> = first_to_go(current).collect();
        let mut scaled_in: Vec<&Task> = current.drain(..surplus).collect();

        let (leaving, staying) = self.replaced(old, &current);
        // So many may be too many since the count is smaller: those that never served go.
        let excess = (spared + current.len() + staying.len()).saturating_sub(self.most());
        let (idle, mut current): (Vec<&Task>, Vec<&Task>) =
            current.into_iter().partition(|task| self.use_of(task) == Use::None);
        let (too_many, idle) = idle.split_at(excess.min(idle.len()));
        scaled_in.extend(too_many);
        current.extend(idle);

        let room = self.most().saturating_sub(spared + current.len() + staying.len());
        let missing = self.desired().saturating_sub(current.len());
        self.stop_scaled_in(scaled_in, actions);
        self.stop_replaced(leaving, actions);
        self.start(self.wanted.definition, missing.min(room), all, actions);

        let is_under_way = spared > 0
            || !current.iter().all(|task| self.use_of(task) == Use::Proven)
            || !staying.iter().all(|task| task.is_ready());
        // Where none of another revision stays, there is room for all that is missing.
        (actions.is_empty() && !staying.is_empty() && !is_under_way).then(|| self.stuck())
    }

    /// The tasks of older revisions that go, and those that stay since fewer than the least would serve without them.
    fn replaced<'t>(&self, mut old: Vec<&'t Task>, current: &[&Task]) -> (Vec<&'t Task>, Vec<&'t Task>) {
        let least = self.least();
        let proven = current.iter().filter(|task| self.use_of(task) == Use::Proven).count();
        let mut serving = proven + old.iter().filter(|task| task.is_ready()).count();
        old.sort_by_key(|task| (self.use_of(task), std::cmp::Reverse(task.id)));
        old.into_iter().partition(|task| match self.use_of(task) {
            Use::None => true,
            Use::Returning => serving >= least,
            Use::Unproven | Use::Proven if serving > least => {
                serving -= 1;
                true
            }
            Use::Unproven | Use::Proven => false,
        })
    }

    /// The deployment takes no step: what runs stays, whatever its revision, and what is lost is replaced by what completed.
    fn stand(&self, tasks: &[&Task], spared: usize, all: &[&Task], actions: &mut Vec<Action>) {
        let (current, old): (Vec<&Task>, Vec<&Task>) =
            tasks.iter().copied().partition(|task| self.is_current(task));
        let kept = current.len().min(self.desired()) + old.len().min(self.desired());
        for side in [current, old] {
            let surplus = side.len().saturating_sub(self.desired());
            self.stop_scaled_in(first_to_go(side).take(surplus).collect(), actions);
        }
        let room = self.most().saturating_sub(spared + kept);
        let missing = self.desired().saturating_sub(kept);
        if let Some(definition) = self.wanted.completed {
            self.start(definition, missing.min(room), all, actions);
        }
    }

    fn start(&self, definition: &TaskDefinitionId, count: usize, all: &[&Task], actions: &mut Vec<Action>) {
        if count == 0 {
            return;
        }
        let (attempt, start_after_ms) = self.next_start(definition, all);
        let start = Action::Start { definition: definition.clone(), attempt, start_after_ms };
        actions.extend(std::iter::repeat_n(start, count));
    }

    fn stop_scaled_in(&self, tasks: Vec<&Task>, actions: &mut Vec<Action>) {
        let message = format!("the service {} was scaled in to {}", self.wanted.name, self.wanted.desired);
        actions.extend(tasks.into_iter().map(|task| stop(task, &message)));
    }

    fn stop_replaced(&self, tasks: Vec<&Task>, actions: &mut Vec<Action>) {
        if self.wanted.desired == 0 {
            return self.stop_scaled_in(tasks, actions);
        }
        let message = format!("the service {} now runs {}", self.wanted.name, self.wanted.definition);
        actions.extend(tasks.into_iter().map(|task| stop(task, &message)));
    }

    fn stuck(&self) -> Stuck {
        let Wanted { definition, desired, configuration, .. } = self.wanted;
        let DeploymentConfiguration { min_healthy_percent, max_percent, .. } = configuration;
        let message = format!(
            "the deployment of {definition} can't go on: with a desired count of {desired}, a minimum healthy percent of \
             {min_healthy_percent} lets no task stop before another one serves, and a maximum percent of {max_percent} \
             lets none start before one has stopped; lower the minimum, raise the maximum, or scale the service out"
        );
        Stuck { message }
    }

    /// The attempt and the earliest time of the next start, by how the latest task of the definition ended.
    fn next_start(&self, definition: &TaskDefinitionId, tasks: &[&Task]) -> (u32, u64) {
        let now_ms = self.now_ms;
        let ended_at_ms = |task: &Task| task.stopped_at_ms.unwrap_or(now_ms);
        // When one that finishes what it has began to end is not known, only that it had started. Taken for one that ends
        // now, it would hide every failure of those in its place for as long as it finishes. An unhealthy `http` task ends
        // only after the one in its place has started, and would hide that one's failure.
        let may_stay = |task: &Task| self.is_http() && self.stop_code(task) == Some(StopCode::Unhealthy);
        let began_to_end_ms = |task: &Task| match is_finishing(task) || may_stay(task) {
            true => task.started_at_ms.unwrap_or(task.created_at_ms),
            false => ended_at_ms(task),
        };
        let latest = tasks
            .iter()
            .filter(|task| task.definition == *definition)
            .filter_map(|task| Some((*task, ended_by_itself(self.stop_code(task)?))))
            .max_by_key(|(task, _)| (began_to_end_ms(task), task.attempt, task.id));
        let Some((task, by_itself)) = latest else { return (0, now_ms) };
        let ran_well = ran_well(task, ended_at_ms(task));
        let before = if ran_well { 0 } else { task.attempt };
        if by_itself {
            let attempt = before.saturating_add(1);
            // No longer than the wait itself, whatever the clock was when the task ended.
            let wait_ms = backoff_ms(attempt);
            let due_ms = ended_at_ms(task).saturating_add(wait_ms).min(now_ms.saturating_add(wait_ms));
            (attempt, now_ms.max(due_ms))
        } else if ran_well {
            (0, now_ms)
        } else {
            (before, now_ms.max(task.start_after_ms))
        }
    }

    /// Why a task ends or has ended; of an unhealthy one, why it is about to.
    fn stop_code(&self, task: &Task) -> Option<StopCode> {
        let unhealthy = || self.is_unhealthy(task).then_some(StopCode::Unhealthy);
        task.stop.as_ref().map(|stop| stop.code).or_else(unhealthy)
    }
}

impl Known {
    /// When it is known of a task at the latest whether it is healthy; of a program that nobody checks, whether it stays up.
    fn known_at_ms(&self, task: &Task, now_ms: u64) -> u64 {
        let within_ms = match self.kind {
            Some(Kind::Command) if task.health == Health::Unchecked => STAYS_UP_MS,
            Some(Kind::Command | Kind::Http | Kind::Event) | None => self.checked_within_ms,
        };
        task.started_at_ms.unwrap_or(now_ms).saturating_add(within_ms)
    }

    /// Whether a task may serve in the stead of others: it is ready, and nobody is yet to find out whether it is healthy.
    pub fn is_proven(&self, task: &Task, now_ms: u64) -> bool {
        task.is_ready() && (task.health == Health::Healthy || self.known_at_ms(task, now_ms) <= now_ms)
    }
}

/// The wait before a task that follows `attempt` failures, in milliseconds; none after none.
pub fn backoff_ms(attempt: u32) -> u64 {
    match attempt.checked_sub(1) {
        None => 0,
        Some(doublings) => BACKOFF_FIRST_MS.saturating_mul(1 << doublings.min(32)).min(BACKOFF_MOST_MS),
    }
}

/// The newest of these tasks are left out, so many.
fn all_but_newest(mut tasks: Vec<&Task>, count: usize) -> Vec<&Task> {
    tasks.sort_by_key(|task| std::cmp::Reverse(task.id));
    tasks.split_off(count.min(tasks.len()))
}

/// Whether a task that ended at this time, in milliseconds since 1970, had started well.
pub(crate) fn ran_well(task: &Task, ended_at_ms: u64) -> bool {
    task.ready_at_ms.is_some_and(|ready| ended_at_ms.saturating_sub(ready) >= RAN_WELL_MS)
}

fn is_finishing(task: &Task) -> bool {
    matches!(task.status, TaskStatus::Deactivating | TaskStatus::Stopping)
}

/// Whether nobody asked for the end of a task that stopped with this code.
pub fn ended_by_itself(code: StopCode) -> bool {
    match code {
        StopCode::TaskFailedToStart
        | StopCode::Exited
        | StopCode::Trapped
        | StopCode::OutOfMemory
        | StopCode::WorkerLost
        | StopCode::NodeLost
        | StopCode::Unhealthy => true,
        StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated | StopCode::PlatformStopped => false,
    }
}

/// Tasks in the order in which they can best be spared: those that don't serve yet, then the newest.
fn first_to_go(mut tasks: Vec<&Task>) -> impl Iterator<Item = &Task> {
    tasks.sort_by_key(|task| (task.is_ready(), std::cmp::Reverse(task.id)));
    tasks.into_iter()
}

fn stop(task: &Task, message: &str) -> Action {
    let reason = StoppedReason { code: StopCode::ServiceSchedulerInitiated, message: message.to_owned() };
    Action::Stop { task: task.id, reason }
}

fn stop_unhealthy(task: &Task) -> Action {
    Action::Stop { task: task.id, reason: unhealthy(task) }
}

/// What an unhealthy task is told that is to stop for that.
pub(crate) fn unhealthy(task: &Task) -> StoppedReason {
    let message = task.health_reason.clone().unwrap_or_else(|| "it was not reached at its port".to_owned());
    StoppedReason { code: StopCode::Unhealthy, message }
}

#[cfg(test)]
mod tests;
