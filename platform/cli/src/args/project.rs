//! The commands that make and build projects.

use clap::{Args, ValueEnum};
use skiff_types::Name;
use std::path::PathBuf;

/// `skiff new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff new hello                          an HTTP service for WASI 0.2
  skiff new hello --template http-p3       an HTTP service for WASI 0.3
  skiff new report --template job          a command that runs to its end")]
pub struct NewArgs {
    /// The project's name, and the folder to make for it
    pub name: Name,
    /// What to start from
    #[arg(long, short, value_enum, default_value = "http")]
    pub template: Template,
    /// Make it in this folder instead
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// What a project starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// An HTTP handler for WASI 0.2
    Http,
    /// An HTTP handler for WASI 0.3
    HttpP3,
    /// A command that runs to its end
    Job,
    /// A handler of events, for WASI 0.2
    Event,
    /// A consumer of a queue's messages, for WASI 0.2
    Queue,
}

/// `skiff build`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff build                  the project in this folder
  skiff build examples/hello   the project in that folder")]
pub struct BuildArgs {
    /// A folder with a skiff.toml
    #[arg(default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
}
