//! A queue of the platform, by its API.

use super::{Line, Server};
use crate::bench::http::Connection;
use crate::platform::Platform;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// The queue.
const QUEUE: &str = "bench";

/// Makes the queue.
pub(super) fn start(platform: &Platform) -> anyhow::Result<Server> {
    platform.skiff_output(&["queue", "create", QUEUE])?;
    let (api, token) = (platform.api.clone(), platform.token.clone());
    let open =
        move |_| -> anyhow::Result<Box<dyn Line>> { Ok(Box::new(Ours(Connection::open_at(&api, &token)?))) };
    Ok(Server { name: "skiff, over its API", pid: platform.pid(), open: Box::new(open), _guard: None })
}

struct Ours(Connection);

impl Ours {
    fn call(&mut self, what: &str, body: &Value) -> anyhow::Result<Value> {
        self.0.post(&format!("queues/{QUEUE}/{what}"), "application/json", &body.to_string())
    }
}

impl Line for Ours {
    fn send(&mut self, bodies: &[&str]) -> anyhow::Result<()> {
        let messages: Vec<Value> = bodies.iter().map(|body| json!({ "body": body })).collect();
        let sent = self.call("messages", &json!({ "messages": messages }))?;
        let ids =
            sent["messages"].as_array().into_iter().flatten().filter(|message| message["id"].is_string());
        ensure!(ids.count() == bodies.len(), "not all messages were sent: {sent}");
        Ok(())
    }

    fn take(&mut self, most: usize) -> anyhow::Result<usize> {
        let received = self.call("receive", &json!({ "max": most }))?;
        let messages = received["messages"].as_array().context("a receive answers with messages")?;
        if messages.is_empty() {
            return Ok(0);
        }
        let receipts: Vec<&Value> = messages.iter().map(|message| &message["receipt"]).collect();
        self.call("delete", &json!({ "receipts": receipts }))?;
        Ok(messages.len())
    }
}
