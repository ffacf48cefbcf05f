//! One seat: the place of one worker, and of its successor when it dies.
//!
//! The seat owns what a worker must not take with it: its inboxes, its row in the ledger. It never decides
//! what a worker runs; it passes on what is new of it, and answers what the worker asks.

use crate::calls;
use crate::deliveries::{Given, bytes_of};
use crate::flows;
use crate::node::Shared;
use crate::slots::BrokenOff;
use crate::spawner::Spawner;
use crate::status::WorkerState;
use crate::wire::{
    AccessLog, FrameReader, FrameWriter, FromWorker, RequestId, ToWorker, WorkerSetup, frames, pieces,
};
use skiff_kit::{Backoff, clock};
use skiff_ports::flows::InterfaceState;
use skiff_ports::guest_deliveries::{DeliverError, GuestDelivery, GuestOutcome};
use skiff_ports::runtime::{ColdStart, TaskEvent};
use skiff_ports::snapshot::Version;
use skiff_ports::tls::TicketKeys;
use skiff_types::{Namespace, StopCode, StoppedReason, TaskId};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages that may wait to be sent to a worker.
const OUTBOX_MAX: usize = 2_048;
/// Deliveries to guests that a worker has at once: so few that there is room left for what else it is to be told.
pub(crate) const DELIVERIES_MAX: usize = OUTBOX_MAX / 2;
/// A worker whose event loop gave no sign of life for this long is killed.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often signs of life are looked at.
const HEARTBEAT_CHECK: Duration = Duration::from_millis(500);
/// Waits between workers that die before they have served. One that has served is replaced at once.
const RESTART_BACKOFF: Backoff = Backoff { first_ms: 100, most_ms: 10_000 };

/// A message and its descriptors.
type Parcel = (ToWorker, Vec<OwnedFd>);
/// Questions that were asked, by whose answer is waited for.
type Asked<A> = HashMap<RequestId, oneshot::Sender<A>>;
type ColdStarts = Result<Vec<ColdStart>, String>;
type Forwarded = Result<(), String>;
/// What came of a delivery.
pub(crate) type Delivered = Result<GuestOutcome, DeliverError>;

/// What others may know of a seat, and how they reach its worker.
#[derive(Debug, Default)]
pub(crate) struct SeatState {
    pub(crate) state: WorkerState,
    /// Its worker's process id, and since when.
    pub(crate) process: Option<(u32, Instant)>,
    pub(crate) restarts: u64,
    /// Whether its worker is told what to run: from then on it may act on a version, whether it has said so or not.
    told: bool,
    acknowledged: Version,
    /// Whether its worker said that all had ended when it drained.
    pub(crate) drained: Option<bool>,
    outbox: Option<mpsc::Sender<Parcel>>,
    measuring: Asked<ColdStarts>,
    looking: Asked<InterfaceState>,
    forwarding: Asked<Forwarded>,
    delivering: Asked<Delivered>,
    given: Given,
    next_request: RequestId,
}

impl SeatState {
    /// The version that its worker acts on for all that is known, if it acts on any: it may serve the first one that it
    /// is told before it acknowledges it, and then knows nothing of what changed meanwhile.
    pub(crate) fn acts_on(&self) -> Option<Version> {
        let acts = match self.state {
            WorkerState::Starting | WorkerState::Running => self.told,
            WorkerState::Draining | WorkerState::Dead => false,
        };
        acts.then_some(self.acknowledged)
    }

    fn acknowledge(&mut self, version: Version) {
        self.acknowledged = version;
        if self.state == WorkerState::Starting {
            self.state = WorkerState::Running;
        }
    }

    /// Its worker is gone.
    fn vacate(&mut self) {
        (self.state, self.process, self.outbox) = (WorkerState::Dead, None, None);
        (self.told, self.acknowledged) = (false, 0);
        self.measuring.clear();
        self.looking.clear();
        self.forwarding.clear();
        self.delivering.clear();
        self.given = Given::default();
    }

    /// Asks the worker for cold starts.
    pub(crate) fn measure(
        &mut self,
        question: impl FnOnce(RequestId) -> ToWorker,
    ) -> Option<Reply<ColdStarts>> {
        self.ask(question, Vec::new(), |seat| &mut seat.measuring)
    }

    /// Asks the worker what goes on at a network interface.
    pub(crate) fn look(
        &mut self,
        question: impl FnOnce(RequestId) -> ToWorker,
    ) -> Option<Reply<InterfaceState>> {
        self.ask(question, Vec::new(), |seat| &mut seat.looking)
    }

