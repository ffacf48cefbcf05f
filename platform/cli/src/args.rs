//! The command line's grammar: every command, flag and example.

mod alarm;
mod apply;
mod balancer;
mod bench;
mod bucket;
mod bus;
mod certificate;
mod consumer;
mod daemon;
mod definition;
mod deploy;
mod events;
mod health_check;
mod metrics;
mod network;
mod placement;
mod platform;
mod project;
mod queue;
mod role;
mod rollout;
mod scaling;
mod table;
mod tasks;
mod usage;

pub(crate) use alarm::{AlarmCommand, AlarmPutArgs};
pub(crate) use apply::ApplyArgs;
pub(crate) use balancer::{
    ActionArgs, ListenerCommand, ListenerCreateArgs, RuleCommand, RuleCreateArgs, RuleExplainArgs,
    RuleListArgs, TargetGroupCommand, TargetGroupCreateArgs,
};
pub(crate) use bench::{BenchCommand, ColdStartArgs};
pub(crate) use bucket::BucketCommand;
pub(crate) use bus::{
    BusCommand, EventCommand, EventPutArgs, EventRulePutArgs, ScheduleCommand, SchedulePutArgs,
    TargetCommand, TargetPutArgs,
};
pub(crate) use certificate::{CertificateCommand, CertificateImportArgs};
pub(crate) use consumer::{ConsumerCommand, ConsumerPutArgs};
pub(crate) use daemon::DaemonArgs;
pub(crate) use definition::{
    ImageCommand, TaskDefinitionCommand, TaskDefinitionListArgs, TaskDefinitionShowArgs,
};
pub(crate) use deploy::{DeployArgs, LimitArgs, RunArgs};
pub(crate) use events::EventsArgs;
pub(crate) use health_check::HealthCheckArgs;
pub(crate) use metrics::{MetricsArgs, MetricsCommand, MetricsListArgs, MetricsPutArgs};
pub(crate) use network::{
    ExplainArgs, FlowsArgs, ForwardArgs, NetworkCommand, RuleArgs, SecurityGroupCommand,
    SecurityGroupCreateArgs,
};
pub(crate) use placement::{NodesCommand, PlacementArgs, SchedulingArgs};
pub use platform::{AccessLog, AccessLogFormat, ApiAddress, CompileArgs, S3Address, Tls, UpArgs, WorkerArgs};
pub(crate) use project::{BuildArgs, NewArgs, Template};
pub(crate) use queue::{QueueCommand, QueueReceiveArgs, QueueSendArgs};
pub(crate) use role::{KeyCommand, RoleCommand, RoleExplainArgs, RolePutArgs};
pub(crate) use rollout::{DeploymentArgs, RollbackArgs, RolloutCommand, ScaleArgs};
pub(crate) use scaling::{ScalingCommand, ScalingPutArgs};
pub(crate) use table::{ItemPutArgs, ItemScanArgs, TableCommand};
pub(crate) use tasks::{PsArgs, TaskCommand, TaskListArgs, TaskStopArgs};
pub(crate) use usage::{CompletionsArgs, ManArgs, UsageArgs, UsageBy};

use clap::{Args, Parser, Subcommand, ValueEnum};
use skiff_types::{Name, Namespace, Span};

/// Runs WebAssembly components as tasks and services: give it a component, a CPU size and a memory size.
#[derive(Debug, Parser)]
#[command(
    name = "skiff",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  skiff up                             start the platform on this machine
  skiff new hello --template http      make a project
  skiff deploy hello                   build it, push it, run it behind the load balancer
  skiff logs hello -f                  follow what it writes

