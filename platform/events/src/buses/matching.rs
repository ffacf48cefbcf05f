//! Which rules take the events of a put: at once where that is told in few steps, else on a thread of its own.
//!
//! So no put, whatever it asks of whichever rules, keeps a thread of the runtime's from others for longer than
//! [`STEPS_INLINE_MAX`] take, nor who changes rules. What takes longer is matched with the rules of its buses as they were, which
//! whoever changes them meanwhile leaves be; only if they are still the same is it taken in, else it is matched anew.
//!
//! What always holds: what is taken in was matched with the rules that there are then, so nothing comes to one that is gone.

use super::intake::{Aimed, Begun, Offer, Sender, To};
use super::rules::{BusMatcher, Matched, Rules};
use super::{Inner, RULES_HELD};
use crate::json::shortened;
use crate::pattern::{Pattern, TooMuchWork, Work};
use skiff_ports::buses::BusError;
use skiff_types::QualifiedName;
use std::sync::Arc;

/// Steps that are taken where the put came in. As many take two milliseconds or so; an event that thousands of rules tell apart by
/// its values takes hundreds.
pub(super) const STEPS_INLINE_MAX: u64 = Pattern::STEPS_MAX / 500;
/// Puts that are matched on threads of their own at once: the machine's cores are there for others too.
pub(super) const APART_MAX: usize = 2;
/// How often a put is matched anew because the rules of its buses changed meanwhile; then they can't change until it is in.
const CHANGED_TIMES_MAX: usize = 3;

/// A put that was begun, or one that takes long to match.
pub(super) enum Tried {
    Begun(Begun),
    Long(Vec<Offer>),
}

/// The names of the rules that take each event; or at which one there was too much work.
type Names = Result<Vec<Vec<QualifiedName>>, (usize, TooMuchWork)>;

impl Inner {
    /// Begins a put, unless it takes long to match.
    pub(super) fn begin(self: &Arc<Self>, offers: Vec<Offer>, sender: Sender) -> Result<Tried, BusError> {
        let rules = self.rules.read().expect(RULES_HELD);
        let found = names(&offers, &matchers(&offers, &rules), STEPS_INLINE_MAX);
        match found {
            Ok(found) => self.enter(aimed(offers, found, &rules), sender).map(Tried::Begun),
            Err(_) => Ok(Tried::Long(offers)),
        }
    }

    /// Begins a put that takes long to match. On a thread that may be held up.
    pub(super) fn begin_long(
        self: &Arc<Self>,
        offers: Vec<Offer>,
        sender: Sender,
    ) -> Result<Begun, BusError> {
        for _ in 0..CHANGED_TIMES_MAX {
            let before = matchers(&offers, &self.rules.read().expect(RULES_HELD));
            let found = names(&offers, &before, Pattern::STEPS_MAX);
            let found = found.map_err(|(at, error)| too_much(&offers, at, error))?;
            // Until it is taken in.
            let rules = self.rules.read().expect(RULES_HELD);
            if are_the_same(&before, &matchers(&offers, &rules)) {
                return self.enter(aimed(offers, found, &rules), sender);
            }
        }
        let rules = self.rules.read().expect(RULES_HELD);
        let found = names(&offers, &matchers(&offers, &rules), Pattern::STEPS_MAX);
        let found = found.map_err(|(at, error)| too_much(&offers, at, error))?;
        self.enter(aimed(offers, found, &rules), sender)
    }
}

/// What the rules of each event's bus are found by, as they are now.
fn matchers(offers: &[Offer], rules: &Rules) -> Vec<BusMatcher> {
    offers.iter().map(|offer| rules.matcher_of(&offer.event)).collect()
}

/// Whether no rule of these buses changed in between.
fn are_the_same(before: &[BusMatcher], now: &[BusMatcher]) -> bool {
    let is_same = |(before, now): (&BusMatcher, &BusMatcher)| match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    before.iter().zip(now).all(is_same)
}

