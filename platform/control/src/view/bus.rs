//! Buses, rules and schedules by their names, with what is looked up of them by more than that: what leads to a bus, a queue, a
//! service or a task definition, and what is stale.
//!
//! It deliberately matches nothing: what a pattern takes, the buses' engine says.

use super::{Held, Table, View, Viewed};
use crate::keys;
use crate::model::{Bus, EventRule, EventSchedule, ScheduleNotes, StreamPosition};
use skiff_ports::store::Key;
use skiff_types::{DEFAULT_BUS, Destination, EventRuleSpec, EventTarget, Namespace, QualifiedName};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The objects of buses.
#[derive(Debug, Default)]
pub(crate) struct BusesView {
    pub(crate) buses: Table<Bus>,
    pub(crate) rules: Table<EventRule>,
    pub(crate) schedules: Table<EventSchedule>,
    pub(crate) notes: Table<ScheduleNotes>,
    pub(crate) position: Table<StreamPosition>,
    /// Rules that came, changed or went since the engine was told of them.
    pub(crate) changed_rules: BTreeSet<QualifiedName>,
    /// Schedules of which something came, changed or went, their notes included, since their reconciler last looked.
    pub(crate) changed_schedules: BTreeSet<QualifiedName>,
}

impl View {
    /// A bus that somebody made.
    pub(crate) fn bus(&self, name: &QualifiedName) -> Option<&Held<Bus>> {
        self.buses.buses.get(&keys::bus(name))
    }

    /// Whether there is a bus: the default one of each namespace always is.
    pub(crate) fn has_bus(&self, name: &QualifiedName) -> bool {
        name.name.as_str() == DEFAULT_BUS || self.bus(name).is_some()
    }

    /// A rule of a bus.
    pub(crate) fn event_rule(&self, name: &QualifiedName) -> Option<&Held<EventRule>> {
        self.buses.rules.get(&keys::event_rule(name))
    }

    /// The rules of a bus, by name.
    pub(crate) fn rules_of_bus<'a>(
        &'a self,
        bus: &'a QualifiedName,
    ) -> impl Iterator<Item = &'a Held<EventRule>> {
        let rules = self.buses.rules.under(&keys::in_namespace("eventrule", &bus.namespace));
        rules.filter(move |held| held.value.spec.bus == bus.name)
    }

    /// All rules, as the buses' engine is told of them.
    pub(crate) fn all_event_rules(&self) -> Vec<Arc<EventRuleSpec>> {
        self.buses.rules.all().map(|held| held.value.spec.clone()).collect()
    }

    /// A schedule.
    pub(crate) fn event_schedule(&self, name: &QualifiedName) -> Option<&Held<EventSchedule>> {
        self.buses.schedules.get(&keys::event_schedule(name))
    }

    /// What is noted of a schedule, if anything is of this very one.
    pub(crate) fn notes_of_schedule(&self, schedule: &EventSchedule) -> Option<&ScheduleNotes> {
        let notes = &self.buses.notes.get(&keys::schedule_notes(&schedule.spec.spec.name))?.value;
        (notes.schedule_created_at_ms == schedule.created_at_ms).then_some(&**notes)
    }

    /// Whether something is noted of a schedule that is not there any more. One whose record can't be read is there.
    pub(crate) fn has_stale_notes(&self, name: &QualifiedName) -> bool {
        let schedule = keys::event_schedule(name);
        self.buses.notes.get(&keys::schedule_notes(name)).is_some()
            && self.buses.schedules.get(&schedule).is_none()
            && !self.unreadable.contains(&schedule)
    }

    /// The schedules that can't be read, or of which what is noted can't be.
    pub(crate) fn unreadable_schedules(&self) -> BTreeSet<QualifiedName> {
        let is_one = |key: &&Key| matches!(key.tokens().next(), Some("eventschedule" | "schedulenotes"));
        self.unreadable.iter().filter(is_one).filter_map(keys::name_of).collect()
    }

    /// Who leads to a bus, as the beginning of a sentence.
    pub(crate) fn bus_is_named_by(&self, bus: &QualifiedName) -> Option<String> {
        if let Some(held) = self.rules_of_bus(bus).next() {
            return Some(format!("the rule {} takes events from", held.value.spec.name));
        }
        let buckets = self.data.buckets.under(&keys::in_namespace("bucket", &bus.namespace));
        let mut buckets = buckets.map(|held| &held.value.spec.spec);
        if let Some(bucket) = buckets.find(|bucket| bucket.bus == bus.name) {
            return Some(format!("the bucket {} puts its events on", bucket.name));
        }
        self.who_leads(
            &bus.namespace,
            |target| matches!(&target.to, Destination::Bus { bus: to } if *to == bus.name),
        )
    }

    /// Who sends to a queue by events, or its dead letters, as the beginning of a sentence.
    pub(crate) fn events_go_to_queue(&self, queue: &QualifiedName) -> Option<String> {
        self.who_leads(&queue.namespace, |target| {
            let is_sent_to = matches!(&target.to, Destination::Queue { queue: to, .. } if *to == queue.name);
            is_sent_to || target.dead_letter.as_ref() == Some(&queue.name)
        })
    }

    /// The first rule or schedule of a namespace with such a target.
    fn who_leads(&self, namespace: &Namespace, leads: impl Fn(&EventTarget) -> bool) -> Option<String> {
        let mut rules = self.buses.rules.under(&keys::in_namespace("eventrule", namespace));
        if let Some(held) = rules.find(|held| held.value.spec.targets.iter().any(&leads)) {
            return Some(format!("a target of the rule {} leads to", held.value.spec.name));
        }
        let mut schedules = self.buses.schedules.under(&keys::in_namespace("eventschedule", namespace));
        let held = schedules.find(|held| leads(&held.value.spec.spec.target))?;
        Some(format!("the schedule {} leads to", held.value.spec.spec.name))
    }

    /// A record of a namespace that may lead somewhere by events, and can't be read.
    pub(crate) fn unreadable_that_may_lead_by_events(&self, namespace: &Namespace) -> Option<&Key> {
        let places = ["eventrule", "eventschedule"].map(|token| keys::in_namespace(token, namespace));
        self.unreadable.iter().find(|key| places.iter().any(|place| key.is_under(place)))
    }
}

