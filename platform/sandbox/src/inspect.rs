//! The check of a component by its bytes alone: kind, generation, imports, exports, the memory it asks for.
//!
//! It parses and validates what anybody may have pushed, so it runs no code, needs no engine and never panics. Whether
//! the types of the imports fit is not seen here but when the component is linked ([`crate::compile`]).

use crate::engine::{
    CALLABLE_INSTANCES_PER_COMPONENT_MAX, CORE_INSTANCES_PER_COMPONENT_MAX, MEMORIES_PER_COMPONENT_MAX,
    TABLE_ELEMENTS_MAX, TABLES_PER_COMPONENT_MAX,
};
use crate::offered;
use crate::state::SANDBOX_OVERHEAD_BYTES;
use skiff_ports::guest_deliveries::{takes_events, takes_messages};
use skiff_ports::runtime::{ComponentReport, PrepareError};
use skiff_types::{Kind, WasiGeneration};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, DataKind, Instance, Parser, Payload, TypeBounds, Validator, WasmFeatures,
};

/// Bytes that one element of a table takes in the host.
pub(crate) const TABLE_ELEMENT_BYTES: u64 = 8;
/// Where a memory does not say otherwise, its pages have this many bytes.
const PAGE_BYTES_LOG2: u32 = 16;

/// Checks a component. In the report, `native_bytes` and `compile_ms` are 0, and nothing is initialised.
///
/// # Errors
/// [`PrepareError::Refused`] with a sentence for the component's author.
pub fn inspect(component: &[u8]) -> Result<ComponentReport, PrepareError> {
    examine(component).map(|(report, _)| report)
}

/// What else is known of a component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside {
    /// Bytes of data that a sandbox's memories start with.
    pub(crate) data_bytes: u64,
    /// Instances of components that have functions of their own, and so can be in the middle of a call.
    pub(crate) callable_instances: u32,
}

/// As [`inspect`], with what else is known.
pub(crate) fn examine(component: &[u8]) -> Result<(ComponentReport, Inside), PrepareError> {
    if Parser::is_core_wasm(component) {
        return Err(PrepareError::Refused(
            "this is a core WebAssembly module, not a component; build it for a target that makes components (`cargo \
             build --target wasm32-wasip2`) or turn it into one: `wasm-tools component new MODULE.wasm --adapt \
             wasi_snapshot_preview1.wasm -o COMPONENT.wasm`"
                .to_owned(),
        ));
    }
    if !Parser::is_component(component) {
        return Err(PrepareError::Refused(
            "this is not a WebAssembly component: its first bytes are others".to_owned(),
        ));
    }
    let damaged = |error: wasmparser::BinaryReaderError| {
        PrepareError::Refused(format!("the component is damaged, or newer than Skiff: {error}"))
    };
    Validator::new_with_features(WasmFeatures::default()).validate_all(component).map_err(damaged)?;
    let found = walk(component).map_err(damaged)?;

    if let Some(refusal) = found.imports.iter().find_map(|import| offered::refusal(import)) {
        return Err(PrepareError::Refused(refusal));
    }
    let (kind, generation) = kind(&found).ok_or_else(|| {
        let exports = if found.exports.is_empty() { "nothing".to_owned() } else { found.exports.join(", ") };
        PrepareError::Refused(format!(
            "the component is neither an http task (it would export wasi:http/incoming-handler@0.2 or \
             wasi:http/handler@0.3) nor a command (wasi:cli/run) nor an event task (skiff:events/handler@0.1 or \
             skiff:queues/consumer@0.1): it exports {exports}"
        ))
    })?;
    if let Some(refusal) = offered::refusal_of_newer(generation, &found.imports) {
        return Err(PrepareError::Refused(refusal));
    }
    if let Some(refusal) = refusal_of_size(&found.cost) {
        return Err(PrepareError::Refused(refusal));
    }
    let memory_bytes =
        found.cost.memory_bytes.saturating_add(found.cost.table_elements * TABLE_ELEMENT_BYTES);
    let report = ComponentReport {
        kind,
        generation,
        imports: found.imports,
        exports: found.exports,
        minimum_memory_bytes: memory_bytes.saturating_add(SANDBOX_OVERHEAD_BYTES),
        component_bytes: component.len() as u64,
        native_bytes: 0,
        compile_ms: 0,
        initialization: None,
    };
    let callable_instances = u32::try_from(found.cost.callable_instances).unwrap_or(u32::MAX);
    Ok((report, Inside { data_bytes: found.cost.data_bytes, callable_instances }))
}

