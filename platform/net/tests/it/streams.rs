//! What holds of a stream, within a worker and between two.

use crate::world::{Wakes, World, at, listen, now, open, read, read_all, run, run_in_real_time, write};
use bytes::Bytes;
use skiff_net::{Limits, NetError, Stream};
use std::task::Context;

/// Runs a test with the two ends of a stream through memory, and with those of one between workers.
fn over_each(test: impl AsyncFn(Stream, Stream)) {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = open(&one, &two, 80).await;
        test(ours, theirs).await;
    });
    run_in_real_time(async {
        let world = World::with(2, Limits::default());
        let one = world.task_in(0, "default/one", &["default"]);
        let two = world.task_in(1, "default/two", &["default"]);
        let (ours, theirs) = open(&one, &two, 80).await;
        test(ours, theirs).await;
    });
}

/// Bytes of which no two places are alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + place / 251) as u8).collect()
}

#[test]
fn what_is_written_is_read_in_order_and_then_comes_the_end() {
    over_each(async |ours, theirs| {
        let sent = pattern(1_000_000);
        let writing = async {
            for piece in sent.chunks(10_007) {
                write(&ours, piece.to_vec()).await.unwrap();
            }
            ours.shutdown_write();
        };
        let ((), received) = tokio::join!(writing, read_all(&theirs));
        assert!(received.unwrap() == sent);
        assert_eq!(read(&theirs).await, Ok(Bytes::new()), "the end stays");
    });
}

#[test]
fn each_side_ends_for_itself() {
    over_each(async |ours, theirs| {
        write(&ours, "question").await.unwrap();
        ours.shutdown_write();
        assert_eq!(ours.write("more".into()), Err(NetError::Closed));
        assert_eq!(read_all(&theirs).await.unwrap(), b"question");
        write(&theirs, "answer").await.unwrap();
        theirs.shutdown_write();
        assert_eq!(read_all(&ours).await.unwrap(), b"answer");
    });
}

#[test]
fn a_side_that_goes_away_has_ended() {
    over_each(async |ours, theirs| {
        write(&ours, "last words").await.unwrap();
        drop(ours);
        assert_eq!(read_all(&theirs).await.unwrap(), b"last words");
    });
}

#[test]
fn a_side_that_goes_away_with_bytes_unread_resets() {
    over_each(async |ours, theirs| {
        write(&ours, "never read").await.unwrap();
        drop(theirs);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(read(&ours).await, Err(NetError::Reset), "and stays so");
    });
}

#[test]
fn bytes_that_were_read_for_nobody_are_left_unread() {
    over_each(async |ours, theirs| {
        write(&ours, "asked").await.unwrap();
        assert_eq!(read(&theirs).await.unwrap(), "asked");
        theirs.leave_unread();
        drop(theirs);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
    });
}

#[test]
fn a_reset_is_one_for_both_sides() {
    over_each(async |ours, theirs| {
        write(&ours, "not to be read").await.unwrap();
        ours.reset();
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(ours.write("more".into()), Err(NetError::Reset));
        // What is on its way between workers may still come.
        let last = loop {
            match read(&theirs).await {
                Ok(bytes) if !bytes.is_empty() => {}
                other => break other,
            }
        };
        assert_eq!(last, Err(NetError::Reset));
    });
}

#[test]
fn who_reads_no_more_keeps_nobody_from_writing() {
    over_each(async |ours, theirs| {
        theirs.shutdown_read();
        assert_eq!(read(&theirs).await, Ok(Bytes::new()));
        write(&theirs, "still here").await.unwrap();
        assert_eq!(read(&ours).await.unwrap(), "still here");
    });
}

#[test]
fn who_is_not_read_waits_and_goes_on_when_it_is() {
    over_each(async |ours, theirs| {
        let sent = pattern(8 << 20);
        let mut rest = Bytes::from(sent.clone());
        let mut is_stuck = false;
        while !rest.is_empty() && !is_stuck {
            match now(|context| ours.poll_writable(context)) {
                Some(room) => ours.write(rest.split_to(room.unwrap().min(rest.len()))).unwrap(),
                None => is_stuck = true,
            }
        }
        assert!(is_stuck, "8 MiB were taken without anybody reading");
        let writing = async {
            write(&ours, rest).await.unwrap();
            ours.shutdown_write();
        };
        let ((), received) = tokio::join!(writing, read_all(&theirs));
        assert!(received.unwrap() == sent);
    });
}

#[test]
fn both_sides_know_each_others_address() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = open(&one, &two, 80).await;
        assert_eq!((ours.remote(), theirs.local()), (at(&two, 80), at(&two, 80)));
        assert_eq!(ours.local(), theirs.remote());
        assert_eq!(ours.local().ip(), at(&one, 0).ip());
        assert!(ours.local().port() >= 49_152);
    });
}