The platform is found by SKIFF_API (a URL) and SKIFF_TOKEN, else by the file that `skiff up`
leaves in the user's configuration folder."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// How to print: a table for people or JSON for programs
    #[arg(long, short, global = true, value_enum, default_value = "table", help_heading = "Global options")]
    pub output: OutputFormat,
    /// The namespace to work in
    #[arg(
        long,
        short,
        global = true,
        env = "SKIFF_NAMESPACE",
        hide_env_values = true,
        default_value = "default",
        help_heading = "Global options"
    )]
    pub namespace: Namespace,
    /// The API's address [env: SKIFF_API] [default: the platform that `skiff up` started last]
    // Not by clap's `env`: the address that `skiff up` listens at is an argument of the same name.
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub api: Option<ApiAddress>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Columns, for people.
    Table,
    /// JSON, for programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the platform
    Up(UpArgs),
    /// Make a project folder that builds and runs as it stands
    New(NewArgs),
    /// Run the manifest's build command and check the component
    Build(BuildArgs),
    /// Build, push and run a component as a service, and wait until it serves
    Deploy(DeployArgs),
    /// Run a command component by itself: its output here, its exit code as ours
    Run(RunArgs),
    /// List the tasks that are alive
    Ps(PsArgs),
    /// List the nodes that tasks run on
    #[command(after_help = "Examples:\n  skiff nodes ls\n  skiff nodes ls --output json")]
    Nodes {
        /// What to do.
        #[command(subcommand)]
        command: NodesCommand,
    },
    /// Show the platform's processes
    #[command(after_help = "Examples:\n  skiff status\n  skiff status --output json")]
    Status,
    /// List and show services
    #[command(after_help = "Examples:\n  skiff service ls\n  skiff service show hello")]
    Service {
        /// What to do.
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// List, show and stop tasks
    #[command(after_help = "Examples:\n  skiff task ls --service hello\n  skiff task show 5e8f01b2")]
    Task {
        /// What to do.
        #[command(subcommand)]
        command: TaskCommand,
    },
    /// List, show and remove task definitions
    #[command(after_help = "Examples:\n  skiff taskdef ls\n  skiff taskdef show hello:3")]
    Taskdef {
        /// What to do.
        #[command(subcommand)]
        command: TaskDefinitionCommand,
    },
    /// List, push and remove images
    #[command(
        after_help = "Examples:\n  skiff image ls\n  skiff image push .\n  skiff image rm hello:latest"
    )]
    Image {
        /// What to do.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Manage security groups: what tasks may reach, and be reached by
    #[command(after_help = network::SG_HELP)]
    Sg {
        /// What to do.
        #[command(subcommand)]
        command: SecurityGroupCommand,
    },
    /// Explain connections, and print who was connected with whom
    #[command(after_help = "Examples:\n  skiff net explain web cache:6379\n  skiff net flows -f")]
    Net {
        /// What to do.
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// Manage listeners: where the load balancer takes connections
    #[command(after_help = balancer::LISTENER_HELP)]
    Listener {
        /// What to do.
        #[command(subcommand)]
        command: ListenerCommand,
    },
    /// Manage rules: of listeners, what becomes of which requests; of buses, where which events go
    #[command(after_help = balancer::RULE_HELP)]
    Rule {
        /// What to do.
        #[command(subcommand)]
        command: RuleCommand,
    },
    /// Manage target groups: whom requests are forwarded to
    #[command(after_help = balancer::TARGET_GROUP_HELP)]
    TargetGroup {
        /// What to do.
        #[command(subcommand)]
        command: TargetGroupCommand,
    },
    /// Manage certificates: what listeners of https show to their clients
    #[command(after_help = certificate::CERTIFICATE_HELP)]
    Cert {
        /// What to do.
        #[command(subcommand)]
        command: CertificateCommand,
    },
    /// Manage buses: where events are put, and rules take them from
    #[command(after_help = bus::BUS_HELP)]
    Bus {
        /// What to do.
        #[command(subcommand)]
        command: BusCommand,
    },
    /// Manage the targets of the rules of buses: where events go
    #[command(after_help = bus::TARGET_HELP)]
    Target {
        /// What to do.
        #[command(subcommand)]
        command: TargetCommand,
    },
    /// Put events on a bus, look on, and try patterns
    #[command(after_help = bus::EVENT_HELP)]
    Event {
        /// What to do.
        #[command(subcommand)]
        command: EventCommand,
    },
    /// Manage schedules: what happens when it is time
    #[command(after_help = bus::SCHEDULE_HELP)]
    Schedule {
        /// What to do.
        #[command(subcommand)]
        command: ScheduleCommand,
    },
    /// Manage roles: what tasks and outside clients may do; and explain them
    #[command(after_help = role::ROLE_HELP)]
    Role {
        /// What to do.
        #[command(subcommand)]
        command: RoleCommand,
    },
    /// Manage access keys: by what outside clients act as roles
    #[command(after_help = role::KEY_HELP)]
    Key {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Manage buckets: where objects are kept, by S3
    #[command(after_help = bucket::BUCKET_HELP)]
    Bucket {
        /// What to do.
        #[command(subcommand)]
        command: BucketCommand,
    },
    /// Manage tables, and read and write their items
    #[command(after_help = table::TABLE_HELP)]
    Table {
        /// What to do.
        #[command(subcommand)]
        command: TableCommand,
    },
    /// Manage queues, and send and receive their messages
    #[command(after_help = queue::QUEUE_HELP)]
    Queue {
        /// What to do.
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Have services be given the messages of queues
    #[command(after_help = consumer::CONSUMER_HELP)]
    Consumer {
        /// What to do.
        #[command(subcommand)]
        command: ConsumerCommand,
    },
    /// Make resources what a document says: services, listeners, rules and all others
    Apply(ApplyArgs),
    /// Print resources as a document that `skiff apply` takes
    #[command(after_help = apply::EXPORT_HELP)]
    Export,
    /// Open a local port to a task
    Forward(ForwardArgs),
    /// Print what a service or a task wrote
    Logs(LogsArgs),
    /// Print what happened to tasks, services and alarms
    Events(EventsArgs),
    /// Show what was measured of services and tasks, and metrics of your own
    Metrics(MetricsArgs),
    /// Watch metrics: say what is too much of what, and who is told
    #[command(after_help = alarm::ALARM_HELP)]
    Alarm {
        /// What to do.
        #[command(subcommand)]
        command: AlarmCommand,
    },
    /// Change how many tasks a service has
    Scale(ScaleArgs),
    /// Have the count of a service's tasks follow its load, its alarms and the clock
    #[command(after_help = scaling::SCALING_HELP)]
    Scaling {
        /// What to do.
        #[command(subcommand)]
        command: ScalingCommand,
    },
    /// Remove services and stop their tasks
    #[command(after_help = "Examples:\n  skiff rm hello\n  skiff rm hello hello-p3")]
    Rm {
        /// The services
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
    /// Put a service back to an earlier revision
    Rollback(RollbackArgs),
    /// Follow a service's deployment, halt it, have it go on, or give it up
    #[command(after_help = rollout::ROLLOUT_HELP)]
    Rollout {
        /// What to do.
        #[command(subcommand)]
        command: RolloutCommand,
    },
    /// Show what services, their tasks and the platform itself used: the bill
    Usage(UsageArgs),
    /// Measure
    #[command(after_help = "Examples:\n  skiff bench cold-start hello --requests 200")]
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print a script that completes commands and flags in a shell
    Completions(CompletionsArgs),
    /// Write a manual page for each command
    Man(ManArgs),
    /// A worker process of `skiff up`
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// A compile process of `skiff up`
    #[command(hide = true)]
    Compile(CompileArgs),
}

/// `skiff service …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum ServiceCommand {
    /// List services
    #[command(after_help = "Examples:\n  skiff service ls\n  skiff service ls --output json")]
    Ls,
    /// Show a service: what it is to be, what it is, what happened
    #[command(after_help = "Examples:\n  skiff service show hello")]
    Show {
        /// The service
        name: Name,
    },
}

/// `skiff logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff logs hello -f                 follow a service
  skiff logs hello --since 5m         the last five minutes
  skiff logs 5e8f01b2 --tail 100      the last lines of one task")]
pub struct LogsArgs {
    /// A service, a one-off task's family, or a task's id or the last digits of it
    #[arg(value_name = "NAME|TASK")]
    pub source: String,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only lines of the last so long, like 5m
    #[arg(long, value_name = "TIME")]
    pub since: Option<Span>,
    /// Only the last so many lines
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
    /// Print when each line was written
    #[arg(long, short)]
    pub timestamps: bool,
}

#[cfg(test)]
mod tests;
