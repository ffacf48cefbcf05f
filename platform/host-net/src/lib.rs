//! The virtual network for guests: `wasi:sockets` of WASI 0.2 and 0.3, and outgoing `wasi:http` of both, over the crate
//! `net`.
//!
//! | file | what it has |
//! | --- | --- |
//! | `context` | what one sandbox holds: its task's interface in the network |
//! | `local` | how what lives on the worker's one thread is kept where wasmtime asks for `Send` |
//! | `denials` | what is denied, said in the task's logs: once for each target and minute |
//! | `errors` | what goes wrong, as error codes of both generations |
//! | `address` | what an address must be, for either generation |
//! | `name` | what a name must be that is looked up |
//! | `options` | the options of sockets, kept and told |
//! | `p2`, `p3` | `wasi:sockets` of either generation, with bindings of our own |
//! | `http` | outgoing requests: in process to the tasks of this worker, over streams of `net` to others |
//!
//! Nothing that a guest does is decided here: who may reach whom, what waits where, what is counted and how much of it there
//! may be is the business of `net`. This crate only says it in WASI's words, as the specification has them.
//!
//! What always holds: a sandbox has the interface of its own task and can have no other; what `net` keeps for a socket is
//! never counted as its guest's heap, since both ends of a connection are made and freed in turns of different guests
//! ([`skiff_sandbox::apart`]), and what crosses is handed over byte by byte; and nothing is made for a sandbox that asks for
//! nothing.

mod address;
mod context;
mod denials;
mod errors;
mod http;
mod local;
mod name;
mod options;
mod p2;
mod p3;

use context::{Context, Shared};
use local::Local;
use rustls::RootCertStore;
use skiff_net::Network;
use skiff_ports::invoke::Invoke;
use skiff_ports::wake::Wake;
use skiff_sandbox::{Capability, Guest, Outgoing, SandboxState};
use skiff_types::{TaskId, WasiGeneration};
use std::any::{Any, TypeId};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use wasmtime::component::Linker;

/// What a worker's network for guests is made with.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Certificates in PEM of authorities that outgoing requests trust beside the usual ones.
    pub extra_roots: Option<PathBuf>,
}

/// Why it can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The extra certificates are no certificates, or can't be read.
    #[error("the certificates in {} can't be used: {reason}", .path.display())]
    ExtraRoots {
        /// Where they should be.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
}

impl Config {
    /// The authorities that outgoing requests trust, for who else asks targets outside by TLS.
    ///
    /// # Errors
    /// [`ConfigError`] for what the configuration names and is not there.
    pub fn trusted(&self) -> Result<Arc<RootCertStore>, ConfigError> {
        http::roots(self.extra_roots.as_deref())
    }
}

/// The network of one worker as a capability of its guests. Lives on one thread, inside a `tokio::task::LocalSet`.
pub struct HostNet {
    shared: Local<Rc<Shared>>,
    http: http::Client,
}

impl HostNet {
    /// Puts a network behind WASI.
    ///
    /// # Errors
    /// [`ConfigError`] for what the configuration names and is not there.
    pub fn new(config: &Config, network: Network) -> Result<Arc<Self>, ConfigError> {
        let shared = Rc::new(Shared::new(network));
        let http = http::Client::new(config, shared.clone())?;
        Ok(Arc::new(Self { shared: Local::new(shared), http }))
    }

    /// Says who lets tasks of this worker answer: the sandboxes that this capability is given to, which can be made only
    /// after it. To be said once, before the first request; until then tasks count as not being here.
    pub fn answer_with(&self, invoke: &Rc<dyn Invoke>) {
        self.shared.with(|shared| shared.answer_with(invoke));
    }

    /// Says who has services woken that sleep and are called. To be said once, before the first request; until then they count
    /// as having no task.
    pub fn wake_with(&self, wake: Rc<dyn Wake>) {
        self.shared.with(|shared| shared.wake_with(wake));
    }
}

impl Capability for HostNet {
    fn link(&self, linker: &mut Linker<SandboxState>, generation: WasiGeneration) -> wasmtime::Result<()> {
        p2::add_to_linker(linker)?;
        match generation {
            WasiGeneration::P2 => Ok(()),
            WasiGeneration::P3 => p3::add_to_linker(linker),
        }
    }

    fn context_type(&self) -> TypeId {
        TypeId::of::<Context>()
    }

    fn context(&self, guest: Guest) -> Box<dyn Any + Send> {
        Box::new(Context::new(guest, self.shared.clone()))
    }

    fn outgoing(&self) -> Option<&dyn Outgoing> {
        Some(&self.http)
    }

    fn ended(&self, task: TaskId) {
        self.http.ended(task);
        self.shared.with(|shared| shared.ended(task));
    }
}
