//! Connections of TCP: whatever a client and a target do, and in whatever order, each gets what the other sent, in order, and
//! whole where nobody broke off; else the break is told, and to the target by more than an end.
//!
//! The first byte of an input says how much the pipes hold and whether silence ends the relay; each byte after that is what
//! one side does next, the low bits what, the others how much. A side that takes nothing stalls the other. In the end each
//! side that is still there ends what it sends, and takes all that is left.

use futures::FutureExt;
use skiff_edge::relay::{Broken, Carried, Relay, Space};
use skiff_ports::connect::Connection;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// After which a relay that has not ended never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// No input lasts as long.
const NEVER_SILENT: Duration = Duration::from_secs(3_600);
/// What the pipes hold at least, and how much more for each step, in bytes.
const PIPE_BYTES: usize = 1;
const PIPE_STEP_BYTES: usize = 37;
/// What is written or read at once for each step, in bytes.
const STEP_BYTES: usize = 23;
/// Turns that the relay has after each step.
const TURNS: usize = 2;

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// One side, as it sees itself.
struct Side {
    /// Its end; none once it has left.
    far: Option<DuplexStream>,
    fate: Rc<Fate>,
    sent: Vec<u8>,
    got: Vec<u8>,
    /// It has ended what it sends.
    has_ended: bool,
}

/// What becomes of a side's connection.
#[derive(Default)]
struct Fate {
    /// It can't be read or written any more.
    is_reset: Cell<bool>,
    /// The relay broke it off.
    is_broken_off: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The relay's end of it.
struct Near {
    stream: DuplexStream,
    fate: Rc<Fate>,
}

/// Carries what both sides do.
pub(crate) fn run(input: &[u8]) {
    let Some((&first, steps)) = input.split_first() else { return };
    let pipe_bytes = PIPE_BYTES + usize::from(first >> 1 & 15) * PIPE_STEP_BYTES;
    let silence_max = if first & 1 == 1 { Duration::ZERO } else { NEVER_SILENT };
    RUNTIME.with(|runtime| runtime.block_on(carry(steps, pipe_bytes, silence_max)));
}

async fn carry(steps: &[u8], pipe_bytes: usize, silence_max: Duration) {
    let ((mut client, mut near), (mut target, task)) = (Side::new(pipe_bytes), Side::new(pipe_bytes));
    let (space, carried, given_up) = (Space::default(), Carried::default(), Notify::new());
    let relaying = async {
        let relay = Relay::new(&space, &carried, silence_max);
        let ended = tokio::select! {
            biased;
            ended = relay.run(&mut near, Box::new(task)) => Some(ended),
            () = given_up.notified() => None,
        };
        drop(near);
        ended
    };
    let both = async {
        for step in steps {
            take(*step, &mut client, &mut target, &given_up);
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        }
        tokio::join!(client.finish(), target.finish());
    };
    let done = tokio::time::timeout(PATIENCE, async { tokio::join!(relaying, both).0 }).await;
    let ended = done.expect("the relay never ends");
    check(ended, &client, &target, silence_max);
    let bounds =
        [(&client, &target, carried.from_client_bytes()), (&target, &client, carried.from_task_bytes())];
    for (from, to, carried) in bounds {
        assert!(carried <= from.sent.len() as u64, "more was carried than was sent");
        assert!(carried >= to.got.len() as u64, "less was carried than came");
    }
}

/// One step of a side.
fn take(step: u8, client: &mut Side, target: &mut Side, given_up: &Notify) {
    let (side, steps) = (if step & 8 == 0 { client } else { target }, usize::from(step >> 4) + 1);
    match step & 7 {
        0..=2 => side.write(steps * STEP_BYTES),
        3 | 4 => side.read(steps * STEP_BYTES),
        5 => side.end(),
        6 => side.fail(steps),
        // Seldom: nothing comes after it.
        _ if steps == 16 => given_up.notify_one(),
        // It waits.
        _ => {}
    }
}

/// Whether a relay that ended so did what it promises.
fn check(ended: Option<Result<(), Broken>>, client: &Side, target: &Side, silence_max: Duration) {
    for (from, to) in [(client, target), (target, client)] {
        assert!(from.sent.starts_with(&to.got), "something else came than was sent");
        // Who was reset sent what never came; who left, or was reset, did not take all.
        let is_whole = ended == Some(Ok(())) && !from.fate.is_reset.get() && to.stayed();
        assert!(!is_whole || from.sent == to.got, "the relay ended well, and not all came");
    }
    match ended {
        Some(Ok(())) => {}
        Some(Err(Broken::ByClient)) => assert!(!client.stayed(), "the client did not break it off"),
        Some(Err(Broken::ByTask)) => assert!(!target.stayed(), "the target did not break it off"),
        Some(Err(Broken::Silent { .. })) => {
            assert!(silence_max < NEVER_SILENT, "it was not silent for as long")
        }
        None => {}
    }
    let is_told = target.fate.is_broken_off.get();
    assert_eq!(is_told, ended != Some(Ok(())), "the target takes a break for an end, or an end for a break");
}

impl Side {
    fn new(pipe_bytes: usize) -> (Self, Near) {
        let (far, stream) = tokio::io::duplex(pipe_bytes);
        let fate = Rc::new(Fate::default());
        let side =
            Self { far: Some(far), fate: fate.clone(), sent: Vec::new(), got: Vec::new(), has_ended: false };
        (side, Near { stream, fate })
    }

    /// Whether it neither left nor was reset.
    fn stayed(&self) -> bool {
        self.far.is_some() && !self.fate.is_reset.get()
    }

    /// Sends what there is room for.
    fn write(&mut self, bytes: usize) {
        let Some(far) = self.far.as_mut().filter(|_| !self.has_ended) else { return };
        let begun = self.sent.len();
        // Each byte says where it is, up to a prime.
        let piece: Vec<u8> = (begun..begun + bytes).map(|place| (place % 251) as u8).collect();
        if let Some(Ok(written)) = far.write(&piece).now_or_never() {
            self.sent.extend_from_slice(&piece[..written]);
        }
    }

    /// Takes what is there.
    fn read(&mut self, bytes: usize) {
        let Some(far) = &mut self.far else { return };
        let mut piece = vec![0; bytes];
        if let Some(Ok(read)) = far.read(&mut piece).now_or_never() {
            self.got.extend_from_slice(&piece[..read]);
        }
    }

    /// Ends what it sends.
    fn end(&mut self) {
        let Some(far) = &mut self.far else { return };
        self.has_ended |= far.shutdown().now_or_never().is_some();
    }

    /// Leaves, or is reset.
    fn fail(&mut self, steps: usize) {
        if steps.is_multiple_of(2) {
            self.far = None;
            return;
        }
        self.fate.is_reset.set(true);
        if let Some(waker) = self.fate.waker.take() {
            waker.wake();
        }
    }

    /// Ends, and takes all that still comes.
    async fn finish(&mut self) {
        let Some(far) = &mut self.far else { return };
        far.shutdown().await.expect("a pipe can be ended");
        far.read_to_end(&mut self.got).await.expect("a pipe can be read to its end");
    }
}

impl Near {
    /// Fails once it is reset; else it will be asked again then.
    fn sound(&self, context: &Context<'_>) -> io::Result<()> {
        if self.fate.is_reset.get() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.fate.waker.replace(Some(context.waker().clone()));
        Ok(())
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.sound(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sound(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sound(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection for Near {
    fn break_off(&mut self) {
        self.fate.is_broken_off.set(true);
    }
}
