//! What guests ask their platform: read from a worker's data socket, passed on to who answers, and answered as answers come.
//!
//! It deliberately judges nothing but whether this worker runs the task that it asks for: what the task may is judged by who
//! answers ([`GuestCalls`]). What always holds: what a worker's guests have open ends with it; calls that are under way, and what
//! their answers may hold, are within [`ROOM_KIB`] for each worker, and while there is no room its socket is not read; and those of
//! one task are within [`TASK_ROOM_KIB`], so that none has the room to itself. The worker has what would be more wait in its guests:
//! what comes all the same is refused.

use crate::node::Shared;
use crate::wire::{
    CALL_KIB_MIN, ROOM_KIB, RequestId, TASK_ROOM_KIB, call_frame, call_frames, read_call, room_kib,
};
use bytes::Bytes;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError, GuestCalls, GuestSession};
use skiff_types::TaskId;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// What a call comes to.
type Answered = Result<GuestAnswer, GuestCallError>;
/// An answer as a frame, and the room that its call had.
type Outgoing = (Bytes, Room);

/// The room that a call has until its answer is on its way; given back when dropped.
struct Room {
    _of_all: OwnedSemaphorePermit,
    _of_task: Option<Share>,
}

/// What calls of each task hold, in KiB; nothing of a task that has none.
#[derive(Default)]
struct Shares(Mutex<HashMap<TaskId, u32>>);

impl Shares {
    /// So much of a task's share, if that has it.
    fn take(self: &Arc<Self>, task: TaskId, kib: u32) -> Option<Share> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = shares.get(&task).copied().unwrap_or_default();
        let with_it = held.checked_add(kib).filter(|with_it| *with_it <= TASK_ROOM_KIB)?;
        shares.insert(task, with_it);
        Some(Share { shares: self.clone(), task, kib })
    }
}

/// What one call has of its task's share; given back when dropped.
struct Share {
    shares: Arc<Shares>,
    task: TaskId,
    kib: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = shares.get_mut(&self.task) {
            *held -= self.kib;
            if *held == 0 {
                shares.remove(&self.task);
            }
        }
    }
}

/// Who answers guests' calls: known soon after the node is.
#[derive(Default)]
pub(crate) struct Answerer(watch::Sender<Option<Arc<dyn GuestCalls>>>);

impl Answerer {
    /// To be said once.
    pub(crate) fn set(&self, calls: Arc<dyn GuestCalls>) {
        let before = self.0.send_replace(Some(calls));
        assert!(before.is_none(), "who answers guests' calls is said once");
    }

    async fn session(&self) -> Arc<dyn GuestSession> {
        let mut known = self.0.subscribe();
        let calls = known.wait_for(Option::is_some).await.ok().and_then(|calls| calls.clone());
        // The sender is this one's own: it is there as long as somebody waits here.
        Arc::from(calls.expect("it is awaited that there is one").session())
    }
}

/// Answers a worker until something is wrong with its socket. One that was closed in order says nothing: what its worker does
/// then, the control socket says.
pub(crate) async fn answer(shared: &Shared, worker: usize, stream: UnixStream) -> io::Result<()> {
    let session = shared.answerer.session().await;
    let runs = |task| {
        let world = shared.world.lock().expect("no holder panics");
        world.has(task) && world.home(task).is_none_or(|home| home == worker)
    };
    serve(&*session, runs, stream).await
}

