//! A service whose deployments an alarm watches: one whose revision answers by errors is given up, and the revision before
//! serves again.

use super::{World, answering, in_namespace};
use crate::cluster::End;
use serde_json::{Value, json};
use skiff_api::Operation;

pub(super) const GUARDED: &str = "guarded";

const ERRORS: &str = "guarded-errors";
/// Between two requests to it, in milliseconds.
const ASKED_EVERY_MS: u64 = 25;
/// By when a deployment must have come to its end, in milliseconds.
const DEPLOYED_MOST_MS: u64 = 180_000;

impl World {
    pub(super) async fn begin_guarded(&mut self) -> Option<()> {
        let revision = self.register(GUARDED, answering(End::None), json!({})).await?;
        let put = json!({ "definition": revision, "desired": 2 });
        self.must((Operation::PutService, vec![GUARDED], put)).await?;
        let errors = json!({
            "metric": "HTTPCode_Target_5XX_Count", "service": GUARDED, "statistic": "Sum", "period": "1s",
            "threshold": 0, "treat_missing_data": "notBreaching",
        });
        self.must((Operation::PutAlarm, vec![ERRORS], errors)).await?;
        self.parts.cluster.ask(&in_namespace(GUARDED), Some(ASKED_EVERY_MS));
        Some(())
    }

    pub(super) async fn stir_guarded(&mut self) {
        let end = if self.stage.dice.chance(50) { End::Errs } else { End::None };
        self.go_to(end).await;
    }

    /// Has the service go to another revision, watched by its alarm; gives that.
    async fn go_to(&mut self, end: End) -> Option<Value> {
        let revision = self.register(GUARDED, answering(end), json!({})).await?;
        let deployment = json!({
            "strategy": "BLUE_GREEN", "bake": "10s", "alarms": [ERRORS], "circuit_breaker": "rollback",
        });
        let put = json!({ "definition": revision, "desired": 2, "deployment": deployment });
        self.must((Operation::PutService, vec![GUARDED], put)).await?;
        Some(revision)
    }

    /// Nobody asks: its alarm says nothing against it.
    pub(super) async fn unsettled_guarded(&self) -> Option<String> {
        let shown = self.shown(Operation::GetAlarm, ERRORS).await;
        let state = shown["status"]["state"].as_str().unwrap_or("unknown");
        (state != "OK").then(|| format!("nobody asks, and {ERRORS} is {state}"))
    }

    /// A good revision comes to stay; a bad one, while it is asked, does not.
    pub(super) async fn encore_of_guarded(&mut self) -> Option<()> {
        let good = self.go_to(End::None).await?;
        if self.comes_to().await? != good {
            self.parts.checker.violated(format_args!("a revision that nothing speaks against was given up"));
            return None;
        }
        self.parts.cluster.ask(&in_namespace(GUARDED), Some(ASKED_EVERY_MS));
        let bad = self.go_to(End::Errs).await?;
        let serving = self.comes_to().await?;
        self.parts.cluster.ask(&in_namespace(GUARDED), None);
        if serving != good {
            self.parts.checker.violated(format_args!(
                "the revision {bad} came to stay, though its alarm speaks against it"
            ));
            return None;
        }
        Some(())
    }

    /// Waits until the service's deployment has ended, and gives the one revision that serves then.
    async fn comes_to(&mut self) -> Option<Value> {
        let limit_ms = self.now_ms() + DEPLOYED_MOST_MS;
        loop {
            let serving = self.parts.checker.serving(&in_namespace(GUARDED)).unwrap_or_default();
            let mut revisions = serving.iter();
            if let (Some(revision), None) = (revisions.next(), revisions.next()) {
                return Some(json!(revision.to_string()));
            }
            if !self.waits(limit_ms, "the service that an alarm watches is deployed still").await {
                return None;
            }
        }
    }
}
