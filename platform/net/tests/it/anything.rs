//! Any sequence of calls, by any tasks, under rules that change: nothing panics, bytes come as they were written, and what
//! was held is given back and accounted for.

use crate::world::{World, any, at, now, run};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any as any_value};
use proptest::{prop_assert, prop_assert_eq, proptest};
use skiff_net::{CallFlow, Interface, Limits, Listener, NetError, Port, Stream, UdpSocket};
use skiff_types::{TaskId, Transport};
use std::collections::HashMap;
use std::time::Duration;

/// What is done, to which of those that there are, and how much of it.
type Step = (u8, u8, u16);

const KINDS: u8 = 18;
const TASKS: usize = 3;
const PORTS: u16 = 3;

/// A stream, and how many bytes went each way.
struct Counted {
    stream: Stream,
    written: usize,
    read: usize,
}

/// All that a test holds.
struct Held {
    world: World,
    tasks: Vec<Interface>,
    /// Those that have ended, too.
    all: Vec<TaskId>,
    ports: Vec<Port>,
    listeners: Vec<Listener>,
    streams: Vec<Counted>,
    sockets: Vec<UdpSocket>,
    calls: Vec<CallFlow>,
}

/// The byte at a place of every stream.
fn byte(place: usize) -> u8 {
    (place % 251) as u8
}

/// One of those that there are.
fn pick<T>(of: &[T], which: u16) -> Option<&T> {
    of.get(usize::from(which) % of.len().max(1))
}

fn take<T>(from: &mut Vec<T>, which: u16) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(usize::from(which) % from.len()))
}

impl Held {
    fn new() -> Self {
        let limits = Limits {
            sockets_max: 12,
            backlog_max: 3,
            pipe_bytes_max: 4_096,
            half_open_max: 4,
            connects_burst: 100_000,
            call_pairs_max: 3,
            denials_of_task_max: 3,
            datagram_flows_max: 2,
            datagrams_queued_max: 3,
            ..Limits::default()
        };
        let world = World::with(1, limits);
        let tasks: Vec<_> = (0..TASKS).map(|_| world.task("default/any", &["default"])).collect();
        let all = tasks.iter().map(Interface::task).collect();
        let (ports, listeners, streams) = (Vec::new(), Vec::new(), Vec::new());
        let (sockets, calls) = (Vec::new(), Vec::new());
        Self { world, tasks, all, ports, listeners, streams, sockets, calls }
    }

    async fn step(&mut self, (kind, who, how): Step) {
        let number = usize::from(who) % TASKS;
        let task = self.tasks[number].clone();
        let other = self.tasks[usize::from(how) % TASKS].clone();
        let port = 1 + how % PORTS;
        let which = u16::from(who);
        match kind {
            0 => self.ports.extend(task.bind(Transport::Tcp, any(how % 2 * port)).ok()),
            1 => {
                let taken = take(&mut self.ports, which);
                self.listeners.extend(taken.and_then(|port| task.listen(port, usize::from(how)).ok()));
            }
            2 => self.listeners.extend(
                task.bind(Transport::Tcp, any(port)).and_then(|port| task.listen(port, usize::from(how))),
            ),
            3 => drop(take(&mut self.listeners, how)),
            4 => {
                let from = take(&mut self.ports, how);
                self.connected(task.connect(from, at(&other, port)).await);
            }
            5 => self.connected(task.connect(None, at(&other, port)).await),
            6 => {
                let accepted = pick(&self.listeners, which)
                    .and_then(|listener| now(|context| listener.poll_accept(context)));
                self.streams.extend(accepted.and_then(Result::ok).map(Counted::new));
            }
            7 | 8 => self.write(which, usize::from(how)),
            9 | 10 => self.read(which, usize::from(how)),
            11 => self.finish(who, which),
            12 => drop(take(&mut self.streams, which)),
            13 => {
                self.world.regroup(task.task(), if how % 2 == 0 { &["default"] } else { &["other"] });
            }
            14 => {
                let rules: &[&str] =
                    if how % 4 == 0 { &[] } else { &["all to self", "all from self", "all to other"] };
                self.world.set_group(if how % 2 == 0 { "default/default" } else { "default/other" }, rules);
            }
            15 => self.replace(number),
            16 => self.call(&task, &other, port, how),
            17 => self.exchange_datagrams(&task, &other, port, how),
            _ => unreachable!("there are {KINDS} kinds"),
        }
    }

