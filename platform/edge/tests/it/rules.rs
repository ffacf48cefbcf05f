//! Rules of the built-in listener: which requests they take, and what they do with them.

use crate::support::*;
use crate::told::*;
use http::Response;
use skiff_ports::body;
use skiff_types::{Action, Algorithm, ListenerProtocol, Redirect, RedirectStatus, Targets};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Method, target, host, further headers.
type Asked = (&'static str, &'static str, &'static str, &'static str);

async fn ask(bench: &Bench, (method, target, host, headers): Asked) -> String {
    bench.raw(&asking(method, target, host, headers)).await
}

#[track_caller]
fn check_refusal(raw: &str, status: u16, code: &str, message: &str) {
    let (found_status, found_code, found_message) = refusal(raw);
    assert_eq!((found_status, found_code.as_str()), (status, code), "{raw}");
    assert!(found_message.contains(message), "{found_message:?} does not say {message:?}");
}

/// A task that says which one it is: the slot's number.
fn naming() -> Rc<dyn skiff_ports::invoke::Invoke> {
    task(|id, _| async move {
        let slot = (3..6).find(|&slot| task_id(slot) == id).unwrap();
        Ok(Response::new(body::full(slot.to_string())))
    })
}

#[test]
fn each_kind_of_condition_takes_what_it_asks_for_and_leaves_the_rest_to_services() {
    run(async {
        const HELLO: &str = "hello.localhost";
        let cases: [(&str, Asked, Asked); 8] = [
            ("host=*.example.com", ("GET", "/", "a.EXAMPLE.com:80", ""), ("GET", "/", HELLO, "")),
            ("path=/api/*", ("GET", "/api/", HELLO, ""), ("GET", "/API/", HELLO, "")),
            (
                "header:x-tenant=blue*",
                ("GET", "/", HELLO, "X-Tenant: red\r\nX-Tenant: BLUEish\r\n"),
                ("GET", "/", HELLO, "X-Tenant: red\r\n"),
            ),
            ("header:host=*:99", ("GET", "/", "hello.localhost:99", ""), ("GET", "/", HELLO, "")),
            ("method=POST,PUT", ("PUT", "/", HELLO, ""), ("GET", "/", HELLO, "")),
            ("query:version=2", ("GET", "/?a=b&version=2", HELLO, ""), ("GET", "/?version=3", HELLO, "")),
            ("query=beta", ("GET", "/?x=Beta", HELLO, ""), ("GET", "/?beta=x", HELLO, "")),
            ("source=127.0.0.0/8", ("GET", "/", HELLO, ""), ("GET", "/", HELLO, "")),
        ];
        let bench = Bench::new(says("the service"));
        for (condition, taken, left) in cases {
            bench.edge.balance(&rule("only", 7, &[condition], respond(218, "the rule")));
            assert_eq!(answer(&ask(&bench, taken).await), (218, "the rule"), "{condition}: {taken:?}");
            if condition.starts_with("source") {
                bench.edge.balance(&rule("only", 7, &["source=10.0.0.0/8"], respond(218, "the rule")));
            }
            assert_eq!(answer(&ask(&bench, left).await), (200, "the service"), "{condition}: {left:?}");
        }
    });
}

#[test]
fn the_first_rule_whose_conditions_all_hold_has_the_request() {
    run(async {
        let bench = Bench::new(says("the service"));
        let both = ["path=/a*", "method=GET"];
        bench.edge.balance(&rule("late", 20, &["path=/a*"], respond(200, "late")));
        bench.edge.balance(&rule("early", 10, &both, respond(200, "early")));
        let says = async |method, target| {
            let raw = ask(&bench, (method, target, "hello.localhost", "")).await;
            answer(&raw).1.to_owned()
        };
        assert_eq!(says("GET", "/a").await, "early");
        assert_eq!(says("DELETE", "/a").await, "late");
        assert_eq!(says("GET", "/b").await, "the service");
        bench.edge.balance(&rule("early", 30, &both, respond(200, "early")));
        assert_eq!(says("GET", "/a").await, "late");
        bench.edge.balance(&no_rule("late"));
        assert_eq!(says("GET", "/a").await, "early");
        bench.edge.balance(&no_rule("early"));
        assert_eq!(says("GET", "/a").await, "the service");
    });
}

#[test]
fn a_path_is_compared_and_passed_on_as_it_was_written() {
    run(async {
        let bench = Bench::new(echo());
        bench.edge.balance(&rule("closed", 7, &["path=/admin,/admin/*"], respond(403, "closed")));
        for target in ["/admin", "/admin?a", "/admin/x"] {
            assert_eq!(answer(&ask(&bench, ("GET", target, "hello.localhost", "")).await), (403, "closed"));
        }
        // A target may take each of these for `/admin`: what is said of that in README is so.
        for target in ["//admin", "/./admin", "/a/../admin", "/%61dmin", "/admin%2Fx", "/Admin"] {
            let raw = ask(&bench, ("GET", target, "hello.localhost", "")).await;
            assert_eq!(answer(&raw).0, 200, "{target}: {raw}");
            let saw = raw.lines().find_map(|line| line.strip_prefix("saw-uri: "));
            assert!(saw.is_some_and(|uri| uri.ends_with(target)), "{target}: {raw}");
        }
    });
}

