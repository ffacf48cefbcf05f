//! Brings about that a service has as many tasks as its metrics, its alarms and the clock ask for, within its bounds.
//!
//! `plan::scaling` decides; that is asked whenever a second was measured, amid two of them where more comes than before, and when a
//! schedule or a cooldown says. What it decides is written down, with what it must remember, before the service is changed by it:
//! whoever comes after a crash carries that out first. The service is changed as by its user's word, but that its deployment is the
//! same; the services' reconciler starts and stops the tasks.
//!
//! It deliberately leaves a service alone that sleeps, which no metric is to wake: what its schedules say is made up for once it is
//! awake. While a deployment is under way no task is taken away, as ECS has it.
//!
//! What always holds: nothing is written where nothing changes; scaling goes with its service, and its notes with it.

use super::{LOOK_INTERVAL, RETRY_INTERVAL, sleeps};
use crate::context::Context;
use crate::keys;
use crate::model::{Scaling, ScalingNotes, Service, ServiceNotes, bounds_now};
use crate::objects::ObjectError;
use crate::view::{Held, View};
use futures::{StreamExt, stream};
use skiff_plan::scaling::{self, Decision, Observed, Point, Signal, hold, looks_back_s};
use skiff_ports::store::Expect;
use skiff_types::{
    Measure, MetricOf, Name, Policy, QualifiedName, Resolution, RolloutState, ScalingActivity, ScalingSpec,
    SeriesId, Statistic, TargetTracking,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Services that are looked at at a time.
const SERVICES_AT_ONCE: usize = 16;
/// How long a custom metric counts as it was put last, in seconds: it may be put once a minute, and come late.
const HELD_S: usize = 90;

pub(super) async fn run(context: Arc<Context>) {
    loop {
        let wait = match context.is_winding_down() {
            true => LOOK_INTERVAL,
            false => look_at_all(&context).await,
        };
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = context.objects.wakes.scaling.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks at all services that are scaled; says how long to wait though nothing new is measured.
async fn look_at_all(context: &Arc<Context>) -> Duration {
    let names = context.objects.read(View::scaled_services);
    let looked: Vec<Result<Option<u64>, ()>> = stream::iter(names)
        .map(|name| async move {
            let looked = look(context, &name).await;
            looked.map_err(|error| {
                // Where somebody else changed what we would have, that is no news.
                if !error.is_conflict() {
                    warn!(service = %name, %error, "the service could not be scaled; it is tried again");
                }
            })
        })
        .buffer_unordered(SERVICES_AT_ONCE)
        .collect()
        .await;
    if looked.iter().any(Result::is_err) {
        return RETRY_INTERVAL;
    }
    let now_ms = context.now_ms();
    let again = looked.into_iter().filter_map(Result::unwrap_or_default).min();
    let wait = again.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)));
    // Whatever the clock says.
    wait.map_or(LOOK_INTERVAL, |wait| wait.min(LOOK_INTERVAL))
}

/// A service that is scaled, as of one generation of the view.
struct Seen {
    scaling: Held<Scaling>,
    notes: Option<Held<ScalingNotes>>,
    service: Held<Service>,
    is_asleep: bool,
    /// A deployment of it is under way.
    is_deploying: bool,
}

/// What there is of a name.
enum Found {
    /// A service that is scaled.
    Scaled(Box<Seen>),
    /// Scaling of a service that is gone, or on its way out, or another one now.
    Stale(Held<Scaling>),
    /// Notes alone.
    Left,
    /// Something of it can't be read: nothing is decided.
    Unreadable,
}

impl Found {
    fn of(view: &View, name: &QualifiedName) -> Self {
        let (service, scaling) = (keys::service(name), keys::scaling(name));
        let (status, notes) = (keys::service_status(name), keys::scaling_notes(name));
        if [&service, &scaling, &status, &notes].into_iter().any(|key| view.unreadable.contains(key)) {
            return Self::Unreadable;
        }
        let Some(scaling) = view.scaling.get(&scaling).cloned() else { return Self::Left };
        let is_its = |service: &Service| !service.removed && scaling.value.is_of(service);
        let service = view.service(name).filter(|held| is_its(&held.value)).cloned();
        let Some(service) = service else { return Self::Stale(scaling) };
        let noted = view.notes.get(&status).map(|held| &*held.value);
        Self::Scaled(Box::new(Seen {
            notes: view.notes_of_scaling(&scaling.value).cloned(),
            is_asleep: is_asleep(view, &service.value, noted),
            is_deploying: noted.is_none_or(|notes| is_deploying(notes, &service.value)),
            scaling,
            service,
        }))
    }
}

fn is_asleep(view: &View, service: &Service, notes: Option<&ServiceNotes>) -> bool {
    if service.spec.sleeps_after().is_none() {
        return false;
    }
    let tasks: Vec<_> = view.tasks_of(&service.namespace, &service.group()).cloned().collect();
    sleeps(service, notes, &tasks).is_some()
}

