//! `skiff usage`, and the two commands that write down what the command line itself is: `completions`, `man`.

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use skiff_types::{Name, Span};
use std::path::PathBuf;

/// `skiff usage`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff usage                                  each service of the namespace, since the platform was set up
  skiff usage --since 24h --all-namespaces     the last day, of everybody
  skiff usage --since 1h --by task             each task of the last hour
  skiff usage --service hello --output json    one service, for a program

The rows add up: `others` is what the filters leave out, `platform` what no task is charged with,
`total` is all, whose CPU time is what the kernel says of the platform's processes.
GB-SECONDS are 2^30 bytes of claimed memory held for a second each; IN and OUT are bytes of bodies.

Records are of a minute for the last two hours, of an hour for seven days, of a day for 400 days;
`--since` begins with the record that it falls into. Tasks are told apart for seven days. After
400 days there is one sum. A platform that is killed loses the last five seconds at most.")]
pub struct UsageArgs {
    /// Only the last so long, like 24h [default: since the platform's data folder was made]
    #[arg(long, value_name = "TIME")]
    pub since: Option<Span>,
    /// What has a row of its own
    #[arg(long, value_enum, default_value = "service")]
    pub by: UsageBy,
    /// Only this service, or this family of one-off tasks
    #[arg(long, value_name = "NAME")]
    pub service: Option<Name>,
    /// Those of all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
}

/// What has a row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsageBy {
    /// Each service, and each family of one-off tasks
    Service,
    /// Each task
    Task,
}

/// `skiff completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff completions bash > ~/.local/share/bash-completion/completions/skiff
  skiff completions zsh > ~/.zfunc/_skiff                with ~/.zfunc in your fpath
  skiff completions fish > ~/.config/fish/completions/skiff.fish")]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `skiff man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff man ~/.local/share/man/man1     then: man skiff, man skiff-deploy
  skiff man man && man man/skiff.1      read one without installing it")]
pub struct ManArgs {
    /// The folder to write them to; made if there is none
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
