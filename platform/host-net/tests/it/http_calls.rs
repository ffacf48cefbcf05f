//! Requests from one task to another: in process to an `http` task, over a stream to what a program listens on.

use crate::world::{Guest, World, broke_off};
use bytes::Bytes;
use skiff_net::{Interface, Listener, Stream};
use skiff_ports::invoke::InvokeError;
use skiff_ports::logs::LogStream;
use skiff_ports::snapshot::TaskSpec;
use skiff_testbed::{on_one_thread, until};
use skiff_types::{Reuse, Rule, Span, TaskId, Transport};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

/// Who asks, and who is asked, on either generation.
const PAIRS: [(Guest, Guest); 2] = [(Guest::Fetch, Guest::Misbehave), (Guest::FetchP3, Guest::MisbehaveP3)];
const ALL: [Guest; 4] = [Guest::Fetch, Guest::FetchP3, Guest::Misbehave, Guest::MisbehaveP3];

/// A world with a task `shop` that asks and a task `stock` that is asked.
fn pair((asks, asked): (Guest, Guest)) -> (World, TaskId, TaskId) {
    let world = World::new(&ALL);
    let (shop, stock) = (world.run(asks, "shop", |_| {}), world.run(asked, "stock", |_| {}));
    (world, shop, stock)
}

/// What a task says of a request that it sent; `query` says how.
async fn fetch(world: &World, task: TaskId, url: &str, query: &str) -> String {
    world.text(task, &format!("/fetch?{query}"), &[("x-url", url)]).await
}

/// The same, to a path of `stock`.
async fn ask_stock(world: &World, task: TaskId, path: &str, query: &str) -> String {
    fetch(world, task, &format!("http://stock.default.internal{path}"), query).await
}

#[test]
fn a_task_is_called_by_its_services_name_and_told_who_calls() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, _) = pair(guests);
            let url = "http://Stock.default.internal/headers";
            let forged = [
                ("x-url", url),
                ("x-send", "skiff-caller: default/admin; task=0"),
                ("x-send", "x-own: kept"),
            ];
            let told = world.text(shop, "/fetch", &forged).await;
            assert!(told.starts_with("status 200\n"), "{told}");
            let lines =
                |begins: &str| told.lines().filter(|line| line.starts_with(begins)).collect::<Vec<_>>();
            assert_eq!(lines("skiff-caller:"), [format!("skiff-caller: default/shop; task={shop}")]);
            assert_eq!(lines("skiff-hops:"), ["skiff-hops: 1"]);
            assert_eq!(lines("x-own:"), ["x-own: kept"]);
            assert!(told.contains("Stock.default.internal"), "{told}");
        }
    });
}

#[test]
fn a_task_is_called_by_its_own_name_ready_or_not() {
    on_one_thread(async {
        let (world, shop, stock) = pair(PAIRS[0]);
        world.set_ready(stock, false);
        let told = fetch(&world, shop, &format!("http://{stock}.task.internal/"), "").await;
        assert_eq!(told, "status 200\n\nmisbehave\n");
    });
}

#[test]
fn what_has_no_name_or_no_task_is_told_apart() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            world.set_ready(stock, false);
            for (url, expected) in [
                ("http://nobody.default.internal/", "NXDOMAIN"),
                ("http://stock.internal/", "NXDOMAIN"),
                ("http://0193f0c5c00070008000000000000001.task.internal/", "NXDOMAIN"),
                ("http://stock.default.internal/", "DestinationUnavailable"),
                // An `http` task listens on nothing.
                ("http://shop.default.internal:8080/", "ConnectionRefused"),
                ("https://shop.default.internal/", "ConnectionRefused"),
            ] {
                let told = fetch(&world, shop, url, "").await;
                assert!(told.starts_with("error:") && told.contains(expected), "{url}: {told}");
            }
            let told = fetch(&world, shop, "http://shop.default.internal/", "method=CONNECT").await;
            assert!(told.contains("HttpRequestMethodInvalid"), "{told}");
        }
    });
}

#[test]
fn a_service_that_sleeps_is_woken_by_a_call_and_answers_it() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            world.sleep(stock);
            // No connection wakes it.
            let told = fetch(&world, shop, "http://stock.default.internal:8080/", "").await;
            assert!(told.contains("DestinationUnavailable"), "{told}");
            for _ in 0..2 {
                assert_eq!(ask_stock(&world, shop, "/", "").await, "status 200\n\nmisbehave\n");
            }
        }
    });
}