/// Whether a deployment is under way, or is about to begin.
fn is_deploying(notes: &ServiceNotes, service: &Service) -> bool {
    notes.rollout_of(service).is_none_or(|rollout| rollout.state == RolloutState::InProgress)
}

/// Looks at one name and does what is due; says when to look again though nothing new is measured.
async fn look(context: &Arc<Context>, name: &QualifiedName) -> Result<Option<u64>, ObjectError> {
    match context.objects.read(|view| Found::of(view, name)) {
        Found::Unreadable => Ok(None),
        Found::Left => forget_notes(context, name).await.map(|()| None),
        Found::Stale(held) => {
            let expect = Expect::Revision(held.revision);
            context.objects.delete::<Scaling>(&keys::scaling(name), expect).await?;
            info!(service = %name, "the scaling went with its service");
            forget_notes(context, name).await.map(|()| None)
        }
        Found::Scaled(seen) => scale(context, *seen).await,
    }
}

async fn forget_notes(context: &Context, name: &QualifiedName) -> Result<(), ObjectError> {
    context.objects.delete::<ScalingNotes>(&keys::scaling_notes(name), Expect::Any).await
}

/// Carries out what was decided before; decides, writes that down, and carries it out.
async fn scale(context: &Arc<Context>, mut seen: Seen) -> Result<Option<u64>, ObjectError> {
    if let Some(held) = seen.notes.take_if(|held| held.value.under_way.is_some()) {
        // Of what the service is to be now, the next look decides.
        carry_out(context, &seen, held).await?;
        return Ok(Some(context.now_ms()));
    }
    if seen.is_asleep {
        return Ok(None);
    }
    let before = seen.notes.as_ref().map(|held| &*held.value);
    let scaling = &*seen.scaling.value;
    let mut notes = before.map_or_else(|| ScalingNotes::new(scaling), |notes| notes.of_present(scaling));
    let decision = decide(context, &seen, &notes).await;
    notes.memory = decision.memory;
    if let Some(cause) = decision.reason {
        let (min, max) = bounds_now(scaling, Some(&notes));
        let (now_ms, after) = (context.now_ms(), decision.desired);
        let before = seen.service.value.spec.desired;
        notes.under_way = Some(ScalingActivity {
            before,
            after,
            min,
            max,
            began_at_ms: now_ms,
            ended_at_ms: now_ms,
            cause,
        });
    }
    if before == Some(&notes) {
        return Ok(decision.again_at_ms);
    }
    // Those of scaling that was put before give way.
    let key = keys::scaling_notes(&notes.service);
    let there = context.objects.read(|view| view.scaling_notes.get(&key).map(|held| held.revision));
    let expect = there.map_or(Expect::Absent, Expect::Revision);
    let written = context.objects.put(notes, expect).await?;
    if written.value.under_way.is_some() {
        carry_out(context, &seen, written).await?;
    }
    Ok(decision.again_at_ms)
}

/// Gives the service the count that was decided, if it has the one that it was decided for, and notes that it has.
async fn carry_out(context: &Context, seen: &Seen, held: Held<ScalingNotes>) -> Result<(), ObjectError> {
    let Some(activity) = &held.value.under_way else { return Ok(()) };
    let (name, now_ms) = (&held.value.service, context.now_ms());
    let created_at_ms = seen.service.value.created_at_ms;
    let is_its = |service: &Service| !service.removed && service.created_at_ms == created_at_ms;
    let apply = |service: &mut Service| {
        let is_due = is_its(service) && service.spec.desired == activity.before;
        if is_due {
            service.spec.desired = activity.after;
            service.updated_at_ms = now_ms;
        }
        is_due
    };
    let service = context.objects.update::<Service>(&keys::service(name), apply).await?;
    let done = service.filter(|held| is_its(&held.value) && held.value.spec.desired == activity.after);
    let mut notes = ScalingNotes::clone(&held.value);
    let ended = notes.end(done.map(|held| held.value.updated_at_ms));
    context.objects.put(notes, Expect::Revision(held.revision)).await?;
    match ended {
        Some(activity) => {
            let ScalingActivity { before, after, cause, .. } = &activity;
            info!(service = %name, before, after, cause, "scaled");
        }
        None => info!(service = %name, "somebody else said how many tasks it has meanwhile; that holds"),
    }
    Ok(())
}

async fn decide(context: &Context, seen: &Seen, notes: &ScalingNotes) -> Decision {
    let (spec, now_ms) = (&*seen.scaling.value.spec, context.now_ms());
    let observed =
        Observed { desired: seen.service.value.spec.desired, signals: signals(context, spec, now_ms).await };
    // Two revisions side by side are no surplus.
    let protected = seen.is_deploying.then(|| ScalingSpec { scale_in_protected: true, ..spec.clone() });
    scaling::decide(protected.as_ref().unwrap_or(spec), &observed, &notes.memory, now_ms)
}

