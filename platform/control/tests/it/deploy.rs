//! What a user does with services and tasks, and what comes of it.

use crate::fixture::{Platform, name, namespace, one_off, registration, until, wanted};
use futures::StreamExt;
use skiff_api::{
    ErrorCode, LogQuery, PutDeploymentConfiguration, PutService, RegisterTaskDefinition, ScaleService,
    StopTask,
};
use skiff_ports::snapshot::HostMatch;
use skiff_types::{Program, StopCode, TaskId, TaskStatus};

#[tokio::test]
async fn a_service_is_created_updated_scaled_rolled_back_and_removed() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http one", 2).await;
    let service = platform.completed("hello").await;
    assert_eq!(service.status.urls, ["http://hello.localhost:8080/"]);
    let first = platform.running("hello").await;
    assert_eq!(first.len(), 2);

    let second = platform.deploy("hello", "http two", 2).await;
    assert_eq!(second.id.revision, 2);
    platform.completed("hello").await;
    let replaced = platform.running("hello").await;
    assert!(replaced.iter().all(|task| task.definition == second.id && !first.contains(task)));
    for task in first {
        let ended = platform.reaches(task.id, TaskStatus::Stopped).await;
        assert_eq!(ended.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    }
    let targets = platform.node.targets_of("default/hello");
    let since_first = targets.iter().skip_while(|count| **count == 0);
    assert!(since_first.clone().count() > 0);
    assert!(since_first.clone().all(|count| *count > 0), "a gap while deploying: {targets:?}");

    let scale = ScaleService { desired: 4 };
    platform.client.scale_service(&namespace(), &name("hello"), &scale, None).await.unwrap();
    platform.completed("hello").await;
    assert_eq!(platform.running("hello").await.len(), 4);

    let service = platform.roll_back("hello").await.unwrap();
    assert_eq!((service.spec.definition.revision, service.spec.desired), (1, 4));
    platform.completed("hello").await;

    platform.client.delete_service(&namespace(), &name("hello"), None).await.unwrap();
    platform.gone("hello").await;
    assert_eq!(platform.tasks(Some("hello")).await, []);
    assert_eq!(platform.lines.removed(), ["default/hello".parse().unwrap()]);
    until("nothing is assigned", || async {
        let desired = platform.node.desired();
        (desired.tasks.is_empty() && desired.routes.is_empty()).then_some(())
    })
    .await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_rollback_goes_to_what_ran_before() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http good", 1).await;
    platform.completed("hello").await;
    let error = platform.roll_back("hello").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition));
    let revision = async || platform.roll_back("hello").await.unwrap().spec.definition.revision;
    platform.deploy("hello", "http bad", 1).await;
    platform.completed("hello").await;
    assert_eq!(revision().await, 1);
    platform.completed("hello").await;
    platform.deploy("hello", "http bad too", 1).await;
    platform.completed("hello").await;
    assert_eq!(revision().await, 1, "the revision between never was the one before");
    assert_eq!(revision().await, 3, "a rollback can be taken back");
}

#[tokio::test]
async fn what_was_registered_before_is_found_again() {
    let platform = Platform::start().await;
    let first = platform.deploy("hello", "http one", 1).await;
    let second = platform.deploy("hello", "http two", 1).await;
    let again = platform.deploy("hello", "http one", 1).await;
    assert_eq!((again.id, second.id.revision), (first.id, 2));
}

