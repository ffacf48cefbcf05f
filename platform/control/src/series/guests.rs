//! Whose guests put a series, how many series of theirs there may be, and how much memory those may take: values come with whatever
//! name and dimensions a guest makes up, and differ as a guest wants, so what one service or family puts is bounded apart from what
//! all others do; and so is what those of one namespace put together, since it may have any number of services.
//!
//! It deliberately keeps no values. Series that somebody put by the API under a service's name count with it, since nothing tells
//! them apart; they are never refused for that.
//!
//! What always holds: who has no series and no bytes is not kept. A bound on bytes is passed by what one point takes at most, since
//! it is looked at before the point is put.

use skiff_plan::series::{
    BYTES_MAX, BYTES_OF_GUESTS_MAX, BYTES_OF_NAMESPACE_MAX, BYTES_OF_SOURCE_MAX, SERIES_MAX,
    SERIES_OF_GUESTS_MAX, SERIES_OF_SOURCE_MAX,
};
use skiff_types::{Dimensions, MetricOf, Namespace, SeriesId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

/// Seconds of custom series would take more memory than they may.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the last quarter of an hour of custom metrics takes {there} MiB of memory {of}, and with these values it would be more than \
     the {max} MiB that it may; put fewer different values at a time, or fewer series: a second is kept in memory for 15 minutes"
)]
pub(crate) struct NoBytes {
    there: usize,
    of: String,
    max: usize,
}

/// What there is of somebody.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Held {
    series: usize,
    /// What their seconds take in memory.
    bytes: usize,
}

/// What custom series there are of each service and family, of all in a namespace, and of all.
#[derive(Debug, Default)]
pub(super) struct Sources {
    each: HashMap<Source, Held>,
    /// What is of a service or family, by namespace.
    guests: HashMap<Namespace, Held>,
    /// By namespace, whoever put it.
    namespaces: HashMap<Namespace, Held>,
    all: Held,
}

impl Sources {
    /// A custom series is there.
    pub(super) fn came(&mut self, series: &SeriesId) {
        self.change(series, |held| held.series += 1);
    }

    /// One is not there any more, nor are its seconds.
    pub(super) fn left(&mut self, series: &SeriesId) {
        self.change(series, |held| held.series = held.series.saturating_sub(1));
    }

    /// The seconds of a series that is there took so many bytes, and take so many now. Nothing is counted of what Skiff measures.
    pub(super) fn resize(&mut self, series: &SeriesId, before: usize, after: usize) {
        if before != after {
            self.change(series, |held| held.bytes = (held.bytes + after).saturating_sub(before));
        }
    }

    /// How many custom series there are.
    pub(super) fn series(&self) -> usize {
        self.all.series
    }

    /// Whether a guest may put this one, which is not there yet.
    pub(super) fn have_room_for(&self, series: &SeriesId) -> bool {
        Source::of(series).is_some_and(|source| {
            self.all.series < SERIES_MAX
                && there(&self.each, &source).series < SERIES_OF_SOURCE_MAX
                && there(&self.guests, &source.namespace).series < SERIES_OF_GUESTS_MAX
        })
    }

    /// Whether a guest may put more values of this one.
    pub(super) fn have_bytes_for(&self, series: &SeriesId) -> bool {
        Source::of(series).is_some_and(|source| {
            self.have_bytes()
                && there(&self.each, &source).bytes < BYTES_OF_SOURCE_MAX
                && there(&self.guests, &source.namespace).bytes < BYTES_OF_GUESTS_MAX
        })
    }

    /// Whether there is room for more seconds of anybody.
    pub(super) fn have_bytes(&self) -> bool {
        self.all.bytes < BYTES_MAX
    }

    /// Refuses values of a namespace that take so many bytes more, where that would be too many.
    pub(super) fn check_bytes(&self, namespace: &Namespace, more: usize) -> Result<(), NoBytes> {
        let of_namespace = there(&self.namespaces, namespace).bytes;
        let refused =
            |there: usize, of: String, max: usize| NoBytes { there: there >> 20, of, max: max >> 20 };
        if of_namespace + more > BYTES_OF_NAMESPACE_MAX {
            return Err(refused(
                of_namespace,
                format!("in the namespace {namespace}"),
                BYTES_OF_NAMESPACE_MAX,
            ));
        }
        if self.all.bytes + more > BYTES_MAX {
            return Err(refused(self.all.bytes, "in all namespaces together".to_owned(), BYTES_MAX));
        }
        Ok(())
    }

