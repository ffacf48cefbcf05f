//! Listeners: the sockets that the supervisor binds and hands to all its workers, for services that ask for TCP ports and for
//! the load balancer's public listeners. The built-in one is not among them: its socket was bound before.
//!
//! It accepts nothing and knows no task: a worker leads what comes to where it was told with the socket. Nor does it decide
//! who has a port: `control` sees to it that two never ask for the same. Where two do all the same, a service goes before a
//! listener, and of the same kind the first by name; that the other has none is said once.
//!
//! Invariant: a port stays bound as long as anybody asks for it, so connections that wait to be accepted outlive a worker
//! and a change of who it is. One that can't be bound is said once, and to whoever asks, and tried again for as long as it is
//! asked for. A listener that asks for another port stays where it is until it has that one, unless somebody else asks for
//! the old one meanwhile.

use crate::wire::{Leads, ListenerTold};
use skiff_kit::{Backoff, Drain};
use skiff_ports::balancer::BalancerChange;
use skiff_types::{BUILT_IN_LISTENER, LISTENERS_MAX, Listen, ListenerSpec, Name, QualifiedName, Scheme};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Connections that may wait to be accepted at one port; the kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: i32 = 4_096;
/// Waits between attempts to bind a port.
const RETRY_BACKOFF: Backoff = Backoff { first_ms: 100, most_ms: 5_000 };
/// After so many attempts in a row it is said that a port can't be bound. The first may fail because workers have not
/// closed yet what they had at that port before.
const SAID_AFTER: u32 = 2;

/// All listeners as every worker is told them, each with its socket, in the order of their ports.
pub(crate) type Open = Arc<[(ListenerTold, Arc<TcpListener>)]>;

/// Who asks for which ports from now on; for none, if that is empty.
pub(crate) type Asked = (Leads, Vec<u16>);

/// What a service asks for beside HTTP.
pub(crate) fn asked_by_service(service: QualifiedName, listen: &[Listen]) -> Asked {
    let ports = listen.iter().map(|Listen::Tcp(port)| *port).collect();
    (Leads::Service(service), ports)
}

/// What listeners ask for that are otherwise than before.
pub(crate) fn asked_by_listeners(change: &BalancerChange) -> impl Iterator<Item = Asked> {
    let asked = |listener: &Arc<ListenerSpec>| {
        let ports = if has_socket(listener) { vec![listener.port] } else { Vec::new() };
        (Leads::Listener(listener.name.clone()), ports)
    };
    let gone = change.closed.iter().map(|name| (Leads::Listener(name.clone()), Vec::new()));
    change.listeners.iter().map(asked).chain(gone)
}

/// Whether a listener is at a port of the node that is bound here.
fn has_socket(listener: &ListenerSpec) -> bool {
    listener.scheme == Scheme::Public && listener.name.as_str() != BUILT_IN_LISTENER
}

/// The listeners of a node.
#[derive(Debug)]
pub(crate) struct Listeners {
    address: IpAddr,
    state: Mutex<State>,
    open: watch::Sender<Open>,
    /// Told when a port could not be bound.
    missing: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The ports that everybody asks for who asks for any.
    asked: BTreeMap<Leads, Vec<u16>>,
    /// What was asked for and can't be had, as it was said last.
    left_out: BTreeSet<(u16, Leads)>,
    /// Where listeners still are that ask for another port by now and don't have it yet.
    stay_at: BTreeMap<Leads, u16>,
    bound: BTreeMap<u16, Arc<TcpListener>>,
    /// Ports that could not be bound.
    failures: BTreeMap<u16, Failures>,
    /// The node stops: nothing is bound any more.
    closed: bool,
}

/// Attempts to bind a port, all in vain.
#[derive(Debug, Default)]
struct Failures {
    /// How many in a row.
    count: u32,
    /// What the operating system said last.
    why: String,
}

/// What is to be listened at.
#[derive(Debug, Default)]
struct Wanted {
    leads: BTreeMap<u16, Leads>,
    /// What has no place among them.
    left_out: BTreeSet<(u16, Leads)>,
}

