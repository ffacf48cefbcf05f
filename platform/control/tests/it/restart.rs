//! A platform that ends and starts again over the same disk.

use crate::fixture::{Platform, namespace, registration, until};
use skiff_api::RegisterTaskDefinition;
use skiff_types::{StopCode, TaskStatus};

#[tokio::test]
async fn what_was_promised_is_brought_back() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 2).await;
    platform.deploy("worker", "daemon", 1).await;
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    let job = platform.run("job").await;
    platform.reaches(job.id, TaskStatus::Running).await;
    platform.completed("web").await;
    platform.completed("worker").await;
    let mut web: Vec<_> = platform.running("web").await.into_iter().map(|task| task.id).collect();
    let daemon = platform.running("worker").await.remove(0);
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    platform.completed("web").await;
    let mut back: Vec<_> = platform.running("web").await.into_iter().map(|task| task.id).collect();
    web.sort_unstable();
    back.sort_unstable();
    assert_eq!(back, web, "http tasks keep their ids");
    for id in [job.id, daemon.id] {
        let ended = platform.reaches(id, TaskStatus::Stopped).await;
        assert_eq!(ended.stop_code, Some(StopCode::PlatformStopped));
    }
    platform.completed("worker").await;
    let again = platform.running("worker").await.remove(0);
    assert_ne!(again.id, daemon.id);
    let status = platform.service("worker").await.status;
    assert_eq!(status.restarts, 0);
    let is_placed = |message: &str| !message.contains("no node has a place");
    assert!(status.events.iter().all(|event| is_placed(&event.message)), "{:?}", status.events);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn how_programs_ended_is_kept_although_the_platform_stops_at_once() {
    let platform = Platform::start().await;
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    let mut jobs = Vec::new();
    for _ in 0..200 {
        jobs.push(platform.run("job").await.id);
    }
    for &id in &jobs {
        platform.reaches(id, TaskStatus::Running).await;
    }
    // Nothing runs between this and the drain: the events all wait in the node's queue.
    jobs.iter().for_each(|&id| platform.node.end(id, Some(7), StopCode::Exited));
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    for id in jobs {
        let ended = platform.reaches(id, TaskStatus::Stopped).await;
        assert_eq!((ended.exit_code, ended.stop_code), (Some(7), Some(StopCode::Exited)));
    }
}

#[tokio::test]
async fn what_ends_because_the_platform_stops_is_not_recorded_as_its_own_end() {
    let platform = Platform::start().await;
    platform.push("cache", "daemon").await;
    for family in ["cache", "lone"] {
        let daemon = RegisterTaskDefinition { port: Some(6379), ..registration(family, "cache") };
        platform.client.register_task_definition(&namespace(), &daemon).await.unwrap();
    }
    platform.put("cache", "cache", 1).await;
    platform.deploy("worker", "daemon", 1).await;
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    let (lone, job) = (platform.run("lone").await.id, platform.run("job").await.id);
    platform.reaches(lone, TaskStatus::Running).await;
    platform.reaches(job, TaskStatus::Running).await;
    let mut tasks = vec![lone];
    for service in ["cache", "worker"] {
        let task = until("it runs", || async { platform.running(service).await.pop() }).await;
        tasks.push(task.id);
    }

    platform.handle.wind_down();
    tasks.iter().for_each(|&id| platform.node.end(id, Some(1), StopCode::Trapped));
    platform.node.end(job, Some(7), StopCode::Exited);
    // It was said last: of the others is known by then.
    let ended = platform.reaches(job, TaskStatus::Stopped).await;
    assert_eq!((ended.exit_code, ended.stop_code), (Some(7), Some(StopCode::Exited)));
    for &id in &tasks {
        let task = platform.client.get_task(&namespace(), id).await.unwrap();
        assert_eq!((task.status, task.exit_code, task.stop_code), (TaskStatus::Running, None, None));
    }
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    for id in tasks {
        let ended = platform.reaches(id, TaskStatus::Stopped).await;
        assert_eq!((ended.exit_code, ended.stop_code), (None, Some(StopCode::PlatformStopped)));
    }
    until("it is there again", || async { platform.running("worker").await.pop() }).await;
    assert_eq!(platform.service("worker").await.status.restarts, 0);
    assert_eq!(platform.tasks(Some("worker")).await.len(), 2, "one of before, one of now");
}

#[tokio::test]
async fn nothing_is_started_in_place_of_what_ended_once_the_platform_stops() {
    let platform = Platform::start().await;
    platform.deploy("worker", "daemon", 1).await;
    platform.completed("worker").await;
    let worker = platform.running("worker").await.remove(0).id;
    platform.handle.wind_down();
    platform.client.stop_task(&namespace(), worker, &Default::default()).await.unwrap();
    platform.reaches(worker, TaskStatus::Stopped).await;
    assert_eq!(platform.tasks(Some("worker")).await.len(), 1);
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    until("another runs", || async { platform.running("worker").await.pop() }).await;
    assert_eq!(platform.tasks(Some("worker")).await.len(), 2);
}

#[tokio::test]
async fn a_half_done_deploy_goes_on() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http one", 1).await;
    platform.completed("hello").await;
    platform.node.hold();
    let second = platform.deploy("hello", "http two", 1).await;
    until("the new task is being activated", || async {
        let tasks = platform.tasks(Some("hello")).await;
        tasks.into_iter().find(|task| task.status == TaskStatus::Activating)
    })
    .await;
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    platform.handle.ready().await;
    platform.completed("hello").await;
    assert!(platform.running("hello").await.iter().all(|task| task.definition == second.id));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_record_that_can_not_be_read_harms_nothing_else() {
    use skiff_ports::store::{Expect, Key};
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    let disk = platform.stop().await;
    let keys = ["service.default.broken", "task.default.zz", "status.default.hello2", "image.default.a.b"];
    for key in keys {
        let key = Key::parse(key).unwrap();
        disk.store.put(&key, "no record".into(), Expect::Absent).await.unwrap();
    }
    let platform = Platform::start_on(disk).await;
    platform.completed("hello").await;
    for key in keys {
        let kept = platform.disk.store.get(&Key::parse(key).unwrap()).await.unwrap();
        assert_eq!(kept.unwrap().value, "no record", "{key} was touched");
    }
}
