//! `skiff listener …`, `skiff rule …` and `skiff target-group …`: where the load balancer takes connections, what becomes
//! of each request, and who answers.

use super::{EventRulePutArgs, HealthCheckArgs};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Subcommand};
use skiff_api::{NameReference, WeightedGroup};
use skiff_types::{
    Algorithm, BUILT_IN_LISTENER, Condition, FixedResponse, Limit, ListenerProtocol, Name, Outside, Priority,
    Redirect, RedirectStatus, Span, TargetProtocol, VirtualAddress,
};
use std::net::IpAddr;

/// What listeners are, below the help of `skiff listener`.
pub(super) const LISTENER_HELP: &str = "\
Examples:
  skiff listener ls
  skiff listener create admin --port 9000 --no-services    only what its rules take, else 404
  skiff listener create db --port 6379 --protocol tcp --forward cache
  skiff listener create web --port 8443 --protocol https --certificate web
  skiff listener create api --port 9000 --internal    for tasks alone, as api.listener.internal
  skiff listener create http --redirect https://example.org    what the built-in one does at last
  skiff listener create http --client-limit rate=100,burst=200    of each client address
  skiff listener rm admin

A request at a listener goes to the first of its rules that takes it (`skiff rule --help`), else
to the service that has its host and path, else its default action says what becomes of it. The
listener `http` is there from the start, on the port of `skiff up --http`.";

/// How conditions and actions are written, below the help of `skiff rule`.
pub(super) const RULE_HELP: &str = "\
Examples:
  skiff rule create api --priority 10 --if \"path=/api/*\" --forward api
  skiff rule create canary --priority 20 --if host=shop.localhost --forward shop=95,shop-two=5
  skiff rule create stay --priority 21 --if path=/cart --forward shop=95,shop-two=5 --stickiness 1h
  skiff rule create search --priority 25 --if \"path=/search*\" --forward web --limit rate=50
  skiff rule create beta --priority 5 --if header:x-beta=yes --if method=GET,HEAD --forward beta
  skiff rule create moved --priority 30 --if \"path=/old/*\" --redirect \"/new/#{path}\"
  skiff rule create closed --priority 1 --if source=192.0.2.0/24 --respond 403
  skiff rule explain GET http://shop.localhost/api/items -H \"x-beta: yes\"

