//! Calls of `wasi:http`.

use crate::{Machine, give_up_or_wait};
use guest_common::Program;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme};
use wasip3::wit_bindgen::{FutureReader, spawn_local};
use wasip3::wit_future;

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
            2 => _ = (fields.get(&program.name()), fields.has(&program.name())),
            3 => _ = fields.get_and_delete(&program.name()),
            4 => _ = fields.set(&program.name(), &[program.data(), program.text().into_bytes()]),
            5 => _ = fields.delete(&program.name()),
            6 => _ = fields.copy_all(),
            7 => {
                let copy = fields.clone();
                self.fields.push(copy);
            }
            _ => _ = fields.append(&program.name(), &program.text().into_bytes()),
        }
    }

    /// Calls on a request, be it the client's or one of the guest's own.
    pub(crate) fn request(&mut self, program: &mut Program) {
        let call = program.byte() % 8;
        let Some(request) = program.pick(&mut self.requests) else { return };
        match call {
            0 => _ = (request.get_method(), request.get_scheme(), request.get_authority()),
            1 => _ = request.set_method(&method(program)),
            2 => _ = request.set_scheme(scheme(program).as_ref()),
            3 => _ = request.set_authority(Some(&program.text())),
            4 => _ = request.set_path_with_query(Some(&program.text())),
            5 => self.fields.push(request.get_headers()),
            6 => self.options.extend(request.get_options()),
            _ => {
                let result = self.sent_reader(program);
                let Some(request) = program.take(&mut self.requests) else { return };
                let (contents, trailers) = Request::consume_body(request, result);
                self.readers.push(contents);
                self.trailers_readers.push(trailers);
            }
        }
    }

    /// Makes requests, responses and options.
    pub(crate) fn message(&mut self, program: &mut Program) {
        match program.byte() % 6 {
            0 | 1 => {
                let fields = program.take(&mut self.fields).unwrap_or_else(Fields::new);
                let contents = program.take(&mut self.readers);
                let trailers = self.trailers_reader(program);
                let options = program.take(&mut self.options);
                let (request, sent) = Request::new(fields, contents, trailers, options);
                self.requests.push(request);
                self.sent_readers.push(sent);
            }
            2 | 3 => {
                let fields = program.take(&mut self.fields).unwrap_or_else(Fields::new);
                let contents = program.take(&mut self.readers);
                let trailers = self.trailers_reader(program);
                let (response, sent) = Response::new(fields, contents, trailers);
                self.responses.push(response);
                self.sent_readers.push(sent);
            }
            4 => self.options.push(RequestOptions::new()),
            _ => {
                let Some(options) = program.pick(&mut self.options) else { return };
                let time = Some(program.number());
                _ = options.set_connect_timeout(time);
                _ = options.set_first_byte_timeout(time);
                _ = options.set_between_bytes_timeout(time);
                let copy = options.clone();
                self.options.push(copy);
            }
        }
    }

    pub(crate) fn response(&mut self, program: &mut Program) {
        let call = program.byte() % 6;
        match call {
            0 | 1 => return self.answer = program.take(&mut self.responses).map(Ok),
            2 => {
                let result = self.sent_reader(program);
                let Some(response) = program.take(&mut self.responses) else { return };
                let (contents, trailers) = Response::consume_body(response, result);
                self.readers.push(contents);
                return self.trailers_readers.push(trailers);
            }
            _ => {}
        }
        let Some(response) = program.pick(&mut self.responses) else { return };
        match call {
            3 => _ = response.set_status_code(program.number() as u16),
            4 => self.fields.push(response.get_headers()),
            _ if program.flag() => self.answer = Some(Err(error_code(program))),
            _ => _ = response.get_status_code(),
        }
    }

    /// Sends a request, and waits for what comes, or does not, or lets a task wait.
    pub(crate) async fn send(&mut self, program: &mut Program) {
        let Some(request) = program.take(&mut self.requests) else { return };
        if program.flag() {
            _ = spawn_local(client::send(request));
            return;
        }
        self.responses.extend(give_up_or_wait(program, client::send(request)).await.and_then(Result::ok));
    }

    /// A future of how a body ends: one that is held, or that of a writer which is held from now on.
    fn trailers_reader(&mut self, program: &mut Program) -> FutureReader<crate::Trailers> {
        program.take(&mut self.trailers_readers).unwrap_or_else(|| {
            let (writer, reader) = wit_future::new(|| Ok(None));
            self.trailers_writers.push(writer);
            reader
        })
    }

    /// A future of what became of a message, like [`Self::trailers_reader`].
    fn sent_reader(&mut self, program: &mut Program) -> FutureReader<crate::Sent> {
        program.take(&mut self.sent_readers).unwrap_or_else(|| {
            let (writer, reader) = wit_future::new(|| Ok(()));
            self.sent_writers.push(writer);
            reader
        })
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

pub(crate) fn error_code(program: &mut Program) -> ErrorCode {
    let text = program.text();
    program.of(&[
        ErrorCode::ConnectionTimeout,
        ErrorCode::InternalError(None),
        ErrorCode::InternalError(Some(text)),
        ErrorCode::HttpRequestBodySize(Some(u64::MAX)),
    ])
}
