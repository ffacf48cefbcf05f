//! How services go from one revision to the next: within their bounds, halted, given up and rolled back, and through a
//! death at any write.
//!
//! A revision that fails is one of daemons whose program ends; one of which nothing is known is one of daemons that were not
//! reached yet.

use crate::crash::Mortal;
use crate::fixture::{Disk, Platform, name, namespace, registration, until, wanted};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_api::{
    ChangeRollout, ClientError, Deployment, DeploymentState, ErrorCode, PutDeploymentConfiguration,
    PutService, RegisterTaskDefinition, RolloutAction, ScaleService, Service, Task, TaskHealth,
};
use skiff_control::{Recorded, recorded};
use skiff_ports::store::{Change, Entry, Expect, Key, Listing, Revision, Store, StoreError};
use skiff_types::{CircuitBreaker, StopCode, TaskDefinitionId, TaskStatus};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PORT: u16 = 6_379;

/// A store that is slow to write that a task is to end, and counts those that are not.
struct Counting {
    inner: Arc<dyn Store>,
    /// Those that there are, and how many there were at most.
    living: Mutex<(BTreeSet<Key>, usize)>,
}

impl Counting {
    fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, living: Mutex::default() }
    }

    fn most(&self) -> usize {
        self.living.lock().unwrap().1
    }

    fn note(&self, key: &Key, lives: bool) {
        let mut living = self.living.lock().unwrap();
        let (tasks, most) = &mut *living;
        match lives {
            true => tasks.insert(key.clone()),
            false => tasks.remove(key),
        };
        *most = tasks.len().max(*most);
    }
}

#[async_trait]
impl Store for Counting {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        let Some(Recorded::Task(task)) = recorded(key, &value) else {
            return self.inner.put(key, value, expect).await;
        };
        if task.is_stopping() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let revision = self.inner.put(key, value, expect).await?;
        self.note(key, !task.is_stopping());
        Ok(revision)
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

impl Platform {
    /// Pushes a daemon and registers it as the next revision of `kv`.
    async fn revision(&self, program: &str) -> TaskDefinitionId {
        self.push("kv", program).await;
        let request = RegisterTaskDefinition { port: Some(PORT), ..registration("kv", "kv") };
        self.client.register_task_definition(&namespace(), &request).await.unwrap().id
    }

    /// Puts `kv` on a new revision.
    async fn goes_to(&self, program: &str, deployment: PutDeploymentConfiguration) -> TaskDefinitionId {
        let revision = self.revision(program).await;
        let body = PutService { deployment: Some(deployment), ..wanted(&revision.to_string(), 1) };
        self.client.put_service(&namespace(), &name("kv"), &body, None).await.unwrap();
        revision
    }

    /// Says of every daemon of a revision that it was reached.
    async fn reach(&self, revision: &TaskDefinitionId) {
        for task in self.of(revision).await {
            if task.status == TaskStatus::Running && task.health == TaskHealth::Unknown {
                self.node.find_health(task.id, true);
            }
        }
    }

    /// The tasks of a revision, those that ended as well.
    async fn of(&self, revision: &TaskDefinitionId) -> Vec<Task> {
        let tasks = self.tasks(Some("kv")).await;
        tasks.into_iter().filter(|task| task.definition == *revision).collect()
    }

    /// Waits until a deployment of `kv` is so; daemons of `healthy` are reached meanwhile.
    async fn deployment(
        &self,
        what: &str,
        healthy: &TaskDefinitionId,
        is: impl Fn(&Deployment) -> bool,
    ) -> Service {
        until(what, || async {
            self.reach(healthy).await;
            let service = self.service("kv").await;
            is(&service.status.deployment).then_some(service)
        })
        .await
    }

    /// A platform whose service `kv` has one daemon of its first revision.
    async fn with_kv() -> (Self, TaskDefinitionId) {
        let platform = Self::start().await;
        let first = platform.goes_to("daemon one", PutDeploymentConfiguration::default()).await;
        platform.deployment("the first completes", &first, is_complete).await;
        (platform, first)
    }

