//! Which services ask for a host and path, or a listener: an index over all services, whether they have what they ask for
//! or not.
//!
//! It deliberately decides nothing: who gets what is `plan::routes`' business. It is there so that neither a check nor a
//! change of one service's routes has to look at all the others.

use crate::model::Service;
use skiff_plan::routes::{self, Place, Wishes};
use skiff_types::{Listen, QualifiedName};
use std::collections::{BTreeSet, HashMap};

/// The services that ask for each host and path, and for each listener.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    by_place: HashMap<Place, Vec<QualifiedName>>,
    /// Those of the places that are listeners.
    listeners: BTreeSet<Listen>,
}

impl Askers {
    pub(super) fn add(&mut self, service: &Service) {
        let name = service.name();
        for place in routes::asked(&name, Wishes::from(&service.spec)) {
            if let Place::Listen(listen) = &place {
                self.listeners.insert(*listen);
            }
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
                if let Place::Listen(listen) = &place {
                    self.listeners.remove(listen);
                }
            }
        }
    }

    /// Every listener that somebody asks for, and who.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (Listen, &[QualifiedName])> {
        self.listeners.iter().map(|listen| (*listen, self.of(&Place::Listen(*listen))))
    }

    /// Who asks for this.
    pub(crate) fn of(&self, place: &Place) -> &[QualifiedName] {
        self.by_place.get(place).map_or(&[], Vec::as_slice)
    }
}
