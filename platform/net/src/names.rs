//! Names under `.internal`: what they mean, and which tasks a service's name leads to.
//!
//! `NAME.NS.internal` is a service: its ready tasks. `ID.task.internal` is one task, whether ready or not;
//! `NAME.listener.internal` an internal listener of the load balancer. So no service is found by name in a namespace called
//! `task` or `listener`. There are no search domains: a name is always written whole.
//!
//! It deliberately does not look anything up outside, and knows no addresses but those that tasks were given.
//!
//! What always holds: nothing under `.internal` is asked of the outside, whether it means anything or not; a task that is
//! not ready is in no answer for its service.

use skiff_ledger::TaskSlot;
use skiff_ports::network::NetworkInterface;
use skiff_types::{INTERNAL_LISTENER_DOMAIN, Kind, Name, QualifiedName, TaskAddress, TaskId};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

/// The domain of the platform's own names; reserved for such use by ICANN (resolution 2024.07.29.06).
pub const INTERNAL: &str = "internal";
/// The label that stands for a namespace in the names of single tasks.
const TASK: &str = "task";
/// The same in the names of internal listeners.
const LISTENER: &str = "listener";
/// Longest name, in bytes, without a dot at its end (RFC 1035, section 2.3.4).
const LENGTH_MAX: usize = 253;

/// What a name under `.internal` means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InternalName {
    /// The ready tasks of a service.
    Service(QualifiedName),
    /// One task.
    Task(TaskId),
    /// An internal listener of the load balancer.
    Listener(Name),
}

/// The text is a name of nobody: under `.internal` without being a name there, or no name of a host at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "nobody has that name: NAME.NAMESPACE.internal is a service, ID.task.internal a task, NAME.listener.internal an \
     internal listener"
)]
pub struct UnknownName;

impl InternalName {
    /// What a host's name means; `None` if it is not under `.internal`, so that the outside may be asked. The case of
    /// letters does not count, nor does one dot at the end.
    ///
    /// The name is one in ASCII: who has another encodes it first (RFC 5891), or two spellings would meet only where
    /// nobody looks at them any more.
    ///
    /// # Errors
    /// If it means nothing: nobody is to be asked then.
    pub fn parse(name: &str) -> Result<Option<Self>, UnknownName> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let of_a_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let labels = || name.split('.');
        if name.len() > LENGTH_MAX || !name.bytes().all(of_a_host) || labels().any(str::is_empty) {
            return Err(UnknownName);
        }
        let lower = name.to_ascii_lowercase();
        let mut labels = lower.rsplit('.');
        if labels.next() != Some(INTERNAL) {
            return Ok(None);
        }
        let (Some(place), Some(first), None) = (labels.next(), labels.next(), labels.next()) else {
            return Err(UnknownName);
        };
        let meant = match place {
            TASK => Self::Task(first.parse().map_err(|_| UnknownName)?),
            LISTENER => Self::Listener(first.parse().map_err(|_| UnknownName)?),
            _ => {
                let namespace = place.parse().map_err(|_| UnknownName)?;
                Self::Service(QualifiedName::new(namespace, first.parse().map_err(|_| UnknownName)?))
            }
        };
        Ok(Some(meant))
    }
}

impl fmt::Display for InternalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(QualifiedName { namespace, name }) => write!(f, "{name}.{namespace}.{INTERNAL}"),
            Self::Task(task) => write!(f, "{task}.{TASK}.{INTERNAL}"),
            Self::Listener(listener) => write!(f, "{listener}.{INTERNAL_LISTENER_DOMAIN}"),
        }
    }
}

/// A task that a service's name leads to.
#[derive(Debug, Clone)]
pub struct ServiceTask {
    /// Which.
    pub task: TaskId,
    /// What its component's exports make of it.
    pub kind: Kind,
    /// Its addresses.
    pub address: TaskAddress,
    /// Its account: who balances compares what is outstanding there.
    pub slot: TaskSlot,
}

/// The services that have tasks, and which of those are ready. A change costs what it changes; a list for those who
/// look up is made when the first of them does, and shared until the next change of that service.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    services: HashMap<QualifiedName, Service>,
}

/// What is to be known of a service's task, if it is ready. Apart, since a map makes room for eleven values where it has
/// one, and most services have one task.
type Known = Option<Box<ServiceTask>>;

/// A service's tasks.
#[derive(Debug, Default)]
struct Service {
    tasks: BTreeMap<TaskId, Known>,
    ready: OnceCell<Rc<[ServiceTask]>>,
}

impl Directory {
    /// Takes in a task that is new or has changed. One that is in no service is of none.
    pub(crate) fn put(&mut self, interface: &NetworkInterface, slot: &TaskSlot) {
        let NetworkInterface { task, kind, address, .. } = *interface;
        if interface.in_service {
            let service = self.services.entry(interface.owner.clone()).or_default();
            let known = || Box::new(ServiceTask { task, kind, address, slot: slot.clone() });
            service.tasks.insert(task, interface.ready.then(known));
            service.ready.take();
        }
    }

    /// Forgets a task; its service with the last of them.
    pub(crate) fn remove(&mut self, interface: &NetworkInterface) {
        let of_service = self.services.get_mut(&interface.owner).filter(|_| interface.in_service);
        let Some(service) = of_service else { return };
        service.tasks.remove(&interface.task);
        service.ready.take();
        if service.tasks.is_empty() {
            self.services.remove(&interface.owner);
        }
    }

