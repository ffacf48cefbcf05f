//! Objects that the guests of one worker read or write in pieces.
//!
//! A write goes on in the calls that bring its pieces, and in no task of its own: so nothing of it is left when it is given up. What
//! always holds: a task has [`TRANSFERS_MAX`] open at once, and reaches its own alone; while a call is about one, another is told
//! so; and what is stopped, or ends with its worker, has written nothing.

use super::Answered;
use super::failures::of_bucket;
use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, Either, select};
use futures::stream::StreamExt;
use futures::{FutureExt, stream};
use skiff_ports::buckets::{BucketError, Buckets, ObjectBytes, ObjectInfo, ObjectPut};
use skiff_ports::guest_calls::{
    GuestAnswer, GuestCallError, GuestObject, PIECE_BYTES_MAX, TRANSFERS_MAX, TransferId,
};
use skiff_types::TaskId;
use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Those of one worker.
#[derive(Default)]
pub(super) struct Transfers(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By whose they are; none while a call is about it.
    open: BTreeMap<(TaskId, TransferId), Option<Transfer>>,
    next: TransferId,
}

enum Transfer {
    Reading(Reading),
    Writing(Writing),
}

struct Reading {
    bytes: ObjectBytes,
    /// What came and was not told yet.
    rest: Bytes,
}

struct Writing {
    /// Where pieces go; the object ends with it.
    pieces: mpsc::Sender<io::Result<Bytes>>,
    /// Takes them, as long as it is polled.
    putting: BoxFuture<'static, Result<ObjectInfo, BucketError>>,
}

impl Transfers {
    pub(super) fn begin_reading(&self, task: TaskId, bytes: ObjectBytes) -> Answered<TransferId> {
        self.begin(task, || Transfer::Reading(Reading { bytes, rest: Bytes::new() }))
    }

    pub(super) fn begin_writing(
        &self,
        task: TaskId,
        buckets: Arc<dyn Buckets>,
        put: ObjectPut,
    ) -> Answered<TransferId> {
        self.begin(task, || {
            let (pieces, coming) = mpsc::channel(1);
            let coming = stream::unfold(coming, |mut coming: mpsc::Receiver<io::Result<Bytes>>| async move {
                Some((coming.recv().await?, coming))
            });
            let putting = async move { buckets.put(put, coming.boxed()).await }.boxed();
            Transfer::Writing(Writing { pieces, putting })
        })
    }

    fn begin(&self, task: TaskId, transfer: impl FnOnce() -> Transfer) -> Answered<TransferId> {
        let mut known = self.known();
        let count = known.open.range((task, 0)..=(task, TransferId::MAX)).count();
        if count >= TRANSFERS_MAX {
            return Err(GuestCallError::Busy(format!(
                "the task reads and writes {TRANSFERS_MAX} objects already, and no more at once: finish some first"
            )));
        }
        known.next += 1;
        let id = known.next;
        known.open.insert((task, id), Some(transfer()));
        Ok(id)
    }

    /// The next piece of what is read: as large as one may be, but for the last; none at the end.
    pub(super) async fn read(&self, task: TaskId, id: TransferId) -> Answered {
        let mut reading = match self.take(task, id)? {
            Transfer::Reading(reading) => reading,
            writing @ Transfer::Writing(_) => {
                self.put_back((task, id), writing);
                return Err(GuestCallError::Invalid("it is written, not read".to_owned()));
            }
        };
        match reading.next_piece().await {
            Ok(piece) if piece.is_empty() => {
                self.stop(task, id);
                Ok(GuestAnswer::Bytes(piece))
            }
            Ok(piece) => {
                self.put_back((task, id), Transfer::Reading(reading));
                Ok(GuestAnswer::Bytes(piece))
            }
            Err(error) => {
                self.stop(task, id);
                tracing::warn!(%task, %error, "an object could not be read to its end");
                Err(GuestCallError::Failed("the object could not be read to its end".to_owned()))
            }
        }
    }

    /// Takes a piece of what is written.
    pub(super) async fn write(&self, task: TaskId, id: TransferId, piece: Bytes) -> Answered {
        if piece.len() > PIECE_BYTES_MAX {
            return Err(GuestCallError::Invalid(format!(
                "a piece of {} bytes; the most is {PIECE_BYTES_MAX}",
                piece.len()
            )));
        }
        let mut writing = self.take_writing(task, id)?;
        if piece.is_empty() {
            self.put_back((task, id), Transfer::Writing(writing));
            return Ok(GuestAnswer::Done);
        }
        match writing.take(piece).await {
            Ok(()) => {
                self.put_back((task, id), Transfer::Writing(writing));
                Ok(GuestAnswer::Done)
            }
            Err(error) => {
                self.stop(task, id);
                Err(error)
            }
        }
    }

    /// Nothing more comes of what is written: from now on the object is there.
    pub(super) async fn finish(&self, task: TaskId, id: TransferId) -> Answered {
        let Writing { pieces, putting } = self.take_writing(task, id)?;
        drop(pieces);
        let put = putting.await;
        self.stop(task, id);
        let info = put.map_err(|error| of_bucket(&error))?;
        Ok(GuestAnswer::Object(GuestObject::new(&info)))
    }

    /// Ends one, whatever it is; one that is not there has ended.
    pub(super) fn stop(&self, task: TaskId, id: TransferId) {
        // What it held is given back without the lock.
        let ended = self.known().open.remove(&(task, id));
        drop(ended);
    }