#[test]
fn a_stream_over_ipv6_is_another_port_space() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let _v4 = listen(&two, 80);
        let remote = (two.address().v6, 80).into();
        assert_eq!(one.connect(None, remote).await.unwrap_err(), NetError::Refused);
        let port = two.bind(skiff_types::Transport::Tcp, "[::]:80".parse().unwrap()).unwrap();
        let v6 = two.listen(port, 1).unwrap();
        let ours = one.connect(None, remote).await.unwrap();
        let theirs = crate::world::accept(&v6).await.unwrap();
        assert_eq!((ours.remote(), theirs.remote()), (theirs.local(), ours.local()));
    });
}

#[test]
fn bytes_through_memory_are_not_copied() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = open(&one, &two, 80).await;
        let sent = Bytes::from(pattern(30_000));
        ours.write(sent.clone()).unwrap();
        let first = now(|context| theirs.poll_read(context, 10_000)).unwrap().unwrap();
        let rest = now(|context| theirs.poll_read(context, usize::MAX)).unwrap().unwrap();
        assert_eq!((first.as_ptr(), first.len()), (sent.as_ptr(), 10_000));
        assert_eq!((rest.as_ptr(), rest.len()), (sent[10_000..].as_ptr(), 20_000));
    });
}

#[test]
fn only_who_waits_is_woken_and_only_when_there_is_something_to_do() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = open(&one, &two, 80).await;
        let ((reads, reader), (writes, writer)) = (Wakes::new(), Wakes::new());
        let (mut reader, mut writer) = (Context::from_waker(&reader), Context::from_waker(&writer));
        assert!(theirs.poll_read(&mut reader, 1).is_pending());
        let room = now(|context| ours.poll_writable(context)).unwrap().unwrap();
        ours.write(vec![1; room].into()).unwrap();
        assert_eq!(reads.count(), 1);
        assert!(ours.poll_writable(&mut writer).is_pending());
        let quarter = room / 4 - 1;
        assert!(now(|context| theirs.poll_read(context, quarter)).is_some());
        assert_eq!(writes.count(), 0, "so little room is not worth waking for");
        assert!(now(|context| theirs.poll_read(context, 1_000)).is_some());
        assert_eq!((reads.count(), writes.count()), (1, 1));
        ours.write("more".into()).unwrap();
        assert_eq!((reads.count(), writes.count()), (1, 1), "nobody waits");
    });
}

#[test]
fn what_was_written_before_a_side_went_away_with_bytes_unread_can_still_be_read() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = open(&one, &two, 80).await;
        write(&ours, "a long question").await.unwrap();
        write(&theirs, "an early answer").await.unwrap();
        drop(theirs);
        assert_eq!(read(&ours).await.unwrap(), "an early answer");
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(ours.write("more".into()), Err(NetError::Reset));
    });
}

#[test]
fn what_is_read_in_part_is_charged_until_it_is_read_whole() {
    run(async {
        const PIECE_BYTES: usize = 60 << 10;
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let mut pairs = Vec::new();
        for port in 80..88 {
            let (ours, theirs) = open(&one, &two, port).await;
            write(&ours, vec![0; PIECE_BYTES]).await.unwrap();
            pairs.push((ours, theirs));
        }
        let read = |bytes_max: usize| -> Vec<usize> {
            let read = |theirs: &Stream| now(|context| theirs.poll_read(context, bytes_max));
            pairs.iter().map(|(_, theirs)| read(theirs).unwrap().unwrap().len()).collect()
        };
        assert_eq!(read(PIECE_BYTES - 1), [PIECE_BYTES - 1; 8]);
        // One byte holds the memory of all.
        let held = world.totals(one.task()).memory_bytes;
        assert!(held >= 8 * PIECE_BYTES as u64, "{held}");
        assert_eq!(read(PIECE_BYTES), [1; 8]);
        let held = world.totals(one.task()).memory_bytes;
        assert!(held < 4 * PIECE_BYTES as u64, "{held}");
    });
}

#[test]
fn what_waits_is_charged_to_who_wrote_it_and_refused_beyond_its_limit() {
    run(async {
        let world = World::new();
        let one = world.task_with_memory("default/one", 40 << 10);
        let two = world.task("default/two", &["default"]);
        let (ours, theirs) = open(&one, &two, 80).await;
        ours.write(vec![0; 30 << 10].into()).unwrap();
        let held = world.totals(one.task()).memory_bytes;
        assert!((30 << 10..=40 << 10).contains(&held), "{held}");
        assert_eq!(ours.write(vec![0; 10 << 10].into()), Err(NetError::OutOfMemory));
        // What the other side writes is the other side's.
        theirs.write(vec![0; 50 << 10].into()).unwrap();
        assert!(world.totals(two.task()).memory_bytes > 50 << 10);
        assert!(now(|context| theirs.poll_read(context, usize::MAX)).is_some());
        ours.write(vec![0; 10 << 10].into()).unwrap();
        drop((ours, theirs));
        assert_eq!(world.totals(one.task()).memory_bytes, 0);
        assert_eq!(world.totals(two.task()).memory_bytes, 0);
    });
}
