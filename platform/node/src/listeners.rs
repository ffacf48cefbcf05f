//! The TCP listeners of services: the sockets that the supervisor binds and hands to all its workers.
//!
//! It accepts nothing and knows no task: a worker leads what comes to the tasks of the service that it was told with the
//! socket. Nor does it decide which service has a port: `control` sees to it that two never ask for the same.
//!
//! Invariant: a port stays bound as long as a route names it, so connections that wait to be accepted outlive a worker
//! and a change of routes. One that can't be bound is said once, and tried again for as long as a route names it.

use crate::wire::TcpListenerTold;
use skiff_kit::{Backoff, Drain};
use skiff_ports::runtime::LISTENERS_MAX;
use skiff_types::{Listen, QualifiedName};
use std::collections::BTreeMap;
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
pub(crate) type Open = Arc<[(TcpListenerTold, Arc<TcpListener>)]>;

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
    /// What each service asks for that asks for anything.
    asked: BTreeMap<QualifiedName, Vec<Listen>>,
    bound: BTreeMap<u16, Arc<TcpListener>>,
    /// Ports that could not be bound, and how often in a row.
    failures: BTreeMap<u16, u32>,
    /// The node stops: nothing is bound any more.
    closed: bool,
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

    /// Services ask for these and no other listeners from now on.
    pub(crate) fn change(&self, changes: impl IntoIterator<Item = (QualifiedName, Vec<Listen>)>) {
        let mut state = self.state();
        let mut is_news = false;
        for (service, listen) in changes {
            let before = match listen.is_empty() {
                true => state.asked.remove(&service),
                false => state.asked.insert(service, listen.clone()),
            };
            is_news |= before.unwrap_or_default() != listen;
        }
        if is_news {
            self.settle(&mut state);
        }
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
        self.settle(&mut state);
    }

    fn retry_in(&self) -> Option<Duration> {
        let fewest = self.state().failures.values().min().copied()?;
        Some(Duration::from_millis(RETRY_BACKOFF.delay_ms(fewest)))
    }

    /// Binds what is asked for and not bound, closes what nobody asks for, and tells the workers if anything changed.
    fn settle(&self, state: &mut State) {
        let wanted = state.wanted();
        state.bound.retain(|port, _| wanted.contains_key(port));
        state.failures.retain(|port, _| wanted.contains_key(port));
        for (port, service) in &wanted {
            if !state.bound.contains_key(port) {
                state.bind(SocketAddr::new(self.address, *port), service);
            }
        }
        let open: Open = wanted
            .into_iter()
            .filter_map(|(port, service)| {
                let socket = state.bound.get(&port)?.clone();
                Some((TcpListenerTold { port, service }, socket))
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
    /// Which service each port is to lead to.
    fn wanted(&self) -> BTreeMap<u16, QualifiedName> {
        let mut wanted = BTreeMap::new();
        if self.closed {
            return wanted;
        }
        for (service, listen) in &self.asked {
            for Listen::Tcp(port) in listen {
                wanted.entry(*port).or_insert_with(|| service.clone());
            }
        }
        while wanted.len() > LISTENERS_MAX {
            if let Some((port, service)) = wanted.pop_last() {
                tracing::warn!(port, %service, "more than {LISTENERS_MAX} TCP listeners: this one is left out");
            }
        }
        wanted
    }

    fn bind(&mut self, address: SocketAddr, service: &QualifiedName) {
        let port = address.port();
        match bind(address) {
            Ok(socket) => {
                self.bound.insert(port, Arc::new(socket));
                if self.failures.remove(&port).is_some_and(|failures| failures >= SAID_AFTER) {
                    tracing::info!(%service, "listening at {address} now");
                }
            }
            Err(error) => {
                let failures = self.failures.entry(port).or_default();
                *failures = failures.saturating_add(1);
                if *failures == SAID_AFTER {
                    tracing::warn!(
                        %service, %error,
                        "can't listen at {address}, so nobody reaches the service there; it is tried again and again"
                    );
                }
            }
        }
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
    use std::net::{Ipv4Addr, TcpStream};

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn service(name: &str) -> QualifiedName {
        format!("default/{name}").parse().unwrap()
    }

    fn told(open: &watch::Receiver<Open>) -> Vec<(u16, String)> {
        open.borrow().iter().map(|(told, _)| (told.port, told.service.name.to_string())).collect()
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
        listeners.change([(service("a"), vec![Listen::Tcp(port)]), (service("c"), Vec::new())]);
        assert_eq!(told(&open), [(port, "a".to_owned())]);
        let waiting = TcpStream::connect((ADDRESS, port)).unwrap();
        let socket = Arc::downgrade(&open.borrow()[0].1);
        listeners.change([(service("a"), Vec::new()), (service("b"), vec![Listen::Tcp(port)])]);
        assert_eq!(told(&open), [(port, "b".to_owned())]);
        assert!(std::ptr::eq(socket.as_ptr(), Arc::as_ptr(&open.borrow()[0].1)), "the socket of before");
        listeners.change([(service("b"), Vec::new())]);
        assert_eq!((told(&open), socket.strong_count()), (Vec::new(), 0));
        drop(waiting);
    }

    #[test]
    fn who_is_told_nothing_new_is_not_told() {
        let (taken, port) = taken();
        drop(taken);
        let listeners = Listeners::new(ADDRESS);
        let mut open = listeners.subscribe();
        listeners.change([(service("a"), vec![Listen::Tcp(port)])]);
        assert!(open.has_changed().unwrap());
        open.mark_unchanged();
        listeners.change([(service("a"), vec![Listen::Tcp(port)]), (service("b"), Vec::new())]);
        assert!(!open.has_changed().unwrap());
    }

    #[test]
    fn a_port_that_somebody_else_has_is_tried_again() {
        let (taken, port) = taken();
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        listeners.change([(service("a"), vec![Listen::Tcp(port)])]);
        assert_eq!((told(&open), listeners.retry_in()), (Vec::new(), Some(Duration::from_millis(100))));
        listeners.settle(&mut listeners.state());
        assert_eq!(listeners.retry_in(), Some(Duration::from_millis(200)));
        drop(taken);
        listeners.settle(&mut listeners.state());
        assert_eq!((told(&open), listeners.retry_in()), (vec![(port, "a".to_owned())], None));
    }

    #[test]
    fn a_node_that_stops_listens_nowhere_any_more() {
        let (taken, port) = taken();
        drop(taken);
        let listeners = Listeners::new(ADDRESS);
        let open = listeners.subscribe();
        listeners.change([(service("a"), vec![Listen::Tcp(port)])]);
        listeners.close();
        listeners.change([(service("b"), vec![Listen::Tcp(port)])]);
        assert_eq!((told(&open), listeners.retry_in()), (Vec::new(), None));
    }
}
