//! Names outside: who asks the name servers, what a task may ask, and which addresses it learnt by which name.
//!
//! A guest never asks a name server itself. What it asks for here is looked up under `.internal` in the directory, and
//! elsewhere by [`Resolve`]; both families are told, IPv4 first, and services in an order of chance. What a name outside
//! led to is remembered per task, so that a rule for a host's name can be applied to the address that is connected to;
//! the address itself is what is judged, then and there.
//!
//! It deliberately keeps no answers (whoever resolves does), and appends no domains to search in.
//!
//! What always holds: nothing under `.internal` is asked of a name server, nor anything that no rule leads to; what a
//! task has asked at once, in a second, and what is remembered of it is bounded, and the last is charged to its memory.

mod host;

use crate::charge::Charge;
use crate::config::Limits;
use crate::error::NetError;
use crate::flow::{Ends, Remote};
use crate::interface::Interface;
use crate::names::InternalName;
use crate::rate::Rate;
use futures::future::{FutureExt, LocalBoxFuture};
use skiff_types::{Direction, Transport};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub use host::HostResolver;

/// Where name servers listen (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;
/// Bytes of a name without a dot at its end (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Bytes between two dots of it.
const LABEL_BYTES_MAX: usize = 63;

/// What a pair of name and address is charged with while it is remembered, beside the name.
const LEARNT_BYTES: u64 = 96;

/// Asks name servers.
pub trait Resolve {
    /// Looks up all addresses of a host. Its name is whole, in ASCII and lower case, without a dot at its end, and never
    /// under `.internal`. How long this may take is the caller's to say, who then drops it.
    ///
    /// # Errors
    /// `NameUnresolvable` if there is no such name or it has no address; `TemporaryResolverFailure` if that can't be known
    /// now.
    fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Resolved, NetError>>;
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// All addresses, in the order in which they are to be tried; at least one.
    pub addresses: Vec<IpAddr>,
    /// How long that is so.
    pub valid_for: Duration,
}

/// What one task has asked name servers for, and may.
pub(crate) struct LookUps {
    at_once: Semaphore,
    rate: Rate,
    learnt: RefCell<VecDeque<Learnt>>,
    charge: Rc<Charge>,
}

/// An address, and a name that led to it.
struct Learnt {
    address: IpAddr,
    name: Box<str>,
    until: Instant,
}

impl LookUps {
    pub(crate) fn new(limits: &Limits, charge: Rc<Charge>) -> Self {
        Self {
            at_once: Semaphore::new(limits.lookups_at_once_max.min(Semaphore::MAX_PERMITS)),
            rate: Rate::new(limits.lookups_per_second, limits.lookups_per_second),
            learnt: RefCell::default(),
            charge,
        }
    }

    /// The names that led to an address and still do, the newest first.
    pub(crate) fn names_of(&self, address: IpAddr) -> Rc<[Box<str>]> {
        let (address, now) = (address.to_canonical(), Instant::now());
        let learnt = self.learnt.borrow();
        let valid = learnt.iter().rev().filter(|learnt| learnt.address == address && learnt.until > now);
        valid.map(|learnt| learnt.name.clone()).collect()
    }

    /// # Errors
    /// `OutOfMemory` if the task's limit leaves no room to remember it; `Closed`.
    fn learn(&self, name: &str, resolved: &Resolved, limits: &Limits) -> Result<(), NetError> {
        self.forget_old();
        let until = Instant::now() + resolved.valid_for.max(limits.name_remembered_min);
        let mut learnt = self.learnt.borrow_mut();
        for address in resolved.addresses.iter().map(IpAddr::to_canonical) {
            let is_it = |known: &Learnt| known.address == address && *known.name == *name;
            let known = learnt.iter().position(is_it).and_then(|place| learnt.remove(place));
            let newest = match known {
                Some(known) => Learnt { until: known.until.max(until), ..known },
                None => {
                    self.charge.take(charged_bytes(name))?;
                    Learnt { address, name: name.into(), until }
                }
            };
            learnt.push_back(newest);
            if learnt.len() > limits.names_remembered_max
                && let Some(oldest) = learnt.pop_front()
            {
                self.charge.give_back(charged_bytes(&oldest.name));
            }
        }
        Ok(())
    }

