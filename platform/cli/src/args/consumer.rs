//! `skiff consumer …`: which service is given a queue's messages.

use clap::{Args, Subcommand};
use skiff_api::PutConsumer;
use skiff_types::Name;

/// What consumers are, below the help of `skiff consumer`.
pub(super) const CONSUMER_HELP: &str = "\
Examples:
  skiff consumer put orders --queue orders --service fulfil
  skiff consumer put orders --queue orders --service fulfil --batch 10 --concurrency 4
  skiff scaling put fulfil --min 0 --max 20 --target BacklogPerTask=100

A service whose component exports skiff:queues/consumer is given the messages of a queue, in batches,
as its tasks have room for them. What its task says is done is deleted; the rest comes again, or goes
to the queue's dead-letter queue. The service's role has to allow it: queue:receive QUEUE. A service
that scales to zero sleeps while its queue is empty; the next message wakes it.";

/// `skiff consumer …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum ConsumerCommand {
    /// Have a service be given the messages of a queue, or replace all that is said of that
    Put(ConsumerPutArgs),
    /// List consumers, and what has come of them
    #[command(after_help = "Examples:\n  skiff consumer ls\n  skiff consumer ls --output json")]
    Ls,
    /// Show a consumer, what has come of it, and why it takes no messages, if it takes none
    #[command(after_help = "Examples:\n  skiff consumer show orders")]
    Show {
        /// The consumer
        name: Name,
    },
    /// Remove consumers; what tasks have of their messages is finished
    #[command(after_help = "Examples:\n  skiff consumer rm orders")]
    Rm {
        /// The consumers
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff consumer put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff consumer put orders --queue orders --service fulfil
  skiff consumer put orders --queue orders --service fulfil --batch 1 --concurrency 20")]
pub struct ConsumerPutArgs {
    /// Its name in the namespace
    pub name: Name,
    /// The queue whose messages are taken
    #[arg(long, value_name = "NAME")]
    pub queue: Name,
    /// The service that they are given to
    #[arg(long, value_name = "NAME")]
    pub service: Name,
    /// Messages that are given together at most, 1 to 10 [default: 10]
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// Batches that one task has at once at most, 1 to 100 [default: 1]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
}

impl ConsumerPutArgs {
    /// What the platform is told.
    pub(crate) fn body(&self) -> PutConsumer {
        PutConsumer {
            queue: self.queue.clone(),
            service: self.service.clone(),
            batch: self.batch,
            concurrency: self.concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::{Value, json};

    fn told(words: &str) -> Option<Value> {
        let line = format!("skiff consumer put orders {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).ok()?;
        let Command::Consumer { command: ConsumerCommand::Put(args) } = cli.command else { panic!() };
        Some(serde_json::to_value(args.body()).unwrap())
    }

    #[test]
    fn a_consumer_names_its_queue_and_its_service() {
        let named = "--queue orders --service fulfil";
        assert_eq!(told(named), Some(json!({ "queue": "orders", "service": "fulfil" })));
        let all = format!("{named} --batch 5 --concurrency 2");
        let expected = json!({ "queue": "orders", "service": "fulfil", "batch": 5, "concurrency": 2 });
        assert_eq!(told(&all), Some(expected));
        for bad in ["--queue orders", "--service fulfil", "--queue orders --service fulfil --batch x"] {
            assert_eq!(told(bad), None, "{bad} was taken");
        }
    }
}
