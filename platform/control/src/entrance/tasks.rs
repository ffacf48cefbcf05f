//! Tasks: run once, listed, shown, stopped.

use super::page::page;
use super::placement::{check_one_off, placement_after};
use super::{Entrance, check_command, views};
use crate::addresses::Effect;
use crate::error::ApiError;
use crate::keys;
use crate::model::TaskObject;
use crate::placement::make_task;
use crate::view::Held;
use skiff_api::{Page, RunTask, StopTask, TaskListQuery};
use skiff_plan::lifecycle;
use skiff_types::{
    Command, Group, Kind, Namespace, Restart, StopCode, StoppedReason, Task, TaskId, TaskStatus,
};
use tracing::info;

/// Longest reason that a caller may give for stopping a task, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

impl Entrance {
    /// Runs a one-off task.
    pub(crate) async fn run_task(
        &self,
        namespace: &Namespace,
        request: RunTask,
    ) -> Result<skiff_api::Task, ApiError> {
        check_command(request.arguments.as_deref().unwrap_or_default(), &request.environment)?;
        check_one_off(request.placement.as_ref())?;
        // So that its definition is not taken back at the same time.
        let _alone = self.context.routing.lock().await;
        let definition = self.resolve(namespace, &request.definition)?;
        let id = &definition.definition.id;
        if definition.definition.kind != Kind::Command {
            let does = match definition.definition.kind {
                Kind::Event => "is given events",
                Kind::Http | Kind::Command => "answers HTTP requests",
            };
            return Err(ApiError::not_now(format!(
                "{id} {does} and has nothing to run to its end; deploy it as a service"
            )));
        }
        self.check_groups(namespace, &definition.definition.security_groups)?;
        let overridden = request.arguments.is_some() || !request.environment.is_empty();
        let overrides = overridden.then(|| Command {
            arguments: request.arguments.unwrap_or_else(|| definition.definition.command.arguments.clone()),
            environment: request.environment,
            stdin: None,
        });
        let now_ms = self.context.now_ms();
        let task = Task {
            overrides,
            ..Task::new(
                self.context.new_task_id(),
                namespace.clone(),
                Group::Family(id.family.clone()),
                id.clone(),
                now_ms,
            )
        };
        let placement = placement_after(request.placement.as_ref(), None)?;
        let object =
            TaskObject { task, kind: Kind::Command, placement: placement.clone(), updated_at_ms: now_ms };
        let held = make_task(&self.context, object, &placement, Effect::Written).await?;
        info!(%namespace, task = %held.value.task.id, definition = %id, "running a one-off task");
        let groups = self.context.objects.read(|view| view.groups_of(&held.value.task));
        Ok(views::task(&held, groups, None))
    }

    /// Lists tasks, newest first.
    pub(crate) fn list_tasks(
        &self,
        namespace: &Namespace,
        query: &TaskListQuery,
    ) -> Result<Page<skiff_api::Task>, ApiError> {
        let group = query.service.clone().map(Group::Service);
        let is_asked_for = |object: &TaskObject| {
            let stopped = object.task.status == TaskStatus::Stopped;
            group.as_ref().is_none_or(|group| object.task.group == *group)
                && query.status.is_none_or(|status| object.task.status == status)
                && query.stopped.is_none_or(|wanted| wanted == stopped)
        };
        let prefix = keys::in_namespace("task", namespace);
        let tasks: Vec<(String, Held<TaskObject>)> = self.context.objects.read(|view| {
            let tasks = view.tasks.under(&prefix).filter(|held| is_asked_for(&held.value));
            tasks.map(|held| (newest_first(held.value.task.id), held.clone())).collect()
        });
        page(tasks, query.limit, query.cursor.as_deref(), |held| self.with_usage(&held))
    }

    /// Shows a task.
    pub(crate) fn get_task(&self, namespace: &Namespace, id: TaskId) -> Result<skiff_api::Task, ApiError> {
        let held = self.context.objects.read(|view| view.task(namespace, id).cloned());
        let held = held.ok_or_else(|| no_task(namespace, id))?;
        Ok(self.with_usage(&held))
    }

    /// Asks for a task's end; one that is ending or has ended stays as it is, unless it is about to be started again, or is
    /// to end at once.
    pub(crate) async fn stop_task(
        &self,
        namespace: &Namespace,
        id: TaskId,
        request: StopTask,
    ) -> Result<skiff_api::Task, ApiError> {
        let message = request.reason.unwrap_or_else(|| "stopped by a user".to_owned());
        if message.len() > REASON_BYTES_MAX {
            let length = message.len();
            return Err(ApiError::invalid(format!(
                "the reason has {length} bytes; the most is {REASON_BYTES_MAX}"
            )));
        }
        let reason = StoppedReason { code: StopCode::UserInitiated, message };
        let now_ms = self.context.now_ms();
        let restart = self.context.objects.read(|view| {
            let task = view.task(namespace, id);
            // While that can't be read it may be any, and its user's word holds against each.
            task.map_or(Restart::Never, |held| view.restart_of(&held.value.task).unwrap_or(Restart::Always))
        });
        let stop = |object: &mut TaskObject| {
            let is_news = match request.now {
                true => lifecycle::stop_now(&mut object.task, reason.clone(), restart, now_ms),
                false => lifecycle::stop(&mut object.task, reason.clone(), restart),
            };
            if is_news {
                object.updated_at_ms = now_ms;
            }
            is_news
        };
        let held = self.context.objects.update(&keys::task(namespace, id), stop).await?;
        let held = held.ok_or_else(|| no_task(namespace, id))?;
        Ok(self.with_usage(&held))
    }

    fn with_usage(&self, held: &Held<TaskObject>) -> skiff_api::Task {
        let id = held.value.task.id;
        let groups = self.context.objects.read(|view| view.groups_of(&held.value.task));
        views::task(held, groups, self.context.accounts.of(&[id]).get(&id))
    }
}

/// A text that orders tasks newest first: the id with each digit turned round.
fn newest_first(id: TaskId) -> String {
    let turned = |digit: char| char::from_digit(15 - digit.to_digit(16).unwrap_or(0), 16).unwrap_or('0');
    id.to_string().chars().map(turned).collect()
}

pub(super) fn no_task(namespace: &Namespace, id: TaskId) -> ApiError {
    ApiError::not_found(format!(
        "there is no task {id} in the namespace {namespace}; ended ones are kept for a while"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_tasks_come_first() {
        let [old, new] = [1_000, 2_000].map(|ms| newest_first(TaskId::from_parts(ms, [7; 10])));
        assert!(new < old);
    }
}
