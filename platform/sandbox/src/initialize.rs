//! Snapshot start: runs a component's initialisation once, and rewrites the component so that each sandbox begins where
//! that ended. Wizer rewrites; what runs the guest, and within which bounds, is here.
//!
//! What always holds: it runs in the compile child, within that one's bounds and tighter ones of its own; it reaches no
//! network and no file; and no randomness survives in the snapshot but what lies in the values that the initialisation
//! made: `wasi:random` itself is refused, and the seed of hash maps is given only to components that say where their
//! runtime keeps it (`skiff:task/seeds`), from where it is taken out again ([`seeds`]).

mod guest;
mod memory;
mod seeds;

use crate::engine::{Flavour, MemoryStart, compile_engine};
use crate::epoch::EpochClock;
use crate::failure::why_it_ended;
use crate::link;
use futures::FutureExt;
use guest::{Guest, Refusal};
use memory::Memories;
use seeds::Seeds;
use skiff_ports::runtime::{ComponentReport, Initialization, PrepareError};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use wasmtime::component::{Component, Instance, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wizer::Wizer;

/// What a component exports to be initialised: the name that Wizer's users know.
const INITIALIZE: &str = "wizer-initialize";
/// Bytes of output that are kept for whoever deploys.
const OUTPUT_SHOWN_BYTES: usize = 4 << 10;

/// What an initialisation may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From its start to its end.
    pub time: Duration,
    /// Bytes of its memories and tables together.
    pub memory_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), memory_bytes: 256 << 20 }
    }
}

/// A component as its initialisation left it.
pub(crate) struct Initialized {
    pub(crate) component: Vec<u8>,
    pub(crate) initialization: Initialization,
}

/// Initialises a sound component, of which `report` tells.
///
/// # Errors
/// [`PrepareError::Refused`], with the reason, for one that can't be snapshotted.
pub(crate) fn initialize(
    component: &[u8],
    report: &ComponentReport,
    environment: &BTreeMap<String, String>,
    bounds: Bounds,
) -> Result<Initialized, PrepareError> {
    if !report.exports.iter().any(|export| export == INITIALIZE) {
        return Err(PrepareError::Refused(format!(
            "there is nothing to make a snapshot of: the component exports no function {INITIALIZE}; mark the function \
             that prepares it with #[skiff_sdk::initialize], or deploy it without `snapshot`"
        )));
    }
    // Wizer says some of what it can't do by a panic, and has no other way to hear that memory can't be read.
    let result = catch_unwind(AssertUnwindSafe(|| run(component, report, environment, bounds)));
    result.unwrap_or_else(|panic| Err(unsupported(&panic_message(&*panic))))
}

fn run(
    bytes: &[u8],
    report: &ComponentReport,
    environment: &BTreeMap<String, String>,
    bounds: Bounds,
) -> Result<Initialized, PrepareError> {
    let internal = |error: &dyn std::fmt::Display| PrepareError::Internal(error.to_string());
    let mut wizer = Wizer::new();
    // The function stays, since Wizer would take it from the module too where the component still names it. Nobody calls
    // it any more.
    wizer.init_func(INITIALIZE).keep_init_func(true);
    let (context, instrumented) =
        wizer.instrument_component(bytes).map_err(|error| unsupported(&format!("{error:#}")))?;
    let flavour = Flavour { generation: report.generation, start: MemoryStart::Copied };
    let engine = compile_engine(flavour).map_err(|error| internal(&error))?;
    let component =
        Component::new(&engine, &instrumented).map_err(|error| unsupported(&format!("{error:#}")))?;
    let mut linker = link::linker(&engine, report.generation).map_err(|error| internal(&error))?;
    guest::restrict_randomness(&mut linker).map_err(|error| internal(&error))?;
    guest::refuse_beside(&mut linker).map_err(|error| internal(&error))?;
    let trial = Trial { engine: &engine, component: &component, linker: &linker, environment, bounds };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| internal(&error))?;
    // Lets the guest yield, and so be timed.
    let epoch = EpochClock::start(vec![engine.clone()]).map_err(|error| internal(&error))?;
    let _running = epoch.enter(0);
    runtime.block_on(async {
        let seeds = trial.find_seeds().await?;
        let (store, instance, initialization) = trial.initialize(seeds.is_some()).await?;
        let mut memories = Memories::new(store, instance, seeds.unwrap_or_default());
        let component = wizer.snapshot_component(&context, &mut memories).await;
        let component = component.map_err(|error| unsupported(&format!("{error:#}")))?;
        Ok(Initialized { component, initialization })
    })
}

/// What guests are made of, each in a store of its own.
struct Trial<'a> {
    engine: &'a Engine,
    component: &'a Component,
    linker: &'a Linker<Guest>,
    environment: &'a BTreeMap<String, String>,
    bounds: Bounds,
}

