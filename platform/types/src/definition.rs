//! Task definitions: what to run and with which limits. A revision never changes once it is registered.

use crate::text::{ParseError, serde_as_text};
use crate::{CpuUnits, Digest, HealthCheck, ImageReference, MemorySize, Name, Program, Restart, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a task does, read off its component's exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Exports `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`: a sandbox is drawn per request.
    Http,
    /// Exports `wasi:cli/run`: runs to its end once, or stays up.
    Command,
    /// Exports `skiff:events/handler@0.1` or `skiff:queues/consumer@0.1`, and nothing that makes it one of the others: a sandbox
    /// is drawn per event or batch of messages.
    Event,
}

impl Kind {
    /// Whether its tasks are called, each time in a sandbox that is drawn for it, in whatever worker the call came to; so they
    /// run as soon as all workers know them. A `command` lives in one worker, and is called, if at all, beside its program.
    pub fn is_called(self) -> bool {
        match self {
            Self::Http | Self::Event => true,
            Self::Command => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Command => "command",
            Self::Event => "event",
        })
    }
}

impl FromStr for Kind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "http" => Ok(Self::Http),
            "command" => Ok(Self::Command),
            "event" => Ok(Self::Event),
            _ => Err(ParseError::new(text, "a kind of task: \"http\", \"command\" or \"event\"")),
        }
    }
}

/// The generation of the WASI interfaces that a component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WasiGeneration {
    /// WASI 0.2.
    #[serde(rename = "0.2")]
    P2,
    /// WASI 0.3.
    #[serde(rename = "0.3")]
    P3,
}

impl fmt::Display for WasiGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P2 => "0.2",
            Self::P3 => "0.3",
        })
    }
}

/// CPU of a task where its user says nothing.
pub const DEFAULT_CPU: u32 = 256;
/// Memory of a task where its user says nothing.
pub const DEFAULT_MEMORY: MemorySize = MemorySize::from_mib(128);
/// Time a request may take where its user says nothing, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;
/// Sandboxes a task may have at once where its user says nothing.
pub const DEFAULT_CONCURRENCY: u32 = 100;

/// The bounds that hold for one task, over all its sandboxes in all workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// A ceiling on CPU time per wall time: 1024 units are one core.
    pub cpu: CpuUnits,
    /// Linear memories, tables and what the host holds for them.
    pub memory: MemorySize,
    /// From a request's arrival to its last byte.
    pub timeout: Span,
    /// Sandboxes at once.
    pub concurrency: u32,
    /// Requests that may wait for a sandbox; the next one is refused with 503.
    pub queue: u32,
    /// Bytes of one request's body.
    pub request_body: MemorySize,
    /// Bytes of one response's body.
    pub response_body: MemorySize,
    /// Bytes of stdout and stderr per second, of which each line takes 128 beside its text; what is over is dropped and
    /// counted.
    pub log_rate: MemorySize,
    /// Requests that one sandbox serves.
    pub reuse: Reuse,
}

/// How many requests one sandbox serves before it is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reuse {
    /// In all.
    pub requests: u32,
    /// Of these at once; more than one needs WASI 0.3.
    pub concurrent: u32,
}

impl Reuse {
    /// The most requests that a sandbox may be asked to serve.
    pub const REQUESTS_MAX: u32 = 1_000_000;
    /// The most that it may be asked to serve at once.
    pub const CONCURRENT_MAX: u32 = 1_000;

    /// Whether both numbers are within their bounds.
    pub fn is_valid(&self) -> bool {
        (1..=Self::REQUESTS_MAX).contains(&self.requests)
            && (1..=Self::CONCURRENT_MAX).contains(&self.concurrent)
    }
}

impl FromStr for Reuse {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (requests, concurrent) = text.split_once('x').unwrap_or((text, "1"));
        let number = |text: &str, most| text.parse().ok().filter(|number| (1..=most).contains(number));
        let both = number(requests, Self::REQUESTS_MAX).zip(number(concurrent, Self::CONCURRENT_MAX));
        let expected =
            "how many requests one sandbox serves, and how many at once, like \"128\" or \"128x16\"";
        let (requests, concurrent) = both.ok_or_else(|| ParseError::new(text, expected))?;
        Ok(Self { requests, concurrent })
    }
}

