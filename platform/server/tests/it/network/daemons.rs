//! Daemons: their health, what leads to them, how they begin again, and how they end.

use super::resp::{Answer, Client};
use super::{free_port, is_shown, run, run_detached, servers, shown};
use crate::harness::{PATIENCE, Platform, eventually, guest_path};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// So that nobody has to wait for a check that is to fail.
const QUICKLY: [&str; 6] =
    ["--health-interval", "300ms", "--health-timeout", "1s", "--health-start-period", "300ms"];
/// What makes a daemon of `http-daemon`.
const PORT: [&str; 2] = ["--port", "8080"];

/// A connection to `http-daemon` that was upgraded to a WebSocket, through the load balancer.
struct Chat(TcpStream);

impl Chat {
    fn open(platform: &Platform, service: &str) -> Self {
        let mut stream = TcpStream::connect(&platform.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The example of RFC 6455, section 1.3.
        let request = format!(
            "GET /chat HTTP/1.1\r\nhost: {service}.localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {head:?}"));
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    /// Sends a short text, and reads the one that comes back (RFC 6455, section 5.2).
    fn say(&mut self, text: &str) -> io::Result<String> {
        const WHOLE_TEXT: u8 = 0x81;
        const MASKED: u8 = 0x80;
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
        // A mask of zeros changes nothing.
        let frame = [&[WHOLE_TEXT, MASKED | length, 0, 0, 0, 0], text.as_bytes()].concat();
        self.0.write_all(&frame)?;
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let mut answer = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut answer)?;
        String::from_utf8(answer).map_err(io::Error::other)
    }
}

#[tokio::test]
async fn an_ordinary_server_answers_through_the_load_balancer_once_it_listens() {
    for workers in ["1", "2"] {
        let platform = Platform::start(&["--workers", workers]);
        platform.deploy("http-daemon", "app", &[&PORT[..], &["--desired", "2"]].concat());
        let tasks = platform.json(&["task", "ls", "--service", "app"]);
        let healths: Vec<&Value> = tasks.as_array().unwrap().iter().map(|task| &task["health"]).collect();
        assert_eq!(healths, ["HEALTHY", "HEALTHY"], "{tasks}");

        // Each of the two counts its own visitors, and goes on with that.
        let mut numbers = Vec::new();
        for _ in 0..20 {
            let answer = platform.get("app", "/").await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let number = answer.text.trim_end().trim_end_matches('!').rsplit(' ').next().unwrap();
            numbers.push(number.parse::<u32>().unwrap());
        }
        assert!(numbers.iter().max().unwrap() >= &10, "{numbers:?}");

        let answer = platform.post("app", "/echo", vec![b'x'; 1 << 20]).await;
        assert_eq!((answer.status, answer.text.len()), (200, 1 << 20));
        let answer = platform.get("app", "/headers").await;
        assert!(answer.text.contains("x-forwarded-for: 127.0.0.1"), "{}", answer.text);
        assert!(answer.text.contains("host: app.localhost"), "{}", answer.text);
        assert_eq!(platform.get("app", "/nothing").await.status, 404);
        assert_eq!(platform.get("app", "/wait/50").await.text, "waited 50 ms\n");
    }
}

#[test]
fn a_connection_is_upgraded_on_its_way_through_the_load_balancer() {
    for workers in ["1", "2"] {
        let platform = Platform::start(&["--workers", workers]);
        platform.deploy("http-daemon", "app", &[&PORT[..], &["--desired", "2"]].concat());
        let mut chats: Vec<Chat> = (0..8).map(|_| Chat::open(&platform, "app")).collect();
        for text in ["hello", "", "and again"] {
            for chat in &mut chats {
                assert_eq!(chat.say(text).unwrap(), text);
            }
        }
    }
}

#[test]
fn what_can_not_be_a_daemon_is_refused() {
    let platform = Platform::start(&[]);
    let hello = guest_path("hello");
    let said = platform.fails(&["deploy", hello.to_str().unwrap(), "--name", "hello", "--port", "8080"]);
    assert!(said.contains("port"), "{said}");
}

#[tokio::test]
async fn nothing_leads_to_a_daemon_that_does_not_listen_and_a_service_starts_another() {
    let platform = Platform::start(&[]);
    let deaf = ["--env", "SCRIPT=echo 7000", "--port", "7001", "--no-wait"];
    platform.deploy("sockets", "deaf", &[&deaf[..], &QUICKLY].concat());
    eventually("one was stopped because it is unhealthy", || {
        let tasks = platform.json(&["task", "ls", "--service", "deaf", "--status", "STOPPED"]);
        let mut codes = tasks.as_array().unwrap().iter().map(|task| task["stop_code"].clone());
        codes.any(|code| code == "Unhealthy").then_some(())
    });
    eventually("another was started, and is no better", || {
        let service = platform.json(&["service", "show", "deaf"]);
        assert_eq!(service["status"]["ready"], 0, "{service}");
        (service["status"]["restarts"].as_u64() >= Some(1)).then_some(())
    });
    eventually("its name leads nowhere while there is a task", || {
        let said = run(&platform, "sockets", &[], &["resolve", "deaf.default.internal"]);
        (said == ["failed: temporary-resolver-failure"]).then_some(())
    });
    assert_eq!(platform.get("deaf", "/").await.status, 503);
}

