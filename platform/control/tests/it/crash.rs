//! The platform dies at every write of a user's session, once before the write is done and once after. What was
//! acknowledged is there after the next start, and nothing half done remains.

use crate::fixture::{Disk, Platform, name, namespace, one_off, registration, until, wanted};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_api::{ClientError, ErrorCode, ScaleService};
use skiff_ports::store::{Change, Entry, Expect, Key, Listing, Revision, Store, StoreError};
use skiff_types::{TaskDefinitionId, TaskId, TaskStatus};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

/// A store that dies at its n-th write.
pub(crate) struct Mortal {
    inner: Arc<dyn Store>,
    writes_left: AtomicI64,
    /// Whether the write at which it dies is done.
    does_the_last: bool,
    dead: AtomicBool,
}

impl Mortal {
    pub(crate) fn new(inner: Arc<dyn Store>, writes: i64, does_the_last: bool) -> Self {
        let (writes_left, dead) = (AtomicI64::new(writes), AtomicBool::new(false));
        Self { inner, writes_left, does_the_last, dead }
    }

    /// From now on it dies at its n-th write.
    pub(crate) fn dies_after(&self, writes: i64) {
        self.writes_left.store(writes, SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(SeqCst)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.dead.load(SeqCst) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Counts a write; an error if it is not to be done, `false` if it is the last.
    fn count(&self) -> Result<bool, StoreError> {
        self.alive()?;
        let left = self.writes_left.fetch_sub(1, SeqCst);
        if left <= 1 {
            self.dead.store(true, SeqCst);
            if left < 1 || !self.does_the_last {
                return Err(StoreError::Closed);
            }
        }
        Ok(left > 1)
    }
}

#[async_trait]
impl Store for Mortal {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.alive()?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        let survives = self.count()?;
        let done = self.inner.put(key, value, expect).await;
        if survives { done } else { Err(StoreError::Closed) }
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        let survives = self.count()?;
        let done = self.inner.delete(key, expect).await;
        if survives { done } else { Err(StoreError::Closed) }
    }

    async fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.alive()?;
        self.inner.list(prefix).await
    }

    async fn watch(
        &self,
        prefix: &Key,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.alive()?;
        self.inner.watch(prefix, after).await
    }
}

/// What a service may be after the crash: as it was acknowledged, or as the call that was cut short wanted it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Absent,
    Runs { revision: u32, desired: u32 },
}

/// What was acknowledged.
#[derive(Default)]
struct Session {
    definitions: Vec<TaskDefinitionId>,
    jobs: Vec<TaskId>,
    services: std::collections::BTreeMap<&'static str, Vec<Wanted>>,
}

impl Session {
    fn may_be(&mut self, service: &'static str, wanted: Wanted) {
        self.services.entry(service).or_insert_with(|| vec![Wanted::Absent]).push(wanted);
    }

    fn is(&mut self, service: &'static str) {
        let wishes = self.services.get_mut(service).unwrap();
        wishes.drain(..wishes.len() - 1);
    }

    /// A user's session, until a call fails.
    async fn run(&mut self, platform: &Platform) -> Result<(), ClientError> {
        self.deploy(platform, "web", "http one", 1, 2).await?;
        self.deploy(platform, "worker", "daemon", 1, 1).await?;
        settle(platform).await;
        self.deploy(platform, "web", "http two", 2, 2).await?;
        self.may_be("web", Wanted::Runs { revision: 2, desired: 3 });
        let scale = ScaleService { desired: 3 };
        platform.client.scale_service(&namespace(), &name("web"), &scale, None).await?;
        self.is("web");
        push(platform, "job", "exit 3").await?;
        self.register(platform, "job").await?;
        self.jobs.push(platform.client.run_task(&namespace(), &one_off("job")).await?.id);
        settle(platform).await;
        self.may_be("worker", Wanted::Absent);
        platform.client.delete_service(&namespace(), &name("worker"), None).await?;
        self.is("worker");
        settle(platform).await;
        Ok(())
    }

