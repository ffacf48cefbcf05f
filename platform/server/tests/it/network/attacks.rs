//! A program that tries to get out in all ways it knows, one after the other, beside a neighbour who is asked all the while:
//! nothing that it tries works, all of it is in the flow log, and the neighbour is served.
//!
//! It tries twice: in a security group that allows what somebody might call "everything outside", and in one that allows
//! nothing. What the neighbour feels is measured by `cargo xtask bench`.

use super::{run_detached, said, says, servers};
use crate::harness::{Platform, eventually, may_mount};
use crate::neighbour::Neighbour;
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// How often the neighbour is asked.
const NEIGHBOUR_PER_SECOND: u32 = 40;
/// The ways that there have to be.
const WAYS_MIN: usize = 30;
/// What the attacker's flood of connections is for, and how many it tries.
const FLOODED_PORT: u16 = 81;
const FLOOD: u64 = 2_000;
/// What leads to nothing that could be written down, where questions for names are allowed: a name that nobody has; connections
/// that are never finished, and questions, of which there are only more than are served at once.
const WITHOUT_RECORD: [&str; 3] = ["api-by-http-decimal", "half-open-flood", "look-up-flood"];

#[test]
fn whoever_tries_to_get_out_is_held_and_written_down() {
    let name_server = NameServer::start();
    let one_worker = ["--workers", "1"];
    let platform = match &name_server {
        Some(server) => Platform::start_resolving(&format!("nameserver {}\n", server.address), &one_worker),
        None => {
            println!("without the rights of root there is no name server to attack with");
            Platform::start(&one_worker)
        }
    };
    let host = Host::start(port_of(&platform.api));
    platform.ok(&["sg", "create", "closed", "--rule", "all from load-balancer"]);
    platform.deploy("hello", "victim", &["--security-group", "closed"]);
    let victim = servers(&platform, "victim").remove(0).v4;
    let neighbour = Neighbour::start(&platform.http, "victim", NEIGHBOUR_PER_SECOND);
    let redirector = format!("tcp:{} to 127.0.0.1", host.redirector);
    let rules = ["all to 0.0.0.0/0", "all to ::/0", "all to platform", "all to *.attack.test", &redirector];
    let wide: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", *rule]).collect();
    for (group, rules) in [("wide", &wide[..]), ("nothing", &["--no-rules"][..])] {
        platform.ok(&[&["sg", "create", group], rules].concat());
        let may_ask = group == "nothing" || name_server.is_some();
        let arguments = [
            format!("api={}", port_of(&platform.api)),
            format!("balancer={}", port_of(&platform.http)),
            format!("secret={}", host.secret),
            format!("redirector={}", host.redirector),
            format!("victim={victim}"),
            "zone=attack.test".to_owned(),
            format!("may_ask={may_ask}"),
            "rounds=1".to_owned(),
        ];
        let began = Instant::now();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let id = run_detached(&platform, "attacker", &["--security-group", group], &arguments);
        says(&platform, &id, "done");
        let felt = neighbour.felt_since(began);
        println!("in the group {group}, the neighbour felt: {felt}");
        assert!(felt.failures.is_empty() && felt.answers > 0, "{felt}");
        let attempts = attempts(&said(&platform, &id));
        is_written_down(&platform, &id, &attempts, group == "wide");
        let flooded = SocketAddr::from((victim, FLOODED_PORT)).to_string();
        eventually("the whole flood is counted", || {
            let records = rejected(&platform, &id);
            let of_flood = records.iter().filter(|record| record["remote"] == *flooded);
            (of_flood.map(|record| record["count"].as_u64().unwrap()).sum::<u64>() == FLOOD).then_some(())
        });
    }
    assert_eq!(host.touched.load(Relaxed), 0, "nobody came to what nobody may reach");
}

/// One way that was tried.
struct Attempt {
    name: String,
    /// Protocol and address of what it tried to reach; one of them is in the flow log. None where there is nothing to reach.
    targets: Vec<String>,
}

/// What the attacker tried, all of it in vain.
fn attempts(said: &[String]) -> Vec<Attempt> {
    let attempt = |line: &String| {
        let (name, outcome) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no attempt"));
        assert!(outcome.starts_with("held ("), "{line}");
        let targets = outcome.rsplit_once("): ").map(|(_, targets)| targets);
        let targets = targets.into_iter().flat_map(|targets| targets.split(", ")).map(str::to_owned);
        Attempt { name: name.to_owned(), targets: targets.collect() }
    };
    let attempts: Vec<Attempt> = said.iter().filter(|line| *line != "done").map(attempt).collect();
    let names: HashSet<&str> = attempts.iter().map(|attempt| attempt.name.as_str()).collect();
    assert_eq!(names.len(), attempts.len(), "each is another way");
    assert!(names.len() >= WAYS_MIN, "only {} ways were tried", names.len());
    attempts
}

/// Waits until every attempt is in the flow log.
fn is_written_down(platform: &Platform, id: &str, attempts: &[Attempt], may_ask: bool) {
    for Attempt { name, targets } in attempts {
        if targets.is_empty() {
            assert!(may_ask && WITHOUT_RECORD.contains(&name.as_str()), "{name} tried to reach nothing");
            continue;
        }
        eventually(&format!("{name} is written down as {targets:?}"), || {
            let records = rejected(platform, id);
            let mut written = records.iter().map(|record| {
                format!("{} {}", record["transport"].as_str().unwrap(), record["remote"].as_str().unwrap())
            });
            written.any(|target| targets.contains(&target)).then_some(())
        });
    }
}