    /// Asks the worker to connect `stream` to a task's port.
    pub(crate) fn forward(&mut self, task: TaskId, port: u16, stream: OwnedFd) -> Option<Reply<Forwarded>> {
        let question = |request| ToWorker::Forward { request, task, port };
        self.ask(question, vec![stream], |seat| &mut seat.forwarding)
    }

    /// How many deliveries its worker has not answered; `None` if it takes no other of so many bytes for a guest of this
    /// namespace: one that is being started does not know its tasks yet, and one that drains takes nothing on.
    pub(crate) fn room_for(&self, namespace: &Namespace, bytes: usize) -> Option<usize> {
        let takes = self.state == WorkerState::Running && self.given.has_room(namespace, bytes);
        takes.then_some(self.delivering.len())
    }

    /// Has the worker give something to the guest of a task of this namespace; `None` if it takes none, or has as many as it may.
    pub(crate) fn deliver(
        &mut self,
        (task, namespace): (TaskId, &Namespace),
        delivery: GuestDelivery,
    ) -> Option<Reply<Delivered>> {
        let bytes = bytes_of(&delivery);
        self.room_for(namespace, bytes)?;
        let request = self.next_request;
        let question = |request| ToWorker::Deliver { request, task, delivery };
        let reply = self.ask(question, Vec::new(), |seat| &mut seat.delivering)?;
        self.given.begin(request, namespace, bytes);
        Some(reply)
    }

    /// The worker has answered a delivery.
    fn delivered(&mut self, request: RequestId, result: Delivered) {
        self.given.end(request);
        if let Some(reply) = self.delivering.remove(&request) {
            let _ = reply.send(result);
        }
    }

    /// `None` if the worker is not there or has too much to read already.
    fn ask<A>(
        &mut self,
        question: impl FnOnce(RequestId) -> ToWorker,
        descriptors: Vec<OwnedFd>,
        asked: impl FnOnce(&mut Self) -> &mut Asked<A>,
    ) -> Option<Reply<A>> {
        let outbox = self.outbox.clone()?;
        let request = self.next_request;
        self.next_request += 1;
        let (reply, answer) = oneshot::channel();
        outbox.try_send((question(request), descriptors)).ok()?;
        asked(self).insert(request, reply);
        Some(answer)
    }

    /// Tells the worker to finish.
    pub(crate) fn drain(&mut self, timeout_ms: u64) {
        if let Some(outbox) = &self.outbox {
            let _ = outbox.try_send((ToWorker::Drain { timeout_ms }, Vec::new()));
            self.state = WorkerState::Draining;
        }
    }

    /// Whether its worker has something in flight still, as far as is known.
    pub(crate) fn is_at_work(&self) -> bool {
        self.outbox.is_some() && self.drained.is_none()
    }

    /// Tells the worker to exit.
    pub(crate) fn exit(&self) {
        if let Some(outbox) = &self.outbox {
            let _ = outbox.try_send((ToWorker::Exit, Vec::new()));
        }
    }
}

/// An answer to come; an error if its worker dies.
pub(crate) type Reply<A> = oneshot::Receiver<A>;

/// Keeps a worker in seat `worker` until the node stops.
pub(crate) async fn keep(shared: Arc<Shared>, worker: usize) {
    let mut failures = 0;
    loop {
        let outcome = session(&shared, worker).await;
        let state = shared.seats[worker].lock().expect("no holder panics").state;
        let served = matches!(state, WorkerState::Running | WorkerState::Draining);
        vacate(&shared, worker);
        if shared.stopping() {
            return;
        }
        match outcome {
            Ok(status) => tracing::warn!(worker, %status, "a worker died; the next one is being started"),
            Err(error) => tracing::error!(worker, %error, "a worker can't be kept; another is being started"),
        }
        failures = if served { 0 } else { failures + 1 };
        let wait = RESTART_BACKOFF.delay_ms(failures);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        shared.seats[worker].lock().expect("no holder panics").restarts += 1;
    }
}

