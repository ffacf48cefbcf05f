//! An HTTP task on WASI 0.3 that carries out the program in its path: host calls in whatever order, on whatever it holds,
//! some of them given up half-way, some in tasks that outlive the answer.
//!
//! It holds what the host gave it in lists, by type. What the types of Rust exclude is left out, but for one call: a
//! handle that is not the guest's.

mod http;
mod streams;
mod system;

use guest_common::Program;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, RequestOptions, Response};
use wasip3::sockets::types::{TcpSocket, UdpSocket};
use wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamWriter, spawn_local};
use wasip3::wit_future;

/// How a body ends.
type Trailers = Result<Option<Fields>, ErrorCode>;
/// What became of a message that was sent or received.
type Sent = Result<(), ErrorCode>;

/// All that the guest holds.
#[derive(Default)]
struct Machine {
    answer: Option<Result<Response, ErrorCode>>,
    fields: Vec<Fields>,
    requests: Vec<Request>,
    responses: Vec<Response>,
    options: Vec<RequestOptions>,
    readers: Vec<StreamReader<u8>>,
    writers: Vec<StreamWriter<u8>>,
    trailers_readers: Vec<FutureReader<Trailers>>,
    trailers_writers: Vec<FutureWriter<Trailers>>,
    sent_readers: Vec<FutureReader<Sent>>,
    sent_writers: Vec<FutureWriter<Sent>>,
    tcp: Vec<TcpSocket>,
    udp: Vec<UdpSocket>,
}

struct Calls;

wasip3::http::service::export!(Calls);

impl Guest for Calls {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let mut program = Program::from_path(request.get_path_with_query().as_deref());
        if program.is_over() {
            let (end, trailers) = wit_future::new(|| Ok(None));
            drop(end);
            return Ok(Response::new(Fields::new(), None, trailers).0);
        }
        let mut machine = Machine { requests: vec![request], ..Machine::default() };
        while !program.is_over() && machine.answer.is_none() {
            machine.step(&mut program).await;
        }
        let answer = machine.answer.take().unwrap_or(Err(ErrorCode::InternalError(None)));
        // What is left of the program goes on behind the answer, on what the guest still holds.
        spawn_local(async move {
            while !program.is_over() {
                machine.step(&mut program).await;
            }
        });
        answer
    }
}

impl Machine {
    /// Carries out the next call.
    async fn step(&mut self, program: &mut Program) {
        match program.byte() % 16 {
            0 | 1 => self.fields(program),
            2 => self.request(program),
            3 => self.message(program),
            4 | 5 => self.response(program),
            6 => self.send(program).await,
            7 => self.make(program),
            8 | 9 => self.read(program).await,
            10 | 11 => self.write(program).await,
            12 => self.end(program).await,
            13 => self.drop_one(program),
            14 => self.system(program),
            _ => _ = give_up_or_wait(program, monotonic_clock::wait_for(u64::MAX)).await,
        }
    }

    /// Drops something, whatever else was made from it.
    fn drop_one(&mut self, program: &mut Program) {
        match program.byte() % 13 {
            0 => drop(program.take(&mut self.fields)),
            1 => drop(program.take(&mut self.requests)),
            2 => drop(program.take(&mut self.responses)),
            3 => drop(program.take(&mut self.options)),
            4 => drop(program.take(&mut self.readers)),
            5 => drop(program.take(&mut self.writers)),
            6 => drop(program.take(&mut self.trailers_readers)),
            7 => drop(program.take(&mut self.trailers_writers)),
            8 => drop(program.take(&mut self.sent_readers)),
            9 => drop(program.take(&mut self.sent_writers)),
            10 => drop(program.take(&mut self.tcp)),
            11 => drop(program.take(&mut self.udp)),
            _ => {
                // SAFETY: a handle is an index that the host checks; one that is not the guest's is what is tested here.
                drop(unsafe { Fields::from_handle(u32::from(program.byte())) });
            }
        }
    }
}

/// Waits for a call in one of three ways: to its end; to its first pause, and then gives it up; or for a short time.
async fn give_up_or_wait<T>(program: &mut Program, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    match program.byte() % 4 {
        0 => Some(call.await),
        1 => {
            poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        }
        _ => {
            let mut timer = pin!(monotonic_clock::wait_for(u64::from(program.byte()) * 1_000));
            poll_fn(|cx| match (call.as_mut().poll(cx), timer.as_mut().poll(cx)) {
                (Poll::Ready(value), _) => Poll::Ready(Some(value)),
                (Poll::Pending, Poll::Ready(())) => Poll::Ready(None),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
            })
            .await
        }
    }
}
