//! Whose guests put a series, and how many series of theirs there may be: values come with whatever name and dimensions a guest
//! makes up, so what one service or family puts is bounded apart from what all others do; and so is what those of one namespace
//! put together, since it may have any number of services.
//!
//! It deliberately keeps no values. Series that somebody put by the API under a service's name count with it, since nothing tells
//! them apart; they are never refused for that.

use skiff_plan::series::{SERIES_OF_GUESTS_MAX, SERIES_OF_SOURCE_MAX};
use skiff_types::{Dimensions, MetricOf, Namespace, SeriesId};
use std::collections::HashMap;
use std::hash::Hash;

/// A service or family of which there are custom series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Source {
    namespace: Namespace,
    /// Which of the two.
    kind: &'static str,
    name: String,
}

impl Source {
    /// Whose a series is; none where it says nothing of that.
    fn of(series: &SeriesId) -> Option<Self> {
        let MetricOf::Custom(namespace) = &series.of else { return None };
        Dimensions::SOURCES.into_iter().find_map(|kind| {
            let name = series.dimensions.get(kind)?.to_owned();
            Some(Self { namespace: namespace.clone(), kind, name })
        })
    }
}

/// How many series there are of each, and of all in a namespace.
#[derive(Debug, Default)]
pub(super) struct Sources {
    each: HashMap<Source, usize>,
    together: HashMap<Namespace, usize>,
}

impl Sources {
    /// A custom series is there.
    pub(super) fn came(&mut self, series: &SeriesId) {
        if let Some(source) = Source::of(series) {
            *self.together.entry(source.namespace.clone()).or_default() += 1;
            *self.each.entry(source).or_default() += 1;
        }
    }

    /// One is not there any more.
    pub(super) fn left(&mut self, series: &SeriesId) {
        if let Some(source) = Source::of(series) {
            one_less(&mut self.together, &source.namespace);
            one_less(&mut self.each, &source);
        }
    }

    /// Whether a guest may put this one, which is not there yet.
    pub(super) fn have_room_for(&self, series: &SeriesId) -> bool {
        Source::of(series).is_some_and(|source| {
            there(&self.each, &source) < SERIES_OF_SOURCE_MAX
                && there(&self.together, &source.namespace) < SERIES_OF_GUESTS_MAX
        })
    }
}

fn there<K: Eq + Hash>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or_default()
}

/// Nothing is kept of who has none.
fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(number: usize, dimensions: &str) -> SeriesId {
        SeriesId {
            of: MetricOf::Custom(Namespace::default()),
            metric: format!("m{number}").parse().unwrap(),
            dimensions: dimensions.parse().unwrap(),
        }
    }

    #[test]
    fn each_service_and_family_has_room_of_its_own() {
        let mut sources = Sources::default();
        for number in 0..SERIES_OF_SOURCE_MAX {
            let one = series(number, "service=shop");
            assert!(sources.have_room_for(&one), "{number}");
            sources.came(&one);
        }
        assert!(!sources.have_room_for(&series(7_000, "service=shop,zone=a")));
        assert!(sources.have_room_for(&series(0, "service=bank")));
        assert!(sources.have_room_for(&series(0, "family=shop")));
        let elsewhere = MetricOf::Custom("other".parse().unwrap());
        assert!(sources.have_room_for(&SeriesId { of: elsewhere, ..series(0, "service=shop") }));
        assert!(!sources.have_room_for(&series(0, "zone=a")), "nobody's");
        sources.left(&series(3, "service=shop"));
        assert!(sources.have_room_for(&series(7_000, "service=shop")), "what is forgotten makes room");
        (1..SERIES_OF_SOURCE_MAX).for_each(|number| sources.left(&series(number, "service=shop")));
        assert!(sources.each.is_empty() && sources.together.is_empty(), "nothing is kept of who has none");
    }

    #[test]
    fn however_many_services_a_namespace_has_it_leaves_room_for_others() {
        let mut sources = Sources::default();
        let services = SERIES_OF_GUESTS_MAX / SERIES_OF_SOURCE_MAX;
        for service in 0..services {
            for number in 0..SERIES_OF_SOURCE_MAX {
                let one = series(number, &format!("service=noisy-{service}"));
                assert!(sources.have_room_for(&one), "{service} {number}");
                sources.came(&one);
            }
        }
        let another = series(0, "service=another");
        assert!(!sources.have_room_for(&another));
        let elsewhere = MetricOf::Custom("other".parse().unwrap());
        assert!(sources.have_room_for(&SeriesId { of: elsewhere, ..another.clone() }));
        sources.left(&series(7, "service=noisy-0"));
        assert!(sources.have_room_for(&another), "what is forgotten makes room");
    }
}
