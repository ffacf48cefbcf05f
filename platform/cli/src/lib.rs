//! The command line: parses all of `skiff`'s commands, and carries out those of a client.
//!
//! `skiff up` and the hidden commands by which it starts its own processes are only parsed here; the binary carries
//! them out. What always holds: data goes to standard output and everything else to standard error; `--output json`
//! prints JSON alone; the exit code is 0 for done, 1 for failed, 2 for wrong usage, 3 where `apply` was asked whether
//! something differs, or that of a task that was run.

mod access_keys;
mod actions;
mod alarms;
mod apply;
mod args;
mod artifact;
mod bench;
mod buckets;
mod build;
mod bus_events;
mod buses;
mod certificates;
mod change;
mod completions;
mod consumers;
mod context;
mod definitions;
mod deploy;
mod event_rules;
mod events;
mod failure;
mod forward;
mod human;
mod images;
mod input;
mod listeners;
mod logs;
mod man;
mod metrics;
mod network;
mod new;
mod nodes;
mod output;
mod progress;
mod queues;
mod roles;
mod rollout;
mod rules;
mod run;
mod scaling;
mod schedules;
mod security_groups;
mod services;
mod settings;
mod status;
mod tables;
mod target_groups;
mod targets;
mod tasks;
mod usage;

pub mod connection;
pub mod manifest;

pub use args::{
    AccessLog, AccessLogFormat, ApiAddress, Cli, Command, CompileArgs, GlobalArgs, S3Address, Tls, UpArgs,
    WorkerArgs,
};

use args::{
    BenchCommand, ImageCommand, NetworkCommand, SecurityGroupCommand, ServiceCommand, TaskCommand,
    TaskDefinitionCommand,
};
use context::Context;
use std::process::ExitCode;

/// Carries out a client's command and says how the process is to end.
///
/// # Panics
/// If the command is `up` or one of the hidden ones: the binary carries those out itself.
pub fn run(cli: Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(cli)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Up(_) | Command::Worker(_) | Command::Compile(_) => {
            panic!("the binary carries out `up`, `worker` and `compile` itself")
        }
        Command::New(args) => new::run(&context, &args)?,
        Command::Build(args) => build::run(&context, &args)?,
        Command::Deploy(args) => deploy::run(&context, &args).await?,
        Command::Run(args) => return run::run(&context, &args).await,
        Command::Ps(args) => tasks::ps(&context, &args).await?,
        Command::Nodes { command } => nodes::run(&context, &command).await?,
        Command::Status => status::run(&context).await?,
        Command::Service { command } => match command {
            ServiceCommand::Ls => services::list(&context).await?,
            ServiceCommand::Show { name } => services::show(&context, &name).await?,
        },
        Command::Task { command } => match command {
            TaskCommand::Ls(args) => tasks::list(&context, &args).await?,
            TaskCommand::Show { task } => tasks::show(&context, &task).await?,
            TaskCommand::Stop(args) => tasks::stop(&context, &args).await?,
        },
        Command::Taskdef { command } => match command {
            TaskDefinitionCommand::Ls(args) => definitions::list(&context, &args).await?,
            TaskDefinitionCommand::Show(args) => definitions::show(&context, &args).await?,
            TaskDefinitionCommand::Rm { definitions } => definitions::remove(&context, &definitions).await?,
        },
        Command::Image { command } => match command {
            ImageCommand::Ls => images::list(&context).await?,
            ImageCommand::Push { source, name } => images::push(&context, &source, name.as_ref()).await?,
            ImageCommand::Rm { images } => images::remove(&context, &images).await?,
        },
        Command::Sg { command } => match command {
            SecurityGroupCommand::Create(args) => security_groups::create(&context, &args).await?,
            SecurityGroupCommand::Ls => security_groups::list(&context).await?,
            SecurityGroupCommand::Show { name } => security_groups::show(&context, &name).await?,
            SecurityGroupCommand::Allow(args) => security_groups::allow(&context, &args).await?,
            SecurityGroupCommand::Revoke(args) => security_groups::revoke(&context, &args).await?,
            SecurityGroupCommand::Rm { names } => security_groups::remove(&context, &names).await?,
        },
        Command::Net { command } => match command {
            NetworkCommand::Explain(args) => network::explain(&context, &args).await?,
            NetworkCommand::Flows(args) => network::flows(&context, &args).await?,
        },
        Command::Listener { command } => listeners::run(&context, &command).await?,
        Command::Rule { command } => rules::run(&context, &command).await?,
        Command::TargetGroup { command } => target_groups::run(&context, &command).await?,
        Command::Cert { command } => certificates::run(&context, &command).await?,
        Command::Bucket { command } => buckets::run(&context, &command).await?,
        Command::Table { command } => tables::run(&context, &command).await?,
        Command::Queue { command } => queues::run(&context, &command).await?,
        Command::Consumer { command } => consumers::run(&context, &command).await?,
        Command::Bus { command } => buses::run(&context, &command).await?,
        Command::Target { command } => event_rules::targets(&context, &command).await?,
        Command::Event { command } => return bus_events::run(&context, &command).await,
        Command::Schedule { command } => schedules::run(&context, &command).await?,
        Command::Role { command } => return roles::run(&context, &command).await,
        Command::Key { command } => access_keys::run(&context, &command).await?,
        Command::Apply(args) => return apply::run(&context, &args).await,
        Command::Export => apply::export::run(&context).await?,
        Command::Forward(args) => forward::run(&context, &args).await?,
        Command::Events(args) => events::run(&context, &args).await?,
        Command::Logs(args) => logs::run(&context, &args).await?,
        Command::Metrics(args) => metrics::run(&context, &args).await?,
        Command::Alarm { command } => alarms::run(&context, &command).await?,
        Command::Scale(args) => change::scale(&context, &args).await?,
        Command::Scaling { command } => scaling::run(&context, &command).await?,
        Command::Rm { names } => change::remove(&context, &names).await?,
        Command::Rollback(args) => change::rollback(&context, &args).await?,
        Command::Rollout { command } => rollout::run(&context, &command).await?,
        Command::Usage(args) => usage::run(&context, &args).await?,
        Command::Completions(args) => completions::run(args.shell)?,
        Command::Man(args) => man::run(&context, &args.dir)?,
        Command::Bench { command } => match command {
            BenchCommand::ColdStart(args) => bench::cold_start(&context, &args).await?,
        },
    }
    Ok(ExitCode::SUCCESS)
}
