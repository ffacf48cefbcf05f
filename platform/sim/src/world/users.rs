//! What users do, again and again until it is done: a call that found the control plane dead, or that others came before, is
//! made once more.

use super::World;
use crate::client::{Answer, NAMESPACE};
use crate::cluster::{Behaviour, ZONES};
use crate::options::Sabotage;
use crate::scenario::{Bounds, StrategyPlan};
use serde_json::{Value, json};
use skiff_api::Operation;
use skiff_types::{DeploymentConfiguration, QualifiedName};

/// How often a call is made, and the wait before the next time, in milliseconds.
const CALLS_MAX: usize = 60;
const CALL_AGAIN_MS: u64 = 500;
/// Requests that a task is to have in a minute, where its service follows its load.
const REQUESTS_PER_TARGET: u32 = 300;
/// How long each step of a deployment that moves weight is looked at.
const BAKE: &str = "4s";
/// So slow are daemons to be healthy where it matters that a deployment takes its time, in milliseconds.
const SLOW_HEALTH_MS: u64 = 4_000;

/// A call's operation, the names in its path behind the namespace, and its body.
pub(super) type Call<'a> = (Operation, Vec<&'a str>, Value);

pub(super) fn name_of(service: usize) -> String {
    format!("service-{service}")
}

fn qualified(service: usize) -> QualifiedName {
    in_namespace(&name_of(service))
}

/// The full name of what is called so.
pub(super) fn in_namespace(name: &str) -> QualifiedName {
    format!("{NAMESPACE}/{name}").parse().expect("a name in a namespace")
}

impl World {
    /// Pushes another revision's program, registers it, and has the service go to it.
    pub(super) async fn deploy(
        &mut self,
        service: usize,
        behaviour: Behaviour,
        bounds: Bounds,
        desired: u32,
    ) {
        let plan = self.scenario.services[service];
        let name = name_of(service);
        self.revisions += 1;
        let component = self.as_sabotaged(behaviour).text(self.revisions);
        if !self.push(&name, &component).await {
            return;
        }
        let mut definition = json!({ "family": name, "image": name });
        if !plan.is_http {
            definition["port"] = json!(8_080);
        }
        let Some(registered) = self.ask((Operation::RegisterTaskDefinition, vec![], definition)).await else {
            return;
        };
        let mut put = json!({
            "definition": registered.body["id"],
            "desired": desired,
            "deployment": self.deployment(service, bounds),
        });
        if let Some(zone) = plan.zone.filter(|_| self.scenario.nodes >= ZONES) {
            put["placement"] = json!({ "constraints": [format!("memberOf(attribute:zone == zone-{zone})")] });
        }
        if self.ask((Operation::PutService, vec![name.as_str()], put)).await.is_some() {
            self.parts.cluster.ask(&qualified(service), Some(plan.asked_every_ms));
        }
    }

    /// The deployment configuration as the API takes it; where the control plane is to go by another one than its user's, that.
    fn deployment(&self, service: usize, bounds: Bounds) -> Value {
        let Bounds { mut min_healthy_percent, mut max_percent, mut strategy, rolls_back } = bounds;
        if self.is_sabotaged(Sabotage::NoMinimum) || self.is_sabotaged(Sabotage::NoMaximum) {
            let no_minimum = self.is_sabotaged(Sabotage::NoMinimum);
            let asked = if no_minimum { (100, 200) } else { (50, 100) };
            let asked = DeploymentConfiguration {
                min_healthy_percent: asked.0,
                max_percent: asked.1,
                ..DeploymentConfiguration::default()
            };
            self.parts.checker.hold_to(&qualified(service), asked);
            (min_healthy_percent, max_percent) = if no_minimum { (0, 200) } else { (100, 400) };
            strategy = StrategyPlan::Rolling;
        }
        let mut deployment = match strategy {
            StrategyPlan::Rolling => json!({ "strategy": "ROLLING" }),
            StrategyPlan::BlueGreen => json!({ "strategy": "BLUE_GREEN", "bake": BAKE }),
            StrategyPlan::Canary => json!({
                "strategy": "CANARY",
                "canary_percent": 20,
                "canary_bake": BAKE,
                "bake": BAKE,
            }),
            StrategyPlan::Linear => json!({
                "strategy": "LINEAR",
                "step_percent": 30,
                "step_bake": BAKE,
                "bake": BAKE,
            }),
        };
        deployment["min_healthy_percent"] = json!(min_healthy_percent);
        deployment["max_percent"] = json!(max_percent);
        deployment["circuit_breaker"] = json!(if rolls_back { "rollback" } else { "stop" });
        deployment
    }

