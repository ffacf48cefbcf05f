//! What Skiff measures by itself: each second, or less often where there are many tasks, of services and tasks that do anything
//! or that somebody asks about.
//!
//! It deliberately reads no ledger: `Accounts` has the sums. It writes nothing either; it puts points into [`super::Series`].
//!
//! Requests are counted as they come, not as they are answered, as ELB counts them when a target is chosen: so a second tells what
//! there is to do even where nothing can be answered in it. What was in flight at one look and is answered by the next counted at
//! the first of them.
//!
//! What always holds: what was counted is in the points once, spread evenly over the seconds since the last look, so that none
//! of them lacks a point. A service that nobody calls, but for health checks, and nobody asks about costs nothing: its points
//! end a minute after it last did anything.

use super::TASKS_SAMPLED_MAX;
use super::latency;
use crate::consumers::backlogs;
use crate::context::Context;
use crate::meters::{Sample, TaskReading};
use crate::view::View;
use skiff_ledger::{HistogramTotals, StatusClass, Totals};
use skiff_types::{
    Datum, Group, Limits, Measure, MetricName, MetricOf, QualifiedName, Resolution, SeriesId, Task, TaskId,
    TaskStatus,
};
use std::collections::{BTreeSet, HashMap};

/// Points go on for this long after what they are of last did anything, in milliseconds.
const AWAKE_MS: u64 = 60_000;
/// Tasks whose sums are read in a second, on average; where more have used anything, it looks less often.
const TASKS_LOOKED_AT_MAX: usize = 4_096;
/// A look this long after the one before counts as one a second after it, in milliseconds: a clock was set.
const ELAPSED_MAX_MS: u64 = 30_000;
/// What one look stands for where nothing tells how long it was since the one before, in milliseconds.
const ELAPSED_USUAL_MS: u64 = 1_000;

/// What was counted when it was last looked at.
pub(crate) struct Sampler {
    looked_at_ms: u64,
    services: HashMap<QualifiedName, Seen>,
    tasks: HashMap<TaskId, Seen>,
}

/// The counters of a service or a task as they were, and until when its points go on.
#[derive(Default)]
struct Seen {
    counted: Counted,
    awake_until_ms: u64,
}

/// Counters that points are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counted {
    cpu_ns: u64,
    /// Responses to requests.
    answered: [u64; StatusClass::COUNT],
    /// Requests that came.
    arrived: u64,
    /// Responses to checks.
    checks: u64,
    /// Of both.
    request_duration: HistogramTotals,
}

/// What is to be put of a service or a task.
struct Due {
    since: Counted,
    memory_bytes: u64,
}

/// How large the tasks are that work.
#[derive(Default)]
struct Sizes {
    cpu_units: u64,
    memory_bytes: u64,
}

