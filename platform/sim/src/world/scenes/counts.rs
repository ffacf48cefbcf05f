//! Services whose counts move by themselves: one that sleeps while nobody asks, one that takes steps by alarms, one whose bounds
//! move by the clock.

use super::{World, answering, count_of, in_namespace, is_asleep, once_at};
use crate::cluster::End;
use serde_json::{Value, json};
use skiff_api::Operation;

pub(super) const SLEEPER: &str = "sleeper";
pub(super) const STEPPED: &str = "stepped";
pub(super) const SCHEDULED: &str = "scheduled";

/// Alarms of the service that takes steps: up, and down.
const BUSY: &str = "stepped-busy";
const CALM: &str = "stepped-calm";
/// The most tasks of the service that takes steps.
const STEPPED_MOST: u64 = 4;
/// Between two requests to it while it is busy, in milliseconds; beyond ten a second it takes steps up.
const BUSY_EVERY_MS: u64 = 20;
/// How many tasks the last schedule asks for.
const SCHEDULED_LAST: u64 = 2;

/// By when what waits for a service that sleeps must have a task, in milliseconds.
const WAKE_MOST_MS: u64 = 10_000;
/// By when steps must have led to the most tasks, or a schedule to its count, in milliseconds.
const SCALED_MOST_MS: u64 = 90_000;

impl World {
    /// Puts a service up whose program answers.
    async fn serve(&mut self, service: &str, desired: u64, more: Value) -> Option<()> {
        let revision = self.register(service, answering(End::None), json!({})).await?;
        let mut put = json!({ "definition": revision, "desired": desired });
        for (field, value) in more.as_object().into_iter().flatten() {
            put[field.as_str()] = value.clone();
        }
        self.must((Operation::PutService, vec![service], put)).await.map(drop)
    }

    pub(super) async fn begin_sleeper(&mut self) -> Option<()> {
        let desired = self.stage.dice.number(1..=3);
        self.serve(SLEEPER, desired, json!({ "scale_to_zero": "2s" })).await
    }

    pub(super) fn stir_sleeper(&mut self) {
        let count = self.stage.dice.number(1..=5);
        self.parts.cluster.call(&in_namespace(SLEEPER), count);
    }

    pub(super) async fn unsettled_sleeper(&self) -> Option<String> {
        let waiting = self.parts.cluster.waiting(&in_namespace(SLEEPER));
        if waiting > 0 {
            return Some(format!("{waiting} requests wait"));
        }
        let is_asleep = is_asleep(&self.shown(Operation::GetService, SLEEPER).await);
        (!is_asleep).then(|| "nobody asks, and it is awake".to_owned())
    }

    /// It sleeps; requests come, and are answered.
    pub(super) async fn encore_of_sleeper(&mut self) -> Option<()> {
        let limit_ms = self.now_ms() + WAKE_MOST_MS;
        self.parts.cluster.call(&in_namespace(SLEEPER), 3);
        while self.parts.cluster.waiting(&in_namespace(SLEEPER)) > 0 {
            if !self.waits(limit_ms, "requests wait for the service that sleeps").await {
                return None;
            }
        }
        Some(())
    }

    pub(super) async fn begin_stepped(&mut self) -> Option<()> {
        self.serve(STEPPED, 1, json!({})).await?;
        let busy = json!({
            "metric": "RequestCount", "service": STEPPED, "statistic": "Sum", "period": "1s", "threshold": 10,
            "treat_missing_data": "notBreaching",
        });
        self.must((Operation::PutAlarm, vec![BUSY], busy)).await?;
        let calm = json!({
            "metric": "RequestCount", "service": STEPPED, "statistic": "Sum", "period": "1s", "threshold": 1,
            "comparison": "LessThanThreshold", "evaluation_periods": 5, "treat_missing_data": "notBreaching",
        });
        self.must((Operation::PutAlarm, vec![CALM], calm)).await?;
        let step = |name: &str, alarm: &str, change: i32| {
            let steps = json!([{ "change": change }]);
            json!({ "step": { "name": name, "alarm": alarm, "cooldown": "5s", "steps": steps } })
        };
        let policies = [step("up", BUSY, 2), step("down", CALM, -1)];
        let scaling = json!({ "min": 1, "max": STEPPED_MOST, "policies": policies });
        self.must((Operation::PutScaling, vec![STEPPED], scaling)).await.map(drop)
    }

