//! `wasi:sockets` of WASI 0.2.
//!
//! The bindings are our own, since those of `wasmtime-wasi` are tied to the kernel's sockets; what `wasi:io` has (streams,
//! pollables) is that crate's. What a call may do in which state is as in `wasmtime-wasi`, which guests are tested against.
//!
//! What always holds: no call blocks, but those of `wasi:io`; and no call traps for what others do to a guest: where it has no
//! room for one more resource, it is told so.

mod lookup;
mod network;
mod tcp;
mod tcp_streams;
mod udp;

use crate::context::Context;
use crate::errors::p2_code;
use bindings::network::ErrorCode;
use skiff_net::NetError;
use skiff_sandbox::{CapabilityView, SandboxState};
use wasmtime::component::{HasData, Linker, ResourceTable, ResourceTableError};

/// Made out of `wit/p2`.
pub(crate) mod bindings {
    mod generated {
        wasmtime::component::bindgen!({
            path: "wit/p2",
            world: "sockets",
            imports: { default: trappable },
            require_store_data_send: true,
            trappable_error_type: {
                "wasi:sockets/network.error-code" => crate::p2::SocketError,
            },
            with: {
                "wasi:io/error": wasmtime_wasi_io::bindings::wasi::io::error,
                "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll,
                "wasi:io/streams": wasmtime_wasi_io::bindings::wasi::io::streams,
                "wasi:clocks/monotonic-clock": wasmtime_wasi::p2::bindings::clocks::monotonic_clock,
                "wasi:sockets/network.network": crate::p2::network::Network,
                "wasi:sockets/tcp.tcp-socket": crate::p2::tcp::TcpSocket,
                "wasi:sockets/udp.udp-socket": crate::p2::udp::UdpSocket,
                "wasi:sockets/udp.incoming-datagram-stream": crate::p2::udp::IncomingDatagramStream,
                "wasi:sockets/udp.outgoing-datagram-stream": crate::p2::udp::OutgoingDatagramStream,
                "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::p2::lookup::ResolveAddressStream,
            },
        });
    }

    pub(crate) use self::generated::wasi::sockets::{
        instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket,
    };
}

/// Defines all of it.
pub(crate) fn add_to_linker(linker: &mut Linker<SandboxState>) -> wasmtime::Result<()> {
    bindings::network::add_to_linker::<_, Sockets>(linker, &Default::default(), view)?;
    bindings::instance_network::add_to_linker::<_, Sockets>(linker, view)?;
    bindings::ip_name_lookup::add_to_linker::<_, Sockets>(linker, view)?;
    bindings::tcp_create_socket::add_to_linker::<_, Sockets>(linker, view)?;
    bindings::tcp::add_to_linker::<_, Sockets>(linker, view)?;
    bindings::udp_create_socket::add_to_linker::<_, Sockets>(linker, view)?;
    bindings::udp::add_to_linker::<_, Sockets>(linker, view)?;
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
    fn told(&self, error: NetError) -> SocketError {
        told(self.context, error)
    }
}

/// As [`View::told`], where the guest's resources are in use.
fn told(context: &Context, error: NetError) -> SocketError {
    SocketError::Code(context.told(error, p2_code))
}

/// Why a call fails.
#[derive(Debug)]
pub(crate) enum SocketError {
    /// The guest is told this.
    Code(ErrorCode),
    /// It broke the contract of resources, and ends.
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
            // Whoever connects to a guest could bring that about.
            ResourceTableError::Full => Self::Code(ErrorCode::NewSocketLimit),
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => Self::Trap(error.into()),
        }
    }
}
