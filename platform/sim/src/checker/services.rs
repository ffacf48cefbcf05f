//! What is known of one service, and what it is held to.

use super::{GRACE_MS, OVER_MS};
use skiff_control::RecordedService;
use skiff_plan::rollout::Rollout;
use skiff_plan::shift::{Shift, Stage};
use skiff_types::{DeploymentConfiguration, RolloutState, ServiceSpec, Strategy, Task, TaskId, TaskStatus};
use std::collections::{BTreeSet, VecDeque};

/// A service.
#[derive(Default)]
pub(super) struct OfService {
    pub(super) tasks: BTreeSet<TaskId>,
    pub(super) rollout: Option<Rollout>,
    said: Option<RecordedService>,
    /// The bounds of what its user said lately, each with the time until when they hold, in milliseconds; the last is that of
    /// what was said last.
    bounds: VecDeque<(u64, Bounds)>,
    disturbed_until_ms: u64,
    /// Since when there are more tasks than there may be, and how many.
    over: Option<(u64, usize)>,
}

/// Between how many tasks a service is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least: usize,
    most: usize,
}

impl Bounds {
    fn of(spec: &ServiceSpec, configuration: &DeploymentConfiguration) -> Self {
        let desired = spec.desired;
        let most = match configuration.strategy {
            Strategy::Rolling => configuration.most(desired).max(desired),
            // Both sides are whole for a while.
            Strategy::BlueGreen { .. } | Strategy::Canary { .. } | Strategy::Linear { .. } => {
                configuration.most(desired).max(2 * desired)
            }
        };
        Self { least: configuration.least(desired) as usize, most: most as usize }
    }
}

/// What is wrong with how weight moved within one deployment since that was written last, if anything: it only grows, and once
/// it has gone back, it does not come again.
pub(super) fn wrong_shift(before: Option<&Shift>, after: Option<&Shift>) -> Option<String> {
    let after = after?;
    if after.stage == Stage::Back && after.percent > 0 {
        return Some(format!(
            "{} of a hundred requests go to {}, which was given up",
            after.percent, after.green
        ));
    }
    let before = before.filter(|before| before.green == after.green && before.blue == after.blue)?;
    let comes_again = before.stage == Stage::Back && after.stage != Stage::Back;
    let shrinks = after.stage != Stage::Back && after.percent < before.percent;
    (comes_again || shrinks).then(|| format!("weight moved from {before:?} to {after:?}"))
}

/// Whether a service has come to rest.
pub(super) enum Progress {
    Settled,
    Unsettled(String),
}

impl OfService {
    /// Its user said something; its bounds are to be those of `configuration`, where that is given.
    pub(super) fn said(
        &mut self,
        said: RecordedService,
        configuration: Option<DeploymentConfiguration>,
        now_ms: u64,
    ) {
        let bounds = Bounds::of(&said.spec, configuration.as_ref().unwrap_or(&said.spec.deployment));
        if let Some((until_ms, _)) = self.bounds.back_mut().filter(|(_, last)| *last != bounds) {
            *until_ms = now_ms + GRACE_MS;
        }
        if self.bounds.back().is_none_or(|(_, last)| *last != bounds) {
            self.bounds.push_back((u64::MAX, bounds));
        }
        self.bounds.retain(|(until_ms, _)| *until_ms > now_ms);
        self.said = Some(said);
    }

    /// It lost tasks, or may have.
    pub(super) fn disturb_until(&mut self, until_ms: u64) {
        self.disturbed_until_ms = self.disturbed_until_ms.max(until_ms);
    }

    /// How many tasks are to serve at least, where that can be said now.
    pub(super) fn least(&self, now_ms: u64) -> Option<usize> {
        let said = self.said.as_ref().filter(|said| !said.removed)?;
        let is_held = now_ms >= self.disturbed_until_ms && said.spec.sleeps_after().is_none();
        let bounds = self.bounds.iter().filter(|(until_ms, _)| *until_ms > now_ms);
        bounds.map(|(_, bounds)| bounds.least).min().filter(|_| is_held)
    }

