//! Daemons: their health, their end, restart policies, and listeners.

use crate::fixture::{Platform, name, namespace, registration, until, wanted};
use bytes::Bytes;
use skiff_api::{ErrorCode, HealthCheckSpec, PutService, RegisterTaskDefinition, StopTask, Task, TaskHealth};
use skiff_ports::store::{Expect, Key};
use skiff_types::{LISTENERS_MAX, Listen, Restart, Span, StopCode, TaskId, TaskStatus};

const PORT: u16 = 6379;

fn daemon(family: &str) -> RegisterTaskDefinition {
    RegisterTaskDefinition { port: Some(PORT), ..registration(family, family) }
}

impl Platform {
    /// Registers a daemon, or what else `request` says, and starts it once.
    async fn run_daemon(&self, request: &RegisterTaskDefinition) -> TaskId {
        self.push(request.family.as_str(), "daemon").await;
        self.client.register_task_definition(&namespace(), request).await.unwrap();
        self.run(request.family.as_str()).await.id
    }

    async fn deploy_daemon(&self, service: &str, listen: &[Listen]) {
        self.push(service, "daemon").await;
        self.client.register_task_definition(&namespace(), &daemon(service)).await.unwrap();
        let request = PutService { listen: Some(listen.to_vec()), ..wanted(service, 1) };
        self.client.put_service(&namespace(), &name(service), &request, None).await.unwrap();
    }

    async fn finds(&self, what: &str, id: TaskId, is: impl Fn(&Task) -> bool) -> Task {
        until(what, || async {
            let task = self.client.get_task(&namespace(), id).await.unwrap();
            is(&task).then_some(task)
        })
        .await
    }

