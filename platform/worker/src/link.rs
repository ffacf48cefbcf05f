//! The worker's side of its control socket: what its parts say to the supervisor, and what they ask of it.

use futures::future::LocalBoxFuture;
use skiff_net::FlowLog;
use skiff_node::LostLines;
use skiff_node::wire::{FrameWriter, FromWorker, RequestId};
use skiff_ports::flows::FlowRecord;
use skiff_ports::logs::LogLine;
use skiff_ports::metrics::GuestPoint;
use skiff_ports::runtime::TaskEvent;
use skiff_ports::spans::SpanRecord;
use skiff_sandbox::{CodeSource, LogSink};
use skiff_types::{Digest, QualifiedName};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;

/// Log lines that may wait to be sent; what comes on top is dropped, counted, and said so in its place.
const LOG_LINES_MAX: usize = 16_384;
/// Log lines in one message.
const LOG_BATCH_LINES: usize = 512;
/// Records of flows that may wait to be sent; what comes on top is dropped and counted.
const FLOW_RECORDS_MAX: usize = 16_384;
/// Records of flows in one message.
const FLOW_BATCH_RECORDS: usize = 256;
/// Records of spans that may wait to be sent; what comes on top is dropped and counted.
pub(crate) const SPAN_RECORDS_MAX: usize = 8_192;
/// Records of spans in one message.
pub(crate) const SPAN_BATCH_RECORDS: usize = 256;
/// Points of guests' metrics that may wait to be sent; what comes on top is dropped and counted.
pub(crate) const METRIC_POINTS_MAX: usize = 16_384;
/// Bytes that they may take.
pub(crate) const METRIC_BYTES_MAX: usize = 8 << 20;
/// Points of guests' metrics in one message.
pub(crate) const METRIC_BATCH_POINTS: usize = 128;

/// The control socket. All messages but log lines, records of flows and of spans, and points of metrics are few by nature
/// and are never dropped.
pub(crate) struct Link {
    /// In order, so that a task's last lines come before its end.
    messages: RefCell<VecDeque<FromWorker>>,
    lines_queued: Cell<usize>,
    lines_lost: RefCell<LostLines>,
    /// Whether it was said that lines are dropped.
    told: Cell<bool>,
    records_queued: Cell<usize>,
    /// Not yet told to the supervisor.
    records_lost: Cell<u64>,
    spans_queued: Cell<usize>,
    /// Not yet told to the supervisor.
    spans_lost: Cell<u64>,
    points_queued: Cell<usize>,
    /// What those points take.
    point_bytes_queued: Cell<usize>,
    /// Values, not yet told to the supervisor.
    values_dropped: Cell<u64>,
    waiting: RefCell<HashMap<RequestId, oneshot::Sender<Result<OwnedFd, String>>>>,
    next_request: Cell<RequestId>,
    work: Notify,
    sent: Notify,
    sending: Cell<bool>,
}

impl Link {
    /// Starts the task that writes.
    pub(crate) fn start(writer: FrameWriter) -> Rc<Self> {
        let link = Rc::new(Self {
            messages: RefCell::default(),
            lines_queued: Cell::new(0),
            lines_lost: RefCell::default(),
            told: Cell::new(false),
            records_queued: Cell::new(0),
            records_lost: Cell::new(0),
            spans_queued: Cell::new(0),
            spans_lost: Cell::new(0),
            points_queued: Cell::new(0),
            point_bytes_queued: Cell::new(0),
            values_dropped: Cell::new(0),
            waiting: RefCell::default(),
            next_request: Cell::new(0),
            work: Notify::new(),
            sent: Notify::new(),
            sending: Cell::new(false),
        });
        spawn_local(link.clone().write(writer));
        link
    }

    /// Queues a message.
    pub(crate) fn send(&self, message: FromWorker) {
        self.messages.borrow_mut().push_back(message);
        self.work.notify_one();
    }

    /// Queues records of spans, as one message; drops them if there is no room.
    pub(crate) fn spans(&self, records: Vec<SpanRecord>) {
        let queued = self.spans_queued.get() + records.len();
        if queued > SPAN_RECORDS_MAX {
            return self.spans_lost.set(self.spans_lost.get() + records.len() as u64);
        }
        self.spans_queued.set(queued);
        self.send(FromWorker::Spans { records, lost: 0 });
    }

    /// Queues points of guests' metrics, as one message, and how many values were dropped before; drops them if there is no
    /// room.
    pub(crate) fn metrics(&self, points: Vec<GuestPoint>, dropped: u64) {
        let queued = self.points_queued.get() + points.len();
        let bytes = self.point_bytes_queued.get() + points.iter().map(GuestPoint::bytes).sum::<usize>();
        if queued > METRIC_POINTS_MAX || bytes > METRIC_BYTES_MAX {
            let values: u64 = points.iter().map(GuestPoint::count).sum();
            return self.values_dropped.set(self.values_dropped.get() + values + dropped);
        }
        self.points_queued.set(queued);
        self.point_bytes_queued.set(bytes);
        self.send(FromWorker::Metrics { points, dropped });
    }

