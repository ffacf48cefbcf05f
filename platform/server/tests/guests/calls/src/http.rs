//! Calls of `wasi:http`.

use crate::Machine;
use guest_common::Program;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions,
    ResponseOutparam, Scheme, http_error_code,
};

impl Machine {
    pub(crate) fn fields(&mut self, program: &mut Program) {
        let call = program.byte() % 10;
        match call {
            0 => return self.fields.push(Fields::new()),
            1 => {
                let count = usize::from(program.byte());
                let entry = (program.name(), program.data());
                return self.fields.extend(Fields::from_list(&vec![entry; count]));
            }
            _ => {}
        }
        let Some(fields) = program.pick(&mut self.fields) else { return };
        match call {
            2 => _ = fields.get(&program.name()),
            3 => _ = fields.has(&program.name()),
            4 => _ = fields.set(&program.name(), &[program.data(), program.text().into_bytes()]),
            5 => _ = fields.delete(&program.name()),
            6 => _ = fields.entries(),
            7 => {
                let copy = fields.clone();
                self.fields.push(copy);
            }
            _ => _ = fields.append(&program.name(), &program.text().into_bytes()),
        }
    }

    pub(crate) fn request(&mut self, program: &mut Program) {
        let Some(request) = program.pick(&mut self.requests) else { return };
        match program.byte() % 6 {
            0 => _ = request.method(),
            1 => _ = (request.path_with_query(), request.authority()),
            2 => _ = request.scheme(),
            3 => self.fields.push(request.headers()),
            _ => self.incoming_bodies.extend(request.consume()),
        }
    }

    pub(crate) fn response(&mut self, program: &mut Program) {
        let call = program.byte() % 8;
        match call {
            0 => {
                let fields = program.take(&mut self.fields).unwrap_or_else(Fields::new);
                return self.responses.push(OutgoingResponse::new(fields));
            }
            1 | 2 => return self.answer(program),
            _ => {}
        }
        let Some(response) = program.pick(&mut self.responses) else { return };
        match call {
            3 => _ = response.set_status_code(program.number() as u16),
            4 => _ = response.status_code(),
            5 => self.fields.push(response.headers()),
            _ => self.outgoing_bodies.extend(response.body()),
        }
    }

    /// Sets the answer, of which there may be one only.
    fn answer(&mut self, program: &mut Program) {
        let Some(out) = self.outparam.take() else { return };
        let answer = match program.take(&mut self.responses) {
            Some(response) => Ok(response),
            None => Err(error_code(program)),
        };
        ResponseOutparam::set(out, answer);
    }

    pub(crate) fn outgoing_request(&mut self, program: &mut Program) {
        let call = program.byte() % 8;
        if call == 0 {
            let fields = program.take(&mut self.fields).unwrap_or_else(Fields::new);
            return self.outgoing_requests.push(OutgoingRequest::new(fields));
        }
        let Some(request) = program.pick(&mut self.outgoing_requests) else { return };
        match call {
            1 => _ = request.set_method(&method(program)),
            2 => _ = request.set_scheme(scheme(program).as_ref()),
            3 => _ = request.set_authority(Some(&program.text())),
            4 => _ = request.set_path_with_query(Some(&program.text())),
            5 => self.fields.push(request.headers()),
            6 => self.outgoing_bodies.extend(request.body()),
            _ => _ = (request.method(), request.scheme(), request.authority(), request.path_with_query()),
        }
    }

    /// Sends requests, and takes what becomes of them.
    pub(crate) fn outgoing(&mut self, program: &mut Program) {
        match program.byte() % 8 {
            0 => self.options.push(RequestOptions::new()),
            1 => {
                let Some(options) = program.pick(&mut self.options) else { return };
                let time = Some(program.number());
                _ = options.set_connect_timeout(time);
                _ = options.set_first_byte_timeout(time);
                _ = options.set_between_bytes_timeout(time);
                options.connect_timeout();
            }
            2 | 3 => {
                let Some(request) = program.take(&mut self.outgoing_requests) else { return };
                let options = program.take(&mut self.options);
                self.future_responses.extend(outgoing_handler::handle(request, options));
            }
            4 => {
                let Some(future) = program.pick(&mut self.future_responses) else { return };
                if let Some(Ok(Ok(response))) = future.get() {
                    self.incoming_responses.push(response);
                }
            }
            5 => {
                let Some(future) = program.pick(&mut self.future_responses) else { return };
                self.pollables.push(future.subscribe());
            }
            6 => {
                let Some(response) = program.pick(&mut self.incoming_responses) else { return };
                self.fields.push(response.headers());
                self.incoming_bodies.extend(response.consume());
            }
            _ => {
                let Some(error) = program.pick(&mut self.errors) else { return };
                _ = http_error_code(error);
            }
        }
    }

    pub(crate) fn incoming_body(&mut self, program: &mut Program) {
        match program.byte() % 6 {
            0 | 1 => {
                let Some(body) = program.pick(&mut self.incoming_bodies) else { return };
                self.inputs.extend(body.stream());
            }
            2 => {
                let Some(body) = program.take(&mut self.incoming_bodies) else { return };
                self.future_trailers.push(IncomingBody::finish(body));
            }
            3 => {
                let Some(trailers) = program.pick(&mut self.future_trailers) else { return };
                self.pollables.push(trailers.subscribe());
            }
            _ => {
                let Some(trailers) = program.pick(&mut self.future_trailers) else { return };
                if let Some(Ok(Ok(Some(fields)))) = trailers.get() {
                    self.fields.push(fields);
                }
            }
        }
    }

    pub(crate) fn outgoing_body(&mut self, program: &mut Program) {
        match program.byte() % 4 {
            0 | 1 => {
                let Some(body) = program.pick(&mut self.outgoing_bodies) else { return };
                self.outputs.extend(body.write());
            }
            _ => {
                let Some(body) = program.take(&mut self.outgoing_bodies) else { return };
                let trailers = if program.flag() { program.take(&mut self.fields) } else { None };
                _ = OutgoingBody::finish(body, trailers);
            }
        }
    }
}

fn method(program: &mut Program) -> Method {
    let text = program.text();
    program.of(&[Method::Get, Method::Post, Method::Connect, Method::Other(text)])
}

fn scheme(program: &mut Program) -> Option<Scheme> {
    let text = program.text();
    program.of(&[None, Some(Scheme::Http), Some(Scheme::Https), Some(Scheme::Other(text))])
}

fn error_code(program: &mut Program) -> ErrorCode {
    let text = program.text();
    program.of(&[
        ErrorCode::ConnectionTimeout,
        ErrorCode::InternalError(None),
        ErrorCode::InternalError(Some(text)),
        ErrorCode::HttpRequestBodySize(Some(u64::MAX)),
    ])
}