impl Sampler {
    /// One that begins at `now_ms`, when nothing is counted yet: the ledger is no older than this process.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { looked_at_ms: now_ms, services: HashMap::new(), tasks: HashMap::new() }
    }

    /// Looks at what was counted since the last look, and puts it into the seconds that ended since. Says after how many
    /// seconds it is to look again.
    pub(crate) fn look(&mut self, context: &Context) -> u64 {
        let now_ms = context.now_ms();
        let (elapsed_ms, seconds) = covered(self.looked_at_ms, now_ms);
        // Once a minute those that sleep are looked at too, so that who is gone is forgotten.
        let minute = |at_ms: u64| Resolution::Minute.start_ms(at_ms);
        let looks_at_all = minute(now_ms) != minute(self.looked_at_ms);
        self.looked_at_ms = now_ms;
        let backlogs = backlogs(context);
        let mut asked = context.series.asked(now_ms);
        // Who has messages to be given counts as asked about, so that they can be scaled by from the first second on.
        let with_some = backlogs.iter().filter(|(_, backlog)| **backlog > 0);
        asked.extend(with_some.map(|(service, _)| MetricOf::Service(service.clone())));
        let awake = self.services.iter().filter(|(_, seen)| looks_at_all || seen.awake_until_ms > now_ms);
        let also = awake.map(|(name, _)| name).chain(asked.iter().filter_map(service_of));
        let Sample { tasks, services } = context.accounts.sample(also);
        let pause_s = tasks.len().div_ceil(TASKS_LOOKED_AT_MAX).max(1) as u64;
        let services = self.due_services(services, &asked, now_ms);
        let tasks = self.due_tasks(&tasks, &asked, now_ms);
        let is_worth = |(series, datum): &(SeriesId, Datum)| {
            datum.max != 0.0 || is_usual(&series.metric) || context.series.is_wanted(series)
        };
        let each_ms = elapsed_ms / seconds;
        for ago in (0..seconds).rev() {
            let points = context.objects.read(|view| {
                let of_services = services.iter().flat_map(|(name, due)| {
                    let due = due.share(ago, seconds);
                    of_service(view, name, &due, each_ms, backlogs.get(name).copied())
                });
                let of_tasks = tasks
                    .iter()
                    .flat_map(|(reading, due)| of_task(view, reading, &due.share(ago, seconds), each_ms));
                of_services.chain(of_tasks).collect::<Vec<_>>()
            });
            let points: Vec<(SeriesId, Datum)> = points.into_iter().filter(is_worth).collect();
            context.series.put(now_ms.saturating_sub((ago + 1) * Resolution::Second.span_ms()), &points);
        }
        pause_s
    }

    fn due_services(
        &mut self,
        services: impl IntoIterator<Item = (QualifiedName, Totals)>,
        asked: &BTreeSet<MetricOf>,
        now_ms: u64,
    ) -> Vec<(QualifiedName, Due)> {
        let mut due = Vec::new();
        for (name, totals) in services {
            let is_asked = asked.contains(&MetricOf::Service(name.clone()));
            let seen = self.services.entry(name.clone()).or_default();
            if let Some(one) = seen.due(&totals, is_asked, now_ms) {
                due.push((name, one));
            }
        }
        // Of a service that is gone nothing is counted any more, nor is of one that never did anything.
        self.services.retain(|_, seen| seen.awake_until_ms > now_ms || seen.counted != Counted::default());
        due
    }

    fn due_tasks<'a>(
        &mut self,
        tasks: &'a [TaskReading],
        asked: &BTreeSet<MetricOf>,
        now_ms: u64,
    ) -> Vec<(&'a TaskReading, Due)> {
        let living: BTreeSet<TaskId> = tasks.iter().map(|reading| reading.task).collect();
        self.tasks.retain(|task, _| living.contains(task));
        let mut due = Vec::new();
        for reading in tasks {
            let is_asked = asked.contains(&MetricOf::Task(reading.task));
            let seen = self.tasks.entry(reading.task).or_default();
            if let Some(one) = seen.due(&reading.totals, is_asked, now_ms) {
                due.push((reading, one));
            }
        }
        due.truncate(TASKS_SAMPLED_MAX);
        due
    }
}

/// How long a look stands for, in milliseconds, and how many seconds ended since the one before; 1 at least.
fn covered(looked_at_ms: u64, now_ms: u64) -> (u64, u64) {
    let elapsed_ms = now_ms.saturating_sub(looked_at_ms);
    if elapsed_ms == 0 || elapsed_ms > ELAPSED_MAX_MS {
        return (ELAPSED_USUAL_MS, 1);
    }
    let second = |at_ms: u64| at_ms / Resolution::Second.span_ms();
    (elapsed_ms, (second(now_ms) - second(looked_at_ms)).max(1))
}

