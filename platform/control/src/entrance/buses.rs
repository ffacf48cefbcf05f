//! Buses: made, shown, removed; and events as they are put on one and seen. Rules and schedules have files of their own.
//!
//! What always holds: a bus that a rule, a target or a bucket names stays; the default one of a namespace is there without being
//! made.

mod put;
mod rules;
mod schedules;
mod targets;

pub(crate) use put::{KEYED_BYTES_MAX, Putter};

use super::balancer::not_there;
use super::page::page;
use super::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::keys;
use crate::model::Bus;
use crate::view::{Held, View};
use skiff_api::{ErrorCode, Page, PageQuery, PutBus};
use skiff_types::{BusSpec, DEFAULT_BUS, Name, Namespace, QualifiedName};
use tracing::info;

/// The most buses: as many as EventBridge gives an account.
const BUSES_MAX: usize = 100;

impl Entrance {
    /// Creates a bus; the default one is there already.
    pub(crate) async fn put_bus(
        &self,
        name: &QualifiedName,
        request: PutBus,
        if_match: IfMatch,
    ) -> Result<skiff_api::Bus, ApiError> {
        let _alone = self.context.routing.lock().await;
        if is_default(&name.name) {
            return Ok(self.context.objects.read(|view| shown_default(view, &name.namespace)));
        }
        let spec = |present: Option<&BusSpec>| -> Result<BusSpec, ApiError> {
            let count = self.context.objects.read(|view| view.buses.buses.all().count());
            check_room(present.is_none(), count, BUSES_MAX, "buses", "bus")?;
            Ok(request.to_domain(name.clone()))
        };
        let held = self.declare(&keys::bus(name), if_match, spec).await?;
        info!(bus = %name, "wanted");
        Ok(self.context.objects.read(|view| shown(view, &held)))
    }

    /// Lists buses by name, the default one among them.
    pub(crate) fn list_buses(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Bus>, ApiError> {
        self.context.objects.read(|view| {
            let made = view.buses.buses.under(&keys::in_namespace("bus", namespace));
            let made = made.map(|held| (held.value.spec.name.name.to_string(), Some(held)));
            let all = made.chain([(DEFAULT_BUS.to_owned(), None)]).collect();
            page(all, query.limit, query.cursor.as_deref(), |held| match held {
                Some(held) => shown(view, held),
                None => shown_default(view, namespace),
            })
        })
    }

    /// Shows a bus.
    pub(crate) fn get_bus(&self, name: &QualifiedName) -> Result<skiff_api::Bus, ApiError> {
        self.context.objects.read(|view| match is_default(&name.name) {
            true => Ok(shown_default(view, &name.namespace)),
            false => view.bus(name).map(|held| shown(view, held)).ok_or_else(|| no_bus(view, name)),
        })
    }

    /// Removes a bus that nothing names.
    pub(crate) async fn delete_bus(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        if is_default(&name.name) {
            return Err(ApiError::not_now(
                "the default bus of a namespace is always there; remove its rules, with `skiff rule rm --bus default`, to have \
                 nothing follow from its events",
            ));
        }
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_bus(view, name);
        let check = |view: &View| check_unneeded(view, name);
        self.withdraw::<BusSpec>(&keys::bus(name), if_match, missing, check).await?;
        info!(bus = %name, "the bus is removed");
        Ok(())
    }
}

fn is_default(bus: &Name) -> bool {
    bus.as_str() == DEFAULT_BUS
}

fn shown(view: &View, held: &Held<Bus>) -> skiff_api::Bus {
    let Bus { spec, created_at_ms, updated_at_ms } = &*held.value;
    let QualifiedName { namespace, name } = spec.name.clone();
    skiff_api::Bus {
        name,
        namespace,
        revision: held.revision,
        rules: view.rules_of_bus(&spec.name).count() as u32,
        created_at_ms: *created_at_ms,
        updated_at_ms: *updated_at_ms,
    }
}

fn shown_default(view: &View, namespace: &Namespace) -> skiff_api::Bus {
    let name: Name = DEFAULT_BUS.parse().expect("its name is one");
    let qualified = QualifiedName::new(namespace.clone(), name.clone());
    let rules = view.rules_of_bus(&qualified).count() as u32;
    skiff_api::Bus {
        name,
        namespace: namespace.clone(),
        revision: 0,
        rules,
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

/// Refuses one more where there are as many as there may be.
fn check_room(is_new: bool, count: usize, most: usize, what: &str, word: &str) -> Result<(), ApiError> {
    if !is_new || count < most {
        return Ok(());
    }
    let message = format!(
        "there are {count} {what}, and {most} are the most: remove one that nobody needs, with `skiff {word} rm`"
    );
    Err(ApiError::new(ErrorCode::ResourceExhausted, message))
}

/// Refuses the removal of a bus that something names, or may name whose record can't be read.
fn check_unneeded(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    if let Some(who) = view.bus_is_named_by(name) {
        return Err(ApiError::not_now(format!(
            "{who} the bus {}; have it name another, or remove it, first",
            name.name
        )));
    }
    let place = keys::in_namespace("bucket", &name.namespace);
    let mut unreadable = view.unreadable.iter();
    let by_events = view.unreadable_that_may_lead_by_events(&name.namespace);
    match unreadable.find(|key| key.is_under(&place)).or(by_events) {
        Some(key) => Err(ApiError::not_now(format!(
            "the record {key} can't be read, and may name the bus {name}, which stays until it can be; see the platform's log"
        ))),
        None => Ok(()),
    }
}

/// Refuses a bus that there is not.
fn check_bus(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    if view.has_bus(name) { Ok(()) } else { Err(no_bus(view, name)) }
}

fn no_bus(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: bus } = name;
    let missing = format!(
        "there is no bus {bus} in the namespace {namespace}; make it with `skiff bus create {bus}`, `skiff bus ls` lists those \
         that there are"
    );
    not_there(view, &keys::bus(name), missing)
}
