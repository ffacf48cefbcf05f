//! Deployments that are under way: shown, halted, continued and given up. What is said of one is kept with what else its
//! user says of the service; the reconcilers bring it about.

use super::Entrance;
use super::services::{existing, no_service};
use super::views;
use crate::context::Context;
use crate::error::ApiError;
use crate::keys;
use crate::model::{Service, ServiceNotes, TaskObject};
use crate::reconcile::is_complete;
use crate::view::Held;
use skiff_api::{ChangeRollout, Deployment, DeploymentShift, DeploymentState, RolloutAction};
use skiff_plan::placement::NoPlace;
use skiff_plan::rollout::Rollout;
use skiff_plan::service::ended_by_itself;
use skiff_plan::shift::Stage;
use skiff_types::{QualifiedName, RolloutState, StoppedReason, Task, TaskDefinitionId, TaskStatus};
use tracing::info;

impl Entrance {
    /// Shows how far a service's deployment is.
    pub(crate) fn get_rollout(&self, name: &QualifiedName) -> Result<Deployment, ApiError> {
        Ok(self.get_service(name)?.status.deployment)
    }

    /// Halts a service's deployment, has it go on, or gives it up.
    pub(crate) async fn change_rollout(
        &self,
        name: &QualifiedName,
        request: ChangeRollout,
    ) -> Result<skiff_api::Service, ApiError> {
        let service = self.context.objects.load::<Service>(&keys::service(name)).await?;
        let service = existing(service.as_ref().map(|held| &*held.value), name)?.clone();
        let rollout = self.context.objects.read(|view| view.rollout_of(&service).cloned());
        check_goes_on(name, rollout.as_ref(), request.action)?;
        if request.action == RolloutAction::Resume && !service.is_paused {
            return Err(ApiError::not_now(format!(
                "the deployment of {name} is not paused: it goes on; see `skiff rollout status {}`",
                name.name
            )));
        }
        let (now_ms, mut is_another) = (self.context.now_ms(), false);
        let apply = |present: &mut Service| {
            is_another = present.removed || present.deployment != service.deployment;
            let after = changed(present, request.action, now_ms);
            let changes = !is_another && after != *present;
            if changes {
                *present = after;
            }
            changes
        };
        self.context.objects.update::<Service>(&keys::service(name), apply).await?;
        if is_another {
            return Err(ApiError::not_now(format!(
                "{name} was given another deployment meanwhile; look at it with `skiff rollout status {}`",
                name.name
            )));
        }
        info!(service = %name, action = ?request.action, "the deployment was changed");
        let held = self.context.objects.read(|view| view.service(name).cloned());
        Ok(views::service(&self.context, &held.ok_or_else(|| no_service(name))?))
    }
}

/// Refuses what can't be done about a deployment that has ended. One that has not begun yet is about to.
fn check_goes_on(
    name: &QualifiedName,
    rollout: Option<&Rollout>,
    action: RolloutAction,
) -> Result<(), ApiError> {
    let Some(rollout) = rollout else { return Ok(()) };
    let definition = &rollout.definition;
    let (aborts, resumes) = (action == RolloutAction::Abort, action == RolloutAction::Resume);
    match rollout.state {
        RolloutState::InProgress if !resumes && rollout.rolled_back_from.is_some() => Err(ApiError::not_now(
            format!("{name} is being rolled back to {definition} already: {}", rollout.reason),
        )),
        RolloutState::InProgress => Ok(()),
        RolloutState::Failed if aborts && rollout.completed.is_some() => Ok(()),
        RolloutState::Failed => Err(ApiError::not_now(format!(
            "the deployment of {definition} has failed: {}; deploy again, or go back with `skiff rollback {}`",
            rollout.reason, name.name
        ))),
        RolloutState::Completed => Err(ApiError::not_now(format!(
            "no deployment of {name} is under way: {definition} is deployed; to go back to what ran before, use `skiff \
             rollback {}`",
            name.name
        ))),
    }
}

/// The service once this was done about its deployment.
fn changed(service: &Service, action: RolloutAction, now_ms: u64) -> Service {
    let mut after = service.clone();
    match action {
        RolloutAction::Pause => after.is_paused = true,
        RolloutAction::Resume => after.is_paused = false,
        // Going back is not halted by what was said of going on.
        RolloutAction::Abort => (after.is_paused, after.aborted) = (false, Some(service.deployment)),
    }
    if after != *service {
        after.updated_at_ms = now_ms;
    }
    after
}

