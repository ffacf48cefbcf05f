//! The commands about tasks: `ps` and `task`.

use clap::{Args, Subcommand};
use skiff_types::{Name, TaskStatus};

/// `skiff ps`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  skiff ps\n  skiff ps --all --output json")]
pub struct PsArgs {
    /// Those that have ended as well
    #[arg(long, short)]
    pub all: bool,
}

/// `skiff task …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum TaskCommand {
    /// List tasks, ended ones as well
    Ls(TaskListArgs),
    /// Show a task
    #[command(after_help = "Examples:\n  skiff task show 5e8f01b2")]
    Show {
        /// Its id, or the last digits of it
        task: String,
    },
    /// Stop a task; a service starts another in its place
    Stop(TaskStopArgs),
}

/// `skiff task ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff task ls
  skiff task ls --service hello --status STOPPED")]
pub struct TaskListArgs {
    /// Only this service's
    #[arg(long, value_name = "NAME")]
    pub service: Option<Name>,
    /// Only those in this state, like RUNNING or STOPPED
    #[arg(long, value_parser = task_status)]
    pub status: Option<TaskStatus>,
}

/// `skiff task stop`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff task stop 5e8f01b2 --reason \"it leaks\"
  skiff task stop 5e8f01b2 --now")]
pub struct TaskStopArgs {
    /// Its id, or the last digits of it
    pub task: String,
    /// Why; becomes part of the stopped reason
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End it at once, whatever requests and connections it still has; also one that finishes them already
    #[arg(long)]
    pub now: bool,
}

fn task_status(text: &str) -> Result<TaskStatus, String> {
    let status = TaskStatus::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text));
    let names = || TaskStatus::ALL.map(TaskStatus::as_str).join(", ");
    status.ok_or_else(|| format!("{text:?} is not a task's state; these are: {}", names()))
}
