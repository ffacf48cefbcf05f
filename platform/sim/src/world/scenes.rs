//! What scenes do: here is who does what when, and what they have in common; each one's calls are in a file below.
//!
//! What always holds: a call that puts a scene up is carried out in the end, and never refused; in an encore nothing goes wrong,
//! so what it waits for is held to its time.

mod counts;
mod queue;
mod rollouts;
mod runs;

use super::World;
use super::users::{Call, in_namespace, name_of};
use crate::cluster::{Behaviour, End};
use crate::dice::Dice;
use crate::scenes::{Act, Scene};
use serde_json::{Value, json};
use skiff_api::Operation;
use skiff_kit::clock::Clock;
use skiff_types::{LocalTime, Schedule, TaskId};

/// How often an encore looks for what it waits for, in milliseconds.
const MOMENT_MS: u64 = 200;
/// From 1970 to the last day before 2027, in days, and the milliseconds of a day: simulations are played in January 2027.
const DAYS_BEFORE_2027: u64 = 20_818;
const DAY_MS: u64 = 86_400_000;

/// What scenes know of themselves.
pub(super) struct Stage {
    dice: Dice,
    /// Those that were put up.
    begun: Vec<Scene>,
    /// The consumer's service may sleep.
    consumer_sleeps: bool,
    /// Messages that were sent, so that each is another.
    messages: u64,
    /// One-off tasks that were acknowledged.
    jobs: Vec<TaskId>,
    /// When the scene of schedules has its time, by the clock on the wall, where it must come.
    timed_at_ms: Option<u64>,
    /// When the bounds of the scene that is scaled by the clock move, by the clock on the wall.
    scheduled_at_ms: u64,
    /// Events that were acknowledged.
    events: usize,
}

impl Stage {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, "stage"),
            begun: Vec::new(),
            consumer_sleeps: false,
            messages: 0,
            jobs: Vec::new(),
            timed_at_ms: None,
            scheduled_at_ms: 0,
            events: 0,
        }
    }
}

impl World {
    /// A scene has an act; one that could not be put up has no more.
    pub(super) async fn play(&mut self, scene: Scene, act: Act) {
        match act {
            Act::Begin => {
                if self.put_up(scene).await.is_some() {
                    self.stage.begun.push(scene);
                }
            }
            Act::Stir if self.stage.begun.contains(&scene) => self.stir(scene).await,
            Act::Stir => {}
        }
    }

    async fn put_up(&mut self, scene: Scene) -> Option<()> {
        match scene {
            Scene::Sleeper => self.begin_sleeper().await,
            Scene::Stepped => self.begin_stepped().await,
            Scene::Scheduled => self.begin_scheduled().await,
            Scene::Guarded => self.begin_guarded().await,
            Scene::Jobs => self.begin_jobs().await,
            Scene::Consumer => self.begin_consumer().await,
            Scene::Timed => self.begin_timed().await,
        }
    }

    async fn stir(&mut self, scene: Scene) {
        match scene {
            Scene::Sleeper => self.stir_sleeper(),
            Scene::Stepped => self.stir_stepped(),
            Scene::Scheduled => self.stir_scheduled().await,
            Scene::Guarded => self.stir_guarded().await,
            Scene::Jobs => self.stir_jobs().await,
            Scene::Consumer => self.stir_consumer().await,
            Scene::Timed => self.stir_timed().await,
        }
    }

    /// Clients of scenes ask no more.
    pub(super) fn calm_scenes(&self) {
        for service in [counts::STEPPED, rollouts::GUARDED] {
            self.parts.cluster.ask(&in_namespace(service), None);
        }
    }

    /// What of scenes is not yet as it is to be in the end.
    pub(super) async fn unsettled_scenes(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for scene in &self.stage.begun {
            if let Some(why) = self.unsettled_of(*scene).await {
                unsettled.push(format!("{scene:?}: {why}"));
            }
        }
        unsettled
    }

    async fn unsettled_of(&self, scene: Scene) -> Option<String> {
        match scene {
            Scene::Sleeper => self.unsettled_sleeper().await,
            Scene::Stepped => self.unsettled_stepped().await,
            Scene::Scheduled => self.is_before(self.stage.scheduled_at_ms),
            Scene::Guarded => self.unsettled_guarded().await,
            Scene::Jobs => self.unsettled_runs(),
            Scene::Consumer => self.unsettled_consumer().await,
            Scene::Timed => self.unsettled_timed(),
        }
    }

    /// With all at rest, scenes show that what must come comes in time; whether there was any.
    pub(super) async fn encores(&mut self) -> bool {
        let begun = self.stage.begun.clone();
        for scene in &begun {
            self.parts.trace.note(format_args!("encore: {scene:?}"));
            let has_played = self.encore(*scene).await;
            if !self.parts.checker.is_content() {
                return true;
            }
            if has_played.is_some() {
                self.parts.checker.played();
            }
        }
        !begun.is_empty()
    }

