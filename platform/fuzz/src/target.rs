//! The list of targets, and how one of them is run.

use crate::targets::{
    api, calls, component, connection, cookie, envelope, guard, headers, input, manifest, native_cache,
    pattern, rules, sockets, tcp, wire,
};
use skiff_types::WasiGeneration;
use std::cell::Cell;
use std::sync::Once;

/// What can be fuzzed. The names are those of the corpora's folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// `skiff.toml`.
    Manifest,
    /// The bodies, queries and path parameters of the API.
    Api,
    /// The check of a component.
    Component,
    /// A file of the native code cache.
    NativeCache,
    /// Frames between supervisor and worker.
    Wire,
    /// A client's connection to the load balancer, up to the call of a task.
    Connection,
    /// HTTP/1 as the load balancer lets it through.
    Guard,
    /// Which rule of a listener takes a request.
    Rules,
    /// The cookies by which clients stay with a target.
    Cookie,
    /// What the load balancer does to headers.
    Headers,
    /// Bytes both ways between a client and a target.
    Tcp,
    /// Host calls of a guest on WASI 0.2, and a client that does as it likes.
    Calls,
    /// The same on WASI 0.3.
    CallsP3,
    /// Calls on the virtual network of two workers.
    Sockets,
    /// Patterns of events, and an event.
    Pattern,
    /// Events as others write them.
    Envelope,
    /// What a target is sent of an event.
    Input,
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

impl Target {
    /// Runs it on one input.
    ///
    /// # Panics
    /// If the code under test broke its promise, be it in a task of the runtime, which would catch the panic.
    pub(crate) fn run(self, input: &[u8]) {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                PANICS.set(PANICS.get() + 1);
                hook(panic);
            }));
        });
        let panics_before = PANICS.get();
        match self {
            Self::Manifest => manifest::run(input),
            Self::Api => api::run(input),
            Self::Component => component::run(input),
            Self::NativeCache => native_cache::run(input),
            Self::Wire => wire::run(input),
            Self::Connection => connection::run(input),
            Self::Guard => guard::run(input),
            Self::Rules => rules::run(input),
            Self::Cookie => cookie::run(input),
            Self::Headers => headers::run(input),
            Self::Tcp => tcp::run(input),
            Self::Calls => calls::run(WasiGeneration::P2, input),
            Self::CallsP3 => calls::run(WasiGeneration::P3, input),
            Self::Sockets => sockets::run(input),
            Self::Pattern => pattern::run(input),
            Self::Envelope => envelope::run(input),
            Self::Input => input::run(input),
        }
        assert_eq!(PANICS.get(), panics_before, "something panicked, and the panic was caught");
    }
}
