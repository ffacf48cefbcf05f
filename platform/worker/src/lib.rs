//! The worker process: one thread that holds the load balancer, the sandboxes and the virtual network of its share of the
//! node's requests.
//!
//! It wires; what the parts do is theirs. It holds no store, and no keys but those that TLS takes, of the certificates that
//! listeners name and of session tickets, and the one that the load balancer's cookies are signed with. All it needs comes
//! over its control socket, which is its standard input; when that closes, its supervisor is gone, and it ends at once.
//!
//! Invariant: nothing is accepted before the first version is known whole, so no request meets an empty routing table. A
//! task has its network interface before it runs, and until it has ended.

mod calls;
mod connect;
mod entrance;
mod forward;
mod gathering;
mod health;
mod host_addresses;
mod internal;
mod link;
mod listeners;
mod metrics;
mod outside;
mod spans;
mod wake;

use anyhow::{Context, bail};
use calls::Calls;
use connect::Connector;
use entrance::Entrance;
use health::Health;
use internal::Inward;
use link::Link;
use listeners::Listeners;
use metrics::Metrics;
use outside::Outward;
use skiff_edge::accept::Acceptor;
use skiff_edge::{Edge, Proto, access_log};
use skiff_host_data::HostData;
use skiff_host_events::HostEvents;
use skiff_host_metrics::HostMetrics;
use skiff_host_net::HostNet;
use skiff_kit::clock;
use skiff_ledger::Ledger;
use skiff_net::{HostResolver, Network, Resolve, Wires};
use skiff_node::wire::{
    AccessLog, AccessLogFormat, FrameReader, FromWorker, Gatherer, Received, ToWorker, WorkerSetup,
    call_frames, frames,
};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::connect::Connect;
use skiff_ports::guest_calls::CallSink;
use skiff_ports::guest_deliveries::DeliverError;
use skiff_ports::invoke::Invoke;
use skiff_ports::network::NetworkChange;
use skiff_ports::snapshot::{Difference, Version};
use skiff_sandbox::{CodeBounds, Sandboxes};
use spans::Spans;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{LocalSet, spawn_local};
use wake::Wakes;

/// How often the worker says that its event loop lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Runs a worker until its supervisor lets it go. `supervisor` is the supervisor's process id.
pub fn run(supervisor: u32) -> anyhow::Result<()> {
    skiff_node::die_with(supervisor)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("the worker's event loop can't be started")?;
    let result = LocalSet::new().block_on(&runtime, serve());
    runtime.shutdown_background();
    result
}

/// What a worker is made of.
struct Worker {
    setup: WorkerSetup,
    ledger: Ledger,
    edge: Rc<Edge>,
    sandboxes: Rc<Sandboxes>,
    network: Network,
    connector: Rc<dyn Connect>,
    health: Rc<Health>,
    link: Rc<Link>,
    /// The version that it acts on; 0 before the first.
    version: Version,
    gatherer: Gatherer,
    /// What to accept with; taken with the first version.
    acceptor: Option<Acceptor>,
    /// Where connections are taken beside the acceptor's.
    listeners: Listeners,
    /// What takes records of spans, where they are asked for.
    spans: Option<Rc<Spans>>,
    /// What takes values that guests put for metrics of their own.
    metrics: Rc<Metrics>,
    /// What carries guests' calls to the supervisor.
    calls: Calls,
}

async fn serve() -> anyhow::Result<()> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let socket =
        tokio::net::UnixStream::from_std(socket).context("the standard input is not a control socket")?;
    let (mut reader, writer) = frames(socket);
    let link = Link::start(writer);
    let (setup, descriptors) = match reader.next().await? {
        Some((ToWorker::Hello(setup), descriptors)) => (setup, descriptors),
        _ => bail!("the supervisor did not begin with a greeting"),
    };
    let mut worker = Worker::build(setup, descriptors, link)?;
    worker.beat();
    host_addresses::keep_true(worker.network.clone());
    worker.listen(&mut reader).await
}

