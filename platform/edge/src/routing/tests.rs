//! The table of services, against looking at every route.

use super::*;
use crate::chance::Chance;
use crate::daemon::Speaks;
use crate::group::{Load, Side, Tried};
use skiff_ports::snapshot;
use skiff_types::{Algorithm, HostPattern, PathPrefix, QualifiedName, TargetProtocol, TaskId};

fn route(name: &str, hosts: Vec<HostMatch>, paths: &[&str], slots: &[u32]) -> Route {
    let task = |&slot: &u32| snapshot::Target {
        task: TaskId::from_parts(u64::from(slot), [0; 10]),
        slot,
        port: None,
    };
    Route {
        service: format!("default/{name}").parse::<QualifiedName>().unwrap(),
        hosts,
        paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        listen: Vec::new(),
        targets: slots.iter().map(task).collect(),
        split: None,
        wakes: false,
    }
}

/// The same with daemons on a port.
fn daemons(name: &str, port: u16, slots: &[u32]) -> Route {
    let mut route = route(name, vec![], &["/"], slots);
    route.targets.iter_mut().for_each(|target| target.port = Some(port));
    route
}

fn pick(group: &Group) -> Option<usize> {
    group.choose((group.settings.algorithm, Side::Any), Load::Requests, &Tried::default(), &Chance::new(1))
}

fn pick_for_connection(group: &Group) -> Option<usize> {
    group.choose((group.settings.algorithm, Side::Any), Load::Connections, &Tried::default(), &Chance::new(1))
}

fn by(algorithm: Algorithm) -> Rc<Settings> {
    Rc::new(Settings { algorithm, ..Settings::default() })
}

fn host(text: &str) -> HostMatch {
    HostMatch::Pattern(text.parse::<HostPattern>().unwrap())
}

fn ledger() -> Ledger {
    Ledger::create(2).unwrap().0
}

fn built(routes: &[Route], ledger: &Ledger) -> Table {
    let mut table = Table::default();
    routes.iter().for_each(|route| table.set(route, ledger));
    table
}

#[test]
fn the_most_specific_host_wins_then_the_longest_path() {
    let routes = [
        route("name", vec![host("a.example.com")], &["/"], &[]),
        route("name-api", vec![host("a.example.com")], &["/api"], &[]),
        route("wildcard", vec![host("*.example.com")], &["/api/v1"], &[]),
        route("any", vec![HostMatch::Any], &["/", "/api/v1/x"], &[]),
    ];
    let table = built(&routes, &ledger());
    let find = |host, path| table.find(host, path).map(|service| service.label.to_string());
    for (host, path, service) in [
        ("a.example.com", "/", "name"),
        ("a.example.com", "/apix", "name"),
        ("a.example.com", "/api", "name-api"),
        ("a.example.com", "/api/v1/x", "name-api"),
        ("b.example.com", "/api/v1", "wildcard"),
        ("b.example.com", "/api", "any"),
        ("example.com", "/api/v1", "any"),
        ("a.b.example.com", "/api/v1", "any"),
        ("[::1]", "/api/v1/x/y", "any"),
        ("", "/", "any"),
    ] {
        assert_eq!(find(host, path), Some(format!("default/{service}")), "{host} {path}");
    }
    assert_eq!(find("a.example.com", "*"), None);
}

#[test]
fn a_host_and_path_that_changes_hands_is_the_last_ones_and_never_nobodys() {
    let ledger = ledger();
    let one = route("one", vec![host("a")], &["/", "/x"], &[]);
    let two = route("two", vec![host("a")], &["/", "/x"], &[]);
    let mut table = built(&[one.clone(), two], &ledger);
    let holds = |table: &Table, service: &str| {
        ["/", "/x"].iter().all(|path| &*table.find("a", path).unwrap().label == service)
    };
    assert!(holds(&table, "default/two"));
    table.remove(&one.service);
    assert!(holds(&table, "default/two"), "only what one still had goes with it");
    table.set(&one, &ledger);
    assert!(holds(&table, "default/one"));
}

#[test]
fn what_is_withdrawn_leaves_nothing_behind() {
    let ledger = ledger();
    let routes = [
        route("one", vec![host("a"), host("*.a"), HostMatch::Any], &["/", "/x", "/y", "/xyz"], &[1]),
        route("two", vec![host("a"), HostMatch::Any], &["/z"], &[2]),
    ];
    let mut table = built(&routes, &ledger);
    table.set(&route("one", vec![host("b")], &["/q"], &[1]), &ledger);
    assert_eq!(table.find("a", "/x").map(|service| &*service.label), None);
    assert_eq!(table.find("a", "/z").map(|service| &*service.label), Some("default/two"));
    routes.iter().for_each(|route| table.remove(&route.service));
    assert!(table.names.is_empty() && table.wildcards.is_empty() && table.services.is_empty());
    assert!(table.any.root.is_none() && table.any.below.is_none());
}

