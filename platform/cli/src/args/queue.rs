//! `skiff queue …`: durable queues, and their messages.

use clap::{ArgGroup, Args, Subcommand};
use skiff_api::{DeadLetter, PutQueue};
use skiff_types::{MemorySize, Name, Span};
use std::path::PathBuf;

/// What queues are, below the help of `skiff queue`.
pub(super) const QUEUE_HELP: &str = "\
Examples:
  skiff queue create orders --dead-letter dead --receives 5
  skiff queue send orders '{\"id\":7}'
  skiff queue receive orders --wait 20s --delete
  skiff queue redrive dead                         back to where each message came from

A message that was sent is on the drive. Who receives it has it alone for a while, the visibility
timeout, and deletes it when the work is done; else it comes again. One that was received too often
goes to the dead-letter queue. In a FIFO queue the messages of a group come in their order.";

/// `skiff queue …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum QueueCommand {
    /// Create a queue, or replace all that it says
    Create(Box<QueueCreateArgs>),
    /// List queues, and how much they hold
    #[command(after_help = "Examples:\n  skiff queue ls\n  skiff queue ls --output json")]
    Ls,
    /// Show a queue: what it says, and how much it holds
    #[command(after_help = "Examples:\n  skiff queue show orders")]
    Show {
        /// The queue
        name: Name,
    },
    /// Remove queues with their messages
    #[command(after_help = "Examples:\n  skiff queue rm orders")]
    Rm {
        /// The queues
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
    /// Send a message, or many
    Send(Box<QueueSendArgs>),
    /// Receive messages
    Receive(QueueReceiveArgs),
    /// Delete messages that were received
    #[command(after_help = "Examples:\n  skiff queue delete orders RECEIPT")]
    Delete {
        /// The queue
        queue: Name,
        /// What `skiff queue receive` printed of them
        #[arg(required = true, value_name = "RECEIPT")]
        receipts: Vec<String>,
    },
    /// Forget all messages of a queue
    #[command(after_help = "Examples:\n  skiff queue purge orders")]
    Purge {
        /// The queue
        queue: Name,
    },
    /// Move messages of a dead-letter queue to where each came from, or to another queue
    #[command(
        after_help = "Examples:\n  skiff queue redrive dead\n  skiff queue redrive dead --to orders --max 100"
    )]
    Redrive {
        /// The dead-letter queue
        queue: Name,
        /// The queue that they go to [default: where each came from]
        #[arg(long, value_name = "NAME")]
        to: Option<Name>,
        /// How many at most [default: all]
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
}

/// `skiff queue create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff queue create orders
  skiff queue create orders --visibility-timeout 2m --dead-letter dead --receives 5
  skiff queue create steps --fifo --content-based-deduplication")]
pub struct QueueCreateArgs {
    /// Its name in the namespace
    pub name: Name,
    /// Messages of a group come in their order, and what is sent twice within five minutes is kept once; never changes
    #[arg(long)]
    pub fifo: bool,
    /// Of a FIFO queue: a message without a deduplication id has the digest of its body for one
    #[arg(long, requires = "fifo")]
    pub content_based_deduplication: bool,
    /// How long a message that was received stays out of sight, up to 12h [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub visibility_timeout: Option<Span>,
    /// How long a message stays out of sight once it was sent, up to 15m [default: 0ms]
    #[arg(long, value_name = "TIME")]
    pub delay: Option<Span>,
    /// How long a message is kept that nobody deletes, 1m to 14d [default: 4d]
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Span>,
    /// How long a receive waits for a message that does not say it, up to 20s [default: 0ms]
    #[arg(long, value_name = "TIME")]
    pub receive_wait: Option<Span>,
    /// The largest message, its attributes included: 1KiB to 1MiB [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub message_max: Option<MemorySize>,
    /// Messages that it holds at most [default: 1000000]
    #[arg(long, value_name = "N")]
    pub messages_max: Option<u64>,
    /// Where messages go that are received again and again
    #[arg(long, value_name = "QUEUE", requires = "receives")]
    pub dead_letter: Option<Name>,
    /// Receives that a message may have before it goes there
    #[arg(long, value_name = "N", requires = "dead_letter")]
    pub receives: Option<u32>,
}

