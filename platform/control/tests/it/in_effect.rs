//! Tasks that events run: they begin before the store has them, and no trouble of the store loses an event.

use crate::fixture::{Disk, Platform, name, namespace, until};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::json;
use skiff_api::{PutEventRule, TaskListQuery};
use skiff_ports::store::{Change, Entry, Expect, Key, Listing, Revision, Store, StoreError};
use skiff_types::TaskStatus;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What becomes of the next new task's object.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    /// It is written once somebody says so.
    Waits,
    /// It can't be written, once.
    Fails,
    /// Something else was not as it was to be, once.
    Conflicts,
}

/// A store in which new tasks have trouble.
struct Troubled {
    inner: Arc<dyn Store>,
    trouble: Mutex<Trouble>,
    may_write: Semaphore,
}

impl Troubled {
    fn has(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    async fn tasks(&self) -> usize {
        self.inner.list(&Key::new(["task"]).unwrap()).await.unwrap().entries.len()
    }
}

#[async_trait]
impl Store for Troubled {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        let is_new_task = key.as_str().starts_with("task.") && expect == Expect::Absent;
        let trouble = if is_new_task { *self.trouble.lock().unwrap() } else { Trouble::None };
        match trouble {
            Trouble::None => {}
            Trouble::Waits => self.may_write.acquire().await.unwrap().forget(),
            Trouble::Fails => {
                self.has(Trouble::None);
                return Err(StoreError::Storage("the drive is gone for a moment".into()));
            }
            Trouble::Conflicts => {
                self.has(Trouble::None);
                return Err(StoreError::Conflict { key: key.clone(), actual: 0 });
            }
        }
        self.inner.put(key, value, expect).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.inner.list(prefix).await
    }

    async fn watch(
        &self,
        prefix: &Key,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.inner.watch(prefix, after).await
    }
}

/// A platform on such a store, with a rule that runs a task whose native code is ready.
async fn started() -> (Platform, Arc<Troubled>) {
    let mut disk = Disk::new();
    let (trouble, may_write) = (Mutex::new(Trouble::None), Semaphore::new(0));
    let store = Arc::new(Troubled { inner: disk.store.clone(), trouble, may_write });
    disk.store = store.clone();
    let platform = Platform::start_on(disk).await;
    platform.push("job:latest", "exit 0").await;
    platform.register("job", "job:latest").await;
    let first = platform.run("job:1").await;
    platform.reaches(first.id, TaskStatus::Stopped).await;
    let rule = json!({
        "pattern": { "source": ["shop"] },
        "targets": [{ "id": "job", "to": { "task": { "definition": "job" } } }],
    });
    let rule: PutEventRule = serde_json::from_value(rule).unwrap();
    platform.client.put_event_rule(&namespace(), &name("placed"), &rule, None).await.unwrap();
    (platform, store)
}

async fn put_event(platform: &Platform) {
    let entries = json!({ "Entries": [{ "Source": "shop", "DetailType": "Order Placed", "Detail": "{}" }] });
    let (here, bus, body) = (namespace(), name("default"), entries.to_string().into());
    platform.client.put_events(&here, &bus, "application/json", body).await.unwrap();
}

/// Waits until so many tasks have run to their end.
async fn have_run(platform: &Platform, count: usize) {
    let query = TaskListQuery { stopped: Some(true), ..TaskListQuery::default() };
    let query = &query;
    until("each has run", || async move {
        let tasks = platform.client.list_tasks(&namespace(), query).await.unwrap().items;
        let ended = tasks.iter().filter(|task| task.exit_code == Some(0)).count();
        (ended == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_task_of_an_event_begins_before_the_store_has_it() {
    let (platform, store) = started().await;
    store.has(Trouble::Waits);
    put_event(&platform).await;
    until("the node has it", || async { (platform.node.desired().tasks.len() == 1).then_some(()) }).await;
    assert_eq!(store.tasks().await, 1, "the first one alone");
    store.has(Trouble::None);
    store.may_write.add_permits(100);
    have_run(&platform, 2).await;
    assert_eq!(store.tasks().await, 2);
}

#[tokio::test]
async fn an_event_whose_task_can_not_be_written_runs_one_when_it_can() {
    let (platform, store) = started().await;
    for trouble in [Trouble::Fails, Trouble::Conflicts] {
        let before = store.tasks().await;
        store.has(trouble);
        put_event(&platform).await;
        have_run(&platform, before + 1).await;
        assert_eq!(store.tasks().await, before + 1);
    }
    until("the node has none", || async { platform.node.desired().tasks.is_empty().then_some(()) }).await;
}
