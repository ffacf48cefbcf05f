//! Whether the listeners that were written are reached at their ports: what another program of the machine has, the platform
//! finds out only when it tries.
//!
//! It only reads, and waits no longer than its bound.

use super::difference::Change;
use super::plan::Item;
use super::resource::Kind;
use super::retry::again;
use anyhow::bail;
use skiff_api::Client;
use skiff_types::Name;
use std::time::Duration;
use tokio::time::Instant;

/// How long a listener may take to be reached: workers may have to close what they had at its port before.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// From one look to the next.
const WAIT: Duration = Duration::from_millis(100);

/// Waits until each listener that was written is reached; an error says of which that is not so, and why.
pub(super) async fn check(client: &Client, items: &[Item]) -> anyhow::Result<()> {
    let end = Instant::now() + WAIT_MAX;
    let is_written = |item: &&Item| item.resource.id.kind == Kind::Listener && item.change != Change::Nothing;
    let mut problems = Vec::new();
    for item in items.iter().filter(is_written) {
        let id = &item.resource.id;
        problems.extend(problem(client, &id.name, end).await?.map(|problem| format!("{id}: {problem}")));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => bail!("all is as the document says, but\n{}", problems.join("\n")),
    }
}

/// What is wrong with a listener, if that is so until then.
async fn problem(client: &Client, name: &Name, end: Instant) -> anyhow::Result<Option<String>> {
    loop {
        let problem = again(|| client.get_listener(name)).await?.problem;
        if problem.is_none() || Instant::now() >= end {
            return Ok(problem);
        }
        tokio::time::sleep(WAIT).await;
    }
}
