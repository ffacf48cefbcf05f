//! Lines over a pair of sockets, both ends in this process.

use super::*;
use crate::socket::FORGOTTEN_BYTES_MAX;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use skiff_ledger::{Ledger, MemoryClaim, TaskSlot};
use std::future::poll_fn;
use tokio::task::LocalSet;

const MEMORY_BYTES: u64 = 1 << 20;

fn slot() -> TaskSlot {
    Ledger::create(1).unwrap().0.task(0)
}

fn sockets() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
}

/// Both ends of a line, on the account of `slot`.
fn pair_for(slot: &TaskSlot) -> (Line, Line) {
    let (one, other) = sockets();
    let charge = || Rc::new(Charge::new(MemoryClaim::new(slot.clone(), 0, MEMORY_BYTES)));
    (Line::new(one, charge()).unwrap(), Line::new(other, charge()).unwrap())
}

fn pair() -> (Line, Line) {
    pair_for(&slot())
}

async fn read(line: &Line, bytes_max: usize) -> Result<Bytes, NetError> {
    poll_fn(|cx| line.poll_read(cx, bytes_max)).await
}

async fn write(line: &Line, bytes: impl Into<Bytes>) -> Result<(), NetError> {
    let mut bytes = bytes.into();
    while !bytes.is_empty() {
        let room = poll_fn(|cx| line.poll_writable(cx)).await?;
        line.write(bytes.split_to(room.min(bytes.len())))?;
    }
    Ok(())
}

/// Reads to the end.
async fn read_all(line: &Line, bytes_max: usize) -> Result<Vec<u8>, NetError> {
    let mut all = Vec::new();
    loop {
        let bytes = read(line, bytes_max).await?;
        assert!(bytes.len() <= bytes_max);
        match bytes.is_empty() {
            true => return Ok(all),
            false => all.extend_from_slice(&bytes),
        }
    }
}

/// Writes until the kernel takes no more; how much that was.
async fn fill(line: &Line) -> usize {
    let mut filled_bytes = 0;
    let is_full = || poll_fn(|cx| Poll::Ready(line.poll_writable(cx).is_pending()));
    poll_fn(|cx| line.poll_writable(cx)).await.unwrap();
    while !is_full().await {
        line.write(Bytes::from(vec![b'x'; FRAME_BYTES_MAX])).unwrap();
        filled_bytes += FRAME_BYTES_MAX;
    }
    filled_bytes
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn bytes_arrive_as_they_were_written_in_whatever_pieces() {
    local(async {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (one, other) = pair();
            let piece_bytes_max = [20, 5_000, FRAME_BYTES_MAX][seed as usize % 3];
            let pieces: Vec<Vec<u8>> = (0..40)
                .map(|_| (0..random.usize(1..=piece_bytes_max)).map(|_| random.u8(..)).collect())
                .collect();
            let sent = pieces.concat();
            let writing = async {
                for piece in pieces {
                    write(&one, piece).await.unwrap();
                }
                one.shutdown_write();
            };
            let read_bytes_max = [7, 100, 4_096, 30_000, FRAME_BYTES_MAX][random.usize(..5)];
            let reading = read_all(&other, read_bytes_max);
            let ((), received) = futures::join!(writing, reading);
            assert!(received == Ok(sent), "seed {seed}");
        }
    })
    .await;
}

#[tokio::test]
async fn both_sides_can_write_at_once() {
    local(async {
        let (one, other) = pair();
        let sent = Bytes::from(vec![7; 3 << 20]);
        let side = async |line: &Line| {
            let writing = async {
                write(line, sent.clone()).await.unwrap();
                line.shutdown_write();
            };
            futures::join!(writing, read_all(line, 10_000)).1
        };
        let (one, other) = futures::join!(side(&one), side(&other));
        assert!(one == Ok(sent.to_vec()) && other == Ok(sent.to_vec()));
    })
    .await;
}