/// Closes the accounts of a worker that is gone, and says which flows and which tasks went with it.
fn vacate(shared: &Shared, worker: usize) {
    // Before it counts as dead: what the others acknowledge from then on may give its tasks' slots to others.
    let broken_off = shared.slots.lock().expect("no holder panics").close_worker(worker);
    shared.seats[worker].lock().expect("no holder panics").vacate();
    let (flows, residents) = {
        let mut world = shared.world.lock().expect("no holder panics");
        world.forget(worker);
        let record = |flows: &BrokenOff| flows::broken_off(worker, flows, world.address(flows.task));
        let flows: Vec<_> = broken_off.iter().map(record).collect();
        let residents = if shared.stopping() { Vec::new() } else { world.residents(worker) };
        let lives: Vec<_> =
            residents.into_iter().filter_map(|task| Some((task, world.life(task)?))).collect();
        (flows, lives)
    };
    if !flows.is_empty() {
        shared.flows.write(flows, 0);
    }
    for (task, life) in residents {
        let message = format!("worker {worker}, the process it ran in, died");
        let reason = StoppedReason { code: StopCode::WorkerLost, message };
        shared.task_event(TaskEvent::Ended { task, life, exit_code: None, reason });
    }
    shared.seats_changed();
    shared.exit_if_all_drained();
}

/// Starts a worker and talks with it until it is gone.
async fn session(shared: &Arc<Shared>, worker: usize) -> io::Result<std::process::ExitStatus> {
    let (ours, theirs) = UnixStream::pair()?;
    let (our_data, their_data) = UnixStream::pair()?;
    let their_data = OwnedFd::from(their_data.into_std()?);
    let mut command = Spawner::skiff("worker");
    command.stdin(Stdio::from(OwnedFd::from(theirs.into_std()?)));
    let mut child = shared.spawner.spawn(command).await?;
    let pid = child.id();
    let (mut reader, mut writer) = frames(ours);
    let (outbox, parcels) = mpsc::channel(OUTBOX_MAX);
    {
        let mut seat = shared.seats[worker].lock().expect("no holder panics");
        (seat.state, seat.outbox) = (WorkerState::Starting, Some(outbox.clone()));
        seat.process = Some((pid, Instant::now()));
    }
    let greeted = greet(shared, worker, their_data, &mut writer).await;
    let talked = match greeted {
        Ok(()) => tokio::select! {
            read = listen(shared, worker, &mut reader, &outbox) => read,
            wrote = speak(shared, worker, &mut writer, parcels) => wrote,
            answered = calls::answer(shared, worker, our_data) => answered,
            () = watch_heartbeat(shared, worker) => Err(io::Error::other("its event loop hangs")),
        },
        Err(error) => Err(error),
    };
    // One that has drained ends by itself, whatever it was told last and did not read.
    let has_drained = shared.seats[worker].lock().expect("no holder panics").drained.is_some();
    if let Err(error) = talked
        && !has_drained
    {
        tracing::warn!(worker, pid, %error, "lost touch with a worker; it is killed");
    }
    tokio::task::spawn_blocking(move || {
        let _ = child.kill();
        child.wait()
    })
    .await?
}

async fn greet(shared: &Shared, worker: usize, data: OwnedFd, writer: &mut FrameWriter) -> io::Result<()> {
    let setup = WorkerSetup {
        worker: worker as u32,
        room: shared.config.room,
        access_log: shared.config.access_log.as_ref().map(|log| of_worker(log, worker)),
        network: shared.config.network.clone(),
        cookie_key: shared.config.cookie_key.clone(),
        spans: shared.config.spans,
    };
    let listener = shared.listener.lock().expect("no holder panics").as_ref().map(OwnedFd::try_clone);
    let listener = listener.ok_or_else(|| io::Error::other("the node stops"))??;
    let mut descriptors = vec![shared.ledger_fd.as_fd(), listener.as_fd()];
    for inboxes in [&shared.inboxes, &shared.wires] {
        descriptors.push(inboxes[worker].0.as_fd());
        descriptors.extend(inboxes.iter().map(|(_, sending)| sending.as_fd()));
    }
    descriptors.push(data.as_fd());
    writer.send(&ToWorker::Hello(setup), &descriptors).await
}

/// The log of one worker among all of them: `access.log` becomes `access-0.log`.
fn of_worker(AccessLog { path, format }: &AccessLog, worker: usize) -> AccessLog {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    let path = path.with_file_name(format!("{stem}-{worker}{}", extension.unwrap_or_default()));
    AccessLog { path, format: *format }
}