/// How far a service's deployment is as of now, given how many tasks it is to have.
pub(super) fn deployment(
    context: &Context,
    service: &Service,
    desired: u32,
    tasks: &[Held<TaskObject>],
    notes: Option<&ServiceNotes>,
) -> Deployment {
    let rollout = notes.and_then(|notes| notes.rollout_of(service));
    let definition = rollout.map_or(&service.spec.definition, |rollout| &rollout.definition);
    let state = match rollout.map(|rollout| rollout.state) {
        Some(RolloutState::Failed) => DeploymentState::Failed,
        Some(RolloutState::Completed) if is_complete(context, definition, desired, tasks) => {
            DeploymentState::Completed
        }
        Some(RolloutState::InProgress | RolloutState::Completed) | None => DeploymentState::InProgress,
    };
    let count = |is: &dyn Fn(&Task) -> bool| {
        let living = tasks.iter().map(|held| &held.value.task).filter(|task| !task.is_stopping());
        u32::try_from(living.filter(|task| is(task)).count()).unwrap_or(u32::MAX)
    };
    let is_current = |task: &Task| task.definition == *definition;
    // What goes back is not halted.
    let is_forward = rollout.is_none_or(|rollout| rollout.rolled_back_from.is_none());
    let (failures, failure) = failures(definition, tasks);
    let reason = rollout.map(|rollout| rollout.reason.clone()).filter(|reason| !reason.is_empty());
    let waits = context.objects.read(|view| view.nodes.waits_for(&service.name()).map(NoPlace::to_string));
    let waits = waits.map(|why| format!("no node has a place for a task: {why}"));
    Deployment {
        id: rollout.map_or(service.deployment, |rollout| rollout.id),
        definition: definition.clone(),
        rolled_back_from: rollout.and_then(|rollout| rollout.rolled_back_from.clone()),
        state,
        paused: service.is_paused && state == DeploymentState::InProgress && is_forward,
        shift: rollout.and_then(|rollout| shift(service, rollout)),
        desired,
        running: count(&|task| is_current(task) && task.is_ready()),
        pending: count(&|task| is_current(task) && !task.is_ready()),
        replaced: count(&|task| !is_current(task) && task.status == TaskStatus::Running),
        failed_tasks: rollout.map_or(0, |rollout| rollout.failed_tasks),
        failures,
        message: reason.or(waits.or(failure).filter(|_| state == DeploymentState::InProgress)),
        created_at_ms: rollout.map_or(service.deployed_at_ms, |rollout| rollout.began_at_ms),
    }
}

/// How far the weight of a service is, where it moves.
fn shift(service: &Service, rollout: &Rollout) -> Option<DeploymentShift> {
    let (shift, strategy) = (rollout.shift.as_ref()?, &service.spec.deployment.strategy);
    Some(DeploymentShift {
        strategy: strategy.name(),
        blue: shift.blue.clone(),
        green: shift.green.clone(),
        percent: shift.percent,
        step: shift.step,
        steps: match shift.stage {
            Stage::Forward => strategy.steps().max(shift.step),
            Stage::CleanUp | Stage::Back => shift.step,
        },
        next_at_ms: rollout.again_at_ms(strategy),
    })
}

/// How many attempts of a revision failed in a row, and how the last of them ended.
fn failures(definition: &TaskDefinitionId, tasks: &[Held<TaskObject>]) -> (u32, Option<String>) {
    let current = || tasks.iter().map(|held| &held.value.task).filter(|task| task.definition == *definition);
    let failed = current()
        .filter_map(|task| task.stop.as_ref().map(|stop| (task, stop)))
        .filter(|(_, stop)| ended_by_itself(stop.code))
        .max_by_key(|(task, _)| task.id);
    // Those on their way up count the failures before them, and one that is ready has put an end to them; else the last
    // that failed is one more.
    let failures_before = |task: &Task| if task.is_ready() { 0 } else { task.attempt };
    let living = current().filter(|task| !task.is_stopping()).map(failures_before).max();
    let failures = living.or(failed.map(|(task, _)| task.attempt + 1)).unwrap_or(0);
    let message = |(task, stop): (&Task, &StoppedReason)| {
        format!("task {} ended ({}): {}", task.id.short(), stop.code, stop.message)
    };
    (failures, failed.filter(|_| failures > 0).map(message))
}