    /// Forgets what does not hold any more.
    pub(crate) fn forget_old(&self) {
        let now = Instant::now();
        self.learnt.borrow_mut().retain(|learnt| {
            let holds = learnt.until > now;
            if !holds {
                self.charge.give_back(charged_bytes(&learnt.name));
            }
            holds
        });
    }
}

fn charged_bytes(name: &str) -> u64 {
    LEARNT_BYTES + name.len() as u64
}

impl Interface {
    /// The addresses of a host: an address as it is, a name under `.internal` as of now, any other as name servers say. A
    /// name is one in ASCII: who has another encodes it first (RFC 5891).
    ///
    /// # Errors
    /// `InvalidArgument` if it is no name of a host; `Denied` for a host outside that no rule leads to;
    /// `NameUnresolvable` if there is none of that name; `TemporaryResolverFailure` if no name server answers in time,
    /// too much is asked at once, or none of a service's tasks is ready; `OutOfMemory` if the task's memory limit
    /// leaves no room to remember the answer; `Closed`.
    pub fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Vec<IpAddr>, NetError>> {
        if let Ok(address) = name.parse() {
            return std::future::ready(Ok(vec![address])).boxed_local();
        }
        let (interface, name) = (self.clone(), canonical(name));
        async move {
            interface.check_open()?;
            let name = name.ok_or(NetError::InvalidArgument)?;
            let meant = InternalName::parse(&name).map_err(|_| NetError::NameUnresolvable)?;
            match meant {
                Some(name) => interface.look_up_inside(&name),
                None => {
                    let within = interface.network().limits().lookup_timeout;
                    let answer = timeout(within, interface.look_up_outside(&name)).await;
                    answer.unwrap_or(Err(NetError::TemporaryResolverFailure))
                }
            }
        }
        .boxed_local()
    }

    fn look_up_inside(&self, name: &InternalName) -> Result<Vec<IpAddr>, NetError> {
        let network = self.network();
        let mut tasks = match name {
            InternalName::Task(task) => {
                vec![network.address_of(*task).ok_or(NetError::NameUnresolvable)?]
            }
            InternalName::Listener(listener) if network.has_internal_listener(listener) => {
                vec![network.platform_address()]
            }
            InternalName::Listener(_) => return Err(NetError::NameUnresolvable),
            InternalName::Service(service) => {
                let ready = network.service(service).ok_or(NetError::NameUnresolvable)?;
                ready.iter().map(|ready| ready.address).collect()
            }
        };
        if tasks.is_empty() {
            return Err(NetError::TemporaryResolverFailure);
        }
        fastrand::shuffle(&mut tasks);
        // A task that is told is told whole.
        tasks.truncate((network.limits().addresses_of_name_max / 2).max(1));
        let v4 = tasks.iter().map(|address| IpAddr::from(address.v4));
        let v6 = tasks.iter().map(|address| IpAddr::from(address.v6));
        Ok(v4.chain(v6).collect())
    }

    async fn look_up_outside(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        if let Some(missing) = self.network().missing_for_look_up(&self.identity(), name) {
            let sentence = missing.reason.clone();
            self.note_denial(&self.look_up_of(name), missing);
            return Err(NetError::Denied(sentence));
        }
        let look_ups = self.look_ups();
        let _place = look_ups.at_once.acquire().await.map_err(|_| NetError::Closed)?;
        look_ups.rate.turn().await;
        look_ups.rate.spend(1);
        let network = self.network();
        let mut resolved = network.resolver().resolve(name).await?;
        resolved.addresses.truncate(network.limits().addresses_of_name_max);
        look_ups.learn(name, &resolved, network.limits())?;
        match resolved.addresses.is_empty() {
            true => Err(NetError::NameUnresolvable),
            false => Ok(resolved.addresses),
        }
    }
}

impl Interface {
    /// A look-up as the flow log has it: a datagram to whichever name server.
    fn look_up_of(&self, name: &str) -> Ends {
        Ends {
            direction: Direction::Egress,
            transport: Transport::Udp,
            local: SocketAddr::new(self.address().v4.into(), 0),
            remote: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), DNS_PORT),
            who: Remote::Outside([name.into()].into()),
        }
    }
}

