//! Rules: who is let in, what is cut, and what is written down of it.

use crate::world::{World, accept, at, listen, open, read, run, run_in_real_time, write};
use skiff_net::{Limits, NetError};
use skiff_ports::flows::{FlowRecord, Verdict};
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface};
use skiff_types::{Direction, Name, Transport};
use std::net::SocketAddr;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A world with a client in the group `web` and a server in `cache`, which lets the former in at port 80.
fn world() -> World {
    let world = World::new();
    world.set_group("default/web", &["tcp:80 to cache"]);
    world.set_group("default/cache", &["tcp:80 from web"]);
    world
}

fn of(records: &[FlowRecord], direction: Direction) -> Vec<&FlowRecord> {
    records.iter().filter(|record| record.direction == direction).collect()
}

#[test]
fn both_sides_must_allow_a_connection_and_who_is_denied_is_told_the_rule() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let _listeners = [listen(&server, 80), listen(&server, 81), listen(&client, 80)];
        client.connect(None, at(&server, 80)).await.unwrap();
        for (from, to, rule) in
            [(&client, at(&server, 81), "tcp:81 to cache"), (&server, at(&client, 80), "tcp:80 to web")]
        {
            let denied = from.connect(None, to).await.unwrap_err();
            let NetError::Denied(sentence) = denied else { panic!("{denied:?}") };
            assert!(sentence.contains(rule), "{sentence}");
        }
        world.set_group("default/web", &["tcp to cache"]);
        let denied = client.connect(None, at(&server, 81)).await.unwrap_err().to_string();
        assert!(denied.contains("skiff sg allow cache \"tcp:81 from web\""), "{denied}");
    });
}

#[test]
fn who_somebody_is_counts_not_its_address() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let _listener = listen(&server, 80);
        client.connect(None, at(&server, 80)).await.unwrap();
        world.set_group("default/cache", &[&format!("tcp:80 from {}", client.address().v4)]);
        let denied = client.connect(None, at(&server, 80)).await;
        assert!(matches!(denied, Err(NetError::Denied(_))), "{denied:?}");
    });
}

#[test]
fn flows_that_are_not_allowed_any_more_are_cut_and_no_others() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let (ours, theirs) = open(&client, &server, 80).await;
        let (other_ours, other_theirs) = {
            let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
            open(&one, &two, 80).await
        };
        write(&ours, "forgotten").await.unwrap();
        world.records();
        world.set_group("default/cache", &["tcp:80-90 from web"]);
        assert_eq!(world.records(), [], "it is allowed still");
        world.set_group("default/cache", &["tcp:81 from web"]);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(read(&theirs).await, Err(NetError::Reset));
        assert_eq!(ours.write("more".into()), Err(NetError::Reset));
        write(&other_ours, "unharmed").await.unwrap();
        assert_eq!(read(&other_theirs).await.unwrap(), "unharmed");
        let records = world.records();
        assert_eq!(records.len(), 2, "{records:?}");
        for record in &records {
            assert_eq!((record.verdict, record.open, record.count), (Verdict::Reject, false, 1));
            assert!(record.note.contains("skiff sg allow cache \"tcp:80 from web\""), "{}", record.note);
        }
        let sent: Vec<_> =
            of(&records, Direction::Egress).iter().map(|record| (record.task, record.sent_bytes)).collect();
        assert_eq!(sent, [(client.task(), 9)]);
        drop((ours, theirs));
        assert_eq!(world.records(), [], "an end is written down once");
        assert_eq!(world.totals(client.task()).net_open, 0);
        assert_eq!(world.totals(server.task()).net_open, 0);
    });
}

#[test]
fn whoever_waits_on_a_flow_that_is_cut_is_woken() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let (ours, theirs) = open(&client, &server, 80).await;
        let cutting = async {
            tokio::task::yield_now().await;
            world.set_group("default/web", &[] as &[&str]);
        };
        let (ours, theirs, ()) = tokio::join!(read(&ours), read(&theirs), cutting);
        assert_eq!((ours, theirs), (Err(NetError::Reset), Err(NetError::Reset)));
    });
}

#[test]
fn a_task_that_leaves_a_group_or_whose_group_is_dissolved_loses_its_flows() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let (ours, _theirs) = open(&client, &server, 80).await;
        world.change(client.task(), |told| told.ready = false);
        world.regroup(client.task(), &["default", "web"]);
        write(&ours, "allowed still").await.unwrap();
        world.regroup(client.task(), &["default"]);
        assert_eq!(ours.write("more".into()), Err(NetError::Reset));
        world.regroup(client.task(), &["web"]);
        let (ours, _theirs) = open(&client, &server, 80).await;
        let dissolved = vec!["default/web".parse().unwrap()];
        world.apply(NetworkChange { dissolved, ..NetworkChange::default() });
        assert_eq!(ours.write("more".into()), Err(NetError::Reset));
    });
}