impl Worker {
    fn build(setup: WorkerSetup, descriptors: Vec<OwnedFd>, link: Rc<Link>) -> anyhow::Result<Self> {
        let index = setup.worker as usize;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().context("a descriptor is missing from the greeting");
        let ledger = Ledger::open(next()?)?;
        let listener = TcpListener::from(next()?);
        let mut inboxes = || -> anyhow::Result<(OwnedFd, Vec<OwnedFd>)> {
            Ok((next()?, (0..ledger.workers()).map(|_| next()).collect::<anyhow::Result<_>>()?))
        };
        let (inbox, peers) = inboxes()?;
        let (wires_inbox, wires_peers) = inboxes()?;
        let data = tokio::net::UnixStream::from_std(UnixStream::from(next()?))?;
        let forwarded_port = listener.local_addr()?.port();
        let wires = Wires::new(wires_inbox, wires_peers, setup.worker)?;
        let resolver: Rc<dyn Resolve> = Rc::new(HostResolver::new()?);
        let outside_max = outside::places(setup.room.sockets_max as usize);
        let network = network(&setup, &ledger, &link, (resolver.clone(), outside_max), wires)?;
        let doors = network.clone();
        let outward = Outward::new(resolver, outside_max, Rc::new(move |address| doors.is_door(address)));
        let host_net_config = skiff_host_net::Config::default();
        let host_net = HostNet::new(&host_net_config, network.clone())?;
        let health = Health::new(network.clone(), link.events());
        let metrics = Metrics::start(link.clone());
        let calls = Calls::start((ledger.clone(), index), call_frames(data));
        let sink: Rc<dyn CallSink> = Rc::new(calls.clone());
        let sandboxes = Sandboxes::new(
            skiff_sandbox::Config {
                worker: index,
                sandboxes_max: setup.room.sandboxes_max as usize,
                code: CodeBounds {
                    components: setup.room.components_max as usize,
                    bytes: setup.room.code_bytes_max,
                },
            },
            skiff_sandbox::Deps {
                ledger: ledger.clone(),
                code: link.clone(),
                logs: link.clone(),
                events: health.events(),
                capabilities: vec![
                    host_net.clone(),
                    HostMetrics::new(metrics.clone()),
                    HostData::new(sink.clone()),
                    HostEvents::new(sink),
                ],
            },
        )?;
        let answerer: Rc<dyn Invoke> = sandboxes.clone();
        host_net.answer_with(&answerer);
        let invoke = Rc::new(Entrance { sandboxes: sandboxes.clone(), network: network.clone() });
        let connector: Rc<dyn Connect> = Rc::new(Connector { network: network.clone(), outward });
        let edge = Edge::new(
            skiff_edge::Config {
                worker: index,
                limits: skiff_edge::Limits {
                    connections_max: setup.room.connections_max as usize,
                    ..skiff_edge::Limits::default()
                },
                access_log: setup.access_log.as_ref().map(access_log_config),
                forwarded_proto: Proto::Http,
                forwarded_port,
            },
            skiff_edge::Deps { invoke, connect: connector.clone(), ledger: ledger.clone() },
        )?;
        network.lead_to(Rc::new(Inward::to(&edge)));
        host_net.wake_with(Rc::new(Wakes::by(&edge)));
        edge.want_by(link.wants());
        edge.set_cookie_key(&setup.cookie_key);
        edge.trust_in(host_net_config.trusted()?);
        edge.check_targets(link.events());
        let spans = setup.spans.map(|share| {
            let spans = Spans::start(link.clone());
            edge.record_spans(share, spans.clone());
            spans
        });
        let acceptor = Some(Acceptor { listener, inbox, peers, worker: index, ledger: ledger.clone() });
        let (version, gatherer) = (0, Gatherer::default());
        Ok(Self {
            setup,
            ledger,
            edge,
            sandboxes,
            network,
            connector,
            health,
            link,
            version,
            gatherer,
            acceptor,
            listeners: Listeners::default(),
            spans,
            metrics,
            calls,
        })
    }