    pub(super) fn stir_stepped(&mut self) {
        let every_ms = self.stage.dice.number(BUSY_EVERY_MS..=60);
        let load = self.stage.dice.chance(70).then_some(every_ms);
        self.parts.cluster.ask(&in_namespace(STEPPED), load);
    }

    /// Nobody asks: its alarms say so, and it has its fewest tasks.
    pub(super) async fn unsettled_stepped(&self) -> Option<String> {
        for (alarm, expected) in [(BUSY, "OK"), (CALM, "ALARM")] {
            let shown = self.shown(Operation::GetAlarm, alarm).await;
            let state = shown["status"]["state"].as_str().unwrap_or("unknown");
            if state != expected {
                return Some(format!("nobody asks, and {alarm} is {state}"));
            }
        }
        let shown = self.shown(Operation::GetService, STEPPED).await;
        let count = count_of(&shown);
        (count != Some(1)).then(|| format!("nobody asks, and it has {count:?} tasks"))
    }

    /// It is asked; steps lead to its most tasks while the alarm is in `ALARM`.
    pub(super) async fn encore_of_stepped(&mut self) -> Option<()> {
        let limit_ms = self.now_ms() + SCALED_MOST_MS;
        self.parts.cluster.ask(&in_namespace(STEPPED), Some(BUSY_EVERY_MS));
        let mut has_fired = false;
        loop {
            let (service, alarm) = (
                self.shown(Operation::GetService, STEPPED).await,
                self.shown(Operation::GetAlarm, BUSY).await,
            );
            has_fired |= alarm["status"]["state"] == json!("ALARM");
            if has_fired && count_of(&service) == Some(STEPPED_MOST) {
                break;
            }
            if !self.waits(limit_ms, "the service that takes steps has not its most tasks").await {
                return None;
            }
        }
        self.parts.cluster.ask(&in_namespace(STEPPED), None);
        Some(())
    }

    pub(super) async fn begin_scheduled(&mut self) -> Option<()> {
        self.serve(SCHEDULED, 1, json!({})).await?;
        let seconds = self.stage.dice.number(10..=40);
        self.scale_at(seconds, json!({ "min": 4, "max": 6 })).await
    }

    /// Has the service have other bounds in so many seconds, by the clock on the wall; till then from 1 to 3 tasks.
    async fn scale_at(&mut self, seconds: u64, bounds: Value) -> Option<()> {
        let wall_ms = self.wall_in(seconds);
        // Before the call: should it be cut short, it may have been carried out.
        self.stage.scheduled_at_ms = wall_ms;
        let (min, max) = (bounds["min"].clone(), bounds["max"].clone());
        let schedule = json!({ "name": "then", "schedule": once_at(wall_ms), "min": min, "max": max });
        let scaling = json!({ "min": 1, "max": 3, "schedules": [schedule] });
        self.must((Operation::PutScaling, vec![SCHEDULED], scaling)).await.map(drop)
    }

    pub(super) async fn stir_scheduled(&mut self) {
        let desired = self.stage.dice.number(1..=8);
        self.ask((Operation::ScaleService, vec![SCHEDULED], json!({ "desired": desired }))).await;
    }

    /// Its bounds move once more, and it has what they leave.
    pub(super) async fn encore_of_scheduled(&mut self) -> Option<()> {
        self.scale_at(10, json!({ "min": SCHEDULED_LAST, "max": SCHEDULED_LAST })).await?;
        let limit_ms = self.now_ms() + SCALED_MOST_MS;
        loop {
            let shown = self.shown(Operation::GetService, SCHEDULED).await;
            if self.is_before(self.stage.scheduled_at_ms).is_none()
                && count_of(&shown) == Some(SCHEDULED_LAST)
            {
                return Some(());
            }
            if !self
                .waits(limit_ms, "the service that is scaled by the clock has not what its schedule says")
                .await
            {
                return None;
            }
        }
    }
}
