//! `skiff apply` and `skiff export`: the platform's resources as documents.

use clap::Args;
use std::path::PathBuf;

/// `skiff apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff apply -f shop.yaml --dry-run     what would change
  skiff apply -f shop.yaml               and change it
  skiff apply -f base.toml -f shop/      several, and those of a folder, by their names
  skiff export | skiff apply -f -        from standard input; nothing is to be done then

A document is a list of resources, in TOML ([[resource]]), JSON or YAML:

  - kind: rule
    name: canary
    namespace: shop            # where not given: that of --namespace
    spec:
      priority: 20
      conditions: [\"host=shop.localhost\"]
      action: { forward: { groups: [{ group: web, weight: 95 }, { group: web-two, weight: 5 }] } }

A kind is security-group, certificate, role, bucket, table, queue, task-definition, alarm, service,
target-group, listener, rule, consumer or scaling, which has the name of the service that it is of.
The spec is the body of the resource's call of the API (see /openapi.json), but that a certificate
has certificate_file and private_key_file, relative to the document; one is exchanged when the
first certificate of its file is another. A task definition names an image that was pushed before.

Everything is validated first. Then the difference is shown, and made away with in an order in
which each resource finds what it names. Nothing is ever removed: what a document does not name
stays, and so does what a spec leaves out, but for alarms, buckets, consumers, queues, roles,
rules, scaling and task definitions, whose spec is all there is to them. What somebody else changes
meanwhile is not overwritten. After a failure, the same command goes on from there. In the end a
listener that nobody reaches, since another program has its port, is told of, with the exit code 1.")]
pub struct ApplyArgs {
    /// A document, a folder of documents, or - for standard input; may be given many times
    #[arg(long = "file", short, required = true, value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run, end with the exit code 3 if something would change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
}

/// What is exported, below the help of `skiff export`.
pub(super) const EXPORT_HELP: &str = "\
Examples:
  skiff export > all.yaml
  skiff export --namespace shop --output json

The security groups, roles, buckets, tables, queues, alarms, services with their scaling and their
consumers, target groups and rules of the namespace, and all listeners, as a document in YAML that
`skiff apply` takes. What buckets, tables and queues hold is not in it, nor are certificates and access keys, since
secrets never come out of the platform, nor task definitions, whose environment may be secret:
services name the revisions that they run.";