    /// The ready tasks of a service, in the order of their ids; none of them where none is ready at present, `None` where
    /// no task is in such a service.
    pub(crate) fn service(&self, name: &QualifiedName) -> Option<Rc<[ServiceTask]>> {
        let service = self.services.get(name)?;
        let ready = || service.tasks.values().flatten().map(|known| ServiceTask::clone(known)).collect();
        Some(service.ready.get_or_init(ready).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ledger::Ledger;
    use skiff_types::DEFAULT_GROUP;

    const ID: &str = "0193f0c5c00070008000000000000001";

    fn meant(name: &str) -> Result<Option<String>, UnknownName> {
        Ok(InternalName::parse(name)?.map(|name| name.to_string()))
    }

    #[test]
    fn a_name_is_a_service_a_task_or_a_listener_in_any_case_and_with_a_dot_at_its_end() {
        for (name, is) in [
            ("cache.shop.internal", "cache.shop.internal".to_owned()),
            ("Cache.SHOP.Internal.", "cache.shop.internal".to_owned()),
            ("web.default.internal", "web.default.internal".to_owned()),
            ("Api.LISTENER.internal.", "api.listener.internal".to_owned()),
            (format!("{ID}.task.internal").as_str(), format!("{ID}.task.internal")),
            (format!("{}.TASK.internal.", ID.to_uppercase()).as_str(), format!("{ID}.task.internal")),
        ] {
            assert_eq!(meant(name), Ok(Some(is)), "{name}");
        }
        let listener = InternalName::Listener("api".parse().unwrap());
        assert_eq!(InternalName::parse(&listener.to_string()), Ok(Some(listener)));
    }

    #[test]
    fn what_is_not_under_internal_may_be_asked_of_the_outside() {
        for name in
            ["example.com", "example.com.", "internal.example.com", "notinternal", "a.b.internals", "x"]
        {
            assert_eq!(meant(name), Ok(None), "{name}");
        }
    }

    #[test]
    fn what_is_under_internal_and_means_nothing_is_asked_of_nobody() {
        let deep = format!("a.{ID}.task.internal");
        for name in [
            "internal",
            "INTERNAL.",
            "web.internal",
            "a.web.default.internal",
            "1web.default.internal",
            "web.de_fault.internal",
            "task.internal",
            "web.task.internal",
            "0001.task.internal",
            "listener.internal",
            "1api.listener.internal",
            "a.api.listener.internal",
            &deep,
        ] {
            assert_eq!(meant(name), Err(UnknownName), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_of_a_host_is_asked_of_nobody() {
        let long = ["a"; 128].join(".");
        for name in [
            "",
            ".",
            "a..b",
            ".internal",
            "a.b.internal..",
            "a.b.\\105nternal",
            "a b.example",
            "a.b.internal\0",
            "a。b。internal",
            "a/b.example",
            &long,
        ] {
            assert_eq!(meant(name), Err(UnknownName), "{name:?}");
        }
    }

    fn interface(number: u8, owner: &str, in_service: bool, ready: bool) -> NetworkInterface {
        NetworkInterface {
            task: TaskId::from_parts(u64::from(number), [number; 10]),
            owner: owner.parse().unwrap(),
            in_service,
            kind: Kind::Http,
            address: TaskAddress {
                v4: [10, 64, 0, number].into(),
                v6: [0xfd, 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
            },
            groups: [DEFAULT_GROUP.parse::<Name>().unwrap()].into(),
            home: None,
            ready,
            slot: u32::from(number),
            memory_bytes: 1 << 20,
        }
    }

    #[test]
    fn a_task_that_nobody_looks_up_takes_little_of_the_directory() {
        let place_bytes = size_of::<TaskId>() + size_of::<Known>();
        assert!(place_bytes <= 24 && place_bytes < size_of::<ServiceTask>(), "{place_bytes}");
    }

    #[test]
    fn a_service_is_its_ready_tasks_as_of_now() {
        let ledger = Ledger::create(1).unwrap().0;
        let mut directory = Directory::default();
        let web = "default/web".parse().unwrap();
        let ready = |directory: &Directory| -> Option<Vec<TaskId>> {
            Some(directory.service(&web)?.iter().map(|ready| ready.task).collect())
        };
        let put = |directory: &mut Directory, interface: &NetworkInterface| {
            directory.put(interface, &ledger.task(interface.slot));
        };
        let [one, two] = [1, 2].map(|number| interface(number, "default/web", true, true));
        assert_eq!(ready(&directory), None);
        put(&mut directory, &two);
        put(&mut directory, &one);
        put(&mut directory, &interface(3, "default/web", true, false));
        put(&mut directory, &interface(4, "default/web", false, true));
        put(&mut directory, &interface(5, "other/web", true, true));
        assert_eq!(ready(&directory), Some(vec![one.task, two.task]));
        let shared = directory.service(&web).unwrap();
        assert!(Rc::ptr_eq(&shared, &directory.service(&web).unwrap()));
        put(&mut directory, &NetworkInterface { ready: false, ..one.clone() });
        assert_eq!(ready(&directory), Some(vec![two.task]));
        directory.remove(&two);
        assert_eq!(ready(&directory), Some(vec![]), "it has tasks, and none is ready");
        directory.remove(&one);
        directory.remove(&interface(4, "default/web", false, true));
        directory.remove(&interface(3, "default/web", true, false));
        assert_eq!(ready(&directory), None);
        assert_eq!(directory.services.len(), 1, "nothing is left of what is gone");
    }
}
