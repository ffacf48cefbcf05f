//! Reads off a component what it imports and exports, for the image's config.
//!
//! It only looks, section by section, and keeps none in memory but the one it reads: whether the component may run is
//! decided where it is compiled. What can't be read, or is beyond a bound, has no interface: that is no error here.

use serde::Serialize;
use std::io::{self, Read, Seek, SeekFrom};
use wasmparser::{Chunk, Encoding, Parser, Payload};

/// The largest section that is looked into, in bytes.
const SECTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most sections that are looked at.
const SECTIONS_MAX: usize = 100_000;
/// Most bytes that the names may have together.
const NAMES_BYTES_MAX: usize = 64 * 1024;
/// Bytes read from the file at once.
const READ_BYTES: usize = 64 * 1024;

/// The names that a component imports and exports, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Interface {
    pub exports: Vec<String>,
    pub imports: Vec<String>,
}

/// A window into the file, from `start` of what was read last.
struct Window<R> {
    file: R,
    buffer: Vec<u8>,
    start: usize,
    at_end: bool,
}

/// The interface of the component in `file`; `None` if there is no component that can be read.
pub(crate) fn read(mut file: impl Read + Seek) -> io::Result<Option<Interface>> {
    file.seek(SeekFrom::Start(0))?;
    let mut window = Window { file, buffer: Vec::new(), start: 0, at_end: false };
    let mut parser = Parser::new(0);
    let mut interface = Interface::default();
    let mut names_bytes = 0;
    for _ in 0..SECTIONS_MAX {
        let (consumed, payload) = loop {
            match parser.parse(&window.buffer[window.start..], window.at_end) {
                Ok(Chunk::Parsed { consumed, payload }) => break (consumed, look(payload)),
                Ok(Chunk::NeedMoreData(hint)) => {
                    if !window.fill(hint)? {
                        return Ok(None);
                    }
                }
                Err(_) => return Ok(None),
            }
        };
        window.start += consumed;
        match payload {
            Seen::Nothing => {}
            Seen::Nested(bytes) => window.skip(bytes)?,
            Seen::Names(found) => {
                names_bytes += found.imports.iter().chain(&found.exports).map(String::len).sum::<usize>();
                interface.imports.extend(found.imports);
                interface.exports.extend(found.exports);
            }
            Seen::Unreadable => return Ok(None),
            Seen::End => {
                interface.imports.sort_unstable();
                interface.exports.sort_unstable();
                return Ok(Some(interface));
            }
        }
        if names_bytes > NAMES_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(None)
}

/// What a section has for us.
enum Seen {
    Nothing,
    /// A module or component inside, of so many bytes.
    Nested(usize),
    Names(Interface),
    Unreadable,
    End,
}

fn look(payload: Payload<'_>) -> Seen {
    match payload {
        Payload::Version { encoding: Encoding::Module, .. } => Seen::Unreadable,
        Payload::ModuleSection { unchecked_range, .. }
        | Payload::ComponentSection { unchecked_range, .. } => Seen::Nested(unchecked_range.len()),
        Payload::ComponentImportSection(section) => {
            let names = section.into_iter().map(|import| Ok(import?.name.name.to_owned()));
            match names.collect::<wasmparser::Result<_>>() {
                Ok(imports) => Seen::Names(Interface { imports, exports: Vec::new() }),
                Err(_) => Seen::Unreadable,
            }
        }
        Payload::ComponentExportSection(section) => {
            let names = section.into_iter().map(|export| Ok(export?.name.name.to_owned()));
            match names.collect::<wasmparser::Result<_>>() {
                Ok(exports) => Seen::Names(Interface { imports: Vec::new(), exports }),
                Err(_) => Seen::Unreadable,
            }
        }
        Payload::End(_) => Seen::End,
        _ => Seen::Nothing,
    }
}

impl<R: Read + Seek> Window<R> {
    /// Reads on by `hint` bytes or more; says no if the section is over the bound.
    fn fill(&mut self, hint: u64) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = usize::try_from(hint).unwrap_or(usize::MAX).max(READ_BYTES);
        if wanted.saturating_add(self.buffer.len()) > SECTION_BYTES_MAX {
            return Ok(false);
        }
        let read = self.file.by_ref().take(wanted as u64).read_to_end(&mut self.buffer)?;
        self.at_end = read < wanted;
        Ok(true)
    }

    fn skip(&mut self, bytes: usize) -> io::Result<()> {
        let ready = self.buffer.len() - self.start;
        if bytes <= ready {
            self.start += bytes;
        } else {
            self.buffer.clear();
            self.start = 0;
            self.file.seek_relative((bytes - ready) as i64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        let mut section = vec![id];
        let mut length = body.len();
        while length >= 0x80 {
            section.push(length as u8 | 0x80);
            length >>= 7;
        }
        section.push(length as u8);
        [section, body.to_vec()].concat()
    }

    /// A component type section with one empty instance type, and an import of it.
    fn import(name: &str) -> Vec<u8> {
        let types = section(7, &[1, 0x42, 0]);
        let mut body = vec![1, 0, name.len() as u8];
        body.extend(name.as_bytes());
        body.extend([5, 0]);
        [types, section(10, &body)].concat()
    }

    /// A component export section with one instance, the first.
    fn export(name: &str) -> Vec<u8> {
        let mut body = vec![1, 0, name.len() as u8];
        body.extend(name.as_bytes());
        body.extend([5, 0, 0]);
        section(11, &body)
    }

    #[test]
    fn names_are_found_behind_large_modules() {
        let large = [b"\0asm\x01\0\0\0".to_vec(), section(0, &vec![b'\x01'; 3 * READ_BYTES])].concat();
        let component = [
            HEADER.to_vec(),
            import("wasi:io/streams@0.2.0"),
            section(1, &large),
            import("wasi:cli/environment@0.2.0"),
            export("wasi:cli/run@0.2.0"),
        ]
        .concat();
        let interface = read(Cursor::new(&component)).unwrap().unwrap();
        assert_eq!(interface.imports, ["wasi:cli/environment@0.2.0", "wasi:io/streams@0.2.0"]);
        assert_eq!(interface.exports, ["wasi:cli/run@0.2.0"]);
        for length in 0..200 {
            read(Cursor::new(&component[..length])).unwrap();
        }
    }

    #[test]
    fn what_is_no_component_has_no_interface() {
        let endless = [HEADER.to_vec(), section(0, b"\x01x").repeat(SECTIONS_MAX + 1)].concat();
        let huge = [HEADER.to_vec(), section(0, &vec![1; SECTION_BYTES_MAX + 1])].concat();
        for bytes in [&b""[..], b"\0as", b"a letter to my aunt", b"\0asm\x01\0\0\0", &endless, &huge] {
            assert_eq!(read(Cursor::new(bytes)).unwrap(), None);
        }
    }
}
