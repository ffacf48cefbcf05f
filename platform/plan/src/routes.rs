//! Which hosts and paths, and which listeners, lead to which tasks.
//!
//! It deliberately does not match requests (the load balancer does) and knows no certificates.
//!
//! What always holds: a host and path leads to one service, and so does a listener; where two ask for it, the one that was
//! made first has it.

use skiff_types::{HostPattern, Listen, PathPrefix, QualifiedName, RouteError, ServiceSpec, Split, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// This host, or one label below this domain.
    Pattern(HostPattern),
    /// Every host.
    Any,
}

/// What leads to one service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Requests for this host, and this path or what lies below it.
    Http(Host, PathPrefix),
    /// Connections to this listener.
    Listen(Listen),
}

/// What a service's user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// The hosts that were named.
    pub hosts: &'a [HostPattern],
    /// The paths that were named.
    pub paths: &'a [PathPrefix],
    /// The listeners that were named.
    pub listen: &'a [Listen],
    /// The hosts, beside those, that lead to the revision that comes while there is one.
    pub test_hosts: &'a [HostPattern],
}

impl<'a> From<&'a ServiceSpec> for Wishes<'a> {
    fn from(spec: &'a ServiceSpec) -> Self {
        let test_hosts = &spec.deployment.test_hosts;
        Self { hosts: &spec.hosts, paths: &spec.paths, listen: &spec.listen, test_hosts }
    }
}

/// A service that answers requests, or takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed<'a> {
    /// Which.
    pub service: &'a QualifiedName,
    /// What its user asks for.
    pub wishes: Wishes<'a>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its tasks that take requests or connections.
    pub targets: Vec<TaskId>,
    /// How requests are divided among them, where two revisions share them by weight.
    pub split: Option<Split>,
    /// Whether a request that finds none of them has one started, and waits for it.
    pub wakes: bool,
}

/// A service's part of the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoute {
    /// Which service.
    pub service: QualifiedName,
    /// Empty if it names none beside its listeners, or if others have what it asks for: then only those listeners lead to it,
    /// and whoever names it, like a rule of the load balancer.
    pub hosts: Vec<Host>,
    /// Never empty.
    pub paths: Vec<PathPrefix>,
    /// The listeners that lead to it.
    pub listen: Vec<Listen>,
    /// The tasks behind it; empty if none takes requests or connections at present.
    pub targets: Vec<TaskId>,
    /// How requests are divided among them, where two revisions share them by weight.
    pub split: Option<Split>,
    /// Whether a request that finds none of them has one started, and waits for it.
    pub wakes: bool,
}

impl ServiceRoute {
    /// All that leads to it.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        places(&self.hosts, &self.paths, &self.listen)
    }
}

/// The host that a service answers on where its user names neither hosts nor paths: `NAME.localhost`, in another
/// namespace than `default` `NAME.NAMESPACE.localhost`.
pub fn default_host(service: &QualifiedName) -> HostPattern {
    let host = match service.namespace.is_default() {
        true => format!("{}.localhost", service.name),
        false => format!("{}.{}.localhost", service.name, service.namespace),
    };
    host.parse().expect("DNS labels joined by dots are a host")
}

/// The hosts and the paths that a service answers on. No path is no answer; no host is one: with listeners alone a service
/// takes no requests. Test hosts stand beside all others.
pub fn effective(service: &QualifiedName, wishes: Wishes<'_>) -> (Vec<Host>, Vec<PathPrefix>) {
    let mut effective_hosts: Vec<Host> = match (wishes.hosts, wishes.paths) {
        ([], []) if !wishes.listen.is_empty() => vec![],
        ([], []) => vec![Host::Pattern(default_host(service))],
        ([], _) => vec![Host::Any],
        (hosts, _) => hosts.iter().cloned().map(Host::Pattern).collect(),
    };
    effective_hosts.extend(wishes.test_hosts.iter().cloned().map(Host::Pattern));
    let effective_paths = match wishes.paths {
        [] => vec!["/".parse().expect("a path")],
        paths => paths.to_vec(),
    };
    (effective_hosts, effective_paths)
}

/// All that a service asks for, each once: who asks for none of it concerns it in no way.
pub fn asked(service: &QualifiedName, wishes: Wishes<'_>) -> impl Iterator<Item = Place> + use<> {
    let (hosts, paths) = effective(service, wishes);
    let asked: BTreeSet<Place> = places(&hosts, &paths, wishes.listen).collect();
    asked.into_iter()
}

fn places(hosts: &[Host], paths: &[PathPrefix], listen: &[Listen]) -> impl Iterator<Item = Place> {
    let pairs = hosts.iter().flat_map(move |host| paths.iter().map(move |path| (host, path)));
    let requests = pairs.map(|(host, path)| Place::Http(host.clone(), path.clone()));
    requests.chain(listen.iter().copied().map(Place::Listen))
}