    /// Where the node was told that a service's connections go.
    async fn targets(&self, service: &str, count: usize) {
        until(&format!("{service} has {count} targets"), || async {
            let desired = self.node.desired();
            let route = desired.routes.iter().find(|route| route.service.name.as_str() == service)?;
            (route.targets.len() == count).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_leads_to_its_daemons_while_they_are_healthy_and_replaces_them_when_not() {
    let platform = Platform::start().await;
    platform.deploy_daemon("kv", &[Listen::Tcp(PORT)]).await;
    let first = until("it runs", || async { platform.running("kv").await.pop() }).await;
    assert_eq!(first.health, TaskHealth::Unknown);
    let status = platform.service("kv").await.status;
    assert_eq!((status.running, status.ready, status.port), (1, 0, Some(PORT)));
    platform.targets("kv", 0).await;

    platform.node.find_health(first.id, true);
    let service = platform.completed("kv").await;
    assert_eq!((service.status.ready, service.spec.listen.as_slice()), (1, &[Listen::Tcp(PORT)][..]));
    assert_eq!(service.status.urls, [] as [String; 0], "with listeners alone it answers no requests");
    platform.targets("kv", 1).await;
    let desired = platform.node.desired();
    assert_eq!((desired.tasks[0].spec.port, desired.routes[0].hosts.len()), (Some(PORT), 0));
    assert!(desired.interfaces[&first.id].ready);

    platform.node.set_outstanding(first.id, 1);
    platform.node.find_health(first.id, false);
    let stopping = platform.reaches(first.id, TaskStatus::Stopping).await;
    assert_eq!(stopping.stop_code, Some(StopCode::Unhealthy));
    assert_eq!(stopping.stopped_reason.as_deref(), Some("nothing listens"));
    platform.targets("kv", 0).await;
    let second = until("another one runs", || async {
        platform.running("kv").await.into_iter().find(|task| task.id != first.id)
    })
    .await;
    assert_eq!(second.attempt, 1);
    platform.node.set_outstanding(first.id, 0);
    platform.reaches(first.id, TaskStatus::Stopped).await;
    platform.node.find_health(second.id, true);
    platform.targets("kv", 1).await;
    let status = until("the restart is counted", || async {
        let status = platform.completed("kv").await.status;
        (status.restarts == 1).then_some(status)
    })
    .await;
    assert!(status.events.iter().any(|event| event.message.ends_with("is unhealthy: nothing listens")));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_daemon_with_routes_answers_requests_too() {
    let platform = Platform::start().await;
    platform.push("web", "daemon").await;
    platform.client.register_task_definition(&namespace(), &daemon("web")).await.unwrap();
    platform.put("web", "web", 1).await;
    let task = until("it runs", || async { platform.running("web").await.pop() }).await;
    platform.node.find_health(task.id, true);
    let service = platform.completed("web").await;
    assert_eq!(service.status.urls, ["http://web.localhost:8080/"]);
    platform.targets("web", 1).await;
}

#[tokio::test]
async fn a_daemon_finishes_its_connections_for_as_long_as_it_was_given() {
    let platform = Platform::start().await;
    let long = platform.run_daemon(&daemon("long")).await;
    let short = RegisterTaskDefinition { stop_timeout: Some(Span::from_ms(0)), ..daemon("short") };
    let short = platform.run_daemon(&short).await;
    for task in [long, short] {
        platform.reaches(task, TaskStatus::Running).await;
        platform.node.set_outstanding(task, 1);
        platform.client.stop_task(&namespace(), task, &StopTask::default()).await.unwrap();
    }
    platform.reaches(short, TaskStatus::Stopped).await;
    platform.reaches(long, TaskStatus::Stopping).await;
    assert!(!platform.node.desired().interfaces[&long].ready, "names lead there still");
    platform.node.set_outstanding(long, 0);
    let ended = platform.reaches(long, TaskStatus::Stopped).await;
    assert_eq!(ended.stop_code, Some(StopCode::UserInitiated));
}

#[tokio::test]
async fn a_task_that_failed_is_started_again_where_it_was() {
    let platform = Platform::start().await;
    let request = RegisterTaskDefinition { restart: Restart::OnFailure, ..daemon("again") };
    let id = platform.run_daemon(&request).await;
    let first = platform.reaches(id, TaskStatus::Running).await;
    platform.node.end(id, Some(3), StopCode::Exited);
    let again = |restarts| move |task: &Task| task.restarts == restarts && task.status == TaskStatus::Running;
    let second = platform.finds("it runs again", id, again(1)).await;
    assert_eq!((second.ipv4, second.attempt, second.stop_code), (first.ipv4, 1, None));
    assert_eq!((second.last_stop_code, second.exit_code), (Some(StopCode::Exited), None));

    platform.node.find_health(id, true);
    platform.finds("it is healthy", id, |task| task.health == TaskHealth::Healthy).await;
    platform.node.find_health(id, false);
    let third = platform.finds("it runs a third time", id, again(2)).await;
    assert_eq!((third.last_stop_code, third.health), (Some(StopCode::Unhealthy), TaskHealth::Unknown));

    let disk = platform.stop().await;
    let platform = Platform::start_on(disk).await;
    let fourth = platform.finds("it runs after the platform", id, again(3)).await;
    assert_eq!((fourth.last_stop_code, fourth.ipv4), (Some(StopCode::PlatformStopped), first.ipv4));

    platform.node.end(id, Some(0), StopCode::Exited);
    let ended = platform.reaches(id, TaskStatus::Stopped).await;
    assert_eq!((ended.exit_code, ended.restarts), (Some(0), 3), "it has not failed");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_is_heard_late_of_a_life_before_says_nothing_of_this_one() {
    let platform = Platform::start().await;
    let request = RegisterTaskDefinition { restart: Restart::Always, ..daemon("late") };
    let id = platform.run_daemon(&request).await;
    platform.reaches(id, TaskStatus::Running).await;
    platform.node.end(id, Some(0), StopCode::Exited);
    let runs_again = |task: &Task| task.restarts == 1 && task.status == TaskStatus::Running;
    platform.finds("it runs again", id, runs_again).await;
    platform.node.find_health_in_life(id, 0, false);
    platform.node.end_life(id, 0, Some(1), StopCode::Exited);
    platform.node.find_health(id, true);
    let task = platform.finds("it is healthy", id, |task| task.health == TaskHealth::Healthy).await;
    assert_eq!((task.restarts, task.stop_code, task.exit_code), (1, None, None));
}

#[tokio::test]
async fn a_task_whose_definition_can_not_be_read_waits_until_it_can() {
    let platform = Platform::start().await;
    let request = RegisterTaskDefinition { restart: Restart::Always, ..daemon("dark") };
    let id = platform.run_daemon(&request).await;
    platform.reaches(id, TaskStatus::Running).await;
    let disk = platform.stop().await;
    let key = Key::parse("taskdef.default.dark.0000000001").unwrap();
    let entry = disk.store.get(&key).await.unwrap().expect("its definition");
    disk.store.put(&key, Bytes::from_static(b"{}"), Expect::Any).await.unwrap();

    let platform = Platform::start_on(disk).await;
    let waits = |task: &Task| task.status == TaskStatus::Deprovisioning;
    let task = platform.finds("it waits", id, waits).await;
    assert_eq!((task.restarts, task.stop_code), (0, Some(StopCode::PlatformStopped)));
    platform.disk.store.put(&key, entry.value, Expect::Any).await.unwrap();
    let runs_again = |task: &Task| task.restarts == 1 && task.status == TaskStatus::Running;
    platform.finds("it runs again", id, runs_again).await;
}

#[tokio::test]
async fn a_daemon_that_is_told_to_end_now_finishes_nothing() {
    let platform = Platform::start().await;
    let id = platform.run_daemon(&daemon("held")).await;
    platform.reaches(id, TaskStatus::Running).await;
    platform.node.find_health(id, true);
    platform.finds("it is healthy", id, |task| task.health == TaskHealth::Healthy).await;
    platform.node.set_outstanding(id, 1);
    platform.client.stop_task(&namespace(), id, &StopTask::default()).await.unwrap();
    platform.reaches(id, TaskStatus::Stopping).await;
    let now = StopTask { now: true, ..StopTask::default() };
    platform.client.stop_task(&namespace(), id, &now).await.unwrap();
    let ended = platform.reaches(id, TaskStatus::Stopped).await;
    assert_eq!((ended.stop_code, ended.health), (Some(StopCode::UserInitiated), TaskHealth::Unknown));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_user_ends_what_is_always_started_again() {
    let platform = Platform::start().await;
    let request = RegisterTaskDefinition { restart: Restart::Always, ..registration("loop", "loop") };
    let id = platform.run_daemon(&request).await;
    platform.reaches(id, TaskStatus::Running).await;
    platform.node.end(id, Some(0), StopCode::Exited);
    platform.finds("it was started again", id, |task| task.restarts == 1).await;
    platform.client.stop_task(&namespace(), id, &StopTask::default()).await.unwrap();
    let ended = platform.reaches(id, TaskStatus::Stopped).await;
    assert_eq!((ended.stop_code, ended.restarts), (Some(StopCode::UserInitiated), 1));
}

#[tokio::test]
async fn an_http_task_that_its_group_finds_unhealthy_has_requests_until_another_serves() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let first = platform.running("web").await.remove(0);
    platform.node.find_health(first.id, false);
    let stopped = platform.reaches(first.id, TaskStatus::Stopped).await;
    assert_eq!(stopped.stop_code, Some(StopCode::Unhealthy));
    platform.targets("web", 1).await;
    let second = platform.running("web").await.remove(0);
    assert_eq!((second.attempt, second.health), (1, TaskHealth::Unknown));
    platform.node.find_health(second.id, true);
    platform.finds("it is healthy", second.id, |task| task.health == TaskHealth::Healthy).await;
    let counts = platform.node.targets_of("default/web");
    assert!(counts.iter().skip_while(|count| **count == 0).all(|count| *count > 0), "{counts:?}");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn an_unhealthy_task_that_nobody_starts_again_only_shows_it() {
    let platform = Platform::start().await;
    let id = platform.run_daemon(&daemon("lone")).await;
    platform.reaches(id, TaskStatus::Running).await;
    platform.node.find_health(id, false);
    let task = platform.finds("it is unhealthy", id, |task| task.health == TaskHealth::Unhealthy).await;
    assert_eq!((task.status, task.stop_code), (TaskStatus::Running, None));
    assert_eq!(task.health_reason.as_deref(), Some("nothing listens"));
}

#[tokio::test]
async fn a_listener_is_one_services_and_leads_to_a_port() {
    let platform = Platform::start().await;
    platform.deploy_daemon("first", &[Listen::Tcp(PORT)]).await;
    platform.push("second", "daemon").await;
    platform.client.register_task_definition(&namespace(), &daemon("second")).await.unwrap();
    platform.deploy("job", "daemon", 1).await;
    let put = async |service: &str, port: u16| {
        let request = PutService { listen: Some(vec![Listen::Tcp(port)]), ..wanted(service, 1) };
        platform.client.put_service(&namespace(), &name(service), &request, None).await
    };
    let error = put("second", PORT).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Conflict));
    assert!(error.to_string().contains("tcp:6379 is already taken by the service default/first"), "{error}");
    let error = put("second", 8080).await.unwrap_err();
    assert!(error.to_string().contains("Skiff itself listens at the port 8080"), "{error}");
    let error = put("job", 7000).await.unwrap_err();
    assert!(error.to_string().contains("tcp:7000 leads to the port"), "{error}");
    put("second", 7000).await.unwrap();

    let status = platform.client.status().await.unwrap();
    let listeners: Vec<_> =
        status.listeners.iter().map(|at| format!("{} {}", at.listen, at.service)).collect();
    assert_eq!(listeners, ["tcp:6379 default/first", "tcp:7000 default/second"]);
    platform.client.delete_service(&namespace(), &name("first"), None).await.unwrap();
    put("second", PORT).await.unwrap();
}

#[tokio::test]
async fn a_node_has_so_many_listeners_and_no_more() {
    let platform = Platform::start().await;
    platform.push("kv", "daemon").await;
    platform.client.register_task_definition(&namespace(), &daemon("kv")).await.unwrap();
    let put = async |service: &str, ports: std::ops::Range<u16>| {
        let request = PutService { listen: Some(ports.map(Listen::Tcp).collect()), ..wanted("kv", 0) };
        platform.client.put_service(&namespace(), &name(service), &request, None).await
    };
    let (most, each) = (LISTENERS_MAX as u16, Listen::PER_SERVICE_MAX as u16);
    assert_eq!(most % each, 0);
    for at in 0..most / each {
        put(&format!("s{at}"), 20_000 + at * each..20_000 + (at + 1) * each).await.unwrap();
    }
    let error = put("more", 30_000..30_001).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Conflict));
    assert!(error.to_string().contains("would have 129 together; the most is 128"), "{error}");
    put("s0", 20_000..20_000 + each).await.unwrap();
    put("s0", 20_000..20_001).await.unwrap();
    put("more", 30_000..30_001).await.unwrap();
}

#[tokio::test]
async fn what_can_mean_nothing_is_refused() {
    let platform = Platform::start().await;
    platform.push("web", "http").await;
    platform.push("job", "daemon").await;
    let register = async |request: &RegisterTaskDefinition| {
        let refused = platform.client.register_task_definition(&namespace(), request).await;
        refused.expect_err("it was taken").to_string()
    };
    let job = || registration("job", "job");
    let interval = HealthCheckSpec { interval: Some(Span::from_ms(1)), ..HealthCheckSpec::default() };
    let cases = [
        (daemon("web"), "it listens nowhere"),
        (
            RegisterTaskDefinition { restart: Restart::Always, ..registration("web", "web") },
            "restart is always",
        ),
        (RegisterTaskDefinition { port: Some(0), ..job() }, "port is 0"),
        (RegisterTaskDefinition { health_check: interval, ..job() }, "health_check is for a daemon"),
        (
            RegisterTaskDefinition { stop_timeout: Some(Span::from_ms(1)), ..job() },
            "stop_timeout is for a daemon",
        ),
        (
            RegisterTaskDefinition { health_check: interval, ..daemon("job") },
            "health_check.interval is 1ms; it must be 100ms to 1h",
        ),
        (
            RegisterTaskDefinition { stop_timeout: Some(Span::from_ms(3_600_001)), ..daemon("job") },
            "stop_timeout is 3600001ms; it must be 0ms to 1h",
        ),
    ];
    for (request, expected) in cases {
        let error = register(&request).await;
        assert!(error.contains(expected), "{error}");
    }
    let request = RegisterTaskDefinition { restart: Restart::OnFailure, ..daemon("job") };
    let first = platform.client.register_task_definition(&namespace(), &request).await.unwrap();
    let same = platform.client.register_task_definition(&namespace(), &request).await.unwrap();
    assert_eq!(first, same, "it says the same");
    assert_eq!((first.port, first.restart), (Some(PORT), Restart::OnFailure));
    let other = platform.client.register_task_definition(&namespace(), &daemon("job")).await.unwrap();
    assert_eq!(other.id.revision, 2);
}