/// A host's name as name servers know it, if it is one: in lower case, and without a dot at its end.
fn canonical(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let of_a_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(of_a_host);
    (name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ledger::{Ledger, MemoryClaim, TaskSlot};

    #[test]
    fn a_name_is_one_of_a_host_or_none() {
        for (written, name) in [
            ("example.com", "example.com"),
            ("Example.COM.", "example.com"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("_dns.resolver.arpa", "_dns.resolver.arpa"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(name), "{written}");
        }
        let (long_label, long) = (format!("{}.example", "a".repeat(64)), vec!["a"; 128].join("."));
        for written in
            ["", ".", "a..b", "a b", "a.b<&>", "a.b:80", "a/b", "a.b..", "a\0.b", "ü.de", &long_label, &long]
        {
            assert_eq!(canonical(written), None, "{written:?}");
        }
    }

    const STEP_BYTES: u64 = 64 << 10;

    /// Of a task whose limit on memory is `limit_bytes`, and its account.
    fn look_ups(limits: &Limits, limit_bytes: u64) -> (LookUps, TaskSlot) {
        let slot = Ledger::create(1).unwrap().0.task(0);
        let charge = Charge::new(MemoryClaim::new(slot.clone(), 0, limit_bytes));
        (LookUps::new(limits, Rc::new(charge)), slot)
    }

    fn resolved(addresses: &[&str], valid_for_s: u64) -> Resolved {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Resolved { addresses, valid_for: Duration::from_secs(valid_for_s) }
    }

    fn names_of(look_ups: &LookUps, address: &str) -> Vec<String> {
        look_ups.names_of(address.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_remembered_for_its_time_and_a_minute_at_least() {
        let limits = Limits::default();
        let (look_ups, _slot) = look_ups(&limits, STEP_BYTES);
        let names = |address| names_of(&look_ups, address);
        look_ups.learn("a.example", &resolved(&["192.0.2.1", "192.0.2.2"], 1), &limits).unwrap();
        look_ups.learn("b.example", &resolved(&["192.0.2.1"], 600), &limits).unwrap();
        assert_eq!(names("192.0.2.1"), ["b.example", "a.example"]);
        assert_eq!(names("::ffff:192.0.2.2"), ["a.example"], "the same address in other words");
        assert!(names("192.0.2.3").is_empty());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(names("192.0.2.2").len(), 1);
        look_ups.learn("a.example", &resolved(&["192.0.2.2"], 1), &limits).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(names("192.0.2.1"), ["b.example"]);
        assert_eq!(names("192.0.2.2"), ["a.example"], "asked for again, it is known anew");
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(names("192.0.2.1").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_names_are_forgotten_first() {
        let limits = Limits { names_remembered_max: 3, ..Limits::default() };
        let (look_ups, _slot) = look_ups(&limits, STEP_BYTES);
        for number in 1..=5 {
            let name = format!("{number}.example");
            look_ups.learn(&name, &resolved(&["192.0.2.1"], 600), &limits).unwrap();
        }
        assert_eq!(names_of(&look_ups, "192.0.2.1"), ["5.example", "4.example", "3.example"]);
    }
    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_charged_until_it_is_forgotten() {
        let limits = Limits { names_remembered_max: usize::MAX, ..Limits::default() };
        let (look_ups, slot) = look_ups(&limits, STEP_BYTES);
        let learn = |number: u64, valid_for_s| {
            let name = format!("{number}.{}.example", "a".repeat(63));
            look_ups.learn(&name, &resolved(&["192.0.2.1"], valid_for_s), &limits)
        };
        let fit = (0..).take_while(|number| learn(*number, 60).is_ok()).count() as u64;
        assert!((300..STEP_BYTES / LEARNT_BYTES).contains(&fit), "{fit} names in {STEP_BYTES} bytes");
        assert_eq!(learn(fit, 60), Err(NetError::OutOfMemory));
        assert_eq!(learn(0, 60), Ok(()), "it is known already");
        assert_eq!(slot.memory_bytes(), STEP_BYTES);
        tokio::time::advance(Duration::from_secs(61)).await;
        look_ups.forget_old();
        assert_eq!(slot.memory_bytes(), 0);
        assert_eq!(learn(fit, 60), Ok(()));
    }
}