#[test]
fn rules_see_the_same_of_a_request_by_http2() {
    run(async {
        let bench = Bench::new(says("the service"));
        bench.edge.balance(&rule("one", 1, &["header:cookie=a=1; b=2"], respond(200, "both crumbs")));
        bench.edge.balance(&rule("two", 2, &["header:host=hello.*"], respond(200, "the host")));
        let mut client = bench.http2().await;
        let mut request = get();
        request.headers_mut().remove("host");
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        assert_eq!(text(client.send_request(request).await.unwrap()).await, "both crumbs");
        let mut request = get();
        request.headers_mut().remove("host");
        assert_eq!(text(client.send_request(request).await.unwrap()).await, "the host");
    });
}

#[test]
fn a_redirection_takes_over_what_it_names() {
    run(async {
        let bench = Bench::new(says("the service"));
        let port = bench.address.port();
        let location = async |method: &'static str| {
            let raw = ask(&bench, (method, "/a/b?c=d", "Hello.localhost:1", "")).await;
            let (status, body) = answer(&raw);
            assert_eq!(body, "", "{raw}");
            let line = raw.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().to_owned();
            (status, line)
        };
        let everything = "https://#{host}:443/#{path}?#{query}&from=#{protocol}:#{port}";
        bench.edge.balance(&rule("only", 7, &["path=/a*"], redirect(everything)));
        let expected = format!("https://hello.localhost:443/a/b?c=d&from=http:{port}");
        assert_eq!(location("GET").await, (301, expected.clone()));
        assert_eq!(location("HEAD").await, (301, expected));
        let found = Redirect { status: RedirectStatus::Found, .."/new?".parse().unwrap() };
        bench.edge.balance(&rule("only", 7, &["path=/a*"], Action::Redirect(found)));
        assert_eq!(location("POST").await, (302, format!("http://hello.localhost:{port}/new")));
        let raw = bench.raw("GET /a HTTP/1.0\r\n\r\n").await;
        check_refusal(&raw, 400, "bad_request", "it names no host");
        let lines = bench.wait_for_lines(4).await;
        assert_eq!((&lines[0]["status"], &lines[0]["path"]), (&301.into(), &"/a/b?c=d".into()));
        let null = serde_json::Value::Null;
        assert_eq!([&lines[0]["service"], &lines[0]["task"], &lines[0]["error"]], [&null; 3]);
        assert_eq!(bench.ledger.worker(0).platform_requests.get(), 4);
    });
}

#[test]
fn a_fixed_response_is_the_load_balancers_and_leaves_a_body_unread() {
    run(async {
        let bench = Bench::new(says("the service"));
        bench.edge.balance(&rule("only", 7, &["path=/closed"], respond(503, "back at nine")));
        let raw = ask(&bench, ("POST", "/closed", "nobody", "Content-Length: 1000000\r\n")).await;
        assert_eq!(answer(&raw), (503, "back at nine"));
        for line in ["content-type: text/plain", "content-length: 12"] {
            assert!(raw.contains(&format!("{line}\r\n")), "{line:?} is not in {raw}");
        }
        assert!(raw.contains("x-request-id: "), "{raw}");
        let raw = ask(&bench, ("HEAD", "/closed", "nobody", "")).await;
        assert_eq!(answer(&raw), (503, ""));
        assert!(raw.contains("content-length: 12\r\n"), "{raw}");
        bench.edge.balance(&rule("only", 7, &["path=/closed"], respond(204, "nothing of this")));
        assert_eq!(answer(&ask(&bench, ("GET", "/closed", "nobody", "")).await), (204, ""));
        let lines = bench.wait_for_lines(3).await;
        assert_eq!((&lines[0]["status"], &lines[0]["bytes_out"]), (&503.into(), &12.into()));
        assert!(lines[0]["service"].is_null() && lines[0]["error"].is_null(), "{lines:?}");
    });
}

#[test]
fn weights_say_how_often_a_target_group_is_chosen() {
    run(async {
        let bench = Bench::new(naming());
        let mut client = bench.http1().await;
        let mut counts = async |groups: &[&str], requests: usize| {
            bench.edge.balance(&rule("only", 7, &["path=/*"], forward(groups)));
            let mut counts = [0; 2];
            for _ in 0..requests {
                client.ready().await.unwrap();
                let of_hello = text(client.send_request(get()).await.unwrap()).await == "3";
                counts[usize::from(!of_hello)] += 1;
            }
            counts
        };
        assert_eq!(counts(&["hello"], 5).await, [5, 0]);
        assert_eq!(counts(&["hello=0", "pair=1"], 20).await, [0, 20]);
        // 40 of the other are expected, give or take 6.
        let [of_hello, of_pair] = counts(&["hello=90", "pair=10"], 400).await;
        assert!((5..=80).contains(&of_pair) && of_hello + of_pair == 400, "{of_hello} and {of_pair}");
        for groups in [&["hello=0"][..], &["hello=0", "pair=0"]] {
            bench.edge.balance(&rule("only", 7, &["path=/*"], forward(groups)));
            let raw = ask(&bench, ("GET", "/", "hello.localhost", "")).await;
            check_refusal(&raw, 503, "no_target", "weight 0");
        }
    });
}

