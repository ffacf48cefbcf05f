//! The commands that the binary carries out itself: `up`, and the hidden ones by which it starts its own processes.

use clap::{Args, ValueEnum};
use http::header::{HeaderName, HeaderValue};
use ipnet::{Ipv4Net, Ipv6Net};
use skiff_ports::spans::SampleShare;
use skiff_types::{AttributeName, AttributeValue, Digest, MemorySize, OvercommitFactor, ParseError, Span};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use url::Url;

/// `skiff up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  skiff up                                        on ports 8080 and 8081 of this machine
  skiff up --http 127.0.0.1:0 --api 127.0.0.1:0   on free ports, which it prints
  skiff up --data-dir /srv/skiff --workers 4      with its data there and four workers
  skiff up --network 172.20.0.0/16                with other addresses for its tasks
  skiff up --tls dev                              with https at port 8443, for development
  skiff up --otlp http://127.0.0.1:4318           with spans of requests for a collector there")]
pub struct UpArgs {
    /// Where the load balancer listens; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Where the API listens; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081", value_parser = listen_address)]
    pub api: ApiAddress,
    /// Where buckets are reached by S3, or off; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT|off", default_value = "127.0.0.1:8082")]
    pub s3: S3Address,
    /// Where the objects of buckets lie that have more than 16 KiB, as long as there are any: s3://BUCKET/PATH, gs://BUCKET/PATH or
    /// az://CONTAINER/PATH; smaller ones, and what is known of all, lie in buckets.db in the data folder either way [default: blobs,
    /// a folder of the data folder]
    #[arg(long, value_name = "URL")]
    pub blobs: Option<Url>,
    /// An option of --blobs, such as aws_region=eu-central-1; may be given many times. Keys stand better in the environment, as
    /// AWS_SECRET_ACCESS_KEY, than here, where everybody on the machine can read them
    #[arg(long = "blob-option", value_name = "NAME=VALUE", requires = "blobs", value_parser = blob_option)]
    pub blob_options: Vec<(String, String)>,
    /// Where everything is kept [default: skiff, in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How many worker processes [default: as many as the cores it may run on]
    #[arg(long, value_name = "N")]
    pub workers: Option<NonZeroU32>,
    /// Sandboxes at once, over all workers [default: as many as the machine has room for; it is printed at the start]
    #[arg(long, value_name = "N")]
    pub sandboxes: Option<NonZeroU32>,
    /// Connections at once, over all workers [default: 10000 each, or what the limit of open files allows]
    #[arg(long, value_name = "N")]
    pub connections: Option<NonZeroU32>,
    /// Native code that stays mapped, over all workers [default: an eighth of the machine's memory]
    #[arg(long, value_name = "SIZE")]
    pub native_code: Option<MemorySize>,
    /// How long requests in flight may go on once it is told to stop
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub drain_timeout: Span,
    /// Write a JSON object with http, api, s3, token_file, data_dir and pid to this file once ready
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Listen beyond this machine although there is no TLS
    #[arg(long)]
    pub insecure: bool,
    /// Serve https as well: dev makes a certificate for this machine, and a listener `https` if there is none
    #[arg(long, value_name = "dev")]
    pub tls: Option<Tls>,
    /// The port of the listener that --tls makes
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8443,
        requires = "tls",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub tls_port: u16,
    /// IPv4 addresses of the tasks' virtual network; kept since the first start [default: 10.64.0.0/10]
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub network: Option<Ipv4Net>,
    /// IPv6 addresses of the tasks' virtual network; kept since the first start [default: fd73:6b69:6666::/48]
    #[arg(long, value_name = "CIDR", value_parser = network6)]
    pub network6: Option<Ipv6Net>,
    /// How long the prefix of a node's part of --network is: 16 to 27; the longer, the more nodes there can be, and the fewer
    /// tasks on each. Kept since the first start [default: 16]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(16..=27))]
    pub node_prefix: Option<u8>,
    /// How many times of its CPU units the tasks on this machine can be defined with together; units are a ceiling and a
    /// weight, so with more the busy ones share
    #[arg(long, value_name = "FACTOR", default_value = "10000")]
    pub overcommit_cpu: OvercommitFactor,
    /// How many times of its memory the tasks on this machine can be defined with together; what they then really use has to
    /// fit
    #[arg(long, value_name = "FACTOR", default_value = "10000")]
    pub overcommit_memory: OvercommitFactor,
    /// What this machine is, for placement constraints and strategies, like zone=a; may be given many times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(AttributeName, AttributeValue)>,
    /// Whether each request is logged: on (to the data folder), off, or the path of a file
    #[arg(long, value_name = "on|off|PATH", default_value = "on")]
    pub access_log: AccessLog,
    /// How the access log's lines are written
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub access_log_format: AccessLogFormat,
    /// Send a span of each request to this collector of OpenTelemetry, by OTLP over HTTP; /v1/traces is appended
    #[arg(long, value_name = "URL", value_parser = collector)]
    pub otlp: Option<Url>,
    /// The share of the traces that begin here to record, from 0 to 1; one that a client continues is recorded if the client
    /// records it
    #[arg(long, value_name = "SHARE", default_value = "1", requires = "otlp")]
    pub otlp_sample: SampleShare,
    /// A header for the collector, such as a key; may be given many times
    #[arg(long = "otlp-header", value_name = "NAME=VALUE", requires = "otlp", value_parser = header)]
    pub otlp_headers: Vec<(HeaderName, HeaderValue)>,
}

