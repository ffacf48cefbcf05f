//! Looks between those of whole seconds: how many requests came to the services that are scaled in the second that ends amid two, so
//! that a leap is known up to three quarters of a second sooner.
//!
//! It deliberately makes no points: what is kept and shown is of whole seconds. Nor is it of less than a second: what comes in bursts,
//! each second one, is no leap. What always holds: a glance is of about a second, and is forgotten with the next look; where there are
//! so many tasks that those are rarer, there is none.

use super::sampler::arrived;
use crate::context::Context;
use crate::view::View;
use skiff_types::{Measure, QualifiedName, SeriesId, Statistic};
use std::collections::{BTreeMap, VecDeque};

/// How much longer or shorter than a second what a glance is of may be, in milliseconds.
const INACCURACY_MS: u64 = 100;
const SECOND_MS: u64 = 1_000;
/// By how much, in percent, more must have come within a second than within the one before to be told of.
const MORE_PERCENT: u64 = 10;

/// What had come to each service at the glances of the last two seconds.
#[derive(Default)]
pub(crate) struct Glances {
    /// The latest last.
    seen: VecDeque<Glance>,
}

/// What had come at one.
struct Glance {
    at_ms: u64,
    arrived: BTreeMap<QualifiedName, u64>,
}

impl Glances {
    /// Looks what came to the services that are scaled within a second, and has [`super::Series::glanced`] say it. Says whether to any
    /// of them more came than in the second before.
    pub(crate) fn glance(&mut self, context: &Context) -> bool {
        let scaled = context.objects.read(View::scaled_services);
        let now_ms = context.now_ms();
        let mut counted = BTreeMap::new();
        if !scaled.is_empty() {
            let mut services = context.accounts.sample(&scaled).services;
            services.retain(|name, _| scaled.contains(name));
            counted.extend(services.into_iter().map(|(name, totals)| (name, arrived(&totals))));
        }
        let (since, is_more) = self.take_in(Glance { at_ms: now_ms, arrived: counted });
        context.series.set_glance(since);
        is_more
    }

    /// What came within the second up to a glance, and whether that is more than in the one before.
    fn take_in(&mut self, now: Glance) -> (BTreeMap<QualifiedName, u64>, bool) {
        let oldest_ms = now.at_ms.saturating_sub(2 * SECOND_MS + INACCURACY_MS);
        // Where the clock was put back, nothing of before is of any use.
        self.seen.retain(|glance| (oldest_ms..=now.at_ms).contains(&glance.at_ms));
        let ago = |seconds: u64| {
            let off_ms = |glance: &&Glance| (now.at_ms - glance.at_ms).abs_diff(seconds * SECOND_MS);
            self.seen.iter().min_by_key(off_ms).filter(|glance| off_ms(glance) <= INACCURACY_MS)
        };
        let (mut since, mut is_more) = (BTreeMap::new(), false);
        if let Some(earlier) = ago(1) {
            let before = ago(2);
            for (name, count) in &now.arrived {
                let Some(then) = earlier.arrived.get(name) else { continue };
                let came = count.saturating_sub(*then);
                let first = before.and_then(|before| before.arrived.get(name));
                // Of what is new nobody knows whether it is more.
                let came_before = first.map_or(0, |first| then.saturating_sub(*first));
                is_more |= came.saturating_mul(100) > came_before.saturating_mul(100 + MORE_PERCENT);
                since.insert(name.clone(), came);
            }
        }
        self.seen.push_back(now);
        (since, is_more)
    }
}

/// What a glance says of a series and a statistic of it, where `running` tasks had what came; none of what is no count of requests.
pub(super) fn value(
    glance: &BTreeMap<QualifiedName, u64>,
    series: &SeriesId,
    statistic: Statistic,
    running: f64,
) -> Option<f64> {
    let tasks = match series.metric.measure()? {
        Measure::RequestCount => 1.0,
        Measure::RequestCountPerTarget => running.max(1.0),
        _ => return None,
    };
    let of = super::sampler::service_of(&series.of).filter(|_| statistic == Statistic::Sum)?;
    Some(*glance.get(of)? as f64 / tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_is_of_a_second_and_tells_when_more_comes() {
        let web: QualifiedName = "default/web".parse().unwrap();
        let mut glances = Glances::default();
        let mut glance = |at_ms: u64, arrived: u64| {
            let now = Glance { at_ms, arrived: BTreeMap::from([(web.clone(), arrived)]) };
            let (since, is_more) = glances.take_in(now);
            (since.get(&web).copied(), is_more)
        };
        // A hundred a second, looked at each quarter of one.
        for quarter in 0..4 {
            assert_eq!(glance(quarter * 250, quarter * 25), (None, false), "not yet a second");
        }
        for quarter in 4..8 {
            assert_eq!(
                glance(quarter * 250, quarter * 25),
                (Some(100), true),
                "nobody knows what came before"
            );
        }
        for quarter in 8..12 {
            assert_eq!(glance(quarter * 250, quarter * 25), (Some(100), false));
        }
        // Ten more in a second are a tenth, and one above that is more.
        assert_eq!(glance(3_000, 310), (Some(110), false));
        assert_eq!(glance(3_250, 336), (Some(111), true));
        // One that came late, and where none was a second ago.
        assert_eq!(glance(3_599, 361), (Some(111), true));
        assert_eq!(glance(6_000, 700), (None, false));
        assert_eq!(glance(5_000, 700), (None, false), "the clock was put back");
        assert_eq!(glance(6_000, 700), (Some(0), false));
    }

    #[test]
    fn a_glance_is_of_counts_of_requests_alone() {
        let web: QualifiedName = "default/web".parse().unwrap();
        let glance = BTreeMap::from([(web.clone(), 600)]);
        let told = |name: &QualifiedName, measure, statistic| {
            value(&glance, &SeriesId::of_service(name.clone(), measure), statistic, 4.0)
        };
        assert_eq!(told(&web, Measure::RequestCount, Statistic::Sum), Some(600.0));
        assert_eq!(told(&web, Measure::RequestCountPerTarget, Statistic::Sum), Some(150.0));
        assert_eq!(told(&web, Measure::RequestCount, Statistic::Average), None);
        assert_eq!(told(&web, Measure::CpuUtilization, Statistic::Sum), None);
        assert_eq!(told(&"default/shop".parse().unwrap(), Measure::RequestCount, Statistic::Sum), None);
        let none =
            value(&glance, &SeriesId::of_service(web, Measure::RequestCountPerTarget), Statistic::Sum, 0.0);
        assert_eq!(none, Some(600.0), "where no task runs yet");
    }
}
