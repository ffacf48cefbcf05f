//! `udp-socket` of `wasi:sockets/types` 0.3.
//!
//! A socket is bound when it is told so, or when it is first used to send or to connect. What waits and what is lost is the
//! business of `net`. Where a guest sends or receives several times at once, one waits after the other.

use super::bindings::types::{
    ErrorCode, HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress,
};
use super::{SocketResult, Sockets, View};
use crate::address::{Family, check_datagram_local, check_datagram_remote};
use crate::errors::p3_code;
use crate::local::Local;
use crate::options::Options;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use skiff_net::{Datagram, Interface, NetError};
use skiff_sandbox::SandboxState;
use skiff_types::Transport;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, Resource};

/// A socket for datagrams.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct UdpSocket {
    bound: Option<Local<Rc<Bound>>>,
    family: Family,
    options: Options,
}

/// What a socket has of the network once it is bound.
struct Bound {
    socket: skiff_net::UdpSocket,
    // The socket itself wakes only the last of those who wait.
    senders: Mutex<()>,
    receivers: Mutex<()>,
}

impl Bound {
    fn new(interface: &Local<Interface>, local: SocketAddr) -> Result<Local<Rc<Self>>, NetError> {
        let bound = interface.with(|interface| {
            let socket = interface.bind_udp(interface.bind(Transport::Udp, local)?)?;
            Ok(Rc::new(Self { socket, senders: Mutex::default(), receivers: Mutex::default() }))
        });
        bound.map(Local::new)
    }

    /// Waits until a datagram may be sent, then and there.
    async fn sendable(self: Rc<Self>) -> Result<(), NetError> {
        let _turn = self.senders.lock().await;
        poll_fn(|cx| self.socket.poll_sendable(cx)).await
    }

    async fn receive(self: Rc<Self>) -> Result<Datagram, NetError> {
        let _turn = self.receivers.lock().await;
        poll_fn(|cx| self.socket.poll_receive(cx)).await
    }
}

/// Something to wait for at a socket.
type Wait<T> = Local<LocalBoxFuture<'static, Result<T, NetError>>>;

fn wait<T, F>(bound: &Local<Rc<Bound>>, wait: impl FnOnce(Rc<Bound>) -> F) -> Wait<T>
where
    F: Future<Output = Result<T, NetError>> + 'static,
{
    Local::new(bound.with(|bound| wait(bound.clone()).boxed_local()))
}

impl UdpSocket {
    fn bound(&self) -> Result<&Local<Rc<Bound>>, ErrorCode> {
        self.bound.as_ref().ok_or(ErrorCode::InvalidState)
    }

    fn set(&mut self, change: impl FnOnce(&mut Options) -> Result<(), NetError>) -> Result<(), ErrorCode> {
        change(&mut self.options).map_err(|error| p3_code(&error))
    }
}

impl View<'_> {
    /// What the socket has of the network; it is bound now, unless it is already.
    fn bound(&mut self, socket: &Resource<UdpSocket>) -> SocketResult<Local<Rc<Bound>>> {
        let entry = self.table.get(socket)?;
        if let Some(bound) = &entry.bound {
            return Ok(bound.clone());
        }
        let local = entry.family.unspecified();
        self.bind_to(socket, local)
    }

    fn bind_to(&mut self, socket: &Resource<UdpSocket>, local: SocketAddr) -> SocketResult<Local<Rc<Bound>>> {
        let bound = self.context.interface().and_then(|interface| Bound::new(interface, local));
        let bound = self.tell(bound)?;
        self.table.get_mut(socket)?.bound = Some(bound.clone());
        Ok(bound)
    }

    /// The same, if it may send to `remote`.
    fn sender(
        &mut self,
        socket: &Resource<UdpSocket>,
        remote: Option<SocketAddr>,
    ) -> SocketResult<Local<Rc<Bound>>> {
        if let Some(remote) = remote {
            let family = self.table.get(socket)?.family;
            check_datagram_remote(family, remote).map_err(|error| p3_code(&error))?;
        }
        self.bound(socket)
    }
}

impl HostUdpSocketWithStore<SandboxState> for Sockets {
    async fn send(
        accessor: &Accessor<SandboxState, Self>,
        socket: Resource<UdpSocket>,
        data: Vec<u8>,
        remote_address: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        let remote = remote_address.map(SocketAddr::from);
        let bound = accessor.with(|mut access| access.get().sender(&socket, remote))?;
        let sent = match wait(&bound, Bound::sendable).await {
            Ok(()) => bound.with(|bound| bound.socket.send(Bytes::copy_from_slice(&data), remote)),
            Err(error) => Err(error),
        };
        accessor.with(|mut access| access.get().tell(sent))
    }

    async fn receive(
        accessor: &Accessor<SandboxState, Self>,
        socket: Resource<UdpSocket>,
    ) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let waiting = accessor.with(|mut access| -> SocketResult<_> {
            Ok(wait(access.get().table.get(&socket)?.bound()?, Bound::receive))
        })?;
        let received = waiting.await;
        let Datagram { bytes, remote } = accessor.with(|mut access| access.get().tell(received))?;
        Ok((Local::new(bytes).get().to_vec(), remote.into()))
    }
}

impl HostUdpSocket for View<'_> {
    fn create(&mut self, address_family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let socket = UdpSocket { bound: None, family: address_family.into(), options: Options::default() };
        Ok(self.table.push(socket)?)
    }

    fn bind(&mut self, socket: Resource<UdpSocket>, local_address: IpSocketAddress) -> SocketResult<()> {
        let local = SocketAddr::from(local_address);
        let entry = self.table.get(&socket)?;
        if entry.bound.is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        check_datagram_local(entry.family, local).map_err(|error| p3_code(&error))?;
        self.bind_to(&socket, local).map(drop)
    }

    fn connect(&mut self, socket: Resource<UdpSocket>, remote_address: IpSocketAddress) -> SocketResult<()> {
        let remote = SocketAddr::from(remote_address);
        let bound = self.sender(&socket, Some(remote))?;
        self.tell(bound.with(|bound| bound.socket.connect(remote)))
    }

    fn disconnect(&mut self, socket: Resource<UdpSocket>) -> SocketResult<()> {
        let disconnected = self.table.get(&socket)?.bound()?.with(|bound| bound.socket.disconnect());
        self.tell(disconnected)
    }

    fn get_local_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.table.get(&socket)?.bound()?.get().socket.local().into())
    }

    fn get_remote_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let remote = self.table.get(&socket)?.bound()?.get().socket.remote();
        Ok(remote.ok_or(ErrorCode::InvalidState)?.into())
    }

    fn get_address_family(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family.into())
    }

    fn get_unicast_hop_limit(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u8> {
        Ok(self.table.get(&socket)?.options.hop_limit())
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<UdpSocket>, value: u8) -> SocketResult<()> {
        Ok(self.table.get_mut(&socket)?.set(|options| options.set_hop_limit(value))?)
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u64> {
        Ok(self.table.get(&socket)?.options.receive_buffer_bytes())
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> SocketResult<()> {
        Ok(self.table.get_mut(&socket)?.set(|options| options.set_receive_buffer_bytes(value))?)
    }

    fn get_send_buffer_size(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u64> {
        Ok(self.table.get(&socket)?.options.send_buffer_bytes())
    }

    fn set_send_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> SocketResult<()> {
        Ok(self.table.get_mut(&socket)?.set(|options| options.set_send_buffer_bytes(value))?)
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
