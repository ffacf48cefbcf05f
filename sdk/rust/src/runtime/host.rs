//! No WASI below: what handlers, consumers and jobs need to be tested, and documented, on the machine they are written on.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

pub(crate) async fn sleep(duration: Duration) {
    thread::sleep(duration);
}

pub(crate) fn exit(code: u8) -> ! {
    std::process::exit(code.into())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) mod private {
    use crate::handler::Handler;
    use std::process::Termination;

    /// Type-checks a handler that nothing calls here.
    pub fn check<Arguments>(_handler: impl Handler<Arguments>) {}

    /// Type-checks a handler of events that nothing calls here.
    pub fn check_event<Arguments>(_handler: impl crate::events::Handler<Arguments>) {}

    /// Type-checks a consumer that nothing calls here.
    pub fn check_queue<Body>(_consumer: impl crate::queues::Consumer<Body>) {}

    /// Type-checks an initialisation that nothing calls here.
    pub fn check_initialize<T: Termination>(_initialize: impl FnOnce() -> T) {}

    /// Runs a job's `main`.
    pub fn run(main: impl Future<Output: Termination>) -> ! {
        crate::logging::install();
        crate::exit(super::super::exit_code(super::block_on(main)))
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __http {
    ($handler:ident) => {
        const _: fn() = || $crate::__private::check($handler);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __event {
    ($handler:ident) => {
        const _: fn() = || $crate::__private::check_event($handler);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue {
    ($consumer:ident) => {
        const _: fn() = || $crate::__private::check_queue($consumer);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __main {
    ($main:ident) => {
        #[allow(dead_code, reason = "on WASI 0.3 a job is a library")]
        fn main() {
            $crate::__private::run($main())
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __initialize {
    ($initialize:ident) => {
        const _: fn() = || $crate::__private::check_initialize($initialize);
    };
}
