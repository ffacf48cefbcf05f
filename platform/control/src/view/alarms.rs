//! Alarms and what is noted of them, with what is looked up of them by more than a key: whose changes nobody has taken yet, and
//! who names an alarm.
//!
//! It deliberately decides nothing, and knows no datapoint: what an alarm was evaluated to is in `crate::alarms`.

use super::{Held, Table, View, Viewed};
use crate::events::Tale;
use crate::keys;
use crate::model::{Alarm, AlarmNotes, Delivery};
use skiff_ports::journal::Mark;
use skiff_ports::store::Key;
use skiff_types::{AlarmState, Policy, QualifiedName, ScalingSpec};
use std::collections::BTreeSet;

/// The objects of alarms.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    pub(crate) declared: Table<Alarm>,
    pub(crate) notes: Table<AlarmNotes>,
    /// Of which something is to be posted.
    undelivered: BTreeSet<QualifiedName>,
}

impl View {
    /// An alarm.
    pub(crate) fn alarm(&self, name: &QualifiedName) -> Option<&Held<Alarm>> {
        self.alarms.declared.get(&keys::alarm(name))
    }

    /// What is noted of an alarm, if anything is of this very one.
    pub(crate) fn notes_of_alarm(&self, alarm: &Alarm) -> Option<&AlarmNotes> {
        let notes = &self.alarms.notes.get(&keys::alarm_notes(&alarm.spec.name))?.value;
        (notes.alarm_created_at_ms == alarm.created_at_ms).then_some(&**notes)
    }

    /// In which state an alarm is; of one that is not there, or never was in another than the first, nothing.
    pub(crate) fn state_of_alarm(&self, name: &QualifiedName) -> Option<AlarmState> {
        let alarm = &self.alarm(name)?.value;
        self.notes_of_alarm(alarm).map(|notes| notes.state)
    }

    /// What is to be posted next: the first for each address of each alarm, so that whoever is there hears of the changes of an
    /// alarm in their order.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (&QualifiedName, &Delivery)> {
        let notes = self.alarms.undelivered.iter().filter_map(|alarm| {
            let held = self.alarms.notes.get(&keys::alarm_notes(alarm))?;
            Some((alarm, &held.value.undelivered))
        });
        notes.flat_map(|(alarm, undelivered)| {
            let mut seen = BTreeSet::new();
            undelivered.iter().filter(move |post| seen.insert(&post.url)).map(move |post| (alarm, post))
        })
    }

    /// Keys of notes of alarms that are not there any more, or were made anew. An alarm whose record can't be read is there.
    pub(crate) fn notes_of_no_alarm(&self) -> Vec<Key> {
        let is_stale = |held: &&Held<AlarmNotes>| match self.alarm(&held.value.alarm) {
            Some(alarm) => alarm.value.created_at_ms != held.value.alarm_created_at_ms,
            None => !self.unreadable.contains(&keys::alarm(&held.value.alarm)),
        };
        let stale = self.alarms.notes.all().filter(is_stale);
        stale.map(|held| keys::alarm_notes(&held.value.alarm)).collect()
    }

    /// Who follows an alarm, as the beginning of a sentence; what is on its way out follows nothing.
    pub(crate) fn alarm_is_named_by(&self, alarm: &QualifiedName) -> Option<String> {
        let services = self.services.under(&keys::in_namespace("service", &alarm.namespace));
        let mut services = services.map(|held| &*held.value).filter(|service| !service.removed);
        services.find_map(|service| {
            if service.spec.deployment.alarms.contains(&alarm.name) {
                return Some(format!("the deployment of the service {}", service.name()));
            }
            let scaling = &self.scaling_of(service)?.value;
            follows(&scaling.spec, alarm).then(|| format!("the scaling of the service {}", service.name()))
        })
    }
}

/// Whether a policy follows an alarm.
fn follows(scaling: &ScalingSpec, alarm: &QualifiedName) -> bool {
    scaling.policies.iter().any(|policy| match policy {
        Policy::Step(step) => step.alarm == alarm.name,
        Policy::TargetTracking(_) => false,
    })
}

impl Viewed for Alarm {
    const WHILE_UNREADABLE: &'static str = "the alarm is not evaluated";
    table_at!(alarms.declared);
}

impl Viewed for AlarmNotes {
    const WHILE_UNREADABLE: &'static str = "the alarm stays as it is";
    table_at!(alarms.notes);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, after: Option<&Self>) {
        let Some(name) = keys::name_of(key) else { return };
        match after.is_some_and(|notes| !notes.undelivered.is_empty()) {
            true => view.alarms.undelivered.insert(name),
            false => view.alarms.undelivered.remove(&name),
        };
    }

    fn tale(&self, told: Option<Mark>) -> Option<Tale> {
        self.tells(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::tests::{alarm, notes};
    use crate::records::Stored;
    use crate::view::tests::put;

    fn post(id: &str, url: &str) -> Delivery {
        Delivery { id: id.to_owned(), url: url.parse().unwrap(), body: "{}".to_owned(), since_ms: 1 }
    }

    #[test]
    fn what_is_posted_next_is_the_first_for_each_address() {
        let mut view = View::default();
        let mut busy = notes("default/busy");
        busy.undelivered = vec![
            post("1", "http://a/"),
            post("2", "http://a/"),
            post("3", "http://b/"),
            post("4", "http://b/"),
        ];
        put(&mut view, busy.clone());
        put(&mut view, notes("default/calm"));
        let next = |view: &View| -> Vec<String> {
            view.deliveries().map(|(alarm, post)| format!("{alarm} {}", post.id)).collect()
        };
        assert_eq!(next(&view), ["default/busy 1", "default/busy 3"]);
        busy.undelivered.remove(0);
        put(&mut view, busy.clone());
        assert_eq!(next(&view), ["default/busy 2", "default/busy 3"]);
        busy.undelivered.clear();
        put(&mut view, busy);
        assert_eq!(next(&view), [""; 0]);
    }

    #[test]
    fn notes_go_with_their_alarm_and_not_while_it_can_not_be_read() {
        let mut view = View::default();
        let object = alarm("default/busy");
        put(&mut view, object.clone());
        put(&mut view, notes("default/busy"));
        assert!(view.notes_of_no_alarm().is_empty() && view.notes_of_alarm(&object).is_some());
        let anew = Alarm { created_at_ms: 9, ..object };
        put(&mut view, anew.clone());
        assert!(view.notes_of_alarm(&anew).is_none(), "they are of the one before");
        let key = keys::alarm_notes(&anew.spec.name);
        assert_eq!(view.notes_of_no_alarm(), std::slice::from_ref(&key));
        assert!(view.apply_unreadable::<Alarm>(&anew.key()));
        assert!(view.notes_of_no_alarm().is_empty());
        let revision = view.generation + 1;
        assert!(view.apply::<Alarm>(&anew.key(), revision, None));
        assert_eq!(view.notes_of_no_alarm(), [key]);
    }
}
