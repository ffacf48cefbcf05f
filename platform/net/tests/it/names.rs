//! What a name leads to, as a task sees it.

use crate::world::{World, run};
use skiff_net::{Interface, Limits, NetError};
use skiff_ports::flows::Verdict;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The addresses of tasks as a name leads to them: all of IPv4, then all of IPv6, either in some order.
#[track_caller]
fn check_tasks(led_to: Result<Vec<IpAddr>, NetError>, tasks: &[&Interface]) {
    let led_to = led_to.unwrap();
    let (v4, v6) = led_to.split_at(led_to.len() / 2);
    let sorted = |addresses: &[IpAddr]| {
        let mut sorted = addresses.to_vec();
        sorted.sort();
        sorted
    };
    let of_tasks =
        |address: fn(&Interface) -> IpAddr| tasks.iter().map(|task| address(task)).collect::<Vec<_>>();
    assert_eq!(sorted(v4), sorted(&of_tasks(|task| task.address().v4.into())));
    assert_eq!(sorted(v6), sorted(&of_tasks(|task| task.address().v6.into())));
}

#[test]
fn an_address_leads_to_itself() {
    run(async {
        let world = World::new();
        let task = world.task("default/web", &["default"]);
        for address in ["192.0.2.1", "10.64.0.99", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert_eq!(task.resolve(address).await, Ok(addresses(&[address])));
        }
    });
}

#[test]
fn a_service_leads_to_its_tasks_that_are_ready() {
    run(async {
        let world = World::new();
        let asks = world.task("other/asks", &["default"]);
        let [one, two] = [0; 2].map(|_| world.task("default/web", &["default"]));
        check_tasks(asks.resolve("web.default.internal").await, &[&one, &two]);
        check_tasks(asks.resolve("Web.Default.INTERNAL.").await, &[&one, &two]);
        world.change(one.task(), |told| told.ready = false);
        check_tasks(asks.resolve("web.default.internal").await, &[&two]);
        world.change(two.task(), |told| told.ready = false);
        let none_is_ready = Err(NetError::TemporaryResolverFailure);
        assert_eq!(asks.resolve("web.default.internal").await, none_is_ready);
        world.change(one.task(), |told| told.ready = true);
        check_tasks(asks.resolve("web.default.internal").await, &[&one]);
        world.end(one.task());
        world.end(two.task());
        assert_eq!(asks.resolve("web.default.internal").await, Err(NetError::NameUnresolvable));
    });
}

#[test]
fn a_task_is_found_by_its_id_ready_or_not() {
    run(async {
        let world = World::new();
        let [asks, task] = ["default/asks", "default/web"].map(|owner| world.task(owner, &["default"]));
        world.change(task.task(), |told| told.ready = false);
        check_tasks(asks.resolve(&format!("{}.task.internal", task.task())).await, &[&task]);
        world.end(task.task());
        let gone = asks.resolve(&format!("{}.task.internal", task.task())).await;
        assert_eq!(gone, Err(NetError::NameUnresolvable));
    });
}

#[test]
fn every_task_of_a_service_comes_first_sometimes() {
    run(async {
        let world = World::new();
        let [asks, one, two] =
            ["asks", "web", "web"].map(|name| world.task(&format!("default/{name}"), &["default"]));
        let mut first = Vec::new();
        for _ in 0..100 {
            first.push(asks.resolve("web.default.internal").await.unwrap()[0]);
        }
        for task in [one, two] {
            assert!(first.contains(&task.address().v4.into()));
        }
    });
}

#[test]
fn a_name_outside_leads_where_name_servers_say() {
    run(async {
        let world = World::new();
        world.set_group("default/default", &["tcp:443 to 192.0.2.0/24"]);
        let task = world.task("default/web", &["default"]);
        world.names.set("api.example.com", &["192.0.2.7", "2001:db8::7"], MINUTE);
        world.names.set("empty.example.com", &[], MINUTE);
        for name in ["api.example.com", "API.Example.com", "api.example.com."] {
            assert_eq!(task.resolve(name).await, Ok(addresses(&["192.0.2.7", "2001:db8::7"])), "{name}");
        }
        for name in ["none.example.com", "empty.example.com"] {
            assert_eq!(task.resolve(name).await, Err(NetError::NameUnresolvable), "{name}");
        }
        for name in ["", ".", "a b", "api..example.com", "api.example.com:80", "münchen.example"] {
            assert_eq!(task.resolve(name).await, Err(NetError::InvalidArgument), "{name:?}");
        }
    });
}

