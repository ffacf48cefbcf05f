//! Clients that ask again and again, each on a connection that it keeps: the next request follows the answer at once.

use crate::harness::PATIENCE;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What is in the answer to who is refused because a worker has too much to do.
const OVERLOADED: &str = r#""code":"overloaded""#;
const RETRY_AFTER_S: &str = "1";

/// What they were told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// How many requests were answered with 200.
    pub(crate) answered: usize,
    /// How many were refused because there were too many.
    pub(crate) refused: usize,
    /// Whatever else came; who gets that asks no more.
    pub(crate) others: Vec<String>,
}

/// The clients, at work on a thread of their own until this ends or is dropped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    told: Mutex<Told>,
}

impl Load {
    /// So many ask a host there for this.
    pub(crate) fn start(at: &str, host: &'static str, path: &str, clients: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let (theirs, url) = (shared.clone(), format!("http://{at}{path}"));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
                let clients = (0..clients).map(|_| theirs.keep_asking(&client, &url, host));
                futures::future::join_all(clients).await;
            });
        });
        Self { shared, thread: Some(thread) }
    }

    /// What they were told so far.
    pub(crate) fn told(&self) -> Told {
        self.shared.told.lock().unwrap().clone()
    }

    /// Has each stop after the answer that it waits for.
    pub(crate) fn end(mut self) -> Told {
        self.shared.stop.store(true, Relaxed);
        self.thread.take().expect("it is there until here").join().expect("no client panics");
        self.told()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

impl Shared {
    async fn keep_asking(&self, client: &reqwest::Client, url: &str, host: &str) {
        while !self.stop.load(Relaxed) {
            let answer = ask(client, url, host).await;
            let mut told = self.told.lock().unwrap();
            match answer {
                Ok((200, ..)) => told.answered += 1,
                Ok((503, Some(after), text)) if after == RETRY_AFTER_S && text.contains(OVERLOADED) => {
                    told.refused += 1;
                }
                other => return told.others.push(format!("{other:?}")),
            }
        }
    }
}

/// The status, after how many seconds to ask again, and the body.
async fn ask(
    client: &reqwest::Client,
    url: &str,
    host: &str,
) -> reqwest::Result<(u16, Option<String>, String)> {
    let answer = client.get(url).header("host", host).send().await?;
    let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok());
    Ok((answer.status().as_u16(), after.map(str::to_owned), answer.text().await?))
}
