//! The calls that a program may make, and what its tasks hold between them.

use super::{TASKS, World, address, group, id, interface};
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::task::noop_waker_ref;
use skiff_net::{CallFlow, Interface, Listener, NetError, Port, Stream, UdpSocket};
use skiff_ports::network::{GroupRules, NetworkChange};
use skiff_types::{Rule, Transport};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

/// Things of one kind that are held at once; one more takes the place of the first.
const HELD_MAX: usize = 24;
/// Bytes of a datagram that is too long, and a bit more.
const DATAGRAM_BYTES: usize = 66_000;

/// A call, with what the program says of it; `None` if there is nothing to make it on.
type Call = fn(&mut World, &mut Program<'_>) -> Option<()>;

pub(super) const CALLS: &[Call] = &[
    World::bind,
    World::listen,
    World::connect,
    World::go_on_connecting,
    World::accept,
    World::write,
    World::read,
    World::shut_down,
    World::open_mailbox,
    World::send,
    World::receive,
    World::look_up,
    World::go_on_looking_up,
    World::call_by_http,
    World::pass_in_call,
    World::let_go,
    World::change_rules,
    World::change_interface,
    World::close,
    World::look_at,
];

/// The bytes of a program that are still to come.
pub(super) struct Program<'a>(std::slice::Iter<'a, u8>);

impl<'a> Program<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn below(&mut self, count: usize) -> Option<usize> {
        (count > 0).then_some(())?;
        self.next().map(|byte| usize::from(byte) % count)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        self.below(choices.len()).map(|choice| choices[choice])
    }

    /// One of what is held.
    fn held<'b, T>(&mut self, things: &'b mut [T]) -> Option<&'b mut T> {
        let place = self.below(things.len())?;
        things.get_mut(place)
    }

    /// One of what is held, taken out.
    fn taken<T>(&mut self, things: &mut Vec<T>) -> Option<T> {
        let place = self.below(things.len())?;
        Some(things.swap_remove(place))
    }

    /// An address that may be a task's, and may be no such address at all.
    fn address(&mut self) -> Option<IpAddr> {
        let choice = usize::from(self.next()?);
        let of_task = address(choice / 16 % TASKS);
        Some(match choice % 16 {
            0..6 => of_task.v4.into(),
            6..10 => of_task.v6.into(),
            10 => Ipv4Addr::UNSPECIFIED.into(),
            11 => Ipv6Addr::UNSPECIFIED.into(),
            12 => of_task.v4.to_ipv6_mapped().into(),
            13 => Ipv4Addr::new(10, 64, 200, 1).into(),
            14 => Ipv4Addr::new(192, 0, 2, 1).into(),
            _ => Ipv4Addr::new(224, 0, 0, 1).into(),
        })
    }

    fn port(&mut self) -> Option<u16> {
        self.one_of(&[80, 80, 81, 81, 49_152, 49_153, 50_000, 0])
    }

    fn socket_address(&mut self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address()?, self.port()?))
    }
}

/// What the tasks hold.
#[derive(Default)]
pub(super) struct Held {
    ports: Vec<Port>,
    listeners: Vec<Listener>,
    connecting: Vec<LocalBoxFuture<'static, Result<Stream, NetError>>>,
    streams: Vec<End>,
    mailboxes: Vec<UdpSocket>,
    looking_up: Vec<LocalBoxFuture<'static, Result<Vec<IpAddr>, NetError>>>,
    calls: Vec<CallFlow>,
}

/// A stream, with how much passed through it.
struct End {
    stream: Stream,
    written: u64,
    read: u64,
}

impl End {
    fn of(stream: Stream) -> Self {
        Self { stream, written: 0, read: 0 }
    }
}

/// The byte at a place of any stream.
fn byte_at(place: u64) -> u8 {
    (place ^ place >> 8 ^ place >> 16) as u8
}

fn keep<T>(things: &mut Vec<T>, thing: T) {
    if things.len() == HELD_MAX {
        drop(things.remove(0));
    }
    things.push(thing);
}

