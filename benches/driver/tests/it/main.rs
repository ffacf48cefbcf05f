//! The driver against servers that behave in known ways. Bounds are on counts and on what time alone makes true.

mod server;

use server::{Behaviour, Server};
use skiff_driver::{Load, Outcome, Pace, run};
use std::time::Duration;

fn load(server: &Server, pace: Pace) -> Load {
    Load {
        target: server.address,
        path: "/".to_owned(),
        hosts: vec!["a.example".to_owned(), "b.example".to_owned()],
        connections: 4,
        pace,
        duration: Duration::from_secs(60),
        requests_max: Some(200),
        grace: Duration::from_secs(60),
    }
}

fn saturate(behaviour: Behaviour) -> (Outcome, Server) {
    let server = Server::start(behaviour);
    (run(&load(&server, Pace::Saturate)).unwrap(), server)
}

#[test]
fn a_closed_loop_sends_what_it_is_to_and_takes_the_hosts_in_turn() {
    let (outcome, server) = saturate(Behaviour::Answer);
    assert_eq!((outcome.due, outcome.sent, outcome.answered), (200, 200, 200), "{outcome}");
    assert_eq!(outcome.errors.total(), 0, "{outcome}");
    assert!(outcome.latency.p50_us > 0.0 && outcome.latency.p50_us <= outcome.latency.max_us);
    assert_eq!(server.requests_by_host(), [("a.example".into(), 100), ("b.example".into(), 100)].into());
}

#[test]
fn an_open_loop_does_not_end_before_its_last_request_is_due() {
    for pace in [Pace::Constant { per_second: 1_000.0 }, Pace::Poisson { per_second: 1_000.0, seed: 3 }] {
        let server = Server::start(Behaviour::Answer);
        let outcome = run(&load(&server, pace)).unwrap();
        assert_eq!((outcome.due, outcome.answered), (200, 200), "{outcome}");
        assert!(outcome.seconds > 0.1, "{outcome}");
    }
}

#[test]
fn a_server_that_stalls_is_charged_for_every_request_that_was_due_meanwhile() {
    let server = Server::start(Behaviour::StallOnce(Duration::from_millis(500)));
    let pace = Pace::Constant { per_second: 1_000.0 };
    let outcome = run(&Load { connections: 1, requests_max: Some(400), ..load(&server, pace) }).unwrap();
    assert_eq!(outcome.answered, 400, "{outcome}");
    // The request at 0 ms waits for 500 ms, that at 399 ms for 101 ms at least: a closed loop would have seen one
    // slow request.
    let least_us = outcome.latency.points[0].us;
    assert!(least_us >= 100_000.0, "{outcome}");
    assert!(outcome.latency.p50_us >= 300_000.0 - 1_000.0, "{outcome}");
}

#[test]
fn what_is_never_answered_is_counted_with_the_time_it_waited() {
    let server = Server::start(Behaviour::Silent);
    let pace = Pace::Constant { per_second: 1_000.0 };
    let short = Load {
        duration: Duration::from_millis(50),
        grace: Duration::from_millis(50),
        requests_max: None,
        ..load(&server, pace)
    };
    let outcome = run(&short).unwrap();
    assert_eq!((outcome.due, outcome.sent, outcome.answered), (50, 4, 0), "{outcome}");
    assert_eq!(outcome.errors.unanswered, 50, "{outcome}");
    assert!(outcome.latency.points[0].us >= 50_000.0, "{outcome}");
}

#[test]
fn errors_are_counted_by_kind() {
    let (outcome, _) = saturate(Behaviour::Status(503));
    assert_eq!((outcome.answered, outcome.errors.status[&503]), (0, 200), "{outcome}");
    let (outcome, _) = saturate(Behaviour::Garbage);
    assert_eq!((outcome.answered, outcome.errors.malformed), (0, 200), "{outcome}");
    let (outcome, _) = saturate(Behaviour::CloseWithoutAnswer);
    assert_eq!((outcome.answered, outcome.errors.closed), (0, 200), "{outcome}");
}

#[test]
fn a_connection_that_the_server_closes_is_opened_again() {
    let (outcome, _) = saturate(Behaviour::AnswerAndClose);
    assert_eq!((outcome.answered, outcome.errors.total()), (200, 0), "{outcome}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let server = Server::start(Behaviour::Answer);
    let nobody = Load { target: ([127, 0, 0, 1], 1).into(), ..load(&server, Pace::Saturate) };
    assert!(run(&nobody).unwrap_err().to_string().contains("127.0.0.1:1"));
}
