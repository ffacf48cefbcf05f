//! `wasi:sockets/udp` and `udp-create-socket` 0.2: sockets, and the two streams of datagrams of each.
//!
//! Nothing takes time but waiting for datagrams, and for leave to send more of them. Whom a socket has to do with is kept by
//! `net`; its streams are ways to the same socket, of which there is one pair at a time.

use super::bindings::network::ErrorCode;
use super::bindings::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    IpAddressFamily, IpSocketAddress, Network, OutgoingDatagram,
};
use super::bindings::udp_create_socket;
use super::{SocketError, SocketResult, View, told};
use crate::address::{Family, check_datagram_local, check_datagram_remote};
use crate::context::Context as SandboxContext;
use crate::local::Local;
use crate::options::Options;
use bytes::Bytes;
use skiff_net::NetError;
use skiff_sandbox::{apart, given_away};
use skiff_types::Transport;
use std::any::Any;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use wasmtime::component::Resource;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

/// Datagrams that are sent or received in one call, at most.
const DATAGRAMS_MAX: usize = 16;
/// After so many bytes no more datagrams are received in the same call.
const RECEIVED_BYTES_MAX: usize = 64 << 10;

/// A socket of the network, as a guest's socket and its streams share it.
type Shared = Local<Rc<skiff_net::UdpSocket>>;

/// A socket of UDP.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct UdpSocket {
    family: Family,
    options: Options,
    /// Once it is bound.
    bound: Option<Shared>,
    /// Binding was started, and not finished yet.
    is_binding: bool,
}

/// The datagrams that come in.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct IncomingDatagramStream {
    socket: Shared,
    /// What came when somebody asked whether there is anything.
    peeked: Option<Result<IncomingDatagram, NetError>>,
}

/// The way out for datagrams.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct OutgoingDatagramStream {
    socket: Shared,
    family: Family,
    /// How many the next call may send.
    permit: usize,
}

impl UdpSocket {
    fn bind(&mut self, context: &mut SandboxContext, local: SocketAddr) -> Result<(), NetError> {
        if self.bound.is_some() {
            return Err(NetError::InvalidState);
        }
        check_datagram_local(self.family, local)?;
        let socket = context.interface()?.with(|interface| {
            let port = interface.bind(Transport::Udp, local)?;
            interface.bind_udp(port).map(Rc::new)
        })?;
        self.bound = Some(Local::new(socket));
        self.is_binding = true;
        Ok(())
    }

    fn bound(&self) -> Result<&Shared, NetError> {
        self.bound.as_ref().ok_or(NetError::InvalidState)
    }

    /// Has to do with `remote` alone from now on, or with everybody.
    fn connect(&self, remote: Option<SocketAddr>) -> Result<(), NetError> {
        let socket = self.bound()?;
        if let Some(remote) = remote {
            check_datagram_remote(self.family, remote)?;
            return socket.with(|socket| socket.connect(remote));
        }
        socket.with(|socket| match socket.remote() {
            Some(_) => socket.disconnect(),
            None => Ok(()),
        })
    }

    fn streams(&self) -> Result<(IncomingDatagramStream, OutgoingDatagramStream), NetError> {
        let socket = self.bound()?;
        Ok((
            IncomingDatagramStream { socket: socket.clone(), peeked: None },
            OutgoingDatagramStream { socket: socket.clone(), family: self.family, permit: 0 },
        ))
    }
}

impl IncomingDatagramStream {
    fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.peeked.is_none() {
            let received = ready!(self.socket.with(|socket| socket.poll_receive(cx)));
            // The bytes are copied, so that those of the network are freed apart from the guest's.
            self.peeked = Some(received.map(|datagram| {
                let data = datagram.bytes.to_vec();
                let remote_address = datagram.remote.into();
                apart(|| drop(datagram));
                IncomingDatagram { data, remote_address }
            }));
        }
        Poll::Ready(())
    }

    /// What is there already, at most `count_max` datagrams; an error only if there are none before it.
    fn receive(&mut self, count_max: usize) -> Result<Vec<IncomingDatagram>, NetError> {
        let (mut received, mut received_bytes) = (Vec::new(), 0);
        while received.len() < count_max && received_bytes < RECEIVED_BYTES_MAX {
            if self.poll_peek(&mut Context::from_waker(Waker::noop())).is_pending() {
                break;
            }
            match self.peeked.take() {
                Some(Ok(datagram)) => {
                    // An empty one counts too.
                    received_bytes += 1 + datagram.data.len();
                    received.push(datagram);
                }
                Some(Err(error)) if received.is_empty() => return Err(error),
                Some(Err(error)) => {
                    self.peeked = Some(Err(error));
                    break;
                }
                None => break,
            }
        }
        Ok(received)
    }
}

impl OutgoingDatagramStream {
    fn poll_sendable(&self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.socket.with(|socket| socket.poll_sendable(cx))
    }

    fn send(&self, datagram: OutgoingDatagram) -> Result<(), NetError> {
        let OutgoingDatagram { data, remote_address } = datagram;
        let remote = remote_address.map(SocketAddr::from);
        remote.map_or(Ok(()), |remote| check_datagram_remote(self.family, remote))?;
        let bytes = Bytes::from(data);
        given_away(bytes.len());
        self.socket.with(|socket| socket.send(bytes, remote))
    }
}

