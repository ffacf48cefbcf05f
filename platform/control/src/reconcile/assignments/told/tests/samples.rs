//! Records by number, as the tests of what is told put them into a view.

use super::*;

pub(super) fn component(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

pub(super) fn definition(number: u8) -> Definition {
    // The last is a job: its services are not routed. The one before is a daemon.
    let kind = if number + 2 >= DEFINITIONS { Kind::Command } else { Kind::Http };
    let id = definition_id(number);
    Definition {
        namespace: Namespace::default(),
        definition: TaskDefinition {
            id,
            image: "image:1".parse().unwrap(),
            component: component(number),
            kind,
            generation: WasiGeneration::P2,
            limits: Limits::default(),
            command: Command::default(),
            snapshot: false,
            security_groups: if number == 0 { vec![group_name(0)] } else { vec![] },
            port: (number + 2 == DEFINITIONS).then_some(6379),
            health_check: HealthCheck::default(),
            stop_timeout: DEFAULT_STOP_TIMEOUT,
            restart: Restart::Never,
            role: None,
            created_at_ms: 0,
        },
        requested: LimitsSpec::default(),
        report: ComponentReport {
            initialization: None,
            kind,
            generation: WasiGeneration::P2,
            imports: vec![],
            exports: vec![],
            minimum_memory_bytes: 0,
            component_bytes: 0,
            native_bytes: 0,
            compile_ms: 0,
        },
        deregistered: false,
    }
}

pub(super) fn definition_id(number: u8) -> TaskDefinitionId {
    format!("d{number}:1").parse().unwrap()
}

/// Even ones have listeners, and the last of them nothing else.
pub(super) fn service(number: u8, defined: u8, hosts: &[u8], paths: &[u8]) -> Service {
    let ports = if number.is_multiple_of(2) { paths } else { &[] };
    let (hosts, paths) = if number + 1 == SERVICES { (&[][..], &[][..]) } else { (hosts, paths) };
    Service {
        namespace: Namespace::default(),
        spec: ServiceSpec {
            name: format!("s{number}").parse().unwrap(),
            definition: definition_id(defined),
            desired: 1,
            hosts: hosts.iter().map(|host| format!("h{host}").parse().unwrap()).collect(),
            paths: paths.iter().map(|path| format!("/{path}").parse().unwrap()).collect(),
            security_groups: (number % 2 == 1).then(|| paths.iter().map(|path| group_name(*path)).collect()),
            listen: ports.iter().map(|port| Listen::Tcp(6_000 + u16::from(*port))).collect(),
            deployment: DeploymentConfiguration::default(),
            scale_to_zero: if number == 1 { "5m".parse().unwrap() } else { ScaleToZero::Never },
            placement: Placement::default(),
        },
        created_at_ms: u64::from(number % 3),
        updated_at_ms: 0,
        deployed_at_ms: 0,
        previous: None,
        deployment: DeploymentId::from_parts(0, [0; 10]),
        is_paused: false,
        aborted: None,
        removed: defined == 0 && number == 0,
    }
}

/// The first is that of the namespace that is there without an object.
pub(super) fn group_name(number: u8) -> Name {
    if number == 0 { default_group() } else { format!("g{number}").parse().unwrap() }
}

pub(super) fn group(number: u8, ports: u16) -> SecurityGroup {
    SecurityGroup {
        namespace: Namespace::default(),
        name: group_name(number),
        rules: vec![format!("tcp:{ports} from self").parse().unwrap()],
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

pub(super) fn declared<S>(spec: S) -> Declared<S> {
    Declared { spec: Arc::new(spec), created_at_ms: 0, updated_at_ms: 0 }
}

pub(super) fn service_name(number: u8) -> QualifiedName {
    format!("default/s{number}").parse().unwrap()
}

/// The first is the built-in one.
pub(super) fn listener(number: u8, services: bool) -> Listener {
    let name = if number == 0 { built_in_name() } else { format!("l{number}").parse().unwrap() };
    declared(ListenerSpec {
        name,
        protocol: ListenerProtocol::Http,
        port: 7_000 + u16::from(number),
        scheme: Scheme::Public,
        certificates: vec![],
        services,
        default_action: Action::Forward(Forward::to(service_name(number))),
        client_limit: None,
    })
}

pub(super) fn listener_rule(number: u8, of: u8, to: u8) -> ListenerRule {
    declared(RuleSpec {
        name: format!("default/r{number}").parse().unwrap(),
        listener: listener(of, true).spec.name.clone(),
        priority: u32::from(number + 1).try_into().unwrap(),
        conditions: vec!["path=/api/*".parse().unwrap()],
        action: Action::Forward(Forward::to(service_name(to))),
        limit: None,
    })
}

pub(super) fn target_group(number: u8, delay_ms: u8) -> TargetGroup {
    let deregistration_delay = Some(skiff_types::Span::from_ms(u64::from(delay_ms)));
    declared(TargetGroupSpec { deregistration_delay, ..TargetGroupSpec::of_service(service_name(number)) })
}

pub(super) fn address(number: u8) -> TaskAddress {
    TaskAddress { v4: [10, 64, 0, number].into(), v6: [0xfd73, 0, 0, 0, 0, 0, 0, number.into()].into() }
}

pub(super) fn task(number: u8, status: TaskStatus, defined: u8, stops: bool) -> TaskObject {
    let name = format!("s{}", number % SERVICES).parse().unwrap();
    let kind = definition(defined).definition.kind;
    TaskObject {
        task: Task {
            overrides: (number == 7).then(Command::default),
            node: Some("local".parse().unwrap()),
            address: Some(address(number)),
            status,
            stop: stops.then(|| StoppedReason { code: StopCode::UserInitiated, message: String::new() }),
            ..Task::new(
                TaskId::from_parts(u64::from(number), [number; 10]),
                Namespace::default(),
                if number % 4 == 3 { Group::Family(name) } else { Group::Service(name) },
                definition_id(defined),
                0,
            )
        },
        kind,
        placement: Placement::default(),
        updated_at_ms: 0,
    }
}

/// The same, with this health if it is checked.
pub(super) fn task_of_health(
    number: u8,
    status: TaskStatus,
    defined: u8,
    stops: bool,
    health: Health,
) -> TaskObject {
    let mut object = task(number, status, defined, stops);
    if definition(defined).definition.port.is_some() {
        object.task.health = health;
    }
    object
}
