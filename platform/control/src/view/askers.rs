//! Which services ask for a host and path, or a listener: an index over all services, whether they have what they ask for
//! or not.
//!
//! It deliberately decides nothing: who gets what is `plan::routes`' business. It is there so that neither a check nor a
//! change of one service's routes has to look at all the others.

use crate::model::Service;
use skiff_plan::routes::{self, Place, Wishes};
use skiff_types::QualifiedName;
use std::collections::HashMap;

/// The services that ask for each host and path, and for each listener.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    by_place: HashMap<Place, Vec<QualifiedName>>,
}

impl Askers {
    pub(super) fn add(&mut self, service: &Service) {
        let name = service.name();
        for place in routes::asked(&name, Wishes::from(&service.spec)) {
            self.by_place.entry(place).or_default().push(name.clone());
        }
    }

    pub(super) fn remove(&mut self, service: &Service) {
        let name = service.name();
        for place in routes::asked(&name, Wishes::from(&service.spec)) {
            let Some(askers) = self.by_place.get_mut(&place) else { continue };
            askers.retain(|asker| *asker != name);
            if askers.is_empty() {
                self.by_place.remove(&place);
            }
        }
    }

    /// Who asks for this.
    pub(crate) fn of(&self, place: &Place) -> &[QualifiedName] {
        self.by_place.get(place).map_or(&[], Vec::as_slice)
    }
}