/// Whether `candidate` can have its routes beside those of `others`; itself among them is passed over.
pub fn check(candidate: &Routed<'_>, others: &[Routed<'_>]) -> Result<(), RouteError> {
    let ours: BTreeSet<Place> = asked(candidate.service, candidate.wishes).collect();
    for other in others.iter().filter(|other| other.service != candidate.service) {
        if let Some(place) = asked(other.service, other.wishes).find(|place| ours.contains(place)) {
            let route = match place {
                Place::Http(Host::Pattern(host), path) => format!("{host}{path}"),
                Place::Http(Host::Any, path) => path.to_string(),
                Place::Listen(listen) => listen.to_string(),
            };
            return Err(RouteError { route, holder: other.service.to_string() });
        }
    }
    Ok(())
}

/// The routing table of these services, with a part for each of them, whether anything leads to it or not: who names it is to
/// find its tasks. Services that [ask](asked) for nothing that another does have the same routes
/// whether the other is among them or not, so a part of a table can be made anew by itself.
pub fn table(mut services: Vec<Routed<'_>>) -> Vec<ServiceRoute> {
    services.sort_by(|a, b| (a.created_at_ms, a.service).cmp(&(b.created_at_ms, b.service)));
    let mut taken: BTreeMap<Host, Vec<PathPrefix>> = BTreeMap::new();
    let mut listened: BTreeSet<Listen> = BTreeSet::new();
    let mut table = Vec::new();
    for routed in services {
        let (mut hosts, paths) = effective(routed.service, routed.wishes);
        hosts.sort_unstable();
        hosts.dedup();
        hosts.retain(|host| {
            let theirs = taken.entry(host.clone()).or_default();
            let free = !paths.iter().any(|path| theirs.contains(path));
            if free {
                theirs.extend(paths.iter().cloned());
            }
            free
        });
        let mut listen = routed.wishes.listen.to_vec();
        listen.retain(|listen| listened.insert(*listen));
        let service = routed.service.clone();
        let Routed { targets, split, wakes, .. } = routed;
        table.push(ServiceRoute { service, hosts, paths, listen, targets, split, wakes });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> QualifiedName {
        text.parse().unwrap()
    }

    fn routed<'a>(
        service: &'a QualifiedName,
        hosts: &'a [HostPattern],
        paths: &'a [PathPrefix],
    ) -> Routed<'a> {
        let wishes = wishes_of(hosts, paths);
        Routed { service, wishes, created_at_ms: 0, targets: vec![], split: None, wakes: false }
    }

    fn wishes_of<'a>(hosts: &'a [HostPattern], paths: &'a [PathPrefix]) -> Wishes<'a> {
        Wishes { hosts, paths, listen: &[], test_hosts: &[] }
    }

    #[test]
    fn a_service_without_routes_answers_on_its_name() {
        let host = |text: &str| Host::Pattern(text.parse().unwrap());
        let root: PathPrefix = "/".parse().unwrap();
        let (hosts, paths) = effective(&name("default/hello"), wishes_of(&[], &[]));
        assert_eq!((hosts, paths), (vec![host("hello.localhost")], vec![root.clone()]));
        let (hosts, _) = effective(&name("team/hello"), wishes_of(&[], &[]));
        assert_eq!(hosts, [host("hello.team.localhost")]);
        let api: PathPrefix = "/api".parse().unwrap();
        assert_eq!(
            effective(&name("default/hello"), wishes_of(&[], std::slice::from_ref(&api))),
            (vec![Host::Any], vec![api])
        );
        let (hosts, paths) = effective(&name("default/hello"), wishes_of(&["a.b".parse().unwrap()], &[]));
        assert_eq!((hosts, paths), (vec![host("a.b")], vec![root]));
    }

    #[test]
    fn test_hosts_stand_beside_all_others_and_are_taken_once_too() {
        let (first, second) = (name("default/first"), name("default/second"));
        let test_hosts = ["green.example".parse().unwrap()];
        let tested = Wishes { test_hosts: &test_hosts, ..wishes_of(&[], &[]) };
        let (hosts, _) = effective(&first, tested);
        let expected = ["first.localhost", "green.example"].map(|host| Host::Pattern(host.parse().unwrap()));
        assert_eq!(hosts, expected);
        let holder = Routed { wishes: tested, ..routed(&first, &[], &[]) };
        let error = check(&routed(&second, &test_hosts, &[]), &[holder]).unwrap_err();
        assert_eq!(error.route, "green.example/");
    }

    #[test]
    fn the_same_host_and_path_is_taken_once() {
        let (first, second) = (name("default/first"), name("default/second"));
        let hosts = ["a.example".parse().unwrap()];
        let [api, root]: [PathPrefix; 2] = ["/api", "/"].map(|path| path.parse().unwrap());
        let (api, root) = ([api], [root]);
        let holder = routed(&first, &hosts, &api);
        let error = check(&routed(&second, &hosts, &api), std::slice::from_ref(&holder)).unwrap_err();
        assert_eq!((error.route.as_str(), error.holder.as_str()), ("a.example/api", "default/first"));
        check(&routed(&second, &hosts, &root), std::slice::from_ref(&holder)).unwrap();
        check(&routed(&first, &hosts, &api), &[holder]).unwrap();
    }

    #[test]
    fn a_default_host_can_be_taken_by_another() {
        let (first, second) = (name("default/first"), name("default/second"));
        let hosts = ["second.localhost".parse().unwrap()];
        assert!(check(&routed(&second, &[], &[]), &[routed(&first, &hosts, &[])]).is_err());
    }

    fn with<'a>(service: &'a QualifiedName, listen: &'a [Listen]) -> Routed<'a> {
        Routed { wishes: Wishes { listen, ..wishes_of(&[], &[]) }, ..routed(service, &[], &[]) }
    }

    #[test]
    fn listeners_lead_to_one_service_and_take_the_place_of_its_name() {
        let (first, second) = (name("default/first"), name("default/second"));
        let [redis, other] = [Listen::Tcp(6379), Listen::Tcp(6380)];
        let (one, both) = ([redis], [other, redis]);
        let holder = with(&first, &one);
        let error = check(&with(&second, &both), std::slice::from_ref(&holder)).unwrap_err();
        assert_eq!((error.route.as_str(), error.holder.as_str()), ("tcp:6379", "default/first"));
        assert_eq!(asked(&first, holder.wishes).collect::<Vec<_>>(), [Place::Listen(redis)]);

        let later = Routed { created_at_ms: 1, ..with(&second, &both) };
        let table = table(vec![later, holder]);
        assert_eq!((table[0].hosts.as_slice(), table[0].listen.as_slice()), (&[][..], &[redis][..]));
        assert_eq!((table[1].hosts.as_slice(), table[1].listen.as_slice()), (&[][..], &[other][..]));

        let hosts = ["a.example".parse().unwrap()];
        let named = Wishes { listen: &one, ..wishes_of(&hosts, &[]) };
        let (hosts, _) = effective(&first, named);
        assert_eq!(hosts.len(), 1, "hosts that are named stand beside listeners");
    }

    #[test]
    fn who_has_nothing_of_what_it_asks_for_is_in_the_table_all_the_same() {
        let (first, second) = (name("default/first"), name("default/second"));
        let hosts = ["a.example".parse().unwrap()];
        let task = TaskId::from_parts(7, [0; 10]);
        let later = Routed { created_at_ms: 1, targets: vec![task], ..routed(&second, &hosts, &[]) };
        let table = table(vec![later, routed(&first, &hosts, &[])]);
        let [_, without] = &table[..] else { panic!("{table:?}") };
        assert_eq!((&without.service, without.targets.as_slice()), (&second, &[task][..]));
        assert!(without.hosts.is_empty() && without.listen.is_empty());
    }

    proptest! {
        #[test]
        fn a_host_and_path_leads_to_one_service(
            wishes in prop::collection::vec((0..4usize, 0..4usize, 0..3usize, 0..3u64), 0..8),
        ) {
            let hosts: [HostPattern; 3] = ["a.example", "b.example", "*.example"].map(|host| host.parse().unwrap());
            let paths: [PathPrefix; 3] = ["/", "/api", "/x"].map(|path| path.parse().unwrap());
            let listen = [Listen::Tcp(1), Listen::Tcp(2)];
            let names: Vec<_> = (0..wishes.len()).map(|n| name(&format!("default/s{n}"))).collect();
            let services: Vec<_> = wishes
                .iter()
                .zip(&names)
                .map(|(&(h, p, l, created_at_ms), service)| Routed {
                    service,
                    wishes: Wishes { listen: &listen[..l], ..wishes_of(&hosts[..h.min(3)], &paths[..p.min(3)]) },
                    created_at_ms,
                    targets: vec![],
                    split: None,
                    wakes: false,
                })
                .collect();
            let first = services.iter().min_by_key(|routed| (routed.created_at_ms, routed.service.clone()));
            let table = table(services.clone());
            let mut seen = std::collections::BTreeSet::new();
            prop_assert_eq!(table.len(), services.len(), "each can be named");
            for route in &table {
                prop_assert!(!route.paths.is_empty());
                for place in route.places() {
                    prop_assert!(seen.insert(place.clone()), "{place:?} leads to two services");
                }
            }
            if let Some(first) = first {
                let route = table.iter().find(|route| route.service == *first.service);
                let has: std::collections::BTreeSet<Place> =
                    route.expect("the first gets its routes").places().collect();
                prop_assert!(asked(first.service, first.wishes).eq(has));
            }
        }
    }
}