#[tokio::test]
async fn an_end_is_read_after_what_was_written_and_again_and_again() {
    local(async {
        let (one, other) = pair();
        write(&one, "to the end").await.unwrap();
        one.shutdown_write();
        assert_eq!(one.write(Bytes::from("more")), Err(NetError::Closed));
        assert_eq!(read_all(&other, 100).await.unwrap(), b"to the end");
        assert_eq!(read(&other, 100).await.unwrap(), "");
        write(&other, "still open this way").await.unwrap();
        assert_eq!(read(&one, 100).await.unwrap(), "still open this way");
    })
    .await;
}

#[tokio::test]
async fn a_line_that_closes_without_an_end_is_a_reset() {
    local(async {
        let (one, other) = pair();
        write(&one, "cut").await.unwrap();
        drop(one);
        assert_eq!(read(&other, 100).await.unwrap(), "cut");
        assert_eq!(read(&other, 100).await, Err(NetError::Reset));
        let mut written = Ok(());
        while written.is_ok() {
            written = write(&other, "nobody is there").await;
        }
        assert_eq!(written, Err(NetError::Reset));
    })
    .await;
}

#[tokio::test]
async fn a_reset_wakes_who_waits_on_either_side() {
    local(async {
        let (one, other) = pair();
        fill(&one).await;
        let waiting = async {
            let reading = read(&one, 100);
            let writing = poll_fn(|cx| one.poll_writable(cx));
            futures::join!(reading, writing)
        };
        let resetting = async {
            tokio::task::yield_now().await;
            one.reset();
        };
        let (waited, ()) = futures::join!(waiting, resetting);
        assert_eq!(waited, (Err(NetError::Reset), Err(NetError::Reset)));
        assert_eq!(one.write(Bytes::from("x")), Err(NetError::Reset));
        let mut last = read(&other, FRAME_BYTES_MAX).await;
        while last.is_ok() {
            last = read(&other, FRAME_BYTES_MAX).await;
        }
        assert_eq!(last, Err(NetError::Reset));
    })
    .await;
}