#[test]
fn calls_are_spread_over_a_services_tasks() {
    on_one_thread(async {
        let (world, shop, stock) = pair(PAIRS[0]);
        let second = world.run(Guest::Misbehave, "stock", |_| {});
        for _ in 0..40 {
            assert_eq!(ask_stock(&world, shop, "/", "").await, "status 200\n\nmisbehave\n");
        }
        let answers = [stock, second].map(|task| world.slot(task).totals().responses[0]);
        assert!(answers[0] + answers[1] == 40 && answers.iter().all(|&count| count > 3), "{answers:?}");
    });
}

#[test]
fn a_task_that_is_gone_is_passed_over_for_another_of_its_service() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            let gone = world.run(guests.1, "stock", |_| {});
            // The network learns of it later.
            world.sandboxes.end(gone);
            for _ in 0..20 {
                let told = ask_stock(&world, shop, "/read", "method=POST&body=1000").await;
                assert_eq!(told, "status 200\n\n1000 bytes");
            }
            assert_eq!(world.slot(stock).totals().responses[0], 20);
            world.sandboxes.end(stock);
            let told = ask_stock(&world, shop, "/", "").await;
            assert!(told.contains("DestinationUnavailable"), "{told}");
        }
    });
}

#[test]
fn the_longest_target_that_a_guest_can_name_is_asked_for() {
    on_one_thread(async {
        for guests in PAIRS {
            let world = World::new(&ALL);
            let reused = |task: &mut TaskSpec| task.limits.reuse = Reuse { requests: 10, concurrent: 1 };
            let shop = world.run(guests.0, "shop", reused);
            world.run(guests.1, "stock", reused);
            // With scheme and authority it is longer than what `http` reads in one go.
            let path = format!("/?{}", "x".repeat(65_532));
            assert_eq!(ask_stock(&world, shop, &path, "").await, "status 200\n\nmisbehave\n");
        }
    });
}

#[test]
fn an_answer_that_is_not_read_yet_is_on_the_memory_of_who_asked() {
    const WAITING_BYTES: u64 = 192 << 10;
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            let other = world.run(guests.0, "other", |_| {});
            let memory_bytes = |task| world.slot(task).totals().memory_bytes;
            // One waits for the head of an answer, the other for the rest of one.
            let without_head = ask_stock(&world, other, "/sleep?ms=60000", "");
            let with_head = ask_stock(&world, shop, "/answer/unfinished", "");
            let charged = async {
                until("they were never called", || world.slot(stock).in_flight() == 2).await;
                let is_charged = || memory_bytes(shop) >= memory_bytes(other) + WAITING_BYTES;
                until("what waits is charged to nobody", is_charged).await;
            };
            tokio::select! {
                biased;
                told = without_head => panic!("{told}"),
                told = with_head => panic!("{told}"),
                () = charged => {}
            }
        }
    });
}

#[test]
fn bodies_pass_both_ways_and_are_counted_for_the_called_task() {
    on_one_thread(async {
        const BYTES: u64 = 3 << 20;
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            let told = ask_stock(&world, shop, "/read", &format!("method=POST&body={BYTES}")).await;
            assert_eq!(told, format!("status 200\n\n{BYTES} bytes"));
            let told = ask_stock(&world, shop, "/large?mib=3", "take=bytes").await;
            assert_eq!(told, format!("status 200\n\n{BYTES} bytes"));
            let told = ask_stock(&world, shop, "/status?code=404", "").await;
            assert!(told.starts_with("status 404"), "{told}");
            world.is_at_rest(stock).await;
            let called = world.slot(stock).totals();
            let sent_bytes = format!("{BYTES} bytes").len() as u64 + BYTES + "as asked".len() as u64;
            assert_eq!((called.responses, called.request_duration.count()), ([2, 0, 1, 0], 3));
            assert_eq!((called.received_bytes, called.sent_bytes), (BYTES, sent_bytes));
            let caller = world.slot(shop).totals();
            assert_eq!((caller.net_sent_bytes, caller.net_received_bytes), (BYTES, sent_bytes));
            assert_eq!((called.net_received_bytes, called.net_connections), (BYTES, 3));
        }
    });
}

