//! Calls of `wasi:io`: streams, what can be waited for, and their errors.

use crate::Machine;
use guest_common::Program;
use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

impl Machine {
    pub(crate) fn input(&mut self, program: &mut Program) {
        let call = program.byte() % 8;
        let Some(input) = program.pick(&mut self.inputs) else { return };
        let result = match call {
            0 | 1 => input.read(program.number()).map(drop),
            2 => input.blocking_read(program.number()).map(drop),
            3 => input.skip(program.number()).map(drop),
            4 => input.blocking_skip(program.number()).map(drop),
            5 => {
                self.pollables.push(input.subscribe());
                Ok(())
            }
            _ => {
                let Some(output) = program.pick(&mut self.outputs) else { return };
                match call {
                    6 => output.splice(input, program.number()).map(drop),
                    _ => output.blocking_splice(input, program.number()).map(drop),
                }
            }
        };
        self.keep_error(result);
    }

    pub(crate) fn output(&mut self, program: &mut Program) {
        let call = program.byte() % 12;
        let Some(output) = program.pick(&mut self.outputs) else { return };
        let result = match call {
            0 => output.check_write().map(drop),
            // As the contract has it, and not.
            1 | 2 => output.check_write().and_then(|most| {
                let mut data = program.data();
                data.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                output.write(&data)
            }),
            3 => output.write(&program.data()),
            4 => output.blocking_write_and_flush(&program.data()),
            5 => output.write_zeroes(program.number()),
            6 => output.blocking_write_zeroes_and_flush(program.number()),
            7 => output.flush(),
            8 => output.blocking_flush(),
            9 => output.blocking_write_and_flush(b"a few bytes"),
            _ => {
                self.pollables.push(output.subscribe());
                Ok(())
            }
        };
        self.keep_error(result);
    }

    fn keep_error(&mut self, result: Result<(), StreamError>) {
        if let Err(StreamError::LastOperationFailed(error)) = result {
            _ = error.to_debug_string();
            self.errors.push(error);
        }
    }

    pub(crate) fn poll(&mut self, program: &mut Program) {
        match program.byte() % 8 {
            0 | 1 => self.pollables.push(monotonic_clock::subscribe_duration(program.nanoseconds())),
            2 => {
                let when = monotonic_clock::now().saturating_add(program.nanoseconds());
                self.pollables.push(monotonic_clock::subscribe_instant(when));
            }
            3 => {
                let Some(pollable) = program.pick(&mut self.pollables) else { return };
                pollable.ready();
            }
            4 => {
                let Some(pollable) = program.pick(&mut self.pollables) else { return };
                pollable.block();
            }
            // Each of them twice, or none, which the host answers with a trap.
            5 if program.flag() => {
                let twice: Vec<&Pollable> = self.pollables.iter().chain(&self.pollables).collect();
                poll(&twice);
            }
            _ => {
                let timer = monotonic_clock::subscribe_duration(program.nanoseconds());
                let all: Vec<&Pollable> = self.pollables.iter().chain([&timer]).collect();
                poll(&all);
            }
        }
    }
}
