//! Brings about that what services and tasks do is measured each second, that it is on the disk every few seconds, and in the
//! end; and that it stays in a bounded space.

use crate::context::Context;
use crate::series::{Glances, QueueSampler, RuleSampler, Sampler};
use skiff_plan::series::WRITE_INTERVAL_MS;
use skiff_types::Resolution;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// How long after a second has ended it is looked at what came in it, in milliseconds.
const LATE_MS: u64 = 2;
/// How long after a second has begun it is glanced at what came within a second, in milliseconds.
const GLANCES_AT_MS: [u64; 3] = [250, 500, 750];

pub(super) async fn run(context: Arc<Context>) {
    let (mut sampler, mut pause_s) = (Sampler::new(context.now_ms()), 1);
    let mut glances = Glances::default();
    let mut queues = QueueSampler::new(context.now_ms());
    let mut rules = RuleSampler::new();
    let (mut written_ms, mut forgotten_ms) = (0, 0);
    loop {
        let second_ms = Resolution::Second.span_ms();
        for at_ms in GLANCES_AT_MS {
            let into_ms = context.now_ms() % second_ms;
            if pause_s != 1 || into_ms >= at_ms {
                continue;
            }
            tokio::select! {
                biased;
                () = context.drain.begun() => break,
                () = tokio::time::sleep(Duration::from_millis(at_ms - into_ms)) => {
                    // Who scales has nothing to decide anew where no more comes than came before.
                    if glances.glance(&context) {
                        context.objects.wakes.scaling.notify_one();
                    }
                }
            }
        }
        let rest_ms = pause_s * second_ms - context.now_ms() % second_ms + LATE_MS;
        let ends = tokio::select! {
            biased;
            () = context.drain.begun() => true,
            () = tokio::time::sleep(Duration::from_millis(rest_ms)) => false,
        };
        pause_s = sampler.look(&context);
        queues.look(&context);
        rules.look(&context);
        // Who decides by what came has the second that has just ended.
        context.objects.wakes.scaling.notify_one();
        context.objects.wakes.alarms.notify_one();
        let now_ms = context.now_ms();
        if ends || now_ms.abs_diff(written_ms) >= WRITE_INTERVAL_MS {
            match context.series.write(now_ms).await {
                Ok(()) => written_ms = now_ms,
                Err(error) => {
                    warn!(%error, "what was measured could not be written down; it is with the next attempt")
                }
            }
        }
        if ends {
            return;
        }
        let minute_ms = Resolution::Minute.start_ms(now_ms);
        if minute_ms != forgotten_ms {
            let is_there = |task| context.objects.read(|view| view.task_key(task).is_some());
            match context.series.forget(now_ms, is_there).await {
                Ok(()) => forgotten_ms = minute_ms,
                Err(error) => warn!(%error, "what was measured long ago could not be forgotten"),
            }
        }
    }
}
