//! Clients from outside that talk to a daemon: through `skiff forward`, and through a listener of the load balancer.
//!
//! Debian's `redis-cli` and `redis-benchmark` are used where they are installed; a client of the tests' own in any case.

use super::resp::{Answer, Client, bulk, ok};
use super::{PORT, free_port, serve, shown};
use crate::harness::{PATIENCE, Platform, eventually, signal, within};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running `skiff forward`.
struct Forward {
    child: Child,
    /// Where it listens.
    local: SocketAddr,
    /// The line that it announced itself with.
    announced: String,
    notes: PathBuf,
}

impl Forward {
    fn start(platform: &Platform, arguments: &[&str]) -> Self {
        let notes = platform.dir().join(format!("forward {}", arguments.join(" ").replace(':', " ")));
        let mut command = platform.command(&[&["forward"], arguments].concat());
        command.stdout(Stdio::piped()).stderr(File::create(&notes).expect("a writable folder"));
        let mut child = command.spawn().expect("skiff starts");
        let mut announced = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut announced).unwrap();
        let local = announced.split(' ').next().and_then(|local| local.parse().ok());
        let told = || std::fs::read_to_string(&notes).unwrap_or_default();
        let local = local.unwrap_or_else(|| panic!("it announced {announced:?}, and said: {}", told()));
        Self { child, local, announced: announced.trim_end().to_owned(), notes }
    }

    /// What it said of connections that failed.
    fn notes(&self) -> String {
        std::fs::read_to_string(&self.notes).unwrap()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn clients_of_redis_talk_to_a_daemon() {
    let platform = Platform::start(&[]);
    let port = free_port();
    let listener = format!("tcp:{port}");
    platform.deploy("kv", "kv", &["--cpu", "1024", "--port", "6379", "--listen", &listener]);
    let forward = Forward::start(&platform, &["kv", "0:6379"]);
    let balancer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the load balancer listens", || TcpStream::connect(balancer).ok());
    speak(forward.local);
    assert_eq!(forward.notes(), "", "no connection failed");
    for at in [forward.local, balancer] {
        speak(at);
        refuses_what_is_wrong(at);
        if is_installed("redis-cli") {
            assert_eq!(redis_cli(at, &["SET", "greeting", "hello"]), "OK\n");
            assert_eq!(redis_cli(at, &["GET", "greeting"]), "hello\n");
            assert!(redis_cli(at, &["INFO", "server"]).contains("skiff-kv"));
            assert_eq!(redis_cli(at, &["FLUSHALL"]), "OK\n");
        }
        if is_installed("redis-benchmark") {
            benchmark(at);
        }
    }
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command of a client's own program; what it printed.
fn output(program: &str, at: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {told}{errors}");
    told.into_owned()
}

fn redis_cli(at: SocketAddr, words: &[&str]) -> String {
    output("redis-cli", at, words)
}

fn benchmark(at: SocketAddr) {
    let tests = "ping,set,get,incr,lpush,rpush,lpop,sadd,hset,mset";
    let told = output("redis-benchmark", at, &["-q", "-n", "1000", "-c", "20", "-P", "4", "-t", tests]);
    for test in
        ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "SADD", "HSET", "MSET"]
    {
        let is_result = |line: &str| line.starts_with(test) && line.contains("requests per second");
        assert!(told.split(['\r', '\n']).any(is_result), "{test}: {told}");
    }
}

/// Everything that the daemon knows, once, with keys that are left as they were.
fn speak(at: SocketAddr) {
    let mut client = Client::connect(at).unwrap();
    let (one, zero, null) = (Answer::Integer(1), Answer::Integer(0), Answer::Bulk(None));
    let all = |words: &[&str]| Answer::Array(words.iter().map(|word| bulk(word)).collect());
    let number = Answer::Integer;
    let exchanges = [
        ("FLUSHALL", ok()),
        ("PING", Answer::Simple("PONG".into())),
        ("ECHO hello", bulk("hello")),
        ("SET text one", ok()),
        ("SET text two NX", null.clone()),
        ("SET text two XX", ok()),
        ("SETNX text three", zero.clone()),
        ("APPEND text and-more", number(11)),
        ("STRLEN text", number(11)),
        ("GET text", bulk("twoand-more")),
        ("TYPE text", Answer::Simple("string".into())),
        ("INCR number", one.clone()),
        ("INCRBY number 41", number(42)),
        ("DECR number", number(41)),
        ("DECRBY number 40", one.clone()),
        ("MSET a 1 b 2", ok()),
        ("MGET a b c", Answer::Array(vec![bulk("1"), bulk("2"), null.clone()])),
        ("EXISTS a b c", number(2)),
        ("RPUSH list b c", number(2)),
        ("LPUSH list a", number(3)),
        ("LLEN list", number(3)),
        ("LINDEX list -1", bulk("c")),
        ("LRANGE list 0 -1", all(&["a", "b", "c"])),
        ("LRANGE list 1 1", all(&["b"])),
        ("RPOP list", bulk("c")),
        ("LPOP list 5", all(&["a", "b"])),
        ("LPOP list", null.clone()),
        ("EXISTS list", zero.clone()),
        ("SADD set x x y", number(2)),
        ("SISMEMBER set x", one.clone()),
        ("SCARD set", number(2)),
        ("SREM set x z", one.clone()),
        ("SMEMBERS set", all(&["y"])),
        ("HSET hash field one", one.clone()),
        ("HSET hash field two other three", one.clone()),
        ("HMSET hash other four", ok()),
        ("HGET hash field", bulk("two")),
        ("HMGET hash other none", Answer::Array(vec![bulk("four"), null.clone()])),
        ("HLEN hash", number(2)),
        ("HEXISTS hash none", zero),
        ("HDEL hash other none", one),
        ("HGETALL hash", all(&["field", "two"])),
        ("CONFIG GET save", all(&["save", ""])),
        ("SELECT 0", ok()),
        ("DBSIZE", number(6)),
        ("DEL text number a b set hash none", number(6)),
        ("DBSIZE", number(0)),
        ("QUIT", ok()),
    ];
    for (words, answer) in exchanges {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(client.ask(&words).unwrap(), answer, "{words:?}");
    }
    assert_eq!(client.rest().unwrap(), b"", "it ends the connection");
}

/// What is wrong is said, and what no request may have ends the connection.
fn refuses_what_is_wrong(at: SocketAddr) {
    let mut client = Client::connect(at).unwrap();
    client.ask(&["RPUSH", "list", "item"]).unwrap();
    for (words, error) in [
        ("NONSENSE", "ERR unknown command 'NONSENSE'"),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("MSET a", "ERR wrong number of arguments for 'mset' command"),
        ("GET list", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("INCRBY number many", "ERR value is not an integer or out of range"),
        ("SET text one SOMETIMES", "ERR syntax error"),
        ("SELECT 1", "ERR DB index is out of range"),
        ("HELLO 3", "NOPROTO unsupported protocol version"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(client.ask(&words).unwrap(), Answer::Error(error.to_owned()), "{words:?}");
    }
    assert_eq!(client.ask(&["DEL", "list"]).unwrap(), Answer::Integer(1));
    for wrong in ["*1\r\n$2000000000\r\n", "*1000000\r\n", "*1\r\nwhat\r\n"] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(wrong.as_bytes()).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("-ERR Protocol error: "), "{wrong:?}: {told:?}");
    }
}

/// What comes back of a text from a program that gives back what it gets.
fn echo(at: SocketAddr, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = String::new();
    stream.read_to_string(&mut back)?;
    Ok(back)
}

#[test]
fn a_forward_leads_past_security_groups_and_is_written_down() {
    let platform = Platform::start(&[]);
    platform.ok(&["sg", "create", "closed", "--no-rules"]);
    let script = format!("echo {PORT}");
    let servers = serve(&platform, "sockets", "echo", &script, &["--security-group", "closed"]);
    // To each task, in whichever worker it lives; and to any task of the service.
    for server in &servers {
        let forward = Forward::start(&platform, &[&server.id, &format!("0:{PORT}")]);
        assert!(forward.announced.ends_with(&format!(" port {PORT}")), "{}", forward.announced);
        assert_eq!(echo(forward.local, "hello").unwrap(), "hello");
        eventually("it is written down", || {
            let log = platform.ok(&["net", "flows", "--task", &server.id, "--output", "json"]);
            let mut records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            records.find(|record| record["peer"] == "forward" && record["direction"] == "ingress")
        });
    }
    let forward = Forward::start(&platform, &["echo", &format!("0:{PORT}")]);
    let long = "all work and no play ".repeat(50_000);
    for text in ["hello", "", &long] {
        assert_eq!(echo(forward.local, text).unwrap(), text);
    }
    assert_eq!(forward.notes(), "");
    for server in &servers {
        eventually("none is left open", || {
            (shown(&platform, &server.id)["network"]["connection_count"] == 0).then_some(())
        });
    }
}

#[test]
fn a_connection_that_fails_is_said_and_ends_no_forward() {
    let platform = Platform::start(&[]);
    serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    let mut forward = Forward::start(&platform, &["echo", &format!("0:{}", PORT + 1)]);
    for _ in 0..2 {
        let back = echo(forward.local, "hello");
        assert!(back.as_ref().is_err() || back.as_ref().unwrap().is_empty(), "{back:?}");
    }
    eventually("both are said", || {
        (forward.notes().matches("a connection failed").count() == 2).then_some(())
    });
    assert!(forward.child.try_wait().unwrap().is_none(), "it goes on");
    signal(forward.child.id(), "INT");
    let ended = within(PATIENCE, || forward.child.try_wait().unwrap());
    assert!(ended.expect("it ends").success(), "Ctrl-C is how it ends");
}

#[test]
fn what_has_no_port_is_told_where_it_answers() {
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &[]);
    serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    for (to, why) in
        [("hello", "http://hello.localhost"), ("echo", "skiff forward echo 8080"), ("nobody", "nobody")]
    {
        let output = platform.run(&["forward", to]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{to}: {said}");
    }
}
