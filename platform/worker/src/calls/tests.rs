//! Calls over a data socket whose other end the test holds.

use super::*;
use futures::future::join_all;
use skiff_node::wire::call_frames;
use skiff_ports::guest_calls::GuestObject;
use skiff_ports::snapshot::TaskSpec;
use skiff_types::{
    Command, Digest, HealthCheck, Kind, Limits, MemorySize, Namespace, QualifiedName, TaskDefinitionId,
    WasiGeneration,
};
use std::task::{Context, Poll, Waker};
use tokio::net::UnixStream;

const TASK: [u8; 10] = [1; 10];

fn task() -> TaskId {
    TaskId::from_parts(1, TASK)
}

fn assignment(memory: MemorySize) -> Assignment {
    let name: skiff_types::Name = "guest".parse().unwrap();
    let spec = TaskSpec {
        definition: TaskDefinitionId { family: name.clone(), revision: 1 },
        kind: Kind::Http,
        generation: WasiGeneration::P2,
        program: Digest::from_bytes([1; 32]),
        limits: Limits { memory, ..Limits::default() },
        command: Command::default(),
        port: None,
        health_check: HealthCheck::default(),
    };
    let owner = QualifiedName::new(Namespace::default(), name);
    Assignment { task: task(), owner, in_service: true, spec: Arc::new(spec), slot: 0, life: 0 }
}

/// The supervisor's end.
struct Supervisor {
    reader: CallReader,
    writer: CallWriter,
}

impl Supervisor {
    async fn next(&mut self) -> (RequestId, GuestCall) {
        let (id, payload) = self.reader.next().await.unwrap().expect("the worker is there");
        let (asked, call): (TaskId, GuestCall) = read_call(&payload).unwrap();
        assert_eq!(asked, task());
        (id, call)
    }

    async fn answer(&mut self, id: RequestId, answered: Answered) {
        let mut frame = Some(call_frame(id, &answered).unwrap());
        self.writer.send(|| frame.take()).await.unwrap();
    }
}

/// Runs a test with the calls of a task that has so much memory, and the supervisor's end.
fn run(memory: MemorySize, test: impl AsyncFnOnce(Calls, Supervisor)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let calls = Calls::start((ledger, 0), call_frames(ours));
        calls.run(&assignment(memory));
        let (reader, writer) = call_frames(theirs);
        test(calls, Supervisor { reader, writer }).await;
    });
}

fn increment(delta: i64) -> GuestCall {
    GuestCall::Increment { table: "rows".parse().unwrap(), key: "n".to_owned(), delta }
}

fn read() -> GuestCall {
    GuestCall::Read { bucket: "uploads".parse().unwrap(), key: "a".to_owned(), start: 0, end: 1 }
}