impl udp_create_socket::Host for View<'_> {
    fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let options = Options::default();
        let socket = UdpSocket { family: family.into(), options, bound: None, is_binding: false };
        Ok(self.table.push(socket)?)
    }
}

impl View<'_> {
    /// What is asked of a socket that needs nothing else.
    fn udp<T>(
        &mut self,
        socket: &Resource<UdpSocket>,
        ask: impl FnOnce(&mut UdpSocket) -> Result<T, NetError>,
    ) -> SocketResult<T> {
        let asked = ask(self.table.get_mut(socket)?);
        asked.map_err(|error| self.told(error))
    }
}

impl Host for View<'_> {}

impl HostUdpSocket for View<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<UdpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check(&network)?;
        let socket = self.table.get_mut(&socket)?;
        if socket.is_binding {
            return Err(ErrorCode::ConcurrencyConflict.into());
        }
        let bound = socket.bind(self.context, local.into());
        bound.map_err(|error| told(self.context, error))
    }

    fn finish_bind(&mut self, socket: Resource<UdpSocket>) -> SocketResult<()> {
        match std::mem::take(&mut self.table.get_mut(&socket)?.is_binding) {
            true => Ok(()),
            false => Err(ErrorCode::NotInProgress.into()),
        }
    }

    fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>)> {
        let is_stream =
            |child: &dyn Any| child.is::<IncomingDatagramStream>() || child.is::<OutgoingDatagramStream>();
        let has_streams = self.table.iter_children(&this)?.any(|child| is_stream(child));
        if has_streams {
            let error = wasmtime::format_err!("the streams of a UDP socket were not dropped before new ones");
            return Err(SocketError::Trap(error));
        }
        let remote = remote.map(SocketAddr::from);
        let (incoming, outgoing) = self.udp(&this, |socket| {
            socket.connect(remote)?;
            socket.streams()
        })?;
        let incoming = self.table.push_child(incoming, &this)?;
        match self.table.push_child(outgoing, &this) {
            Ok(outgoing) => Ok((incoming, outgoing)),
            Err(error) => {
                self.table.delete(incoming)?;
                Err(error.into())
            }
        }
    }

    fn local_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        self.udp(&socket, |socket| Ok(socket.bound()?.get().local().into()))
    }

    fn remote_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        self.udp(&socket, |socket| {
            socket.bound()?.get().remote().map(Into::into).ok_or(NetError::InvalidState)
        })
    }

    fn address_family(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family.into())
    }

    fn unicast_hop_limit(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u8> {
        self.udp(&socket, |socket| Ok(socket.options.hop_limit()))
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<UdpSocket>, value: u8) -> SocketResult<()> {
        self.udp(&socket, |socket| socket.options.set_hop_limit(value))
    }

    fn receive_buffer_size(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u64> {
        self.udp(&socket, |socket| Ok(socket.options.receive_buffer_bytes()))
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> SocketResult<()> {
        self.udp(&socket, |socket| socket.options.set_receive_buffer_bytes(value))
    }

    fn send_buffer_size(&mut self, socket: Resource<UdpSocket>) -> SocketResult<u64> {
        self.udp(&socket, |socket| Ok(socket.options.send_buffer_bytes()))
    }

    fn set_send_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> SocketResult<()> {
        self.udp(&socket, |socket| socket.options.set_send_buffer_bytes(value))
    }

    fn subscribe(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for UdpSocket {
    /// Nothing that is started takes time.
    async fn ready(&mut self) {}
}

impl HostIncomingDatagramStream for View<'_> {
    fn receive(
        &mut self,
        stream: Resource<IncomingDatagramStream>,
        count_max: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX).min(DATAGRAMS_MAX);
        let received = self.table.get_mut(&stream)?.receive(count_max);
        received.map_err(|error| self.told(error))
    }

    fn subscribe(
        &mut self,
        stream: Resource<IncomingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for IncomingDatagramStream {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_peek(cx)).await;
    }
}

impl HostOutgoingDatagramStream for View<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        let stream = self.table.get_mut(&stream)?;
        let (permit, error) = match stream.poll_sendable(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => (DATAGRAMS_MAX, None),
            Poll::Ready(Err(error)) => (0, Some(error)),
            Poll::Pending => (0, None),
        };
        stream.permit = permit;
        error.map_or(Ok(permit as u64), |error| Err(self.told(error)))
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        if datagrams.is_empty() {
            return Ok(0);
        }
        let stream = self.table.get_mut(&stream)?;
        if datagrams.len() > std::mem::take(&mut stream.permit) {
            let error = wasmtime::format_err!("more datagrams were sent than `check-send` had permitted");
            return Err(SocketError::Trap(error));
        }
        let mut sent = 0;
        for datagram in datagrams {
            match stream.send(datagram) {
                Ok(()) => sent += 1,
                Err(error) if sent == 0 => return Err(told(self.context, error)),
                // Those before it went out, and that is what the guest is told.
                Err(error) => {
                    apart(|| drop(error));
                    break;
                }
            }
        }
        Ok(sent)
    }

    fn subscribe(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for OutgoingDatagramStream {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_sendable(cx).map(|_| ())).await;
    }
}