    /// Changes what there is of all whose a custom series is.
    fn change(&mut self, series: &SeriesId, change: impl Fn(&mut Held)) {
        let MetricOf::Custom(namespace) = &series.of else { return };
        change(&mut self.all);
        changed(&mut self.namespaces, namespace.clone(), &change);
        if let Some(source) = Source::of(series) {
            changed(&mut self.guests, source.namespace.clone(), &change);
            changed(&mut self.each, source, &change);
        }
    }
}

fn there<K: Eq + Hash>(held: &HashMap<K, Held>, key: &K) -> Held {
    held.get(key).copied().unwrap_or_default()
}

/// Changes what there is of one. Nothing is kept of who has nothing.
fn changed<K: Eq + Hash>(held: &mut HashMap<K, Held>, key: K, change: impl Fn(&mut Held)) {
    match held.entry(key) {
        Entry::Occupied(mut occupied) => {
            change(occupied.get_mut());
            if *occupied.get() == Held::default() {
                occupied.remove();
            }
        }
        Entry::Vacant(vacant) => {
            let mut new = Held::default();
            change(&mut new);
            if new != Held::default() {
                vacant.insert(new);
            }
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
        assert!(sources.each.is_empty() && sources.guests.is_empty(), "nothing is kept of who has none");
        assert!(sources.namespaces.is_empty() && sources.all == Held::default());
    }

    #[test]
    fn bytes_are_bounded_by_service_and_family_by_namespace_and_in_total() {
        let mut sources = Sources::default();
        let mut grow = |series: &SeriesId, bytes: usize| {
            let had = sources.have_bytes_for(series);
            sources.came(series);
            sources.resize(series, 0, bytes);
            (had, sources.have_bytes_for(series))
        };
        let shop = series(0, "service=shop");
        assert_eq!(grow(&shop, BYTES_OF_SOURCE_MAX - 1), (true, true));
        assert_eq!(grow(&series(1, "service=shop,zone=a"), 1), (true, false));
        for service in 1..BYTES_OF_GUESTS_MAX / BYTES_OF_SOURCE_MAX {
            let more = series(0, &format!("service=noisy-{service}"));
            assert_eq!(grow(&more, BYTES_OF_SOURCE_MAX), (true, false), "{service}");
        }
        let another = series(0, "service=another");
        assert!(!sources.have_bytes_for(&another), "the namespace has used up its own");
        assert!(!sources.have_bytes_for(&series(0, "zone=a")), "nobody's");
        let elsewhere = SeriesId { of: MetricOf::Custom("other".parse().unwrap()), ..another.clone() };
        assert!(sources.have_bytes_for(&elsewhere));
        assert_eq!(
            sources.check_bytes(&Namespace::default(), BYTES_OF_GUESTS_MAX),
            Ok(()),
            "who calls the API"
        );
        sources.resize(&shop, BYTES_OF_SOURCE_MAX - 1, 0);
        assert!(
            sources.have_bytes_for(&shop) && sources.have_bytes_for(&another),
            "what is forgotten makes room"
        );
    }

    #[test]
    fn who_calls_the_api_fills_no_more_than_half_and_all_together_no_more_than_all() {
        let mut sources = Sources::default();
        let half = series(0, "zone=a");
        let other: Namespace = "other".parse().unwrap();
        sources.resize(&half, 0, BYTES_OF_NAMESPACE_MAX - 1);
        assert_eq!(sources.check_bytes(&Namespace::default(), 1), Ok(()));
        let refused = sources.check_bytes(&Namespace::default(), 2).unwrap_err().to_string();
        assert!(refused.contains("127 MiB of memory in the namespace default"), "{refused}");
        let elsewhere = SeriesId { of: MetricOf::Custom(other.clone()), ..half };
        sources.resize(&elsewhere, 0, BYTES_OF_NAMESPACE_MAX);
        assert!(sources.have_bytes());
        let third: Namespace = "third".parse().unwrap();
        assert_eq!(sources.check_bytes(&third, 1), Ok(()));
        let refused = sources.check_bytes(&third, 2).unwrap_err().to_string();
        assert!(refused.contains("in all namespaces together"), "{refused}");
        sources.resize(&elsewhere, 0, 1);
        assert!(!sources.have_bytes() && !sources.have_bytes_for(&series(0, "service=shop")));
        assert!(sources.check_bytes(&other, 0).is_err(), "more than half");
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