/// What a task was kept from.
fn rejected(platform: &Platform, id: &str) -> Vec<Value> {
    let text = platform.ok(&["net", "flows", "--task", id, "--rejected", "--output", "json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// What there is on the host beside the platform.
struct Host {
    /// The port of what nobody may reach: at 127.0.0.1, by TCP and UDP.
    secret: u16,
    /// The port of what the wide rules allow, at 127.0.0.1; what is at 127.0.0.2 there, nobody may reach.
    redirector: u16,
    /// How often somebody came to what nobody may reach.
    touched: Arc<AtomicUsize>,
}

impl Host {
    fn start(api: u16) -> Self {
        let bind = |address: [u8; 4], port: u16| TcpListener::bind((Ipv4Addr::from(address), port));
        let port_of = |listener: &TcpListener| listener.local_addr().unwrap().port();
        // Two of one number, which are rarely taken.
        let (secret, datagrams) = eventually("a port is free for both protocols", || {
            let secret = bind([127, 0, 0, 1], 0).unwrap();
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port_of(&secret)))
                .ok()
                .map(|datagrams| (secret, datagrams))
        });
        let (redirector, beside) = eventually("a port is free at both addresses", || {
            let redirector = bind([127, 0, 0, 1], 0).unwrap();
            bind([127, 0, 0, 2], port_of(&redirector)).ok().map(|beside| (redirector, beside))
        });
        let touched = Arc::<AtomicUsize>::default();
        let host = Self { secret: port_of(&secret), redirector: port_of(&redirector), touched };
        for listener in [secret, beside] {
            let touched = host.touched.clone();
            std::thread::spawn(move || listener.incoming().for_each(|_| _ = touched.fetch_add(1, Relaxed)));
        }
        let touched = host.touched.clone();
        std::thread::spawn(move || {
            while datagrams.recv_from(&mut [0; 1 << 10]).is_ok() {
                touched.fetch_add(1, Relaxed);
            }
        });
        std::thread::spawn(move || redirect(&redirector, api));
        host
    }
}

/// Sends whoever asks elsewhere, by the path that is asked for.
fn redirect(listener: &TcpListener, api: u16) {
    for stream in listener.incoming().flatten() {
        // Who says nothing, or leaves before the answer, is a flood's.
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { continue };
        lines.by_ref().find(String::is_empty);
        let to = match request.split(' ').nth(1) {
            Some("/api") => format!("127.0.0.1:{api}"),
            _ => "169.254.169.254:80".to_owned(),
        };
        let head = format!("HTTP/1.1 302 Found\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n");
        _ = write!(&stream, "{head}connection: close\r\n\r\n");
    }
}

/// A name server that leads astray.
struct NameServer {
    address: Ipv4Addr,
}

impl NameServer {
    /// Starts one that the platform can be told of. `None` where that takes rights that the test has not: name servers have a
    /// low port, and the file that names them is the host's.
    fn start() -> Option<Self> {
        const PORT: u16 = 53;
        let addresses = (1..=u8::MAX).map(|last| Ipv4Addr::new(127, 77, 0, last));
        let mut bound =
            addresses.filter_map(|address| Some((address, UdpSocket::bind((address, PORT)).ok()?)));
        let (address, socket) = bound.next().filter(|_| may_mount())?;
        std::thread::spawn(move || answer_names(&socket));
        Some(Self { address })
    }
}

/// Answers questions for names (RFC 1035, section 4), none of them for longer than it takes.
fn answer_names(socket: &UdpSocket) {
    const NAME_ERROR: u8 = 3;
    let mut asked_for_changing = 0;
    let mut bytes = [0; 1_500];
    while let Ok((count, from)) = socket.recv_from(&mut bytes) {
        let Some((name, question)) = question(&bytes[..count]) else { continue };
        let is_for_v4 = question[question.len() - 4..] == [0, 1, 0, 1];
        let last = match name.as_str() {
            "loopback.attack.test" => Some(1),
            // At first where one may go, and then where one may not.
            "changing.attack.test" => {
                asked_for_changing += usize::from(is_for_v4);
                Some(if asked_for_changing % 2 == 1 { 1 } else { 2 })
            }
            _ => None,
        };
        let code = if last.is_some() { 0 } else { NAME_ERROR };
        let answer = last.filter(|_| is_for_v4);
        let mut message = bytes[..2].to_vec();
        message.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(answer.is_some()), 0, 0, 0, 0]);
        message.extend(question);
        if let Some(last) = answer {
            // The name as a pointer to the question's, type A, class IN, valid for no time, four bytes.
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, last]);
        }
        _ = socket.send_to(&message, from);
    }
}

/// The name of a message's first question in lower case, and that question as it stands there: name, type and class.
fn question(message: &[u8]) -> Option<(String, &[u8])> {
    const HEAD_BYTES: usize = 12;
    let (mut at, mut labels) = (HEAD_BYTES, Vec::new());
    while let length @ 1.. = usize::from(*message.get(at)?) {
        let label = message.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    Some((labels.join("."), message.get(HEAD_BYTES..at + 1 + 4)?))
}
