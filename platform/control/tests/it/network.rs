//! The virtual network as the API has it: security groups, addresses, explanations, the flow log; and what the node is
//! told of it.

use crate::fixture::{Disk, Platform, name, namespace, one_off, registration, until, wanted};
use futures::StreamExt;
use skiff_api::{
    ClientError, ErrorCode, ExplainQuery, Explanation, FlowQuery, PageQuery, PutSecurityGroup, PutService,
    RegisterTaskDefinition, SecurityGroup, Task, Verdict,
};
use skiff_ports::flows;
use skiff_ports::store::{Expect, Key};
use skiff_types::{
    Direction, Listen, Name, NetworkSpec, QualifiedName, Rule, StopCode, TaskAddress, TaskId, TaskStatus,
    Transport,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A record of the flow log.
pub(crate) fn record(owner: &str, task: TaskId) -> flows::FlowRecord {
    flows::FlowRecord {
        began_at_ms: 1,
        at_ms: 2,
        task,
        owner: owner.parse().unwrap(),
        direction: Direction::Egress,
        transport: Transport::Tcp,
        local: "10.64.0.16:49152".parse().unwrap(),
        remote: "[fd73:6b69:6666::11]:6379".parse().unwrap(),
        peer: None,
        sent_bytes: 3,
        received_bytes: 4,
        verdict: flows::Verdict::Reject,
        open: false,
        note: "no rule".to_owned(),
        count: 1,
    }
}

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

fn group(text: &str) -> QualifiedName {
    text.parse().unwrap()
}

impl Platform {
    async fn create(&self, group: &str) -> SecurityGroup {
        let body = PutSecurityGroup::default();
        self.client.put_security_group(&namespace(), &name(group), &body, None).await.unwrap()
    }

    async fn attach(&self, service: &str, groups: &[&str]) -> Result<(), ClientError> {
        let definition = self.service(service).await.spec.definition.to_string();
        let groups = groups.iter().map(|group| name(group)).collect();
        let body = PutService { desired: None, security_groups: Some(groups), ..wanted(&definition, 1) };
        self.client.put_service(&namespace(), &name(service), &body, None).await.map(drop)
    }

    async fn explain(&self, from: &str, to: &str, port: u16) -> Result<Explanation, ClientError> {
        let query = ExplainQuery { from: from.to_owned(), to: to.to_owned(), port, transport: None };
        self.client.explain(&namespace(), &query).await
    }

    async fn remove(&self, group: &str) -> Result<(), ClientError> {
        self.client.delete_security_group(&namespace(), &name(group), None).await
    }

    /// Waits until the node was told that a task is in these groups.
    async fn told(&self, task: TaskId, groups: &[&str]) {
        until(&format!("{task} is in {groups:?}"), || async {
            let desired = self.node.desired();
            let told = desired.interfaces.get(&task)?;
            told.groups.iter().map(Name::as_str).eq(groups.iter().copied()).then_some(())
        })
        .await;
    }

    /// Waits until the node was told that a group allows this.
    async fn allows(&self, of: &str, rules: Option<&[Rule]>) {
        until(&format!("{of} allows {rules:?}"), || async {
            let desired = self.node.desired();
            (desired.groups.get(&group(of)).map(Vec::as_slice) == rules).then_some(())
        })
        .await;
    }
}

fn address(task: &Task) -> TaskAddress {
    TaskAddress { v4: task.ipv4.unwrap(), v6: task.ipv6.unwrap() }
}

#[tokio::test]
async fn the_default_group_is_there_before_anybody_makes_it() {
    let platform = Platform::start().await;
    let shown = platform.client.get_security_group(&namespace(), &name("default")).await.unwrap();
    assert_eq!((shown.revision, shown.created_at_ms, shown.rules), (0, None, Rule::defaults()));
    platform.allows("default/default", None).await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let task = platform.running("web").await.remove(0);
    assert_eq!(task.security_groups, [name("default")]);
    platform.told(task.id, &["default"]).await;
    platform.allows("default/default", Some(&Rule::defaults())).await;
    let ready = platform.node.desired().interfaces[&task.id].clone();
    assert!(ready.ready && ready.address == address(&task));

    let new = rule("tcp:443 to 192.0.2.0/24");
    let changed = platform.client.allow_rule(&namespace(), &name("default"), &new).await.unwrap();
    assert!(changed.revision > 0 && changed.tasks == 1);
    let rules: Vec<Rule> = Rule::defaults().into_iter().chain([new]).collect();
    platform.allows("default/default", Some(&rules)).await;
    let page = platform.client.list_security_groups(&namespace(), &PageQuery::default()).await.unwrap();
    assert_eq!(page.items, [changed]);
    let error = platform.remove("default").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn groups_are_attached_without_replacing_tasks() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let task = platform.running("web").await.remove(0);
    platform.create("front").await;
    platform.create("back").await;
    platform.attach("web", &["front", "back", "front"]).await.unwrap();
    platform.told(task.id, &["back", "front"]).await;
    let service = platform.service("web").await;
    assert_eq!(service.spec.security_groups, Some(vec![name("back"), name("front")]));
    // A change that says nothing of groups keeps them; an empty list is what the definition says.
    platform.put("web", &service.spec.definition.to_string(), 1).await;
    assert_eq!(platform.service("web").await.spec.security_groups, service.spec.security_groups);
    platform.attach("web", &[]).await.unwrap();
    platform.told(task.id, &["default"]).await;
    assert_eq!(platform.running("web").await.remove(0).id, task.id, "it was replaced");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_definition_brings_its_groups() {
    let platform = Platform::start().await;
    platform.create("jobs").await;
    platform.push("job", "daemon").await;
    let mut request = registration("job", "job");
    request.security_groups = vec![name("jobs"), name("default"), name("jobs")];
    let register = async || platform.client.register_task_definition(&namespace(), &request).await;
    let definition = register().await.unwrap();
    assert_eq!(definition.security_groups, [name("default"), name("jobs")]);
    assert_eq!(register().await.unwrap().id, definition.id, "the same is not registered twice");
    let task = platform.run("job").await;
    assert_eq!(task.security_groups, definition.security_groups);
    platform.reaches(task.id, TaskStatus::Running).await;
    platform.told(task.id, &["default", "jobs"]).await;
    let network = platform.client.task_network(&namespace(), task.id).await.unwrap();
    assert_eq!((network.ipv4, network.security_groups), (task.ipv4, definition.security_groups));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_rule_that_is_allowed_or_revoked_is_told_to_the_node() {
    let platform = Platform::start().await;
    platform.create("web").await;
    let (web, new) = (name("web"), rule("tcp:8000-8100 from web"));
    platform.client.allow_rule(&namespace(), &web, &new).await.unwrap();
    let again = platform.client.allow_rule(&namespace(), &web, &new).await.unwrap();
    assert_eq!(again.rules.iter().filter(|rule| **rule == new).count(), 1);
    platform.allows("default/web", Some(&again.rules)).await;
    for rule in &again.rules {
        platform.client.revoke_rule(&namespace(), &web, rule).await.unwrap();
    }
    platform.allows("default/web", Some(&[])).await;
    let error = platform.client.revoke_rule(&namespace(), &web, &new).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
    assert!(error.to_string().contains("has no rule \"tcp:8000-8100 from web\""), "{error}");
    let all = PutSecurityGroup { rules: Some(vec![new.clone(), new.clone()]) };
    let put = platform.client.put_security_group(&namespace(), &web, &all, None).await.unwrap();
    assert_eq!(put.rules, [new]);
    let stale = platform.client.put_security_group(&namespace(), &web, &all, Some(put.revision + 1)).await;
    assert_eq!(stale.unwrap_err().code(), Some(ErrorCode::PreconditionFailed));
    platform.remove("web").await.unwrap();
    platform.allows("default/web", None).await;
}

#[tokio::test]
async fn a_group_in_use_stays() {
    let platform = Platform::start().await;
    for group in ["web", "jobs", "cache"] {
        platform.create(group).await;
    }
    platform.deploy("site", "http", 0).await;
    platform.attach("site", &["web"]).await.unwrap();
    platform.push("job", "daemon").await;
    let mut request = registration("job", "job");
    request.security_groups = vec![name("jobs")];
    platform.client.register_task_definition(&namespace(), &request).await.unwrap();
    let task = platform.run("job").await.id;
    platform.client.allow_rule(&namespace(), &name("web"), &rule("tcp:6379 to cache")).await.unwrap();
    let refused = async |group: &str, user: &str| {
        let error = platform.remove(group).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition));
        assert!(error.to_string().contains(user), "{error}");
    };
    refused("web", "in use by the service site").await;
    refused("jobs", &format!("in use by the task {task}")).await;
    refused("cache", "in use by a rule of web").await;

    platform.attach("site", &["default"]).await.unwrap();
    platform.client.stop_task(&namespace(), task, &Default::default()).await.unwrap();
    platform.reaches(task, TaskStatus::Stopped).await;
    for group in ["web", "cache", "jobs"] {
        platform.remove(group).await.unwrap();
    }
    let error = platform.client.run_task(&namespace(), &one_off("job")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound), "its definition names a group that is gone: {error}");
}