    /// Nothing where the scene had not what it was to have, or was left out.
    async fn encore(&mut self, scene: Scene) -> Option<()> {
        // After the clock on the wall was put back, what was measured has a gap.
        let measures = !self.scenario.puts_back();
        match scene {
            Scene::Sleeper => self.encore_of_sleeper().await,
            Scene::Stepped if measures => self.encore_of_stepped().await,
            Scene::Guarded if measures => self.encore_of_guarded().await,
            Scene::Stepped | Scene::Guarded => None,
            Scene::Scheduled => self.encore_of_scheduled().await,
            Scene::Jobs => self.encore_of_jobs().await,
            Scene::Consumer => self.encore_of_consumer().await,
            Scene::Timed => self.encore_of_timed().await,
        }
    }

    /// Every service that is scaled has a count within its bounds.
    pub(super) async fn check_bounds(&self) {
        let own = [counts::STEPPED, counts::SCHEDULED, queue::CONSUMER].map(str::to_owned);
        let names: Vec<String> = (0..self.scenario.services.len()).map(name_of).chain(own).collect();
        for name in names {
            let shown = self.shown(Operation::GetService, &name).await;
            let (desired, scaling) = (shown["spec"]["desired"].as_u64(), &shown["status"]["scaling"]);
            let bounds = scaling["min"].as_u64().zip(scaling["max"].as_u64());
            if let Some((desired, (min, max))) = desired.zip(bounds)
                && !(min..=max).contains(&desired)
                && !is_asleep(&shown)
            {
                let what = format!("{name} is to have {desired} tasks, and its bounds are {min} and {max}");
                self.parts.checker.violated(format_args!("{what}"));
            }
        }
    }

    /// Makes a call that nothing speaks against.
    async fn must(&mut self, call: Call<'_>) -> Option<Value> {
        let (operation, names) = (call.0, call.1.join(" "));
        let answer = self.ask(call).await;
        if answer.is_none() && self.parts.checker.is_content() {
            self.parts.checker.violated(format_args!("{operation:?} of {names} was refused: see the trace"));
        }
        Some(answer?.body)
    }

    /// Pushes a program and registers it as a family's next revision; gives that.
    async fn register(&mut self, family: &str, behaviour: Behaviour, more: Value) -> Option<Value> {
        self.revisions += 1;
        if !self.push(family, &behaviour.text(self.revisions)).await {
            return None;
        }
        let mut definition = json!({ "family": family, "image": family });
        for (field, value) in more.as_object().into_iter().flatten() {
            definition[field.as_str()] = value.clone();
        }
        let registered = self.must((Operation::RegisterTaskDefinition, vec![], definition)).await?;
        Some(registered["id"].clone())
    }

    /// Lets a moment pass for what is to come by then; false where it has not come in time, or something else was broken.
    async fn waits(&mut self, limit_ms: u64, lacking: &str) -> bool {
        let now_ms = self.now_ms();
        if now_ms >= limit_ms {
            self.parts.checker.violated(format_args!("though nothing goes wrong any more, {lacking}"));
            return false;
        }
        self.until(now_ms + MOMENT_MS).await
    }

    /// Milliseconds since the simulation began.
    fn now_ms(&self) -> u64 {
        self.parts.clock.elapsed_ms()
    }

    /// When so many seconds will be over by the clock on the wall, to the second, if that does not jump.
    fn wall_in(&self, seconds: u64) -> u64 {
        (self.parts.clock.unix_ms() / 1_000 + seconds) * 1_000
    }

    /// That a time of the clock on the wall has not come, or has just come.
    fn is_before(&self, wall_ms: u64) -> Option<String> {
        let is_before = self.parts.clock.unix_ms() < wall_ms + 2_000;
        is_before.then(|| "its time has not come".to_owned())
    }
}

/// A program that answers requests.
fn answering(end: End) -> Behaviour {
    Behaviour { is_http: true, start_ms: 1, healthy_ms: 1, end }
}

/// Whether a service sleeps, as it is shown.
fn is_asleep(shown: &Value) -> bool {
    shown["status"]["asleep"].as_bool().unwrap_or_default()
}

/// How many tasks a service, as it is shown, is to have, if it has so many that run.
fn count_of(shown: &Value) -> Option<u64> {
    let (desired, running) = (shown["spec"]["desired"].as_u64(), shown["status"]["running"].as_u64());
    desired.filter(|_| desired == running)
}

/// The schedule of one time.
fn once_at(wall_ms: u64) -> String {
    let (day, second) = (wall_ms / DAY_MS - DAYS_BEFORE_2027, wall_ms % DAY_MS / 1_000);
    let small = |number: u64| u8::try_from(number).expect("a simulation ends within the month");
    let time = LocalTime {
        year: 2027,
        month: 1,
        day: small(day),
        hour: small(second / 3_600),
        minute: small(second / 60 % 60),
        second: small(second % 60),
    };
    Schedule::At(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_clock_is_written_as_a_schedule() {
        assert_eq!(once_at(1_800_000_000_000), "at(2027-01-15T08:00:00)");
        assert_eq!(once_at(1_800_000_000_000 + 16 * 3_600_000 + 61_500), "at(2027-01-16T00:01:01)");
    }
}