impl Listeners {
    /// Listeners at ports of this address, of which there are none yet.
    pub(crate) fn new(address: IpAddr) -> Self {
        let (state, missing) = (Mutex::default(), Notify::new());
        Self { address, state, open: watch::Sender::new(Open::default()), missing }
    }

    /// What is listened at, whenever it changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Open> {
        self.open.subscribe()
    }

    /// Those that are named ask for these and no other ports from now on.
    pub(crate) fn change(&self, changes: impl IntoIterator<Item = Asked>) {
        let mut state = self.state();
        let mut is_news = false;
        for (who, ports) in changes {
            is_news |= state.ask(who, ports);
        }
        if is_news {
            self.settle(&mut state);
        }
    }

    /// Why nobody reaches a listener at its port, if that can't be had at present, and what to do.
    pub(crate) fn problem(&self, listener: &Name) -> Option<String> {
        let state = self.state();
        let who = Leads::Listener(listener.clone());
        let port = *state.asked.get(&who)?.first()?;
        let why = match state.left_out.contains(&(port, who.clone())) {
            true => format!("others have the port {port}, or all there may be"),
            false => {
                let why = &state.failures.get(&port)?.why;
                format!("can't listen at {}: {why}", SocketAddr::new(self.address, port))
            }
        };
        let reached = match state.stay_at.get(&who) {
            Some(old) => format!("it is still reached at the port {old} alone"),
            None => "nobody reaches it".to_owned(),
        };
        Some(format!(
            "{reached}: {why}; free that port, or give the listener another with `skiff listener create {listener} --port \
             PORT`; it is tried again and again"
        ))
    }

    /// Tries again what could not be bound, until the drain begins.
    pub(crate) async fn keep(&self, drain: &Drain) {
        loop {
            let retry = async {
                match self.retry_in() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = drain.begun() => return,
                () = self.missing.notified() => {}
                () = retry => self.settle(&mut self.state()),
            }
        }
    }

    /// Closes all, for good: whoever connects from now on is refused at once.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.stay_at.clear();
        self.settle(&mut state);
    }

    fn retry_in(&self) -> Option<Duration> {
        let fewest = self.state().failures.values().map(|failures| failures.count).min()?;
        Some(Duration::from_millis(RETRY_BACKOFF.delay_ms(fewest)))
    }

    /// Binds what is asked for and not bound, closes what nobody asks for or stays at, and tells the workers if anything
    /// changed.
    fn settle(&self, state: &mut State) {
        let Wanted { mut leads, left_out } = state.wanted();
        left_out.difference(&state.left_out).for_each(|(port, who)| say_left_out(*port, who, &leads));
        state.left_out = left_out;
        state.failures.retain(|port, _| leads.contains_key(port));
        for (port, leads) in &leads {
            if !state.bound.contains_key(port) {
                state.bind(SocketAddr::new(self.address, *port), leads);
            }
        }
        leads.retain(|port, _| state.bound.contains_key(port));
        state.stay(&mut leads);
        state.bound.retain(|port, _| leads.contains_key(port));
        let open: Open = leads
            .into_iter()
            .filter_map(|(port, leads)| {
                let socket = state.bound.get(&port)?.clone();
                Some((ListenerTold { port, leads }, socket))
            })
            .collect();
        self.open.send_if_modified(|told| {
            let differs = !are_same(told, &open);
            if differs {
                *told = open;
            }
            differs
        });
        if !state.failures.is_empty() {
            self.missing.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    /// Somebody asks for these and no other ports from now on; says whether that is news.
    fn ask(&mut self, who: Leads, ports: Vec<u16>) -> bool {
        let before = self.asked.remove(&who).unwrap_or_default();
        let is_news = before != ports;
        match (&who, before.first(), ports.is_empty()) {
            (_, _, true) => {
                self.stay_at.remove(&who);
            }
            (Leads::Listener(_), Some(old), false) if is_news && self.has(&who, *old) => {
                self.stay_at.entry(who.clone()).or_insert(*old);
            }
            (Leads::Listener(_) | Leads::Service(_), _, false) => {}
        }
        if !ports.is_empty() {
            self.asked.insert(who, ports);
        }
        is_news
    }

    /// Whether somebody has a port that was asked for.
    fn has(&self, who: &Leads, port: u16) -> bool {
        self.bound.contains_key(&port) && !self.left_out.contains(&(port, who.clone()))
    }

    /// Of what is bound, adds what listeners stay at that don't have yet what they ask for, if nobody else has that.
    fn stay(&mut self, leads: &mut BTreeMap<u16, Leads>) {
        let asked = &self.asked;
        self.stay_at.retain(|who, old| {
            let wanted = asked.get(who).and_then(|ports| ports.first());
            let has_it = wanted.is_some_and(|port| leads.get(port) == Some(who));
            let stays = !has_it && !leads.contains_key(&*old) && leads.len() < LISTENERS_MAX;
            if stays {
                leads.insert(*old, who.clone());
            }
            stays
        });
    }

    /// Where each port is to lead, and who has to do without.
    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        if self.closed {
            return wanted;
        }
        for (who, ports) in &self.asked {
            for port in ports {
                let has_it = wanted.leads.entry(*port).or_insert_with(|| who.clone());
                if has_it != who {
                    wanted.left_out.insert((*port, who.clone()));
                }
            }
        }
        while wanted.leads.len() > LISTENERS_MAX {
            wanted.left_out.extend(wanted.leads.pop_last());
        }
        wanted
    }

    fn bind(&mut self, address: SocketAddr, leads: &Leads) {
        let port = address.port();
        match bind(address) {
            Ok(socket) => {
                self.bound.insert(port, Arc::new(socket));
                if self.failures.remove(&port).is_some_and(|failures| failures.count >= SAID_AFTER) {
                    tracing::info!("listening at {address} for {leads} now");
                }
            }
            Err(error) => {
                let failures = self.failures.entry(port).or_default();
                failures.count = failures.count.saturating_add(1);
                failures.why = error.to_string();
                if failures.count == SAID_AFTER {
                    tracing::warn!(
                        %error,
                        "can't listen at {address}, so nobody reaches {leads} there; it is tried again and again"
                    );
                }
            }
        }
    }
}