#[tokio::test]
async fn a_group_that_is_not_there_is_refused_with_what_to_do() {
    let platform = Platform::start().await;
    let definition = platform.deploy("web", "http", 1).await;
    let mut request = registration("web", "web");
    request.security_groups = vec![name("nowhere")];
    let registered = platform.client.register_task_definition(&namespace(), &request).await;
    let attached = platform.attach("web", &["default", "nowhere"]).await;
    let allowed = platform.client.allow_rule(&namespace(), &name("default"), &rule("all from nowhere")).await;
    let changed = platform.client.revoke_rule(&namespace(), &name("nowhere"), &rule("all to self")).await;
    for error in [registered.map(drop), attached, allowed.map(drop), changed.map(drop)] {
        let error = error.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NotFound), "{error}");
        assert!(error.to_string().contains("`skiff sg create nowhere`"), "{error}");
    }
    let elsewhere = rule("all from shop/default");
    platform.client.allow_rule(&namespace(), &name("default"), &elsewhere).await.unwrap();
    let many: Vec<String> = (0..17).map(|number| format!("g{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(platform.attach("web", &many).await.unwrap_err().code(), Some(ErrorCode::InvalidArgument));
    assert_eq!(platform.service("web").await.spec.definition, definition.id);
}

#[tokio::test]
async fn addresses_outlive_a_restart() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 3).await;
    platform.completed("web").await;
    let addresses = async |platform: &Platform| -> BTreeSet<TaskAddress> {
        platform.running("web").await.iter().map(address).collect()
    };
    let given = addresses(&platform).await;
    assert_eq!(given.len(), 3);
    let platform = Platform::start_on(platform.stop().await).await;
    platform.completed("web").await;
    assert_eq!(addresses(&platform).await, given, "a restart changed them");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn an_address_is_not_given_again_soon_although_its_task_is_forgotten_and_the_platform_starts_again() {
    let network = NetworkSpec { ipv4: "10.1.0.0/27".parse().unwrap(), ..NetworkSpec::default() };
    let platform = Platform::start_on(Disk { network, ..Disk::new() }).await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let mut before = BTreeSet::from([address(&platform.running("web").await[0])]);
    // So many that the one of before is among those that were given longest ago.
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    for _ in 0..9 {
        let task = platform.run("job").await;
        before.insert(address(&task));
        platform.client.stop_task(&namespace(), task.id, &Default::default()).await.unwrap();
        platform.reaches(task.id, TaskStatus::Stopped).await;
    }
    assert_eq!(before.len(), 10);
    platform.client.delete_service(&namespace(), &name("web"), None).await.unwrap();
    platform.gone("web").await;

    let platform = Platform::start_on(platform.stop().await).await;
    let mut after = BTreeSet::new();
    let error = loop {
        match platform.client.run_task(&namespace(), &one_off("job")).await {
            Ok(task) => assert!(after.insert(address(&task)), "given twice"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some(ErrorCode::ResourceExhausted), "{error}");
    assert!(!after.is_empty() && after.is_disjoint(&before), "given again: {after:?}, {before:?}");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_network_without_a_free_address_says_so() {
    let network = NetworkSpec { ipv4: "10.1.0.0/27".parse().unwrap(), ..NetworkSpec::default() };
    let platform = Platform::start_on(Disk { network, ..Disk::new() }).await;
    // A /27 has 32 addresses; the first 16 and the last are nobody's.
    platform.deploy("web", "http", 16).await;
    let failed = until("a task has no address", || async {
        let tasks = platform.tasks(Some("web")).await;
        tasks.into_iter().find(|task| task.status == TaskStatus::Stopped)
    })
    .await;
    assert_eq!((failed.stop_code, failed.ipv4), (Some(StopCode::TaskFailedToStart), None));
    assert!(failed.stopped_reason.unwrap().contains("no address is free in 10.1.0.0/27: 15 are in use"));
    until("the others run", || async { (platform.running("web").await.len() == 15).then_some(()) }).await;
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    let error = platform.client.run_task(&namespace(), &one_off("job")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ResourceExhausted), "{error}");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn another_network_is_refused_at_a_later_start() {
    let disk = Platform::start().await.stop().await;
    let other = NetworkSpec { ipv4: "10.1.0.0/16".parse().unwrap(), ..disk.network };
    let error = skiff_control::establish_network(&*disk.store, &other.into(), &[], 1).await.unwrap_err();
    assert!(error.to_string().contains("10.64.0.0/10 since the first start"), "{error}");
    Platform::start_on(disk).await;
}

#[tokio::test]
async fn tasks_of_before_there_was_a_network_get_addresses() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let task = platform.running("web").await.remove(0).id;
    let disk = platform.stop().await;
    let key = Key::new(["task", "default", &task.to_string()]).unwrap();
    let entry = disk.store.get(&key).await.unwrap().unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    assert!(value["object"].as_object_mut().unwrap().remove("address").is_some());
    disk.store.put(&key, value.to_string().into(), Expect::Revision(entry.revision)).await.unwrap();
    disk.store.delete(&Key::new(["network", "platform"]).unwrap(), Expect::Any).await.unwrap();

    let platform = Platform::start_on(disk).await;
    platform.completed("web").await;
    let back = platform.running("web").await.remove(0);
    assert!(back.id == task && back.ipv4.is_some());
    platform.told(task, &["default"]).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_connection_is_explained_with_the_command_that_would_allow_it() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    platform.create("cache").await;
    platform.push("redis", "daemon").await;
    let redis = RegisterTaskDefinition { port: Some(6_379), ..registration("redis", "redis") };
    platform.client.register_task_definition(&namespace(), &redis).await.unwrap();
    platform.put("redis", "redis", 1).await;
    platform.attach("redis", &["cache"]).await.unwrap();
    let task = platform.running("web").await.remove(0);
    let code = |result: Result<Explanation, ClientError>| result.unwrap_err().code().unwrap();

    let denied = platform.explain("web", "redis", 6379).await.unwrap();
    assert!(!denied.allowed && denied.sides.iter().all(|side| !side.allowed), "{denied:?}");
    let commands: Vec<_> = denied.sides.iter().map(|side| side.command.clone().unwrap()).collect();
    assert_eq!(
        commands,
        ["skiff sg allow default \"tcp:6379 to cache\"", "skiff sg allow cache \"tcp:6379 from default\""]
    );
    platform.client.allow_rule(&namespace(), &name("default"), &rule("tcp:6379 to cache")).await.unwrap();
    platform.client.allow_rule(&namespace(), &name("cache"), &rule("tcp:6379 from default")).await.unwrap();
    let (id, v4) = (task.id.to_string(), task.ipv4.unwrap().to_string());
    for from in ["web", "default/web", "web.default.internal", &id, &format!("{id}.task.internal"), &v4] {
        let explanation = platform.explain(from, "redis", 6379).await.unwrap();
        assert!(explanation.allowed && explanation.from == "default/web", "{from}: {explanation:?}");
    }
    assert!(platform.explain("load-balancer", "web", 8080).await.unwrap().allowed);
    let outside = platform.explain("web", "192.0.2.7", 443).await.unwrap();
    assert_eq!((outside.allowed, outside.sides.len()), (false, 1));
    let host = platform.explain("web", "198.41.0.4", 22).await.unwrap();
    assert!(host.message.contains("the host's own"), "{}", host.message);
    // What the host is known by now, and where a service is reached there.
    platform.client.allow_rule(&namespace(), &name("default"), &rule("all to 198.41.0.0/24")).await.unwrap();
    platform.client.allow_rule(&namespace(), &name("default"), &rule("all to 127.0.0.1/32")).await.unwrap();
    assert!(platform.explain("web", "198.41.0.5", 22).await.unwrap().allowed);
    platform.handle.set_host_addresses(&["198.41.0.5".parse().unwrap()]);
    assert!(!platform.explain("web", "198.41.0.5", 22).await.unwrap().allowed);
    assert!(platform.explain("web", "198.41.0.4", 22).await.unwrap().allowed);
    assert!(platform.explain("web", "127.0.0.1", 6_379).await.unwrap().allowed);
    let body = PutService { listen: Some(vec![Listen::Tcp(6_379)]), ..wanted("redis", 1) };
    platform.client.put_service(&namespace(), &name("redis"), &body, None).await.unwrap();
    assert!(!platform.explain("web", "127.0.0.1", 6_379).await.unwrap().allowed);
    assert!(platform.explain("web", "127.0.0.1", 6_380).await.unwrap().allowed);
    let nobody = platform.explain("web", "10.64.99.99", 80).await.unwrap();
    assert!(nobody.message.contains("no task's"), "{}", nobody.message);
    // An internal listener is a service of the platform's, by its name and by its address.
    let missing = platform.explain("web", "api.listener.internal", 9_000).await;
    assert_eq!(code(missing), ErrorCode::NotFound);
    let listener = serde_json::json!({ "protocol": "http", "port": 9_000, "scheme": "internal" });
    let listener = serde_json::from_value(listener).unwrap();
    platform.client.put_listener(&name("api"), &listener, None).await.unwrap();
    for to in ["api.listener.internal", "10.64.0.1", "fd73:6b69:6666::1"] {
        let explanation = platform.explain("web", to, 9_000).await.unwrap();
        assert!(explanation.allowed && explanation.to == "the platform", "{to}: {explanation:?}");
    }
    assert_eq!(code(platform.explain("web", "other", 80).await), ErrorCode::NotFound);
    assert_eq!(code(platform.explain("web", "web.internal", 80).await), ErrorCode::InvalidArgument);
    assert_eq!(code(platform.explain("web", "a b", 80).await), ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn the_flow_log_is_read_by_owner_task_and_verdict() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let task = platform.running("web").await.remove(0).id;
    let accepted = flows::FlowRecord { verdict: flows::Verdict::Accept, ..record("default/web", task) };
    let other = record("shop/web", TaskId::from_parts(1, [1; 10]));
    platform.flows.0.lock().unwrap().extend([record("default/web", task), accepted, other]);
    let read = async |query: FlowQuery| {
        let records = platform.client.read_flows(&namespace(), &query).await?;
        Ok::<_, ClientError>(records.map(|record| record.unwrap().verdict).collect::<Vec<_>>().await)
    };
    let all = FlowQuery::default();
    assert_eq!(read(all.clone()).await.unwrap(), [Verdict::Reject, Verdict::Accept]);
    let rejected = FlowQuery { owner: Some(name("web")), verdict: Some(Verdict::Reject), ..all.clone() };
    assert_eq!(read(rejected).await.unwrap(), [Verdict::Reject]);
    assert_eq!(read(FlowQuery { task: Some(task), ..all.clone() }).await.unwrap().len(), 2);
    for unknown in [
        FlowQuery { owner: Some(name("other")), ..all.clone() },
        FlowQuery { task: Some(TaskId::from_parts(1, [1; 10])), ..all.clone() },
    ] {
        assert_eq!(read(unknown).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    }
    // What is gone, and what it had: a service, and a task of it.
    let gone = TaskId::from_parts(2, [2; 10]);
    platform.flows.0.lock().unwrap().push(record("default/gone", gone));
    for gone in [
        FlowQuery { owner: Some(name("gone")), ..all.clone() },
        FlowQuery { task: Some(gone), ..all.clone() },
    ] {
        assert_eq!(read(gone).await.unwrap(), [Verdict::Reject]);
    }
    let nothing = FlowQuery { owner: Some(name("gone")), verdict: Some(Verdict::Accept), ..all.clone() };
    assert_eq!(read(nothing).await.unwrap(), [], "it is known by other records");
    let listening = flows::InterfaceState {
        listening: vec![(Transport::Tcp, 8080)],
        connections: vec![record("default/web", task)],
        connection_count: 7,
    };
    *platform.flows.1.lock().unwrap() = listening;
    let network = platform.client.task_network(&namespace(), task).await.unwrap();
    assert_eq!(
        (network.listening[0].port, network.connections.len(), network.connection_count),
        (8080, 1, 7)
    );
}

/// Puts a record into the store that this Skiff can't read.
async fn spoil(platform: &Platform, key: &str) {
    let record = r#"{"version":99}"#.into();
    platform.disk.store.put(&Key::parse(key).unwrap(), record, Expect::Any).await.unwrap();
}

#[tokio::test]
async fn a_group_that_can_not_be_read_allows_nothing() {
    let platform = Platform::start().await;
    platform.create("web").await;
    platform.create("other").await;
    platform.deploy("site", "http", 1).await;
    platform.completed("site").await;
    platform.attach("site", &["web", "default"]).await.unwrap();
    let task = platform.running("site").await.remove(0).id;
    platform.told(task, &["default", "web"]).await;
    assert!(platform.explain("load-balancer", "site", 80).await.unwrap().allowed);
    for group in ["web", "default"] {
        platform.allows(&format!("default/{group}"), Some(&Rule::defaults())).await;
        spoil(&platform, &format!("sg.default.{group}")).await;
        platform.allows(&format!("default/{group}"), None).await;
        let error = platform.client.get_security_group(&namespace(), &name(group)).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Internal), "{error}");
    }
    assert!(!platform.explain("load-balancer", "site", 80).await.unwrap().allowed);
    let error = platform.remove("other").await.unwrap_err();
    assert!(error.to_string().contains("sg.default.default can't be read"), "{error}");

    // Whoever starts again finds it so.
    let platform = Platform::start_on(platform.stop().await).await;
    platform.told(task, &["default", "web"]).await;
    let desired = platform.node.desired();
    let opened = |group: &QualifiedName| ["web", "default"].contains(&group.name.as_str());
    assert!(!desired.groups.keys().any(opened), "{:?}", desired.groups);
    let key = Key::parse("sg.default.default").unwrap();
    platform.disk.store.delete(&key, Expect::Any).await.unwrap();
    platform.allows("default/default", Some(&Rule::defaults())).await;
}

#[tokio::test]
async fn tasks_of_a_service_that_can_not_be_read_are_in_no_group() {
    let platform = Platform::start().await;
    platform.create("closed").await;
    platform.deploy("site", "http", 1).await;
    platform.completed("site").await;
    platform.attach("site", &["closed"]).await.unwrap();
    let task = platform.running("site").await.remove(0).id;
    platform.told(task, &["closed"]).await;
    spoil(&platform, "service.default.site").await;
    platform.told(task, &[]).await;
    let shown = platform.client.get_task(&namespace(), task).await.unwrap();
    assert!(shown.security_groups.is_empty(), "{shown:?}");
    let explanation = platform.explain("load-balancer", &task.to_string(), 80).await.unwrap();
    assert!(!explanation.allowed && explanation.message.contains("are not known"), "{explanation:?}");
    let error = platform.remove("closed").await.unwrap_err();
    assert!(error.to_string().contains("service.default.site can't be read"), "{error}");
    let platform = Platform::start_on(platform.stop().await).await;
    platform.told(task, &[]).await;
}

#[tokio::test]
async fn a_task_that_can_not_be_in_the_network_is_stopped_when_the_platform_starts_again() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 1).await;
    platform.completed("web").await;
    let task = platform.running("web").await.remove(0).id;
    let disk = platform.stop().await;
    let key = Key::new(["task", "default", &task.to_string()]).unwrap();
    let entry = disk.store.get(&key).await.unwrap().unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    value["object"]["address"]["v4"] = "192.168.7.7".into();
    disk.store.put(&key, value.to_string().into(), Expect::Revision(entry.revision)).await.unwrap();

    let platform = Platform::start_on(disk).await;
    let stopped = platform.reaches(task, TaskStatus::Stopped).await;
    let reason = stopped.stopped_reason.unwrap();
    assert_eq!(stopped.stop_code, Some(StopCode::TaskFailedToStart));
    assert!(reason.contains("192.168.7.7") && reason.contains("10.64.0.0/10"), "{reason}");
    until("another runs in its place", || async { platform.running("web").await.pop() }).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_no_address_with_it() {
    let network = NetworkSpec { ipv4: "10.1.0.0/27".parse().unwrap(), ..NetworkSpec::default() };
    let platform = Platform::start_on(Disk { network, ..Disk::new() }).await;
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    // It gives up at each step of the call in turn.
    for steps in 0..10 {
        let gives_up = async {
            for _ in 0..8 * steps {
                tokio::task::yield_now().await;
            }
        };
        let (namespace, request) = (namespace(), one_off("job"));
        tokio::select! {
            biased;
            _ = platform.client.run_task(&namespace, &request) => {}
            () = gives_up => {}
        }
    }
    let error = loop {
        match platform.client.run_task(&namespace(), &one_off("job")).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some(ErrorCode::ResourceExhausted), "{error}");
    until("each address is a task's", || async { (platform.tasks(None).await.len() == 15).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_store_that_fails_gives_no_address_twice() {
    use crate::crash::Mortal;
    // Dies at each write in turn, done or not; what the tasks have that are found after is each one's own.
    for writes in 1..16 {
        for does_the_last in [false, true] {
            let disk = Disk::new();
            let platform = Platform::start_on(disk.clone()).await;
            platform.push("job", "daemon").await;
            platform.register("job", "job").await;
            platform.stop().await;
            let mortal = Arc::new(Mortal::new(disk.store.clone(), writes, does_the_last));
            let dying = Platform::start_on(Disk { store: mortal, ..disk.clone() }).await;
            for _ in 0..6 {
                // Whether a call that was cut short was done is what this is about.
                let _ = dying.client.run_task(&namespace(), &one_off("job")).await;
            }
            dying.stop().await;
            let platform = Platform::start_on(disk).await;
            platform.run("job").await;
            let tasks = platform.tasks(None).await;
            let addresses: BTreeSet<_> = tasks.iter().map(address).collect();
            assert_eq!(addresses.len(), tasks.len(), "died at write {writes}, done: {does_the_last}");
            platform.assert_node_is_content();
            platform.stop().await;
        }
    }
}