    async fn act(&self, action: RolloutAction) -> Result<Service, ClientError> {
        self.client.change_rollout(&namespace(), &name("kv"), &ChangeRollout { action }).await
    }
}

fn is_complete(deployment: &Deployment) -> bool {
    deployment.state == DeploymentState::Completed
}

fn is_back(deployment: &Deployment) -> bool {
    is_complete(deployment) && deployment.rolled_back_from.is_some()
}

fn breaker(circuit_breaker: CircuitBreaker) -> PutDeploymentConfiguration {
    PutDeploymentConfiguration { circuit_breaker: Some(circuit_breaker), ..Default::default() }
}

#[tokio::test]
async fn it_goes_on_within_its_bounds() {
    let platform = Platform::start().await;
    for (program, (least, most), targets) in
        [("http one", (50, 100), 2..=4), ("http two", (50, 100), 2..=4), ("http three", (100, 150), 4..=6)]
    {
        let before = platform.node.targets_of("default/hello").len();
        platform.push("hello", program).await;
        let definition = platform.register("hello", "hello").await.id;
        let deployment = PutDeploymentConfiguration {
            min_healthy_percent: Some(least),
            max_percent: Some(most),
            ..Default::default()
        };
        let body = PutService { deployment: Some(deployment), ..wanted(&definition.to_string(), 4) };
        let service = platform.client.put_service(&namespace(), &name("hello"), &body, None).await.unwrap();
        assert_eq!(service.spec.deployment.min_healthy_percent, least);
        let service = platform.completed("hello").await;
        assert_eq!(service.status.deployment.replaced, 0);
        let counts = platform.node.targets_of("default/hello").split_off(before);
        if before > 0 {
            assert!(counts.iter().all(|count| targets.contains(count)), "{least}/{most}: {counts:?}");
        }
    }
    let stuck = PutDeploymentConfiguration {
        min_healthy_percent: Some(100),
        max_percent: Some(100),
        ..Default::default()
    };
    let body = PutService { deployment: Some(stuck), ..wanted("hello", 4) };
    let error = platform.client.put_service(&namespace(), &name("hello"), &body, None).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidArgument));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_starts_in_the_place_of_others_is_written_after_these_are_to_end() {
    let disk = Disk::new();
    let store = Arc::new(Counting::new(disk.store.clone()));
    let platform = Platform::start_on(Disk { store: store.clone(), ..disk }).await;
    for program in ["http one", "http two"] {
        platform.push("hello", program).await;
        let definition = platform.register("hello", "hello").await.id;
        let deployment = PutDeploymentConfiguration {
            min_healthy_percent: Some(50),
            max_percent: Some(100),
            ..Default::default()
        };
        let body = PutService { deployment: Some(deployment), ..wanted(&definition.to_string(), 4) };
        platform.client.put_service(&namespace(), &name("hello"), &body, None).await.unwrap();
        platform.completed("hello").await;
    }
    assert_eq!(store.most(), 4, "RUNNING and PENDING are within the maximum after every write");
}