async fn serve(
    session: &dyn GuestSession,
    runs: impl Fn(TaskId) -> bool,
    stream: UnixStream,
) -> io::Result<()> {
    let (mut reader, mut writer) = call_frames(stream);
    let (answers, mut outbox) = mpsc::unbounded_channel::<Outgoing>();
    let (room, shares) = (Arc::new(Semaphore::new(ROOM_KIB as usize)), Arc::<Shares>::default());
    let reading = async {
        // Those that are under way end with this.
        let mut working = JoinSet::new();
        while let Some((id, payload)) = reader.next().await? {
            while working.try_join_next().is_some() {}
            let (task, call): (TaskId, GuestCall) = read_call(&payload)?;
            let kib = room_kib(payload.len(), &call);
            // What is to end may be of a task that has ended, or that has no room for more.
            let is_to_end = matches!(call, GuestCall::Stop(_));
            let share = if is_to_end { None } else { shares.take(task, kib) };
            let refusal = match &share {
                None if !is_to_end => Some(too_much()),
                _ if !is_to_end && !runs(task) => Some(not_here()),
                _ => None,
            };
            // Of what is refused no more is kept than why.
            let kib = if refusal.is_some() { CALL_KIB_MIN } else { kib };
            let of_all = room.clone().acquire_many_owned(kib).await.map_err(io::Error::other)?;
            let held = Room { _of_all: of_all, _of_task: share };
            drop(payload);
            if let Some(refusal) = refusal {
                let _ = answers.send((framed(id, &Err(refusal)), held));
                continue;
            }
            let (answering, answers) = (session.call(task, call), answers.clone());
            working.spawn(async move {
                let answered = answering.await;
                let _ = answers.send((framed(id, &answered), held));
            });
        }
        std::future::pending::<io::Result<()>>().await
    };
    let writing = async {
        while let Some(first) = outbox.recv().await {
            let mut first = Some(first);
            let next = || first.take().or_else(|| outbox.try_recv().ok()).map(|(frame, _)| frame);
            writer.send(next).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        read = reading => read,
        wrote = writing => wrote,
    }
}

fn not_here() -> GuestCallError {
    GuestCallError::Failed("the task does not run here, or not any more".to_owned())
}

fn too_much() -> GuestCallError {
    GuestCallError::Busy(format!(
        "calls of the task that are under way may hold {} MiB together with their answers: make fewer at once",
        TASK_ROOM_KIB >> 10
    ))
}

/// An answer as a frame; one that is too large for that is a failure.
fn framed(id: RequestId, answered: &Answered) -> Bytes {
    call_frame(id, answered).unwrap_or_else(|error| {
        let failed: Answered = Err(GuestCallError::Failed(error.to_string()));
        call_frame(id, &failed).expect("a sentence is no large answer")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::sync::oneshot;

    /// Sums of questions: answers an increment by its delta, a deletion never.
    #[derive(Default)]
    struct Sums {
        asked: Arc<AtomicUsize>,
        never: Mutex<Vec<oneshot::Sender<()>>>,
    }

    impl GuestSession for Sums {
        fn call(&self, _: TaskId, call: GuestCall) -> BoxFuture<'static, Answered> {
            self.asked.fetch_add(1, Relaxed);
            let (sender, waits) = oneshot::channel();
            match call {
                GuestCall::Increment { delta, .. } => async move { Ok(GuestAnswer::Sum(delta)) }.boxed(),
                GuestCall::Get { .. } => {
                    async move { Ok(GuestAnswer::Bytes(vec![0; 32 << 20].into())) }.boxed()
                }
                _ => {
                    self.never.lock().unwrap().push(sender);
                    async move {
                        let _ = waits.await;
                        Ok(GuestAnswer::Done)
                    }
                    .boxed()
                }
            }
        }
    }

    fn task(number: u8) -> TaskId {
        TaskId::from_parts(1, [number; 10])
    }

    fn increment(delta: i64) -> GuestCall {
        GuestCall::Increment { table: "rows".parse().unwrap(), key: "n".to_owned(), delta }
    }

    #[tokio::test]
    async fn answers_come_as_they_are_there_and_only_for_tasks_that_the_worker_runs() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let session = Arc::new(Sums::default());
        let (answering, runs) = (session.clone(), |asked| asked == task(1));
        let serving = tokio::spawn(async move { serve(&*answering, runs, ours).await });
        let (mut reader, mut writer) = call_frames(theirs);
        let get = GuestCall::Get { table: "rows".parse().unwrap(), keys: vec![] };
        let asked = [
            (task(1), GuestCall::Clear("slow".parse().unwrap())),
            (task(1), increment(7)),
            (task(2), increment(8)),
            (task(2), GuestCall::Stop(9)),
            (task(1), get),
        ];
        let frames: Vec<_> =
            asked.iter().enumerate().map(|(id, ask)| call_frame(id as u64, ask).unwrap()).collect();
        let mut frames = frames.into_iter();
        writer.send(|| frames.next()).await.unwrap();
        let mut answers = std::collections::BTreeMap::new();
        for _ in 0..3 {
            let (id, payload) = reader.next().await.unwrap().unwrap();
            answers.insert(id, read_call::<Answered>(&payload).unwrap());
        }
        assert_eq!(answers[&1], Ok(GuestAnswer::Sum(7)));
        assert!(
            matches!(&answers[&2], Err(GuestCallError::Failed(why)) if why.contains("does not run here"))
        );
        assert!(matches!(&answers[&4], Err(GuestCallError::Failed(why)) if why.contains("the most is")));
        assert_eq!(session.asked.load(Relaxed), 4, "one was not passed on; what is to end always is");
        assert_eq!(session.never.lock().unwrap().len(), 2);

        drop((reader, writer));
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        let under_way = std::mem::take(&mut *session.never.lock().unwrap());
        for never in under_way {
            // What is under way ends with the worker.
            while !never.is_closed() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn what_comes_damaged_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_reader, mut writer) = call_frames(theirs);
        let mut frame = Some(call_frame(1, &"no call").unwrap());
        writer.send(|| frame.take()).await.unwrap();
        let error = serve(&Sums::default(), |_| true, ours).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn one_task_does_not_have_the_room_to_itself() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(async move { serve(&Sums::default(), |_| true, ours).await });
        let (mut reader, mut writer) = call_frames(theirs);
        let scan = || GuestCall::Scan {
            table: "rows".parse().unwrap(),
            prefix: String::new(),
            after: None,
            limit: 1_000,
        };
        // None of them is answered, but the one that there is no room for.
        let fitting = u64::from(TASK_ROOM_KIB / room_kib(0, &scan()));
        let mut asked: Vec<_> = (0..=fitting).map(|_| (task(1), scan())).collect();
        asked.extend([(task(1), GuestCall::Stop(9)), (task(2), scan()), (task(2), increment(7))]);
        let frames: Vec<_> =
            asked.iter().enumerate().map(|(id, ask)| call_frame(id as u64, ask).unwrap()).collect();
        let mut frames = frames.into_iter();
        writer.send(|| frames.next()).await.unwrap();
        let mut answers = std::collections::BTreeMap::new();
        for _ in 0..2 {
            let (id, payload) = reader.next().await.unwrap().unwrap();
            answers.insert(id, read_call::<Answered>(&payload).unwrap());
        }
        assert!(matches!(&answers[&fitting], Err(GuestCallError::Busy(_))), "{answers:?}");
        assert_eq!(answers[&(fitting + 3)], Ok(GuestAnswer::Sum(7)));
        serving.abort();
    }

    #[test]
    fn a_share_is_given_back() {
        let shares = Arc::<Shares>::default();
        let all = shares.take(task(1), TASK_ROOM_KIB).unwrap();
        assert!(shares.take(task(1), 1).is_none() && shares.take(task(2), 1).is_some());
        drop(all);
        assert!(shares.0.lock().unwrap().is_empty(), "nothing is kept of who has none");
        assert!(shares.take(task(1), 1).is_some());
    }
}