    /// Where the sandboxes report what happens to tasks.
    pub(crate) fn events(self: &Rc<Self>) -> Rc<dyn Fn(TaskEvent)> {
        let link = self.clone();
        Rc::new(move |event| link.send(FromWorker::Task(event)))
    }

    /// Where the load balancer says which services are wanted that have no task.
    pub(crate) fn wants(self: &Rc<Self>) -> Rc<dyn Fn(&QualifiedName)> {
        let link = self.clone();
        Rc::new(move |service: &QualifiedName| link.send(FromWorker::Wanted(service.clone())))
    }

    /// Passes on the answer to a question of [`CodeSource::fetch`]: a failure, or the one descriptor that came with it.
    pub(crate) fn answer(&self, request: RequestId, result: Result<(), String>, descriptors: Vec<OwnedFd>) {
        let code = result.and_then(|()| {
            let code = descriptors.into_iter().next();
            code.ok_or_else(|| "native code came without its bytes".to_owned())
        });
        if let Some(waiting) = self.waiting.borrow_mut().remove(&request) {
            let _ = waiting.send(code);
        }
    }

    /// Ends when all that was queued is sent.
    pub(crate) async fn flush(&self) {
        while self.sending.get() || !self.messages.borrow().is_empty() {
            self.sent.notified().await;
        }
    }

    async fn write(self: Rc<Self>, mut writer: FrameWriter) {
        loop {
            self.work.notified().await;
            self.sending.set(true);
            while let Some(message) = self.next() {
                if writer.send(&message, &[]).await.is_err() {
                    // The supervisor is gone; the reader notices too, and ends the process.
                    return;
                }
            }
            self.sending.set(false);
            self.sent.notify_waiters();
        }
    }

    fn next(&self) -> Option<FromWorker> {
        let message = self.messages.borrow_mut().pop_front()?;
        if let FromWorker::Logs(lines) = &message {
            self.lines_queued.set(self.lines_queued.get() - lines.len());
            // Now there is room: behind what waits, and before what is written from here on.
            let remarks = self.lines_lost.borrow().remarks();
            self.lines_lost.borrow_mut().clear();
            remarks.into_iter().for_each(|line| self.queue(line));
        }
        if let FromWorker::Flows { records, .. } = &message {
            self.records_queued.set(self.records_queued.get() - records.len());
            let lost = self.records_lost.take();
            if lost > 0 {
                self.send(FromWorker::Flows { records: Vec::new(), lost });
            }
        }
        if let FromWorker::Spans { records, .. } = &message {
            self.spans_queued.set(self.spans_queued.get() - records.len());
            let lost = self.spans_lost.take();
            if lost > 0 {
                self.send(FromWorker::Spans { records: Vec::new(), lost });
            }
        }
        if let FromWorker::Metrics { points, .. } = &message {
            self.points_queued.set(self.points_queued.get() - points.len());
            let bytes: usize = points.iter().map(GuestPoint::bytes).sum();
            self.point_bytes_queued.set(self.point_bytes_queued.get() - bytes);
            let dropped = self.values_dropped.take();
            if dropped > 0 {
                self.send(FromWorker::Metrics { points: Vec::new(), dropped });
            }
        }
        Some(message)
    }

    fn queue(&self, line: (QualifiedName, LogLine)) {
        self.lines_queued.set(self.lines_queued.get() + 1);
        match self.messages.borrow_mut().back_mut() {
            Some(FromWorker::Logs(lines)) if lines.len() < LOG_BATCH_LINES => return lines.push(line),
            _ => {}
        }
        self.send(FromWorker::Logs(vec![line]));
    }
}

impl CodeSource for Link {
    fn fetch(&self, program: Digest) -> LocalBoxFuture<'_, Result<OwnedFd, String>> {
        let request = self.next_request.replace(self.next_request.get() + 1);
        let (reply, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(request, reply);
        self.send(FromWorker::FetchCode { request, program });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err("the supervisor is gone".to_owned())) })
    }
}

impl LogSink for Link {
    fn write(&self, owner: &QualifiedName, line: LogLine) -> bool {
        let has_room = self.lines_queued.get() < LOG_LINES_MAX;
        if has_room {
            self.queue((owner.clone(), line));
        } else {
            self.lines_lost.borrow_mut().note(owner, line.task);
            if !self.told.replace(true) {
                tracing::warn!(
                    "guests write faster than the supervisor takes it: log lines are being dropped"
                );
            }
        }
        has_room
    }
}

