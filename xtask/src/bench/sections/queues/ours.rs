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
    let open = move |_| -> anyhow::Result<Box<dyn Line>> {
        Ok(Box::new(Ours { connection: Connection::open_at(&api, &token)?, handled: vec![] }))
    };
    Ok(Server { name: "skiff, over its API", pid: platform.pid(), open: Box::new(open), _guard: None })
}

struct Ours {
    connection: Connection,
    /// The receipts of what the last receive gave.
    handled: Vec<Value>,
}

impl Ours {
    fn call(&mut self, what: &str, body: &Value) -> anyhow::Result<Value> {
        self.connection.post(&format!("queues/{QUEUE}/{what}"), "application/json", &body.to_string())
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
        let handled = std::mem::take(&mut self.handled);
        let mut received = self.call("receive", &json!({ "max": most, "handled": handled }))?;
        check_deleted(&received["handled"], handled.len())?;
        let messages = received["messages"].as_array_mut().context("a receive answers with messages")?;
        self.handled = messages.iter_mut().map(|message| message["receipt"].take()).collect();
        Ok(self.handled.len())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let handled = std::mem::take(&mut self.handled);
        if handled.is_empty() {
            return Ok(());
        }
        let deleted = self.call("delete", &json!({ "receipts": handled }))?;
        check_deleted(&deleted["outcomes"], handled.len())
    }
}

/// Fails unless so many messages were deleted, all without an error.
fn check_deleted(outcomes: &Value, count: usize) -> anyhow::Result<()> {
    let good = outcomes.as_array().into_iter().flatten().filter(|outcome| outcome["error"].is_null());
    ensure!(good.count() == count, "not all messages were deleted: {outcomes}");
    Ok(())
}