/// What the policies follow, as far as it is known.
async fn signals(context: &Context, spec: &ScalingSpec, now_ms: u64) -> BTreeMap<Name, Signal> {
    let longest_s = spec.policies.iter().filter_map(|policy| match policy {
        Policy::TargetTracking(tracking) => Some(read_s(tracking)),
        Policy::Step(_) => None,
    });
    let running = match longest_s.max() {
        Some(seconds) => {
            let series = SeriesId::of_service(spec.service.clone(), Measure::RunningTaskCount);
            seconds_of(context, &series, Statistic::Maximum, seconds, now_ms).await
        }
        None => vec![],
    };
    let mut signals = BTreeMap::new();
    for policy in &spec.policies {
        let signal = match policy {
            Policy::TargetTracking(tracking) => Some(points(context, tracking, &running, now_ms).await),
            Policy::Step(step) => {
                let alarm = QualifiedName::new(spec.service.namespace.clone(), step.alarm.clone());
                context.alarms.signal(&alarm).map(Signal::Alarm)
            }
        };
        if let Some(signal) = signal {
            signals.insert(policy.name().clone(), signal);
        }
    }
    signals
}

/// What a policy tracks, second by second, with how many tasks ran in each, as far back as `running` says at most; at last the second
/// that ends amid two, if it was glanced at.
async fn points(
    context: &Context,
    tracking: &TargetTracking,
    running: &[Option<f64>],
    now_ms: u64,
) -> Signal {
    let seconds = read_s(tracking).min(running.len());
    let values = seconds_of(context, &tracking.metric, tracking.statistic, seconds, now_ms).await;
    let tasks = &running[running.len() - seconds.min(values.len())..];
    // A backlog is known, and more tasks are wanted for it, before the first one runs.
    let is_backlog = matches!(tracking.metric.of, MetricOf::Service(_))
        && tracking.metric.metric.measure() == Some(Measure::BacklogPerTask);
    let least = u32::from(is_backlog);
    let point = |(value, tasks): (&Option<f64>, &Option<f64>)| {
        Some(Point { value: (*value)?, tasks: ((*tasks)?.round() as u32).max(least) })
    };
    let mut points: Vec<Option<Point>> = values.iter().zip(tasks).map(point).collect();
    if is_held(tracking) {
        hold(&mut points, HELD_S);
    }
    if let Some(running) = running.last().copied().flatten()
        && let Some(value) = context.series.glanced(&tracking.metric, tracking.statistic, running)
    {
        points.push(Some(Point { value, tasks: running.round() as u32 }));
    }
    Signal::Points(points)
}

/// How many of the latest seconds are read for a policy: those that it looks at, and those of which a point may be held in them.
fn read_s(tracking: &TargetTracking) -> usize {
    looks_back_s(tracking) + if is_held(tracking) { HELD_S } else { 0 }
}

/// Whether what was put last counts until something is put again; what was counted would be counted again.
fn is_held(tracking: &TargetTracking) -> bool {
    let is_count = matches!(tracking.statistic, Statistic::Sum | Statistic::SampleCount);
    matches!(tracking.metric.of, MetricOf::Custom(_)) && !is_count
}

/// What a statistic says of the latest whole seconds of a series, so many; nothing of them if it can't be said. That asks for
/// them to be measured.
async fn seconds_of(
    context: &Context,
    series: &SeriesId,
    statistic: Statistic,
    seconds: usize,
    now_ms: u64,
) -> Vec<Option<f64>> {
    let second = Resolution::Second;
    let to_ms = second.start_ms(now_ms);
    let from_ms = to_ms.saturating_sub(seconds as u64 * second.span_ms());
    match context.series.values(series, statistic, second.span_ms(), from_ms, to_ms).await {
        Ok(values) => values.into_iter().map(|(_, value)| value).collect(),
        // Seconds are in memory, so there is no disk that could fail.
        Err(error) => {
            warn!(metric = %series.metric, %error, "what a service is scaled by could not be read");
            vec![]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::Span;

    #[test]
    fn of_a_metric_that_is_put_now_and_then_what_was_put_before_the_first_second_is_read_too() {
        let tracking = |of: &str, statistic| TargetTracking {
            name: "depth".parse().unwrap(),
            metric: SeriesId {
                of: of.parse().unwrap(),
                metric: "queue/depth".parse().unwrap(),
                dimensions: Default::default(),
            },
            statistic,
            target: 5.into(),
            scale_out_cooldown: Span::from_ms(1_000),
            scale_in_cooldown: Span::from_ms(120_000),
            disable_scale_in: false,
        };
        assert_eq!(read_s(&tracking("namespace:default", Statistic::Average)), 120 + HELD_S);
        assert_eq!(read_s(&tracking("namespace:default", Statistic::Sum)), 120);
        assert_eq!(read_s(&tracking("service:default/web", Statistic::Average)), 120);
    }
}