impl FlowLog for Link {
    fn record(&self, record: FlowRecord) {
        if self.records_queued.get() == FLOW_RECORDS_MAX {
            self.records_lost.set(self.records_lost.get() + 1);
            return;
        }
        self.records_queued.set(self.records_queued.get() + 1);
        match self.messages.borrow_mut().back_mut() {
            Some(FromWorker::Flows { records, .. }) if records.len() < FLOW_BATCH_RECORDS => {
                return records.push(record);
            }
            _ => {}
        }
        self.send(FromWorker::Flows { records: vec![record], lost: 0 });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use skiff_node::wire::frames;
    use skiff_ports::flows::Verdict;
    use skiff_ports::logs::LogStream;
    use skiff_ports::spans::HttpVersion;
    use skiff_types::{BUILT_IN_LISTENER, Direction, TaskId, Transport};

    /// A record with this id.
    pub(crate) fn span(id: u64) -> SpanRecord {
        SpanRecord {
            trace_id: 1,
            span_id: id,
            parent_id: None,
            began_at_ns: 1,
            ended_at_ns: 2,
            call: None,
            method: "GET".to_owned(),
            is_tls: false,
            host: "hello.localhost".to_owned(),
            path: "/".to_owned(),
            version: HttpVersion::Http11,
            client: [127, 0, 0, 1].into(),
            user_agent: None,
            request_id: String::new(),
            listener: BUILT_IN_LISTENER.parse().unwrap(),
            decided_by: None,
            target_group: None,
            status: Some(200),
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    #[test]
    fn records_that_there_was_no_room_for_are_counted_behind_those_that_waited() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let ((_ours, writer), (mut reader, _theirs)) = (frames(ours), frames(theirs));
            let link = Link::start(writer);
            let record = |number: usize| FlowRecord {
                began_at_ms: number as u64,
                at_ms: number as u64,
                task: TaskId::from_parts(1, [1; 10]),
                owner: "default/hello".parse().unwrap(),
                direction: Direction::Egress,
                transport: Transport::Tcp,
                local: "10.64.0.17:49152".parse().unwrap(),
                remote: "10.64.0.18:80".parse().unwrap(),
                peer: None,
                sent_bytes: 0,
                received_bytes: 0,
                verdict: Verdict::Accept,
                open: false,
                note: String::new(),
                count: 1,
            };
            // Nothing is sent before the first wait.
            (0..FLOW_RECORDS_MAX + 5).for_each(|number| link.record(record(number)));
            let (mut numbers, mut lost) = (Vec::new(), 0);
            while lost == 0 {
                let message = reader.next().await.unwrap();
                let Some((FromWorker::Flows { records, lost: more }, _)) = message else {
                    panic!("{message:?}")
                };
                assert!(records.len() <= FLOW_BATCH_RECORDS);
                numbers.extend(records.into_iter().map(|record| record.at_ms as usize));
                lost = more;
            }
            assert_eq!(lost, 5);
            assert!(numbers.into_iter().eq(0..FLOW_RECORDS_MAX));
            link.record(record(7));
            let message = reader.next().await.unwrap();
            let Some((FromWorker::Flows { records, lost: 0 }, _)) = message else { panic!("{message:?}") };
            assert_eq!(records, [record(7)], "there is room again");
        });
    }

    #[test]
    fn lines_that_there_was_no_room_for_are_spoken_of_behind_those_that_waited() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let ((_ours, writer), (mut reader, _theirs)) = (frames(ours), frames(theirs));
            let link = Link::start(writer);
            let owner: QualifiedName = "default/hello".parse().unwrap();
            let task = TaskId::from_parts(1, [1; 10]);
            let line = |number: usize| {
                let text = number.to_string();
                LogLine { at_ms: 1, task, stream: LogStream::Stdout, text }
            };
            // Nothing is sent before the first wait.
            let taken =
                (0..LOG_LINES_MAX + 5).filter(|number| LogSink::write(&*link, &owner, line(*number))).count();
            assert_eq!(taken, LOG_LINES_MAX);
            let mut lines = Vec::new();
            while lines.len() <= LOG_LINES_MAX {
                let message = reader.next().await.unwrap();
                let Some((FromWorker::Logs(more), _)) = message else { panic!("{message:?}") };
                lines.extend(more.into_iter().map(|(_, line)| line));
            }
            let remark = lines.pop().unwrap();
            assert!(remark.text.starts_with("5 lines were lost here"), "{remark:?}");
            assert_eq!((remark.stream, remark.task), (LogStream::Skiff, task));
            assert!(lines.iter().enumerate().all(|(number, line)| line.text == number.to_string()));
            assert!(LogSink::write(&*link, &owner, line(0)), "there is room again");
        });
    }
}