    /// There are so many tasks now that are not on their way out.
    pub(super) fn counted(&mut self, living: usize, now_ms: u64) {
        let most = self.bounds.iter().filter(|(until_ms, _)| *until_ms > now_ms);
        let most = most.map(|(_, bounds)| bounds.most).max();
        self.over = match most.filter(|most| living > *most) {
            Some(_) => Some((self.over.map_or(now_ms, |(since_ms, _)| since_ms), living)),
            None => None,
        };
    }

    /// What is wrong if it is above its maximum for longer than a moment.
    pub(super) fn over_for_too_long(&self, now_ms: u64) -> Option<String> {
        let (since_ms, living) = self.over?;
        let (until_ms, bounds) = self.bounds.back()?;
        let is_held = now_ms >= self.disturbed_until_ms && *until_ms == u64::MAX;
        let (is_long, most) = (is_held && now_ms >= since_ms + OVER_MS, bounds.most);
        (is_long && living > most).then(|| format!("has {living} tasks where {most} are the most"))
    }

    /// Whether it has come to rest, with these tasks.
    pub(super) fn progress(&self, tasks: &[&Task]) -> Progress {
        let unsettled = |why: String| Progress::Unsettled(why);
        let Some(said) = &self.said else { return unsettled("it was never said what it is to be".into()) };
        if said.removed {
            return unsettled("it is being removed".into());
        }
        let Some(rollout) = &self.rollout else { return unsettled("no rollout has begun".into()) };
        if rollout.for_ != said.deployment {
            return unsettled("its rollout has not begun".into());
        }
        let is_at_rest = |task: &Task| {
            let runs = task.status == TaskStatus::Running && task.stop.is_none();
            runs || task.status == TaskStatus::Stopped
        };
        if let Some(task) = tasks.iter().find(|task| !is_at_rest(task)) {
            return unsettled(format!("{} is {}", task.id, task.status));
        }
        match rollout.state {
            // Which has nothing to give room, and nowhere to go: it says so.
            RolloutState::InProgress if self.cannot_go_on(&said.spec) && !rollout.reason.is_empty() => {
                Progress::Settled
            }
            RolloutState::InProgress => unsettled(format!("its rollout to {} goes on", rollout.definition)),
            RolloutState::Failed => Progress::Settled,
            RolloutState::Completed => {
                let serves = |task: &&&Task| task.is_ready() && task.definition == rollout.definition;
                let (serving, desired) = (tasks.iter().filter(serves).count(), said.spec.desired as usize);
                // Whether it may sleep by now is for who watches it to say.
                let may_sleep = serving == 0 && said.spec.sleeps_after().is_some();
                match serving == desired || may_sleep {
                    true => Progress::Settled,
                    false => unsettled(format!("{serving} of {desired} serve")),
                }
            }
        }
    }

    fn cannot_go_on(&self, spec: &ServiceSpec) -> bool {
        let Bounds { least, most } = Bounds::of(spec, &spec.deployment);
        let desired = spec.desired as usize;
        least >= desired && most <= desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_grows_and_does_not_come_again() {
        let shift = |(stage, percent): (Stage, u16)| {
            let [blue, green] = ["web:1", "web:2"].map(|id| id.parse().unwrap());
            Shift { stage, percent, ..Shift::begin(blue, green, 1) }
        };
        let is_wrong = |before, after| wrong_shift(Some(&shift(before)), Some(&shift(after))).is_some();
        assert!(!is_wrong((Stage::Forward, 10), (Stage::Forward, 20)));
        assert!(!is_wrong((Stage::Forward, 10), (Stage::Back, 0)));
        assert!(!is_wrong((Stage::Forward, 100), (Stage::CleanUp, 100)));
        assert!(is_wrong((Stage::Forward, 20), (Stage::Forward, 10)));
        assert!(is_wrong((Stage::Back, 0), (Stage::Forward, 10)));
        assert!(is_wrong((Stage::Forward, 10), (Stage::Back, 10)));
    }
}