#[tokio::test]
async fn what_the_kernel_does_not_take_is_sent_without_being_asked_for() {
    local(async {
        let (one, other) = pair();
        let filled_bytes = fill(&one).await;
        one.shutdown_write();
        drop(one);
        let received = read_all(&other, FRAME_BYTES_MAX).await.unwrap();
        assert_eq!(received.len(), filled_bytes);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_given_up_after_a_while() {
    local(async {
        let slot = slot();
        let (one, other) = pair_for(&slot);
        fill(&one).await;
        assert!(slot.memory_bytes() > 0, "what waits is charged");
        one.shutdown_write();
        drop(one);
        tokio::time::sleep(std::time::Duration::from_secs(31)).await;
        assert_eq!(slot.memory_bytes(), 0);
        let received = read_all(&other, FRAME_BYTES_MAX).await;
        assert_eq!(received, Err(NetError::Reset));
    })
    .await;
}

#[tokio::test]
async fn a_task_without_memory_can_not_write() {
    local(async {
        let (socket, _other) = sockets();
        let charge = Charge::new(MemoryClaim::new(slot(), 0, 100));
        let line = Line::new(socket, Rc::new(charge)).unwrap();
        assert_eq!(write(&line, vec![0; 200]).await, Err(NetError::OutOfMemory));
        write(&line, vec![0; 50]).await.unwrap();
        write(&line, vec![0; 50]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_side_that_reads_no_more_does_not_stop_the_other() {
    local(async {
        let (one, other) = pair();
        other.shutdown_read();
        write(&one, vec![1; 4 << 20]).await.unwrap();
        one.shutdown_write();
        assert_eq!(read(&other, 100).await.unwrap(), "");
        write(&other, "and writes").await.unwrap();
        other.shutdown_write();
        assert_eq!(read_all(&one, 100).await.unwrap(), b"and writes");
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_without_end_to_a_side_that_reads_no_more_is_a_reset() {
    local(async {
        let (one, other) = pair();
        other.shutdown_read();
        let mut written_bytes = 0;
        let piece = Bytes::from(vec![1; FRAME_BYTES_MAX]);
        let ended = loop {
            match write(&one, piece.clone()).await {
                Ok(()) => written_bytes += FRAME_BYTES_MAX,
                Err(error) => break error,
            }
        };
        assert_eq!(ended, NetError::Reset);
        let kernel_bytes = 1 << 20;
        assert!((FORGOTTEN_BYTES_MAX..FORGOTTEN_BYTES_MAX + kernel_bytes).contains(&written_bytes));
        assert_eq!(write(&other, "nobody gets it").await, Err(NetError::Reset));
    })
    .await;
}

#[tokio::test]
async fn the_kernel_takes_no_more_than_it_was_told() {
    local(async {
        let (socket, _other) = sockets();
        let same = socket.try_clone().unwrap();
        let charge = Charge::new(MemoryClaim::new(slot(), 0, MEMORY_BYTES));
        let _line = Line::new(socket, Rc::new(charge)).unwrap();
        // The kernel says what it makes of it: as much again for its own structures.
        assert_eq!(sockopt::socket_send_buffer_size(&same).unwrap(), 2 * LINE_BUFFER_BYTES);
    })
    .await;
}

#[tokio::test]
async fn data_that_is_not_read_is_noticed_and_an_end_is_no_data() {
    local(async {
        let (one, other) = pair();
        assert!(!other.is_unread());
        write(&one, "data").await.unwrap();
        assert!(other.is_unread());
        assert_eq!(read(&other, 2).await.unwrap(), "da");
        assert!(other.is_unread());
        assert_eq!(read(&other, 100).await.unwrap(), "ta");
        assert!(!other.is_unread());
        one.shutdown_write();
        assert!(!other.is_unread());
    })
    .await;
}

#[tokio::test]
async fn an_answer_comes_before_all_else() {
    local(async {
        let sentence = "é".repeat(SENTENCE_BYTES_MAX);
        let denied = sentence[..SENTENCE_BYTES_MAX].to_owned();
        for (given, expected) in [
            (Answer::Accepted, Ok(())),
            (Answer::Refused, Err(NetError::Refused)),
            (Answer::Denied("no rule"), Err(NetError::Denied("no rule".into()))),
            (Answer::Denied(""), Err(NetError::Denied("".into()))),
            (Answer::Denied(&sentence), Err(NetError::Denied(denied))),
        ] {
            let (one, other) = sockets();
            let charge = || Rc::new(Charge::new(MemoryClaim::new(slot(), 0, MEMORY_BYTES)));
            answer(&one, given).unwrap();
            let (one, other) = (Line::new(one, charge()).unwrap(), Line::new(other, charge()).unwrap());
            write(&one, "and the data").await.unwrap();
            assert_eq!(poll_fn(|cx| other.poll_answer(cx)).await, expected);
            if expected.is_ok() {
                assert_eq!(read(&other, 100).await.unwrap(), "and the data");
            }
        }
        let (one, other) = pair();
        drop(one);
        assert_eq!(poll_fn(|cx| other.poll_answer(cx)).await, Err(NetError::Refused), "nobody answers");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_frame_is_a_reset() {
    local(async {
        for frame in [[9, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9], [1, 1, 0, 0], [2, 0, 0, 0]] {
            let (one, other) = sockets();
            let charge = Charge::new(MemoryClaim::new(slot(), 0, MEMORY_BYTES));
            let line = Line::new(other, Rc::new(charge)).unwrap();
            rustix::net::send(&one, &frame, SendFlags::empty()).unwrap();
            assert_eq!(read(&line, 100).await, Err(NetError::Reset), "{frame:?}");
        }
    })
    .await;
}
