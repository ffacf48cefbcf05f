//! `wasi:sockets` of WASI 0.3.
//!
//! The bindings are our own, since those of `wasmtime-wasi` are tied to the kernel's sockets. What a call may do in which
//! state is as in `wasmtime-wasi`, which guests are tested against.
//!
//! What always holds: a call traps only if its guest breaks the contract of resources, streams or futures, never for what
//! others do to it; and a connection lives as long as its socket or one of its streams does.

mod lookup;
mod streams;
mod tcp;
mod types;
mod udp;

use crate::context::Context;
use crate::errors::p3_code;
use bindings::types::ErrorCode;
use skiff_net::NetError;
use skiff_sandbox::{CapabilityView, SandboxState};
use wasmtime::component::{HasData, Linker, ResourceTable, ResourceTableError};

/// Made out of `wit/p3`.
pub(crate) mod bindings {
    mod generated {
        wasmtime::component::bindgen!({
            path: "wit/p3",
            world: "sockets",
            imports: {
                "wasi:sockets/types.[method]tcp-socket.listen": store | trappable,
                "wasi:sockets/types.[method]tcp-socket.send": store | trappable,
                "wasi:sockets/types.[method]tcp-socket.receive": store | trappable,
                default: trappable,
            },
            require_store_data_send: true,
            trappable_error_type: {
                "wasi:sockets/types.error-code" => crate::p3::SocketError,
            },
            with: {
                "wasi:clocks/types": wasmtime_wasi::p3::bindings::clocks::types,
                "wasi:sockets/types.tcp-socket": crate::p3::tcp::TcpSocket,
                "wasi:sockets/types.udp-socket": crate::p3::udp::UdpSocket,
            },
        });
    }

    pub(crate) use self::generated::wasi::sockets::{ip_name_lookup, types};
}

/// Defines all of it.
pub(crate) fn add_to_linker(linker: &mut Linker<SandboxState>) -> wasmtime::Result<()> {
    bindings::types::add_to_linker::<_, Sockets>(linker, view)?;
    bindings::ip_name_lookup::add_to_linker::<_, Sockets>(linker, view)?;
    Ok(())
}

/// Says that guests' calls work on a [`View`].
struct Sockets;

impl HasData for Sockets {
    type Data<'a> = View<'a>;
}

/// What a guest's call works on.
struct View<'a> {
    context: &'a mut Context,
    table: &'a mut ResourceTable,
}

fn view(state: &mut SandboxState) -> View<'_> {
    let CapabilityView { context, table } = state.capability::<Context>();
    View { context, table }
}

impl View<'_> {
    /// What the guest is told of an error.
    fn told(&self, error: NetError) -> ErrorCode {
        self.context.told(error, p3_code)
    }

    /// The same for what came of a call.
    fn tell<T>(&self, result: Result<T, NetError>) -> SocketResult<T> {
        result.map_err(|error| SocketError::Code(self.told(error)))
    }
}

/// Why a call fails.
#[derive(Debug)]
pub(crate) enum SocketError {
    /// The guest is told this.
    Code(ErrorCode),
    /// It broke a contract, and ends.
    Trap(wasmtime::Error),
}

type SocketResult<T> = Result<T, SocketError>;

impl From<ErrorCode> for SocketError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<ResourceTableError> for SocketError {
    fn from(error: ResourceTableError) -> Self {
        match error {
            ResourceTableError::Full => {
                Self::Code(ErrorCode::Other(Some("too many: resources of one sandbox".to_owned())))
            }
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => Self::Trap(error.into()),
        }
    }
}