    /// Says again and again that the event loop lives, and accounts for the CPU time that no task is charged with.
    fn beat(&self) {
        let (ledger, sandboxes) = (self.ledger.clone(), self.sandboxes.clone());
        let worker = self.setup.worker as usize;
        spawn_local(async move {
            let mut interval = tokio::time::interval(HEARTBEAT_INTERVAL);
            let mut accounted_ns = 0;
            loop {
                interval.tick().await;
                let row = ledger.worker(worker);
                row.heartbeat_ns.set(clock::monotonic_ns());
                let platform_ns = clock::process_cpu_ns().saturating_sub(sandboxes.guest_cpu_ns());
                row.platform_cpu_ns.add(platform_ns.saturating_sub(accounted_ns));
                accounted_ns = accounted_ns.max(platform_ns);
            }
        });
    }

    async fn listen(&mut self, reader: &mut FrameReader) -> anyhow::Result<()> {
        loop {
            let Some((message, descriptors)) = reader.next::<ToWorker>().await? else {
                return Ok(());
            };
            match message {
                ToWorker::Hello(_) => bail!("the supervisor greeted twice"),
                ToWorker::Change(piece) => {
                    let received = self.gatherer.receive(*piece).context("a piece of a change is damaged")?;
                    self.carry_out(received)?;
                    // A change may have many pieces, and they may all be here: others get their turn between two.
                    tokio::task::yield_now().await;
                }
                ToWorker::Code { request, result } => {
                    self.link.answer(request, result, descriptors);
                }
                ToWorker::MeasureColdStart { request, task, path, rounds } => {
                    let (sandboxes, link) = (self.sandboxes.clone(), self.link.clone());
                    spawn_local(async move {
                        let result = sandboxes.measure_cold_start(task, path, rounds).await;
                        link.send(FromWorker::ColdStarts { request, result });
                    });
                }
                ToWorker::InterfaceState { request, task } => {
                    let state = self.network.state(task);
                    self.link.send(FromWorker::InterfaceState { request, state });
                }
                ToWorker::Listeners(told) => {
                    // Before anything is accepted there: what is a door is guarded from the beginning.
                    self.network.set_listeners(&listeners::addresses(&descriptors)?);
                    self.listeners.set(&self.edge, told, descriptors)?;
                }
                ToWorker::Tickets(keys) => self.edge.set_tickets(keys),
                ToWorker::Forward { request, task, port } => {
                    let (connector, link) = (self.connector.clone(), self.link.clone());
                    forward::start(connector, link, request, (task, port), descriptors);
                }
                ToWorker::Deliver { request, task, delivery } => {
                    let (sandboxes, link) = (self.sandboxes.clone(), self.link.clone());
                    spawn_local(async move {
                        let result = sandboxes.deliver(task, delivery).await;
                        link.send(FromWorker::Delivered { request, result });
                    });
                }
                ToWorker::Drain { timeout_ms } => {
                    self.finish(Duration::from_millis(timeout_ms), reader).await;
                    return Ok(());
                }
                ToWorker::Exit => return Ok(()),
            }
        }
    }

    /// Connects and runs what is new, routes to it, and only then ends and disconnects what is to end: who leads to a service
    /// before the service, and that before its tasks.
    fn carry_out(&mut self, received: Received) -> anyhow::Result<()> {
        let Received { difference, more } = received;
        let Difference { base, version, network, assignments, routes, balancer, withdrawn, ended } =
            difference;
        if base != self.version {
            bail!("told what changed since version {base}, and knows {}", self.version);
        }
        let NetworkChange { groups, dissolved, interfaces, left } = network;
        self.connect(NetworkChange { groups, dissolved, interfaces, left: Vec::new() });
        for assignment in assignments {
            self.health.watch(&assignment);
            self.calls.run(&assignment);
            self.sandboxes.run(assignment);
        }
        let (comes, leaves) = balancer.in_two();
        self.edge.route(routes.iter().map(|route| &**route), &[]);
        self.balance(&comes);
        self.balance(&leaves);
        self.edge.route([], &withdrawn);
        for task in ended {
            self.health.forget(task);
            self.sandboxes.end(task);
            self.calls.end(task);
        }
        self.connect(NetworkChange { left, ..NetworkChange::default() });
        if more {
            return Ok(());
        }
        self.version = version;
        if self.version > 0
            && let Some(acceptor) = self.acceptor.take()
        {
            let edge = self.edge.clone();
            spawn_local(async move {
                if let Err(error) = acceptor.run(edge).await {
                    tracing::error!(%error, "this worker can't accept connections any more");
                    std::process::exit(1);
                }
            });
        }
        self.link.send(FromWorker::Acknowledged(self.version));
        Ok(())
    }

