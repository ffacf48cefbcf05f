//! How Wizer reads the state of an initialised guest, and what it is shown of it: everything but the seeds.
//!
//! Wizer can't be told that something could not be read, so here a failure is a panic, which
//! [`super::initialize`] catches: it takes a memory that has no page left to grow by.

use super::guest::Guest;
use super::seeds::Seeds;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Lift, WasmList, types::ComponentItem};
use wasmtime_wizer::ComponentInstanceState;

/// The instance that Wizer's instrumentation exports, with a function for each memory and each global.
const ACCESS: &str = "wasmtime:wizer/access";

/// The memories and globals of a guest.
pub(super) struct Memories {
    store: Store<Guest>,
    instance: Instance,
    seeds: Seeds,
}

impl Memories {
    pub(super) fn new(store: Store<Guest>, instance: Instance, seeds: Seeds) -> Self {
        Self { store, instance, seeds }
    }

    async fn value<T: Lift + Send + Sync + 'static>(&mut self, function: &str) -> T {
        call(&mut self.store, self.instance, function).await.unwrap_or_else(|error| unreadable(&error))
    }
}

impl ComponentInstanceState for Memories {
    async fn call_func_ret_list_u8(&mut self, _: &str, function: &str, contents: impl FnOnce(&[u8]) + Send) {
        let list: WasmList<u8> = self.value(function).await;
        let bytes = list.as_le_slice(&self.store);
        match self.seeds.taken_out(function, bytes) {
            Some(bytes) => contents(&bytes),
            None => contents(bytes),
        }
    }

    async fn call_func_ret_s32(&mut self, _: &str, function: &str) -> i32 {
        self.value(function).await
    }

    async fn call_func_ret_s64(&mut self, _: &str, function: &str) -> i64 {
        self.value(function).await
    }

    async fn call_func_ret_f32(&mut self, _: &str, function: &str) -> u32 {
        self.value::<f32>(function).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, _: &str, function: &str) -> u64 {
        self.value::<f64>(function).await.to_bits()
    }
}

/// The functions that read memories, by name.
pub(super) fn readers(component: &Component) -> Vec<String> {
    let engine = component.engine();
    let Some((ComponentItem::ComponentInstance(access), _)) = component.get_export(None, ACCESS) else {
        return Vec::new();
    };
    let names = access.exports(engine).map(|(name, _)| name.to_owned());
    names.filter(|name| name.starts_with("memory")).collect()
}

/// A copy of the memory that this function reads. Takes a page of it.
pub(super) async fn copy(
    store: &mut Store<Guest>,
    instance: Instance,
    function: &str,
) -> wasmtime::Result<Vec<u8>> {
    let list: WasmList<u8> = call(store, instance, function).await?;
    Ok(list.as_le_slice(&*store).to_vec())
}

async fn call<T: Lift + Send + Sync + 'static>(
    store: &mut Store<Guest>,
    instance: Instance,
    function: &str,
) -> wasmtime::Result<T> {
    let access = instance.get_export_index(&mut *store, None, ACCESS);
    let index = access.and_then(|access| instance.get_export_index(&mut *store, Some(&access), function));
    let index = index.ok_or_else(|| wasmtime::format_err!("{ACCESS} has no {function}"))?;
    let function = instance.get_typed_func::<(), (T,)>(&mut *store, index)?;
    Ok(function.call_async(&mut *store, ()).await?.0)
}

fn unreadable(error: &wasmtime::Error) -> ! {
    panic!("its memory can't be read after the initialisation, maybe since it is at its maximum: {error:#}")
}