#[tokio::test]
async fn old_tasks_serve_until_the_workers_act_on_the_new_ones() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http one", 1).await;
    platform.completed("hello").await;
    let old = platform.running("hello").await.remove(0);
    platform.node.hold();
    platform.deploy("hello", "http two", 1).await;
    let new = until("the new task is being activated", || async {
        let tasks = platform.tasks(Some("hello")).await;
        tasks.into_iter().find(|task| task.status == TaskStatus::Activating)
    })
    .await;
    assert_eq!(platform.running("hello").await.len(), 1);
    assert_eq!(platform.node.desired().routes[0].targets, [old.id]);
    platform.node.set_outstanding(old.id, 1);
    platform.node.release();
    platform.reaches(old.id, TaskStatus::Stopping).await;
    assert_eq!(platform.node.desired().routes[0].targets, [new.id]);
    assert_eq!(platform.node.desired().tasks.len(), 2, "it finishes what is in flight");
    platform.node.set_outstanding(old.id, 0);
    platform.reaches(old.id, TaskStatus::Stopped).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_one_off_task_runs_once_and_keeps_its_exit_code() {
    let platform = Platform::start().await;
    platform.push("job", "exit 3").await;
    platform.register("job", "job").await;
    let task = platform.run("job").await;
    let ended = platform.reaches(task.id, TaskStatus::Stopped).await;
    assert_eq!((ended.exit_code, ended.stop_code), (Some(3), Some(StopCode::Exited)));
    assert!(ended.started_at_ms.is_some());
    assert_eq!(platform.tasks(None).await.len(), 1, "it ran once");

    platform.push("web", "http").await;
    platform.register("web", "web").await;
    let error = platform.client.run_task(&namespace(), &one_off("web")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_daemon_is_restarted_when_it_ends_and_stopped_when_asked() {
    let platform = Platform::start().await;
    platform.deploy("worker", "daemon", 1).await;
    let service = platform.completed("worker").await;
    assert_eq!(service.status.urls, [] as [String; 0]);
    let first = platform.running("worker").await.remove(0);
    platform.node.end(first.id, None, StopCode::WorkerLost);
    let ended = platform.reaches(first.id, TaskStatus::Stopped).await;
    assert_eq!(ended.stop_code, Some(StopCode::WorkerLost));
    let second = until("another one runs", || async { platform.running("worker").await.pop() }).await;
    assert_eq!((second.attempt, second.id == first.id), (1, false));
    let service = until("the restart is counted", || async {
        let service = platform.service("worker").await;
        (service.status.restarts == 1).then_some(service)
    })
    .await;
    assert!(service.status.events.iter().any(|event| event.task == Some(first.id)));

    let stop = StopTask { reason: Some("maintenance".to_owned()), ..StopTask::default() };
    platform.client.stop_task(&namespace(), second.id, &stop).await.unwrap();
    let ended = platform.reaches(second.id, TaskStatus::Stopped).await;
    assert_eq!(ended.stop_code, Some(StopCode::UserInitiated));
    assert_eq!(ended.stopped_reason.as_deref(), Some("maintenance"));
    until("the service has a task again", || async { platform.running("worker").await.pop() }).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_can_not_run_is_refused_when_it_is_registered() {
    let platform = Platform::start().await;
    let code = |error: skiff_api::ClientError| error.code().unwrap();
    let register = |image: &'static str| {
        let request = registration("bad", image);
        let client = platform.client.clone();
        async move { client.register_task_definition(&namespace(), &request).await }
    };
    assert_eq!(code(register("missing").await.unwrap_err()), ErrorCode::NotFound);
    platform.push("bad", "refuse it imports acme:gpu/compute, which Skiff does not offer").await;
    let error = register("bad").await.unwrap_err();
    assert!(error.to_string().contains("acme:gpu/compute"), "{error}");
    assert_eq!(code(error), ErrorCode::FailedPrecondition);
    platform.push("fat", "http\nneeds 268435456").await;
    let error = register("fat").await.unwrap_err();
    assert!(error.to_string().contains("256MiB"), "{error}");
    platform.push("thin", "http\nneeds 33554432").await;
    assert_eq!(register("thin").await.unwrap().sandboxes_max, 4);
    assert_eq!(register("thin").await.unwrap().id.revision, 1, "the same is not registered twice");
}

#[tokio::test]
async fn routes_are_for_http_and_for_one_service_each() {
    let platform = Platform::start().await;
    platform.push("web", "http").await;
    platform.register("web", "web").await;
    platform.push("worker", "daemon").await;
    platform.register("worker", "worker").await;
    let put = |service: &'static str, definition: &'static str, hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let request = PutService { hosts: Some(hosts), ..wanted(definition, 1) };
        let client = platform.client.clone();
        async move { client.put_service(&namespace(), &name(service), &request, None).await }
    };
    put("first", "web", &["a.example"]).await.unwrap();
    let error = put("second", "web", &["b.example", "a.example"]).await.unwrap_err();
    assert!(error.to_string().contains("default/first"), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::Conflict));
    assert_eq!(put("second", "web", &["first.localhost"]).await.unwrap().status.urls.len(), 1);
    let error = put("third", "worker", &["c.example"]).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidArgument));
    platform.completed("first").await;
    let route = until("the route is there", || async {
        platform.node.desired().routes.into_iter().find(|route| route.service.name == name("first"))
    })
    .await;
    assert_eq!(route.hosts, [HostMatch::Pattern("a.example".parse().unwrap())]);

    platform.client.delete_service(&namespace(), &name("first"), None).await.unwrap();
    platform.gone("first").await;
    put("second", "web", &["a.example"]).await.unwrap();
}