#[test]
fn a_name_that_no_rule_leads_to_is_not_asked_of_name_servers() {
    run(async {
        let world = World::new();
        world
            .set_group("default/app", &["tcp:443 to api.example.com", "all to self", "tcp:1 from 0.0.0.0/0"]);
        let task = world.task("default/app", &["app"]);
        for name in ["api.example.com", "secret.evil.example"] {
            world.names.set(name, &["192.0.2.7"], MINUTE);
        }
        assert_eq!(task.resolve("api.example.com").await, Ok(addresses(&["192.0.2.7"])));
        let Err(NetError::Denied(sentence)) = task.resolve("Secret.evil.example").await else { panic!() };
        assert!(sentence.ends_with("skiff sg allow app \"tcp:443 to secret.evil.example\""), "{sentence}");
        let records = world.records();
        let record = records.last().unwrap();
        assert_eq!((record.verdict, record.remote.to_string().as_str()), (Verdict::Reject, "0.0.0.0:53"));
        assert_eq!(record.peer.as_deref(), Some("secret.evil.example"));
        world.set_group("default/app", &["tcp:443 to 192.0.2.0/24"]);
        assert_eq!(task.resolve("secret.evil.example").await, Ok(addresses(&["192.0.2.7"])));
    });
}

#[test]
fn nothing_internal_is_asked_of_name_servers() {
    run(async {
        let world = World::new();
        let task = world.task("default/web", &["default"]);
        for name in ["internal", "no.such.internal", "far.too.deep.internal", "x.task.internal"] {
            world.names.set(name, &["192.0.2.7"], MINUTE);
            assert_eq!(task.resolve(name).await, Err(NetError::NameUnresolvable), "{name}");
        }
    });
}

#[test]
fn what_a_name_leads_to_is_told_up_to_a_bound() {
    run(async {
        let limits = Limits { addresses_of_name_max: 4, ..Limits::default() };
        let world = World::with(1, limits);
        world.set_group("default/default", &["tcp:443 to *.example.com"]);
        let asks = world.task("default/asks", &["default"]);
        let many: Vec<String> = (1..=9).map(|number| format!("192.0.2.{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        world.names.set("many.example.com", &many, MINUTE);
        assert_eq!(asks.resolve("many.example.com").await, Ok(addresses(&many[..4])));
        for _ in 0..5 {
            world.task("default/web", &["default"]);
        }
        assert_eq!(asks.resolve("web.default.internal").await.unwrap().len(), 4);
    });
}

#[test]
fn who_asks_too_fast_waits() {
    run(async {
        let limits = Limits { lookups_per_second: 10, ..Limits::default() };
        let world = World::with(1, limits);
        world.set_group("default/default", &["tcp:443 to *.example.com"]);
        let task = world.task("default/asks", &["default"]);
        world.names.set("api.example.com", &["192.0.2.7"], MINUTE);
        let began = Instant::now();
        for _ in 0..30 {
            task.resolve("api.example.com").await.unwrap();
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(1_800)..Duration::from_secs(4)).contains(&took), "{took:?}");
        // Who asks for names inside asks nobody.
        let began = Instant::now();
        for _ in 0..1_000 {
            task.resolve("asks.default.internal").await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_rule_for_a_host_holds_where_its_name_led_and_as_long_as_it_does() {
    run(async {
        let world = World::new();
        world.set_group("default/app", &["tcp:443 to api.example.com", "tcp:1 to other.example.com"]);
        let [task, other] = ["default/app", "default/other"].map(|owner| world.task(owner, &["app"]));
        // Unicast that nobody was given: no packet to it gets anywhere.
        let address = "2bff:ffff::1";
        let remote = SocketAddr::new(address.parse().unwrap(), 443);
        world.names.set("api.example.com", &[address], MINUTE);
        world.names.set("other.example.com", &[address], MINUTE);
        let is_denied = async |task: &Interface, remote: SocketAddr| {
            matches!(task.connect(None, remote).await.unwrap_err(), NetError::Denied(_))
        };
        assert!(is_denied(&task, remote).await, "nobody has looked it up");
        task.resolve("other.example.com").await.unwrap();
        assert!(is_denied(&task, remote).await, "by another name");
        task.resolve("api.example.com").await.unwrap();
        assert!(!is_denied(&task, remote).await);
        assert!(is_denied(&task, SocketAddr::new(remote.ip(), 80)).await, "another port");
        assert!(is_denied(&other, remote).await, "another task");
        sleep(MINUTE + Duration::from_secs(1)).await;
        assert!(is_denied(&task, remote).await, "it may lead elsewhere by now");
    });
}

#[test]
fn a_rule_for_a_host_never_leads_to_special_addresses() {
    run(async {
        let world = World::new();
        world.set_group("default/app", &["all to *.example.com"]);
        let task = world.task("default/app", &["app"]);
        for address in ["127.0.0.1", "169.254.169.254", "192.168.0.1", "::1", "fd00::1"] {
            world.names.set("evil.example.com", &[address], MINUTE);
            let led_to = task.resolve("evil.example.com").await.unwrap();
            let error = task.connect(None, SocketAddr::new(led_to[0], 80)).await.unwrap_err();
            assert!(matches!(error, NetError::Denied(_)), "{address}: {error}");
        }
    });
}
