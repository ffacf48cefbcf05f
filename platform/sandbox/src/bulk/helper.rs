//! The functions that bulk memory instructions become calls of: one for each instruction with its immediates, with the
//! instruction's operands as its parameters.
//!
//! ```text
//! if the length is at most a piece, or what it would read or write is not all there: the instruction itself
//! else, piece by piece, from the end if a copy goes up and else from the beginning: the instruction on a piece
//! ```
//!
//! What is out of bounds so traps in the instruction itself, before anything is written. Only the function's own loop can
//! be interrupted, and nothing else runs in the guest's memory meanwhile: the thread goes to another store.

use wasm_encoder::{BlockType, Encode, Function, InstructionSink, ValType};
use wasmparser::{MemoryType, Operator};

/// Bytes of a page of linear memory, as a power of two, where its type does not say.
const PAGE_BYTES_LOG2: u32 = 16;

/// The parameters of every helper: the address written to; the address read from, or the byte to fill with; the length.
const TO: u32 = 0;
const FROM: u32 = 1;
const LENGTH: u32 = 2;
/// Its variables, all of 64 bits: where the next piece goes and comes from, what is left to do, the size of a memory.
const TO_NEXT: u32 = 3;
const FROM_NEXT: u32 = 4;
const LEFT: u32 = 5;
const SIZE: u32 = 6;

/// A bulk memory instruction with its immediates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bulk {
    Copy { to: u32, from: u32 },
    Fill { memory: u32 },
    Init { memory: u32, segment: u32 },
}

impl Bulk {
    pub(super) fn of(operator: &Operator<'_>) -> Option<Self> {
        match *operator {
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Self::Copy { to: dst_mem, from: src_mem }),
            Operator::MemoryFill { mem } => Some(Self::Fill { memory: mem }),
            Operator::MemoryInit { data_index, mem } => Some(Self::Init { memory: mem, segment: data_index }),
            _ => None,
        }
    }

    /// What its helper is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Copy { .. } => "memory.copy",
            Self::Fill { .. } => "memory.fill",
            Self::Init { .. } => "memory.init",
        }
    }

    /// The memory that it writes to.
    fn memory(self) -> u32 {
        match self {
            Self::Copy { to: memory, .. } | Self::Fill { memory } | Self::Init { memory, .. } => memory,
        }
    }
}

/// What helpers have to know of their module, which is sound: what an instruction names is there.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Types that it defines.
    pub(super) types: u32,
    /// Functions that it imports and defines.
    pub(super) functions: u32,
    /// Memories that it imports, and those that it defines.
    pub(super) memories: Vec<MemoryType>,
    /// Bytes of each segment of data.
    pub(super) segment_bytes: Vec<u64>,
    /// Bytes that are moved at once.
    pub(super) piece_bytes: u32,
}

impl Layout {
    /// Whether an instruction may have more to do than fits a piece, if it has this constant for its length.
    pub(super) fn may_be_long(&self, bulk: Bulk, length: Option<u64>) -> bool {
        let is_long = |bytes| bytes > u64::from(self.piece_bytes);
        // With a length beyond its segment it traps.
        let segment_is_long = match bulk {
            Bulk::Init { segment, .. } => is_long(self.segment_bytes[segment as usize]),
            Bulk::Copy { .. } | Bulk::Fill { .. } => true,
        };
        segment_is_long && length.is_none_or(is_long)
    }

    /// The type of a helper, encoded.
    pub(super) fn function_type(&self, bulk: Bulk) -> Vec<u8> {
        let mut encoded = vec![0x60];
        self.parameters(bulk).encode(&mut encoded);
        <[ValType]>::encode(&[], &mut encoded);
        encoded
    }

    fn parameters(&self, bulk: Bulk) -> [ValType; 3] {
        let to = self.address(bulk.memory());
        match bulk {
            Bulk::Copy { from, .. } => {
                let from = self.address(from);
                [to, from, if from == ValType::I64 { to } else { from }]
            }
            Bulk::Fill { .. } => [to, ValType::I32, to],
            Bulk::Init { .. } => [to, ValType::I32, ValType::I32],
        }
    }

    /// The type of addresses in a memory.
    fn address(&self, memory: u32) -> ValType {
        if self.memories[memory as usize].memory64 { ValType::I64 } else { ValType::I32 }
    }

    /// The body of a helper.
    pub(super) fn body(&self, bulk: Bulk) -> Function {
        let mut function = Function::new([(4, ValType::I64)]);
        let parameters = self.parameters(bulk);
        Body { layout: self, bulk, parameters, code: function.instructions() }.write();
        function
    }
}

/// A body that is being written.
struct Body<'a> {
    layout: &'a Layout,
    bulk: Bulk,
    parameters: [ValType; 3],
    code: InstructionSink<'a>,
}