/// Sends what is new as it comes, always all that there is by then, and what else is to be said.
async fn speak(
    shared: &Shared,
    worker: usize,
    writer: &mut FrameWriter,
    mut parcels: mpsc::Receiver<Parcel>,
) -> io::Result<()> {
    let (mut version, mut listeners) = (shared.version.subscribe(), shared.listeners.subscribe());
    let mut tickets = shared.tickets.subscribe();
    version.mark_changed();
    listeners.mark_changed();
    // Before any listener, so that no session is begun that another worker would not take up.
    tell_tickets(&mut tickets, writer).await?;
    loop {
        tokio::select! {
            changed = tickets.changed() => {
                changed.map_err(io::Error::other)?;
                tell_tickets(&mut tickets, writer).await?;
            }
            changed = version.changed() => {
                changed.map_err(io::Error::other)?;
                tell_change(shared, worker, &mut version, writer).await?;
            }
            changed = listeners.changed() => {
                changed.map_err(io::Error::other)?;
                // The routes that lead on from a listener are to be known before its connections are accepted.
                if version.has_changed().map_err(io::Error::other)? {
                    tell_change(shared, worker, &mut version, writer).await?;
                }
                let open = listeners.borrow_and_update().clone();
                let told = open.iter().map(|(told, _)| told.clone()).collect();
                let sockets: Vec<_> = open.iter().map(|(_, socket)| socket.as_fd()).collect();
                writer.send(&ToWorker::Listeners(told), &sockets).await?;
            }
            Some((message, descriptors)) = parcels.recv() => {
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                writer.send(&message, &descriptors).await?;
            }
        }
    }
}

async fn tell_tickets(tickets: &mut watch::Receiver<TicketKeys>, writer: &mut FrameWriter) -> io::Result<()> {
    let keys = tickets.borrow_and_update().clone();
    writer.send(&ToWorker::Tickets(keys), &[]).await
}

/// Sends all that the worker does not know yet of what it is to run.
async fn tell_change(
    shared: &Shared,
    worker: usize,
    version: &mut watch::Receiver<Version>,
    writer: &mut FrameWriter,
) -> io::Result<()> {
    version.mark_unchanged();
    // First: a change that is made from here on may not be part of what is told.
    shared.seats[worker].lock().expect("no holder panics").told = true;
    let difference = shared.world.lock().expect("no holder panics").difference(worker);
    for piece in pieces(difference) {
        writer.send(&ToWorker::Change(Box::new(piece)), &[]).await?;
    }
    Ok(())
}

async fn listen(
    shared: &Arc<Shared>,
    worker: usize,
    reader: &mut FrameReader,
    outbox: &mpsc::Sender<Parcel>,
) -> io::Result<()> {
    while let Some((message, _)) = reader.next::<FromWorker>().await? {
        match message {
            FromWorker::Acknowledged(version) => {
                shared.seats[worker].lock().expect("no holder panics").acknowledge(version);
                shared.seats_changed();
            }
            FromWorker::FetchCode { request, program } => {
                let (compiler, outbox) = (shared.compiler.clone(), outbox.clone());
                tokio::spawn(async move {
                    let (result, descriptors) = match compiler.native_code(program).await {
                        Ok(code) => (Ok(()), vec![code]),
                        Err(error) => (Err(error), Vec::new()),
                    };
                    let _ = outbox.send((ToWorker::Code { request, result }, descriptors)).await;
                });
            }
            FromWorker::Task(event) => shared.task_event(event),
            FromWorker::Wanted(service) => shared.want(service),
            FromWorker::Logs(batch) => shared.logs.write(batch),
            FromWorker::Flows { records, lost } => shared.flows.write(records, lost),
            FromWorker::Spans { records, lost } => shared.spans.write(records, lost),
            FromWorker::Metrics { points, dropped } => shared.guest_metrics.write(points, dropped),
            FromWorker::InterfaceState { request, state } => {
                let mut seat = shared.seats[worker].lock().expect("no holder panics");
                if let Some(reply) = seat.looking.remove(&request) {
                    let _ = reply.send(state);
                }
            }
            FromWorker::ColdStarts { request, result } => {
                let mut seat = shared.seats[worker].lock().expect("no holder panics");
                if let Some(reply) = seat.measuring.remove(&request) {
                    let _ = reply.send(result);
                }
            }
            FromWorker::Forwarded { request, result } => {
                let mut seat = shared.seats[worker].lock().expect("no holder panics");
                if let Some(reply) = seat.forwarding.remove(&request) {
                    let _ = reply.send(result);
                }
            }
            FromWorker::Delivered { request, result } => {
                shared.seats[worker].lock().expect("no holder panics").delivered(request, result);
            }
            FromWorker::Drained { complete } => {
                shared.seats[worker].lock().expect("no holder panics").drained = Some(complete);
                shared.exit_if_all_drained();
            }
        }
    }
    Ok(())
}

