//! What holds of streams between two workers beyond what holds of all.

use crate::world::{World, accept, at, listen, now, open, read, read_all, run_in_real_time, write};
use bytes::Bytes;
use skiff_net::{Interface, Limits, Stream};
use std::future::poll_fn;

/// Two workers with a task each.
fn world() -> (World, Interface, Interface) {
    let world = World::with(2, Limits::default());
    let one = world.task_in(0, "default/one", &["default"]);
    let two = world.task_in(1, "default/two", &["default"]);
    (world, one, two)
}

#[test]
fn much_passes_both_ways_at_once() {
    run_in_real_time(async {
        let (world, one, two) = world();
        let (ours, theirs) = open(&one, &two, 80).await;
        let side = async |stream: &Stream, seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            let sent: Vec<u8> = (0..5 << 20).map(|_| random.u8(..)).collect();
            let writing = async {
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(random.usize(1..=100_000).min(rest.len()));
                    write(stream, piece.to_vec()).await.unwrap();
                    rest = after;
                }
                stream.shutdown_write();
            };
            let ((), received) = tokio::join!(writing, read_all(stream));
            (sent, received.unwrap())
        };
        let ((sent, received), (sent_back, received_back)) = tokio::join!(side(&ours, 1), side(&theirs, 2));
        assert!(sent == received_back && sent_back == received);
        for task in [&one, &two] {
            let totals = world.totals(task.task());
            assert_eq!((totals.net_sent_bytes, totals.net_received_bytes), (5 << 20, 5 << 20));
        }
    });
}

#[test]
fn lines_do_not_meet() {
    run_in_real_time(async {
        let (_world, one, two) = world();
        let listener = listen(&two, 80);
        let echo = async {
            for _ in 0..100 {
                let stream = accept(&listener).await.unwrap();
                tokio::task::spawn_local(async move {
                    while let Ok(bytes) = read(&stream).await
                        && !bytes.is_empty()
                    {
                        write(&stream, bytes).await.unwrap();
                    }
                });
            }
        };
        let call = |number: usize| {
            let connecting = one.connect(None, at(&two, 80));
            async move {
                let stream = connecting.await.unwrap();
                let sent = vec![number as u8; 1_000 * number];
                write(&stream, sent.clone()).await.unwrap();
                stream.shutdown_write();
                assert!(read_all(&stream).await.unwrap() == sent);
            }
        };
        tokio::join!(echo, futures::future::join_all((0..100).map(call)));
    });
}

#[test]
fn what_was_written_arrives_after_its_writer_has_gone() {
    run_in_real_time(async {
        let (world, one, two) = world();
        let (ours, theirs) = open(&one, &two, 80).await;
        poll_fn(|context| ours.poll_writable(context)).await.unwrap();
        let mut written_bytes = 0;
        while let Some(room) = now(|context| ours.poll_writable(context)) {
            let room = room.unwrap();
            ours.write(Bytes::from(vec![7; room])).unwrap();
            written_bytes += room;
        }
        drop(ours);
        assert_eq!(read_all(&theirs).await.unwrap(), vec![7; written_bytes]);
        assert_eq!(world.totals(one.task()).memory_bytes, 0, "nothing waits any more");
    });
}