/// Why no slot of a worker's pool can hold this, as a sentence.
fn refusal_of_size(cost: &Cost) -> Option<String> {
    let bounds = [
        (cost.core_instances, u64::from(CORE_INSTANCES_PER_COMPONENT_MAX), "instances of core modules"),
        (cost.memories, u64::from(MEMORIES_PER_COMPONENT_MAX), "linear memories"),
        (cost.tables, u64::from(TABLES_PER_COMPONENT_MAX), "tables"),
        (cost.table_elements_max, TABLE_ELEMENTS_MAX as u64, "elements in one table"),
        (cost.callable_instances, u64::from(CALLABLE_INSTANCES_PER_COMPONENT_MAX), "instances of components"),
    ];
    let (count, most, what) = bounds.into_iter().find(|&(count, most, _)| count > most)?;
    Some(format!(
        "the component is larger than a sandbox can be: it has {count} {what}, and {most} is the most"
    ))
}

/// What the exports make of it. Where they are of no WASI, the imports say which it speaks.
fn kind(found: &Found) -> Option<(Kind, WasiGeneration)> {
    let has = |interface, generation| {
        found.exports.iter().any(|export| offered::released(export) == Some((interface, generation)))
    };
    [
        ("wasi:http/handler", Kind::Http, WasiGeneration::P3),
        ("wasi:http/incoming-handler", Kind::Http, WasiGeneration::P2),
        ("wasi:cli/run", Kind::Command, WasiGeneration::P3),
        ("wasi:cli/run", Kind::Command, WasiGeneration::P2),
    ]
    .into_iter()
    .find(|&(interface, _, generation)| has(interface, generation))
    .map(|(_, kind, generation)| (kind, generation))
    .or_else(|| {
        let is_newer = |import: &String| matches!(offered::released(import), Some((_, WasiGeneration::P3)));
        let takes_any = takes_events(&found.exports) || takes_messages(&found.exports);
        takes_any.then(|| match found.imports.iter().any(is_newer) {
            true => (Kind::Event, WasiGeneration::P3),
            false => (Kind::Event, WasiGeneration::P2),
        })
    })
}

struct Found {
    imports: Vec<String>,
    exports: Vec<String>,
    cost: Cost,
}

/// What instantiating a module or a component claims at once.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    memory_bytes: u64,
    table_elements: u64,
    /// Of the largest table.
    table_elements_max: u64,
    /// Of active segments.
    data_bytes: u64,
    core_instances: u64,
    memories: u64,
    tables: u64,
    /// Instances of components that lift functions out of core modules.
    callable_instances: u64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.data_bytes = self.data_bytes.saturating_add(other.data_bytes);
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.callable_instances = self.callable_instances.saturating_add(other.callable_instances);
        self.table_elements_max = self.table_elements_max.max(other.table_elements_max);
        // Kept far from the end of the range, for the multiplication that follows.
        self.table_elements = self.table_elements.saturating_add(other.table_elements).min(u64::MAX / 16);
    }
}

/// One module or component that is being walked through, with the index spaces that instances are made from.
#[derive(Default)]
struct Frame {
    is_component: bool,
    /// Whether it lifts functions.
    lifts: bool,
    cost: Cost,
    modules: Vec<Cost>,
    components: Vec<Cost>,
}

