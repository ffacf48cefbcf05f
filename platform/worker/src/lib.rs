//! The worker process: one thread that holds the load balancer and the sandboxes of its share of the node's requests.
//!
//! It wires; what the parts do is theirs. It holds no store and no keys. All it needs comes over its control socket,
//! which is its standard input; when that closes, its supervisor is gone, and it ends at once.
//!
//! Invariant: nothing is accepted before the first version is known whole, so no request meets an empty routing table.

mod link;

use anyhow::{Context, bail};
use link::Link;
use skiff_edge::accept::Acceptor;
use skiff_edge::{Edge, Proto, access_log};
use skiff_kit::clock;
use skiff_ledger::Ledger;
use skiff_node::wire::{FrameReader, FromWorker, Received, Specs, ToWorker, WorkerSetup, frames};
use skiff_ports::snapshot::Version;
use skiff_sandbox::{CodeBounds, Sandboxes};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{LocalSet, spawn_local};

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
    link: Rc<Link>,
    /// The version that it acts on; 0 before the first.
    version: Version,
    specs: Specs,
    /// What to accept with; taken with the first version.
    acceptor: Option<Acceptor>,
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
    worker.listen(&mut reader).await
}

impl Worker {
    fn build(setup: WorkerSetup, descriptors: Vec<OwnedFd>, link: Rc<Link>) -> anyhow::Result<Self> {
        let index = setup.worker as usize;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().context("a descriptor is missing from the greeting");
        let ledger = Ledger::open(next()?)?;
        let listener = TcpListener::from(next()?);
        let inbox = next()?;
        let forwarded_port = listener.local_addr()?.port();
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
                events: link.events(),
            },
        )?;
        let edge = Edge::new(
            skiff_edge::Config {
                worker: index,
                limits: skiff_edge::Limits {
                    connections_max: setup.room.connections_max as usize,
                    ..skiff_edge::Limits::default()
                },
                access_log: setup.access_log.clone().map(access_log::Config::new),
                forwarded_proto: Proto::Http,
                forwarded_port,
            },
            skiff_edge::Deps { invoke: sandboxes.clone(), ledger: ledger.clone() },
        )?;
        let acceptor =
            Acceptor { listener, inbox, peers: descriptors.collect(), worker: index, ledger: ledger.clone() };
        let (version, specs) = (0, Specs::default());
        Ok(Self { setup, ledger, edge, sandboxes, link, version, specs, acceptor: Some(acceptor) })
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
                    let received = self.specs.receive(piece).context("a piece of a change is damaged")?;
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
                ToWorker::Drain { timeout_ms } => {
                    self.finish(Duration::from_millis(timeout_ms), reader).await;
                    return Ok(());
                }
            }
        }
    }

    /// Runs what is new, routes to it, and only then ends what is to end.
    fn carry_out(&mut self, received: Received) -> anyhow::Result<()> {
        let Received { difference, more } = received;
        if difference.base != self.version {
            bail!("told what changed since version {}, and knows {}", difference.base, self.version);
        }
        difference.assignments.into_iter().for_each(|assignment| self.sandboxes.run(assignment));
        self.edge.route(difference.routes.iter().map(|route| &**route), &difference.withdrawn);
        difference.ended.into_iter().for_each(|task| self.sandboxes.end(task));
        if more {
            return Ok(());
        }
        self.version = difference.version;
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

    /// Finishes what is in flight, says so, and passes on what guests wrote last.
    async fn finish(&self, timeout: Duration, reader: &mut FrameReader) {
        // The edge keeps to the timeout by itself, and writes down after it what it cut off.
        let finished = async {
            let idle = tokio::time::timeout(timeout, self.sandboxes.idle());
            let (connections, idle) = tokio::join!(self.edge.drain(timeout), idle);
            connections && idle.is_ok()
        };
        // What is in flight may wait for native code. Nothing else concerns a worker that takes no more.
        let answers_until_supervisor_gone = async {
            while let Ok(Some((message, descriptors))) = reader.next::<ToWorker>().await {
                if let ToWorker::Code { request, result } = message {
                    self.link.answer(request, result, descriptors);
                }
            }
        };
        let complete = tokio::select! {
            complete = finished => complete,
            () = answers_until_supervisor_gone => return,
        };
        self.link.send(FromWorker::Drained { complete });
        self.link.flush().await;
    }
}