impl Default for Reuse {
    /// A fresh sandbox for each request.
    fn default() -> Self {
        Self { requests: 1, concurrent: 1 }
    }
}

impl Limits {
    /// The most sandboxes a task may ask to have at once.
    pub const CONCURRENCY_MAX: u32 = 10_000;
    /// The least memory a task can have.
    pub const MEMORY_MIN: MemorySize = MemorySize::from_mib(1);
    /// The most memory a task can have.
    pub const MEMORY_MAX: MemorySize = MemorySize::from_mib(64 << 10);
    /// The longest time a request may take, in milliseconds.
    pub const TIMEOUT_MS_MAX: u64 = 3_600_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: CpuUnits::new(DEFAULT_CPU).expect("within bounds"),
            memory: DEFAULT_MEMORY,
            timeout: Span::from_ms(DEFAULT_TIMEOUT_MS),
            concurrency: DEFAULT_CONCURRENCY,
            queue: DEFAULT_CONCURRENCY,
            request_body: MemorySize::from_mib(10),
            response_body: MemorySize::from_mib(100),
            log_rate: MemorySize::from_mib(1),
            reuse: Reuse::default(),
        }
    }
}

/// Names one revision of a family, printed `FAMILY:REVISION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskDefinitionId {
    /// The name that the revisions share.
    pub family: Name,
    /// From 1 upwards.
    pub revision: u32,
}

impl FromStr for TaskDefinitionId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a task definition with its revision, like \"hello:3\"");
        let (family, revision) = text.split_once(':').ok_or_else(error)?;
        let revision = revision.parse().ok().filter(|&revision| revision > 0).ok_or_else(error)?;
        Ok(Self { family: family.parse().map_err(|_| error())?, revision })
    }
}

impl fmt::Display for TaskDefinitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

serde_as_text!(TaskDefinitionId);

/// What a `command` task is started with; for an `http` task only the environment counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    /// Arguments after the program's name.
    pub arguments: Vec<String>,
    /// Environment variables; their values are never printed unless asked for by name.
    pub environment: BTreeMap<String, String>,
    /// What a `command` finds on its standard input, [`Command::STDIN_BYTES_MAX`] at most; none closes it. Said of one task, such
    /// as the event that it is started for, never of a definition.
    pub stdin: Option<String>,
}

impl Command {
    /// The most bytes of standard input.
    pub const STDIN_BYTES_MAX: usize = 256 << 10;
}

/// One revision of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDefinition {
    /// Family and revision.
    pub id: TaskDefinitionId,
    /// The image as its user named it.
    pub image: ImageReference,
    /// The component that the image held when the revision was registered.
    pub component: Digest,
    /// What the component's exports make of it.
    pub kind: Kind,
    /// Which WASI it speaks.
    pub generation: WasiGeneration,
    /// Bounds.
    pub limits: Limits,
    /// Arguments and environment.
    pub command: Command,
    /// Whether its sandboxes start from a snapshot: initialised once, when the revision was registered.
    pub snapshot: bool,
    /// Security groups of its tasks, where their service names none; none here means the default one.
    pub security_groups: Vec<Name>,
    /// The port that a daemon listens on: what makes a `command` task one.
    pub port: Option<u16>,
    /// How a daemon's health is checked.
    pub health_check: HealthCheck,
    /// How long a daemon's open connections may take to end once it is to stop.
    pub stop_timeout: Span,
    /// What becomes of a one-off task whose program ended.
    pub restart: Restart,
    /// The role of its namespace that its tasks act as; none may do nothing.
    pub role: Option<Name>,
    /// When it was registered, in milliseconds since 1970.
    pub created_at_ms: u64,
}

impl TaskDefinition {
    /// Whether the load balancer leads to its tasks: they answer requests, or are daemons.
    pub fn is_balanced(&self) -> bool {
        self.kind == Kind::Http || self.port.is_some()
    }

    /// What a task in this environment runs: the definition's own, or that with the task's overrides.
    pub fn program(&self, environment: &BTreeMap<String, String>) -> Program {
        match self.snapshot {
            true => Program::snapshot(self.component, environment.clone()),
            false => Program::as_pushed(self.component),
        }
    }
}
