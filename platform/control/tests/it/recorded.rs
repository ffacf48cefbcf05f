//! What a store says to who looks at it from outside.

use crate::fixture::Platform;
use skiff_control::{Recorded, recorded};
use skiff_ports::store::{Entry, Key};
use skiff_types::{RolloutState, TaskStatus};

async fn entries(platform: &Platform, prefix: &str) -> Vec<Entry> {
    platform.disk.store.list(&Key::parse(prefix).unwrap()).await.unwrap().entries
}

#[tokio::test]
async fn services_and_tasks_are_read_as_they_were_written() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 2).await;
    platform.completed("web").await;
    let read = |entry: &Entry| recorded(&entry.key, &entry.value).expect("it can be read");
    let tasks = entries(&platform, "task").await;
    assert_eq!(tasks.len(), 2);
    for entry in &tasks {
        let Recorded::Task(task) = read(entry) else { panic!("{} is no task", entry.key) };
        assert_eq!((task.status, task.definition.to_string().as_str()), (TaskStatus::Running, "web:1"));
    }
    let services: Vec<Recorded> = entries(&platform, "service").await.iter().map(read).collect();
    let [Recorded::Service(service)] = &services[..] else { panic!("there is one service") };
    assert_eq!((service.name.to_string().as_str(), service.spec.desired), ("default/web", 2));
    assert!(!service.removed && !service.is_paused);
    let notes: Vec<Recorded> = entries(&platform, "status").await.iter().map(read).collect();
    let [Recorded::Rollout { rollout: Some(rollout), .. }] = &notes[..] else {
        panic!("there is one rollout")
    };
    assert_eq!((rollout.for_, rollout.state), (service.deployment, RolloutState::Completed));
    let others = [entries(&platform, "image").await, entries(&platform, "network").await].concat();
    assert!(others.iter().map(read).all(|other| other == Recorded::Other));
    assert_eq!(recorded(&tasks[0].key, b"{"), None, "a damaged record");
    platform.stop().await;
}
