//! A service that is given a queue's messages, is scaled by how many there are, and sleeps while there are none in some seeds.

use super::{World, answering, in_namespace, is_asleep};
use crate::cluster::End;
use serde_json::{Value, json};
use skiff_api::Operation;

pub(super) const CONSUMER: &str = "consumer";

const QUEUE: &str = "orders";
/// The most messages of one call.
const SENT_TOGETHER_MAX: u64 = 10;
/// Messages of the encore, and by when they must be done, in milliseconds.
const ENCORE_MESSAGES: u64 = 30;
const DONE_MOST_MS: u64 = 90_000;

impl World {
    pub(super) async fn begin_consumer(&mut self) -> Option<()> {
        self.must((Operation::PutQueue, vec![QUEUE], json!({ "visibility_timeout": "6s" }))).await?;
        let role = json!({ "allow": [format!("queue:receive {QUEUE}")] });
        self.must((Operation::PutRole, vec![CONSUMER], role)).await?;
        let revision = self.register(CONSUMER, answering(End::None), json!({ "role": CONSUMER })).await?;
        self.stage.consumer_sleeps = self.stage.dice.chance(50);
        let scale_to_zero = if self.stage.consumer_sleeps { "3s" } else { "never" };
        let put = json!({ "definition": revision, "desired": 1, "scale_to_zero": scale_to_zero });
        self.must((Operation::PutService, vec![CONSUMER], put)).await?;
        let consumer = json!({ "queue": QUEUE, "service": CONSUMER, "batch": 5 });
        self.must((Operation::PutConsumer, vec![QUEUE], consumer)).await?;
        let backlog = json!({
            "name": "backlog", "metric": "BacklogPerTask", "target": 5, "scale_out_cooldown": "5s",
            "scale_in_cooldown": "15s",
        });
        let scaling = json!({ "min": 1, "max": 4, "policies": [{ "target_tracking": backlog }] });
        self.must((Operation::PutScaling, vec![CONSUMER], scaling)).await.map(drop)
    }

    pub(super) async fn stir_consumer(&mut self) {
        let count = self.stage.dice.number(1..=60);
        self.send_orders(count).await;
    }

    async fn send_orders(&mut self, count: u64) -> Option<()> {
        let mut left = count;
        while left > 0 {
            let together = left.min(SENT_TOGETHER_MAX);
            let first = self.stage.messages;
            let messages: Vec<Value> = (first..first + together)
                .map(|number| json!({ "body": format!("order {number}") }))
                .collect();
            self.stage.messages += together;
            self.ask((Operation::SendMessages, vec![QUEUE], json!({ "messages": messages }))).await?;
            left -= together;
        }
        Some(())
    }

    /// No message is left, and the service is as small as it may be.
    pub(super) async fn unsettled_consumer(&self) -> Option<String> {
        let backlog = self.parts.data.backlog();
        if backlog > 0 {
            return Some(format!("{backlog} messages are not done"));
        }
        let shown = self.shown(Operation::GetService, CONSUMER).await;
        if self.stage.consumer_sleeps {
            // What sleeps keeps the count that it had.
            return (!is_asleep(&shown)).then(|| "there are no messages, and it is awake".to_owned());
        }
        let desired = shown["spec"]["desired"].as_u64();
        (desired != Some(1)).then(|| format!("there are no messages, and it is to have {desired:?} tasks"))
    }

    /// Messages come, and are done in time.
    pub(super) async fn encore_of_consumer(&mut self) -> Option<()> {
        self.parts.trace.note(format_args!("messages for {}", in_namespace(CONSUMER)));
        self.send_orders(ENCORE_MESSAGES).await?;
        let limit_ms = self.now_ms() + DONE_MOST_MS;
        while self.parts.data.backlog() > 0 {
            if !self.waits(limit_ms, "messages are not done").await {
                return None;
            }
        }
        Some(())
    }
}
