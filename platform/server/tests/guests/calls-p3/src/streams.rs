//! Reading, writing and ending of streams and futures.

use crate::http::error_code;
use crate::{Machine, give_up_or_wait};
use guest_common::Program;
use wasip3::wit_bindgen::spawn_local;
use wasip3::{wit_future, wit_stream};

/// Most bytes that are read at once.
const READ_BYTES_MAX: u64 = 1 << 17;

impl Machine {
    /// Makes a stream or a future, and holds both of its ends.
    pub(crate) fn make(&mut self, program: &mut Program) {
        match program.byte() % 4 {
            0 | 1 => {
                let (writer, reader) = wit_stream::new();
                self.writers.push(writer);
                self.readers.push(reader);
            }
            2 => {
                let (writer, reader) = wit_future::new(|| Ok(None));
                self.trailers_writers.push(writer);
                self.trailers_readers.push(reader);
            }
            _ => {
                let (writer, reader) = wit_future::new(|| Ok(()));
                self.sent_writers.push(writer);
                self.sent_readers.push(reader);
            }
        }
    }

    pub(crate) async fn read(&mut self, program: &mut Program) {
        match program.byte() % 6 {
            0 | 1 => {
                let Some(reader) = program.pick(&mut self.readers) else { return };
                let most = program.number().min(READ_BYTES_MAX) as usize;
                give_up_or_wait(program, reader.read(Vec::with_capacity(most))).await;
            }
            2 => {
                let Some(reader) = program.take(&mut self.readers) else { return };
                _ = spawn_local(reader.collect());
            }
            3 => {
                let (Some(mut reader), Some(mut writer)) =
                    (program.take(&mut self.readers), program.take(&mut self.writers))
                else {
                    return;
                };
                _ = spawn_local(async move {
                    while let Some(byte) = reader.next().await {
                        writer.write_one(byte).await;
                    }
                });
            }
            4 => {
                let Some(reader) = program.take(&mut self.trailers_readers) else { return };
                let trailers = give_up_or_wait(program, reader.into_future()).await;
                self.fields.extend(trailers.and_then(Result::ok).flatten());
            }
            _ => {
                let Some(reader) = program.take(&mut self.sent_readers) else { return };
                give_up_or_wait(program, reader.into_future()).await;
            }
        }
    }

    pub(crate) async fn write(&mut self, program: &mut Program) {
        let data = program.data();
        if program.flag() {
            let Some(writer) = program.pick(&mut self.writers) else { return };
            give_up_or_wait(program, writer.write(data)).await;
        } else {
            let Some(mut writer) = program.take(&mut self.writers) else { return };
            _ = spawn_local(async move { writer.write_all(data).await });
        }
    }

    /// Says how a body ends, or what became of one.
    pub(crate) async fn end(&mut self, program: &mut Program) {
        let fails = program.flag();
        if program.flag() {
            let Some(writer) = program.take(&mut self.trailers_writers) else { return };
            let end = if fails { Err(error_code(program)) } else { Ok(program.take(&mut self.fields)) };
            _ = give_up_or_wait(program, writer.write(end)).await;
        } else {
            let Some(writer) = program.take(&mut self.sent_writers) else { return };
            let end = if fails { Err(error_code(program)) } else { Ok(()) };
            _ = give_up_or_wait(program, writer.write(end)).await;
        }
    }
}
