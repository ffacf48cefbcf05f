//! Brings about that each alarm is in the state that its latest datapoints say: it is evaluated when a period of it ends, right
//! after what Skiff measures in it was put, or a second later where guests may put values.
//!
//! A change is in the alarm's notes, with what is to be posted of it, before anybody hears of it: the stream of events, who
//! follows the alarm, and addresses, which `post` posts to. Nothing is written where nothing changes. What could not be read or
//! written is tried again with the next second.

mod post;

pub(super) use post::run as post_changes;

use super::WRITES_AT_ONCE;
use crate::alarms::posts;
use crate::context::Context;
use crate::events::Happened;
use crate::keys;
use crate::model::{Alarm, AlarmNotes, AlarmTransition};
use crate::objects::ObjectError;
use crate::series::ValuesError;
use crate::view::Held;
use futures::{StreamExt, stream};
use skiff_plan::alarm::{self, Evaluation};
use skiff_plan::scaling::AlarmSignal;
use skiff_ports::store::Expect;
use skiff_types::AlarmMoment;
use std::sync::Arc;
use tracing::{info, warn};

/// Why an alarm could not be evaluated.
#[derive(Debug, thiserror::Error)]
enum EvaluateError {
    #[error(transparent)]
    Values(#[from] ValuesError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

pub(super) async fn evaluate(context: Arc<Context>) {
    loop {
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = context.objects.wakes.alarms.notified() => {}
        }
        // What the shutdown takes away says nothing of what is watched.
        if !context.is_winding_down() {
            look(&context).await;
        }
    }
}

async fn look(context: &Context) {
    let now_ms = context.now_ms();
    let (due, stale) =
        context.objects.read(|view| (context.alarms.due(view, now_ms), view.notes_of_no_alarm()));
    // First, since what is noted from now on of an alarm that was made anew lies in the same place.
    if !stale.is_empty()
        && let Err(error) = context.objects.delete_all::<AlarmNotes>(stale).await
    {
        warn!(%error, "notes of alarms that are gone could not be deleted; trying again");
    }
    due.new.iter().for_each(|series| context.series.ask(series, now_ms));
    let has_evaluated = !due.ended.is_empty();
    let evaluated =
        stream::iter(due.ended).for_each_concurrent(WRITES_AT_ONCE, |(held, end_ms)| async move {
            if let Err(error) = evaluate_one(context, &held, end_ms, now_ms).await {
                warn!(alarm = %held.value.spec.name, %error, "an alarm could not be evaluated; trying again");
            }
        });
    evaluated.await;
    if has_evaluated {
        context.objects.wakes.scaling.notify_one();
    }
}

async fn evaluate_one(
    context: &Context,
    held: &Held<Alarm>,
    end_ms: u64,
    now_ms: u64,
) -> Result<(), EvaluateError> {
    let spec = &*held.value.spec;
    let (period_ms, count) = (spec.period.ms(), spec.evaluation_range());
    let values = context.series.latest(&spec.metric, spec.statistic, period_ms, end_ms, count).await?;
    let points: Vec<Option<f64>> = values.into_iter().map(|(_, value)| value).collect();
    let noted = context.objects.read(|view| Some(view.notes_of_alarm(&held.value)?.state));
    let before = noted.unwrap_or_default();
    let Evaluation { state, reason } = alarm::evaluate(spec, &points, before);
    let value = points.iter().rev().find_map(|value| *value);
    if state != before {
        let transition = AlarmTransition { at_ms: now_ms, before, after: state, reason, value };
        change(context, &held.value, transition).await?;
    }
    let signal = AlarmSignal { state, value, threshold: spec.threshold, evaluated_at_ms: now_ms };
    context.alarms.evaluated(held, end_ms, signal);
    Ok(())
}

/// Writes down that an alarm comes to another state, then tells whom it concerns.
async fn change(context: &Context, alarm: &Alarm, transition: AlarmTransition) -> Result<(), ObjectError> {
    let (notes, present) = context.objects.read(|view| {
        // Those of an alarm of the same name before it lie in the same place.
        let present = view.alarms.notes.get(&keys::alarm_notes(&alarm.spec.name)).map(|held| held.revision);
        (view.notes_of_alarm(alarm).cloned(), present)
    });
    let mut notes = notes.unwrap_or_else(|| AlarmNotes::new(alarm));
    // Where the clock was put back, the past stays in its order.
    let transition = AlarmTransition { at_ms: transition.at_ms.max(notes.changed_at_ms), ..transition };
    let AlarmTransition { at_ms, before, after, reason, .. } = transition.clone();
    let moment = |state, reason, since_ms| AlarmMoment { state, reason, since_ms };
    let happened = Happened::of_alarm(
        &notes.alarm,
        moment(before, notes.reason.clone(), notes.changed_at_ms),
        moment(after, reason, at_ms),
    );
    let to_post = posts(&alarm.spec, after, &happened, &context.random);
    let gave_way = notes.change(transition, to_post);
    let written = context.objects.put(notes, present.map_or(Expect::Absent, Expect::Revision)).await?;
    let (alarm, reason) = (&written.value.alarm, &written.value.reason);
    info!(%alarm, %before, %after, %reason, "an alarm changed its state");
    for post in gave_way {
        let url = post.url.without_query();
        warn!(%alarm, %url, "a change of an alarm is given up: too many of them wait to be posted");
    }
    context.alarms.to_post.notify_one();
    Ok(())
}
