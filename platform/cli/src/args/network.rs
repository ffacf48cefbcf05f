//! `skiff sg …`, `skiff net …` and `skiff forward`: who may be connected with whom, who was, and a way past all that.

use clap::{Args, Subcommand};
use skiff_types::{Name, Rule, Span};
use std::str::FromStr;

/// How rules are written, below the help of `skiff sg`.
pub(super) const SG_HELP: &str = "\
Examples:
  skiff sg ls
  skiff sg create cache
  skiff sg allow cache tcp:6379 from web             its tasks may be reached by those of `web`
  skiff sg allow web tcp:6379 to cache               and these may reach them
  skiff sg allow web tcp:443 to \"*.example.com\"      hosts outside by name, one label for the star

A rule says WHAT from WHOM (ingress) or WHAT to WHOM (egress):
  WHAT   all, tcp or udp; and a port or a range of them, like tcp:8000-8100, if not all are meant
  WHOM   a group, like web, or shop/web of another namespace; self, the group itself
         load-balancer (only from), platform (only to)
         a network or an address outside, like 10.0.3.0/24 or 2001:db8::7
         a host outside (only to), like api.example.com or \"*.example.com\"
Rules only allow, and what none allows is denied; what answers an allowed connection needs none. A
task is in the groups that its service names (`skiff deploy --security-group`), else those of its
task definition, else in `default`, which every namespace has.";

/// `skiff sg …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum SecurityGroupCommand {
    /// Make a security group
    Create(SecurityGroupCreateArgs),
    /// List security groups
    #[command(after_help = "Examples:\n  skiff sg ls\n  skiff sg ls --output json")]
    Ls,
    /// Show what a security group allows
    #[command(after_help = "Examples:\n  skiff sg show web\n  skiff sg show default")]
    Show {
        /// The group
        name: Name,
    },
    /// Add a rule; it holds for the next connection
    #[command(after_help = "\
Examples:
  skiff sg allow cache tcp:6379 from web             tasks of the group `web`
  skiff sg allow web tcp:6379 to cache               the other side of it
  skiff sg allow web tcp:443 to \"*.example.com\"      hosts outside by name, one label for the star
  skiff sg allow web tcp:5432 to 10.0.3.7            an address outside
  skiff sg allow cache all from shop/web             tasks of a group of another namespace

What a rule looks like, `skiff sg --help` says. A connection between two tasks takes a rule on
both sides: egress of one, ingress of the other. `skiff net explain` says which is missing.")]
    Allow(RuleArgs),
    /// Take a rule away; connections that no other rule allows are cut
    #[command(after_help = "Examples:\n  skiff sg revoke cache tcp:6379 from web")]
    Revoke(RuleArgs),
    /// Remove security groups that nothing uses
    #[command(after_help = "Examples:\n  skiff sg rm web\n  skiff sg rm web cache")]
    Rm {
        /// The groups
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff sg create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff sg create web
  skiff sg create cache --rule \"tcp:6379 from web\" --rule \"all to platform\"
  skiff sg create closed --no-rules

Without --rule it allows what the group `default` does at first: the load balancer and the group
itself may reach it, and it may reach itself and the platform. What a rule looks like, `skiff sg
--help` says. One that is there stays as it is; with --rule or --no-rules, that is an error.")]
pub struct SecurityGroupCreateArgs {
    /// Its name
    pub name: Name,
    /// All that it allows; may be given many times
    #[arg(long = "rule", value_name = "RULE")]
    pub rules: Vec<Rule>,
    /// It allows nothing
    #[arg(long, conflicts_with = "rules")]
    pub no_rules: bool,
}

/// A group and a rule.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// The group
    pub name: Name,
    /// The rule, like tcp:6379 from web; in quotes or without
    #[arg(required = true, value_name = "RULE")]
    pub rule: Vec<String>,
}