/// Whose certificate https is served with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// One that is made for development at the start
    Dev,
}

/// Where the API is: where `skiff up` listens, or what a client calls.
///
/// One type for both, because `--api` is one argument to the parser: a global one that `up` gives a meaning of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddress(String);

impl ApiAddress {
    /// The address as a URL.
    pub fn url(&self) -> String {
        match self.0.contains("://") {
            true => self.0.clone(),
            false => format!("http://{}", self.0),
        }
    }

    /// The address to listen at, if it is one: `HOST:PORT` with the host's IP address.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.0.parse().ok()
    }
}

/// Where buckets are reached by S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Address {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl FromStr for S3Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|_| {
                format!("{text:?} is not an address to listen at, like 127.0.0.1:8082; or say off")
            }),
        }
    }
}

impl FromStr for ApiAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

fn listen_address(text: &str) -> Result<ApiAddress, String> {
    let address = ApiAddress(text.to_owned());
    let error = || format!("{text:?} is not an address to listen at, like 127.0.0.1:8081");
    address.socket().is_some().then_some(address).ok_or_else(error)
}

fn network(text: &str) -> Result<Ipv4Net, String> {
    text.parse().map_err(|_| format!("{text:?} is not a network of IPv4 addresses, like 10.64.0.0/10"))
}

fn network6(text: &str) -> Result<Ipv6Net, String> {
    text.parse().map_err(|_| format!("{text:?} is not a network of IPv6 addresses, like fd73:6b69:6666::/48"))
}

fn attribute(text: &str) -> Result<(AttributeName, AttributeValue), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not an attribute, like zone=a"))?;
    let name = name.parse().map_err(|error: ParseError| error.to_string())?;
    let value = value.parse().map_err(|error: ParseError| error.to_string())?;
    Ok((name, value))
}

fn collector(text: &str) -> Result<Url, String> {
    let error = || format!("{text:?} is not a collector's URL, like http://127.0.0.1:4318");
    let url = text.parse::<Url>().map_err(|_| error())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(error());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a collector's URL has no user in it; say who asks by --otlp-header".to_owned());
    }
    Ok(url)
}

fn blob_option(text: &str) -> Result<(String, String), String> {
    // The value is not repeated: it may be a key.
    let (name, value) = text.split_once('=').ok_or("it is not an option, like aws_region=eu-central-1")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    // The value is not repeated: it may be a key.
    let error = || "it is not a header, like x-api-key=secret".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(error)?;
    let name: HeaderName = name.trim().parse().map_err(|_| error())?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| error())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Where the load balancer logs requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Into the data folder.
    On,
    /// Nowhere.
    Off,
    /// Into this file.
    File(PathBuf),
}

impl FromStr for AccessLog {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "on" => Self::On,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

/// How a line of the access log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLogFormat {
    /// An object of JSON
    Json,
    /// The fields of an Application Load Balancer's log (ELB), in its form
    Elb,
}

/// `skiff worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// The process that started it; it ends with that one
    #[arg(long, value_name = "PID")]
    pub supervisor: u32,
}

/// `skiff compile`.
#[derive(Debug, Clone, Args)]
pub struct CompileArgs {
    /// The process that started it; it ends with that one
    #[arg(long, value_name = "PID")]
    pub supervisor: u32,
    /// The component to compile
    #[arg(long, value_name = "FILE")]
    pub component: PathBuf,
    /// Its SHA-256: nothing else is compiled
    #[arg(long, value_name = "DIGEST")]
    pub digest: Digest,
    /// Initialise it first, in the environment that standard input has as a JSON object
    #[arg(long)]
    pub snapshot: bool,
    /// Where to write the native code
    #[arg(id = "native", long = "native", value_name = "FILE")]
    pub output: PathBuf,
}
