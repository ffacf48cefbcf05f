//! `skiff role …` and `skiff key …`: what tasks and outside clients may do.

use clap::{Args, Subcommand};
use skiff_types::{AccessAction, AccessKeyId, Grant, Name};
use std::path::PathBuf;

/// What roles are for, below the help of `skiff role`.
pub(super) const ROLE_HELP: &str = "\
Examples:
  skiff role put thumbs --allow 'bucket:read uploads/*' --allow 'table:write thumbnails'
  skiff deploy thumbs.wasm --role thumbs
  skiff role explain thumbs bucket:read uploads/cat.png

A task acts as the role that its task definition names, and an outside client as that of its access
key. What a role does not allow is denied; without a role, everything is. A role reaches what is in
its own namespace, and nothing else.";

/// What keys are for, below the help of `skiff key`.
pub(super) const KEY_HELP: &str = "\
Examples:
  skiff key create --role uploader      prints the key's id and its secret, which is not shown again
  skiff key ls
  skiff key rm SKIFABCDEFGHIJKLMNOP

By an access key a client outside acts as a role: the AWS CLI with the id as AWS_ACCESS_KEY_ID and
the secret as AWS_SECRET_ACCESS_KEY.";

/// `skiff role …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum RoleCommand {
    /// Create a role, or change what one allows
    Put(RolePutArgs),
    /// List roles
    #[command(after_help = "Examples:\n  skiff role ls\n  skiff role ls --output json")]
    Ls,
    /// Show a role: what it allows
    #[command(after_help = "Examples:\n  skiff role show thumbs\n  skiff role show thumbs --cedar")]
    Show {
        /// The role
        name: Name,
        /// Print all that it says as policies in Cedar
        #[arg(long)]
        cedar: bool,
    },
    /// Say whether a role may do something, by what, or why not
    Explain(RoleExplainArgs),
    /// Remove roles that no task definition and no access key names
    #[command(after_help = "Examples:\n  skiff role rm thumbs")]
    Rm {
        /// The roles
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff role put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff role put thumbs --allow 'bucket:read uploads/*' --allow 'table:write thumbnails'
  skiff role put thumbs --add 'queue:send done'        one more, with what it allows already
  skiff role put admin --allow '* *'
  skiff role put auditor --policy auditor.cedar

A grant is ACTION RESOURCE. Actions are bucket:read (with listing), bucket:write, bucket:delete,
bucket:manage (make and remove buckets), table:read, table:write, queue:send, queue:receive, bus:put
and secret:read; bucket:* stands for all of a kind, * for all there are. The resource is one of

  uploads         the bucket (table, queue, bus, secret) of this name and everything in it
  uploads/a.png   the object or item of this key
  uploads/img/*   those whose keys begin so, and listings of what begins so

where * stands for any characters, slashes too, anywhere; \\* is a star and \\\\ a backslash. Keys are
compared byte for byte.

What is said in Cedar allows more, or forbids. The principal is the role, actions are like
Skiff::Action::\"bucket:read\". Resources are Skiff::Bucket, Table, Queue, Bus and Secret, all with a
name; Skiff::Object in a bucket and Skiff::Item in a table, with name and key; and Skiff::Listing
in either, with name and prefix:

  forbid (principal, action, resource is Skiff::Object in Skiff::Bucket::\"uploads\")
  when { resource.key like \"*/secret/*\" };")]
pub struct RolePutArgs {
    /// Its name in its namespace
    pub name: Name,
    /// What it is to allow, in place of all that it allows now; may be given many times
    #[arg(long, value_name = "GRANT")]
    pub allow: Vec<Grant>,
    /// A file of policies in Cedar besides, in place of those that it has now
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Drop the policies in Cedar that it has now; without this, a role that has some is left as it is where --policy gives none
    #[arg(long)]
    pub replace: bool,
    /// What it is to allow besides what it says already; may be given many times
    #[arg(long, value_name = "GRANT", conflicts_with_all = ["allow", "policy", "replace"])]
    pub add: Vec<Grant>,
}

/// `skiff role explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff role explain thumbs bucket:read uploads/cat.png
  skiff role explain thumbs queue:send orders
  skiff role explain thumbs bucket:read uploads/2026/ --list    may it list what begins so?

The exit code is 0 if it may, and 1 if not.")]
pub struct RoleExplainArgs {
    /// The role
    pub name: Name,
    /// What is to be done
    pub action: AccessAction,
    /// To what: NAME, or NAME/KEY as it is, without wildcards
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
    /// Ask about listing what begins with the key
    #[arg(long)]
    pub list: bool,
}

/// `skiff key …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum KeyCommand {
    /// Make an access key, and print its secret once
    #[command(
        after_help = "Examples:\n  skiff key create --role uploader\n  skiff key create --role uploader --output json"
    )]
    Create {
        /// As which role it acts
        #[arg(long, value_name = "NAME")]
        role: Name,
    },
    /// List access keys, without their secrets
    #[command(after_help = "Examples:\n  skiff key ls\n  skiff key ls --output json")]
    Ls,
    /// Remove access keys; what they sign from then on is refused
    #[command(after_help = "Examples:\n  skiff key rm SKIFABCDEFGHIJKLMNOP")]
    Rm {
        /// The keys' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<AccessKeyId>,
    },
}