#[test]
fn a_service_is_a_target_group_and_a_target_group_of_its_name_goes_before_it() {
    run(async {
        let bench = Bench::new(naming());
        let says = async || {
            let raw = ask(&bench, ("GET", "/", "nobody", "")).await;
            answer(&raw).1.to_owned()
        };
        let refused = async |message| {
            check_refusal(&ask(&bench, ("GET", "/", "nobody", "")).await, 503, "no_target", message);
        };
        bench.edge.balance(&rule("only", 7, &["path=/*"], forward(&["hello"])));
        assert_eq!(says().await, "3");
        let pair = Targets::Service("default/pair".parse().unwrap());
        bench.edge.balance(&group("hello", pair, Algorithm::RoundRobin));
        assert_eq!([says().await, says().await, says().await, says().await], ["4", "5", "4", "5"]);
        let line = &bench.wait_for_lines(5).await[4];
        assert_eq!(line["service"], "default/pair");
        assert_eq!(line["task"], task_id(5).to_string());
        bench.edge.balance(&no_group("hello"));
        assert_eq!(says().await, "3");
        bench.edge.route(&[], &["default/hello".parse().unwrap()]);
        refused("no target group and no service is named default/hello").await;
        bench.edge.balance(&rule("only", 7, &["path=/*"], forward(&["empty"])));
        refused("default/empty has no task").await;
        let nobody = Targets::Service("default/nobody".parse().unwrap());
        bench.edge.balance(&group("empty", nobody, Algorithm::RoundRobin));
        refused("default/nobody").await;
    });
}

#[test]
fn the_built_in_listener_can_be_told_otherwise_and_goes_back() {
    run(async {
        let bench = Bench::new(says("the service"));
        let hello: Asked = ("GET", "/", "hello.localhost", "");
        let nobody: Asked = ("GET", "/", "nobody", "");
        let told = listener("http", ListenerProtocol::Http, 1, respond(418, "else"));
        bench.edge.balance(&told);
        assert_eq!(answer(&ask(&bench, hello).await), (418, "else"), "services do not count");
        let mut with_services = told.clone();
        Arc::make_mut(&mut with_services.listeners[0]).services = true;
        bench.edge.balance(&with_services);
        assert_eq!(answer(&ask(&bench, hello).await), (200, "the service"));
        assert_eq!(answer(&ask(&bench, nobody).await), (418, "else"));
        bench.edge.balance(&no_listener("http"));
        assert_eq!(answer(&ask(&bench, hello).await), (200, "the service"));
        check_refusal(&ask(&bench, nobody).await, 404, "no_route", "nobody");
    });
}

#[test]
fn a_change_fails_no_request_in_flight() {
    run(async {
        let (asked, go_on) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let (count, wait) = (asked.clone(), go_on.clone());
        let bench = Bench::new(task(move |_, _| {
            count.set(count.get() + 1);
            let wait = wait.clone();
            async move {
                wait.notified().await;
                Ok(Response::new(body::full("at last")))
            }
        }));
        let pair = Targets::Service("default/pair".parse().unwrap());
        bench.edge.balance(&group("both", pair, Algorithm::RoundRobin));
        bench.edge.balance(&rule("only", 7, &["path=/*"], forward(&["both"])));
        let request = asking("GET", "/", "nobody", "");
        let in_flight = bench.raw(&request);
        let changed = async {
            eventually("it is asked", || asked.get() == 1).await;
            bench.edge.balance(&rule("only", 7, &["path=/*"], respond(410, "gone")));
            assert_eq!(answer(&ask(&bench, ("GET", "/", "nobody", "")).await), (410, "gone"));
            bench.edge.balance(&no_rule("only"));
            bench.edge.balance(&no_group("both"));
            check_refusal(&ask(&bench, ("GET", "/", "nobody", "")).await, 404, "no_route", "nobody");
            go_on.notify_one();
        };
        assert_eq!(answer(&tokio::join!(in_flight, changed).0), (200, "at last"));
    });
}

#[test]
fn ten_thousand_rules_come_and_go() {
    run(async {
        let bench = Bench::new(says("the service"));
        for number in 1..=10_000 {
            let condition = format!("path=/{number}/*");
            let action = respond(200, &number.to_string());
            bench.edge.balance(&rule(&format!("r{number}"), number, &[condition.as_str()], action));
        }
        for number in ["1", "77", "10000"] {
            let raw = bench.raw(&asking("GET", &format!("/{number}/x"), "hello.localhost", "")).await;
            assert_eq!(answer(&raw), (200, number));
        }
        for number in 1..=10_000 {
            bench.edge.balance(&no_rule(&format!("r{number}")));
        }
        let raw = ask(&bench, ("GET", "/77/x", "hello.localhost", "")).await;
        assert_eq!(answer(&raw), (200, "the service"));
    });
}