#[test]
fn a_service_without_hosts_is_found_by_its_name_alone() {
    let table = built(&[daemons("kv", 6379, &[1])], &ledger());
    assert!(table.find("kv.localhost", "/").is_none() && table.find("", "/").is_none());
    let service = table.service(&"default/kv".parse().unwrap()).unwrap();
    assert_eq!((pick(service), pick_for_connection(service)), (Some(0), Some(0)));
    assert!(table.service(&"other/kv".parse().unwrap()).is_none());
}

#[test]
fn connections_that_are_being_opened_count() {
    let table = built(&[daemons("kv", 6379, &[1, 2])], &ledger());
    let service = table.service(&"default/kv".parse().unwrap()).unwrap();
    let opening = service.targets[0].pool().unwrap().opens();
    let picks = || [(); 4].map(|()| pick_for_connection(service).unwrap());
    assert_eq!(picks(), [1, 1, 1, 1]);
    drop(opening);
    assert_eq!(picks(), [0, 1, 0, 1]);
}

#[test]
fn a_daemon_keeps_its_connections_until_it_leaves() {
    let ledger = ledger();
    let mut table = built(&[daemons("kv", 6379, &[1, 2, 3])], &ledger);
    let pools = |table: &Table| {
        let service = table.service(&"default/kv".parse().unwrap()).unwrap();
        service.targets.iter().map(|target| target.pool().unwrap().clone()).collect::<Vec<_>>()
    };
    let before = pools(&table);
    table.set(&daemons("kv", 6379, &[3, 1, 4]), &ledger);
    let after = pools(&table);
    assert!(Rc::ptr_eq(&after[0], &before[2]) && Rc::ptr_eq(&after[1], &before[0]));
    assert_eq!(before.iter().map(|pool| pool.is_closed()).collect::<Vec<_>>(), [false, true, false]);
    table.set(&daemons("kv", 80, &[3]), &ledger);
    assert!(before.iter().chain(&after).all(|pool| pool.is_closed()), "another port is another daemon");
    let last = pools(&table);
    table.remove(&"default/kv".parse().unwrap());
    assert!(last[0].is_closed());
}

#[test]
fn what_is_said_of_a_service_outlasts_a_change_of_routes() {
    let (ledger, name) = (ledger(), "default/kv".parse().unwrap());
    let mut table = Table::default();
    let algorithm = |table: &Table| table.service(&name).unwrap().settings.algorithm;
    table.settle(&name, Some(by(Algorithm::RoundRobin)));
    table.set(&daemons("kv", 80, &[1, 2]), &ledger);
    assert_eq!(algorithm(&table), Algorithm::RoundRobin);
    let pool = |table: &Table| table.service(&name).unwrap().targets[0].pool().unwrap().clone();
    let before = pool(&table);
    table.settle(&name, None);
    assert_eq!(algorithm(&table), Algorithm::LeastOutstandingRequests);
    assert!(Rc::ptr_eq(&before, &pool(&table)) && !before.is_closed(), "connections are kept");
    table.set(&daemons("kv", 80, &[1]), &ledger);
    assert_eq!(algorithm(&table), Algorithm::LeastOutstandingRequests);
    assert!(table.settings.is_empty());
}

#[test]
fn what_is_said_of_a_service_holds_wherever_it_is_found() {
    let ledger = ledger();
    let mut table = built(
        &[
            route("one", vec![host("a"), host("*.a"), HostMatch::Any], &["/", "/x"], &[1]),
            route("two", vec![host("a")], &["/x"], &[2]),
        ],
        &ledger,
    );
    table.settle(&"default/one".parse().unwrap(), Some(by(Algorithm::WeightedRandom)));
    for (host, path, service, algorithm) in [
        ("a", "/", "default/one", Algorithm::WeightedRandom),
        ("b.a", "/x/y", "default/one", Algorithm::WeightedRandom),
        ("z", "/x", "default/one", Algorithm::WeightedRandom),
        ("a", "/x", "default/two", Algorithm::default()),
    ] {
        let found = table.find(host, path).unwrap();
        assert_eq!((&*found.label, found.settings.algorithm), (service, algorithm), "{host}{path}");
    }
    table.remove(&"default/one".parse().unwrap());
    assert!(table.find("a", "/").is_none() && table.find("z", "/").is_none());
}

