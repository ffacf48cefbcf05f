//! The flow log, and what goes on at a task's network interface now: whose, and as they look on the wire.

use super::Entrance;
use super::tasks::no_task;
use crate::error::ApiError;
use futures::stream::{BoxStream, StreamExt};
use skiff_api::{ErrorCode, FlowQuery, FlowRecord, ListeningPort, TaskNetwork, Verdict};
use skiff_ports::flows;
use skiff_types::{Name, Namespace, QualifiedName, TaskId, TaskStatus};

/// Records as they come.
pub(crate) type Flows = BoxStream<'static, std::io::Result<FlowRecord>>;

impl Entrance {
    /// The records asked for, oldest first. Those of what is gone are there for as long as the log has them.
    pub(crate) async fn read_flows(
        &self,
        namespace: &Namespace,
        query: &FlowQuery,
    ) -> Result<Flows, ApiError> {
        if query.tail.is_some_and(|tail| tail > FlowQuery::TAIL_MAX) {
            return Err(ApiError::invalid(format!("tail must be 0 to {}", FlowQuery::TAIL_MAX)));
        }
        let unknown = self.unknown(namespace, query);
        let qualified = |owner: &Name| QualifiedName::new(namespace.clone(), owner.clone());
        let query = flows::FlowQuery {
            owner: query.owner.as_ref().map(qualified),
            namespace: Some(namespace.clone()),
            task: query.task,
            verdict: query.verdict.map(|verdict| match verdict {
                Verdict::Accept => flows::Verdict::Accept,
                Verdict::Reject => flows::Verdict::Reject,
            }),
            since_ms: query.since_ms,
            tail: query.tail.map(|tail| tail as usize),
            follow: query.follow.unwrap_or(false),
        };
        if let Some(unknown) = unknown {
            let any = flows::FlowQuery {
                verdict: None,
                since_ms: None,
                tail: Some(1),
                follow: false,
                ..query.clone()
            };
            // A name that nothing ever had is a mistake, and not an empty answer.
            self.context.flows.read(any).next().await.ok_or(unknown)?.map_err(|error| {
                ApiError::new(ErrorCode::Unavailable, format!("the flow log can't be read: {error}"))
            })?;
        }
        Ok(self.context.flows.read(query).map(|record| record.map(wire)).boxed())
    }

    /// Why what is asked about is not there, if it is not.
    fn unknown(&self, namespace: &Namespace, query: &FlowQuery) -> Option<ApiError> {
        let owner = query.owner.as_ref().and_then(|owner| self.known_owner(namespace, owner).err());
        let is_unknown =
            |task: &TaskId| self.context.objects.read(|view| view.task(namespace, *task).is_none());
        let task = query.task.filter(is_unknown);
        owner.or_else(|| task.map(|task| no_task(namespace, task)))
    }

    /// A task's addresses and groups, and what goes on at its interface.
    pub(crate) async fn task_network(
        &self,
        namespace: &Namespace,
        id: TaskId,
    ) -> Result<TaskNetwork, ApiError> {
        let (task, security_groups) = self.context.objects.read(|view| {
            let held = view.task(namespace, id).ok_or_else(|| no_task(namespace, id))?;
            Ok::<_, ApiError>((held.value.task.clone(), view.groups_of(&held.value.task)))
        })?;
        let state = if task.status == TaskStatus::Stopped {
            flows::InterfaceState::default()
        } else {
            let open = self.context.flows.open(id).await;
            open.map_err(|message| ApiError::new(ErrorCode::Unavailable, message))?
        };
        let listening = |(transport, port)| ListeningPort { transport, port };
        Ok(TaskNetwork {
            ipv4: task.address.map(|address| address.v4),
            ipv6: task.address.map(|address| address.v6),
            security_groups,
            listening: state.listening.into_iter().map(listening).collect(),
            connections: state.connections.into_iter().map(wire).collect(),
            connection_count: state.connection_count,
        })
    }
}

fn wire(record: flows::FlowRecord) -> FlowRecord {
    FlowRecord {
        began_at_ms: record.began_at_ms,
        at_ms: record.at_ms,
        task: record.task,
        owner: record.owner,
        direction: record.direction,
        transport: record.transport,
        local: record.local,
        remote: record.remote,
        peer: record.peer,
        sent_bytes: record.sent_bytes,
        received_bytes: record.received_bytes,
        verdict: match record.verdict {
            flows::Verdict::Accept => Verdict::Accept,
            flows::Verdict::Reject => Verdict::Reject,
        },
        open: record.open,
        note: record.note,
        count: record.count,
    }
}