/// `skiff net …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum NetworkCommand {
    /// Say which rules allow a connection, or which one is missing
    Explain(ExplainArgs),
    /// Print the flow log: who was connected with whom, and who was kept from it
    Flows(FlowsArgs),
}

/// `skiff net explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff net explain web cache:6379                  from a service to another one
  skiff net explain load-balancer web:8080          from the load balancer
  skiff net explain 5e8f01b2 api.example.com:443    from one task to a host outside
  skiff net explain web [2001:db8::7]:53 --udp      to an address outside
  skiff net explain web shop/cache:6379             to a service of another namespace
  skiff net explain web api.listener.internal:9000  to an internal listener

It prints every rule that was looked at: of FROM's groups those to somebody, as tcp:6379 to cache,
and of TO's groups those from somebody, as tcp:6379 from web; and where none allows it, the
command that adds the one that would. What a rule looks like, `skiff sg --help` says.")]
pub struct ExplainArgs {
    /// Who connects: a service, a one-off task's family, a task's id or the last digits of it, or load-balancer
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Who is connected to, as for FROM or an address or a host outside; and the port
    #[arg(value_name = "TO:PORT")]
    pub to: HostPort,
    /// By UDP instead of TCP
    #[arg(long)]
    pub udp: bool,
}

/// `skiff net flows`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff net flows -f                      follow all of the namespace
  skiff net flows web --since 5m          the last five minutes of a service
  skiff net flows --rejected --tail 20    what was denied last
  skiff net flows --task 5e8f01b2 -f      follow one task

A flow is written down at its end, and every minute while it goes on; what is denied again and
again, once a minute.")]
pub struct FlowsArgs {
    /// Only those of a service, or of a one-off task's family
    #[arg(value_name = "NAME")]
    pub owner: Option<Name>,
    /// Only those of this task: its id, or the last digits of it
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Only what was denied
    #[arg(long)]
    pub rejected: bool,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only those of the last so long, like 5m
    #[arg(long, value_name = "TIME")]
    pub since: Option<Span>,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
}

/// `skiff forward`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff forward cache                  the port of its definition, under the same number here
  skiff forward cache 6380:6379        from 127.0.0.1:6380 to port 6379 of one of its tasks
  skiff forward 5e8f01b2 0:8080        to one task, from any port that is free here

It passes on connections until it is ended by Ctrl-C, each to a task that is ready then. Security
groups are not asked: it is your own way in.")]
pub struct ForwardArgs {
    /// A service, or a task by its id or the last digits of it
    #[arg(value_name = "TASK|SERVICE")]
    pub to: String,
    /// The port here and the port there; 0 here for any that is free [default: the definition's port]
    #[arg(value_name = "[LOCAL:]REMOTE")]
    pub ports: Option<ForwardPorts>,
}

/// A port here, and a port there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardPorts {
    /// Where to listen: 0 for any port that is free, `None` for the same number as there.
    pub local: Option<u16>,
    /// To which port of the task; `None` for that of its definition.
    pub remote: Option<u16>,
}

impl FromStr for ForwardPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || format!("{text:?} is no port there, or one here and one there, like 6379 or 6380:6379");
        let port = |text: &str| text.parse::<u16>().map_err(|_| error());
        let (local, remote) = match text.split_once(':') {
            Some((local, "")) => (Some(port(local)?), None),
            Some((local, remote)) => (Some(port(local)?), Some(port(remote)?)),
            None => (None, Some(port(text)?)),
        };
        if remote == Some(0) { Err(error()) } else { Ok(Self { local, remote }) }
    }
}

/// Somebody, and a port there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Who; an IPv6 address without its brackets.
    pub host: String,
    /// Which port.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || format!("{text:?} is not somebody and a port there, like cache:6379 or [2001:db8::7]:53");
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = in_brackets.unwrap_or(host);
        if host.is_empty() || (in_brackets.is_none() && host.contains(':')) {
            return Err(error());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| error())? })
    }
}