#[test]
fn a_body_that_is_read_while_it_is_written_is_not_held() {
    on_one_thread(async {
        let (world, shop, stock) = pair(PAIRS[1]);
        let told = ask_stock(&world, shop, "/echo", "method=POST&body=8000000&take=bytes").await;
        assert_eq!(told, "status 200\n\n8000000 bytes");
        let peak_bytes = world.slot(stock).totals().memory_peak_bytes;
        assert!(peak_bytes < 8_000_000, "{peak_bytes} bytes for what only passes through");
    });
}

#[test]
fn trailers_pass_both_ways() {
    on_one_thread(async {
        let world = World::new(&[Guest::FetchP3]);
        let [shop, _] = ["shop", "stock"].map(|service| world.run(Guest::FetchP3, service, |_| {}));
        let told = ask_stock(&world, shop, "/trailers", "method=POST&body=10&trailer=1").await;
        assert_eq!(told, "status 200\n\n10 bytes\nthen x-end: all of it\nthen x-end: all of it");
    });
}

#[test]
fn what_has_no_body_on_any_connection_has_none_in_process() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            assert_eq!(ask_stock(&world, shop, "/", "method=HEAD").await, "status 200\n\n");
            // Also where the task does not answer itself.
            let told = ask_stock(&world, shop, "/panic", "method=HEAD").await;
            assert!(told.starts_with("status 502\n") && told.ends_with("\n\n"), "{told}");
            assert_eq!(ask_stock(&world, shop, "/status?code=304", "").await, "status 304\n\n");
            world.is_at_rest(stock).await;
        }
    });
}

#[test]
fn what_a_task_fails_at_is_answered_in_its_name() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            let told = ask_stock(&world, shop, "/panic", "").await;
            assert!(told.starts_with("status 502\n"), "{told}");
            let told = ask_stock(&world, shop, "/trap-after-head", "").await;
            let broke_off = broke_off(guests.0, &told, "HttpResponseIncomplete");
            // Where the head had not left yet, it is the platform that answers.
            assert!(
                told.starts_with("status 502\n") || told.contains("the first bytes") && broke_off,
                "{told}"
            );
            assert_eq!(world.slot(stock).totals().traps, 2);
        }
    });
}

#[test]
fn the_time_that_a_guest_gives_an_answer_is_kept() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            let told = ask_stock(&world, shop, "/sleep?ms=60000", "first_ms=50").await;
            assert!(told.contains("ConnectionReadTimeout"), "{told}");
            let told = ask_stock(&world, shop, "/answer/unfinished", "between_ms=50").await;
            assert!(told.contains("the first bytes"), "{told}");
            assert!(broke_off(guests.0, &told, "ConnectionReadTimeout"), "{told}");
            world.is_at_rest(stock).await;
        }
    });
}

#[test]
fn whoever_leaves_takes_the_called_guest_with_it() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            let told = ask_stock(&world, shop, "/answer/endless", "take=head").await;
            assert!(told.starts_with("status 200"), "{told}");
            world.is_at_rest(stock).await;
            // Before there is an answer.
            let url = [("x-url", "http://stock.default.internal/sleep?ms=60000")];
            {
                let asking = world.ask(shop, "/fetch", &url);
                let called = until("it was never called", || world.slot(stock).in_flight() == 1);
                tokio::select! {
                    biased;
                    answer = asking => panic!("{:?}", answer.map(|answer| answer.status())),
                    () = called => {}
                }
            }
            world.is_at_rest(shop).await;
            world.is_at_rest(stock).await;
        }
    });
}

#[test]
fn the_called_tasks_cpu_time_is_its_own() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = pair(guests);
            assert!(ask_stock(&world, shop, "/spin?ms=400", "").await.contains("rounds"));
            let [caller_ms, called_ms] =
                [shop, stock].map(|task| world.slot(task).totals().cpu_ns / 1_000_000);
            // The guest runs for so long by the clock; what else this machine does then is not its time.
            assert!(called_ms > 2 * caller_ms, "{caller_ms} ms of the caller, {called_ms} ms of the called");
            assert!(world.sandboxes.guest_cpu_ns() / 1_000_000 <= caller_ms + called_ms + 2);
        }
    });
}