impl Due {
    /// The part of one of so many seconds, the `ago`-th before the newest. How long requests took is of that one.
    fn share(&self, ago: u64, seconds: u64) -> Self {
        let part = |count: u64| count / seconds + u64::from(ago < count % seconds);
        let Counted { cpu_ns, answered, arrived, checks, request_duration } = &self.since;
        let since = Counted {
            cpu_ns: part(*cpu_ns),
            answered: answered.map(part),
            arrived: part(*arrived),
            checks: part(*checks),
            request_duration: if ago == 0 { *request_duration } else { HistogramTotals::default() },
        };
        Self { since, memory_bytes: self.memory_bytes }
    }
}

impl Seen {
    /// What was counted since, if it is to be put.
    fn due(&mut self, totals: &Totals, is_asked: bool, now_ms: u64) -> Option<Due> {
        let counted = Counted::of(totals);
        let since = counted.since(&self.counted);
        self.counted = counted;
        if since.is_work() || totals.in_flight > 0 || totals.queued > 0 {
            self.awake_until_ms = now_ms.saturating_add(AWAKE_MS);
        }
        let is_due = is_asked || self.awake_until_ms > now_ms;
        is_due.then_some(Due { since, memory_bytes: totals.memory_bytes })
    }
}

/// Requests that came: those that were answered, and those that wait for their answer.
pub(super) fn arrived(totals: &Totals) -> u64 {
    totals.answered().iter().sum::<u64>() + totals.in_flight + totals.queued
}

impl Counted {
    fn of(totals: &Totals) -> Self {
        Self {
            cpu_ns: totals.cpu_ns,
            answered: totals.answered(),
            arrived: arrived(totals),
            checks: totals.checks.iter().sum(),
            request_duration: totals.request_duration,
        }
    }

    /// What was counted since `earlier`: 0 for a counter that is below it, as arrivals are where what was in flight was a
    /// health check, or was lost with its worker.
    fn since(&self, earlier: &Self) -> Self {
        let mut answered = self.answered;
        for (count, before) in answered.iter_mut().zip(&earlier.answered) {
            *count = count.saturating_sub(*before);
        }
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            answered,
            arrived: self.arrived.saturating_sub(earlier.arrived),
            checks: self.checks.saturating_sub(earlier.checks),
            request_duration: self.request_duration.since(&earlier.request_duration),
        }
    }

    /// Requests that were answered.
    fn requests(&self) -> u64 {
        self.answered.iter().sum()
    }

    /// Whether anything was done but to answer checks: what only those ask is idle.
    fn is_work(&self) -> bool {
        self.requests() > 0 || (self.cpu_ns > 0 && self.checks == 0)
    }
}

impl Sizes {
    fn add(&mut self, limits: &Limits) {
        self.cpu_units += u64::from(limits.cpu.get());
        self.memory_bytes += limits.memory.bytes();
    }

    /// What was used, in percent of what these sizes allow; nothing where they allow nothing.
    fn utilization(&self, due: &Due, elapsed_ms: u64) -> [(Measure, Option<Datum>); 2] {
        let cores = self.cpu_units as f64 / f64::from(skiff_types::CpuUnits::PER_VCPU);
        let cpu = percent(due.since.cpu_ns as f64, cores * elapsed_ms as f64 * 1e6);
        let memory = percent(due.memory_bytes as f64, self.memory_bytes as f64);
        [(Measure::CpuUtilization, cpu), (Measure::MemoryUtilization, memory)]
    }
}

/// Whether a point is made of it even if it is 0 and there was none before.
fn is_usual(metric: &MetricName) -> bool {
    metric.measure().is_some_and(|measure| match measure {
        Measure::CpuUtilization
        | Measure::MemoryUtilization
        | Measure::RunningTaskCount
        | Measure::DesiredTaskCount
        | Measure::BacklogPerTask => true,
        Measure::RequestCount
        | Measure::RequestCountPerTarget
        | Measure::TargetResponseTime
        | Measure::Target2xxCount
        | Measure::Target3xxCount
        | Measure::Target4xxCount
        | Measure::Target5xxCount => false,
    })
}