#[tokio::test]
async fn what_is_in_use_stays_and_what_is_not_is_collected() {
    let platform = Platform::start().await;
    let first = platform.deploy("hello", "http one", 1).await;
    let second = platform.deploy("hello", "http two", 1).await;
    platform.completed("hello").await;
    let deregister = |id: skiff_types::TaskDefinitionId| {
        let client = platform.client.clone();
        async move { client.deregister_task_definition(&namespace(), &id).await }
    };
    let error = deregister(second.id.clone()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition));
    assert!(
        error
            .to_string()
            .ends_with("in use by the service hello; deploy another revision there, or remove it")
    );
    deregister(first.id.clone()).await.unwrap();
    let expected = [second.component.digest].into();
    until("only what is needed is kept", || async {
        (platform.node.kept_native() == Some(std::collections::BTreeSet::clone(&expected))).then_some(())
    })
    .await;
    let third = platform.deploy("hello", "http three", 1).await;
    assert_eq!(third.id.revision, 3);
    platform.completed("hello").await;
    deregister(second.id).await.unwrap();

    platform.client.delete_service(&namespace(), &name("hello"), None).await.unwrap();
    platform.gone("hello").await;
    deregister(third.id).await.unwrap();
    platform.push("hello", "http four").await;
    assert_eq!(platform.register("hello", "hello").await.id.revision, 4, "a number is never given twice");
}