#[test]
fn a_task_of_its_own_only_shows_that_it_is_unhealthy() {
    let platform = Platform::start(&[]);
    let arguments = [&["--port", "7001"][..], &QUICKLY].concat();
    let id = run_detached(&platform, "sockets", &arguments, &["echo", "7000"]);
    let task = is_shown(&platform, &id, "health", "UNHEALTHY");
    assert_eq!(task["status"], "RUNNING", "{task}");
    assert_ne!(task["health_reason"], Value::Null, "{task}");
    platform.ok(&["task", "stop", &id]);
    is_shown(&platform, &id, "status", "STOPPED");
}

#[test]
fn a_program_that_fails_is_started_again_as_the_same_task() {
    let platform = Platform::start(&[]);
    let id = run_detached(&platform, "misbehave-job", &["--restart", "on-failure"], &["exit", "7"]);
    let address = shown(&platform, &id)["ipv4"].clone();
    let task = eventually("it was started again, twice", || {
        Some(shown(&platform, &id)).filter(|task| task["restarts"].as_u64() >= Some(2))
    });
    assert_eq!((&task["ipv4"], &task["last_stop_code"]), (&address, &"Exited".into()), "{task}");
    platform.ok(&["task", "stop", &id]);
    let task = is_shown(&platform, &id, "status", "STOPPED");
    assert_eq!(task["stop_code"], "UserInitiated", "{task}");

    let id = run_detached(&platform, "misbehave-job", &["--restart", "on-failure"], &["exit", "0"]);
    let task = is_shown(&platform, &id, "status", "STOPPED");
    assert_eq!((&task["restarts"], &task["exit_code"]), (&0.into(), &0.into()), "{task}");

    let id = run_detached(&platform, "misbehave-job", &["--restart", "always"], &["exit", "0"]);
    eventually("it is started again all the same", || {
        (shown(&platform, &id)["restarts"].as_u64() >= Some(1)).then_some(())
    });
}

#[test]
fn a_daemon_is_started_again_with_its_platform() {
    let mut platform = Platform::start(&[]);
    let arguments = ["--port", "7000", "--restart", "on-failure"];
    let id = run_detached(&platform, "sockets", &arguments, &["echo", "7000"]);
    let before = is_shown(&platform, &id, "health", "HEALTHY");
    platform.kill();
    let platform = platform.restart();
    let after = eventually("it is started again, and is healthy", || {
        Some(shown(&platform, &id)).filter(|task| task["restarts"] == 1 && task["health"] == "HEALTHY")
    });
    assert_eq!((&after["ipv4"], &after["ipv6"]), (&before["ipv4"], &before["ipv6"]), "{after}");
    let target = format!("{}:7000", after["ipv4"].as_str().unwrap());
    let said = run(&platform, "sockets-p3", &[], &["send", &target, "hello"]);
    assert_eq!(said.last().unwrap(), "ended", "{said:?}");
}