A rule takes a request that meets all its conditions. One holds if one of its values does:
  host=api.example.com,*.example.org    the host, without its port
  path=/api/*                           the path, without the query; case counts
  header:NAME=blue                      a header's value
  method=GET,HEAD                       the method; case counts, and there are no wildcards
  query:KEY=2, query=beta               a parameter of the query string, or any parameter's value
  source=192.0.2.0/24                   the address that the connection came from
In a value, * stands for any characters or none, ? for one, \\ before what is meant literally; a
comma is written \\,. The rule of the lowest priority is asked first. Target groups are those of
`skiff target-group`; each service is one of its own name.

The rules of buses, which take events, are other ones: `skiff rule put --help` makes them, and ls,
show and rm are of them where --bus is given.";

/// What target groups are, below the help of `skiff target-group`.
pub(super) const TARGET_GROUP_HELP: &str = "\
Examples:
  skiff target-group ls
  skiff target-group create legacy --outside 192.0.2.7:8080,192.0.2.8:8080
  skiff target-group create legacy --outside 192.0.2.7:8080 --health-check /ready --slow-start 30s
  skiff target-group targets legacy
  skiff target-group create shop --service shop --algorithm round-robin --stickiness 1h
  skiff rule create legacy --priority 10 --if \"path=/old/*\" --forward legacy

Each service is a target group of its own name without more: one is made for what is not a
service, or to say how a service's tasks are chosen, checked, begun with and left.";

/// `skiff listener …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum ListenerCommand {
    /// Make a listener, or change one
    Create(Box<ListenerCreateArgs>),
    /// List listeners
    #[command(after_help = "Examples:\n  skiff listener ls\n  skiff listener ls --output json")]
    Ls,
    /// Show a listener
    #[command(after_help = "Examples:\n  skiff listener show http")]
    Show {
        /// The listener
        name: Name,
    },
    /// Remove listeners that have no rules; of the built-in one, what was changed
    #[command(after_help = "Examples:\n  skiff listener rm admin\n  skiff listener rm http")]
    Rm {
        /// The listeners
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff listener create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff listener create web --port 8090                    services answer there as well
  skiff listener create admin --port 9000 --no-services    only what its rules take, else 404
  skiff listener create db --port 6379 --protocol tcp --forward cache
  skiff listener create secure --port 8443 --protocol https --certificate web,other
  skiff listener create api --port 9000 --internal --forward api
  skiff listener create http --respond 503 --body \"closed for today\"

One that is there keeps what is not given. --forward, --redirect or --respond is its default
action: what becomes of a request that neither a rule nor a service takes; of a new one it is
--respond 404. One of TCP has no rules: it needs --forward, to a service with a port or to a
target group of addresses. A client over its --client-limit is answered with 429 and
Retry-After; at a listener of TCP it is its connections that count, and one more is reset. One
of https needs --certificate (`skiff cert --help`). An --internal one takes no port of this
machine: tasks reach it as NAME.listener.internal, if their security groups lead to the platform,
as they do unless it was taken away. The built-in listener `http` stays on the port that
`skiff up` has.")]
pub struct ListenerCreateArgs {
    /// Its name on the platform
    pub name: Name,
    /// The port; a new listener needs one
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// What is spoken there: http, https or tcp [default, of a new one: http]
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<ListenerProtocol>,
    /// Tasks alone reach it, by the virtual network
    #[arg(long, conflicts_with = "public")]
    pub internal: bool,
    /// Whoever reaches this machine's port, as on a new one
    #[arg(long)]
    pub public: bool,
    /// Of https: its certificates, of which a client gets the one for the name that it asks for, else the first
    #[arg(long = "certificate", value_name = "NAME,...", value_delimiter = ',')]
    pub certificates: Vec<Name>,
    /// The hosts and paths that services name lead to them here too, as they do on a new one
    #[arg(long, conflicts_with = "no_services")]
    pub services: bool,
    /// They do not: only rules and the default action count
    #[arg(long)]
    pub no_services: bool,
    /// How many requests each client address may send here, like rate=100,burst=200,concurrent=20: requests a second, at
    /// once after a quiet time, and under way at the same time
    #[arg(long, value_name = "LIMIT", conflicts_with = "no_client_limit")]
    pub client_limit: Option<Limit>,
    /// Any number, as on a new one
    #[arg(long)]
    pub no_client_limit: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub action: ActionArgs,
}

/// What becomes of a request: one action at most, and more about it.
#[derive(Debug, Clone, Default, Args)]
pub struct ActionArgs {
    /// Forward to this target group or service, here or NAMESPACE/NAME; or to several, each as often as its weight from 0
    /// to 999 says [default weight: 1]
    #[arg(
        long,
        value_name = "GROUP[=WEIGHT],...",
        value_delimiter = ',',
        conflicts_with_all = ["redirect", "respond"]
    )]
    pub forward: Vec<WeightedGroup>,
    /// How long a client stays with the target group that it came to first, by a cookie: 1s to 7d [default: not at all]
    #[arg(
        long,
        value_name = "TIME",
        requires = "forward",
        conflicts_with_all = ["redirect", "respond"]
    )]
    pub stickiness: Option<Span>,
    /// Tell the client to go there instead, like `https://#{host}:443/#{path}?#{query}`; what is left out stays as
    /// the request has it
    #[arg(long, value_name = "TO", conflicts_with = "respond")]
    pub redirect: Option<Redirect>,
    /// The status of the redirection: 301 or 302 [default: 301]
    #[arg(
        long,
        value_name = "CODE",
        value_parser = redirect_status,
        requires = "redirect",
        conflicts_with_all = ["forward", "respond"]
    )]
    pub status: Option<RedirectStatus>,
    /// Answer with this status: 2xx, 4xx or 5xx
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub respond: Option<u16>,
    /// The body of that answer: 1024 bytes at most [default: none]
    #[arg(long, value_name = "TEXT", requires = "respond", conflicts_with_all = ["forward", "redirect"])]
    pub body: Option<String>,
    /// What that body is [default: text/plain]
    #[arg(
        long,
        value_name = "TYPE",
        value_parser = PossibleValuesParser::new(FixedResponse::CONTENT_TYPES),
        requires = "respond",
        conflicts_with_all = ["forward", "redirect"]
    )]
    pub content_type: Option<String>,
}

/// `skiff rule …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum RuleCommand {
    /// Make a rule of a listener, or change one
    Create(RuleCreateArgs),
    /// Make a rule of a bus, or change one
    Put(EventRulePutArgs),
    /// List the rules of listeners in the order in which they are asked, or those of a bus
    Ls(RuleListArgs),
    /// Show a rule of a listener, or of a bus
    #[command(after_help = "Examples:\n  skiff rule show api\n  skiff rule show placed --bus shop")]
    Show {
        /// The rule
        name: Name,
        /// It is one of this bus, and not of a listener
        #[arg(long, value_name = "NAME")]
        bus: Option<Name>,
    },
    /// Remove rules of listeners, or of a bus
    #[command(
        after_help = "Examples:\n  skiff rule rm api\n  skiff rule rm api canary\n  skiff rule rm placed --bus shop"
    )]
    Rm {
        /// The rules
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
        /// They are of this bus, and not of listeners
        #[arg(long, value_name = "NAME")]
        bus: Option<Name>,
    },
    /// Say which rule of a listener takes a request, and why those before it do not
    Explain(RuleExplainArgs),
}

/// `skiff rule create`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("action").args(["forward", "redirect", "respond"]).required(true),
    after_help = "\
Examples:
  skiff rule create api --priority 10 --if \"path=/api/*\" --forward api
  skiff rule create canary --priority 20 --if host=shop.localhost --forward shop=95,shop-two=5
  skiff rule create secure --priority 30 --if host=example.org --redirect \"https://#{host}:443\"
  skiff rule create robots --priority 40 --if path=/robots.txt --respond 200 --body \"User-agent: *\"
  skiff rule create admin --listener admin --priority 1 --if \"path=*\" --forward ops/admin

How conditions are written, `skiff rule --help` says. One that is there becomes what is said here.
It holds for the next request; those on their way stay with what took them. TO of --redirect may
contain #{protocol}, #{host}, #{port}, #{path} (without its first /) and #{query} of the request."
)]
pub struct RuleCreateArgs {
    /// Its name in the namespace
    pub name: Name,
    /// The listener whose requests it is for
    #[arg(long, value_name = "NAME", default_value = BUILT_IN_LISTENER)]
    pub listener: Name,
    /// When it is asked: from 1, which is first, to 50000; each rule of a listener has its own
    #[arg(long, value_name = "N")]
    pub priority: Priority,
    /// What it asks of a request; may be given many times, and all have to hold
    #[arg(long = "if", value_name = "CONDITION", required = true)]
    pub conditions: Vec<Condition>,
    /// How many requests it takes of all clients together, like rate=100,burst=200,concurrent=20: requests a second, at
    /// once after a quiet time, and under way at the same time; what is more is answered with 429 [default: any number]
    #[arg(long, value_name = "LIMIT")]
    pub limit: Option<Limit>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub action: ActionArgs,
}

/// `skiff rule ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  skiff rule ls\n  skiff rule ls --listener admin\n  skiff rule ls --bus shop"
)]
pub struct RuleListArgs {
    /// Only those of this listener
    #[arg(long, value_name = "NAME", conflicts_with = "bus")]
    pub listener: Option<Name>,
    /// Those of this bus, and not of listeners
    #[arg(long, value_name = "NAME")]
    pub bus: Option<Name>,
}

/// `skiff rule explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff rule explain GET http://shop.localhost/api/items?version=2
  skiff rule explain POST /upload -H \"host: shop.localhost\" -H \"x-beta: yes\"
  skiff rule explain GET http://shop.localhost/ --listener admin --source 192.0.2.7

It prints each rule that is asked, of all namespaces, with the condition that does not hold, up to
the one that takes the request; else the service that has its host and path, or the listener's
default action. No request is made.")]
pub struct RuleExplainArgs {
    /// The request's method, like GET
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// What is asked for: a URL, or a path with `-H "host: …"`
    #[arg(value_name = "URL")]
    pub url: String,
    /// A header of the request; may be given many times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The listener that it comes to
    #[arg(long, value_name = "NAME", default_value = BUILT_IN_LISTENER)]
    pub listener: Name,
    /// The address that it comes from [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub source: Option<IpAddr>,
}

/// `skiff target-group …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum TargetGroupCommand {
    /// Make a target group, or change one
    Create(Box<TargetGroupCreateArgs>),
    /// List target groups
    #[command(after_help = "Examples:\n  skiff target-group ls\n  skiff target-group ls --output json")]
    Ls,
    /// Show a target group
    #[command(after_help = "Examples:\n  skiff target-group show legacy")]
    Show {
        /// The target group
        name: Name,
    },
    /// List the targets of a target group, or of a service, and how each of them is
    #[command(after_help = "\
Examples:
  skiff target-group targets legacy
  skiff target-group targets shop --output json

A target is initial until it was checked, then healthy or unhealthy; draining while it finishes what
it has; unused where nothing leads to its group; unavailable where nobody knows. The reason is one of
ELBv2's codes, or Skiff.Ejected: it failed, or was far slower than others, so it is left out for a
while. Where a group has no health check, a service's task is healthy unless that happened.")]
    Targets {
        /// The target group or service
        name: Name,
    },
    /// Remove target groups that no rule and no listener names
    #[command(after_help = "Examples:\n  skiff target-group rm legacy")]
    Rm {
        /// The target groups
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff target-group create`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("targets").args(["service", "outside", "address"]),
    after_help = "\
Examples:
  skiff target-group create legacy --outside 192.0.2.7:8080,192.0.2.8:8080
  skiff target-group create partner --outside api.example.com:80 --algorithm round-robin
  skiff target-group create secure --outside api.example.com:443 --tls --protocol http2
  skiff target-group create legacy --outside 192.0.2.7:8080 --health-check /ready --healthy 2
  skiff target-group create shop --service shop --stickiness 1h --slow-start 30s
  skiff target-group create shop --service shop --no-stickiness --limit rate=500,concurrent=100
  skiff target-group create one --address 10.64.0.16:8080    a task's address, see `skiff task ls`
  skiff target-group create legacy --slow-start 30s    of one that is there: its targets stay

A new one takes one of --service, --outside and --address. One that is there has these targets from
now on, and keeps what is not given; requests on their way stay with their target. How a service's tasks are checked, how they begin (--slow-start)
and how they leave (--deregistration-delay) is said by the group of the service's own name alone."
)]
pub struct TargetGroupCreateArgs {
    /// Its name in the namespace; that of a service to say more of its tasks
    pub name: Name,
    /// Its targets are the tasks of this service, here or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    pub service: Option<NameReference>,
    /// Its targets are these hosts outside, by address or by name
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub outside: Vec<Outside>,
    /// Its targets are whichever tasks have these addresses in the virtual network
    #[arg(long, value_name = "IP:PORT,...", value_delimiter = ',')]
    pub address: Vec<VirtualAddress>,
    /// How a target is chosen: round-robin, least-outstanding-requests or weighted-random [default, of a new one:
    /// least-outstanding-requests]
    #[arg(long, value_name = "ALGORITHM")]
    pub algorithm: Option<Algorithm>,
    /// What the targets speak: http1, http2, grpc or tcp; a task of kind `http` is called, whatever this says [default, of
    /// a new one: http1]
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<TargetProtocol>,
    /// Speak it inside TLS, with hosts outside
    #[arg(long, conflicts_with = "no_tls")]
    pub tls: bool,
    /// Speak it in clear, as with a new one
    #[arg(long)]
    pub no_tls: bool,
    /// How long a client stays with the target that it came to first, by a cookie: 1s to 7d
    #[arg(long, value_name = "TIME", conflicts_with = "no_stickiness")]
    pub stickiness: Option<Span>,
    /// Not at all, as with a new one
    #[arg(long)]
    pub no_stickiness: bool,
    /// How long a new target's share grows until it is whole: 1s to 1h; not with weighted-random
    #[arg(long, value_name = "TIME", conflicts_with = "no_slow_start")]
    pub slow_start: Option<Span>,
    /// Give a new target its whole share at once, as in a new one
    #[arg(long)]
    pub no_slow_start: bool,
    /// How long a target that leaves may take for what it has: 1h at most [default, of a new one: 5m; of a service's tasks,
    /// what their definition says]
    #[arg(long, value_name = "TIME", conflicts_with = "no_deregistration_delay")]
    pub deregistration_delay: Option<Span>,
    /// As long as with a new one
    #[arg(long)]
    pub no_deregistration_delay: bool,
    /// How many requests the targets are given together, like rate=100,burst=200,concurrent=20: requests a second, at once
    /// after a quiet time, and under way at the same time; what is more is answered with 429
    #[arg(long, value_name = "LIMIT", conflicts_with = "no_limit")]
    pub limit: Option<Limit>,
    /// Any number, as of a new one
    #[arg(long)]
    pub no_limit: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub health: HealthCheckArgs,
}

fn redirect_status(text: &str) -> Result<RedirectStatus, String> {
    let status = text.parse::<u16>().ok().and_then(|code| RedirectStatus::try_from(code).ok());
    status.ok_or_else(|| format!("{text:?} is not the status of a redirection: 301 or 302"))
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("{text:?} is not a header, like \"x-beta: yes\"")),
    }
}