#[test]
fn a_service_spoken_to_in_another_way_has_the_same_tasks_on_connections_of_its_own() {
    let (ledger, name) = (ledger(), "default/kv".parse().unwrap());
    let mut table = built(&[daemons("kv", 80, &[1, 2])], &ledger);
    let http2 = Speaks { protocol: TargetProtocol::Http2, tls: false };
    let other = |table: &Table| table.service(&name).unwrap().speaking(http2, 0);
    let pool = |group: &Group, index: usize| group.targets[index].pool().unwrap().clone();
    let service = table.service(&name).unwrap().clone();
    assert!(Rc::ptr_eq(&service, &service.speaking(Speaks::default(), 0)), "that is its own way");
    let before = other(&table);
    assert!(Rc::ptr_eq(&before, &other(&table)), "it is made once");
    assert_eq!(pool(&before, 0).speaks(), http2);
    assert_eq!(pool(&service, 0).speaks(), Speaks::default());
    table.set(&daemons("kv", 80, &[2, 3]), &ledger);
    let after = other(&table);
    assert!(Rc::ptr_eq(&pool(&before, 1), &pool(&after, 0)), "who stays keeps its connections");
    assert!(pool(&before, 0).is_closed() && pool(&service, 0).is_closed());
    let settings = Rc::new(Settings { speaks: http2, ..Settings::default() });
    table.settle(&name, Some(settings));
    assert!(Rc::ptr_eq(&pool(&after, 0), &pool(table.service(&name).unwrap(), 0)));
    table.remove(&name);
    assert!(pool(&after, 0).is_closed());
}

#[test]
fn a_table_kept_by_changes_is_one_built_from_scratch() {
    let ledger = ledger();
    let hosts = [host("a"), host("b.a"), host("*.a"), HostMatch::Any];
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut kept, mut routes) = (Table::default(), HashMap::new());
        for _ in 0..random.usize(1..40) {
            let number = random.usize(0..5);
            // No two ask for the same.
            let paths: Vec<String> =
                (0..random.usize(1..4)).map(|_| format!("/{number}/{}", random.u8(0..3))).collect();
            let paths: Vec<&str> =
                paths.iter().map(String::as_str).chain([["/", "/x"][number % 2]]).collect();
            let paths = if number < 2 { &paths[..] } else { &paths[..paths.len() - 1] };
            let some_hosts = random.choose_multiple(hosts.clone(), 2);
            let route = route(&format!("s{number}"), some_hosts, paths, &[number as u32]);
            if random.bool() {
                kept.set(&route, &ledger);
                routes.insert(route.service.clone(), route);
            } else {
                kept.remove(&route.service);
                routes.remove(&route.service);
            }
        }
        let routes: Vec<Route> = routes.into_values().collect();
        let anew = built(&routes, &ledger);
        assert_eq!((kept.names.len(), kept.wildcards.len()), (anew.names.len(), anew.wildcards.len()));
        for host in ["a", "b.a", "c.a", "z"] {
            for path in (0..5).flat_map(|number| (0..3).map(move |sub| format!("/{number}/{sub}/y"))) {
                for path in [&path, "/", "/x", "/q"] {
                    let label = |table: &Table| table.find(host, path).map(|found| found.label.clone());
                    assert_eq!(label(&kept), label(&anew), "seed {seed}: {host} {path}");
                }
            }
        }
    }
}

/// What the table must agree with: looks at every route.
fn naive<'a>(routes: &'a [Route], host: &str, path: &str) -> Option<&'a Route> {
    let specificity = |pattern: &HostMatch| match pattern {
        HostMatch::Any => Some(0),
        HostMatch::Pattern(pattern) => match pattern.wildcard_suffix() {
            None => (pattern.as_str() == host).then_some(2),
            Some(suffix) => {
                let label = host.strip_suffix(suffix)?.strip_suffix('.')?;
                (!label.is_empty() && !label.contains('.')).then_some(1)
            }
        },
    };
    let mut best: Option<((i32, usize), &Route)> = None;
    for route in routes {
        let rank = route.hosts.iter().filter_map(specificity).flat_map(|rank| {
            let paths = route.paths.iter().filter(|prefix| prefix.matches(path));
            paths.map(move |prefix| (rank, prefix.as_str().len()))
        });
        if let Some(rank) = rank.max()
            && best.is_none_or(|(known, _)| rank >= known)
        {
            best = Some((rank, route));
        }
    }
    best.map(|(_, route)| route)
}