#[test]
fn a_task_that_calls_itself_at_its_limit_gets_an_answer() {
    on_one_thread(async {
        for (guest, _) in PAIRS {
            let world = World::new(&ALL);
            let busy = world.run(guest, "busy", |task| (task.limits.concurrency, task.limits.queue) = (1, 0));
            let told = fetch(&world, busy, "http://busy.default.internal/", "").await;
            assert!(told.starts_with("status 503\n") && told.contains("retry-after: 1"), "{told}");

            let waits = world.run(guest, "waits", |task| {
                (task.limits.concurrency, task.limits.queue) = (1, 1);
                task.limits.timeout = Span::from_ms(300);
            });
            let url = [("x-url", "http://waits.default.internal/")];
            let answer = world.ask(waits, "/fetch", &url).await.map(|answer| answer.status());
            // Whichever time is up first: that of who waits for itself, or that of what it waits for.
            let is_over = match &answer {
                Ok(status) => *status == 200,
                Err(error) => *error == InvokeError::TimedOut { limit_ms: 300 },
            };
            assert!(is_over, "{answer:?}");
            world.is_at_rest(waits).await;
        }
    });
}

#[test]
fn a_circle_of_calls_ends() {
    on_one_thread(async {
        for (guest, _) in PAIRS {
            let world = World::new(&ALL);
            let task = world.run(guest, "circle", |_| {});
            let told = fetch(&world, task, "http://circle.default.internal/fetch?relay=1", "relay=1").await;
            assert!(told.contains("LoopDetected"), "{told}");
            assert_eq!(told.matches("status 200").count(), 16);
            world.is_at_rest(task).await;
        }
    });
}

#[test]
fn what_is_sent_is_not_held_for_who_sent_it() {
    on_one_thread(async {
        for guests in PAIRS {
            let world = World::new(&ALL);
            let shop = world.run(guests.0, "shop", |task| {
                task.limits.reuse = Reuse { requests: 1_000, concurrent: 1 };
                task.limits.memory = "32MiB".parse().expect("a size");
            });
            world.run(guests.1, "stock", |_| {});
            for _ in 0..40 {
                let told = ask_stock(&world, shop, "/read", "method=POST&body=1000000").await;
                assert_eq!(told, "status 200\n\n1000000 bytes");
            }
            let totals = world.slot(shop).totals();
            assert_eq!(totals.out_of_memory, 0);
            assert!(totals.sandboxes_drawn < 10, "{} sandboxes for 40 requests", totals.sandboxes_drawn);
        }
    });
}

#[test]
fn heads_of_answers_are_not_held_for_who_asked() {
    on_one_thread(async {
        for guests in PAIRS {
            let world = World::new(&ALL);
            let shop = world.run(guests.0, "shop", |task| {
                task.limits.reuse = Reuse { requests: 1_000, concurrent: 1 };
                task.limits.memory = "32MiB".parse().expect("a size");
            });
            world.run(guests.1, "stock", |_| {});
            // Of 20,000 bytes each.
            let often = [("x-url", "http://stock.default.internal/answer/large-head"); 50];
            for _ in 0..40 {
                let told = world.text(shop, "/fetch", &often).await;
                assert_eq!(told.matches("status 200").count(), often.len());
            }
            let totals = world.slot(shop).totals();
            assert_eq!(totals.out_of_memory, 0);
            assert!(totals.sandboxes_drawn < 10, "{} sandboxes for 40 requests", totals.sandboxes_drawn);
        }
    });
}

/// A world with `shop` in the group `default` and `stock` in the group `stock`.
fn in_two_groups(guests: (Guest, Guest)) -> (World, TaskId, TaskId) {
    let world = World::new(&ALL);
    world.set_rules("stock", Rule::defaults());
    let shop = world.run(guests.0, "shop", |_| {});
    let stock = world.run_in(guests.1, "stock", &["stock"], |_| {});
    (world, shop, stock)
}

/// Lets `shop` call `stock`.
fn let_call(world: &World) {
    world.allow(&["tcp:80 to stock"]);
    let more = "tcp:80 from default".parse().expect("a rule");
    world.set_rules("stock", Rule::defaults().into_iter().chain([more]).collect());
}