    /// Every open flow is judged anew by a change, so none is made of nothing.
    fn connect(&self, change: NetworkChange) {
        if !change.is_empty() {
            self.network.apply(change);
        }
    }

    fn balance(&self, change: &BalancerChange) {
        if !change.is_empty() {
            self.edge.balance(change);
        }
    }

    /// Finishes what is in flight, says so, and stays for what others still ask of its tasks until it may exit; passes on
    /// then what guests wrote last, and what their connections came to.
    async fn finish(&mut self, timeout: Duration, reader: &mut FrameReader) {
        self.listeners.close();
        // The edge keeps to the timeout by itself, and writes down after it what it cut off.
        let finished = async {
            let idle = tokio::time::timeout(timeout, self.sandboxes.idle());
            let (connections, idle) = tokio::join!(self.edge.drain(timeout), idle);
            self.link.send(FromWorker::Drained { complete: connections && idle.is_ok() });
            std::future::pending::<()>().await;
        };
        // What is in flight may wait for native code. Nothing else concerns a worker that takes no more.
        let answers = async {
            loop {
                match reader.next::<ToWorker>().await {
                    Ok(Some((ToWorker::Code { request, result }, descriptors))) => {
                        self.link.answer(request, result, descriptors);
                    }
                    // It came while this one was told to finish: another takes it.
                    Ok(Some((ToWorker::Deliver { request, .. }, _))) => {
                        let result = Err(DeliverError::Busy("the worker finishes what it has".to_owned()));
                        self.link.send(FromWorker::Delivered { request, result });
                    }
                    Ok(Some((ToWorker::Exit, _))) => return true,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return false,
                }
            }
        };
        let may_exit = tokio::select! {
            () = finished => unreachable!("it never ends"),
            may_exit = answers => may_exit,
        };
        if !may_exit {
            return;
        }
        self.network.close();
        if let Some(spans) = &self.spans {
            spans.hand_over();
        }
        self.metrics.hand_over();
        self.link.flush().await;
    }
}

/// What the edge is told of its access log.
fn access_log_config(log: &AccessLog) -> access_log::Config {
    let format = match log.format {
        AccessLogFormat::Json => access_log::Format::Json,
        AccessLogFormat::Elb => access_log::Format::Elb,
    };
    access_log::Config { format, ..access_log::Config::new(&log.path) }
}

/// The network of this worker, which knows nobody yet. Of the sockets that may lead out of the worker, so many are the load
/// balancer's to the outside.
fn network(
    setup: &WorkerSetup,
    ledger: &Ledger,
    link: &Rc<Link>,
    (resolver, outside_max): (Rc<dyn Resolve>, usize),
    wires: Wires,
) -> anyhow::Result<Network> {
    let config = skiff_net::Config {
        worker: setup.worker,
        workers: ledger.workers() as u32,
        setup: setup.network.clone(),
        limits: skiff_net::Limits {
            kernel_sockets_max: setup.room.sockets_max as usize - outside_max,
            ..skiff_net::Limits::default()
        },
        host_addresses: skiff_kit::host_addresses().context("the host's addresses can't be read")?,
    };
    let deps = skiff_net::Deps { ledger: ledger.clone(), resolver, flow_log: link.clone(), wires };
    Ok(Network::new(config, deps)?)
}
