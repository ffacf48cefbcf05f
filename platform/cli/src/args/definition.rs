//! `skiff taskdef` and `skiff image`: what tasks are made of.

use clap::{Args, Subcommand};
use skiff_api::TaskDefinitionReference;
use skiff_types::{ImageReference, Name, TaskDefinitionId};

/// `skiff taskdef …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum TaskDefinitionCommand {
    /// List task definitions
    Ls(TaskDefinitionListArgs),
    /// Show a task definition
    Show(TaskDefinitionShowArgs),
    /// Deregister revisions that nothing uses
    #[command(after_help = "Examples:\n  skiff taskdef rm hello:1 hello:2")]
    Rm {
        /// The revisions
        #[arg(required = true, value_name = "FAMILY:REVISION")]
        definitions: Vec<TaskDefinitionId>,
    },
}

/// `skiff taskdef ls`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  skiff taskdef ls\n  skiff taskdef ls --family hello")]
pub struct TaskDefinitionListArgs {
    /// Only this family's
    #[arg(long, value_name = "NAME")]
    pub family: Option<Name>,
}

/// `skiff taskdef show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff taskdef show hello                    the newest revision
  skiff taskdef show hello:3 --reveal LOG     with the value of one environment variable")]
pub struct TaskDefinitionShowArgs {
    /// The family, or one revision of it
    #[arg(value_name = "FAMILY[:REVISION]")]
    pub definition: TaskDefinitionReference,
    /// Print the value of this environment variable; may be given many times
    #[arg(long, value_name = "KEY")]
    pub reveal: Vec<String>,
}

/// `skiff image …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum ImageCommand {
    /// List images
    #[command(after_help = "Examples:\n  skiff image ls\n  skiff image ls --output json")]
    Ls,
    /// Build and push a component, and run nothing: for documents of `skiff apply`, which name images
    #[command(
        after_help = "Examples:\n  skiff image push examples/thumbnails\n  skiff image push app.wasm --name shop"
    )]
    Push {
        /// A folder with a skiff.toml, or a component's file
        #[arg(default_value = ".", value_name = "DIR|FILE.wasm")]
        source: String,
        /// The image's name, whose tag is `latest` [default: the manifest's, else after the file]
        #[arg(long)]
        name: Option<Name>,
    },
    /// Remove tags; what a task definition still names stays
    #[command(after_help = "Examples:\n  skiff image rm hello:latest")]
    Rm {
        /// The images
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<ImageReference>,
    },
}