pub(super) fn service_of(of: &MetricOf) -> Option<&QualifiedName> {
    match of {
        MetricOf::Service(name) => Some(name),
        MetricOf::Task(_) | MetricOf::Custom(_) => None,
    }
}

/// The points of a service that is there; `backlog` is of one that consumes queues.
fn of_service(
    view: &View,
    name: &QualifiedName,
    due: &Due,
    elapsed_ms: u64,
    backlog: Option<u64>,
) -> Vec<(SeriesId, Datum)> {
    let Some(service) = view.service(name) else { return Vec::new() };
    let (mut running, mut sizes) = (0_u64, Sizes::default());
    for held in view.tasks_of(&name.namespace, &Group::Service(name.name.clone())) {
        let task = &held.value.task;
        running += u64::from(task.status == TaskStatus::Running);
        if let Some(limits) = limits_of_working(view, task) {
            sizes.add(limits);
        }
    }
    let backlog = backlog.and_then(|messages| Datum::of_value(messages as f64 / running.max(1) as f64));
    let requests = due.since.arrived as f64;
    let [ok, redirected, refused, failed] = due.since.answered;
    // The times of checks lie among those of requests, but are none of a second without requests.
    let times = latency::datum(&due.since.request_duration).filter(|_| due.since.requests() > 0);
    let counts = [
        (Measure::RequestCount, Datum::of_value(requests)),
        (Measure::RequestCountPerTarget, Datum::of_value(requests / running.max(1) as f64)),
        (Measure::Target2xxCount, Datum::of_value(ok as f64)),
        (Measure::Target3xxCount, Datum::of_value(redirected as f64)),
        (Measure::Target4xxCount, Datum::of_value(refused as f64)),
        (Measure::Target5xxCount, Datum::of_value(failed as f64)),
        (Measure::RunningTaskCount, Datum::of_value(running as f64)),
        (Measure::DesiredTaskCount, Datum::of_value(f64::from(service.value.spec.desired))),
        (Measure::TargetResponseTime, times),
        (Measure::BacklogPerTask, backlog),
    ];
    let all = sizes.utilization(due, elapsed_ms).into_iter().chain(counts);
    all.filter_map(|(measure, datum)| Some((SeriesId::of_service(name.clone(), measure), datum?))).collect()
}

/// The points of a task that works.
fn of_task(view: &View, reading: &TaskReading, due: &Due, elapsed_ms: u64) -> Vec<(SeriesId, Datum)> {
    let held = view.task(&reading.owner.namespace, reading.task);
    let Some(limits) = held.and_then(|held| limits_of_working(view, &held.value.task)) else {
        return Vec::new();
    };
    let mut sizes = Sizes::default();
    sizes.add(limits);
    let all = sizes.utilization(due, elapsed_ms).into_iter();
    all.filter_map(|(measure, datum)| Some((SeriesId::of_task(reading.task, measure), datum?))).collect()
}

/// The size of a task that may use anything.
fn limits_of_working<'a>(view: &'a View, task: &Task) -> Option<&'a Limits> {
    let works = (TaskStatus::Running..TaskStatus::Stopped).contains(&task.status);
    let definition = works.then(|| view.definition(&task.namespace, &task.definition)).flatten()?;
    Some(&definition.value.definition.limits)
}

