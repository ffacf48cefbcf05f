//! Several workers on one listening socket.

use crate::support::*;
use crate::told::{forward, listener};
use skiff_edge::accept::{Acceptor, Inbox};
use skiff_edge::{Edge, Limits};
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::Ledger;
use skiff_types::ListenerProtocol;
use std::net::TcpListener;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What a supervisor has: the socket, the inboxes, the ledger.
struct Node {
    listener: TcpListener,
    inboxes: Vec<Inbox>,
    ledger: Ledger,
}

impl Node {
    fn new(workers: usize) -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            inboxes: (0..workers).map(|_| Inbox::new().unwrap()).collect(),
            ledger: Ledger::create(workers).unwrap().0,
        }
    }

    fn beat(&self, worker: usize) {
        self.ledger.worker(worker).heartbeat_ns.set(monotonic_ns());
    }

    /// Starts a worker; it lives until its edge drains.
    fn start(&self, worker: usize, limits: Limits) -> Rc<Edge> {
        let edge = edge(worker, limits, None, 80, says("hi"), &self.ledger);
        let send = |inbox: &Inbox| inbox.send.try_clone().unwrap();
        let acceptor = Acceptor {
            listener: self.listener.try_clone().unwrap(),
            inbox: self.inboxes[worker].receive.try_clone().unwrap(),
            peers: self.inboxes.iter().map(send).collect(),
            worker,
            ledger: self.ledger.clone(),
        };
        tokio::task::spawn_local(acceptor.run(edge.clone()));
        self.beat(worker);
        edge
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap()
    }

    fn connections(&self, worker: usize) -> u64 {
        self.ledger.worker(worker).connections.get()
    }
}

async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
    assert!(read_until(stream, "\r\n\r\nhi").await.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_burst_spreads_over_the_workers() {
    run(async {
        let node = Node::new(3);
        let edges: Vec<_> = (0..3).map(|worker| node.start(worker, Limits::default())).collect();
        let mut streams = Vec::new();
        for _ in 0..48 {
            streams.push(node.connect().await);
        }
        for stream in &mut streams {
            ask(stream).await;
        }
        for (worker, edge) in edges.iter().enumerate() {
            let count = edge.connections();
            assert!((14..=18).contains(&count), "worker {worker} has {count}");
            assert_eq!(node.connections(worker), count as u64);
            assert!(node.ledger.worker(worker).requests.get() as usize == count);
        }
        drop(streams);
        eventually("all are closed", || (0..3).all(|worker| node.connections(worker) == 0)).await;
    });
}

#[test]
fn workers_that_are_full_close_none_before_another_comes() {
    run(async {
        let node = Node::new(2);
        let limits = Limits { connections_max: 4, ..Limits::default() };
        let edges = [0, 1].map(|worker| node.start(worker, limits.clone()));
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = node.connect().await;
            ask(&mut stream).await;
            streams.push(stream);
        }
        for stream in &mut streams {
            ask(stream).await;
        }
        assert_eq!(edges.each_ref().map(|edge| edge.connections()), [4, 4]);
    });
}

#[test]
fn what_waits_in_a_dead_workers_inbox_is_served_by_the_next() {
    run(async {
        let node = Node::new(2);
        node.beat(1);
        let first = node.start(0, Limits::default());
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(node.connect().await);
        }
        eventually("half are handed over", || node.connections(0) == 10 && node.connections(1) == 10).await;
        node.ledger.close_worker(1, std::iter::empty());
        let second = node.start(1, Limits::default());
        for stream in &mut streams {
            ask(stream).await;
        }
        assert_eq!((first.connections(), second.connections()), (10, 10));
        assert_eq!((node.connections(0), node.connections(1)), (10, 10));
        drop(streams);
        eventually("both are empty", || node.connections(0) == 0 && node.connections(1) == 0).await;
    });
}

#[test]
fn a_worker_without_a_heartbeat_or_a_full_inbox_is_handed_none() {
    run(async {
        let node = Node::new(2);
        let first = node.start(0, Limits::default());
        let mut streams = Vec::new();
        for _ in 0..5 {
            streams.push(node.connect().await);
        }
        eventually("it keeps all", || first.connections() == 5).await;

        node.beat(1);
        for _ in 0..5 {
            streams.push(node.connect().await);
        }
        eventually("it hands over", || node.connections(1) == 5).await;
        assert_eq!(first.connections(), 5);

        // Full: whatever the ledger says, connections are kept rather than waited for.
        let inbox = rustix_fill(&node.inboxes[1]);
        assert!(inbox > 0);
        node.ledger.worker(1).connections.set(0);
        for _ in 0..5 {
            streams.push(node.connect().await);
        }
        eventually("it keeps them", || first.connections() == 10).await;
    });
}

/// Fills an inbox with messages that hold nothing; says how many fit.
fn rustix_fill(inbox: &Inbox) -> usize {
    let socket = std::os::unix::net::UnixDatagram::from(inbox.send.try_clone().unwrap());
    std::iter::from_fn(|| socket.send(b"c").ok()).count()
}

#[test]
fn a_worker_takes_no_more_connections_than_it_may() {
    run(async {
        let node = Node::new(1);
        let edge = node.start(0, Limits { connections_max: 2, ..Limits::default() });
        let (mut first, mut second) = (node.connect().await, node.connect().await);
        ask(&mut first).await;
        ask(&mut second).await;
        let mut third = node.connect().await;
        ask(&mut third).await;
        // The first was idle for longest.
        assert_eq!(read_to_end(&mut first).await, "");
        ask(&mut second).await;
        assert_eq!((edge.connections(), node.ledger.worker(0).requests.get()), (2, 4));
    });
}

#[test]
fn a_draining_worker_is_handed_none() {
    run(async {
        let node = Node::new(2);
        let first = node.start(0, Limits::default());
        let second = node.start(1, Limits::default());
        assert!(second.drain(DEADLINE).await);
        node.beat(1);
        let mut streams = Vec::new();
        for _ in 0..6 {
            streams.push(node.connect().await);
            ask(streams.last_mut().unwrap()).await;
        }
        assert_eq!((first.connections(), second.connections()), (6, 0));
        let third = node.start(1, Limits::default());
        eventually("its successor says what it holds", || node.connections(1) == 0).await;
        for _ in 0..4 {
            streams.push(node.connect().await);
            ask(streams.last_mut().unwrap()).await;
        }
        assert_eq!((first.connections(), third.connections()), (6, 4));
    });
}

#[test]
fn connections_of_another_listener_spread_too_and_stay_its_own() {
    run(async {
        let node = Node::new(2);
        let edges: Vec<_> = (0..2).map(|worker| node.start(worker, Limits::default())).collect();
        let shared = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = shared.local_addr().unwrap();
        let told = listener("other", ListenerProtocol::Http, address.port(), forward(&["hello"]));
        edges[0].balance(&told);
        // The first worker alone accepts there, and hands over to the second before that one knows of the listener.
        let _listening = edges[0].listen(shared, "other".parse().unwrap());
        let mut streams = Vec::new();
        for _ in 0..16 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Only the listener's default action leads anywhere: nobody is a service's host.
            stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n").await.unwrap();
            streams.push(stream);
        }
        eventually("it has its share", || edges[0].connections() >= 8).await;
        edges[1].balance(&told);
        for stream in &mut streams {
            assert!(read_until(stream, "\r\n\r\nhi").await.starts_with("HTTP/1.1 200"));
        }
        let counts = [edges[0].connections(), edges[1].connections()];
        assert!(counts.iter().all(|count| (6..=10).contains(count)), "{counts:?}");
    });
}
