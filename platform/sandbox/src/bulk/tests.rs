//! What a guest computes is the same as before, on any operands; and what does not change, does not change.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use wasmparser::{KnownCustom, Name, Parser, Payload};
use wasmtime::{Config, Engine, Instance, Linker, Memory, MemoryType, Module, Store, Trap, UpdateDeadline};

/// Small, so that little memory has many of them.
const SMALL_PIECE_BYTES: u32 = 64;
const PAGE_BYTES: usize = 64 << 10;
/// Of the module's passive segment.
const SEGMENT_BYTES: usize = 300;

/// All instructions on all its memories: `$same` and `$again` are one and the same when it is tested, and `$wide` has
/// addresses of 64 bits.
fn module() -> Vec<u8> {
    let segment: String = (0..SEGMENT_BYTES).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    wat::parse_str(format!(
        r#"(module
          (import "" "same" (memory $same 1))
          (import "" "same" (memory $again 1))
          (memory $wide (export "wide") i64 1 3)
          (data $segment "{segment}")
          (func (export "copy 0 0") (param i32 i32 i32)
            (memory.copy $same $same (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy 0 1") (param i32 i32 i32)
            (memory.copy $same $again (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy 0 2") (param i32 i64 i32)
            (memory.copy $same $wide (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy 2 0") (param i64 i32 i32)
            (memory.copy $wide $same (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy 2 2") (param i64 i64 i64)
            (memory.copy $wide $wide (local.get 0) (local.get 1) (local.get 2)))
          (func (export "fill 0") (param i32 i32 i32)
            (memory.fill $same (local.get 0) (local.get 1) (local.get 2)))
          (func (export "fill 2") (param i64 i32 i64)
            (memory.fill $wide (local.get 0) (local.get 1) (local.get 2)))
          (func (export "init 0") (param i32 i32 i32)
            (memory.init $same $segment (local.get 0) (local.get 1) (local.get 2)))
          (func (export "init 2") (param i64 i32 i32)
            (memory.init $wide $segment (local.get 0) (local.get 1) (local.get 2)))
          (func (export "drop") (data.drop $segment))
          (func (export "grow") (drop (memory.grow $wide (i64.const 1)))))"#
    ))
    .unwrap()
}

/// One call of the module's.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Between memories: 0 and 1 are the same one, 2 is the wide one.
    Copy {
        to: u8,
        from: u8,
        at: [u64; 3],
    },
    Fill {
        memory: u8,
        at: [u64; 3],
    },
    Init {
        memory: u8,
        at: [u64; 3],
    },
    Drop,
    Grow,
}

/// Addresses and lengths: small ones, those about the ends of things, and any.
fn number() -> impl Strategy<Value = u64> {
    let about = |at: u64| (0..200_u64).prop_map(move |more| (at + more).wrapping_sub(100));
    prop_oneof![
        4 => 0..1_000_u64,
        2 => about(SEGMENT_BYTES as u64),
        2 => 0..PAGE_BYTES as u64,
        2 => about(PAGE_BYTES as u64),
        1 => about(2 * PAGE_BYTES as u64),
        1 => about(1 << 32),
        1 => about(0),
        1 => any::<u64>(),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let at = || [number(), number(), number()];
    let pairs = prop::sample::select(vec![(0, 0), (0, 1), (0, 2), (2, 0), (2, 2)]);
    let memory = || prop::sample::select(vec![0, 2]);
    prop_oneof![
        10 => (pairs, at()).prop_map(|((to, from), at)| Op::Copy { to, from, at }),
        3 => (memory(), at()).prop_map(|(memory, at)| Op::Fill { memory, at }),
        4 => (memory(), at()).prop_map(|(memory, at)| Op::Init { memory, at }),
        1 => Just(Op::Drop),
        1 => Just(Op::Grow),
    ]
}

/// The specification, byte by byte.
struct Naive {
    same: Vec<u8>,
    wide: Vec<u8>,
    segment: Vec<u8>,
}

impl Naive {
    fn new() -> Self {
        let segment = (0..SEGMENT_BYTES).map(|at| b'a' + (at % 23) as u8).collect();
        Self { same: pattern(), wide: vec![0; PAGE_BYTES], segment }
    }

    fn memory(&mut self, number: u8) -> &mut Vec<u8> {
        if number == 2 { &mut self.wide } else { &mut self.same }
    }

    /// Whether it went without a trap.
    fn run(&mut self, op: Op) -> bool {
        match op {
            Op::Copy { to, from, at } => {
                let is_wide = |memory| memory == 2;
                let [to_at, from_at, length] =
                    narrowed(at, [is_wide(to), is_wide(from), is_wide(to) && is_wide(from)]);
                let source = part(self.memory(from), from_at, length).map(<[u8]>::to_vec);
                Self::write(self.memory(to), to_at, length, source)
            }
            Op::Fill { memory, at } => {
                let is_wide = memory == 2;
                let [to_at, byte, length] = narrowed(at, [is_wide, false, is_wide]);
                let memory = self.memory(memory);
                let source = part(memory, to_at, length).map(|part| vec![byte as u8; part.len()]);
                Self::write(memory, to_at, length, source)
            }
            Op::Init { memory, at } => {
                let [to_at, from_at, length] = narrowed(at, [memory == 2, false, false]);
                let source = part(&self.segment, from_at, length).map(<[u8]>::to_vec);
                Self::write(self.memory(memory), to_at, length, source)
            }
            Op::Drop => {
                self.segment.clear();
                true
            }
            Op::Grow => {
                if self.wide.len() < 3 * PAGE_BYTES {
                    self.wide.resize(self.wide.len() + PAGE_BYTES, 0);
                }
                true
            }
        }
    }

    fn write(memory: &mut [u8], at: u64, length: u64, bytes: Option<Vec<u8>>) -> bool {
        let (Some(bytes), Some(_)) = (bytes, part(memory, at, length)) else { return false };
        memory[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        true
    }
}

fn part(of: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let end = at.checked_add(length).filter(|&end| end <= of.len() as u64)?;
    Some(&of[at as usize..end as usize])
}

/// Operands that are not of 64 bits lose their upper halves.
fn narrowed(operands: [u64; 3], are_wide: [bool; 3]) -> [u64; 3] {
    std::array::from_fn(|at| if are_wide[at] { operands[at] } else { u64::from(operands[at] as u32) })
}

/// What the first memory begins with.
fn pattern() -> Vec<u8> {
    (0..PAGE_BYTES).map(|at| (at % 251) as u8).collect()
}

/// An instance of the module.
struct Guest {
    store: Store<()>,
    instance: Instance,
    same: Memory,
}

impl Guest {
    fn new(engine: &Engine, module: &Module) -> Self {
        let mut store = Store::new(engine, ());
        let same = Memory::new(&mut store, MemoryType::new(1, Some(1))).unwrap();
        same.write(&mut store, 0, &pattern()).unwrap();
        let mut linker = Linker::new(engine);
        linker.define(&store, "", "same", same).unwrap();
        let instance = linker.instantiate(&mut store, module).unwrap();
        Self { store, instance, same }
    }

    /// Whether it went without a trap.
    fn run(&mut self, op: Op) -> bool {
        let (name, operands) = match op {
            Op::Copy { to, from, at } => (format!("copy {to} {from}"), at.to_vec()),
            Op::Fill { memory, at } => (format!("fill {memory}"), at.to_vec()),
            Op::Init { memory, at } => (format!("init {memory}"), at.to_vec()),
            Op::Drop => ("drop".to_owned(), vec![]),
            Op::Grow => ("grow".to_owned(), vec![]),
        };
        let function = self.instance.get_func(&mut self.store, &name).unwrap();
        let types = function.ty(&self.store);
        let value = |(at, ty): (usize, wasmtime::ValType)| match ty {
            wasmtime::ValType::I64 => wasmtime::Val::I64(operands[at].cast_signed()),
            _ => wasmtime::Val::I32((operands[at] as u32).cast_signed()),
        };
        let values: Vec<_> = types.params().enumerate().map(value).collect();
        match function.call(&mut self.store, &values, &mut []) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds), "{error:?}");
                false
            }
        }
    }

    fn is_like(&mut self, naive: &Naive) -> bool {
        let wide = self.instance.get_memory(&mut self.store, "wide").unwrap();
        self.same.data(&self.store) == naive.same && wide.data(&self.store) == naive.wide
    }
}

proptest! {
    #[test]
    fn a_guest_can_not_tell_the_difference(ops in prop::collection::vec(op(), 1..40)) {
        thread_local! {
            static MODULES: (Engine, [Module; 2]) = {
                let (engine, original) = (Engine::default(), module());
                let rewritten = module::in_pieces(&original, SMALL_PIECE_BYTES).unwrap().unwrap();
                let modules = [&original, &rewritten].map(|bytes| Module::new(&engine, bytes).unwrap());
                (engine, modules)
            };
        }
        let (mut naive, mut guests) = (Naive::new(), MODULES.with(|(engine, modules)| {
            modules.each_ref().map(|module| Guest::new(engine, module))
        }));
        for op in ops {
            let went = naive.run(op);
            for guest in &mut guests {
                prop_assert_eq!(guest.run(op), went, "{:?}", op);
                prop_assert!(guest.is_like(&naive), "{:?}", op);
            }
        }
    }
}

/// How often a guest that runs this module's `run` looks at the epoch.
fn looks(module: &[u8]) -> u32 {
    let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let looks = Arc::new(AtomicU32::new(0));
    let ours = looks.clone();
    store.epoch_deadline_callback(move |_| {
        ours.fetch_add(1, Relaxed);
        // It is always over.
        Ok(UpdateDeadline::Continue(0))
    });
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    instance.get_typed_func::<(), ()>(&mut store, "run").unwrap().call(&mut store, ()).unwrap();
    looks.load(Relaxed)
}

#[test]
fn a_long_one_is_interrupted_at_every_piece() {
    let mib = "x".repeat(1 << 20);
    for instruction in [
        "(memory.copy (i32.const 0) (i32.const 1048576) (i32.const 1048576))",
        "(memory.copy (i32.const 1) (i32.const 0) (i32.const 1048576))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576))",
        "(memory.init $segment (i32.const 0) (i32.const 0) (i32.const 1048576))",
    ] {
        let text =
            format!("(module (memory 32) (data $segment \"{mib}\") (func (export \"run\") {instruction}))");
        let original = wat::parse_str(text).unwrap();
        assert!(looks(&original) < 4, "{instruction}");
        let rewritten = module::in_pieces(&original, PIECE_BYTES).unwrap().unwrap();
        assert!(looks(&rewritten) >= (1 << 20) / PIECE_BYTES, "{instruction}");
    }
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

#[test]
fn what_needs_nothing_stays_as_it_is() {
    for inside in [
        "",
        "(core module (func))",
        "(core module (memory 1) (func (memory.copy (i32.const 0) (i32.const 9) (i32.const 262144))))",
        "(core module (memory 1) (func (memory.fill (i32.const 0) (i32.const 9) (i32.const 100))))",
        "(core module (memory i64 1) (func (memory.fill (i64.const 0) (i32.const 9) (i64.const 100))))",
        "(core module (memory 1) (data $short \"x\")
           (func (param i32) (memory.init $short (i32.const 0) (i32.const 0) (local.get 0))))",
        "(core module (table 9 funcref) (func (table.copy (i32.const 0) (i32.const 3) (i32.const 3))))",
    ] {
        let component = component(inside);
        assert_eq!(in_pieces(component.clone()), Ok(component), "{inside}");
    }
}

/// The bodies of all modules in a component, with how many bulk memory instructions are in each.
fn instructions(component: &[u8]) -> Vec<usize> {
    wasmparser::Validator::new().validate_all(component).unwrap();
    let mut counts = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let operators = body.get_operators_reader().unwrap().into_iter();
            counts.push(
                operators.filter(|operator| helper::Bulk::of(operator.as_ref().unwrap()).is_some()).count(),
            );
        }
    }
    counts
}

const LONG: &str = "(core module (memory 1)
    (func (memory.copy (i32.const 0) (i32.const 0) (i32.const -1)))
    (func (memory.copy (i32.const 0) (i32.const 0) (i32.const 3)))
    (func (param i32) (memory.copy (i32.const 0) (i32.const 0) (local.get 0))
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 262145))))";

