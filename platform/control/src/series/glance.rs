//! A second look, between those of whole seconds: how many requests came to the services that are scaled in the second that ends
//! amid two, so that a leap is known half a second sooner.
//!
//! It deliberately makes no points: what is kept and shown is of whole seconds. What always holds: a glance is of about a second, and
//! is forgotten with the next look; where there are so many tasks that those are rarer, there is none.

use super::sampler::arrived;
use crate::context::Context;
use crate::view::View;
use skiff_types::{Measure, QualifiedName, SeriesId, Statistic};
use std::collections::BTreeMap;

/// How much longer or shorter than a second what a glance is of may be, in milliseconds.
const INACCURACY_MS: u64 = 100;
const SECOND_MS: u64 = 1_000;

/// What had come to each service at the last glance.
#[derive(Default)]
pub(crate) struct Glances {
    at_ms: u64,
    arrived: BTreeMap<QualifiedName, u64>,
}

impl Glances {
    /// Looks what came to the services that are scaled since the last glance, and has [`super::Series::glanced`] say it.
    pub(crate) fn glance(&mut self, context: &Context) {
        let scaled = context.objects.read(View::scaled_services);
        let now_ms = context.now_ms();
        let mut counted = BTreeMap::new();
        if !scaled.is_empty() {
            let mut services = context.accounts.sample(&scaled).services;
            services.retain(|name, _| scaled.contains(name));
            counted.extend(services.into_iter().map(|(name, totals)| (name, arrived(&totals))));
        }
        let is_of_a_second = now_ms.saturating_sub(self.at_ms).abs_diff(SECOND_MS) <= INACCURACY_MS;
        let since = counted.iter().filter(|_| is_of_a_second).filter_map(|(name, count)| {
            let before = self.arrived.get(name)?;
            Some((name.clone(), count.saturating_sub(*before)))
        });
        context.series.set_glance(since.collect());
        *self = Self { at_ms: now_ms, arrived: counted };
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