    fn connected(&mut self, result: Result<Stream, NetError>) {
        if let Ok(stream) = result {
            self.streams.push(Counted::new(stream));
        }
    }

    fn write(&mut self, which: u16, count: usize) {
        let count_of = self.streams.len().max(1);
        let Some(counted) = self.streams.get_mut(usize::from(which) % count_of) else { return };
        let room = now(|context| counted.stream.poll_writable(context));
        if let Some(Ok(room)) = room {
            let bytes: Bytes = (counted.written..).map(byte).take(count.min(room)).collect();
            let count = bytes.len();
            if counted.stream.write(bytes).is_ok() {
                counted.written += count;
            }
        }
    }

    fn read(&mut self, which: u16, count: usize) {
        let count_of = self.streams.len().max(1);
        let Some(counted) = self.streams.get_mut(usize::from(which) % count_of) else { return };
        if let Some(Ok(bytes)) = now(|context| counted.stream.poll_read(context, count.max(1))) {
            let expected: Vec<u8> = (counted.read..).map(byte).take(bytes.len()).collect();
            assert_eq!(bytes, expected);
            counted.read += bytes.len();
        }
    }

    fn finish(&self, how: u8, which: u16) {
        let Some(Counted { stream, .. }) = pick(&self.streams, which) else { return };
        match how % 5 {
            0 | 1 => stream.shutdown_write(),
            2 | 3 => stream.shutdown_read(),
            _ => stream.reset(),
        }
    }

    /// Ends a task, and begins another.
    fn replace(&mut self, number: usize) {
        self.world.end(self.tasks[number].task());
        self.tasks[number] = self.world.task("default/any", &["default"]);
        self.all.push(self.tasks[number].task());
    }

    fn call(&mut self, from: &Interface, to: &Interface, port: u16, how: u16) {
        match how % 3 {
            0 => drop(take(&mut self.calls, how)),
            _ => self.calls.extend(self.world.network(0).call(from.task(), to.task(), port)),
        }
        if let Some(call) = pick(&self.calls, how) {
            call.sent(u64::from(how));
            call.received(1);
        }
    }

    fn exchange_datagrams(&mut self, from: &Interface, to: &Interface, port: u16, how: u16) {
        match how % 4 {
            0 => {
                let bound = from.bind(Transport::Udp, any(port)).and_then(|port| from.bind_udp(port));
                self.sockets.extend(bound);
            }
            1 => drop(take(&mut self.sockets, how)),
            2 => {
                if let Some(socket) = pick(&self.sockets, how) {
                    let _ = socket.send(vec![0; usize::from(how % 1_000)].into(), Some(at(to, port)));
                }
            }
            _ => {
                if let Some(socket) = pick(&self.sockets, how) {
                    let _ = now(|context| socket.poll_receive(context));
                }
            }
        }
    }

    /// Lets go of everything, and waits until what is written down later is written down.
    async fn let_go(mut self) -> (World, Vec<TaskId>) {
        self.ports.clear();
        self.listeners.clear();
        self.streams.clear();
        self.sockets.clear();
        self.calls.clear();
        tokio::time::sleep(Duration::from_secs(200)).await;
        (self.world, self.all)
    }
}

impl Counted {
    fn new(stream: Stream) -> Self {
        Self { stream, written: 0, read: 0 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_leave_nothing_behind(steps in vec((0..KINDS, any_value::<u8>(), any_value::<u16>()), 0..200)) {
        let mut outcome = None;
        run(async {
            let mut held = Held::new();
            for step in steps {
                held.step(step).await;
            }
            let (world, all) = held.let_go().await;
            let mut written: HashMap<TaskId, (u64, u64)> = HashMap::new();
            for record in world.records() {
                let (sent, received) = written.entry(record.task).or_default();
                *sent += record.sent_bytes;
                *received += record.received_bytes;
            }
            let totals: Vec<_> = all.iter().map(|task| (*task, world.totals(*task))).collect();
            let states: Vec<_> = all.iter().map(|task| world.network(0).state(*task)).collect();
            outcome = Some((totals, states, written));
        });
        let (totals, states, written) = outcome.expect("it ran");
        for (task, totals) in totals {
            prop_assert_eq!((totals.net_open, totals.memory_bytes), (0, 0));
            let (sent, received) = written.get(&task).copied().unwrap_or_default();
            prop_assert_eq!((totals.net_sent_bytes, totals.net_received_bytes), (sent, received));
        }
        for state in states {
            prop_assert!(state.listening.is_empty() && state.connection_count == 0, "{:?}", state);
        }
    }
}