/// Ends when the worker's event loop has given no sign of life for too long.
async fn watch_heartbeat(shared: &Shared, worker: usize) {
    let started_ns = clock::monotonic_ns();
    let mut check = tokio::time::interval(HEARTBEAT_CHECK);
    loop {
        check.tick().await;
        // Before its first sign of life, the row says that nobody is there: it is handed no connections.
        let alive_ns = shared.ledger.worker(worker).heartbeat_ns.get().max(started_ns);
        let silent_ns = clock::monotonic_ns().saturating_sub(alive_ns);
        if silent_ns > HEARTBEAT_TIMEOUT.as_nanos() as u64 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_who_asked_and_who_asks_one_that_dies_is_told() {
        let mut seat = SeatState::default();
        let task = skiff_types::TaskId::from_parts(1, [1; 10]);
        let ask = |request| ToWorker::InterfaceState { request, task };
        assert!(seat.look(ask).is_none(), "nobody is there");
        let (outbox, _parcels) = mpsc::channel(2);
        seat.outbox = Some(outbox);
        let (first, second) = (seat.look(ask).unwrap(), seat.look(ask).unwrap());
        assert!(seat.look(ask).is_none(), "it has too much to read already");
        let state = InterfaceState { connection_count: 7, ..InterfaceState::default() };
        seat.looking.remove(&1).unwrap().send(state.clone()).unwrap();
        assert_eq!(second.blocking_recv(), Ok(state));
        seat.vacate();
        assert!(first.blocking_recv().is_err());
    }

    #[test]
    fn who_asks_to_be_connected_hands_over_a_socket() {
        let mut seat = SeatState::default();
        let (outbox, mut parcels) = mpsc::channel(1);
        seat.outbox = Some(outbox);
        let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let answer = seat.forward(TaskId::from_parts(1, [1; 10]), 6379, theirs.into()).unwrap();
        let (message, descriptors) = parcels.try_recv().unwrap();
        assert!(matches!(message, ToWorker::Forward { request: 0, port: 6379, .. }), "{message:?}");
        assert_eq!(descriptors.len(), 1);
        seat.forwarding.remove(&0).unwrap().send(Err("nobody listens".to_owned())).unwrap();
        assert_eq!(answer.blocking_recv(), Ok(Err("nobody listens".to_owned())));
    }

    #[test]
    fn a_worker_that_serves_takes_so_many_deliveries_and_answers_for_all_when_it_dies() {
        let mut seat = SeatState::default();
        let (outbox, mut parcels) = mpsc::channel(OUTBOX_MAX);
        seat.outbox = Some(outbox);
        let task = TaskId::from_parts(1, [1; 10]);
        let namespaces = ["one", "other"].map(|name| name.parse::<Namespace>().unwrap());
        let deliver = |seat: &mut SeatState, number: usize| {
            seat.deliver((task, &namespaces[number % 2]), GuestDelivery::Event("{}".into()))
        };
        assert!(deliver(&mut seat, 0).is_none(), "it knows no tasks yet");
        seat.state = WorkerState::Running;
        let mut answers: Vec<_> =
            (0..DELIVERIES_MAX).map(|number| deliver(&mut seat, number).expect("there is room")).collect();
        assert!(deliver(&mut seat, 0).is_none(), "it has as many as it may");
        let (message, _) = parcels.try_recv().unwrap();
        assert!(matches!(message, ToWorker::Deliver { request: 0, .. }), "{message:?}");
        seat.delivered(0, Ok(GuestOutcome::Event(Ok(()))));
        assert_eq!(answers.remove(0).blocking_recv(), Ok(Ok(GuestOutcome::Event(Ok(())))));
        assert!(deliver(&mut seat, 0).is_some(), "there is room again");
        seat.vacate();
        assert!(answers.into_iter().all(|answer| answer.blocking_recv().is_err()));
        assert_eq!(seat.room_for(&namespaces[0], 0), None);
        seat.state = WorkerState::Running;
        assert_eq!(seat.room_for(&namespaces[0], 0), Some(0), "the next worker has had none");
    }

    #[test]
    fn a_worker_counts_from_its_first_version_on_until_it_drains_or_is_gone() {
        let mut seat = SeatState::default();
        assert_eq!(seat.acts_on(), None, "it knows nothing and serves nothing");
        seat.told = true;
        assert_eq!(seat.acts_on(), Some(0), "it may serve what it has not acknowledged");
        seat.acknowledge(7);
        assert_eq!((seat.acts_on(), seat.state), (Some(7), WorkerState::Running));
        let (outbox, _parcels) = mpsc::channel(1);
        seat.outbox = Some(outbox);
        seat.drain(1);
        assert_eq!(seat.acts_on(), None);
        seat.vacate();
        seat.state = WorkerState::Starting;
        assert_eq!(seat.acts_on(), None, "the next one was told nothing yet");
    }
}