#[test]
fn modules_are_rewritten_wherever_they_are() {
    let text = format!("{LONG} (component (component {LONG})) (core module (func))");
    let rewritten = in_pieces(component(&text)).unwrap();
    // A helper has the instruction for what is short, for what traps, in its loops, and for what they leave.
    assert_eq!(instructions(&rewritten), [0, 1, 0, 5, 4, 0, 1, 0, 5, 4, 0]);
}

#[test]
fn what_lies_too_deep_is_refused() {
    let nested = |depth: usize| {
        (0..depth).fold(component(""), |inner, _| {
            let mut outer = inner[..HEADER_BYTES].to_vec();
            outer.push(COMPONENT);
            inner.encode(&mut outer);
            outer
        })
    };
    assert!(in_pieces(nested(NESTING_MAX)).is_ok());
    let refusal = in_pieces(nested(NESTING_MAX + 1));
    assert!(matches!(&refusal, Err(PrepareError::Refused(why)) if why.contains("100 deep")), "{refusal:?}");
}

#[test]
fn names_stay_and_helpers_get_theirs() {
    let named = "(module $guest (memory 1) (func $mine (param $length i32)
        (memory.fill (i32.const 0) (i32.const 0) (local.get $length))))";
    let rewritten = module::in_pieces(&wat::parse_str(named).unwrap(), PIECE_BYTES).unwrap().unwrap();
    let (mut functions, mut locals, mut module) = (Vec::new(), 0, "");
    for payload in Parser::new(0).parse_all(&rewritten) {
        let Payload::CustomSection(section) = payload.unwrap() else { continue };
        let KnownCustom::Name(names) = section.as_known() else { continue };
        for name in names {
            match name.unwrap() {
                Name::Module { name, .. } => module = name,
                Name::Function(names) => functions.extend(names.into_iter().map(Result::unwrap)),
                Name::Local(names) => locals += names.count(),
                _ => {}
            }
        }
    }
    let functions: Vec<_> = functions.iter().map(|naming| (naming.index, naming.name)).collect();
    assert_eq!((module, functions, locals), ("guest", vec![(0, "mine"), (1, "memory.fill")], 1));
}