#[test]
fn a_platform_that_is_told_to_stop_takes_its_daemons_with_it_and_brings_them_back() {
    for workers in ["1", "2"] {
        let mut platform = Platform::start(&["--workers", workers, "--drain-timeout", "3s"]);
        platform.deploy("http-daemon", "app", &PORT);
        let alone = ["--port", "7000", "--restart", "on-failure"];
        let alone = run_detached(&platform, "sockets", &alone, &["echo", "7000"]);
        let before = is_shown(&platform, &alone, "health", "HEALTHY");
        let of_service = servers(&platform, "app").remove(0).id;
        let mut chat = Chat::open(&platform, "app");
        assert_eq!(chat.say("hello").unwrap(), "hello");

        platform.terminate();
        eventually("it is about to stop", || {
            platform.log().contains("finishing what is in flight").then_some(())
        });
        // The daemon's own worker may have nothing else to finish, and stays for the other's sake.
        assert_eq!(chat.say("still there?").unwrap(), "still there?");
        // The client stays, and does not keep it from ending.
        assert_eq!(platform.wait().code(), Some(0));
        chat.say("and now?").expect_err("nobody is there any more");

        let platform = platform.restart();
        let after = eventually("the task is started again, and is healthy", || {
            Some(shown(&platform, &alone)).filter(|task| task["restarts"] == 1 && task["health"] == "HEALTHY")
        });
        assert_eq!((&after["ipv4"], &after["ipv6"]), (&before["ipv4"], &before["ipv6"]), "{after}");
        assert_eq!(after["last_stop_code"], "PlatformStopped", "{after}");
        let target = format!("{}:7000", after["ipv4"].as_str().unwrap());
        let said = run(&platform, "sockets-p3", &[], &["send", &target, "hello"]);
        assert_eq!(said.last().unwrap(), "ended", "{said:?}");

        // A service has another in the place of its task, and holds nothing against it.
        eventually("another task of the service is healthy", || {
            let tasks = platform.json(&["task", "ls", "--service", "app", "--status", "RUNNING"]);
            let mut tasks = tasks.as_array().unwrap().iter();
            tasks.any(|task| task["id"] != *of_service && task["health"] == "HEALTHY").then_some(())
        });
        let ended = shown(&platform, &of_service);
        assert_eq!((&ended["status"], &ended["stop_code"]), (&"STOPPED".into(), &"PlatformStopped".into()));
        assert_eq!(ended["exit_code"], Value::Null, "{ended}");
        assert_eq!(platform.json(&["service", "show", "app"])["status"]["restarts"], 0);
        let url = format!("http://{}/", platform.http);
        let is_reached = || ureq::get(&url).header("host", "app.localhost").call().is_ok();
        eventually("it is reached by all workers", || (0..10).all(|_| is_reached()).then_some(()));
        let mut chat = Chat::open(&platform, "app");
        assert_eq!(chat.say("hello again").unwrap(), "hello again");
    }
}

#[tokio::test]
async fn a_daemon_that_is_to_stop_finishes_what_is_open() {
    let platform = Platform::start(&[]);
    platform.deploy("http-daemon", "app", &PORT);
    let mut chat = Chat::open(&platform, "app");
    let id = servers(&platform, "app").remove(0).id;
    platform.ok(&["scale", "app", "0", "--no-wait"]);
    is_shown(&platform, &id, "status", "STOPPING");
    assert_eq!(platform.get("app", "/").await.status, 503);
    assert_eq!(chat.say("still there?").unwrap(), "still there?");
    assert_eq!(shown(&platform, &id)["status"], "STOPPING");
    drop(chat);
    is_shown(&platform, &id, "status", "STOPPED");
}

#[test]
fn a_daemon_has_no_longer_than_it_was_given_to_stop() {
    let platform = Platform::start(&[]);
    platform.deploy("http-daemon", "app", &[&PORT[..], &["--stop-timeout", "300ms"]].concat());
    let mut chat = Chat::open(&platform, "app");
    assert_eq!(chat.say("hello").unwrap(), "hello");
    let id = servers(&platform, "app").remove(0).id;
    platform.ok(&["scale", "app", "0", "--no-wait"]);
    is_shown(&platform, &id, "status", "STOPPED");
    eventually("the connection is gone with it", || chat.say("still there?").err());
}

#[tokio::test]
async fn a_listener_of_the_load_balancer_leads_to_the_port_of_a_daemon() {
    let platform = Platform::start(&[]);
    let port = free_port();
    let (at, listener) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), format!("tcp:{port}"));
    let deploy = ["--port", "6379", "--listen", &listener];
    platform.deploy("kv", "kv", &deploy);
    let pong = Answer::Simple("PONG".to_owned());
    let connect = || {
        let mut client = Client::connect(at).ok()?;
        client.ask(&["PING"]).ok().filter(|answer| *answer == pong).map(|_| client)
    };
    let mut first = eventually("it is reached", connect);
    assert_eq!(first.ask(&["INCR", "visits"]).unwrap(), Answer::Integer(1));
    assert_eq!(platform.get("kv", "/").await.status, 404, "no request of HTTP leads there");
    let shown = platform.ok(&["service", "show", "kv"]);
    assert!(shown.contains(&format!("{listener} -> port 6379")), "{shown}");

    // The port is one service's.
    let kv = guest_path("kv");
    let other = [&["deploy", kv.to_str().unwrap(), "--name", "other"], &deploy[..]].concat();
    let said = platform.fails(&other);
    assert!(said.contains("kv") && said.contains(&port.to_string()), "{said}");

    // What is open goes on while another revision takes over, and ends with its client.
    platform.deploy("kv", "kv", &[&deploy[..], &["--env", "MAXMEMORY=1mb", "--no-wait"]].concat());
    eventually("another task is reached", || {
        let mut second = connect()?;
        (second.ask(&["GET", "visits"]).ok()? == Answer::Bulk(None)).then_some(())
    });
    assert_eq!(first.ask(&["INCR", "visits"]).unwrap(), Answer::Integer(2));
    drop(first);
    platform.ok(&["rm", "kv"]);
    eventually("nobody listens any more", || TcpStream::connect(at).err());
}
