//! Scenes: what is played beside the services of a scenario, from one to three in each seed, so that every seed plays a mix. Here
//! is only which and when; what each does is in `world/scenes.rs`, and below that.
//!
//! A scene has services, alarms, queues and families of its own. It is put up at some time (`Act::Begin`), stirred now and then
//! while faults happen (`Act::Stir`), and must be settled in the end (`World::unsettled_of`). Then, with all at rest and nothing
//! going wrong any more, most have an encore (`World::encore`): there what must come within a time is held to that time. Before, a
//! fault may always have been what it waited for, so no bound of time is held there, but that of coming to rest at all.
//!
//! To add a scene: a variant of [`Scene`] and its place in [`Scene::ALL`]; the compiler then names the matches in
//! `world/scenes.rs`, which lead to a file of `world/scenes/` that holds its calls of the API. What it needs of nodes goes to
//! `cluster`, of buses to `buses.rs`, of queues and tables to the crate `memory`, of what is checked at each write to
//! `checker/runs.rs`. A variant of `Sabotage` that breaks just its promise, for which [`crate::Sabotage::is_of_scenes`] says true,
//! and what is said then in `tests/it/caught.rs`.
//!
//! What always holds: scenes have dice of their own, so a scene that is added changes nothing of what the scenario's services do.

use crate::dice::Dice;
use crate::scenario::BUSY_MS;

/// The most scenes of one seed.
const SCENES_MAX: u64 = 3;
/// By when a scene is put up, in milliseconds.
const BEGIN_MOST_MS: u64 = 20_000;
/// How long it is left alone then at least, in milliseconds.
const STIR_AFTER_MS: u64 = 5_000;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// A service that has no task while nobody asks.
    Sleeper,
    /// A service that takes steps by alarms.
    Stepped,
    /// A service whose bounds move by the clock.
    Scheduled,
    /// A service whose deployments an alarm watches.
    Guarded,
    /// One-off tasks.
    Jobs,
    /// A service that is given a queue's messages, and is scaled by how many there are.
    Consumer,
    /// A schedule and a rule that run tasks.
    Timed,
}

impl Scene {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Sleeper,
        Self::Stepped,
        Self::Scheduled,
        Self::Guarded,
        Self::Jobs,
        Self::Consumer,
        Self::Timed,
    ];
}

/// What becomes of a scene at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is put up.
    Begin,
    /// Something happens in it.
    Stir,
}

/// What a seed plays, each with its time in milliseconds.
pub(crate) fn draw(seed: u64) -> Vec<(u64, Scene, Act)> {
    let dice = Dice::new(seed, "scenes");
    let (mut left, mut acts) = (Scene::ALL.to_vec(), Vec::new());
    for _ in 0..dice.number(1..=SCENES_MAX) {
        let scene = left.remove(dice.number(0..=left.len() as u64 - 1) as usize);
        let begin_ms = dice.number(1_000..=BEGIN_MOST_MS);
        acts.push((begin_ms, scene, Act::Begin));
        for _ in 0..dice.number(1..=4) {
            acts.push((dice.number(begin_ms + STIR_AFTER_MS..=BUSY_MS), scene, Act::Stir));
        }
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scene_is_played_by_some_seed_and_none_twice_by_one() {
        let begun = |seed| -> Vec<Scene> {
            let acts = draw(seed).into_iter().filter(|(_, _, act)| *act == Act::Begin);
            acts.map(|(_, scene, _)| scene).collect()
        };
        for scene in Scene::ALL {
            assert!((0..100).any(|seed| begun(seed).contains(&scene)), "{scene:?} is never played");
        }
        for seed in 0..100 {
            let begun = begun(seed);
            let is_twice = |scene: &Scene| begun.iter().filter(|other| *other == scene).count() > 1;
            assert!(!begun.is_empty() && !begun.iter().any(is_twice), "{begun:?}");
        }
    }
}
