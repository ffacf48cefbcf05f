//! What moves the counts of services' tasks, and what is noted of that: looked up by the service.
//!
//! It deliberately decides nothing. What always holds: scaling that was put for an earlier service of the name is none of the
//! service that has it now.

use super::{Held, Table, View, Viewed};
use crate::events::Tale;
use crate::keys;
use crate::model::{Scaling, ScalingNotes, Service, bounds_now};
use skiff_ports::journal::Mark;
use skiff_types::QualifiedName;
use std::collections::BTreeSet;

impl View {
    /// What moves a service's count, if anything does but its user.
    pub(crate) fn scaling_of(&self, service: &Service) -> Option<&Held<Scaling>> {
        let held = self.scaling.get(&keys::scaling(&service.name()))?;
        (!service.removed && held.value.is_of(service)).then_some(held)
    }

    /// What is noted of scaling, if anything is of this very one.
    pub(crate) fn notes_of_scaling(&self, scaling: &Scaling) -> Option<&Held<ScalingNotes>> {
        let held = self.scaling_notes.get(&keys::scaling_notes(&scaling.spec.service))?;
        (held.value.scaling_created_at_ms == scaling.created_at_ms).then_some(held)
    }

    /// The fewest and the most tasks that a service may have now; `None` where its user alone says how many.
    pub(crate) fn bounds_of(&self, service: &Service) -> Option<(u32, u32)> {
        let scaling = &self.scaling_of(service)?.value;
        Some(bounds_now(scaling, self.notes_of_scaling(scaling).map(|held| &*held.value)))
    }

    /// Why a service has come to have this count, if it was scaled to it.
    pub(crate) fn why_scaled_to(&self, service: &Service, count: u32) -> Option<&str> {
        let notes = self.notes_of_scaling(&self.scaling_of(service)?.value)?;
        notes.value.why(count, service.updated_at_ms)
    }

    /// The services that are scaled, and those of which anything was noted when they were.
    pub(crate) fn scaled_services(&self) -> BTreeSet<QualifiedName> {
        let noted = self.scaling_notes.all().map(|held| held.value.service.clone());
        self.scaling.all().map(|held| held.value.spec.service.clone()).chain(noted).collect()
    }
}

impl Scaling {
    /// Whether it was put for this service, and not for an earlier one of its name.
    pub(crate) fn is_of(&self, service: &Service) -> bool {
        self.created_at_ms >= service.created_at_ms
    }
}

impl Viewed for Scaling {
    const WHILE_UNREADABLE: &'static str = "the service keeps the count that it has";
    table_at!(scaling);
}

impl Viewed for ScalingNotes {
    const WHILE_UNREADABLE: &'static str = "the service keeps the count that it has";
    table_at!(scaling_notes);

    fn tale(&self, told: Option<Mark>) -> Option<Tale> {
        self.tells(told)
    }
}
