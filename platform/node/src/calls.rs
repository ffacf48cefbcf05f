//! What guests ask their platform: read from a worker's data socket, passed on to who answers, and answered as answers come.
//!
//! It deliberately judges nothing but whether this worker runs the task that it asks for: what the task may is judged by who
//! answers ([`GuestCalls`]). What always holds: what a worker's guests have open ends with it; calls that are under way, and what
//! their answers may hold, are within [`ROOM_KIB`] for each worker, and while there is no room its socket is not read.

use crate::node::Shared;
use crate::wire::{RequestId, call_frame, call_frames, read_call};
use bytes::Bytes;
use skiff_ports::guest_calls::{
    GuestAnswer, GuestCall, GuestCallError, GuestCalls, GuestSession, PIECE_BYTES_MAX,
};
use skiff_ports::tables::{ITEM_VALUE_BYTES_MAX, ITEMS_BYTES_MAX, ITEMS_MAX};
use skiff_types::TaskId;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// What calls of one worker may hold at once, with their answers, in KiB.
const ROOM_KIB: u32 = 256 << 10;
/// What each call counts for at least, in KiB: so there are 16,384 at once at most.
const CALL_KIB_MIN: u32 = 16;

/// What a call comes to.
type Answered = Result<GuestAnswer, GuestCallError>;
/// An answer as a frame, and the room that its call had.
type Outgoing = (Bytes, OwnedSemaphorePermit);

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
    let room = Arc::new(Semaphore::new(ROOM_KIB as usize));
    let reading = async {
        // Those that are under way end with this.
        let mut working = JoinSet::new();
        while let Some((id, payload)) = reader.next().await? {
            while working.try_join_next().is_some() {}
            let (task, call): (TaskId, GuestCall) = read_call(&payload)?;
            let permit = room.clone().acquire_many_owned(kib(payload.len(), &call)).await;
            let permit = permit.map_err(io::Error::other)?;
            drop(payload);
            // What is to end may be of a task that has ended.
            if !matches!(call, GuestCall::Stop(_)) && !runs(task) {
                let gone = GuestCallError::Failed("the task does not run here, or not any more".to_owned());
                let _ = answers.send((framed(id, &Err(gone)), permit));
                continue;
            }
            let (answering, answers) = (session.call(task, call), answers.clone());
            working.spawn(async move {
                let answered = answering.await;
                let _ = answers.send((framed(id, &answered), permit));
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

/// An answer as a frame; one that is too large for that is a failure.
fn framed(id: RequestId, answered: &Answered) -> Bytes {
    call_frame(id, answered).unwrap_or_else(|error| {
        let failed: Answered = Err(GuestCallError::Failed(error.to_string()));
        call_frame(id, &failed).expect("a sentence is no large answer")
    })
}

/// What a call of so many bytes may hold with its answer, in KiB.
fn kib(bytes: usize, call: &GuestCall) -> u32 {
    let answer_bytes = match call {
        GuestCall::Get { keys, .. } => {
            (keys.len().min(ITEMS_MAX) * ITEM_VALUE_BYTES_MAX).min(ITEMS_BYTES_MAX)
        }
        GuestCall::Keys { .. } | GuestCall::Scan { .. } | GuestCall::List { .. } => ITEMS_BYTES_MAX,
        GuestCall::Read { .. } | GuestCall::ReadMore(_) => PIECE_BYTES_MAX,
        GuestCall::OpenTable(_)
        | GuestCall::Write { .. }
        | GuestCall::Increment { .. }
        | GuestCall::Bucket(_)
        | GuestCall::CreateBucket(_)
        | GuestCall::RemoveBucket(_)
        | GuestCall::Head { .. }
        | GuestCall::Put { .. }
        | GuestCall::PutMore(..)
        | GuestCall::PutEnd(_)
        | GuestCall::Stop(_)
        | GuestCall::Delete { .. }
        | GuestCall::Clear(_)
        | GuestCall::Copy { .. }
        | GuestCall::Send { .. }
        | GuestCall::PutEvents { .. } => 0,
    };
    let kib = u32::try_from((bytes + answer_bytes) >> 10).unwrap_or(ROOM_KIB);
    kib.clamp(CALL_KIB_MIN, ROOM_KIB)
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

    #[test]
    fn a_call_counts_for_what_it_may_hold() {
        assert_eq!(kib(100, &increment(1)), CALL_KIB_MIN);
        let get = |count| GuestCall::Get { table: "rows".parse().unwrap(), keys: vec![String::new(); count] };
        assert_eq!(kib(100, &get(1)), 1_024);
        assert_eq!(kib(100, &get(1_000)), 4 << 10);
        assert_eq!(kib(1 << 40, &get(1)), ROOM_KIB);
    }
}
