//! A real process that writes is killed at random moments: each write that it had acknowledged is there after.

use crate::SqliteStore;
use crate::tests::workload::{self, WRITERS};
use skiff_ports::store::Durability;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the child, to the store's path and how many writes of each writer are done.
const CHILD: &str = "SKIFF_STORE_KILLED_CHILD";
const ROUNDS: usize = 20;
/// Most acknowledgements to wait for before the kill.
const ACKNOWLEDGED_MAX: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Ok(child) = std::env::var(CHILD) {
        return write_until_killed(&child).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut done = vec![0; WRITERS as usize];
    for round in 0..ROUNDS {
        let kill_after = u64::from_le_bytes(skiff_kit::random::bytes()) % ACKNOWLEDGED_MAX;
        let acknowledged = run_and_kill(&path, &done, kill_after);
        let store = SqliteStore::open(&path).unwrap();
        for writer in 0..WRITERS {
            let acknowledged = acknowledged.get(&writer).copied().unwrap_or(done[writer as usize]);
            let found = workload::done(&store, writer, acknowledged).await;
            done[writer as usize] = found.unwrap_or_else(|error| {
                panic!("round {round}, killed after {kill_after} acknowledgements: {error}")
            });
        }
    }
    assert!(done.iter().all(|done| *done > 0), "the children wrote {done:?}");
}

/// The last write of each writer that the child had acknowledged when it was killed.
fn run_and_kill(path: &Path, done: &[u64], kill_after: u64) -> BTreeMap<u64, u64> {
    let done: Vec<String> = done.iter().map(u64::to_string).collect();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "tests::kill::a_killed_process_loses_nothing_that_was_acknowledged"])
        .env(CHILD, format!("{}:{}", done.join(","), path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut count = 0;
    // What stands in the pipe after the kill was acknowledged before it.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((writer, n)) = line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        acknowledged.insert(writer.parse().unwrap(), n.parse().unwrap());
        count += 1;
        if count == kill_after + 1 {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && count > kill_after, "the child ended by itself, with {status}");
    acknowledged
}

async fn write_until_killed(child: &str) {
    let (done, path) = child.split_once(':').unwrap();
    let store = SqliteStore::open(Path::new(path)).unwrap();
    let writers = done.split(',').enumerate().map(|(writer, done)| {
        let (store, done, writer) = (store.clone(), done.parse::<u64>().unwrap(), writer as u64);
        // A write that is not for the drive outlives the process all the same.
        let durability = if writer.is_multiple_of(2) { Durability::Drive } else { Durability::System };
        tokio::spawn(async move {
            for n in done + 1.. {
                workload::write(&store, writer, n, durability).await.unwrap();
                // One call, so that a kill can't cut a line in two that another follows.
                std::io::stdout().write_all(format!("acknowledged {writer} {n}\n").as_bytes()).unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
}