/// Says that somebody has not the port that was asked for, and why.
fn say_left_out(port: u16, who: &Leads, leads: &BTreeMap<u16, Leads>) {
    match leads.get(&port) {
        Some(has_it) => tracing::error!("{has_it} has port {port}, so nobody reaches {who} there"),
        None => tracing::error!("more than {LISTENERS_MAX} ports are asked for: {who} has no port {port}"),
    }
}

fn are_same(told: &Open, open: &Open) -> bool {
    let mut pairs = told.iter().zip(open.iter());
    told.len() == open.len() && pairs.all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    // The standard library lets fewer connections wait to be accepted.
    rustix::net::listen(&socket, BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{Action, FixedResponse, ListenerProtocol};
    use std::net::{Ipv4Addr, TcpStream};

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn service(name: &str) -> QualifiedName {
        format!("default/{name}").parse().unwrap()
    }

    fn told(open: &watch::Receiver<Open>) -> Vec<(u16, String)> {
        let name = |leads: &Leads| match leads {
            Leads::Service(service) => service.name.to_string(),
            Leads::Listener(listener) => format!("listener {listener}"),
        };
        open.borrow().iter().map(|(told, _)| (told.port, name(&told.leads))).collect()
    }

    fn listener(name: &str, port: u16, scheme: Scheme) -> Arc<ListenerSpec> {
        Arc::new(ListenerSpec {
            name: name.parse().unwrap(),
            protocol: ListenerProtocol::Http,
            port,
            scheme,
            certificates: Vec::new(),
            services: false,
            default_action: Action::FixedResponse(FixedResponse::status(404)),
            client_limit: None,
        })
    }

    fn asks(name: &str, ports: &[u16]) -> Asked {
        (Leads::Service(service(name)), ports.to_vec())
    }

    /// A port that nobody has, and who has it until then.
    fn taken() -> (TcpListener, u16) {
        let taken = TcpListener::bind((ADDRESS, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        (taken, port)
    }

    #[test]
    fn a_port_is_open_while_a_route_names_it_and_goes_from_service_to_service_as_it_is() {
        let (taken, port) = taken();
        drop(taken);
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        listeners.change([asks("a", &[port]), asks("c", &[])]);
        assert_eq!(told(&open), [(port, "a".to_owned())]);
        let waiting = TcpStream::connect((ADDRESS, port)).unwrap();
        let socket = Arc::downgrade(&open.borrow()[0].1);
        listeners.change([asks("a", &[]), asks("b", &[port])]);
        assert_eq!(told(&open), [(port, "b".to_owned())]);
        assert!(std::ptr::eq(socket.as_ptr(), Arc::as_ptr(&open.borrow()[0].1)), "the socket of before");
        listeners.change([asks("b", &[])]);
        assert_eq!((told(&open), socket.strong_count()), (Vec::new(), 0));
        drop(waiting);
    }

    #[test]
    fn of_two_that_ask_for_a_port_the_first_has_it_until_it_lets_go() {
        let (taken, port) = taken();
        drop(taken);
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        listeners.change([asks("b", &[port]), asks("a", &[port])]);
        assert_eq!(told(&open), [(port, "a".to_owned())]);
        let left_out = BTreeSet::from([(port, Leads::Service(service("b")))]);
        assert_eq!(listeners.state().left_out, left_out);
        listeners.change([asks("a", &[])]);
        assert_eq!(told(&open), [(port, "b".to_owned())]);
        assert!(listeners.state().left_out.is_empty());
    }

    #[test]
    fn there_are_no_more_than_can_be_told_at_once() {
        let mut state = State::default();
        let most = LISTENERS_MAX as u16;
        state.asked.extend([asks("a", &(1..=most + 2).collect::<Vec<_>>())]);
        let Wanted { leads, left_out } = state.wanted();
        assert!(leads.into_keys().eq(1..=most));
        assert!(left_out.into_iter().map(|(port, _)| port).eq([most + 1, most + 2]));
    }

    #[test]
    fn a_public_listener_has_a_socket_unless_it_was_bound_before() {
        let ((first, one), (second, other)) = (taken(), taken());
        drop((first, second));
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        let change = |listener| BalancerChange { listeners: vec![listener], ..BalancerChange::default() };
        let tell = |change: &BalancerChange| listeners.change(asked_by_listeners(change));
        tell(&change(listener(BUILT_IN_LISTENER, one, Scheme::Public)));
        assert!(told(&open).is_empty());
        tell(&change(listener("edge", one, Scheme::Public)));
        assert_eq!(told(&open), [(one, "listener edge".to_owned())]);
        tell(&change(listener("edge", other, Scheme::Public)));
        assert_eq!(told(&open), [(other, "listener edge".to_owned())]);
        tell(&change(listener("edge", other, Scheme::Internal)));
        assert!(told(&open).is_empty());
        tell(&change(listener("edge", other, Scheme::Public)));
        assert_eq!(told(&open), [(other, "listener edge".to_owned())]);
        let closed = vec!["edge".parse().unwrap()];
        tell(&BalancerChange { closed, ..BalancerChange::default() });
        assert!(told(&open).is_empty());
    }

    /// Says that the listener `edge` is to be at a port.
    fn move_to(listeners: &Listeners, port: u16) {
        let listener = listener("edge", port, Scheme::Public);
        let change = BalancerChange { listeners: vec![listener], ..BalancerChange::default() };
        listeners.change(asked_by_listeners(&change));
    }

    #[test]
    fn a_listener_that_moves_stays_where_it_is_until_it_has_the_other_port() {
        let ((free, old), (has_it, new)) = (taken(), taken());
        drop(free);
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        let edge = "edge".parse().unwrap();
        move_to(&listeners, old);
        let socket = Arc::downgrade(&open.borrow()[0].1);
        move_to(&listeners, new);
        assert_eq!(told(&open), [(old, "listener edge".to_owned())]);
        assert!(std::ptr::eq(socket.as_ptr(), Arc::as_ptr(&open.borrow()[0].1)), "the socket of before");
        let said = listeners.problem(&edge).unwrap();
        for part in [
            format!("still reached at the port {old} alone: can't listen at {ADDRESS}:{new}: "),
            "`skiff listener create edge --port PORT`".to_owned(),
        ] {
            assert!(said.contains(&part), "{said}");
        }
        drop(has_it);
        listeners.settle(&mut listeners.state());
        assert_eq!((told(&open), listeners.problem(&edge)), (vec![(new, "listener edge".to_owned())], None));
        assert!(socket.upgrade().is_none() && listeners.state().stay_at.is_empty());
    }

    #[test]
    fn who_waits_for_its_port_may_go_elsewhere_or_back() {
        let ((free, old), (_has_it, new), (also_free, third)) = (taken(), taken(), taken());
        drop((free, also_free));
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        for (port, is_at) in [(old, old), (new, old), (old, old), (new, old), (third, third), (new, third)] {
            move_to(&listeners, port);
            assert_eq!(told(&open), [(is_at, "listener edge".to_owned())]);
            assert_eq!(listeners.problem(&"edge".parse().unwrap()).is_some(), port != is_at);
        }
        let closed = vec!["edge".parse().unwrap()];
        listeners.change(asked_by_listeners(&BalancerChange { closed, ..BalancerChange::default() }));
        assert!(told(&open).is_empty() && listeners.state().stay_at.is_empty());
    }

    #[test]
    fn a_port_that_is_only_stayed_at_is_whoevers_who_asks_for_it() {
        let ((free, old), (_has_it, new)) = (taken(), taken());
        drop(free);
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        move_to(&listeners, old);
        move_to(&listeners, new);
        listeners.change([asks("a", &[old])]);
        assert_eq!(told(&open), [(old, "a".to_owned())]);
        let said = listeners.problem(&"edge".parse().unwrap()).unwrap();
        assert!(said.starts_with("nobody reaches it: can't listen at"), "{said}");
        move_to(&listeners, old);
        move_to(&listeners, new);
        assert_eq!(told(&open), [(old, "a".to_owned())], "it was never there");
        listeners.close();
        assert!(told(&open).is_empty());
    }

    #[test]
    fn who_is_told_nothing_new_is_not_told() {
        let (taken, port) = taken();
        drop(taken);
        let listeners = Listeners::new(ADDRESS);
        let mut open = listeners.subscribe();
        listeners.change([asks("a", &[port])]);
        assert!(open.has_changed().unwrap());
        open.mark_unchanged();
        listeners.change([asks("a", &[port]), asks("b", &[])]);
        assert!(!open.has_changed().unwrap());
    }

    #[test]
    fn a_port_that_somebody_else_has_is_tried_again() {
        let (taken, port) = taken();
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        listeners.change([asks("a", &[port])]);
        assert_eq!((told(&open), listeners.retry_in()), (Vec::new(), Some(Duration::from_millis(100))));
        listeners.settle(&mut listeners.state());
        assert_eq!(listeners.retry_in(), Some(Duration::from_millis(200)));
        drop(taken);
        listeners.settle(&mut listeners.state());
        assert_eq!((told(&open), listeners.retry_in()), (vec![(port, "a".to_owned())], None));
    }

    #[test]
    fn a_listener_whose_port_somebody_else_has_has_a_problem_until_it_is_bound() {
        let (taken, port) = taken();
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        let problem = |name: &str| listeners.problem(&name.parse().unwrap());
        let tell = |name, scheme| {
            let change =
                BalancerChange { listeners: vec![listener(name, port, scheme)], ..BalancerChange::default() };
            listeners.change(asked_by_listeners(&change));
        };
        assert_eq!(problem("edge"), None);
        tell("edge", Scheme::Public);
        let said = problem("edge").unwrap();
        assert!(said.contains(&format!("can't listen at {ADDRESS}:{port}: ")), "{said}");
        tell("inside", Scheme::Internal);
        assert_eq!(problem("inside"), None);
        drop(taken);
        listeners.settle(&mut listeners.state());
        assert_eq!((told(&open), problem("edge")), (vec![(port, "listener edge".to_owned())], None));
        tell("later", Scheme::Public);
        let said = problem("later").unwrap();
        assert!(said.contains(&format!("others have the port {port}")), "{said}");
    }

    #[test]
    fn a_node_that_stops_listens_nowhere_any_more() {
        let (taken, port) = taken();
        drop(taken);
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        listeners.change([asks("a", &[port])]);
        listeners.close();
        listeners.change([asks("b", &[port])]);
        assert_eq!((told(&open), listeners.retry_in()), (Vec::new(), None));
    }
}