    async fn deploy(
        &mut self,
        platform: &Platform,
        service: &'static str,
        program: &'static str,
        revision: u32,
        desired: u32,
    ) -> Result<(), ClientError> {
        push(platform, service, program).await?;
        self.register(platform, service).await?;
        self.may_be(service, Wanted::Runs { revision, desired });
        let request = wanted(service, desired);
        platform.client.put_service(&namespace(), &name(service), &request, None).await?;
        self.is(service);
        Ok(())
    }

    async fn register(&mut self, platform: &Platform, family: &str) -> Result<(), ClientError> {
        let request = registration(family, family);
        self.definitions.push(platform.client.register_task_definition(&namespace(), &request).await?.id);
        Ok(())
    }

    /// Checks a platform that was started over what the dead one left.
    async fn check(&self, platform: &Platform, point: &str) {
        for id in &self.definitions {
            let query = Default::default();
            let found = platform.client.get_task_definition(&namespace(), &id.clone().into(), &query).await;
            assert_eq!(found.expect(point).id, *id);
        }
        for job in &self.jobs {
            platform.reaches(*job, TaskStatus::Stopped).await;
        }
        for (service, wishes) in &self.services {
            until(&format!("{point}: {service} is one of {wishes:?}"), || async {
                let found = platform.client.get_service(&namespace(), &name(service)).await;
                let is = match &found {
                    Ok(service) => Wanted::Runs {
                        revision: service.spec.definition.revision,
                        desired: service.spec.desired,
                    },
                    Err(error) if error.code() == Some(ErrorCode::NotFound) => Wanted::Absent,
                    Err(error) => panic!("{point}: {error}"),
                };
                wishes.contains(&is).then_some(())
            })
            .await;
            if platform.client.get_service(&namespace(), &name(service)).await.is_ok() {
                platform.completed(service).await;
            }
        }
        // Nothing half done remains: what the node runs is what serves, and no task is stuck on its way.
        until(&format!("{point}: all is at rest"), || async {
            let tasks = platform.tasks(None).await;
            let at_rest = |status| matches!(status, TaskStatus::Running | TaskStatus::Stopped);
            let running: BTreeSet<_> =
                tasks.iter().filter(|task| task.status == TaskStatus::Running).map(|task| task.id).collect();
            let assigned: BTreeSet<_> = platform.node.desired().tasks.iter().map(|task| task.id).collect();
            (tasks.iter().all(|task| at_rest(task.status)) && running == assigned).then_some(())
        })
        .await;
        platform.assert_node_is_content();
    }
}

async fn push(platform: &Platform, image: &str, program: &'static str) -> Result<(), ClientError> {
    let program = Bytes::from_static(program.as_bytes());
    platform.client.push_image(&namespace(), &image.parse().unwrap(), program, |_| {}).await.map(drop)
}

/// Lets the reconcilers go on for a while, without a promise how far they come.
async fn settle(platform: &Platform) {
    for _ in 0..3 {
        platform.tasks(None).await;
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_half_done_remains() {
    let mut points = 0;
    for writes in 1.. {
        let mut whole = true;
        for does_the_last in [false, true] {
            let disk = Disk::new();
            // The first start is done: the deaths are those of a session.
            skiff_control::establish_network(&*disk.store, &disk.network.into(), &[], 1).await.unwrap();
            let mortal = Arc::new(Mortal::new(disk.store.clone(), writes, does_the_last));
            let dying = Platform::start_on(Disk { store: mortal.clone(), ..disk.clone() }).await;
            let mut session = Session::default();
            let result = session.run(&dying).await;
            whole &= result.is_ok() && !mortal.is_dead();
            dying.stop().await;
            let point = format!("died at write {writes}, done: {does_the_last}");
            let platform = Platform::start_on(disk).await;
            session.check(&platform, &point).await;
            platform.stop().await;
            points += 1;
        }
        if whole {
            break;
        }
    }
    assert!(points > 40, "the session has more writes than {points} points");
}
