//! Relays over connections in memory.

use super::*;
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Runs `test` beside a relay between the connections that it gets the far ends of; gives how the relay ended.
fn beside(
    silence_max: Duration,
    test: impl AsyncFnOnce(DuplexStream, DuplexStream),
) -> (Result<(), Broken>, Carried) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let (space, carried) = (Space::default(), Carried::default());
    let ended = runtime.block_on(async {
        let (client, mut client_far) = duplex(1_000);
        let (task, task_far) = duplex(1_000);
        let relaying = async {
            let relay = Relay::new(&space, &carried, silence_max);
            let relay = relay.after(b"from the client, ", b"from the task, ");
            let ended = relay.run(&mut client_far, Box::new(task_far)).await;
            drop(client_far);
            ended
        };
        tokio::join!(relaying, test(client, task)).0
    });
    (ended, carried)
}

#[test]
fn each_side_ends_for_itself_and_what_was_read_before_goes_first() {
    let (ended, carried) = beside(Duration::from_secs(9), async |mut client, mut task| {
        client.write_all(b"a question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        task.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "from the client, a question");
        task.write_all(b"an answer").await.unwrap();
        drop(task);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "from the task, an answer");
    });
    assert_eq!(ended, Ok(()));
    assert_eq!((carried.from_client_bytes(), carried.from_task_bytes()), (27, 24));
}

#[test]
fn who_takes_nothing_holds_the_other_back() {
    let (ended, carried) = beside(Duration::from_secs(9), async |mut client, task| {
        let chunk = [b'x'; 1_000];
        let mut written_bytes = 0;
        while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), client.write(&chunk)).await {
            written_bytes += written.unwrap();
        }
        assert!(written_bytes < 2 * SPACE_BYTES, "{written_bytes} bytes were taken of the client");
        drop(task);
        client.read_to_end(&mut Vec::new()).await.unwrap();
    });
    assert_eq!(ended, Err(Broken::ByTask));
    assert!(carried.from_client_bytes() < 2 * SPACE_BYTES as u64);
}

/// Takes what it is given, says nothing, and counts how often it is asked to send what it took.
struct Holding(Rc<Cell<usize>>);

impl AsyncRead for Holding {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Holding {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.set(self.0.get() + 1);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_a_side_took_and_holds_is_asked_for_whenever_it_wakes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _in_runtime = runtime.enter();
    let (space, carried, asked) = (Space::default(), Carried::default(), Rc::new(Cell::new(0)));
    let (mut client, (task, _far)) = (Holding(asked.clone()), duplex(1_000));
    let relay = Relay::new(&space, &carried, Duration::from_secs(9)).after(b"", b"from the task");
    let mut running = pin!(relay.run(&mut client, Box::new(task)));
    for times in 1..=3 {
        assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(asked.get(), times);
    }
}

#[test]
fn silence_ends_it_but_a_byte_now_and_then_keeps_it() {
    let (ended, carried) = beside(Duration::from_secs(9), async |mut client, mut task| {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            task.write_all(b"x").await.unwrap();
        }
        client.read_to_end(&mut Vec::new()).await.unwrap();
    });
    assert_eq!(ended, Err(Broken::Silent { idle_ms: 9_000 }));
    assert_eq!(carried.from_task_bytes(), 15 + 5);
}
