//! The commands that deploy a service and run a task, and what they say alike.

use super::{DaemonArgs, DeploymentArgs, PlacementArgs, SchedulingArgs};
use clap::Args;
use skiff_types::{
    CpuUnits, HostPattern, Listen, MemorySize, Name, PathPrefix, Restart, Reuse, ScaleToZero, Span,
};

/// The bounds of a task, where a command takes them.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// CPU units of each task; 1024 are one core. One that was idle may use its share of 100 ms at once [default: 256]
    #[arg(long, value_name = "UNITS")]
    pub cpu: Option<CpuUnits>,
    /// Memory of each task over all its sandboxes [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<MemorySize>,
    /// An environment variable; may be given many times
    #[arg(long = "env", short, value_name = "KEY=VALUE", value_parser = environment_variable)]
    pub environment: Vec<(String, String)>,
}

/// `skiff deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff deploy                                   the project in this folder
  skiff deploy hello.wasm --memory 64MiB         a component, as the service `hello`
  skiff deploy hello:latest --name hello-two     an image that was pushed before
  skiff deploy --desired 3 --host api.localhost --env LOG=debug
  skiff deploy kv.wasm --port 6379 --listen tcp:6379    a daemon, reached by TCP too
  skiff deploy --min-healthy 50 --max-percent 100      half of the tasks at a time, and never more than there are
  skiff deploy --scale-to-zero 5m                no task while nobody asks; the next request wakes it
  skiff deploy --constraint 'memberOf(attribute:zone == a)'    on some of the nodes alone; see `skiff nodes ls`
  skiff deploy --security-group web              who may reach it, and whom it may; see `skiff sg`")]
pub struct DeployArgs {
    /// A folder with a skiff.toml, a component's file, or an image
    #[arg(default_value = ".", value_name = "DIR|FILE.wasm|IMAGE")]
    pub source: String,
    /// The service's name [default: the manifest's, else after the file or the image]
    #[arg(long)]
    pub name: Option<Name>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub limits: LimitArgs,
    /// How many tasks [default: the manifest's `desired`, else as many as the service has, else 1]
    #[arg(long, value_name = "N")]
    pub desired: Option<u32>,
    /// A host to answer on; may be given many times [default: NAME.localhost, unless it listens by --listen]
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<HostPattern>,
    /// A path prefix to answer on; may be given many times
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<PathPrefix>,
    /// A port of the load balancer whose connections lead to the tasks' port, like tcp:6379; may be given many times
    #[arg(long, value_name = "tcp:PORT")]
    pub listen: Vec<Listen>,
    /// From a request's arrival to its last byte [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Sandboxes each task may have at once [default: 100]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Requests that one sandbox serves, and (WASI 0.3) how many at once, like 128 or 128x16 [default: a fresh sandbox for
    /// each request]
    #[arg(long, value_name = "N[xN]")]
    pub reuse: Option<Reuse>,
    /// Initialise the component once, now, and let each sandbox start from there: true or false [default: the manifest's,
    /// else false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub snapshot: Option<bool>,
    /// A security group of its tasks, from now on and without replacing them; may be given many times [default: the
    /// manifest's `security-groups`, else those the service has, else `default`]
    #[arg(long = "security-group", value_name = "NAME")]
    pub security_groups: Vec<Name>,
    /// The role that its tasks act as, and by which they reach buckets, tables, queues, buses and secrets; see `skiff role`
    /// [default: the manifest's `role`, else none, which reaches nothing]
    #[arg(long, value_name = "NAME")]
    pub role: Option<Name>,
    /// No task after so long without a request, like 5m; the next request has one started and waits for it: a time from 1s to
    /// 7d, or never [default: the manifest's `scale-to-zero`, else as it is, else never]
    #[arg(long, value_name = "TIME")]
    pub scale_to_zero: Option<ScaleToZero>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub daemon: DaemonArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub deployment: DeploymentArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub placement: PlacementArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub scheduling: SchedulingArgs,
    /// Do not wait until it serves
    #[arg(long)]
    pub no_wait: bool,
}

/// `skiff run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff run job.wasm -- input.txt --fast     arguments after `--` are the program's
  skiff run job.wasm --env LOG=debug         with an environment variable
  skiff run job:latest --detach              prints the task's id and does not wait
  skiff run kv.wasm --port 6379 --restart on-failure --detach    a daemon")]
pub struct RunArgs {
    /// A component's file, an image, or a folder with a skiff.toml
    #[arg(value_name = "FILE.wasm|IMAGE|DIR")]
    pub source: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub limits: LimitArgs,
    /// A security group of the task; may be given many times [default: the manifest's `security-groups`, else `default`]
    #[arg(long = "security-group", value_name = "NAME")]
    pub security_groups: Vec<Name>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub daemon: DaemonArgs,
    /// The role that the task acts as, and by which it reaches buckets, tables, queues, buses and secrets; see `skiff role`
    /// [default: the manifest's `role`, else none, which reaches nothing]
    #[arg(long, value_name = "NAME")]
    pub role: Option<Name>,
    /// What becomes of the task when its program ends: never, on-failure or always [default: the manifest's `restart`, else
    /// never]
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<Restart>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub placement: PlacementArgs,
    /// Print the task's id and do not wait for its end
    #[arg(long, short)]
    pub detach: bool,
    /// The program's arguments
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

/// Reads `KEY=VALUE`.
pub(super) fn environment_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not an environment variable, like LOG=debug")),
    }
}