impl Viewed for Bus {
    const WHILE_UNREADABLE: &'static str = "nobody can put events on the bus";
    table_at!(buses.buses);
}

impl Viewed for EventRule {
    const WHILE_UNREADABLE: &'static str =
        "the rule takes no events, and what was on its way by it is given up";
    table_at!(buses.rules);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, _: Option<&Self>) {
        view.buses.changed_rules.extend(keys::name_of(key));
    }
}

impl Viewed for EventSchedule {
    const WHILE_UNREADABLE: &'static str = "nothing happens by the schedule";
    table_at!(buses.schedules);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, _: Option<&Self>) {
        view.buses.changed_schedules.extend(keys::name_of(key));
    }
}

impl Viewed for ScheduleNotes {
    const WHILE_UNREADABLE: &'static str = "nothing happens by the schedule";
    table_at!(buses.notes);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, _: Option<&Self>) {
        view.buses.changed_schedules.extend(keys::name_of(key));
    }
}

impl Viewed for StreamPosition {
    const WHILE_UNREADABLE: &'static str = "the stream is put on the buses from now on";
    table_at!(buses.position);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Declared, test_schedule};
    use crate::records::Stored;
    use crate::view::tests::put;
    use skiff_types::BusSpec;

    fn rule(name: &str, bus: &str, to: Destination) -> EventRule {
        let mut target = test_schedule("default/a", "rate(1 day)", 1).spec.spec.target.clone();
        target.to = to;
        let spec = EventRuleSpec {
            name: name.parse().unwrap(),
            bus: bus.parse().unwrap(),
            pattern: "{}".into(),
            enabled: true,
            targets: vec![target],
        };
        Declared { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 1 }
    }

    #[test]
    fn who_leads_to_a_bus_or_a_queue_is_found_in_its_namespace_alone() {
        let mut view = View::default();
        let name = |text: &str| text.parse::<QualifiedName>().unwrap();
        assert!(view.has_bus(&name("any/default")) && !view.has_bus(&name("default/audit")));
        let audit = Declared {
            spec: Arc::new(BusSpec { name: name("default/audit") }),
            created_at_ms: 1,
            updated_at_ms: 1,
        };
        put(&mut view, audit);
        assert!(view.has_bus(&name("default/audit")) && !view.has_bus(&name("other/audit")));
        assert_eq!(view.bus_is_named_by(&name("default/audit")), None);
        let to = Destination::Bus { bus: "audit".parse().unwrap() };
        put(&mut view, rule("default/copy", "default", to));
        assert_eq!(view.buses.changed_rules, BTreeSet::from([name("default/copy")]));
        assert_eq!(view.bus_is_named_by(&name("other/audit")), None);
        let who = view.bus_is_named_by(&name("default/audit")).unwrap();
        assert_eq!(who, "a target of the rule default/copy leads to");
        let who = view.bus_is_named_by(&name("default/default")).unwrap();
        assert_eq!(who, "the rule default/copy takes events from");
        assert_eq!(view.events_go_to_queue(&name("default/orders")), None);
        put(&mut view, test_schedule("default/sweep", "rate(1 day)", 1));
        let who = view.events_go_to_queue(&name("default/orders")).unwrap();
        assert_eq!(who, "the schedule default/sweep leads to");
    }

    #[test]
    fn notes_go_with_their_schedule_and_not_while_it_can_not_be_read() {
        let mut view = View::default();
        let object = test_schedule("default/sweep", "rate(1 day)", 1);
        put(&mut view, object.clone());
        put(&mut view, ScheduleNotes::new(&object));
        let name = object.spec.spec.name.clone();
        assert!(!view.has_stale_notes(&name) && view.notes_of_schedule(&object).is_some());
        assert_eq!(std::mem::take(&mut view.buses.changed_schedules), BTreeSet::from([name.clone()]));
        let anew = EventSchedule { created_at_ms: 9, ..object };
        assert!(view.notes_of_schedule(&anew).is_none(), "they are of the one before");
        assert!(view.apply_unreadable::<EventSchedule>(&anew.key()));
        assert!(!view.has_stale_notes(&name));
        assert_eq!(view.unreadable_schedules(), BTreeSet::from([name.clone()]));
        assert!(view.buses.changed_schedules.contains(&name));
        let revision = view.generation + 1;
        assert!(view.apply::<EventSchedule>(&anew.key(), revision, None));
        assert!(view.has_stale_notes(&name) && view.unreadable_schedules().is_empty());
        assert!(view.apply_unreadable::<ScheduleNotes>(&keys::schedule_notes(&name)));
        assert_eq!(view.unreadable_schedules(), BTreeSet::from([name]));
    }
}