impl Trial<'_> {
    /// Where the language's runtime keeps its seeds; `None` if the component does not say.
    async fn find_seeds(&self) -> Result<Option<Seeds>, PrepareError> {
        if !seeds::are_told(self.component) {
            return Ok(None);
        }
        let mut store = self.store(Some(seeds::MARK));
        let finding = seeds::find(&mut store, self.component, self.linker);
        let found = self.timed(finding).await;
        found.map(Some).map_err(|error| self.refused("looking for its seeds", &error, &store))
    }

    /// Runs the initialisation; the guest as it is then.
    async fn initialize(
        &self,
        may_seed: bool,
    ) -> Result<(Store<Guest>, Instance, Initialization), PrepareError> {
        let seed = may_seed.then(|| u128::from_ne_bytes(skiff_kit::random::bytes()));
        let mut store = self.store(seed);
        let began = Instant::now();
        let initializing = async {
            let instance = self.linker.instantiate_async(&mut store, self.component).await?;
            let initialize = instance.get_typed_func::<(), ()>(&mut store, INITIALIZE)?;
            initialize.call_async(&mut store, ()).await?;
            Ok(instance)
        };
        let ended = self.timed(initializing).await;
        let instance = ended.map_err(|error| self.refused("its initialisation", &error, &store))?;
        if store.data().holds_resources() || holds_concurrent(&mut store) {
            return Err(with_output(
                "the component can't be snapshotted: its initialisation ended with streams, requests, calls or \
                 other resources of the host still open, which no snapshot can hold; open them when a request needs them, \
                 and do not print (`println!` leaves its stream open; skiff_sdk::log does not)",
                &store.data().output(),
            ));
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let output = first_of(&store.data().output()).to_owned();
        store.data_mut().lift_memory_bound();
        Ok((store, instance, Initialization { took_ms, output }))
    }

    fn store(&self, seed: Option<u128>) -> Store<Guest> {
        let mut store = Store::new(self.engine, Guest::new(self.environment, seed, self.bounds.memory_bytes));
        store.limiter(Guest::limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    /// Ends a guest that takes too long.
    async fn timed<T>(&self, guest: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
        // On the heap, since what a guest's call holds is large.
        let ended = tokio::time::timeout(self.bounds.time, guest.boxed_local()).await;
        ended.unwrap_or_else(|_| {
            Err(Refusal::error(format!(
                "it took longer than {} s, the most there is; do less of it, or do it when the component is built",
                self.bounds.time.as_secs_f64()
            )))
        })
    }

    fn refused(&self, what: &str, error: &wasmtime::Error, store: &Store<Guest>) -> PrepareError {
        let why = match (error.downcast_ref::<Refusal>(), error.downcast_ref::<I32Exit>()) {
            (Some(refusal), _) => refusal.to_string(),
            (None, Some(I32Exit(code))) => format!("it exited with code {code}"),
            (None, None) if store.data().out_of_memory() => format!(
                "it needs more than {} MiB of memory, the most there is",
                self.bounds.memory_bytes >> 20
            ),
            (None, None) => why_it_ended(error),
        };
        with_output(
            &format!("the component can't be snapshotted: {what} failed: {why}"),
            &store.data().output(),
        )
    }
}

/// Whether the engine still holds anything of WASI 0.3's for the guest: ends of streams and futures, subtasks, sets of these.
fn holds_concurrent(store: &mut Store<Guest>) -> bool {
    store.concurrent_resource_table().is_some_and(|table| !table.is_empty())
}

/// What Wizer can't do with the component.
fn unsupported(why: &str) -> PrepareError {
    PrepareError::Refused(format!(
        "the component can't be snapshotted: {why}; deploy it without `snapshot`, or build it differently"
    ))
}

/// A refusal that ends with the last of what the guest wrote.
fn with_output(message: &str, output: &str) -> PrepareError {
    let output = last_of(output.trim_end());
    match output.is_empty() {
        true => PrepareError::Refused(message.to_owned()),
        false => PrepareError::Refused(format!("{message}; it wrote:\n{output}")),
    }
}

fn first_of(output: &str) -> &str {
    &output[..output.floor_char_boundary(OUTPUT_SHOWN_BYTES)]
}

fn last_of(output: &str) -> &str {
    &output[output.ceil_char_boundary(output.len().saturating_sub(OUTPUT_SHOWN_BYTES))..]
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it is of a kind that is not known")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_between_characters() {
        let long = "é".repeat(OUTPUT_SHOWN_BYTES);
        assert_eq!((first_of(&long).len(), last_of(&long).len()), (OUTPUT_SHOWN_BYTES, OUTPUT_SHOWN_BYTES));
        let odd = format!("x{long}x");
        assert_eq!(
            (first_of(&odd).len(), last_of(&odd).len()),
            (OUTPUT_SHOWN_BYTES - 1, OUTPUT_SHOWN_BYTES - 1)
        );
        assert_eq!((first_of("short"), last_of("short")), ("short", "short"));
    }
}
