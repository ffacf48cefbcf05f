//! A connection to a port of a task, for an operator.
//!
//! Who may call the API may reach every task: the task's security groups are not asked. The flow log knows of it all the
//! same. What passes through the connection is the door's business.

use super::tasks::no_task;
use super::{Entrance, views};
use crate::error::ApiError;
use crate::model::TaskObject;
use skiff_api::{ErrorCode, ForwardQuery};
use skiff_types::{Group, Kind, Namespace, QualifiedName, TaskId, TaskStatus};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;

/// Connections to tasks that may be open through the API at once.
pub(crate) const FORWARDS_MAX: usize = 1_024;

/// A connection to a task; it ends when it is dropped.
pub(crate) struct Forward {
    pub(crate) stream: UnixStream,
    /// Its place among those that may be open.
    pub(crate) place: OwnedSemaphorePermit,
}

impl Entrance {
    /// Connects to a port of a `command` task.
    pub(crate) async fn forward(
        &self,
        namespace: &Namespace,
        id: TaskId,
        query: ForwardQuery,
    ) -> Result<Forward, ApiError> {
        if query.port == 0 {
            return Err(ApiError::invalid("port must be 1 to 65535"));
        }
        let object =
            self.context.objects.read(|view| view.task(namespace, id).map(|held| held.value.clone()));
        let object = object.ok_or_else(|| no_task(namespace, id))?;
        self.check_listens(&object)?;
        let place = self.context.forwards.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{FORWARDS_MAX} connections to tasks are open, the most that there can be at once; close some of them"
            );
            ApiError::new(ErrorCode::ResourceExhausted, message)
        })?;
        let stream = self.context.runtime.forward(id, query.port).await?;
        let stream = UnixStream::from_std(stream).map_err(|error| ApiError {
            context: Some(error.into()),
            ..ApiError::new(ErrorCode::Internal, "the connection can't be used; see the platform's log")
        })?;
        Ok(Forward { stream, place })
    }

    /// Refuses a task that can't be connected to, whatever its port.
    fn check_listens(&self, TaskObject { task, kind, .. }: &TaskObject) -> Result<(), ApiError> {
        let id = task.id;
        if *kind == Kind::Http {
            let at = self.url_of(&task.namespace, &task.group).map(|url| format!(" at {url}"));
            return Err(ApiError::not_now(format!(
                "the task {id} answers HTTP requests and listens at no port: call it{}",
                at.unwrap_or_else(|| " through the load balancer".to_owned())
            )));
        }
        if *kind == Kind::Event {
            return Err(ApiError::not_now(format!(
                "the task {id} is given events and messages, and listens at no port: `skiff event put` sends it one by its rule"
            )));
        }
        match task.status {
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => {
                Err(ApiError::not_now(format!("the task {id} does not run yet; it is {}", task.status)))
            }
            TaskStatus::Running | TaskStatus::Deactivating | TaskStatus::Stopping => Ok(()),
            TaskStatus::Deprovisioning | TaskStatus::Stopped => {
                Err(ApiError::not_now(format!("the task {id} has ended; it is {}", task.status)))
            }
        }
    }

    /// Where the load balancer answers for a service.
    fn url_of(&self, namespace: &Namespace, group: &Group) -> Option<String> {
        let Group::Service(name) = group else { return None };
        let name = QualifiedName::new(namespace.clone(), name.clone());
        let service = self.context.objects.read(|view| view.service(&name).map(|held| held.value.clone()))?;
        views::urls(&service, self.context.config.http).into_iter().next()
    }
}