#[test]
fn what_no_rule_allows_is_denied_and_the_log_says_once_which_is_missing() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = in_two_groups(guests);
            for _ in 0..3 {
                let told = ask_stock(&world, shop, "/", "").await;
                assert!(told.contains("HttpRequestDenied"), "{told}");
            }
            let remarks = world.lines(shop, LogStream::Skiff);
            assert!(remarks.len() == 1 && remarks[0].contains("skiff sg allow"), "{remarks:?}");
            assert_eq!(world.slot(stock).totals().sandboxes_drawn, 0);
            let_call(&world);
            assert_eq!(ask_stock(&world, shop, "/", "").await, "status 200\n\nmisbehave\n");
        }
    });
}

#[test]
fn a_call_that_is_not_allowed_any_more_is_cut() {
    on_one_thread(async {
        for guests in PAIRS {
            let (world, shop, stock) = in_two_groups(guests);
            let_call(&world);
            let asking = ask_stock(&world, shop, "/drip?chunks=100000&ms=1", "take=bytes");
            let cutting = async {
                until("it was never called", || world.slot(stock).totals().net_sent_bytes > 0).await;
                world.allow(&[]);
            };
            let (told, ()) = futures::join!(asking, cutting);
            assert!(told.starts_with("status 200"), "{told}");
            assert!(broke_off(guests.0, &told, "ConnectionTerminated"), "{told}");
            world.is_at_rest(stock).await;
        }
    });
}

/// A program that answers HTTP on a port; the heads that it was sent, and how many connections it took.
fn answers_on(interface: &Interface, port: u16) -> (Rc<RefCell<Vec<String>>>, Rc<RefCell<usize>>) {
    let bound = interface.bind(Transport::Tcp, ([0, 0, 0, 0], port).into()).expect("a free port");
    let listener = interface.listen(bound, 16).expect("it listens");
    let (heads, connections) = (Rc::<RefCell<Vec<String>>>::default(), Rc::<RefCell<usize>>::default());
    tokio::task::spawn_local(accept(listener, heads.clone(), connections.clone()));
    (heads, connections)
}

async fn accept(listener: Listener, heads: Rc<RefCell<Vec<String>>>, connections: Rc<RefCell<usize>>) {
    while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
        *connections.borrow_mut() += 1;
        tokio::task::spawn_local(answer(stream, heads.clone()));
    }
}

async fn answer(stream: Stream, heads: Rc<RefCell<Vec<String>>>) {
    let mut received = Vec::new();
    loop {
        let bytes = poll_fn(|cx| stream.poll_read(cx, 4_096)).await.unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        received.extend_from_slice(&bytes);
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            heads.borrow_mut().push(String::from_utf8_lossy(&received[..end]).into_owned());
            received.drain(..end + 4);
            poll_fn(|cx| stream.poll_writable(cx)).await.expect("it may be written");
            stream
                .write(Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"))
                .expect("there is room");
        }
    }
}

#[test]
fn what_a_program_listens_on_is_asked_over_a_stream_which_is_kept() {
    on_one_thread(async {
        for (guest, _) in PAIRS {
            let world = World::new(&ALL);
            let shop = world.run(guest, "shop", |_| {});
            let (_, interface) = world.play("daemon");
            let (heads, connections) = answers_on(&interface, 8080);
            let url = "http://daemon.default.internal:8080/what?now";
            let forged = [("x-url", url), ("x-url", url), ("x-send", "skiff-caller: default/admin; task=0")];
            let told = world.text(shop, "/fetch", &forged).await;
            assert_eq!(told.matches("yes").count(), 2, "{told}");
            assert_eq!(fetch(&world, shop, url, "").await.matches("yes").count(), 1);
            assert_eq!(*connections.borrow(), 1, "the connection was not kept");
            let heads = heads.borrow();
            assert!(heads[0].starts_with("GET /what?now HTTP/1.1\r\n"), "{}", heads[0]);
            assert!(heads[0].contains("host: daemon.default.internal:8080"), "{}", heads[0]);
            // Who else connects to the program could say it too.
            assert!(heads.iter().all(|head| !head.contains("skiff-")), "{heads:?}");
        }
    });
}