/// Asks once; what is not there yet is asked for again by another call.
fn poll_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(noop_waker_ref())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl World {
    fn interface(&self, program: &mut Program<'_>) -> Option<Interface> {
        let choice = usize::from(program.next()?);
        self.networks[choice % 2].interface(id(choice / 2 % TASKS))
    }

    fn bind(&mut self, program: &mut Program<'_>) -> Option<()> {
        let interface = self.interface(program)?;
        let transport = program.one_of(&[Transport::Tcp, Transport::Udp])?;
        let port = interface.bind(transport, program.socket_address()?).ok()?;
        assert!(port.local().ip().is_unspecified() || interface.address().has(port.local().ip()));
        assert_ne!(port.local().port(), 0);
        keep(&mut self.held.ports, port);
        Some(())
    }

    /// At any port of any address, or at one that is held, which may be another task's.
    fn listen(&mut self, program: &mut Program<'_>) -> Option<()> {
        let interface = self.interface(program)?;
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let port = match program.below(3)? {
            2 => program.taken(&mut self.held.ports)?,
            family => interface.bind(Transport::Tcp, SocketAddr::new(any[family], program.port()?)).ok()?,
        };
        let listener = interface.listen(port, program.one_of(&[0, 1, 2, 100])?).ok()?;
        keep(&mut self.held.listeners, listener);
        Some(())
    }

    fn connect(&mut self, program: &mut Program<'_>) -> Option<()> {
        let interface = self.interface(program)?;
        let port = match program.below(4)? {
            0 => Some(program.taken(&mut self.held.ports)?),
            _ => None,
        };
        let connecting = interface.connect(port, program.socket_address()?);
        keep(&mut self.held.connecting, connecting);
        self.go_on_connecting(program)
    }

    fn go_on_connecting(&mut self, program: &mut Program<'_>) -> Option<()> {
        let place = program.below(self.held.connecting.len())?;
        let connected = poll_once(|cx| self.held.connecting[place].as_mut().poll(cx))?;
        drop(self.held.connecting.swap_remove(place));
        let stream = connected.ok()?;
        assert!((0..TASKS).any(|task| address(task).has(stream.local().ip())), "{stream:?}");
        assert!((0..TASKS).any(|task| address(task).has(stream.remote().ip())), "{stream:?}");
        keep(&mut self.held.streams, End::of(stream));
        Some(())
    }

    fn accept(&mut self, program: &mut Program<'_>) -> Option<()> {
        let listener = program.held(&mut self.held.listeners)?;
        let stream = poll_once(|cx| listener.poll_accept(cx))?.ok()?;
        assert_eq!(stream.local().port(), listener.local_address().port());
        keep(&mut self.held.streams, End::of(stream));
        Some(())
    }

    fn write(&mut self, program: &mut Program<'_>) -> Option<()> {
        let End { stream, written, .. } = program.held(&mut self.held.streams)?;
        let room = poll_once(|cx| stream.poll_writable(cx))?.ok()?;
        assert!(room > 0);
        let length = match program.next()? {
            byte @ 0..200 => usize::from(byte).min(room),
            byte @ 200..250 => (usize::from(byte) << 8).min(room),
            250..255 => room,
            // What is refused for that is not sent, not a byte of it.
            255 => room + 1,
        };
        let bytes: Bytes = (*written..).take(length).map(byte_at).collect();
        if stream.write(bytes).is_ok() {
            *written += length as u64;
        }
        Some(())
    }

    fn read(&mut self, program: &mut Program<'_>) -> Option<()> {
        let End { stream, read, .. } = program.held(&mut self.held.streams)?;
        let bytes_max = program.one_of(&[1, 2, 100, 5_000, 1 << 20])?;
        let bytes = poll_once(|cx| stream.poll_read(cx, bytes_max))?.ok()?;
        assert!(bytes.len() <= bytes_max);
        assert!(bytes.iter().copied().eq((*read..).take(bytes.len()).map(byte_at)), "{stream:?}");
        *read += bytes.len() as u64;
        Some(())
    }

    fn shut_down(&mut self, program: &mut Program<'_>) -> Option<()> {
        let End { stream, .. } = program.held(&mut self.held.streams)?;
        match program.below(4)? {
            0 => stream.shutdown_read(),
            1 => stream.shutdown_write(),
            2 => stream.reset(),
            _ => stream.leave_unread(),
        }
        Some(())
    }

    /// A socket for datagrams, at any port or at one that is held; or one that is held gets another other side.
    fn open_mailbox(&mut self, program: &mut Program<'_>) -> Option<()> {
        let port = match program.below(4)? {
            0 => {
                let mailbox = program.held(&mut self.held.mailboxes)?;
                let _ = mailbox.connect(program.socket_address()?);
                return Some(());
            }
            1 => return program.held(&mut self.held.mailboxes)?.disconnect().ok(),
            2 => Some(program.taken(&mut self.held.ports)?),
            _ => None,
        };
        let interface = self.interface(program)?;
        let port = match port {
            Some(port) => port,
            None => {
                let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), program.port()?);
                interface.bind(Transport::Udp, local).ok()?
            }
        };
        keep(&mut self.held.mailboxes, interface.bind_udp(port).ok()?);
        Some(())
    }

    fn send(&mut self, program: &mut Program<'_>) -> Option<()> {
        let mailbox = program.held(&mut self.held.mailboxes)?;
        let length = program.one_of(&[0, 1, 1_000, 20_000, DATAGRAM_BYTES])?;
        let remote = match program.below(4)? {
            0 => None,
            _ => Some(program.socket_address()?),
        };
        if poll_once(|cx| mailbox.poll_sendable(cx))?.is_ok() {
            let bytes: Bytes = (0..).take(length).map(byte_at).collect();
            assert!(mailbox.send(bytes, remote).is_err() || length < DATAGRAM_BYTES);
        }
        Some(())
    }

    fn receive(&mut self, program: &mut Program<'_>) -> Option<()> {
        let mailbox = program.held(&mut self.held.mailboxes)?;
        let datagram = poll_once(|cx| mailbox.poll_receive(cx))?.ok()?;
        let length = datagram.bytes.len();
        assert!(datagram.bytes.iter().copied().eq((0..).take(length).map(byte_at)), "{mailbox:?}");
        assert!((0..TASKS).any(|task| address(task).has(datagram.remote.ip())));
        Some(())
    }

    fn look_up(&mut self, program: &mut Program<'_>) -> Option<()> {
        let interface = self.interface(program)?;
        let task = program.below(TASKS)?;
        let name = match program.below(8)? {
            0 => format!("s{task}.default.internal"),
            1 => format!("S{task}.Default.Internal."),
            2 => format!("{}.task.internal", id(task)),
            3 => "example.com".to_owned(),
            4 => "nothing.internal".to_owned(),
            5 => address(task).v6.to_string(),
            6 => "a..b".to_owned(),
            _ => String::new(),
        };
        keep(&mut self.held.looking_up, interface.resolve(&name));
        self.go_on_looking_up(program)
    }

    fn go_on_looking_up(&mut self, program: &mut Program<'_>) -> Option<()> {
        let place = program.below(self.held.looking_up.len())?;
        let found = poll_once(|cx| self.held.looking_up[place].as_mut().poll(cx))?;
        drop(self.held.looking_up.swap_remove(place));
        assert!(found.is_err() || found.is_ok_and(|addresses| !addresses.is_empty()));
        Some(())
    }

    fn call_by_http(&mut self, program: &mut Program<'_>) -> Option<()> {
        let network = self.networks[program.below(2)?].clone();
        let (from, to) = (program.below(TASKS)?, program.below(TASKS)?);
        let call = network.call(id(from), id(to), 80).ok()?;
        self.was_called = true;
        keep(&mut self.held.calls, call);
        Some(())
    }

    fn pass_in_call(&mut self, program: &mut Program<'_>) -> Option<()> {
        let call = program.held(&mut self.held.calls)?;
        let bytes = u64::from(program.next()?);
        call.sent(bytes);
        call.received(bytes << 8);
        let was_cut = poll_once(|cx| std::pin::pin!(call.cut()).poll(cx)).is_some();
        assert_eq!(was_cut, call.is_cut());
        Some(())
    }

    fn let_go(&mut self, program: &mut Program<'_>) -> Option<()> {
        let Held { ports, listeners, connecting, streams, mailboxes, looking_up, calls } = &mut self.held;
        match program.below(7)? {
            0 => drop(program.taken(ports)?),
            1 => drop(program.taken(listeners)?),
            2 => drop(program.taken(connecting)?),
            3 => drop(program.taken(streams)?),
            4 => drop(program.taken(mailboxes)?),
            5 => drop(program.taken(looking_up)?),
            _ => drop(program.taken(calls)?),
        }
        Some(())
    }

    fn change_rules(&mut self, program: &mut Program<'_>) -> Option<()> {
        let of = group(program.one_of(&["default", "default", "other", "third"])?);
        let texts: &[&str] = match program.below(6)? {
            0 => &[],
            1 => &["tcp:80 from default", "tcp:80 to default"],
            2 => &["all from other", "all to other", "all from default", "all to default"],
            3 => &["udp from self", "udp to self", "tcp:443 to *.example.com", "all to 203.0.113.0/24"],
            4 => {
                let change = NetworkChange { dissolved: vec![of], ..NetworkChange::default() };
                return self.tell(program, &change);
            }
            _ => &["all from load-balancer", "all from self", "all to self", "all to platform"],
        };
        let rules: Vec<Rule> = texts.iter().map(|text| text.parse().expect("a rule")).collect();
        let groups = vec![GroupRules { group: of, rules }];
        self.tell(program, &NetworkChange { groups, ..NetworkChange::default() })
    }

    fn change_interface(&mut self, program: &mut Program<'_>) -> Option<()> {
        let task = program.below(TASKS)?;
        let groups: &[&str] = match program.below(4)? {
            0 => &["default"],
            1 => &["other"],
            2 => &["default", "other"],
            _ => {
                let change = NetworkChange { left: vec![id(task)], ..NetworkChange::default() };
                return self.tell(program, &change);
            }
        };
        let interfaces = vec![interface(task, groups, program.below(2)? == 0)];
        self.tell(program, &NetworkChange { interfaces, ..NetworkChange::default() })
    }

    /// Tells one worker or both of a change.
    fn tell(&mut self, program: &mut Program<'_>, change: &NetworkChange) -> Option<()> {
        self.was_changed = true;
        let told: &[usize] = match program.below(3)? {
            0 => &[0],
            1 => &[1],
            _ => &[0, 1],
        };
        told.iter().for_each(|worker| self.networks[*worker].apply(change.clone()));
        Some(())
    }

    /// A task has ended, and its worker knows it first.
    fn close(&mut self, program: &mut Program<'_>) -> Option<()> {
        self.interface(program)?.close_all();
        Some(())
    }

    fn look_at(&mut self, program: &mut Program<'_>) -> Option<()> {
        let network = &self.networks[program.below(2)?];
        let state = network.state(id(program.below(TASKS)?));
        assert!(state.connections.len() as u64 <= state.connection_count);
        Some(())
    }
}
