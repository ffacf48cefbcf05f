//! An HTTP task on WASI 0.2 that carries out the program in its path: host calls in whatever order, on whatever it holds.
//!
//! It holds what the host gave it in lists, by type, and leaves them to the host at its end, so that resources are
//! dropped in any order or never. What the types of Rust exclude is left out, but for one call: a handle that is not
//! the guest's.

mod http;
mod io;
mod system;

use guest_common::Program;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, FutureIncomingResponse, FutureTrailers, IncomingBody, IncomingRequest, IncomingResponse,
    OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam,
};
use wasip2::io::error::Error;
use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::sockets::ip_name_lookup::ResolveAddressStream;
use wasip2::sockets::network::Network;
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::udp::UdpSocket;

/// All that the guest holds.
#[derive(Default)]
struct Machine {
    outparam: Option<ResponseOutparam>,
    fields: Vec<Fields>,
    requests: Vec<IncomingRequest>,
    responses: Vec<OutgoingResponse>,
    outgoing_requests: Vec<OutgoingRequest>,
    options: Vec<RequestOptions>,
    future_responses: Vec<FutureIncomingResponse>,
    incoming_responses: Vec<IncomingResponse>,
    incoming_bodies: Vec<IncomingBody>,
    outgoing_bodies: Vec<OutgoingBody>,
    future_trailers: Vec<FutureTrailers>,
    inputs: Vec<InputStream>,
    outputs: Vec<OutputStream>,
    errors: Vec<Error>,
    pollables: Vec<Pollable>,
    networks: Vec<Network>,
    tcp: Vec<TcpSocket>,
    udp: Vec<UdpSocket>,
    lookups: Vec<ResolveAddressStream>,
}

struct Calls;

wasip2::http::proxy::export!(Calls);

impl Guest for Calls {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let mut program = Program::from_path(request.path_with_query().as_deref());
        if program.is_over() {
            ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new())));
            return;
        }
        let mut machine = Machine { outparam: Some(out), requests: vec![request], ..Machine::default() };
        while !program.is_over() {
            machine.step(&mut program);
        }
        std::mem::forget(machine);
    }
}

impl Machine {
    /// Carries out the next call.
    fn step(&mut self, program: &mut Program) {
        match program.byte() % 16 {
            0 | 1 => self.fields(program),
            2 => self.request(program),
            3 | 4 => self.response(program),
            5 => self.outgoing_request(program),
            6 => self.outgoing(program),
            7 => self.incoming_body(program),
            8 => self.outgoing_body(program),
            9 | 10 => self.input(program),
            11 | 12 => self.output(program),
            13 => self.poll(program),
            14 => self.drop_one(program),
            _ => self.system(program),
        }
    }

    /// Drops something, whatever else was made from it.
    fn drop_one(&mut self, program: &mut Program) {
        match program.byte() % 20 {
            0 => drop(self.outparam.take()),
            1 => drop(program.take(&mut self.fields)),
            2 => drop(program.take(&mut self.requests)),
            3 => drop(program.take(&mut self.responses)),
            4 => drop(program.take(&mut self.outgoing_requests)),
            5 => drop(program.take(&mut self.options)),
            6 => drop(program.take(&mut self.future_responses)),
            7 => drop(program.take(&mut self.incoming_responses)),
            8 => drop(program.take(&mut self.incoming_bodies)),
            9 => drop(program.take(&mut self.outgoing_bodies)),
            10 => drop(program.take(&mut self.future_trailers)),
            11 => drop(program.take(&mut self.inputs)),
            12 => drop(program.take(&mut self.outputs)),
            13 => drop(program.take(&mut self.errors)),
            14 => drop(program.take(&mut self.pollables)),
            15 => drop(program.take(&mut self.networks)),
            16 => drop(program.take(&mut self.tcp)),
            17 => drop(program.take(&mut self.udp)),
            18 => drop(program.take(&mut self.lookups)),
            _ => {
                // SAFETY: a handle is an index that the host checks; one that is not the guest's is what is tested here.
                drop(unsafe { Fields::from_handle(u32::from(program.byte())) });
            }
        }
    }
}
