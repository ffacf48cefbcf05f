//! Connections of tasks to the load balancer's internal listeners, at the platform's own address.

use crate::world::{World, read, read_all, run, write};
use skiff_net::{Interface, Limits, NetError, Stream};
use skiff_ports::connect::Connection;
use skiff_ports::flows::Verdict;
use skiff_ports::internal::InternalListeners;
use skiff_types::{Direction, Name};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 9000;
/// The platform's own addresses in the node's subnet.
const PLATFORM: [&str; 2] = ["10.64.0.1", "fd73:6b69:6666::1"];
/// No rule for the platform.
const SELF_ONLY: &[&str] = &["all to self"];

/// To which listener, what, and from where.
type Served = (Name, Box<dyn Connection>, SocketAddr);

/// A load balancer that keeps what it is given, with one listener as long as that is there.
struct Balancer {
    listener: RefCell<Option<Name>>,
    served: RefCell<Vec<Served>>,
}

impl InternalListeners for Balancer {
    fn at_port(&self, port: u16) -> Option<Name> {
        self.listener.borrow().clone().filter(|_| port == PORT)
    }

    fn is_there(&self, name: &Name) -> bool {
        self.listener.borrow().as_ref() == Some(name)
    }

    fn serve(&self, name: &Name, connection: Box<dyn Connection>, from: SocketAddr) {
        self.served.borrow_mut().push((name.clone(), connection, from));
    }
}

impl Balancer {
    /// One whose listener `api` tasks of the first worker reach.
    fn of(world: &World) -> Rc<Self> {
        let listener = RefCell::new(Some("api".parse().unwrap()));
        let balancer = Rc::new(Self { listener, served: RefCell::default() });
        world.network(0).lead_to(balancer.clone());
        balancer
    }

    /// What came last, and from where.
    fn take(&self) -> (Box<dyn Connection>, SocketAddr) {
        let (name, connection, from) = self.served.borrow_mut().pop().expect("a connection came");
        assert_eq!(name.as_str(), "api");
        (connection, from)
    }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

async fn connect(task: &Interface) -> Result<Stream, NetError> {
    task.connect(None, at(PLATFORM[0], PORT)).await
}

#[test]
fn a_name_leads_to_the_platforms_own_address_while_the_listener_is_there() {
    run(async {
        let world = World::new();
        let task = world.task("default/web", &["default"]);
        let unknown = Err(NetError::NameUnresolvable);
        assert_eq!(task.resolve("api.listener.internal").await, unknown);
        let balancer = Balancer::of(&world);
        let addresses = PLATFORM.map(|address| address.parse().unwrap()).to_vec();
        for name in ["api.listener.internal", "API.Listener.INTERNAL."] {
            assert_eq!(task.resolve(name).await, Ok(addresses.clone()), "{name}");
        }
        assert_eq!(task.resolve("other.listener.internal").await, unknown);
        balancer.listener.take();
        assert_eq!(task.resolve("api.listener.internal").await, unknown);
    });
}

#[test]
fn bytes_go_both_ways_and_the_balancer_is_told_the_tasks_own_address() {
    run(async {
        let world = World::new();
        let (balancer, task) = (Balancer::of(&world), world.task("default/web", &["default"]));
        for address in PLATFORM {
            let ours = task.connect(None, at(address, PORT)).await.unwrap();
            assert_eq!(ours.remote(), at(address, PORT));
            let (mut theirs, from) = balancer.take();
            assert!(task.address().has(from.ip()) && from == ours.local(), "{from}");
            write(&ours, "ping").await.unwrap();
            ours.shutdown_write();
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).await.unwrap();
            theirs.write_all(b"pong!").await.unwrap();
            theirs.shutdown().await.unwrap();
            drop(theirs);
            assert_eq!(asked, "ping");
            assert_eq!(read_all(&ours).await.unwrap(), b"pong!");
            drop(ours);
            let records = world.records();
            let [record] = &records[..] else { panic!("one flow, the task's: {records:?}") };
            assert_eq!((record.task, record.direction), (task.task(), Direction::Egress));
            assert_eq!((record.sent_bytes, record.received_bytes), (4, 5));
            assert_eq!((record.verdict, record.peer.as_deref()), (Verdict::Accept, Some("listener api")));
            assert!(record.note.contains("all to platform") && record.note.ends_with("; closed"));
        }
        let totals = world.totals(task.task());
        assert_eq!((totals.net_connections, totals.net_open, totals.memory_bytes), (2, 0, 0));
    });
}

#[test]
fn a_rule_must_let_the_task_out_to_the_platform() {
    run(async {
        let world = World::new();
        let (balancer, task) = (Balancer::of(&world), world.task("default/web", &["default"]));
        world.set_group(
            "default/default",
            &[SELF_ONLY, &["all to 0.0.0.0/0", "all to 10.64.0.1/32"]].concat(),
        );
        // Whether anybody takes connections there is not said to who may not.
        for (port, peer) in [(PORT, "listener api"), (PORT + 1, "platform")] {
            let denied = task.connect(None, at(PLATFORM[0], port)).await.unwrap_err();
            let NetError::Denied(sentence) = denied else { panic!("{denied}") };
            assert!(sentence.ends_with(&format!("\"tcp:{port} to platform\"")), "{sentence}");
            let records = world.records();
            let [record] = &records[..] else { panic!("{records:?}") };
            assert_eq!((record.verdict, record.peer.as_deref()), (Verdict::Reject, Some(peer)));
            assert_eq!(record.remote, at(PLATFORM[0], port));
        }
        assert!(balancer.served.borrow().is_empty());
        world.set_group("default/default", &["tcp:9000-9001 to platform"]);
        let _ours = connect(&task).await.unwrap();
        let _theirs = balancer.take();
        let nobody = task.connect(None, at(PLATFORM[0], PORT + 1)).await;
        assert_eq!(nobody.unwrap_err(), NetError::Refused);
        balancer.listener.take();
        assert_eq!(connect(&task).await.unwrap_err(), NetError::Refused);
    });
}

#[test]
fn a_revoked_rule_and_the_tasks_end_cut_what_is_open() {
    run(async {
        let world = World::new();
        let (balancer, task) = (Balancer::of(&world), world.task("default/web", &["default"]));
        let ours = connect(&task).await.unwrap();
        let (mut theirs, _) = balancer.take();
        world.set_group("default/default", SELF_ONLY);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(theirs.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let records = world.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.verdict, record.open), (Verdict::Reject, false));
        drop((ours, theirs));

        world.set_group("default/default", &["all to platform"]);
        let ours = connect(&task).await.unwrap();
        let (mut theirs, _) = balancer.take();
        world.end(task.task());
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(theirs.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(world.totals(task.task()).memory_bytes, 0);
    });
}

#[test]
fn the_task_pays_for_both_ends() {
    run(async {
        let world = World::with(1, Limits { sockets_max: 2, ..Limits::default() });
        let (balancer, task) = (Balancer::of(&world), world.task_with_memory("default/web", 40 << 10));
        let ours = connect(&task).await.unwrap();
        let (mut theirs, _) = balancer.take();
        let full = |error: NetError| matches!(error, NetError::TooManySockets(_));
        assert!(full(connect(&task).await.unwrap_err()));
        theirs.write_all(&[0; 30 << 10]).await.unwrap();
        let error = theirs.write_all(&[0; 10 << 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        drop(ours);
        assert!(full(connect(&task).await.unwrap_err()), "the other end still has its place");
        drop(theirs);
        drop(connect(&task).await.unwrap());
        drop(balancer.take());
        assert_eq!(world.totals(task.task()).memory_bytes, 0);
    });
}
