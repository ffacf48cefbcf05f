//! What users and fate do, drawn from a seed: which services there are, what is deployed when, what goes wrong when.
//!
//! What is drawn can always be carried out in the end: what is not (a revision whose programs fail) has a circuit breaker, and
//! nobody asks for bounds by which no task could ever be replaced.

use crate::cluster::{Behaviour, End, Fault};
use crate::dice::Dice;
use crate::scenes::{self, Act, Scene};
use crate::store::Death;

/// For how long users and fate do things, in milliseconds.
pub(crate) const BUSY_MS: u64 = 90_000;

/// What users do about deployments.
const ROLLOUT_ACTIONS: [&str; 3] = ["PAUSE", "RESUME", "ABORT"];

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) nodes: u32,
    /// Services, by number.
    pub(crate) services: Vec<ServicePlan>,
    /// In the order of their times, in milliseconds.
    pub(crate) steps: Vec<(u64, Step)>,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServicePlan {
    pub(crate) is_http: bool,
    /// Between two requests to it, in milliseconds.
    pub(crate) asked_every_ms: u64,
    /// The zone that its tasks are to be in, if that matters.
    pub(crate) zone: Option<u64>,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A user deploys a revision of a service.
    Deploy { service: usize, behaviour: Behaviour, bounds: Bounds, desired: u32 },
    /// A user changes how many tasks a service has.
    Scale { service: usize, desired: u32 },
    /// A user says how a service's count follows its load, between these counts.
    Follow { service: usize, least: u32, most: u32 },
    /// A user halts a deployment, lets it go on, or gives it up.
    Rollout { service: usize, action: &'static str },
    /// A user removes a service.
    Remove { service: usize },
    /// A scene has an act.
    Play(Scene, Act),
    /// Something befalls the nodes.
    Befalls(Fault),
    /// Whoever writes to the store dies.
    Dies(Death),
    /// Calls of the store take so long at most, in milliseconds.
    SlowStore(u64),
    /// Writes find that somebody else wrote.
    Conflicts(u32),
    /// Writes fail, and are done or not.
    Failures(u32),
    /// Watches are to list again.
    Compaction,
    /// The clock on the wall jumps, in milliseconds.
    Jump(i64),
    /// Nothing is wrong with the store any more.
    SoundStore,
}

/// How a deployment is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min_healthy_percent: u16,
    pub(crate) max_percent: u16,
    pub(crate) strategy: StrategyPlan,
    pub(crate) rolls_back: bool,
}

/// How weight moves in a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrategyPlan {
    Rolling,
    BlueGreen,
    Canary,
    Linear,
}

impl Scenario {
    /// What a seed stands for.
    pub(crate) fn draw(seed: u64) -> Self {
        let dice = Dice::new(seed, "scenario");
        let nodes = *dice.one_of(&[1, 2, 3, 5, 8, 13, 21]);
        let services: Vec<ServicePlan> = (0..dice.number(1..=4)).map(|_| ServicePlan::draw(&dice)).collect();
        let mut steps = Vec::new();
        for service in 0..services.len() {
            steps.push((dice.number(0..=2_000), deploy(&dice, &services, service, true)));
        }
        for _ in 0..dice.number(4..=14) {
            let service = dice.number(0..=services.len() as u64 - 1) as usize;
            let at_ms = dice.number(5_000..=BUSY_MS);
            steps.push((at_ms, of_user(&dice, &services, service)));
        }
        // Some seeds have no fault at all: what goes wrong there is nobody's fault but ours.
        if dice.chance(80) {
            for _ in 0..dice.number(1..=10) {
                steps.push((dice.number(3_000..=BUSY_MS), of_fate(&dice)));
            }
        }
        steps.extend(
            scenes::draw(seed).into_iter().map(|(at_ms, scene, act)| (at_ms, Step::Play(scene, act))),
        );
        steps.sort_by_key(|(at_ms, _)| *at_ms);
        Self { nodes, services, steps }
    }

    /// The same without scenes.
    pub(crate) fn without_scenes(mut self) -> Self {
        self.steps.retain(|(_, step)| !matches!(step, Step::Play(..)));
        self
    }

    /// Whether the clock on the wall is put back at some time.
    pub(crate) fn puts_back(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::Jump(by_ms) if *by_ms < 0))
    }
}

