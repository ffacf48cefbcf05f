//! Which hosts and paths lead to which tasks.
//!
//! It deliberately does not match requests (the load balancer does) and knows neither ports nor certificates.
//!
//! What always holds: a host and path leads to one service; where two ask for it, the one that was made first has it.

use skiff_types::{HostPattern, PathPrefix, QualifiedName, RouteError, TaskId};
use std::collections::BTreeMap;

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// This host, or one label below this domain.
    Pattern(HostPattern),
    /// Every host.
    Any,
}

/// A service that answers requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed<'a> {
    /// Which.
    pub service: &'a QualifiedName,
    /// The hosts that its user named.
    pub hosts: &'a [HostPattern],
    /// The paths that its user named.
    pub paths: &'a [PathPrefix],
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its tasks that take requests.
    pub targets: Vec<TaskId>,
}

/// A service's part of the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoute {
    /// Which service.
    pub service: QualifiedName,
    /// Never empty.
    pub hosts: Vec<Host>,
    /// Never empty.
    pub paths: Vec<PathPrefix>,
    /// The tasks behind it; empty if none takes requests at present.
    pub targets: Vec<TaskId>,
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

/// The hosts and the paths that a service answers on, neither empty.
pub fn effective(
    service: &QualifiedName,
    hosts: &[HostPattern],
    paths: &[PathPrefix],
) -> (Vec<Host>, Vec<PathPrefix>) {
    let effective_hosts = match (hosts, paths) {
        ([], []) => vec![Host::Pattern(default_host(service))],
        ([], _) => vec![Host::Any],
        (hosts, _) => hosts.iter().cloned().map(Host::Pattern).collect(),
    };
    let effective_paths = match paths {
        [] => vec!["/".parse().expect("a path")],
        paths => paths.to_vec(),
    };
    (effective_hosts, effective_paths)
}

/// Every host and path that a service asks for: who asks for none of them concerns it in no way.
pub fn asked(
    service: &QualifiedName,
    hosts: &[HostPattern],
    paths: &[PathPrefix],
) -> impl Iterator<Item = (Host, PathPrefix)> {
    let (mut hosts, mut paths) = effective(service, hosts, paths);
    hosts.sort_unstable();
    hosts.dedup();
    paths.sort_unstable();
    paths.dedup();
    hosts.into_iter().flat_map(move |host| paths.clone().into_iter().map(move |path| (host.clone(), path)))
}

/// Whether `candidate` can have its routes beside those of `others`; itself among them is passed over.
pub fn check(candidate: &Routed<'_>, others: &[Routed<'_>]) -> Result<(), RouteError> {
    let (hosts, paths) = effective(candidate.service, candidate.hosts, candidate.paths);
    for other in others.iter().filter(|other| other.service != candidate.service) {
        let (their_hosts, their_paths) = effective(other.service, other.hosts, other.paths);
        let host = hosts.iter().find(|host| their_hosts.contains(host));
        let path = paths.iter().find(|path| their_paths.contains(path));
        if let (Some(host), Some(path)) = (host, path) {
            let route = match host {
                Host::Pattern(host) => format!("{host}{path}"),
                Host::Any => path.to_string(),
            };
            return Err(RouteError { route, holder: other.service.to_string() });
        }
    }
    Ok(())
}

/// The routing table of these services. Services that [ask](asked) for nothing that another does have the same routes
/// whether the other is among them or not, so a part of a table can be made anew by itself.
pub fn table(mut services: Vec<Routed<'_>>) -> Vec<ServiceRoute> {
    services.sort_by(|a, b| (a.created_at_ms, a.service).cmp(&(b.created_at_ms, b.service)));
    let mut taken: BTreeMap<Host, Vec<PathPrefix>> = BTreeMap::new();
    let mut table = Vec::new();
    for routed in services {
        let (mut hosts, paths) = effective(routed.service, routed.hosts, routed.paths);
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
        if !hosts.is_empty() {
            let service = routed.service.clone();
            table.push(ServiceRoute { service, hosts, paths, targets: routed.targets });
        }
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
        Routed { service, hosts, paths, created_at_ms: 0, targets: vec![] }
    }

    #[test]
    fn a_service_without_routes_answers_on_its_name() {
        let host = |text: &str| Host::Pattern(text.parse().unwrap());
        let root: PathPrefix = "/".parse().unwrap();
        let (hosts, paths) = effective(&name("default/hello"), &[], &[]);
        assert_eq!((hosts, paths), (vec![host("hello.localhost")], vec![root.clone()]));
        let (hosts, _) = effective(&name("team/hello"), &[], &[]);
        assert_eq!(hosts, [host("hello.team.localhost")]);
        let api: PathPrefix = "/api".parse().unwrap();
        assert_eq!(
            effective(&name("default/hello"), &[], std::slice::from_ref(&api)),
            (vec![Host::Any], vec![api])
        );
        let (hosts, paths) = effective(&name("default/hello"), &["a.b".parse().unwrap()], &[]);
        assert_eq!((hosts, paths), (vec![host("a.b")], vec![root]));
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

    proptest! {
        #[test]
        fn a_host_and_path_leads_to_one_service(
            wishes in prop::collection::vec((0..4usize, 0..4usize, 0..3u64), 0..8),
        ) {
            let hosts: [HostPattern; 3] = ["a.example", "b.example", "*.example"].map(|host| host.parse().unwrap());
            let paths: [PathPrefix; 3] = ["/", "/api", "/x"].map(|path| path.parse().unwrap());
            let names: Vec<_> = (0..wishes.len()).map(|n| name(&format!("default/s{n}"))).collect();
            let services: Vec<_> = wishes
                .iter()
                .zip(&names)
                .map(|(&(h, p, created_at_ms), service)| Routed {
                    created_at_ms,
                    ..routed(service, &hosts[..h.min(3)], &paths[..p.min(3)])
                })
                .collect();
            let first = services.iter().min_by_key(|routed| (routed.created_at_ms, routed.service.clone()));
            let table = table(services.clone());
            let mut seen = std::collections::BTreeSet::new();
            for route in &table {
                prop_assert!(!route.hosts.is_empty() && !route.paths.is_empty());
                for pair in route.hosts.iter().flat_map(|host| route.paths.iter().map(move |path| (host, path))) {
                    prop_assert!(seen.insert(pair), "{pair:?} leads to two services");
                }
            }
            if let Some(first) = first {
                let (mut hosts, _) = effective(first.service, first.hosts, first.paths);
                hosts.sort_unstable();
                let route = table.iter().find(|route| route.service == *first.service);
                prop_assert_eq!(&route.expect("the first gets its routes").hosts, &hosts);
            }
        }
    }
}