impl QueueCreateArgs {
    /// What the platform is told.
    pub(crate) fn body(&self) -> PutQueue {
        let dead_letter = self.dead_letter.clone().zip(self.receives);
        PutQueue {
            fifo: self.fifo,
            content_based_deduplication: self.content_based_deduplication,
            visibility_timeout: self.visibility_timeout,
            delay: self.delay,
            retention: self.retention,
            receive_wait: self.receive_wait,
            message_max: self.message_max,
            messages_max: self.messages_max,
            dead_letter: dead_letter.map(|(queue, receives_max)| DeadLetter { queue, receives_max }),
        }
    }
}

/// `skiff queue send`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").args(["body", "file", "batch"]),
    after_help = "\
Examples:
  skiff queue send orders '{\"id\":7}'
  skiff queue send orders --file order.json --attribute kind=order --delay 1m
  echo hello | skiff queue send orders                   from standard input
  skiff queue send steps ship --group customer-7         to a FIFO queue
  skiff queue send orders --batch orders.jsonl           many: one JSON object on a line

A line of a batch has body (or body_base64), and may have attributes, delay, group and
deduplication_id."
)]
pub struct QueueSendArgs {
    /// The queue
    pub queue: Name,
    /// What it says [default: standard input]
    #[arg(allow_hyphen_values = true)]
    pub body: Option<String>,
    /// What it says is in this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Messages as JSON, one on a line; - for standard input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["group", "deduplication_id", "delay", "attributes"]
    )]
    pub batch: Option<PathBuf>,
    /// Its group; of FIFO queues, which ask for it
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// What tells it from others within five minutes; of FIFO queues
    #[arg(long = "dedup-id", value_name = "ID")]
    pub deduplication_id: Option<String>,
    /// How long it stays out of sight [default: as the queue says]
    #[arg(long, value_name = "TIME")]
    pub delay: Option<Span>,
    /// What is said beside it; may be given many times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
}

/// `skiff queue receive`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff queue receive orders                        with the receipt that deletes it
  skiff queue receive orders --max 10 --wait 20s --delete
  skiff queue receive orders --output json")]
pub struct QueueReceiveArgs {
    /// The queue
    pub queue: Name,
    /// How many messages at most, 1 to 10
    #[arg(long, value_name = "N", default_value = "1")]
    pub max: u32,
    /// How long to wait for one, up to 20s [default: as the queue says]
    #[arg(long, value_name = "TIME")]
    pub wait: Option<Span>,
    /// How long they stay out of sight, up to 12h [default: as the queue says]
    #[arg(long, value_name = "TIME")]
    pub visibility_timeout: Option<Span>,
    /// Delete them before they are printed
    #[arg(long)]
    pub delete: bool,
    /// Delete a message first that was dealt with; up to 10 of them
    #[arg(long, value_name = "RECEIPT")]
    pub handled: Vec<String>,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::{Value, json};

    fn told(words: &str) -> Option<Value> {
        let line = format!("skiff queue create orders {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).ok()?;
        let Command::Queue { command: QueueCommand::Create(args) } = cli.command else { panic!() };
        Some(serde_json::to_value(args.body()).unwrap())
    }

    #[test]
    fn what_is_not_said_is_left_to_the_platform() {
        assert_eq!(told(""), Some(json!({ "fifo": false, "content_based_deduplication": false })));
    }

    #[test]
    fn all_that_a_queue_says_can_be_given() {
        let words = "--fifo --content-based-deduplication --visibility-timeout 2m --delay 3s --retention 1h \
                     --receive-wait 20s --message-max 64KiB --messages-max 7 --dead-letter dead --receives 5";
        let expected = json!({
            "fifo": true, "content_based_deduplication": true, "visibility_timeout": "2m", "delay": "3s",
            "retention": "1h", "receive_wait": "20s", "message_max": "64KiB", "messages_max": 7,
            "dead_letter": { "queue": "dead", "receives_max": 5 },
        });
        assert_eq!(told(words), Some(expected));
        for bad in ["--dead-letter dead", "--receives 5", "--content-based-deduplication"] {
            assert_eq!(told(bad), None, "{bad} was taken");
        }
    }

    #[test]
    fn a_message_comes_from_one_place() {
        let parses = |words: &str| {
            Cli::try_parse_from(format!("skiff queue send orders {words}").split_whitespace()).is_ok()
        };
        for good in
            ["", "hello", "--file a", "--batch a", "hello --group a --dedup-id b --attribute c=d --delay 5s"]
        {
            assert!(parses(good), "{good} was not taken");
        }
        for bad in ["hello --file a", "--file a --batch b", "--batch a --group b", "hello --attribute c"] {
            assert!(!parses(bad), "{bad} was taken");
        }
    }
}
