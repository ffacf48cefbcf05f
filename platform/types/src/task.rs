//! Tasks: one running copy of a task definition each, and the states it goes through.

use crate::text::{ParseError, serde_as_text};
use crate::timed_id::timed_id;
use crate::{Command, Health, Name, Namespace, NodeId, TaskAddress, TaskDefinitionId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A task's id: 32 hexadecimal digits as ECS has them, the first 12 of which order by creation time (UUID version 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId([u8; 16]);

timed_id!(TaskId, "a task id: 32 hexadecimal digits");

/// A task's lifecycle, in ECS's words and order; a task only ever moves forward, until it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskStatus {
    /// Its resources are being made.
    Provisioning,
    /// Its native code is being made ready.
    Pending,
    /// Its workers are being told.
    Activating,
    /// It runs, or answers.
    Running,
    /// It is being taken out of the load balancer.
    Deactivating,
    /// It finishes what is in flight.
    Stopping,
    /// Its resources are being given back.
    Deprovisioning,
    /// It has ended.
    Stopped,
}

impl TaskStatus {
    /// All states, in order.
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Pending,
        Self::Activating,
        Self::Running,
        Self::Deactivating,
        Self::Stopping,
        Self::Deprovisioning,
        Self::Stopped,
    ];

    /// The state's name as ECS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task ended: one code for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopCode {
    /// It never ran: its code could not be made ready.
    TaskFailedToStart,
    /// Its program ended by itself; the exit code says how.
    Exited,
    /// Its program trapped.
    Trapped,
    /// It went over its memory limit.
    OutOfMemory,
    /// A person or a program asked.
    UserInitiated,
    /// Its service no longer wants it: scaled in, replaced or removed.
    ServiceSchedulerInitiated,
    /// The worker process that it lived in died.
    WorkerLost,
    /// The node that it was on is gone.
    NodeLost,
    /// The platform itself stopped.
    PlatformStopped,
    /// It was not reached at its port any more, or not in time.
    Unhealthy,
}

impl fmt::Display for StopCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a task ended: the code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedReason {
    /// For programs.
    pub code: StopCode,
    /// For people: what happened and, where there is something to do, what.
    pub message: String,
}

impl fmt::Display for StoppedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Who started a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Group {
    /// A service, by name.
    Service(Name),
    /// `skiff run`: a one-off task of this family.
    Family(Name),
}

impl FromStr for Group {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a task group, like \"service:hello\" or \"family:job\"");
        let (group, name) = text.split_once(':').ok_or_else(error)?;
        match group {
            "service" => Ok(Self::Service(name.parse()?)),
            "family" => Ok(Self::Family(name.parse()?)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Family(name) => write!(f, "family:{name}"),
        }
    }
}

serde_as_text!(TaskId, Group);

/// One running copy of a task definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The boundary it lives in.
    pub namespace: Namespace,
    /// What it runs.
    pub definition: TaskDefinitionId,
    /// Who started it.
    pub group: Group,
    /// What replaces the definition's arguments and adds to its environment, for this task alone.
    pub overrides: Option<Command>,
    /// The node that it was placed on; of a task that was made before there were several, the one node that there was.
    pub node: Option<NodeId>,
    /// Its addresses in the virtual network, its own until it is `STOPPED`; none of a task that ended before it could get
    /// one.
    pub address: Option<TaskAddress>,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// Why it is to stop, as soon as that is known; final once it is `STOPPED`.
    pub stop: Option<StoppedReason>,
    /// The program's exit code; `http` tasks have none.
    pub exit_code: Option<i32>,
    /// What is known of its health.
    pub health: Health,
    /// Why it is unhealthy, where it is: for people.
    pub health_reason: Option<String>,
    /// How often it was started again; only a one-off task is.
    pub restarts: u32,
    /// Why it ended before it was started again for the last time.
    pub last_stop: Option<StoppedReason>,
    /// How many times in a row its place failed before this start: tasks before it, or its own starts before; backs off
    /// its start.
    pub attempt: u32,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Not to be started before this time; in milliseconds since 1970.
    pub start_after_ms: u64,
    /// When it was `RUNNING` first, since it was started for the last time; in milliseconds since 1970.
    pub started_at_ms: Option<u64>,
    /// When it was [ready](Task::is_ready) first since then; of a daemon that ceased to be so after a short while, when it
    /// was ready again, if it was. In milliseconds since 1970.
    pub ready_at_ms: Option<u64>,
    /// When it was `STOPPED`, in milliseconds since 1970.
    pub stopped_at_ms: Option<u64>,
}

impl Task {
    /// One that was just asked for: nothing has happened to it, and it may start at once.
    pub fn new(
        id: TaskId,
        namespace: Namespace,
        group: Group,
        definition: TaskDefinitionId,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            namespace,
            definition,
            group,
            overrides: None,
            node: None,
            address: None,
            status: TaskStatus::Provisioning,
            stop: None,
            exit_code: None,
            health: Health::Unchecked,
            health_reason: None,
            restarts: 0,
            last_stop: None,
            attempt: 0,
            created_at_ms: now_ms,
            start_after_ms: now_ms,
            started_at_ms: None,
            ready_at_ms: None,
            stopped_at_ms: None,
        }
    }

    /// Whether it has ended or is on its way there.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some() || self.status > TaskStatus::Running
    }

    /// Whether names and routes lead to it: it is `RUNNING`, and healthy if that is checked.
    pub fn is_ready(&self) -> bool {
        self.status == TaskStatus::Running && matches!(self.health, Health::Unchecked | Health::Healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_by_creation() {
        let earlier = TaskId::from_parts(1_000, [0xff; 10]);
        let later = TaskId::from_parts(1_001, [0; 10]);
        assert!(earlier < later && earlier.to_string() < later.to_string());
        assert_eq!(earlier.to_string().parse::<TaskId>().unwrap(), earlier);
    }

    #[test]
    fn the_lifecycle_is_ordered() {
        assert!(TaskStatus::ALL.is_sorted());
    }
}
