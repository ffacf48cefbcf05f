//! Workers die: what was in flight in them fails, all else goes on.

use crate::harness::{PATIENCE, Platform, eventually, guest_path, signal};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How often a worker is killed under load.
const KILLS: usize = 20;
/// Clients that ask all the time.
const CLIENTS: usize = 8;
/// Requests that are answered after one kill and before the next.
const ANSWERS_BETWEEN_KILLS: u64 = 50;
/// Connections that come while a worker is stopped: so many more than there are clients that some are handed to it.
const WAITING: usize = 16;

/// What the clients and who kills their workers tell each other.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    good: AtomicU64,
}

/// One connection that is kept, with one request at a time.
struct Client {
    connection: BufReader<TcpStream>,
    /// The client's own port, which names the connection.
    port: u16,
}

impl Client {
    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the load balancer listens");
        let port = stream.local_addr().unwrap().port();
        Self { connection: BufReader::new(stream), port }
    }

    async fn ask(&mut self) -> io::Result<(u16, String)> {
        self.send().await?;
        self.receive().await
    }

    async fn send(&mut self) -> io::Result<()> {
        self.connection.write_all(b"GET /count HTTP/1.1\r\nhost: app.localhost\r\n\r\n").await
    }

    /// The answer's status and body.
    async fn receive(&mut self) -> io::Result<(u16, String)> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await?
    }

    /// Reads an answer to its end, whichever way its body is framed (RFC 9112, section 6).
    async fn read_answer(&mut self) -> io::Result<(u16, String)> {
        let status_line = self.read_line().await?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.read_line().await?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse().expect("a length"),
                Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
                Some(_) => {}
                None => break,
            }
        }
        let mut body = self.read_bytes(length).await?;
        while is_chunked {
            let length = usize::from_str_radix(&self.read_line().await?, 16).expect("a chunk's length");
            body.extend(self.read_bytes(length).await?);
            self.read_line().await?;
            is_chunked = length > 0;
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.connection.read_line(&mut line).await?;
        let whole = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(whole.to_owned())
    }

    async fn read_bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.connection.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

/// Asks again and again, on a new connection after each that failed; the ports of those.
async fn ask_until_stopped(address: String, load: Arc<Load>) -> Vec<u16> {
    let mut failed = Vec::new();
    let mut client = Client::connect(&address).await;
    while !load.stop.load(Relaxed) {
        match client.ask().await {
            Ok((status, text)) => {
                assert_eq!(status, 200, "{text}");
                load.good.fetch_add(1, Relaxed);
            }
            Err(_) => {
                failed.push(client.port);
                client = Client::connect(&address).await;
            }
        }
    }
    failed
}

/// What a kill met.
struct Kill {
    /// Clients' ports of the connections that the worker held.
    held: HashSet<u16>,
    /// Connections that waited in its inbox.
    waited: usize,
}