fn names(offers: &[Offer], matchers: &[BusMatcher], steps: u64) -> Names {
    // One for all of them: no call holds up others the longer the more events it has.
    let work = Work::new(steps);
    let of_each = offers.iter().zip(matchers).enumerate();
    let names = of_each.map(|(at, (offer, matcher))| match (&offer.to, matcher) {
        (To::Rules(parsed), Some(matcher)) => {
            matcher.matching_within(parsed, &work).map_err(|error| (at, error))
        }
        (To::Rules(_), None) | (To::Schedule(..), _) => Ok(Vec::new()),
    });
    names.collect()
}

/// Events with where they go.
fn aimed(offers: Vec<Offer>, names: Vec<Vec<QualifiedName>>, rules: &Rules) -> Vec<Aimed> {
    let aimed = offers.into_iter().zip(names).map(|(offer, names)| {
        let matched = match &offer.to {
            To::Rules(_) => rules.aims_of(names),
            To::Schedule(aim, _) => Matched { aims: vec![aim.clone()], rules: Vec::new() },
        };
        (offer, matched)
    });
    aimed.collect()
}

/// What who put an event is told at which there was too much work; if others were put with it, they take of the same.
fn too_much(offers: &[Offer], at: usize, error: TooMuchWork) -> BusError {
    let id = offers.get(at).map(|offer| shortened(&offer.event.id)).unwrap_or_default();
    BusError::Invalid(match offers.len() {
        1 => format!("the event {id}: {error}"),
        _ => format!("the events up to {id}: {error}; or put fewer of them in one call"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::intake::offers;
    use super::super::rules::Change;
    use super::*;
    use skiff_types::{BusEvent, EventRuleSpec, Namespace};
    use std::collections::BTreeMap;

    fn event(bus: &str) -> BusEvent {
        BusEvent {
            namespace: Namespace::default(),
            bus: bus.parse().unwrap(),
            id: bus.into(),
            source: "app".into(),
            detail_type: "Order Placed".into(),
            time_ms: 1_700_000_000_000,
            resources: Vec::new(),
            subject: None,
            extensions: BTreeMap::new(),
            detail: "{}".into(),
            order_key: None,
        }
    }

    fn rule(name: &str, bus: &str, pattern: &str) -> Arc<EventRuleSpec> {
        Arc::new(EventRuleSpec {
            name: format!("default/{name}").parse().unwrap(),
            bus: bus.parse().unwrap(),
            pattern: pattern.into(),
            enabled: true,
            targets: Vec::new(),
        })
    }

    #[test]
    fn what_is_matched_with_is_left_as_it_is_and_a_change_of_its_bus_alone_is_seen() {
        let all = r#"{"source": ["app"]}"#;
        let mut rules = Rules::default();
        let set = |rules: &mut Rules, wanted: Vec<Arc<EventRuleSpec>>| {
            let change = Change::between(&rules.specs(), wanted);
            rules.change(change);
        };
        let offers = offers(vec![event("one"), event("empty")]).unwrap();
        set(&mut rules, vec![rule("a", "one", all), rule("b", "other", all)]);
        let before = matchers(&offers, &rules);
        let steps = Pattern::STEPS_MAX;
        let found = names(&offers, &before, steps).unwrap();
        let a: QualifiedName = "default/a".parse().unwrap();
        assert_eq!(found, [vec![a], Vec::new()]);

        set(&mut rules, vec![rule("a", "one", all), rule("c", "other", all)]);
        assert!(are_the_same(&before, &matchers(&offers, &rules)), "another bus's rules changed");
        set(&mut rules, vec![rule("a", "one", r#"{"source": ["else"]}"#), rule("c", "other", all)]);
        assert!(!are_the_same(&before, &matchers(&offers, &rules)));
        assert_eq!(names(&offers, &before, steps).unwrap(), found, "it is as it was");
        let now = names(&offers, &matchers(&offers, &rules), steps).unwrap();
        assert!(now.iter().all(Vec::is_empty), "{now:?}");

        let before = matchers(&offers, &rules);
        set(&mut rules, vec![rule("d", "empty", all)]);
        assert!(!are_the_same(&before, &matchers(&offers, &rules)), "there were none");
    }
}