#[test]
fn no_flow_is_judged_by_half_of_a_change() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let (ours, _theirs) = open(&client, &server, 80).await;
        // The same as before, by other rules.
        let rules = |group: &str, rule: &str| GroupRules {
            group: group.parse().unwrap(),
            rules: vec![rule.parse().unwrap()],
        };
        world.apply(NetworkChange {
            groups: vec![rules("default/store", "tcp:80 from web"), rules("default/web", "tcp:80 to store")],
            dissolved: vec!["default/cache".parse().unwrap()],
            interfaces: vec![],
            left: vec![],
        });
        assert_eq!(ours.write("cut".into()), Err(NetError::Reset), "the server is in no such group");
        world.set_group("default/cache", &["tcp:80 from web"]);
        world.set_group("default/web", &["tcp:80 to cache", "tcp:80 to store"]);
        let (ours, _theirs) = open(&client, &server, 80).await;
        let told = NetworkInterface {
            groups: ["store".parse::<Name>().unwrap()].into(),
            ..world.told(server.task())
        };
        world.apply(NetworkChange {
            groups: vec![],
            dissolved: vec!["default/cache".parse().unwrap()],
            interfaces: vec![told],
            left: vec![],
        });
        write(&ours, "allowed by the other group").await.unwrap();
    });
}

#[test]
fn a_flow_is_written_down_at_its_end_with_what_passed_and_by_which_rule() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let (ours, theirs) = open(&client, &server, 80).await;
        write(&ours, "12345").await.unwrap();
        write(&theirs, "123").await.unwrap();
        assert_eq!((read(&ours).await.unwrap().len(), read(&theirs).await.unwrap().len()), (3, 5));
        let (local, remote) = (ours.local(), ours.remote());
        assert_eq!(world.records(), [], "nothing is to be said yet");
        assert_eq!(world.totals(client.task()).net_open, 1);
        drop((ours, theirs));
        let records = world.records();
        assert_eq!(records.len(), 2);
        let [egress, ingress] = [Direction::Egress, Direction::Ingress].map(|way| of(&records, way)[0]);
        assert_eq!((egress.task, egress.local, egress.remote), (client.task(), local, remote));
        assert_eq!((ingress.task, ingress.local, ingress.remote), (server.task(), remote, local));
        assert_eq!((egress.sent_bytes, egress.received_bytes), (5, 3));
        assert_eq!((ingress.sent_bytes, ingress.received_bytes), (3, 5));
        assert_eq!(egress.note, "default/web: tcp:80 to cache; closed");
        assert_eq!(ingress.note, "default/cache: tcp:80 from web; closed");
        assert_eq!(egress.peer, Some(format!("default/redis {}", server.task())));
        for record in &records {
            assert_eq!(
                (record.verdict, record.open, record.transport),
                (Verdict::Accept, false, Transport::Tcp)
            );
        }
        let totals = world.totals(client.task());
        assert_eq!((totals.net_sent_bytes, totals.net_received_bytes), (5, 3));
        assert_eq!((totals.net_connections, totals.net_open, totals.net_denied), (1, 0, 0));
    });
}

#[test]
fn an_open_flow_is_written_down_every_interval_in_which_something_passed() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let (ours, _theirs) = open(&client, &server, 80).await;
        let sent = async |bytes: &'static str| {
            write(&ours, bytes).await.unwrap();
            tokio::time::sleep(MINUTE + Duration::from_secs(1)).await;
            let records = world.records();
            let egress = of(&records, Direction::Egress);
            egress.iter().map(|record| (record.sent_bytes, record.open)).collect::<Vec<_>>()
        };
        assert_eq!(sent("12345").await, [(5, true)]);
        assert_eq!(sent("123").await, [(3, true)]);
        assert_eq!(sent("").await, [], "nothing passed");
        drop(ours);
        let records = world.records();
        assert_eq!(of(&records, Direction::Egress)[0].sent_bytes, 0, "all of it is written down already");
    });
}

#[test]
fn what_is_denied_is_written_down_once_per_target_and_interval_and_counted() {
    run(async {
        let world = World::new();
        world.set_group("default/web", &["tcp:443 to 192.0.2.0/24"]);
        let client = world.task("default/site", &["web"]);
        let try_often = async |remote: &str, times: usize| {
            for _ in 0..times {
                assert!(matches!(
                    client.connect(None, remote.parse().unwrap()).await,
                    Err(NetError::Denied(_))
                ));
            }
        };
        let written = || -> Vec<_> {
            let records = world.records();
            records.iter().map(|record| (record.remote.to_string(), record.count, record.verdict)).collect()
        };
        try_often("192.0.2.1:80", 5).await;
        try_often("192.0.2.1:81", 1).await;
        let first = |remote: &str| (remote.to_owned(), 1, Verdict::Reject);
        assert_eq!(written(), [first("192.0.2.1:80"), first("192.0.2.1:81")]);
        tokio::time::sleep(2 * MINUTE + Duration::from_secs(1)).await;
        assert_eq!(
            written(),
            [("192.0.2.1:80".to_owned(), 4, Verdict::Reject)],
            "those that came after the first"
        );
        try_often("192.0.2.1:80", 1).await;
        assert_eq!(written().len(), 1);
        assert_eq!(world.totals(client.task()).net_denied, 7);
        let state = world.network(0).state(client.task());
        assert_eq!((state.connection_count, world.totals(client.task()).memory_bytes), (0, 0));
    });
}