impl Body<'_> {
    fn write(mut self) {
        let [to, from, length] = self.parameters;
        self.code.local_get(LENGTH);
        match length {
            ValType::I64 => self.code.i64_const(self.piece_bytes()).i64_le_u(),
            _ => self.code.i32_const(self.layout.piece_bytes.cast_signed()).i32_le_u(),
        };
        self.return_from_the_instruction_itself();

        self.widen(TO, to, TO_NEXT);
        self.widen(LENGTH, length, LEFT);
        if self.moving().contains(&FROM_NEXT) {
            self.widen(FROM, from, FROM_NEXT);
        }
        self.is_beyond_memory(self.bulk.memory(), TO_NEXT);
        match self.bulk {
            Bulk::Copy { from, .. } => {
                self.is_beyond_memory(from, FROM_NEXT);
                self.code.i32_or();
            }
            Bulk::Fill { .. } => {}
            Bulk::Init { segment, .. } => {
                // It may have been dropped: then the first piece traps.
                let bytes = self.layout.segment_bytes[segment as usize];
                self.code.i64_const(bytes.cast_signed()).local_set(SIZE);
                self.is_beyond_size(FROM_NEXT);
                self.code.i32_or();
            }
        }
        self.return_from_the_instruction_itself();

        match self.bulk {
            // Also between memories of two indices, which may be one and the same.
            Bulk::Copy { .. } => {
                self.code.local_get(TO_NEXT).local_get(FROM_NEXT).i64_gt_u().if_(BlockType::Empty);
                self.backwards();
                self.code.else_();
                self.forwards();
                self.code.end();
            }
            Bulk::Fill { .. } | Bulk::Init { .. } => self.forwards(),
        }
        self.next_addresses();
        self.code.local_get(LEFT);
        self.instruction_on_the_next();
        self.code.end();
    }

    fn piece_bytes(&self) -> i64 {
        i64::from(self.layout.piece_bytes)
    }

    /// If what is on the stack is true, does all at once and returns.
    fn return_from_the_instruction_itself(&mut self) {
        self.code.if_(BlockType::Empty).local_get(TO).local_get(FROM).local_get(LENGTH);
        self.instruction();
        self.code.return_().end();
    }

    fn instruction(&mut self) {
        match self.bulk {
            Bulk::Copy { to, from } => self.code.memory_copy(to, from),
            Bulk::Fill { memory } => self.code.memory_fill(memory),
            Bulk::Init { memory, segment } => self.code.memory_init(memory, segment),
        };
    }

    /// Pieces from the beginning on, until at most one is left.
    fn forwards(&mut self) {
        let piece_bytes = self.piece_bytes();
        self.code.loop_(BlockType::Empty);
        self.next_addresses();
        self.code.i64_const(piece_bytes);
        self.instruction_on_the_next();
        for &next in self.moving() {
            self.code.local_get(next).i64_const(piece_bytes).i64_add().local_set(next);
        }
        self.again_if_more_is_left();
    }

    /// Pieces from the end on, until at most one is left, at the beginning.
    fn backwards(&mut self) {
        let piece_bytes = self.piece_bytes();
        for &next in self.moving() {
            self.code.local_get(next).local_get(LEFT).i64_add().local_set(next);
        }
        self.code.loop_(BlockType::Empty);
        for &next in self.moving() {
            self.code.local_get(next).i64_const(piece_bytes).i64_sub().local_set(next);
        }
        self.next_addresses();
        self.code.i64_const(piece_bytes);
        self.instruction_on_the_next();
        self.again_if_more_is_left();
        for &next in self.moving() {
            self.code.local_get(next).local_get(LEFT).i64_sub().local_set(next);
        }
    }

    /// The end of a loop over pieces.
    fn again_if_more_is_left(&mut self) {
        let piece_bytes = self.piece_bytes();
        self.code.local_get(LEFT).i64_const(piece_bytes).i64_sub().local_tee(LEFT);
        self.code.i64_const(piece_bytes).i64_gt_u().br_if(0).end();
    }

    /// What changes from piece to piece: all addresses.
    fn moving(&self) -> &'static [u32] {
        match self.bulk {
            Bulk::Copy { .. } | Bulk::Init { .. } => &[TO_NEXT, FROM_NEXT],
            Bulk::Fill { .. } => &[TO_NEXT],
        }
    }

    /// Puts on the stack where the next piece goes, and where it comes from or what it is.
    fn next_addresses(&mut self) {
        let [to, from, _] = self.parameters;
        self.code.local_get(TO_NEXT);
        self.narrow(to);
        match self.bulk {
            Bulk::Copy { .. } | Bulk::Init { .. } => {
                self.code.local_get(FROM_NEXT);
                self.narrow(from);
            }
            Bulk::Fill { .. } => {
                self.code.local_get(FROM);
            }
        }
    }

    /// The instruction, with its addresses and then its length, in 64 bits, on the stack.
    fn instruction_on_the_next(&mut self) {
        let [_, _, length] = self.parameters;
        self.narrow(length);
        self.instruction();
    }

    /// Whether the bytes from here on, as many as there are to do, are not all within this memory.
    fn is_beyond_memory(&mut self, memory: u32, next: u32) {
        let page_bytes_log2 = self.layout.memories[memory as usize].page_size_log2.unwrap_or(PAGE_BYTES_LOG2);
        self.code.memory_size(memory);
        if self.layout.address(memory) == ValType::I32 {
            self.code.i64_extend_i32_u();
        }
        self.code.i64_const(i64::from(page_bytes_log2)).i64_shl().local_set(SIZE);
        self.is_beyond_size(next);
    }

    /// The same for what has the size that was set.
    fn is_beyond_size(&mut self, next: u32) {
        self.code.local_get(LEFT).local_get(SIZE).i64_gt_u();
        self.code.local_get(next).local_get(SIZE).local_get(LEFT).i64_sub().i64_gt_u();
        self.code.i32_or();
    }

    /// A parameter of this type as a variable of 64 bits.
    fn widen(&mut self, parameter: u32, from: ValType, to: u32) {
        self.code.local_get(parameter);
        if from == ValType::I32 {
            self.code.i64_extend_i32_u();
        }
        self.code.local_set(to);
    }

    /// What is on the stack, of 64 bits, as a value of this type.
    fn narrow(&mut self, to: ValType) {
        if to == ValType::I32 {
            self.code.i32_wrap_i64();
        }
    }
}
