//! One-off tasks: run by users, by a schedule, and for each event that a rule takes.

use super::{World, once_at};
use crate::cluster::{Behaviour, End};
use serde_json::json;
use skiff_api::Operation;
use skiff_types::{Name, TaskId, TaskStatus};

/// Families of tasks: one that is never started again, one that fails twice and is started again.
const ONCE: &str = "job-once";
const AGAIN: &str = "job-again";
/// Families that a schedule runs, and events.
const TICK: &str = "tick";
const TOCK: &str = "tock";
const RULE: &str = "placed";
/// In which life a task of the family that fails ends well.
const AGAIN_IN_LIFE: u32 = 2;

/// By when a task that runs for a second or so must have ended, however often it is started again, in milliseconds.
const ENDED_MOST_MS: u64 = 60_000;

impl World {
    /// Registers a program that runs to its end.
    async fn job(&mut self, family: &str, in_life: u32, restart: &str) -> Option<()> {
        let times = (self.stage.dice.number(1..=200), self.stage.dice.number(1..=3_000));
        let end = End::Exits { in_life };
        let behaviour = Behaviour { is_http: false, start_ms: times.0, healthy_ms: times.1, end };
        if restart == "never" {
            self.parts.checker.runs_once(name(family));
        }
        self.register(family, behaviour, json!({ "restart": restart })).await.map(drop)
    }

    pub(super) async fn begin_jobs(&mut self) -> Option<()> {
        self.job(ONCE, 0, "never").await?;
        self.job(AGAIN, AGAIN_IN_LIFE, "on-failure").await
    }

    /// Runs some; one of those before may be stopped.
    pub(super) async fn stir_jobs(&mut self) {
        for _ in 0..self.stage.dice.number(1..=3) {
            let family = if self.stage.dice.chance(50) { ONCE } else { AGAIN };
            self.run_job(family).await;
        }
        if !self.stage.jobs.is_empty() && self.stage.dice.chance(40) {
            let task = self.stage.dice.one_of(&self.stage.jobs).to_string();
            self.ask((Operation::StopTask, vec![task.as_str()], json!({}))).await;
        }
    }

    async fn run_job(&mut self, family: &str) -> Option<TaskId> {
        let answer = self.ask((Operation::RunTask, vec![], json!({ "definition": family }))).await?;
        let task: TaskId = answer.body["id"].as_str()?.parse().ok()?;
        if self.parts.checker.run(task).is_none() {
            self.parts.checker.violated(format_args!("{task} was acknowledged, and is not in the store"));
        }
        self.stage.jobs.push(task);
        Some(task)
    }

    /// Each one-off task comes to its end.
    pub(super) fn unsettled_runs(&self) -> Option<String> {
        let living = self.parts.checker.living_runs();
        (!living.is_empty()).then(|| living.join(", "))
    }

    /// With nothing going wrong, each ends well, and was started as often as it failed.
    pub(super) async fn encore_of_jobs(&mut self) -> Option<()> {
        for (family, restarts) in [(ONCE, 0), (AGAIN, AGAIN_IN_LIFE)] {
            let Some(task) = self.run_job(family).await else {
                self.parts.checker.violated(format_args!("no task of {family} can be run"));
                return None;
            };
            let limit_ms = self.now_ms() + ENDED_MOST_MS;
            let ended = loop {
                let found = self.parts.checker.run(task).filter(|task| task.status == TaskStatus::Stopped);
                if let Some(ended) = found {
                    break ended;
                }
                if !self.waits(limit_ms, "a one-off task has not ended").await {
                    return None;
                }
            };
            if (ended.exit_code, ended.restarts) != (Some(0), restarts) {
                let (code, count) = (ended.exit_code, ended.restarts);
                self.parts
                    .checker
                    .violated(format_args!("{task} of {family} ended with {code:?} after {count} restarts"));
                return None;
            }
        }
        Some(())
    }

    pub(super) async fn begin_timed(&mut self) -> Option<()> {
        self.job(TICK, 0, "never").await?;
        self.job(TOCK, 0, "never").await?;
        let target = json!({ "id": "run", "to": { "task": { "definition": TOCK } } });
        let rule = json!({ "pattern": { "source": ["shop"] }, "targets": [target] });
        self.must((Operation::PutEventRule, vec![RULE], rule)).await?;
        let wall_ms = self.wall_in(self.stage.dice.number(60..=80));
        self.schedule(TICK, wall_ms).await
    }

    /// Has a schedule run a task of its family at a time.
    async fn schedule(&mut self, schedule: &str, wall_ms: u64) -> Option<()> {
        let target = json!({ "to": { "task": { "definition": TICK } } });
        let put = json!({ "schedule": once_at(wall_ms), "target": target });
        let shown = self.must((Operation::PutEventSchedule, vec![schedule], put)).await?;
        // What was late itself is not made up for.
        let made_ms = shown["created_at_ms"].as_u64()?.max(shown["updated_at_ms"].as_u64()?);
        self.stage.timed_at_ms = Some(wall_ms).filter(|wall_ms| made_ms < *wall_ms);
        Some(())
    }

    pub(super) async fn stir_timed(&mut self) {
        if self.put_event().await {
            self.stage.events += 1;
        }
    }

    /// Puts an event that the rule takes; whether that was acknowledged.
    async fn put_event(&mut self) -> bool {
        let entry = json!({ "Source": "shop", "DetailType": "Order Placed", "Detail": "{}" });
        self.ask((Operation::PutEvents, vec!["default"], json!({ "Entries": [entry] }))).await.is_some()
    }

    /// The schedule has run its task, once; each event has; and all of them have ended.
    pub(super) fn unsettled_timed(&self) -> Option<String> {
        let ticks = self.parts.checker.runs_of(&name(TICK));
        if ticks > 1 {
            self.parts.checker.violated(format_args!("what was due once by a schedule ran {ticks} times"));
        }
        if let Some(at_ms) = self.stage.timed_at_ms {
            if let Some(why) = self.is_before(at_ms) {
                return Some(why);
            }
            if ticks == 0 {
                return Some("its time has come, and nothing has run".to_owned());
            }
        }
        let (tocks, events) = (self.parts.checker.runs_of(&name(TOCK)), self.stage.events);
        if tocks < events {
            return Some(format!("{tocks} tasks have run for {events} events"));
        }
        let waiting = self.parts.buses.waiting();
        if waiting > 0 {
            return Some(format!("{waiting} deliveries wait"));
        }
        self.unsettled_runs()
    }

    /// An event runs one task, which ends.
    pub(super) async fn encore_of_timed(&mut self) -> Option<()> {
        let expected = self.parts.checker.runs_of(&name(TOCK)) + 1;
        if !self.put_event().await {
            return None;
        }
        self.stage.events += 1;
        let limit_ms = self.now_ms() + ENDED_MOST_MS;
        while self.parts.checker.runs_of(&name(TOCK)) < expected || self.unsettled_timed().is_some() {
            if !self.waits(limit_ms, "an event has run no task to its end").await {
                return None;
            }
        }
        let tocks = self.parts.checker.runs_of(&name(TOCK));
        if tocks > expected {
            self.parts.checker.violated(format_args!("one event ran {} times", tocks + 1 - expected));
            return None;
        }
        Some(())
    }
}

fn name(family: &str) -> Name {
    family.parse().expect("a family's name")
}
