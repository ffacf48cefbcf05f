//! `skiff up`: wires the supervisor, says where everything is, and ends it in order.
//!
//! The way up: data folder, sockets, store, engines, images, node, control. The way down: workers first, so that no request is
//! cut; then the API and the export of spans; then the engines and the store.

use crate::data_dir::DataDir;
use crate::engines::Engines;
use crate::machine;
use crate::meters::NodeMeters;
use crate::nodes;
use crate::otlp::Export;
use crate::secrets::Secrets;
use crate::tls::{self, Https};
use crate::webhook::HttpWebhooks;
use anyhow::{Context, bail};
use rustix::net::sockopt;
use skiff_cli::connection::ConnectionFile;
use skiff_cli::{AccessLog, AccessLogFormat, S3Address, Tls, UpArgs};
use skiff_control::{AskedNetwork, Handle};
use skiff_kit::clock::{self, SystemClock};
use skiff_kit::random::PooledRandom;
use skiff_node::wire::{self, WorkerRoom};
use skiff_node::{FlowLog, LogFiles, Node};
use skiff_plan::capacity::{Asked, Capacity, capacity};
use skiff_ports::images::Images;
use skiff_ports::network::NetworkSetup;
use skiff_ports::nodes::FixedNodes;
use skiff_registry::LocalImages;
use skiff_sandbox::cache::NativeCache;
use skiff_store::{SqliteJournal, SqliteSeries, SqliteStore, SqliteUsage};
use skiff_types::{MemorySize, NetworkSpec};
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Threads of the supervisor that run its tasks.
const SUPERVISOR_THREADS: usize = 2;
/// The most threads that wait for the disk and for child processes.
const SUPERVISOR_BLOCKING_THREADS_MAX: usize = 64;
/// Connections that may wait to be accepted; the kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: i32 = 4_096;
/// A connection of the API in which nothing passes for so long is asked whether its client is there,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// and again after so long,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// so many times in all, before it counts as gone.
const KEEPALIVE_PROBES: u32 = 4;
/// How long the API's calls may go on once the workers have ended.
const API_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the platform until it is told to stop.
pub(crate) fn run(args: UpArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SUPERVISOR_THREADS)
        .max_blocking_threads(SUPERVISOR_BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("the supervisor's event loop can't be started")?;
    let result = runtime.block_on(serve(args, started));
    runtime.shutdown_background();
    result
}

/// The parts of a running platform.
struct Platform {
    node: Node,
    control: Handle,
    store: Arc<SqliteStore>,
    engines: Engines,
    connection: ConnectionFile,
    network: NetworkSpec,
    workers: usize,
    capacity: Capacity,
    https: Option<Https>,
    export: Option<Export>,
    _data: DataDir,
}

async fn serve(args: UpArgs, started: Instant) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let platform = tokio::select! {
        platform = Platform::start(&args, started) => platform?,
        () = stop.asked() => return Ok(()),
    };
    platform.announce(&args, started)?;
    stop.asked().await;
    eprintln!("stopping: finishing what is in flight, within {}", args.drain_timeout);
    tokio::select! {
        () = platform.stop(args.drain_timeout.duration()) => Ok(()),
        () = stop.asked() => bail!("told to stop twice: ended without waiting for what was in flight"),
    }
}