    fn take_writing(&self, task: TaskId, id: TransferId) -> Answered<Writing> {
        match self.take(task, id)? {
            Transfer::Writing(writing) => Ok(writing),
            reading @ Transfer::Reading(_) => {
                self.put_back((task, id), reading);
                Err(GuestCallError::Invalid("it is read, not written".to_owned()))
            }
        }
    }

    fn take(&self, task: TaskId, id: TransferId) -> Answered<Transfer> {
        let mut known = self.known();
        let transfer = known.open.get_mut(&(task, id)).ok_or_else(|| {
            GuestCallError::NotFound("nothing is read or written by this number, or not any more".to_owned())
        })?;
        transfer.take().ok_or_else(|| GuestCallError::Busy("a call is about it already".to_owned()))
    }

    /// What was stopped meanwhile ends here.
    fn put_back(&self, (task, id): (TaskId, TransferId), transfer: Transfer) {
        let stopped = match self.known().open.get_mut(&(task, id)) {
            Some(place) => {
                *place = Some(transfer);
                None
            }
            None => Some(transfer),
        };
        drop(stopped);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    async fn next_piece(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::new();
        loop {
            let room = PIECE_BYTES_MAX - piece.len();
            let taken = self.rest.split_to(self.rest.len().min(room));
            if taken.len() == PIECE_BYTES_MAX {
                return Ok(taken);
            }
            piece.extend_from_slice(&taken);
            if piece.len() == PIECE_BYTES_MAX {
                return Ok(piece.freeze());
            }
            match self.bytes.next().await {
                Some(more) => self.rest = more?,
                None => return Ok(piece.freeze()),
            }
        }
    }
}

impl Writing {
    /// Hands a piece on, as soon as there is room for it.
    async fn take(&mut self, piece: Bytes) -> Answered<()> {
        let Self { pieces, putting } = self;
        let sending = pin!(pieces.send(Ok(piece)));
        match select(sending, putting).await {
            Either::Left((Ok(()), _)) => Ok(()),
            // It takes no more before it was told that there are none.
            Either::Left((Err(_), putting)) => Err(ended_early(putting.await)),
            Either::Right((put, _)) => Err(ended_early(put)),
        }
    }
}

fn ended_early(put: Result<ObjectInfo, BucketError>) -> GuestCallError {
    match put {
        Err(error) => of_bucket(&error),
        Ok(_) => GuestCallError::Failed("the object was taken for complete before it was".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u8) -> TaskId {
        TaskId::from_parts(1, [number; 10])
    }

    fn chunks(sizes: &[usize]) -> ObjectBytes {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![7; *size]))).collect();
        stream::iter(chunks).boxed()
    }

    #[tokio::test]
    async fn what_is_read_comes_in_whole_pieces_and_then_ends() {
        let transfers = Transfers::default();
        let sizes = [10, 0, PIECE_BYTES_MAX, 3 * PIECE_BYTES_MAX, 5];
        let whole: usize = sizes.iter().sum();
        let id = transfers.begin_reading(task(1), chunks(&sizes)).unwrap();
        let mut read = Vec::new();
        loop {
            match transfers.read(task(1), id).await.unwrap() {
                GuestAnswer::Bytes(bytes) if bytes.is_empty() => break,
                GuestAnswer::Bytes(bytes) => read.push(bytes.len()),
                answer => panic!("{answer:?}"),
            }
        }
        assert_eq!(read.iter().sum::<usize>(), whole);
        let (last, others) = read.split_last().unwrap();
        assert!(others.iter().all(|piece| *piece == PIECE_BYTES_MAX) && *last > 0, "{read:?}");
        assert!(matches!(transfers.read(task(1), id).await, Err(GuestCallError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_task_reaches_its_own_and_has_so_many() {
        let transfers = Transfers::default();
        let begin = |number| transfers.begin_reading(task(number), chunks(&[1]));
        let ids: Vec<_> = (0..TRANSFERS_MAX).map(|_| begin(1).unwrap()).collect();
        assert!(matches!(begin(1), Err(GuestCallError::Busy(_))));
        assert!(begin(2).is_ok(), "another task's");
        for id in &ids {
            transfers.stop(task(2), *id);
            assert!(matches!(transfers.read(task(2), *id).await, Err(GuestCallError::NotFound(_))));
            assert!(matches!(
                transfers.write(task(1), *id, Bytes::new()).await,
                Err(GuestCallError::Invalid(_))
            ));
            assert!(matches!(transfers.finish(task(1), *id).await, Err(GuestCallError::Invalid(_))));
        }
        transfers.stop(task(1), ids[0]);
        assert!(begin(1).is_ok(), "there is room again");
    }

    #[tokio::test]
    async fn what_is_stopped_while_it_is_read_ends() {
        let transfers = Transfers::default();
        let id = transfers.begin_reading(task(1), stream::pending().boxed()).unwrap();
        let mut reading = Box::pin(transfers.read(task(1), id));
        assert!((&mut reading).now_or_never().is_none());
        assert!(matches!(transfers.read(task(1), id).await, Err(GuestCallError::Busy(_))));
        transfers.stop(task(1), id);
        drop(reading);
        assert!(matches!(transfers.read(task(1), id).await, Err(GuestCallError::NotFound(_))));
    }
}