#[test]
fn the_table_agrees_with_looking_at_every_route() {
    let ledger = ledger();
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let labels = ["a", "b", "c"];
        let mut host_text = |wild: bool| {
            let count = random.usize(1..=3);
            let mut text = if wild && random.u8(0..3) == 0 { "*.".to_owned() } else { String::new() };
            let parts: Vec<&str> = (0..count).map(|_| labels[random.usize(0..3)]).collect();
            text.push_str(&parts.join("."));
            text
        };
        let hosts: Vec<String> = (0..60).map(|_| host_text(true)).collect();
        let asked_hosts: Vec<String> = (0..12).map(|_| host_text(false)).collect();
        let mut path_text = || {
            let parts: Vec<&str> =
                (0..random.usize(0..4)).map(|_| ["x", "xy", "é"][random.usize(0..3)]).collect();
            format!("/{}", parts.join("/"))
        };
        let paths: Vec<String> = (0..60).map(|_| path_text()).filter(|path| path.is_ascii()).collect();
        let asked_paths: Vec<String> = (0..12).map(|_| path_text()).collect();
        let mut routes = Vec::new();
        for index in 0..20 {
            let mut some_hosts: Vec<HostMatch> = (0..random.usize(1..3))
                .map(|_| match random.u8(0..5) {
                    0 => HostMatch::Any,
                    _ => host(&hosts[random.usize(0..hosts.len())]),
                })
                .collect();
            some_hosts.dedup();
            let some_paths: Vec<&str> =
                (0..random.usize(1..3)).map(|_| paths[random.usize(0..paths.len())].as_str()).collect();
            routes.push(route(&format!("s{index}"), some_hosts, &some_paths, &[]));
        }
        let table = built(&routes, &ledger);
        for host in &asked_hosts {
            for path in &asked_paths {
                let expected = naive(&routes, host, path).map(|route| route.service.to_string());
                let found = table.find(host, path).map(|service| service.label.to_string());
                assert_eq!(found, expected, "seed {seed}: {host} {path}");
            }
        }
    }
}

#[test]
fn twenty_thousand_services_on_one_host_have_a_few_lengths() {
    let routes: Vec<Route> = (0..20_000)
        .map(|n| route(&format!("s{n}"), vec![HostMatch::Any], &[&format!("/s/{n}")], &[]))
        .collect();
    let table = built(&routes, &ledger());
    let lengths = &table.any.below.as_ref().unwrap().lengths;
    let lengths: Vec<usize> = lengths.iter().map(|(length, _)| *length).collect();
    assert_eq!(lengths, [8, 7, 6, 5, 4]);
    for n in [0, 7, 999, 19_999] {
        assert_eq!(*table.find("h", &format!("/s/{n}/x")).unwrap().label, format!("default/s{n}"));
    }
    assert!(table.find("h", "/s/20000").is_none());
    let long: PathPrefix = format!("/{}", "a".repeat(1_000)).parse().unwrap();
    assert!(table.find("h", long.as_str()).is_none());
}

#[test]
fn the_target_with_the_fewest_outstanding_requests_is_picked_and_ties_take_turns() {
    let ledger = ledger();
    let table = built(&[route("s", vec![host("a")], &["/"], &[0, 1, 2])], &ledger);
    let service = table.find("a", "/").unwrap();
    let mut picked = [0; 3];
    (0..30).for_each(|_| picked[pick(service).unwrap()] += 1);
    assert_eq!(picked, [10, 10, 10]);
    ledger.task(0).row(0).in_flight.add(1);
    ledger.task(2).row(1).queued.add(1);
    (0..9).for_each(|_| assert_eq!(pick(service), Some(1)));
    ledger.task(1).row(0).in_flight.add(2);
    (0..9).for_each(|_| assert_ne!(pick(service), Some(1)));
}

#[test]
fn of_many_targets_each_gets_its_share() {
    let slots: Vec<u32> = (0..100).collect();
    let table = built(&[route("s", vec![host("a")], &["/"], &slots)], &ledger());
    let service = table.find("a", "/").unwrap();
    let mut picked = [0; 100];
    (0..1_000).for_each(|_| picked[pick(service).unwrap()] += 1);
    assert_eq!(picked, [10; 100]);
    let none = built(&[route("s", vec![host("a")], &["/"], &[])], &ledger());
    assert_eq!(pick(none.find("a", "/").unwrap()), None);
}
