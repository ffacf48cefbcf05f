//! The routing table: which service takes a request, by the hosts and paths that services name.
//!
//! Of all routes that match, the one with the most specific host wins (a name before a wildcard before every host),
//! and among those the longest path. Two routes with the same host and path can't both be had, `control` sees to
//! that; if it happens while they change hands, the one given last has it.
//!
//! A lookup costs a few hashes however many services there are: one for each kind of host, and one for each
//! *length* that a host's paths have. A change costs what it changes.
//!
//! A service without hosts is found by its name alone: it is one that listens, or that rules forward to.

use crate::group::{Group, Settings};
use skiff_ledger::Ledger;
use skiff_ports::snapshot::{HostMatch, Route};
use skiff_types::{PathPrefix, QualifiedName};
use std::collections::HashMap;
use std::rc::Rc;

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    names: HashMap<Box<str>, Paths>,
    /// By what follows `*.`.
    wildcards: HashMap<Box<str>, Paths>,
    any: Paths,
    services: HashMap<QualifiedName, Placed>,
    /// What was said of the group that a service is.
    settings: HashMap<QualifiedName, Rc<Settings>>,
    /// The same of all others.
    default: Rc<Settings>,
    /// Whose table it is.
    worker: usize,
}

/// A service, and where it lies in the table.
#[derive(Debug)]
struct Placed {
    service: Rc<Group>,
    hosts: Box<[HostMatch]>,
    paths: Box<[PathPrefix]>,
}

/// The paths of one host.
#[derive(Debug, Default)]
struct Paths {
    root: Option<Rc<Group>>,
    /// All others; most hosts have none.
    below: Option<Box<Below>>,
}

/// Paths below the root.
#[derive(Debug, Default)]
struct Below {
    prefixes: HashMap<Box<str>, Rc<Group>>,
    /// The lengths of `prefixes`, longest first, and how many have each.
    lengths: Vec<(usize, usize)>,
}

impl Table {
    /// One of this worker's.
    pub(crate) fn of_worker(worker: usize) -> Self {
        Self { worker, ..Self::default() }
    }

    /// Gives a service these routes instead of those it has. Daemons that it had keep their connections.
    pub(crate) fn set(&mut self, route: &Route, ledger: &Ledger) {
        let before = self.take_out(&route.service);
        let settings = self.settings.get(&route.service).unwrap_or(&self.default);
        let service = Group::of_service(route, settings, (ledger, self.worker), before.as_deref());
        let service = Rc::new(service);
        for host in &route.hosts {
            let paths = self.paths_of(host);
            route.paths.iter().for_each(|path| paths.insert(path.as_str(), &service));
        }
        let placed =
            Placed { service, hosts: route.hosts.as_slice().into(), paths: route.paths.as_slice().into() };
        self.services.insert(route.service.clone(), placed);
    }

    /// Takes a service's routes away.
    pub(crate) fn remove(&mut self, service: &QualifiedName) {
        if let Some(service) = self.take_out(service) {
            service.close(self.worker);
        }
    }

    fn take_out(&mut self, service: &QualifiedName) -> Option<Rc<Group>> {
        let Placed { service, hosts, paths } = self.services.remove(service)?;
        for host in &hosts {
            let of_host = self.paths_of(host);
            paths.iter().for_each(|path| of_host.remove(path.as_str(), &service));
            if of_host.root.is_none() && of_host.below.is_none() {
                self.forget(host);
            }
        }
        Some(service)
    }

    /// This is said of the group that a service is from now on, whether that is there already or not; or nothing any more.
    pub(crate) fn settle(&mut self, service: &QualifiedName, settings: Option<Rc<Settings>>) {
        let was_settled = match &settings {
            Some(settings) => self.settings.insert(service.clone(), settings.clone()).is_some(),
            None => self.settings.remove(service).is_some(),
        };
        if settings.is_none() && !was_settled {
            return;
        }
        let Some(mut placed) = self.services.remove(service) else { return };
        let settings = settings.unwrap_or_else(|| self.default.clone());
        let before = placed.service;
        placed.service = Rc::new(before.again(&settings, self.worker));
        for host in &placed.hosts {
            let of_host = self.paths_of(host);
            placed.paths.iter().for_each(|path| of_host.replace(path.as_str(), &before, &placed.service));
            if of_host.root.is_none() && of_host.below.is_none() {
                self.forget(host);
            }
        }
        self.services.insert(service.clone(), placed);
    }