/// Walks through a valid component. An index that points nowhere counts as nothing, so no input can make it fail.
fn walk(bytes: &[u8]) -> wasmparser::Result<Found> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut frames: Vec<Frame> = Vec::new();
    let mut total = Cost::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::Version { encoding, .. } = &payload {
            let is_component = *encoding == wasmparser::Encoding::Component;
            frames.push(Frame { is_component, ..Frame::default() });
            continue;
        }
        let depth = frames.len();
        if let Payload::End(_) = &payload {
            let Some(mut frame) = frames.pop() else { continue };
            frame.cost.add(Cost { callable_instances: frame.lifts.into(), ..Cost::default() });
            match frames.last_mut() {
                Some(parent) if frame.is_component => parent.components.push(frame.cost),
                Some(parent) => parent.modules.push(frame.cost),
                None => total = frame.cost,
            }
            continue;
        }
        if depth == 1 {
            match &payload {
                Payload::ComponentImportSection(section) => {
                    for import in section.clone() {
                        let import = import?;
                        if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                            imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section.clone() {
                        exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        count(&mut frames, payload)?;
    }
    imports.sort();
    exports.sort();
    Ok(Found { imports, exports, cost: total })
}

/// Adds what one section defines or instantiates to the innermost frame.
fn count(frames: &mut [Frame], payload: Payload<'_>) -> wasmparser::Result<()> {
    match payload {
        Payload::MemorySection(section) => {
            for memory in section {
                let memory = memory?;
                let page_bytes_log2 = memory.page_size_log2.unwrap_or(PAGE_BYTES_LOG2);
                let memory_bytes =
                    memory.initial.saturating_mul(1_u64.checked_shl(page_bytes_log2).unwrap_or(u64::MAX));
                add(frames, Cost { memory_bytes, memories: 1, ..Cost::default() });
            }
        }
        Payload::TableSection(section) => {
            for table in section {
                let table_elements = table?.ty.initial;
                add(
                    frames,
                    Cost { table_elements, table_elements_max: table_elements, tables: 1, ..Cost::default() },
                );
            }
        }
        Payload::DataSection(section) => {
            for data in section {
                let data = data?;
                if matches!(data.kind, DataKind::Active { .. }) {
                    add(frames, Cost { data_bytes: data.data.len() as u64, ..Cost::default() });
                }
            }
        }
        Payload::InstanceSection(section) => {
            for instance in section {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    let cost = at(frames, |frame| &frame.modules, module_index);
                    add(frames, cost);
                    add(frames, Cost { core_instances: 1, ..Cost::default() });
                }
            }
        }
        Payload::ComponentCanonicalSection(section) => {
            for function in section {
                if let CanonicalFunction::Lift { .. } = function?
                    && let Some(frame) = frames.last_mut()
                {
                    frame.lifts = true;
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    let cost = at(frames, |frame| &frame.components, component_index);
                    add(frames, cost);
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                alias_into(frames, &alias?);
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section {
                match import?.ty {
                    ComponentTypeRef::Module(_) => {
                        push(frames, ComponentExternalKind::Module, Cost::default())
                    }
                    ComponentTypeRef::Component(_) => {
                        push(frames, ComponentExternalKind::Component, Cost::default())
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section {
                let export = export?;
                let cost = match export.kind {
                    ComponentExternalKind::Module => at(frames, |frame| &frame.modules, export.index),
                    _ => at(frames, |frame| &frame.components, export.index),
                };
                push(frames, export.kind, cost);
            }
        }
        _ => {}
    }
    Ok(())
}

fn alias_into(frames: &mut [Frame], alias: &ComponentAlias<'_>) {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => push(frames, *kind, Cost::default()),
        ComponentAlias::Outer { kind, count, index } => {
            let outer = frames.len().checked_sub(1 + *count as usize).and_then(|at| frames.get(at));
            let of = |list: fn(&Frame) -> &Vec<Cost>| {
                outer.and_then(|frame| list(frame).get(*index as usize)).copied().unwrap_or_default()
            };
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    let cost = of(|frame| &frame.modules);
                    push(frames, ComponentExternalKind::Module, cost);
                }
                ComponentOuterAliasKind::Component => {
                    let cost = of(|frame| &frame.components);
                    push(frames, ComponentExternalKind::Component, cost);
                }
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            }
        }
        ComponentAlias::CoreInstanceExport { .. } => {}
    }
}

fn add(frames: &mut [Frame], cost: Cost) {
    if let Some(frame) = frames.last_mut() {
        frame.cost.add(cost);
    }
}

fn push(frames: &mut [Frame], kind: ComponentExternalKind, cost: Cost) {
    if let Some(frame) = frames.last_mut() {
        match kind {
            ComponentExternalKind::Module => frame.modules.push(cost),
            ComponentExternalKind::Component => frame.components.push(cost),
            _ => {}
        }
    }
}

fn at(frames: &[Frame], list: fn(&Frame) -> &Vec<Cost>, index: u32) -> Cost {
    frames.last().and_then(|frame| list(frame).get(index as usize)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_lift_functions_are_counted() {
        let callable = |parts: &str| {
            let text = format!(
                "(component
                   (core module $m (func (export \"run\") (result i32) i32.const 0))
                   (component $shim)
                   (component $part
                     (core instance $c (instantiate $m))
                     (func (export \"go\") (result (result)) (canon lift (core func $c \"run\"))))
                   (component $pair (instance (instantiate $part)) (instance (instantiate $part)))
                   (core instance $c (instantiate $m))
                   (func $run (result (result)) (canon lift (core func $c \"run\")))
                   (instance $i (export \"run\" (func $run)))
                   {parts}
                   (export \"wasi:cli/run@0.2.0\" (instance $i)))"
            );
            examine(&wat::parse_str(text).expect("sound text")).map(|(_, inside)| inside.callable_instances)
        };
        let (shim, pair) = ("(instance (instantiate $shim))", "(instance (instantiate $pair))");
        assert_eq!(callable("").unwrap(), 1);
        assert_eq!(callable(shim).unwrap(), 1, "it has no functions of its own");
        assert_eq!(callable(&pair.repeat(2)).unwrap(), 5);
        let refused = callable(&pair.repeat(8)).unwrap_err().to_string();
        assert!(refused.contains("17 instances of components, and 16 is the most"), "{refused}");
    }
}