#[tokio::test]
async fn where_no_step_is_allowed_an_event_says_so() {
    let (platform, first) = Platform::with_kv().await;
    let narrow = PutDeploymentConfiguration { max_percent: Some(150), ..Default::default() };
    let second = platform.goes_to("daemon two", narrow).await;
    let stuck = |deployment: &Deployment| deployment.message.is_some();
    let service = platform.deployment("it is stuck", &first, stuck).await;
    let message = service.status.deployment.message.unwrap();
    assert!(message.contains("a desired count of 1, a minimum healthy percent of 100"), "{message}");
    assert_eq!(service.status.events.iter().filter(|event| event.message == message).count(), 1);
    assert_eq!(platform.of(&second).await, []);
    let scale = ScaleService { desired: 2 };
    platform.client.scale_service(&namespace(), &name("kv"), &scale, None).await.unwrap();
    let service = platform.deployment("it goes on", &second, is_complete).await;
    assert_eq!(service.status.deployment.message, None);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_fails_is_rolled_back_and_begins_anew_when_it_is_deployed_again() {
    let (platform, first) = Platform::with_kv().await;
    let serving = platform.running("kv").await.remove(0).id;
    let second = platform.goes_to("exit 1", PutDeploymentConfiguration::default()).await;
    let service = platform.deployment("it is rolled back", &first, is_back).await;
    let back = &service.status.deployment;
    assert_eq!((&back.definition, back.rolled_back_from.as_ref()), (&first, Some(&second)));
    let message = back.message.as_deref().unwrap();
    assert!(message.starts_with("3 of its tasks failed, the last of them "), "{message}");
    assert_eq!(service.spec.definition, second, "what its user said is as it was");
    assert_eq!(platform.of(&second).await.len(), 3);
    let still_runs = async || platform.running("kv").await.iter().any(|task| task.id == serving);
    assert!(still_runs().await, "it was never stopped");
    let says = |text: &str| service.status.events.iter().any(|event| event.message.contains(text));
    assert!(says("the deployment of kv:2 failed: 3 of its tasks failed"), "{:?}", service.status.events);
    assert!(says("rolling back from kv:2 to kv:1"), "{:?}", service.status.events);

    let again = platform.put("kv", &second.to_string(), 1).await.status.deployment;
    assert_ne!(again.id, back.id);
    assert_eq!((again.definition, again.rolled_back_from, again.failed_tasks), (second.clone(), None, 0));
    let anew = |deployment: &Deployment| is_back(deployment) && deployment.id != back.id;
    platform.deployment("it is rolled back again", &first, anew).await;
    assert_eq!(platform.of(&second).await.len(), 6);

    assert_eq!(platform.roll_back("kv").await.unwrap().spec.definition, first);
    let service = platform.deployment("it is what its user wants", &first, is_complete).await;
    assert_eq!(service.status.deployment.rolled_back_from, None);
    assert!(still_runs().await);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_fails_stops_where_it_is_not_to_be_rolled_back() {
    let (platform, first) = Platform::with_kv().await;
    let second = platform.goes_to("exit 1", breaker(CircuitBreaker::Stop)).await;
    let has_failed = |deployment: &Deployment| deployment.state == DeploymentState::Failed;
    platform.deployment("it has failed", &first, has_failed).await;
    let error = platform.act(RolloutAction::Pause).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition));

    let scale = ScaleService { desired: 3 };
    platform.client.scale_service(&namespace(), &name("kv"), &scale, None).await.unwrap();
    until("it is scaled with what completed", || async {
        platform.reach(&first).await;
        (platform.service("kv").await.status.ready == 3).then_some(())
    })
    .await;
    assert_eq!(platform.of(&second).await.len(), 3, "no more of it is started");

    platform.act(RolloutAction::Abort).await.unwrap();
    let service = platform.deployment("it is rolled back by hand", &first, is_complete).await;
    assert_eq!(service.status.deployment.rolled_back_from, Some(second));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_first_deployment_that_fails_stops_and_one_without_a_breaker_goes_on() {
    let platform = Platform::start().await;
    let first = platform.goes_to("exit 1", PutDeploymentConfiguration::default()).await;
    let has_failed = |deployment: &Deployment| deployment.state == DeploymentState::Failed;
    let service = platform.deployment("it has failed", &first, has_failed).await;
    let message = service.status.deployment.message.unwrap();
    assert!(message.ends_with("there is no revision to roll back to that completed before"), "{message}");
    let again = platform.goes_to("exit 2", breaker(CircuitBreaker::Off)).await;
    let service = platform.deployment("it tries", &again, |deployment| deployment.failed_tasks >= 4).await;
    assert_eq!(service.status.deployment.state, DeploymentState::InProgress);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_deployment_is_halted_continued_and_given_up_by_its_user() {
    let (platform, first) = Platform::with_kv().await;
    let error = platform.act(RolloutAction::Pause).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition), "nothing is under way");
    let serving = platform.running("kv").await.remove(0).id;
    let second = platform.goes_to("daemon two", PutDeploymentConfiguration::default()).await;
    until("the second runs", || async { (platform.running("kv").await.len() == 2).then_some(()) }).await;
    assert!(platform.act(RolloutAction::Pause).await.unwrap().status.deployment.paused);
    platform.deployment("it serves", &second, |deployment| deployment.running == 1).await;
    let tasks = platform.running("kv").await;
    assert!(tasks.iter().any(|task| task.id == serving), "the first still runs: {tasks:?}");

    let new = platform.of(&second).await.remove(0).id;
    // In this order: where the new one alone serves, there is nothing left to do.
    platform.node.end(new, Some(1), StopCode::Exited);
    platform.reaches(new, TaskStatus::Stopped).await;
    platform.node.end(serving, Some(1), StopCode::Exited);
    until("what completed before takes their place", || async {
        platform.reach(&first).await;
        let running = platform.running("kv").await;
        (running.len() == 1 && running[0].definition == first && running[0].id != serving).then_some(())
    })
    .await;
    assert_eq!(platform.of(&second).await.len(), 1);

    platform.act(RolloutAction::Resume).await.unwrap();
    let service = platform.deployment("it completes", &second, is_complete).await;
    assert_eq!(service.status.deployment.definition, second);

    let third = platform.goes_to("daemon three", PutDeploymentConfiguration::default()).await;
    until("the third runs", || async { (platform.running("kv").await.len() == 2).then_some(()) }).await;
    platform.act(RolloutAction::Abort).await.unwrap();
    let service = platform.deployment("it is given up", &second, is_complete).await;
    let back = service.status.deployment;
    assert_eq!((back.definition, back.rolled_back_from), (second, Some(third.clone())));
    assert_eq!(back.message.as_deref(), Some("its user aborted it"));
    for task in platform.of(&third).await {
        platform.reaches(task.id, TaskStatus::Stopped).await;
    }
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_rollback_goes_to_the_last_that_completed() {
    let (platform, first) = Platform::with_kv().await;
    let second = platform.goes_to("daemon two", PutDeploymentConfiguration::default()).await;
    platform.deployment("the second completes", &second, is_complete).await;
    platform.goes_to("daemon three", PutDeploymentConfiguration::default()).await;
    platform.goes_to("daemon four", PutDeploymentConfiguration::default()).await;
    assert_eq!(platform.roll_back("kv").await.unwrap().spec.definition, second, "neither came up");
    platform.deployment("it is back", &second, is_complete).await;
    assert_ne!(first, second);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn whenever_the_platform_dies_a_rollback_ends_in_the_same_place() {
    let mut points = 0;
    for writes in 1.. {
        let (platform, first) = Platform::with_kv().await;
        let second = platform.revision("exit 1").await;
        let disk = platform.stop().await;
        let mortal = Arc::new(Mortal::new(disk.store.clone(), i64::MAX, writes % 2 == 0));
        let dying = Platform::start_on(Disk { store: mortal.clone(), ..disk.clone() }).await;
        dying.handle.ready().await;
        dying.deployment("the first is back", &first, is_complete).await;
        mortal.dies_after(writes);
        // What a call wanted that died may be so or not; what it answered is.
        let asked = wanted(&second.to_string(), 1);
        let put = dying.client.put_service(&namespace(), &name("kv"), &asked, None).await;
        until("it is rolled back, or dies", || async {
            let service = dying.service("kv").await;
            (mortal.is_dead() || is_back(&service.status.deployment)).then_some(())
        })
        .await;
        let is_whole = !mortal.is_dead();
        dying.stop().await;

        let platform = Platform::start_on(disk).await;
        let service = until("it is at rest", || async {
            platform.reach(&first).await;
            let service = platform.service("kv").await;
            let is_untouched = put.is_err() && service.spec.definition == first;
            let deployment = &service.status.deployment;
            let is_at_rest = if is_untouched { is_complete(deployment) } else { is_back(deployment) };
            is_at_rest.then_some(service)
        })
        .await;
        assert_eq!(service.status.deployment.definition, first, "died at write {writes}");
        let failed = platform.of(&second).await;
        assert!(failed.iter().all(|task| task.status == TaskStatus::Stopped), "{failed:?}");
        platform.assert_node_is_content();
        platform.stop().await;
        points += 1;
        if is_whole {
            break;
        }
    }
    assert!(points > 15, "a rollback has more writes than {points} points");
}