/// Kills the worker in a seat while connections wait for it, all of which must be served, and waits for the next one.
async fn kill_worker(platform: &Platform, seat: usize) -> Kill {
    let before = platform.workers();
    let (victim, other) = (before[seat], before[1 - seat]);
    // Stopped, it takes no more connections: what it holds now is what dies with it.
    signal(victim, "STOP");
    eventually("the worker has stopped", || has_stopped(victim).then_some(()));
    let mut newcomers = Vec::new();
    for _ in 0..WAITING {
        let mut newcomer = Client::connect(&platform.http).await;
        newcomer.send().await.unwrap();
        newcomers.push(newcomer);
    }
    let all_accepted = || (waiting_connections(&platform.http) == 0).then_some(());
    eventually("the other worker has accepted them all", all_accepted);
    let (held, held_by_other) = (held_ports(victim), held_ports(other));
    signal(victim, "KILL");
    for newcomer in &mut newcomers {
        let (status, text) = newcomer.receive().await.expect("no connection that waits is lost");
        assert_eq!(status, 200, "{text}");
    }
    let now = eventually("the worker is replaced", || {
        let now = platform.workers();
        (now[seat] != 0 && now[seat] != victim).then_some(now)
    });
    assert_eq!(now[1 - seat], other, "the other worker lives on");
    let waited = newcomers.iter().filter(|newcomer| !held_by_other.contains(&newcomer.port)).count();
    Kill { held, waited }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_in_flight_in_a_killed_worker_fails() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--cpu", "2048", "--desired", "2"]);
    let load = Arc::new(Load::default());
    let client = |_| ask_until_stopped(platform.http.clone(), load.clone());
    let clients: JoinSet<_> = (0..CLIENTS).map(client).collect();
    let (mut held, mut waited) = (Vec::new(), 0);
    for round in 0..KILLS {
        let kill = kill_worker(&platform, round % 2).await;
        held.extend(kill.held);
        waited += kill.waited;
        let served = load.good.load(Relaxed);
        let goes_on = || (load.good.load(Relaxed) >= served + ANSWERS_BETWEEN_KILLS).then_some(());
        eventually("the clients are served", goes_on);
    }
    load.stop.store(true, Relaxed);
    let failed = clients.join_all().await.concat();
    assert!(!failed.is_empty() && waited > 0, "{} failed, {waited} waited in an inbox", failed.len());
    for port in failed {
        let place = held.iter().position(|held| *held == port);
        // Taken out, so that a connection can account for one failure only.
        held.swap_remove(place.expect("each that failed was held by a killed worker, and failed once"));
    }
    let status = platform.json(&["status"]);
    let restarts: u64 =
        status["workers"].as_array().unwrap().iter().map(|w| w["restarts"].as_u64().unwrap()).sum();
    assert_eq!(restarts, KILLS as u64);
    let in_flight = "skiff_requests_in_flight{namespace=\"default\",service=\"app\"}";
    while platform.metric(in_flight).await > 0.0 {
        tokio::task::yield_now().await;
    }
}

/// Whether all threads of a process have stopped.
fn has_stopped(pid: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// The clients' ports of the connections that a process holds: its sockets, looked up in the kernel's table by inode.
fn held_ports(pid: u32) -> HashSet<u16> {
    const LISTENING: &str = "0A";
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.unwrap().path()).ok());
    let inode = |link: &str| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let inodes: HashSet<String> = links.filter_map(|link| inode(link.to_str()?)).collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ports = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (remote, state, inode) = (fields[2], fields[3], fields[9]);
        let port = remote.rsplit(':').next().unwrap();
        let is_held = state != LISTENING && inodes.contains(inode);
        is_held.then(|| u16::from_str_radix(port, 16).unwrap())
    });
    ports.collect()
}

/// How many connections wait to be accepted from a listening socket.
fn waiting_connections(address: &str) -> usize {
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A";
        is_ours.then(|| usize::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap())
    });
    listening.expect("the load balancer listens")
}

#[tokio::test]
async fn a_connection_that_waits_to_be_accepted_outlives_every_worker() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &[]);
    let workers = platform.workers();
    // Stopped workers accept nothing: the connections wait with the supervisor's socket.
    workers.iter().for_each(|pid| signal(*pid, "STOP"));
    let waiting = futures::future::join_all((0..WAITING).map(|_| platform.try_get("app", "/count")));
    let killed = async {
        // The kernel counts the connections that wait for a listening socket (`rx_queue`, Documentation/networking/proc_net_tcp.rst).
        while waiting_connections(&platform.http) < WAITING {
            tokio::task::yield_now().await;
        }
        workers.iter().for_each(|pid| signal(*pid, "KILL"));
    };
    let (answers, ()) = tokio::join!(waiting, killed);
    for answer in answers {
        assert_eq!(answer.expect("no connection is lost").status, 200);
    }
}

#[test]
fn a_command_task_ends_with_its_worker_and_a_service_starts_it_again() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    let path = path.to_str().unwrap();
    let id = platform.ok(&["run", path, "--detach", "--", "spin"]).trim().to_owned();
    let task = |id: &str| platform.json(&["task", "show", id]);
    eventually("it runs", || (task(&id)["status"] == "RUNNING").then_some(()));
    platform.workers().into_iter().for_each(|pid| signal(pid, "KILL"));
    let stopped = eventually("it has stopped", || Some(task(&id)).filter(|task| task["status"] == "STOPPED"));
    assert_eq!(stopped["stop_code"], "WorkerLost", "{stopped}");
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let platform = Platform::start(&[]);
    let before = platform.workers();
    signal(before[0], "STOP");
    eventually("the stopped worker is replaced", || {
        let now = platform.workers();
        (now[0] != 0 && now[0] != before[0]).then_some(())
    });
}