#[test]
fn a_denial_says_which_rule_is_missing_and_what_the_task_wanted() {
    run(async {
        let world = World::new();
        let client = world.task("default/site", &["default"]);
        let denied = client.connect(None, "[2001:4860:4860::8888]:53".parse().unwrap()).await;
        let records = world.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(denied.unwrap_err(), NetError::Denied(record.note.clone()));
        assert!(
            record.note.contains("skiff sg allow default \"tcp:53 to 2001:4860:4860::8888/128\""),
            "{record:?}"
        );
        assert_eq!((record.task, record.direction), (client.task(), Direction::Egress));
        assert_eq!((record.sent_bytes, record.received_bytes, record.open), (0, 0, false));
    });
}

#[test]
fn a_task_that_ends_takes_all_its_connections_with_it() {
    run(async {
        let world = world();
        let (client, server) =
            (world.task("default/site", &["web"]), world.task("default/redis", &["cache"]));
        let listener = listen(&server, 80);
        let ours = client.connect(None, at(&server, 80)).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        let waiting = client.connect(None, at(&server, 80)).await.unwrap();
        write(&theirs, "unread").await.unwrap();
        world.end(server.task());
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(read(&waiting).await, Err(NetError::Reset));
        assert_eq!(read(&theirs).await, Err(NetError::Reset));
        assert_eq!(accept(&listener).await.unwrap_err(), NetError::Closed);
        assert_eq!(server.bind(Transport::Tcp, at(&server, 90)).unwrap_err(), NetError::Closed);
        assert_eq!(server.connect(None, at(&client, 80)).await.unwrap_err(), NetError::Closed);
        assert_eq!(client.connect(None, at(&server, 80)).await.unwrap_err(), NetError::Unreachable);
        assert!(world.network(0).interface(server.task()).is_none());
        let totals = world.totals(server.task());
        assert_eq!((totals.net_open, totals.memory_bytes), (0, 0), "before its guest let go of anything");
        let records = world.records();
        let ended = of(&records, Direction::Ingress);
        assert!(
            ended.len() == 2 && ended.iter().all(|record| record.note.ends_with("the task ended")),
            "{ended:?}"
        );
    });
}

#[test]
fn an_attempt_that_no_rule_could_allow_is_written_down_too() {
    run(async {
        let world = world();
        let task = world.task("default/site", &["web"]);
        let remotes = ["0.0.0.0:80", "[::ffff:127.0.0.1]:80", "224.0.0.1:80"];
        for remote in remotes {
            let invalid = task.connect(None, remote.parse().unwrap()).await;
            assert_eq!(invalid.unwrap_err(), NetError::InvalidArgument, "{remote}");
        }
        let claimed: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(task.bind(Transport::Tcp, claimed).unwrap_err(), NetError::AddressNotBindable);
        let records = world.records();
        let written: Vec<String> = records.iter().map(|record| record.remote.to_string()).collect();
        assert_eq!(written, [remotes[0], remotes[1], remotes[2], "0.0.0.0:0"]);
        assert!(records.iter().all(|record| record.verdict == Verdict::Reject && record.count == 1));
        assert_eq!(records[3].local, claimed);
        assert_eq!(world.totals(task.task()).net_denied, 4);
    });
}

#[test]
fn a_flow_between_workers_is_cut_in_both() {
    run_in_real_time(async {
        let world = World::with(2, Limits::default());
        world.set_group("default/web", &["tcp:80 to cache"]);
        world.set_group("default/cache", &["tcp:80 from web"]);
        let client = world.task_in(0, "default/site", &["web"]);
        let server = world.task_in(1, "default/redis", &["cache"]);
        let (ours, theirs) = open(&client, &server, 80).await;
        write(&ours, "hello").await.unwrap();
        assert_eq!(read(&theirs).await.unwrap(), "hello");
        world.set_group("default/cache", &["tcp:81 from web"]);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(read(&theirs).await, Err(NetError::Reset));
        let records = world.records();
        assert_eq!(records.len(), 2, "{records:?}");
        assert!(records.iter().all(|record| record.verdict == Verdict::Reject));
        assert_eq!(of(&records, Direction::Ingress)[0].received_bytes, 5);
        let denied = client.connect(None, at(&server, 80)).await;
        assert!(matches!(denied, Err(NetError::Denied(_))), "{denied:?}");
    });
}