impl Platform {
    async fn start(args: &UpArgs, started: Instant) -> anyhow::Result<Self> {
        let machine = machine::read();
        machine::raise_descriptor_limit();
        let data = match &args.data_dir {
            Some(path) => DataDir::open(path)?,
            None => DataDir::open(&DataDir::default_path()?)?,
        };
        let secrets = Secrets::of(&data)?;
        let api = args.api.socket().context("--api is not an address to listen at")?;
        let (http, api) = (bind("http", args.http, args.insecure)?, bind("api", api, args.insecure)?);
        let s3 = match args.s3 {
            S3Address::Off => None,
            S3Address::At(address) => Some(bind("s3", address, args.insecure)?),
        };
        keep_alive(&api).context("the API's socket can't be set up")?;
        let (http_address, api_address) = (http.local_addr()?, api.local_addr()?);
        let s3_address = s3.as_ref().map(TcpListener::local_addr).transpose()?;

        let folder = |name: &str| -> anyhow::Result<PathBuf> {
            let path = data.path().join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("{} can't be made", path.display()))?;
            Ok(path)
        };
        let store = Arc::new(SqliteStore::open(&data.path().join("state.db"))?);
        let usage = Arc::new(
            SqliteUsage::open(&data.path().join("usage.db")).context("the usage log can't be used")?,
        );
        let series = Arc::new(
            SqliteSeries::open(&data.path().join("metrics.db"))
                .context("the series of metrics can't be used")?,
        );
        let journal = Arc::new(
            SqliteJournal::open(&data.path().join("events.db"))
                .context("the journal of events can't be used")?,
        );
        let engines = Engines::open(args, data.path())?;
        let host_addresses = skiff_kit::host_addresses().context("the host's addresses can't be read")?;
        let spec = network(args, &store, &host_addresses).await?;
        let this = nodes::this_node(args, cores()?, machine.memory_bytes)?;
        let node_index = skiff_control::establish_node(&*store, &this.id, clock::unix_ms()).await?;
        let own_doors = [http_address, api_address].into_iter().chain(s3_address).collect();
        let network = NetworkSetup { spec, node_index, own_doors };
        let images: Arc<dyn Images> = Arc::new(LocalImages::open(&folder("images")?)?);
        let logs_dir = folder("logs")?;
        let logs = LogFiles::open(&logs_dir).context("the folder of the logs can't be used")?;
        let flows = FlowLog::open(&logs_dir.join("flows.log")).context("the flow log can't be used")?;
        let cache_dir = folder("cache")?;
        let cache = NativeCache::open(
            cache_dir.join("native"),
            secrets.cache_key,
            skiff_sandbox::engine::compatibility()?,
        )
        .context("the folder of the native code can't be used")?;
        let workers = worker_count(args.workers)?;
        let asked = Asked {
            sandboxes: args.sandboxes.map(|count| count.get().into()),
            connections: args.connections.map(|count| count.get().into()),
            code_bytes: args.native_code.map(MemorySize::bytes),
        };
        let capacity = capacity(&machine, &skiff_sandbox::engine::sandbox_cost(), workers as u64, &asked)?;
        let config = skiff_node::Config {
            workers,
            room: room(&capacity),
            compilers: cores()?,
            cache_dir,
            access_log: access_log(args, &logs_dir)?,
            network: network.clone(),
            listen: http_address.ip(),
            cookie_key: secrets.cookie_key,
            spans: args.otlp.as_ref().map(|_| args.otlp_sample),
        };
        let node = Node::start(config, http, Arc::new(cache), images.clone(), logs.clone(), flows)?;
        let export = Export::start(args, node.spans())?;
        let control = skiff_control::start(
            skiff_control::Config {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                http: http_address,
                data_dir: data.path().to_owned(),
                token: secrets.token,
                network,
                host_addresses,
            },
            skiff_control::Deps {
                store: store.clone(),
                images,
                runtime: Arc::new(node.clone()),
                logs: Arc::new(logs),
                flows: Arc::new(node.clone()),
                usage,
                journal,
                series,
                nodes: Arc::new(FixedNodes::new(vec![this])),
                webhooks: Arc::new(HttpWebhooks::new()),
                buckets: engines.buckets.clone(),
                tables: Arc::new(engines.tables.clone()),
                queues: engines.queues.clone(),
                buses: Arc::new(engines.buses.clone()),
                meters: Arc::new(NodeMeters { node: node.clone(), s3: engines.s3.clone(), started }),
                clock: Arc::new(SystemClock),
                random: Arc::new(PooledRandom),
            },
            tokio::net::TcpListener::from_std(api)?,
        )
        .await?;
        // Tasks of before may run already; what they ask waits until now.
        node.answer_guests_with(control.guest_calls());
        tokio::spawn(keep_host_addresses(control.clone()));
        control.ready().await;
        engines.serve(&control, s3)?;
        let https = match args.tls {
            Some(Tls::Dev) => Some(tls::provide(&control, data.path(), args.tls_port).await?),
            None => None,
        };
        let connection = ConnectionFile {
            http: http_address.to_string(),
            api: api_address.to_string(),
            s3: s3_address.map(|address| address.to_string()),
            token_file: secrets.token_file,
            data_dir: data.path().to_owned(),
            pid: std::process::id(),
        };
        let network = spec;
        Ok(Self {
            node,
            control,
            store,
            engines,
            connection,
            network,
            workers,
            capacity,
            https,
            export,
            _data: data,
        })
    }

    /// Says where everything is: on standard output, in the user's configuration folder, in the ready file.
    fn announce(&self, args: &UpArgs, started: Instant) -> anyhow::Result<()> {
        let ConnectionFile { http, api, s3, token_file, data_dir, pid } = &self.connection;
        let left = ConnectionFile::path().and_then(|path| self.connection.write(&path).map(|()| path));
        let found_by = match &left {
            Ok(path) => format!("finds it by {}", path.display()),
            Err(error) => format!("needs SKIFF_API and SKIFF_TOKEN ({error})"),
        };
        let workers = self.workers as u64;
        let mut out = std::io::stdout().lock();
        // Whoever started it may not listen; that is no reason to end.
        let _ = writeln!(
            out,
            "skiff {} is up after {} ms (process {pid}, {} workers)\n\
             \x20 load balancer  http://{http}\n\
             \x20 control API    http://{api}  (token in {})\n\
             \x20 data           {}\n\
             \x20 tasks' network {} and {}\n\
             \x20 the CLI        {found_by}\n\
             \x20 room for       {} sandboxes (limited by {}), {} connections (by {}),\n\
             \x20                {} sockets out of the workers (by {}),\n\
             \x20                native code of {} components (by {}) and {} (by {})",
            env!("CARGO_PKG_VERSION"),
            started.elapsed().as_millis(),
            self.workers,
            token_file.display(),
            data_dir.display(),
            self.network.ipv4,
            self.network.ipv6,
            self.capacity.sandboxes.0 * workers,
            self.capacity.sandboxes.1,
            self.capacity.connections.0 * workers,
            self.capacity.connections.1,
            self.capacity.sockets.0.saturating_mul(workers),
            self.capacity.sockets.1,
            self.capacity.components.0 * workers,
            self.capacity.components.1,
            MemorySize::from_mib((self.capacity.code_bytes.0 * workers) >> 20),
            self.capacity.code_bytes.1,
        );
        if let Some(s3) = s3 {
            let _ = writeln!(out, "\x20 buckets by S3  http://{s3}  (with a key of `skiff key create`)");
        }
        if let Some(https) = &self.https {
            let _ = writeln!(out, "\x20 {https}");
        }
        if std::io::stdout().is_terminal() {
            let _ = writeln!(out, "\nDeploy with `skiff deploy`; stop with Ctrl-C.");
        }
        if let Some(path) = &args.ready_file {
            self.connection.write(path).context("the ready file can't be written")?;
        }
        Ok(())
    }

    async fn stop(self, timeout: Duration) {
        self.control.wind_down();
        if !self.node.shutdown(timeout).await {
            tracing::warn!("not all that was in flight ended within the drain timeout; it was cut off");
        }
        let export = self.export;
        let exported = async {
            if let Some(export) = export {
                export.finish().await;
            }
        };
        tokio::join!(self.control.shutdown(API_DRAIN_TIMEOUT), exported);
        self.engines.stop().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store could not be closed in order; nothing that was acknowledged is lost");
        }
        if let Ok(path) = ConnectionFile::path() {
            let _ = ConnectionFile::remove_if_mine(&path, self.connection.pid);
        }
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be received");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Binds a listening socket; beyond loopback only if told so.
fn bind(option: &str, address: SocketAddr, insecure: bool) -> anyhow::Result<TcpListener> {
    let secret = match option {
        "api" => Some("the token"),
        "s3" => Some("objects"),
        _ => None,
    };
    if let Some(secret) = secret.filter(|_| !address.ip().is_loopback() && !insecure) {
        bail!(
            "--{option} {address} would send {secret} over the network in clear text; listen on 127.0.0.1 behind a TLS \
             proxy, or say --insecure if that is what you want"
        );
    }
    let listener = TcpListener::bind(address)
        .with_context(|| format!("can't listen on {address}; choose another address with --{option}"))?;
    // The standard library lets 128 connections wait to be accepted; of a larger burst the rest would come a second late.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Has the kernel find out about clients that are gone without a word: some connections wait for their client for as long
/// as it lives. What is accepted takes it over from the listening socket (socket(7), tcp(7)).
fn keep_alive(listener: &TcpListener) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listener, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listener, KEEPALIVE_PROBES)?;
    Ok(())
}

