//! Bulk memory instructions in pieces, so that a guest can be interrupted amid one.
//!
//! Cranelift looks at the epoch once before `memory.copy`, `memory.fill` and `memory.init`, and then moves all the bytes in
//! one call of the host, up to 4 GiB. So the compiler is given another component: in each core module that holds such an
//! instruction, the instruction becomes a call of a function that does what is long piece by piece ([`helper`]), with a
//! look at the epoch at each. The functions stand behind all that the module has; so no index changes, and nothing but
//! the bodies that call them ([`module`]).
//!
//! What always holds: a guest can't tell the difference, in what it computes, where it traps, and in that nothing is
//! written before it does; a component without such instructions, or where all of them are short, stays as it is, bit
//! for bit; and nobody but the compiler sees the other one, so digests and keys are those of what was pushed.
//!
//! It deliberately leaves alone: bulk instructions on tables, which have too few elements to take long
//! ([`crate::engine::TABLE_ELEMENTS_MAX`]); and custom sections that point into bodies by their bytes (DWARF, branch
//! hints), which the engine's settings do not read.

mod helper;
mod module;
#[cfg(test)]
mod tests;

use skiff_ports::runtime::PrepareError;
use std::borrow::Cow;
use wasm_encoder::{ComponentSectionId, Encode};
use wasmparser::BinaryReader;

/// To be raised when what becomes of a component changes: native code that was made with another is made again.
pub(crate) const VERSION: u32 = 1;
/// Bytes that are moved at once: some 30 microseconds, and ten times that if the kernel has to find each page.
pub(crate) const PIECE_BYTES: u32 = 256 << 10;
/// How deep components may lie within each other.
const NESTING_MAX: usize = 100;
/// What a module or a component begins with: magic, version, layer.
const HEADER_BYTES: usize = 8;

const CORE_MODULE: u8 = ComponentSectionId::CoreModule as u8;
const COMPONENT: u8 = ComponentSectionId::Component as u8;

/// Why a component can't be rewritten.
#[derive(Debug, thiserror::Error)]
enum RewriteError {
    #[error(transparent)]
    Unreadable(#[from] wasmparser::BinaryReaderError),
    #[error("there are components within it, within each other, more than {NESTING_MAX} deep")]
    TooDeep,
}

/// A sound component as it is to be compiled.
///
/// # Errors
/// [`PrepareError::Refused`] for components that lie too deep within each other.
pub fn in_pieces(component: Vec<u8>) -> Result<Vec<u8>, PrepareError> {
    match rewritten(&component, PIECE_BYTES, 0) {
        Ok(Some(rewritten)) => Ok(rewritten),
        Ok(None) => Ok(component),
        Err(error @ RewriteError::TooDeep) => Err(PrepareError::Refused(error.to_string())),
        Err(RewriteError::Unreadable(error)) => {
            Err(PrepareError::Internal(format!("a component that was found sound can't be read: {error}")))
        }
    }
}

/// The same for pieces of this size; `None` if nothing changes.
fn rewritten(component: &[u8], piece_bytes: u32, depth: usize) -> Result<Option<Vec<u8>>, RewriteError> {
    if depth > NESTING_MAX {
        return Err(RewriteError::TooDeep);
    }
    let mut sections = sections(component)?;
    for section in &mut sections {
        let changed = match section.id {
            CORE_MODULE => module::in_pieces(&section.contents, piece_bytes)?,
            COMPONENT => rewritten(&section.contents, piece_bytes, depth + 1)?,
            _ => None,
        };
        if let Some(contents) = changed {
            section.contents = Cow::Owned(contents);
        }
    }
    Ok(joined(component, &sections))
}

/// A section of a module or a component.
struct Section<'a> {
    id: u8,
    /// Owned once they are others than before.
    contents: Cow<'a, [u8]>,
}

/// All sections of a sound module or component.
fn sections(binary: &[u8]) -> wasmparser::Result<Vec<Section<'_>>> {
    let mut reader = BinaryReader::new(binary, 0);
    reader.read_bytes(HEADER_BYTES)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let (id, bytes) = (reader.read_u8()?, reader.read_var_u32()?);
        sections.push(Section { id, contents: Cow::Borrowed(reader.read_bytes(bytes as usize)?) });
    }
    Ok(sections)
}

/// The module or component with these sections instead of its own; `None` if they are the same.
fn joined(binary: &[u8], sections: &[Section<'_>]) -> Option<Vec<u8>> {
    if sections.iter().all(|section| matches!(section.contents, Cow::Borrowed(_))) {
        return None;
    }
    let mut joined = binary[..HEADER_BYTES].to_vec();
    for section in sections {
        joined.push(section.id);
        section.contents.encode(&mut joined);
    }
    Some(joined)
}
