//! `skiff table …`: durable key-value tables, and their items.

use clap::{Args, Subcommand};
use skiff_types::{Name, Span};

/// What tables are, below the help of `skiff table`.
pub(super) const TABLE_HELP: &str = "\
Examples:
  skiff table create thumbnails
  skiff table put thumbnails cat.png '{\"width\":64}'
  skiff table get thumbnails cat.png
  skiff table scan thumbnails --prefix cat

An item has a key, a value of up to 1 MiB, and a version, which each write raises. What was written
is on the drive. Keys order by their bytes.";

/// `skiff table …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum TableCommand {
    /// Create a table
    #[command(after_help = "Examples:\n  skiff table create thumbnails")]
    Create {
        /// Its name in the namespace
        name: Name,
    },
    /// List tables
    #[command(after_help = "Examples:\n  skiff table ls\n  skiff table ls --output json")]
    Ls,
    /// Show a table, and how much it holds
    #[command(after_help = "Examples:\n  skiff table show thumbnails")]
    Show {
        /// The table
        name: Name,
    },
    /// Remove tables with all their items
    #[command(after_help = "Examples:\n  skiff table rm thumbnails")]
    Rm {
        /// The tables
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
    /// Write an item
    Put(ItemPutArgs),
    /// Print an item's value
    #[command(
        after_help = "Examples:\n  skiff table get thumbnails cat.png\n  skiff table get thumbnails cat.png -o json    with its version"
    )]
    Get {
        /// The table
        table: Name,
        /// The item's key
        key: String,
    },
    /// Add to the number that an item's value is, and print the sum
    #[command(
        after_help = "Examples:\n  skiff table increment counters visits\n  skiff table increment counters left -- -1"
    )]
    Increment {
        /// The table
        table: Name,
        /// The item's key; one that is not there counts as 0
        key: String,
        /// What is added
        #[arg(default_value = "1", value_name = "NUMBER", allow_negative_numbers = true)]
        delta: i64,
    },
    /// List items by the bytes of their keys
    Scan(ItemScanArgs),
    /// Delete items
    #[command(after_help = "Examples:\n  skiff table delete thumbnails cat.png dog.png")]
    Delete {
        /// The table
        table: Name,
        /// The items' keys; all go, or none
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// `skiff table put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff table put thumbnails cat.png '{\"width\":64}'
  skiff table put thumbnails cat.png - < cat.json       from standard input
  skiff table put sessions 7f3a alice --expires 30m
  skiff table put locks deploy me --if-absent           only who is first
  skiff table put thumbnails cat.png new --if-version 7")]
pub struct ItemPutArgs {
    /// The table
    pub table: Name,
    /// The item's key: up to 1,024 bytes
    pub key: String,
    /// Its value; - for standard input
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// After so long it goes by itself, like 30m
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Span>,
    /// Only if there is no such item
    #[arg(long, conflicts_with = "if_version")]
    pub if_absent: bool,
    /// Only if the item is in this version
    #[arg(long, value_name = "N")]
    pub if_version: Option<u64>,
}

/// `skiff table scan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff table scan thumbnails
  skiff table scan thumbnails --prefix 2026/ --limit 20
  skiff table scan thumbnails --output json            with whole values")]
pub struct ItemScanArgs {
    /// The table
    pub table: Name,
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    /// Only keys that come after this one
    #[arg(long, value_name = "KEY")]
    pub after: Option<String>,
    /// Only the first so many
    #[arg(long, value_name = "N", default_value = "1000")]
    pub limit: u32,
}