fn percent(used: f64, allowed: f64) -> Option<Datum> {
    Datum::of_value(100.0 * used / allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(cpu_ns: u64, ok: u64) -> Totals {
        Totals { cpu_ns, responses: [ok, 0, 0, 0], memory_bytes: 1 << 20, ..Totals::default() }
    }

    #[test]
    fn what_was_counted_is_due_once_and_then_nothing_for_a_minute() {
        let mut seen = Seen::default();
        let due = seen.due(&totals(5, 2), false, 10_000).unwrap();
        assert_eq!((due.since.cpu_ns, due.since.requests(), due.memory_bytes), (5, 2, 1 << 20));
        let due = seen.due(&totals(5, 2), false, 11_000).unwrap();
        assert_eq!((due.since.cpu_ns, due.since.requests()), (0, 0));
        assert!(seen.due(&totals(5, 2), false, 10_000 + AWAKE_MS).is_none(), "it sleeps");
        assert!(seen.due(&totals(5, 2), true, 10_000 + AWAKE_MS).is_some(), "somebody asked");
        assert_eq!(seen.due(&totals(9, 2), false, 100_000).unwrap().since.cpu_ns, 4);
    }

    #[test]
    fn checks_keep_nobody_awake_and_are_no_requests() {
        let mut seen = Seen::default();
        let checked = |cpu_ns, ok, checks| Totals { checks: [checks, 0, 0, 0], ..totals(cpu_ns, ok) };
        assert!(seen.due(&checked(5, 3, 3), false, 1_000).is_none());
        let due = seen.due(&checked(9, 5, 4), false, 2_000).unwrap();
        assert_eq!((due.since.requests(), due.since.checks), (1, 1));
        assert!(seen.due(&checked(10, 5, 4), false, 2_000 + AWAKE_MS).is_some(), "it works unasked");
    }

    #[test]
    fn what_is_only_in_flight_keeps_awake() {
        let mut seen = Seen::default();
        let waiting = Totals { in_flight: 1, ..totals(0, 0) };
        assert!(Seen::default().due(&totals(0, 0), false, 1).is_none());
        assert!(seen.due(&waiting, false, 1).is_some());
    }

    #[test]
    fn requests_count_when_they_come_and_once() {
        let mut seen = Seen::default();
        let mut arrived = |ok, in_flight, queued| {
            let totals = Totals { in_flight, queued, ..totals(0, ok) };
            let due = seen.due(&totals, true, 1).unwrap();
            (due.since.arrived, due.since.requests())
        };
        assert_eq!(arrived(0, 4, 3), (7, 0), "none is answered");
        assert_eq!(arrived(5, 2, 0), (0, 5), "all of them had come");
        assert_eq!(arrived(8, 1, 0), (2, 3));
        assert_eq!(arrived(8, 0, 0), (0, 0), "one was lost with its worker");
        assert_eq!(arrived(9, 0, 0), (1, 1));
    }

    #[test]
    fn what_came_in_seconds_without_a_look_is_spread_over_them() {
        assert_eq!(covered(10_002, 11_002), (1_000, 1));
        assert_eq!(covered(10_002, 11_990), (1_988, 1));
        assert_eq!(covered(10_002, 13_010), (3_008, 3));
        assert_eq!([covered(10_002, 10_002), covered(10_002, 9_000), covered(0, 99_000)], [(1_000, 1); 3]);
        let due = Seen::default().due(&totals(10, 5), false, 13_010).unwrap();
        let shares: Vec<Due> = (0..3).map(|ago| due.share(ago, 3)).collect();
        assert_eq!(shares.iter().map(|due| due.since.requests()).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(shares.iter().map(|due| due.since.cpu_ns).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(due.share(0, 1).since, due.since);
    }

    #[test]
    fn utilization_is_of_what_the_sizes_allow() {
        let mut sizes = Sizes::default();
        let due =
            Due { since: Counted { cpu_ns: 250_000_000, ..Counted::default() }, memory_bytes: 32 << 20 };
        assert!(sizes.utilization(&due, 1_000).iter().all(|(_, datum)| datum.is_none()));
        (sizes.cpu_units, sizes.memory_bytes) = (512, 128 << 20);
        let values = sizes.utilization(&due, 1_000).map(|(_, datum)| datum.unwrap().sum);
        assert_eq!(values, [50.0, 25.0]);
        assert_eq!(sizes.utilization(&due, 2_000)[0].1.as_ref().unwrap().sum, 25.0);
    }
}
