//! `skiff bucket …`: where objects are kept, which come and go by S3.

use clap::{Args, Subcommand};
use skiff_types::Name;

/// What buckets are, below the help of `skiff bucket`.
pub(super) const BUCKET_HELP: &str = "\
Examples:
  skiff bucket create uploads
  skiff bucket ls
  skiff bucket rm uploads --force      with all its objects

Objects are put, got and listed by S3, with the clients that there are for it and an access key of
`skiff key create`. Each that is written or deleted is an event on the bucket's bus.";

/// `skiff bucket …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum BucketCommand {
    /// Create a bucket, or change which bus is told of its objects
    Create(BucketCreateArgs),
    /// List buckets
    #[command(after_help = "Examples:\n  skiff bucket ls\n  skiff bucket ls --output json")]
    Ls,
    /// Show a bucket, and how much it holds
    #[command(after_help = "Examples:\n  skiff bucket show uploads")]
    Show {
        /// The bucket
        name: Name,
    },
    /// Remove buckets that have no objects
    #[command(after_help = "Examples:\n  skiff bucket rm uploads\n  skiff bucket rm uploads --force")]
    Rm {
        /// The buckets
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
        /// With all objects that they have
        #[arg(long)]
        force: bool,
    },
}

/// `skiff bucket create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  skiff bucket create uploads\n  skiff bucket create uploads --bus media")]
pub struct BucketCreateArgs {
    /// Its name in the namespace
    pub name: Name,
    /// The bus that is told of each object that is written or deleted [default: default]
    #[arg(long, value_name = "NAME")]
    pub bus: Option<Name>,
}