fn reading(transfer: TransferId) -> GuestAnswer {
    let object = GuestObject {
        key: "a".to_owned(),
        size: 1,
        modified_at_ms: 1,
        etag: String::new(),
        content_type: None,
    };
    GuestAnswer::Reading(transfer, object)
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn answers_reach_who_asked_in_whatever_order_they_come() {
    run(MemorySize::from_mib(64), async |calls, mut supervisor| {
        let asked = join_all((0..10).map(|delta| calls.call(task(), increment(delta))));
        let answering = async {
            let mut known = Vec::new();
            for _ in 0..10 {
                known.push(supervisor.next().await);
            }
            for (id, call) in known.into_iter().rev() {
                let GuestCall::Increment { delta, .. } = call else { panic!("{call:?}") };
                supervisor.answer(id, Ok(GuestAnswer::Sum(100 + delta))).await;
            }
            supervisor
        };
        let (answers, supervisor) = tokio::join!(asked, answering);
        let sums: Vec<_> = (100..110).map(|sum| Ok(GuestAnswer::Sum(sum))).collect();
        assert_eq!(answers, sums);

        let mut lost = calls.call(task(), increment(1));
        assert!(poll_once(&mut lost).is_pending());
        drop(supervisor);
        assert!(matches!(lost.await, Err(GuestCallError::Failed(_))));
        // Nor does a task wait for ever that comes only now.
        calls.end(task());
        calls.run(&assignment(MemorySize::from_mib(64)));
        assert!(matches!(calls.call(task(), increment(1)).await, Err(GuestCallError::Failed(_))));
    });
}

#[test]
fn a_task_has_so_many_calls_under_way_and_the_next_wait() {
    run(MemorySize::from_mib(64), async |calls, mut supervisor| {
        let mut asked: Vec<_> =
            (0..=CALLS_MAX as i64).map(|delta| calls.call(task(), increment(delta))).collect();
        for future in &mut asked {
            assert!(poll_once(future).is_pending());
        }
        assert_eq!(calls.0.waiting.borrow().len(), CALLS_MAX);
        let (id, _) = supervisor.next().await;
        supervisor.answer(id, Ok(GuestAnswer::Sum(0))).await;
        assert_eq!(asked.remove(0).await, Ok(GuestAnswer::Sum(0)));
        assert!(poll_once(asked.last_mut().unwrap()).is_pending());
        assert_eq!(calls.0.waiting.borrow().len(), CALLS_MAX, "there was room for it");
        calls.end(task());
        assert!(matches!(calls.call(task(), increment(1)).await, Err(GuestCallError::Failed(_))));
    });
}

#[test]
fn calls_of_a_task_hold_its_share_of_the_room_and_the_next_wait_until_answers_are_there() {
    run(MemorySize::from_mib(64), async |calls, mut supervisor| {
        let scan = || GuestCall::Scan {
            table: "rows".parse().unwrap(),
            prefix: String::new(),
            after: None,
            limit: 1_000,
        };
        let fitting = (TASK_ROOM_KIB / room_kib(0, &scan())) as usize;
        assert!(fitting < CALLS_MAX);
        let mut asked: Vec<_> = (0..=fitting).map(|_| calls.call(task(), scan())).collect();
        for future in &mut asked {
            assert!(poll_once(future).is_pending());
        }
        assert_eq!(calls.0.waiting.borrow().len(), fitting);
        let mut last = asked.pop().unwrap();
        // Who lets go of its call makes no room: the other end is at it still.
        let (first, _) = supervisor.next().await;
        asked.clear();
        assert!(poll_once(&mut last).is_pending());
        assert_eq!(calls.0.waiting.borrow().len(), fitting);
        supervisor.answer(first, Ok(GuestAnswer::Page(vec![], None))).await;
        while calls.0.waiting.borrow().len() == fitting {
            tokio::task::yield_now().await;
        }
        assert!(poll_once(&mut last).is_pending());
        assert_eq!(calls.0.waiting.borrow().len(), fitting, "there was room for it");
    });
}

#[test]
fn what_a_task_has_no_memory_for_it_is_told() {
    run(MemorySize::from_mib(1), async |calls, mut supervisor| {
        let large = GuestCall::PutMore(1, vec![7; 2 << 20].into());
        assert!(matches!(calls.call(task(), large).await, Err(GuestCallError::Busy(_))));
        let too_long = GuestCall::PutMore(1, vec![7; 17 << 20].into());
        assert!(matches!(calls.call(task(), too_long).await, Err(GuestCallError::Invalid(_))));
        let asked = calls.call(task(), GuestCall::ReadMore(1));
        let answering = async {
            let (id, _) = supervisor.next().await;
            supervisor.answer(id, Ok(GuestAnswer::Bytes(vec![7; 2 << 20].into()))).await;
        };
        let (answer, ()) = tokio::join!(asked, answering);
        assert!(matches!(answer, Err(GuestCallError::Failed(_))), "it may have been done");
        // All of it was given back.
        assert_eq!(calls.0.ledger.task(0).row(0).memory_bytes.get(), 0);
    });
}

#[test]
fn an_answer_that_has_no_room_is_not_kept() {
    run(MemorySize::from_mib(1), async |calls, _supervisor| {
        let tenant = calls.0.tenants.borrow()[&task()].clone();
        let (reply, mut answer) = oneshot::channel();
        let place = Place {
            _count: tenant.places.clone().try_acquire_owned().unwrap(),
            _room: tenant.room.clone().try_acquire_owned().unwrap(),
        };
        let waiting = Waiting { task: task(), tenant, begins: false, place, reply };
        calls.0.waiting.borrow_mut().insert(7, waiting);
        calls.0.arrived(7, vec![7; 2 << 20].into());
        let arrived = answer.try_recv().unwrap();
        assert!(arrived.claim.is_none() && arrived.payload.is_empty());
    });
}

#[test]
fn what_a_guest_never_learnt_of_is_stopped() {
    run(MemorySize::from_mib(64), async |calls, mut supervisor| {
        let mut asked = calls.call(task(), read());
        assert!(poll_once(&mut asked).is_pending());
        let (id, _) = supervisor.next().await;
        drop(asked);
        supervisor.answer(id, Ok(reading(7))).await;
        assert_eq!(supervisor.next().await.1, GuestCall::Stop(7), "nobody waited any more");

        let mut asked = calls.call(task(), read());
        assert!(poll_once(&mut asked).is_pending());
        let (id, _) = supervisor.next().await;
        supervisor.answer(id, Ok(reading(8))).await;
        while !calls.0.waiting.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(asked);
        assert_eq!(supervisor.next().await.1, GuestCall::Stop(8), "it was there, and nobody looked");

        let mut asked = calls.call(task(), read());
        assert!(poll_once(&mut asked).is_pending());
        let (id, _) = supervisor.next().await;
        supervisor.answer(id, Ok(reading(9))).await;
        assert_eq!(asked.await, Ok(reading(9)));
        calls.stop(task(), 10);
        assert_eq!(
            supervisor.next().await.1,
            GuestCall::Stop(10),
            "one that is known is its guest's to stop"
        );
    });
}
