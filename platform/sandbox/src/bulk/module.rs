//! The rewriting of one core module: which instructions are replaced, and what is added at the ends of its sections.

use super::helper::{Bulk, Layout};
use super::{Section, joined, sections};
use std::borrow::Cow;
use std::collections::BTreeMap;
use wasm_encoder::{Encode, Instruction, SectionId};
use wasmparser::{
    BinaryReader, CodeSectionReader, DataSectionReader, FunctionBody, FunctionSectionReader,
    ImportSectionReader, MemorySectionReader, Operator, TypeRef, TypeSectionReader,
};

const CUSTOM: u8 = SectionId::Custom as u8;
const TYPE: u8 = SectionId::Type as u8;
const IMPORT: u8 = SectionId::Import as u8;
const FUNCTION: u8 = SectionId::Function as u8;
const MEMORY: u8 = SectionId::Memory as u8;
const CODE: u8 = SectionId::Code as u8;
const DATA: u8 = SectionId::Data as u8;

/// The custom section with the names of functions and other things.
const NAMES: &str = "name";
/// Its part with the names of functions.
const FUNCTION_NAMES: u8 = 1;

/// A sound module with its bulk memory instructions in pieces; `None` if there is nothing to change.
pub(super) fn in_pieces(module: &[u8], piece_bytes: u32) -> wasmparser::Result<Option<Vec<u8>>> {
    let mut sections = sections(module)?;
    let layout = layout(&sections, piece_bytes)?;
    let mut helpers = Helpers { layout: &layout, indices: BTreeMap::new(), order: Vec::new() };
    for section in sections.iter_mut().filter(|section| section.id == CODE) {
        if let Some(code) = helpers.code(&section.contents)? {
            section.contents = Cow::Owned(code);
        }
    }
    let helpers = helpers.order;
    if helpers.is_empty() {
        return Ok(None);
    }
    for section in &mut sections {
        let changed = match section.id {
            TYPE => appended(&section.contents, helpers.iter().map(|&(_, bulk)| layout.function_type(bulk)))?,
            FUNCTION => {
                let types = layout.types..layout.types + helpers.len() as u32;
                appended(&section.contents, types.map(|index| encoded(&index)))?
            }
            CUSTOM => match named(&section.contents, &helpers) {
                Ok(Some(names)) => names,
                // What is not a list of names helps nobody, and harms nobody.
                Ok(None) | Err(_) => continue,
            },
            _ => continue,
        };
        section.contents = Cow::Owned(changed);
    }
    Ok(joined(module, &sections))
}

/// What the helpers of a module have to know of it.
fn layout(sections: &[Section<'_>], piece_bytes: u32) -> wasmparser::Result<Layout> {
    let mut layout = Layout { piece_bytes, ..Layout::default() };
    for section in sections {
        let reader = BinaryReader::new(&section.contents, 0);
        match section.id {
            TYPE => {
                for group in TypeSectionReader::new(reader)? {
                    layout.types += group?.types().len() as u32;
                }
            }
            IMPORT => {
                for import in ImportSectionReader::new(reader)?.into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => layout.functions += 1,
                        TypeRef::Memory(memory) => layout.memories.push(memory),
                        TypeRef::Table(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            FUNCTION => layout.functions += FunctionSectionReader::new(reader)?.count(),
            MEMORY => {
                for memory in MemorySectionReader::new(reader)? {
                    layout.memories.push(memory?);
                }
            }
            DATA => {
                for segment in DataSectionReader::new(reader)? {
                    layout.segment_bytes.push(segment?.data.len() as u64);
                }
            }
            _ => {}
        }
    }
    Ok(layout)
}

/// The functions that a module turns out to need.
struct Helpers<'a> {
    layout: &'a Layout,
    /// The index of each.
    indices: BTreeMap<Bulk, u32>,
    /// Each with its index, by it.
    order: Vec<(u32, Bulk)>,
}

impl Helpers<'_> {
    /// The code section with calls of helpers, and with them at its end; `None` if it needs none.
    fn code(&mut self, contents: &[u8]) -> wasmparser::Result<Option<Vec<u8>>> {
        let mut bodies = Vec::new();
        for body in CodeSectionReader::new(BinaryReader::new(contents, 0))? {
            bodies.push(self.body(&body?)?);
        }
        if self.order.is_empty() {
            return Ok(None);
        }
        bodies.extend(self.order.iter().map(|&(_, bulk)| self.layout.body(bulk).into_raw_body().into()));
        let mut code = encoded(&bodies.len());
        bodies.iter().for_each(|body| body.encode(&mut code));
        Ok(Some(code))
    }

    fn index(&mut self, bulk: Bulk) -> u32 {
        let next = self.layout.functions + self.order.len() as u32;
        *self.indices.entry(bulk).or_insert_with(|| {
            self.order.push((next, bulk));
            next
        })
    }

    /// The bytes of a body whose long instructions are calls of helpers.
    fn body<'b>(&mut self, body: &FunctionBody<'b>) -> wasmparser::Result<Cow<'b, [u8]>> {
        let (bytes, start) = (body.as_bytes(), body.range().start);
        let mut operators = body.get_operators_reader()?;
        let (mut changed, mut copied, mut constant) = (Vec::new(), 0, None);
        while !operators.eof() {
            let at = operators.original_position() - start;
            let operator = operators.read()?;
            if let Some(bulk) = Bulk::of(&operator).filter(|&bulk| self.layout.may_be_long(bulk, constant)) {
                changed.extend_from_slice(&bytes[copied..at]);
                Instruction::Call(self.index(bulk)).encode(&mut changed);
                copied = operators.original_position() - start;
            }
            constant = match operator {
                Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
                Operator::I64Const { value } => Some(value.cast_unsigned()),
                _ => None,
            };
        }
        if copied == 0 {
            return Ok(Cow::Borrowed(bytes));
        }
        changed.extend_from_slice(&bytes[copied..]);
        Ok(Cow::Owned(changed))
    }
}

/// A vector of things, like most sections are, with more of them.
fn appended(vector: &[u8], more: impl Iterator<Item = Vec<u8>>) -> wasmparser::Result<Vec<u8>> {
    let more: Vec<_> = more.collect();
    let mut reader = BinaryReader::new(vector, 0);
    let count = reader.read_var_u32()?;
    let mut appended = encoded(&(count + more.len() as u32));
    appended.extend_from_slice(&vector[reader.original_position()..]);
    more.iter().for_each(|thing| appended.extend_from_slice(thing));
    Ok(appended)
}

/// A custom section with the names of the helpers too, for the stack of a guest that traps in one; `None` if it names no
/// functions.
fn named(contents: &[u8], helpers: &[(u32, Bulk)]) -> wasmparser::Result<Option<Vec<u8>>> {
    let mut reader = BinaryReader::new(contents, 0);
    if reader.read_string()? != NAMES {
        return Ok(None);
    }
    let mut named = encoded(NAMES);
    let mut names_functions = false;
    while !reader.eof() {
        let (id, bytes) = (reader.read_u8()?, reader.read_var_u32()?);
        let part = reader.read_bytes(bytes as usize)?;
        named.push(id);
        if id == FUNCTION_NAMES {
            names_functions = true;
            let more = helpers.iter().map(|&(index, bulk)| [encoded(&index), encoded(bulk.name())].concat());
            appended(part, more)?.encode(&mut named);
        } else {
            part.encode(&mut named);
        }
    }
    Ok(names_functions.then_some(named))
}

fn encoded(thing: &(impl Encode + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    thing.encode(&mut bytes);
    bytes
}