    /// The service of this name.
    pub(crate) fn service(&self, name: &QualifiedName) -> Option<&Rc<Group>> {
        self.services.get(name).map(|placed| &placed.service)
    }

    /// The service for a normalised host and a path.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Rc<Group>> {
        let by_name = || self.names.get(host)?.find(path);
        let by_wildcard = || {
            let (label, suffix) = host.split_once('.')?;
            (!label.is_empty()).then(|| self.wildcards.get(suffix)?.find(path))?
        };
        by_name().or_else(by_wildcard).or_else(|| self.any.find(path))
    }

    fn paths_of(&mut self, host: &HostMatch) -> &mut Paths {
        match host {
            HostMatch::Any => &mut self.any,
            HostMatch::Pattern(pattern) => match pattern.wildcard_suffix() {
                Some(suffix) => self.wildcards.entry(suffix.into()).or_default(),
                None => self.names.entry(pattern.as_str().into()).or_default(),
            },
        }
    }

    /// Forgets a host that has no paths.
    fn forget(&mut self, host: &HostMatch) {
        if let HostMatch::Pattern(pattern) = host {
            match pattern.wildcard_suffix() {
                Some(suffix) => self.wildcards.remove(suffix),
                None => self.names.remove(pattern.as_str()),
            };
        }
    }
}

impl Paths {
    fn insert(&mut self, prefix: &str, service: &Rc<Group>) {
        match prefix {
            "/" => self.root = Some(service.clone()),
            prefix => self.below.get_or_insert_default().insert(prefix, service),
        }
    }

    /// Takes a path away from a service, unless another has it by now.
    fn remove(&mut self, prefix: &str, service: &Rc<Group>) {
        if prefix == "/" {
            self.root.take_if(|holder| Rc::ptr_eq(holder, service));
        } else if let Some(below) = &mut self.below {
            below.remove(prefix, service);
            self.below.take_if(|below| below.prefixes.is_empty());
        }
    }

    /// Puts another in a service's place, where it still has that.
    fn replace(&mut self, prefix: &str, before: &Rc<Group>, after: &Rc<Group>) {
        let holder = match prefix {
            "/" => self.root.as_mut(),
            prefix => self.below.as_mut().and_then(|below| below.prefixes.get_mut(prefix)),
        };
        if let Some(holder) = holder.filter(|holder| Rc::ptr_eq(holder, before)) {
            *holder = after.clone();
        }
    }

    fn find(&self, path: &str) -> Option<&Rc<Group>> {
        let below = self.below.as_ref().and_then(|below| below.find(path));
        below.or(self.root.as_ref().filter(|_| path.starts_with('/')))
    }
}

impl Below {
    fn insert(&mut self, prefix: &str, service: &Rc<Group>) {
        if self.prefixes.insert(prefix.into(), service.clone()).is_some() {
            return;
        }
        match self.place_of(prefix.len()) {
            Ok(place) => self.lengths[place].1 += 1,
            Err(place) => self.lengths.insert(place, (prefix.len(), 1)),
        }
    }

    fn remove(&mut self, prefix: &str, service: &Rc<Group>) {
        if !self.prefixes.get(prefix).is_some_and(|holder| Rc::ptr_eq(holder, service)) {
            return;
        }
        self.prefixes.remove(prefix);
        let place = self.place_of(prefix.len()).expect("each prefix is counted");
        self.lengths[place].1 -= 1;
        if self.lengths[place].1 == 0 {
            self.lengths.remove(place);
        }
    }

    fn place_of(&self, prefix_length: usize) -> Result<usize, usize> {
        self.lengths.binary_search_by(|(length, _)| prefix_length.cmp(length))
    }

    fn find(&self, path: &str) -> Option<&Rc<Group>> {
        let ends_at = |length: usize| match path.as_bytes().get(length) {
            Some(byte) => *byte == b'/',
            None => path.len() == length,
        };
        let lengths = self.lengths.iter().map(|(length, _)| *length).filter(|length| ends_at(*length));
        lengths.filter_map(|length| self.prefixes.get(&path[..length])).next()
    }
}

#[cfg(test)]
mod tests;