impl ServicePlan {
    fn draw(dice: &Dice) -> Self {
        let zone = if dice.chance(15) { Some(dice.number(0..=2)) } else { None };
        Self { is_http: dice.chance(50), asked_every_ms: dice.number(20..=400), zone }
    }
}

fn of_user(dice: &Dice, services: &[ServicePlan], service: usize) -> Step {
    match dice.number(0..=99) {
        0..=54 => deploy(dice, services, service, false),
        55..=74 => Step::Scale { service, desired: count(dice) },
        75..=82 => {
            let least = dice.number(1..=4) as u32;
            Step::Follow { service, least, most: least + dice.number(0..=12) as u32 }
        }
        83..=94 => Step::Rollout { service, action: ROLLOUT_ACTIONS[dice.number(0..=2) as usize] },
        _ => Step::Remove { service },
    }
}

fn of_fate(dice: &Dice) -> Step {
    match dice.number(0..=99) {
        0..=24 => Step::Befalls(Fault::TaskCrashes),
        25..=34 => Step::Befalls(Fault::WorkerDies),
        35..=44 => Step::Befalls(Fault::NodeLost { back_after_ms: dice.number(500..=20_000) }),
        45..=54 => Step::Befalls(Fault::Partition { for_ms: dice.number(200..=10_000) }),
        55..=69 => {
            let after_writes = dice.number(0..=40) as u32;
            Step::Dies(Death { after_writes, does_the_last: dice.chance(50) })
        }
        70..=76 => Step::SlowStore(dice.number(10..=400)),
        77..=83 => Step::Conflicts(dice.number(1..=20) as u32),
        84..=88 => Step::Failures(dice.number(1..=6) as u32),
        89..=92 => Step::Compaction,
        93..=96 => {
            let by_ms = dice.number(500..=600_000) as i64;
            Step::Jump(if dice.chance(50) { by_ms } else { -by_ms })
        }
        _ => Step::SoundStore,
    }
}

fn deploy(dice: &Dice, services: &[ServicePlan], service: usize, is_first: bool) -> Step {
    let is_http = services[service].is_http;
    // Of an `http` task nobody notices that its program fails, but its clients.
    let end = match dice.number(0..=99) {
        0..=9 if !is_http => End::AtOnce,
        10..=19 if !is_http => End::NeverHealthy,
        _ => End::None,
    };
    let end = if is_first { End::None } else { end };
    let behaviour =
        Behaviour { is_http, start_ms: dice.number(1..=300), healthy_ms: dice.number(10..=1_500), end };
    Step::Deploy { service, behaviour, bounds: Bounds::draw(dice), desired: count(dice) }
}

fn count(dice: &Dice) -> u32 {
    *dice.one_of(&[1, 1, 2, 3, 4, 5, 8, 10, 16, 25])
}

impl Bounds {
    fn draw(dice: &Dice) -> Self {
        let (min_healthy_percent, max_percent) =
            *dice.one_of(&[(100, 200), (100, 200), (50, 100), (100, 150), (50, 150), (0, 100), (75, 125)]);
        let strategies = [StrategyPlan::BlueGreen, StrategyPlan::Canary, StrategyPlan::Linear];
        let strategy = if dice.chance(70) { StrategyPlan::Rolling } else { *dice.one_of(&strategies) };
        Self { min_healthy_percent, max_percent, strategy, rolls_back: dice.chance(70) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_one_scenario_and_another_for_another() {
        assert_eq!(Scenario::draw(7), Scenario::draw(7));
        assert_ne!(Scenario::draw(7).steps, Scenario::draw(8).steps);
        let steps: Vec<Step> =
            (0..200).flat_map(|seed| Scenario::draw(seed).steps).map(|(_, step)| step).collect();
        let has = |is_such: fn(&Step) -> bool| assert!(steps.iter().any(is_such));
        has(|step| matches!(step, Step::Remove { .. }));
        has(|step| matches!(step, Step::Follow { .. }));
        has(|step| matches!(step, Step::Play(..)));
        has(|step| matches!(step, Step::Dies(_)));
        has(|step| matches!(step, Step::Befalls(Fault::Partition { .. })));
        has(|step| matches!(step, Step::Deploy { behaviour, .. } if behaviour.end == End::NeverHealthy));
    }
}