/// What the virtual network spans: what was chosen at the first start.
async fn network(
    args: &UpArgs,
    store: &SqliteStore,
    host_addresses: &[IpAddr],
) -> anyhow::Result<NetworkSpec> {
    let asked = AskedNetwork { ipv4: args.network, ipv6: args.network6, node_prefix: args.node_prefix };
    Ok(skiff_control::establish_network(store, &asked, host_addresses, clock::unix_ms()).await?)
}

/// Tells the control plane again and again which addresses the host has, for as long as the process lives. Workers read
/// them for themselves. Where they can't be read, those of before stay.
async fn keep_host_addresses(control: Handle) {
    loop {
        match skiff_kit::host_addresses_later().await {
            Ok(addresses) => control.set_host_addresses(&addresses),
            Err(error) => tracing::warn!(%error, "the host's addresses can't be read again"),
        }
    }
}

/// What each worker is told of what it has room for.
fn room(capacity: &Capacity) -> WorkerRoom {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    WorkerRoom {
        sandboxes_max: count(capacity.sandboxes.0),
        connections_max: count(capacity.connections.0),
        sockets_max: count(capacity.sockets.0),
        components_max: count(capacity.components.0),
        code_bytes_max: capacity.code_bytes.0,
    }
}

fn access_log(args: &UpArgs, logs: &Path) -> anyhow::Result<Option<wire::AccessLog>> {
    let path = match &args.access_log {
        AccessLog::Off => return Ok(None),
        AccessLog::On => logs.join("access.log"),
        AccessLog::File(path) => std::path::absolute(path)?,
    };
    let format = match args.access_log_format {
        AccessLogFormat::Json => wire::AccessLogFormat::Json,
        AccessLogFormat::Elb => wire::AccessLogFormat::Elb,
    };
    Ok(Some(wire::AccessLog { path, format }))
}

fn worker_count(wanted: Option<NonZeroU32>) -> anyhow::Result<usize> {
    let most = skiff_ledger::WORKERS_MAX;
    match wanted {
        Some(count) if count.get() as usize > most => bail!("--workers {count}: the most is {most}"),
        Some(count) => Ok(count.get() as usize),
        None => Ok(cores()?.min(most)),
    }
}

/// The cores that this process may run on.
fn cores() -> anyhow::Result<usize> {
    Ok(std::thread::available_parallelism().context("the number of cores can't be read")?.get())
}