#[tokio::test]
async fn logs_go_with_the_last_that_they_are_asked_for_by() {
    let platform = Platform::start().await;
    let web = platform.deploy("web", "http", 1).await;
    platform.put("site", &web.id.to_string(), 1).await;
    platform.push("job", "exit 0").await;
    platform.register("registered", "job").await;
    platform.register("ran", "job").await;
    let ran = platform.run("ran").await.id;
    platform.reaches(ran, TaskStatus::Stopped).await;
    let taken_back = platform.register("taken-back", "job").await.id;
    for owner in ["site", "registered", "ran", "taken-back", "left-by-a-crash"] {
        platform.lines.write(&format!("default/{owner}"), TaskId::from_parts(1, [1; 10]), 10, "a line");
    }
    for family in ["ran:1", &taken_back.to_string()] {
        let id = family.parse().unwrap();
        platform.client.deregister_task_definition(&namespace(), &id).await.unwrap();
    }
    let gone = ["left-by-a-crash", "taken-back"].map(|name| format!("default/{name}").parse().unwrap());
    until("the logs of nobody are removed", || async {
        let mut removed = platform.lines.removed();
        removed.sort_unstable();
        (removed == gone).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_is_a_revision_and_native_code_of_its_own() {
    let platform = Platform::start().await;
    let plain = platform.deploy("hello", "http", 1).await;
    let register = |environment: &str| {
        let environment = [("MODE".to_owned(), environment.to_owned())].into();
        RegisterTaskDefinition { snapshot: true, environment, ..registration("hello", "hello") }
    };
    let client = &platform.client;
    let one = client.register_task_definition(&namespace(), &register("one")).await.unwrap();
    assert_eq!(one.initialization.map(|initialization| initialization.output).as_deref(), Some("ready"));
    assert!(one.snapshot && !plain.snapshot && plain.initialization.is_none());
    assert_eq!(client.register_task_definition(&namespace(), &register("one")).await.unwrap().id, one.id);
    let other = client.register_task_definition(&namespace(), &register("other")).await.unwrap();
    assert_eq!([plain.id.revision, one.id.revision, other.id.revision], [1, 2, 3]);

    // The collector looks when something was taken back: what stays is the other two's.
    client.deregister_task_definition(&namespace(), &one.id).await.unwrap();
    let snapshot = Program::snapshot(other.component.digest, register("other").environment);
    let expected = [plain.component.digest, snapshot.key()].into();
    until("the native code of both is kept", || async {
        (platform.node.kept_native() == Some(std::collections::BTreeSet::clone(&expected))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_removed_service_can_be_created_anew_at_once() {
    let platform = Platform::start().await;
    let definition = platform.deploy("hello", "http", 3).await;
    platform.completed("hello").await;
    platform.client.delete_service(&namespace(), &name("hello"), None).await.unwrap();
    platform.put("hello", &definition.id.to_string(), 1).await;
    let service = platform.completed("hello").await;
    assert_eq!((service.spec.desired, service.status.restarts), (1, 0));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn the_logs_of_a_task_end_with_it() {
    let platform = Platform::start().await;
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    let task = platform.run("job").await;
    platform.reaches(task.id, TaskStatus::Running).await;
    platform.lines.write("default/job", task.id, 10, "first");
    let query = LogQuery { task: Some(task.id), follow: Some(true), ..LogQuery::default() };
    let mut lines = platform.client.read_logs(&namespace(), &query).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap().text, "first");
    platform.lines.write("default/job", task.id, 10, "second");
    platform.lines.write("default/job", task.id, 11, "last");
    platform.node.end(task.id, Some(0), StopCode::Exited);
    let rest: Vec<_> = lines.map(|line| line.unwrap().text).collect().await;
    assert_eq!(rest, ["second", "last"]);

    let query = LogQuery { owner: Some(name("job")), tail: Some(1), ..LogQuery::default() };
    let lines = platform.client.read_logs(&namespace(), &query).await.unwrap();
    let texts: Vec<_> = lines.map(|line| line.unwrap().text).collect().await;
    assert_eq!(texts, ["last"]);
    let query = LogQuery { owner: Some(name("nobody")), ..LogQuery::default() };
    let error = platform.client.read_logs(&namespace(), &query).await.err().unwrap();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn what_a_service_could_not_be_is_said_before_its_definition_is_there() {
    let platform = Platform::start().await;
    let hosts = |host: &str| Some(vec![host.parse().unwrap()]);
    let service = PutService { hosts: hosts("a.example"), ..wanted("web", 1) };
    platform.push("web", "http").await;
    platform.register("web", "web").await;
    platform.client.put_service(&namespace(), &name("web"), &service, None).await.unwrap();
    let check = async |service: &str, body: &PutService| {
        let checked = platform.client.check_service(&namespace(), &name(service), body).await;
        checked.map_err(|error| error.code())
    };
    let unknown = wanted("nothing", 1);
    assert_eq!(check("new", &unknown).await, Ok(()));
    assert_eq!(check("web", &service).await, Ok(()), "it has its own host");
    let taken = PutService { hosts: hosts("a.example"), ..unknown.clone() };
    assert_eq!(check("new", &taken).await, Err(Some(ErrorCode::Conflict)));
    let free = PutService { hosts: hosts("b.example"), ..unknown.clone() };
    assert_eq!(check("new", &free).await, Ok(()));
    let deployment = PutDeploymentConfiguration { max_percent: Some(100), ..Default::default() };
    let stuck = PutService { deployment: Some(deployment), ..unknown.clone() };
    assert_eq!(check("new", &stuck).await, Err(Some(ErrorCode::InvalidArgument)));
    let ungrouped = PutService { security_groups: Some(vec![name("nobody")]), ..unknown };
    assert!(check("new", &ungrouped).await.is_err());
    let none = platform.client.get_service(&namespace(), &name("new")).await.unwrap_err();
    assert_eq!(none.code(), Some(ErrorCode::NotFound), "nothing came of it");
}