    fn as_sabotaged(&self, behaviour: Behaviour) -> Behaviour {
        let is_slow = self.is_sabotaged(Sabotage::NoMaximum) || self.is_sabotaged(Sabotage::NoMinimum);
        let healthy_ms = if is_slow { SLOW_HEALTH_MS } else { behaviour.healthy_ms };
        Behaviour { healthy_ms, ..behaviour }
    }

    pub(super) async fn scale(&mut self, service: usize, desired: u32) {
        let name = name_of(service);
        self.ask((Operation::ScaleService, vec![name.as_str()], json!({ "desired": desired }))).await;
    }

    pub(super) async fn follow(&mut self, service: usize, least: u32, most: u32) {
        let name = name_of(service);
        let tracking = json!({
            "name": "load",
            "metric": "RequestCountPerTarget",
            "target": REQUESTS_PER_TARGET,
            "scale_in_cooldown": "1m",
        });
        let scaling = json!({ "min": least, "max": most, "policies": [{ "target_tracking": tracking }] });
        self.ask((Operation::PutScaling, vec![name.as_str()], scaling)).await;
    }

    pub(super) async fn change_rollout(&mut self, service: usize, action: &str) {
        let name = name_of(service);
        self.ask((Operation::ChangeRollout, vec![name.as_str()], json!({ "action": action }))).await;
    }

    pub(super) async fn remove(&mut self, service: usize) {
        let name = name_of(service);
        self.ask((Operation::DeleteService, vec![name.as_str()], Value::Null)).await;
        self.parts.cluster.ask(&qualified(service), None);
    }

    /// Lets all deployments go on that were halted, and ends what clients do.
    pub(super) async fn resume_all(&mut self) {
        for service in 0..self.scenario.services.len() {
            self.change_rollout(service, "RESUME").await;
            self.parts.cluster.ask(&qualified(service), None);
        }
    }

    pub(super) async fn push(&mut self, image: &str, component: &str) -> bool {
        for _ in 0..CALLS_MAX {
            let client = self.current.client.clone();
            let answer = tokio::select! {
                biased;
                () = self.current.life.ended() => None,
                answer = client.push(image, component.to_owned()) => Some(answer),
            };
            if answer.is_some_and(|answer| answer.is_success()) {
                return true;
            }
            let now_ms = self.parts.clock.elapsed_ms();
            if !self.until(now_ms + CALL_AGAIN_MS).await {
                return false;
            }
        }
        self.parts.checker.violated(format_args!("the image {image} can't be pushed"));
        false
    }

    /// What is shown of something, at once; nothing while the control plane is dead.
    pub(super) async fn shown(&self, operation: Operation, name: &str) -> Value {
        let (client, names, body) = (self.current.client.clone(), [name], Value::Null);
        tokio::select! {
            biased;
            () = self.current.life.ended() => Value::Null,
            answer = client.call(operation, &names, &body) => answer.body,
        }
    }

    /// Makes a call until it is carried out or refused; `None` where it was not carried out.
    pub(super) async fn ask(&mut self, (operation, names, body): Call<'_>) -> Option<Answer> {
        for _ in 0..CALLS_MAX {
            let client = self.current.client.clone();
            let answer = tokio::select! {
                biased;
                () = self.current.life.ended() => None,
                answer = client.call(operation, &names, &body) => Some(answer),
            };
            match answer {
                Some(answer) if answer.is_success() => return Some(answer),
                Some(answer) if answer.is_refused() => {
                    self.parts.trace.note(format_args!("{operation:?} was refused: {}", answer.body));
                    return None;
                }
                Some(_) | None => {}
            }
            let now_ms = self.parts.clock.elapsed_ms();
            if !self.until(now_ms + CALL_AGAIN_MS).await {
                return None;
            }
        }
        self.parts.checker.violated(format_args!("{operation:?} of {names:?} is not carried out"));
        None
    }
}
