//! Which services ask for a host and path: an index over all services, whether they have what they ask for or not.
//!
//! It deliberately decides nothing: who gets what is `plan::routes`' business. It is there so that neither a check nor a
//! change of one service's routes has to look at all the others.

use crate::model::Service;
use skiff_plan::routes::{self, Host};
use skiff_types::{PathPrefix, QualifiedName};
use std::collections::HashMap;

/// The services that ask for each host and path.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    by_route: HashMap<(Host, PathPrefix), Vec<QualifiedName>>,
}

impl Askers {
    pub(super) fn add(&mut self, service: &Service) {
        let name = service.name();
        for route in routes::asked(&name, &service.spec.hosts, &service.spec.paths) {
            self.by_route.entry(route).or_default().push(name.clone());
        }
    }

    pub(super) fn remove(&mut self, service: &Service) {
        let name = service.name();
        for route in routes::asked(&name, &service.spec.hosts, &service.spec.paths) {
            let Some(askers) = self.by_route.get_mut(&route) else { continue };
            askers.retain(|asker| *asker != name);
            if askers.is_empty() {
                self.by_route.remove(&route);
            }
        }
    }

    /// Who asks for this host and path.
    pub(crate) fn of(&self, route: &(Host, PathPrefix)) -> &[QualifiedName] {
        self.by_route.get(route).map_or(&[], Vec::as_slice)
    }
}
