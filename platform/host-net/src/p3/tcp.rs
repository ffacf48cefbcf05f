//! `tcp-socket` of `wasi:sockets/types` 0.3.
//!
//! A socket is bound, then connects or listens, each once; after an attempt to connect that failed it can only be dropped. What
//! waits where, and what is allowed, is the business of `net`.

use super::bindings::types::{
    Duration, ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress,
};
use super::streams::{Connection, End, Incoming, Receiving, Sending};
use super::{SocketError, SocketResult, Sockets, View};
use crate::address::{Family, check_stream_local, check_stream_remote};
use crate::errors::p3_code;
use crate::local::Local;
use crate::options::StreamOptions;
use futures::future::LocalBoxFuture;
use skiff_net::{Listener, NetError, Port, Stream};
use skiff_sandbox::SandboxState;
use skiff_types::Transport;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};

/// Connections that may wait to be accepted, where the guest does not say; the standard library of Rust has the same.
const BACKLOG: usize = 128;

/// A socket for a stream.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct TcpSocket {
    state: State,
    family: Family,
    backlog: usize,
    options: StreamOptions,
}

enum State {
    Unbound,
    Bound(Local<Port>),
    Connecting(Local<LocalBoxFuture<'static, Result<Stream, NetError>>>),
    Listening(Local<Rc<Listening>>),
    Connected {
        connection: Connection,
        /// Each half is given to a stream once.
        may_send: bool,
        may_receive: bool,
    },
    Closed(ErrorCode),
}

/// What a socket that listens shares with its stream of connections.
pub(super) struct Listening {
    pub(super) listener: Listener,
    family: Family,
    /// What sockets that are accepted begin with.
    options: Cell<StreamOptions>,
}

impl TcpSocket {
    fn new(family: Family) -> Self {
        Self { state: State::Unbound, family, backlog: BACKLOG, options: StreamOptions::default() }
    }

    pub(super) fn accepted(connection: Connection, from: &Listening) -> Self {
        let state = State::Connected { connection, may_send: true, may_receive: true };
        Self { state, family: from.family, backlog: BACKLOG, options: from.options.get() }
    }

    /// The port of a socket that can still become anything, if it was bound; what becomes of it is set next.
    fn take_port(&mut self) -> Result<Option<Local<Port>>, ErrorCode> {
        match std::mem::replace(&mut self.state, State::Unbound) {
            State::Unbound => Ok(None),
            State::Bound(port) => Ok(Some(port)),
            state @ (State::Connecting(_)
            | State::Listening(_)
            | State::Connected { .. }
            | State::Closed(_)) => {
                self.state = state;
                Err(ErrorCode::InvalidState)
            }
        }
    }

    /// Goes on with the attempt to connect.
    fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let State::Connecting(attempt) = &mut self.state else {
            return Poll::Ready(Err(NetError::InvalidState));
        };
        let (state, outcome) = match ready!(Pin::new(attempt).poll(cx)) {
            Ok(stream) => {
                let connection = Local::make(|| Rc::new(stream));
                (State::Connected { connection, may_send: true, may_receive: true }, Ok(()))
            }
            Err(error) => (State::Closed(p3_code(&error)), Err(error)),
        };
        self.state = state;
        Poll::Ready(outcome)
    }

    /// The connection, for one of its halves, which `pick` finds.
    fn take_half(
        &mut self,
        pick: impl FnOnce(&mut bool, &mut bool) -> bool,
    ) -> Result<Connection, ErrorCode> {
        match &mut self.state {
            State::Connected { connection, may_send, may_receive } => match pick(may_send, may_receive) {
                true => Ok(connection.clone()),
                false => Err(ErrorCode::InvalidState),
            },
            State::Closed(code) => Err(code.clone()),
            State::Unbound | State::Bound(_) | State::Connecting(_) | State::Listening(_) => {
                Err(ErrorCode::InvalidState)
            }
        }
    }

    fn local(&self) -> Result<SocketAddr, ErrorCode> {
        match &self.state {
            State::Bound(port) => Ok(port.get().local()),
            State::Listening(listening) => Ok(listening.get().listener.local_address()),
            State::Connected { connection, .. } => Ok(connection.get().local()),
            State::Closed(code) => Err(code.clone()),
            State::Unbound | State::Connecting(_) => Err(ErrorCode::InvalidState),
        }
    }

    fn remote(&self) -> Result<SocketAddr, ErrorCode> {
        match &self.state {
            State::Connected { connection, .. } => Ok(connection.get().remote()),
            State::Closed(code) => Err(code.clone()),
            State::Unbound | State::Bound(_) | State::Connecting(_) | State::Listening(_) => {
                Err(ErrorCode::InvalidState)
            }
        }
    }

    fn set_backlog(&mut self, value: u64) -> Result<(), ErrorCode> {
        if value == 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        let backlog = usize::try_from(value).unwrap_or(usize::MAX);
        match &self.state {
            State::Unbound | State::Bound(_) => {}
            State::Listening(listening) => {
                listening.with(|listening| listening.listener.set_backlog(backlog))
            }
            State::Connecting(_) | State::Connected { .. } => return Err(ErrorCode::InvalidState),
            State::Closed(code) => return Err(code.clone()),
        }
        self.backlog = backlog;
        Ok(())
    }

    fn options(&self) -> Result<StreamOptions, ErrorCode> {
        match &self.state {
            State::Unbound | State::Bound(_) | State::Listening(_) | State::Connected { .. } => {
                Ok(self.options)
            }
            State::Connecting(_) => Err(ErrorCode::InvalidState),
            State::Closed(code) => Err(code.clone()),
        }
    }

    fn set(
        &mut self,
        change: impl FnOnce(&mut StreamOptions) -> Result<(), NetError>,
    ) -> Result<(), ErrorCode> {
        let mut options = self.options()?;
        change(&mut options).map_err(|error| p3_code(&error))?;
        self.options = options;
        if let State::Listening(listening) = &self.state {
            listening.get().options.set(options);
        }
        Ok(())
    }
}

impl View<'_> {
    fn stream_options(&self, socket: &Resource<TcpSocket>) -> SocketResult<StreamOptions> {
        Ok(self.table.get(socket)?.options()?)
    }

    fn set_stream_option(
        &mut self,
        socket: &Resource<TcpSocket>,
        change: impl FnOnce(&mut StreamOptions) -> Result<(), NetError>,
    ) -> SocketResult<()> {
        Ok(self.table.get_mut(socket)?.set(change)?)
    }

    fn start_connect(&mut self, socket: &Resource<TcpSocket>, remote: SocketAddr) -> SocketResult<()> {
        let View { context, table } = self;
        let entry = table.get_mut(socket)?;
        let interface = context.interface().map_err(|error| p3_code(&error))?;
        if let Err(error) = check_stream_remote(entry.family, remote) {
            interface.with(|interface| interface.note_no_remote(Transport::Tcp, remote));
            return Err(p3_code(&error).into());
        }
        let port = entry.take_port()?.map(Local::into_inner);
        let attempt = interface.with(|interface| interface.connect(port, remote));
        entry.state = State::Connecting(Local::new(attempt));
        Ok(())
    }

    fn poll_connect(&mut self, socket: &Resource<TcpSocket>, cx: &mut Context<'_>) -> Poll<SocketResult<()>> {
        let connected = ready!(self.table.get_mut(socket)?.poll_connect(cx));
        Poll::Ready(self.tell(connected))
    }

    fn listen(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<Local<Rc<Listening>>> {
        let View { context, table } = self;
        let entry = table.get_mut(socket)?;
        let (family, backlog, options) = (entry.family, entry.backlog, Cell::new(entry.options));
        let port = entry.take_port()?.map(Local::into_inner);
        let listening = context.interface().and_then(|interface| {
            interface.with(|interface| {
                let any = || interface.bind(Transport::Tcp, family.unspecified());
                let listener = interface.listen(port.map_or_else(any, Ok)?, backlog)?;
                Ok(Rc::new(Listening { listener, family, options }))
            })
        });
        let listening = Local::new(self.tell(listening)?);
        self.table.get_mut(socket)?.state = State::Listening(listening.clone());
        Ok(listening)
    }
}

impl HostTcpSocketWithStore<SandboxState> for Sockets {
    async fn connect(
        accessor: &Accessor<SandboxState, Self>,
        socket: Resource<TcpSocket>,
        remote_address: IpSocketAddress,
    ) -> SocketResult<()> {
        accessor.with(|mut access| access.get().start_connect(&socket, remote_address.into()))?;
        poll_fn(|cx| accessor.with(|mut access| access.get().poll_connect(&socket, cx))).await
    }

    fn listen(
        mut access: Access<'_, SandboxState, Self>,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<StreamReader<Resource<TcpSocket>>> {
        let listening = access.get().listen(&socket)?;
        StreamReader::new(&mut access, Incoming::new(listening)).map_err(SocketError::Trap)
    }

    fn send(
        mut access: Access<'_, SandboxState, Self>,
        socket: Resource<TcpSocket>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<End>> {
        let socket = access.get().table.get_mut(&socket)?;
        match socket.take_half(|may_send, _| std::mem::take(may_send)) {
            Ok(connection) => {
                let (told, end) = oneshot::channel();
                data.pipe(&mut access, Sending::new(connection, told))?;
                FutureReader::new(&mut access, end)
            }
            Err(code) => {
                data.close(&mut access)?;
                FutureReader::new(&mut access, async move { wasmtime::error::Ok(Err(code)) })
            }
        }
    }

    fn receive(
        mut access: Access<'_, SandboxState, Self>,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<End>)> {
        let socket = access.get().table.get_mut(&socket)?;
        match socket.take_half(|_, may_receive| std::mem::take(may_receive)) {
            Ok(connection) => {
                let (told, end) = oneshot::channel();
                let data = StreamReader::new(&mut access, Receiving::new(connection, told))?;
                Ok((data, FutureReader::new(&mut access, end)?))
            }
            Err(code) => {
                let data = StreamReader::new(&mut access, std::iter::empty())?;
                let end = FutureReader::new(&mut access, async move { wasmtime::error::Ok(Err(code)) })?;
                Ok((data, end))
            }
        }
    }
}

impl HostTcpSocket for View<'_> {
    fn create(&mut self, address_family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Ok(self.table.push(TcpSocket::new(address_family.into()))?)
    }

    fn bind(&mut self, socket: Resource<TcpSocket>, local_address: IpSocketAddress) -> SocketResult<()> {
        let local = SocketAddr::from(local_address);
        let entry = self.table.get(&socket)?;
        if !matches!(entry.state, State::Unbound) {
            return Err(ErrorCode::InvalidState.into());
        }
        let bound = check_stream_local(entry.family, local)
            .and_then(|()| self.context.interface()?.with(|interface| interface.bind(Transport::Tcp, local)));
        let port = Local::new(self.tell(bound)?);
        self.table.get_mut(&socket)?.state = State::Bound(port);
        Ok(())
    }

    fn get_local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.table.get(&socket)?.local()?.into())
    }

    fn get_remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.table.get(&socket)?.remote()?.into())
    }

    fn get_is_listening(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(matches!(self.table.get(&socket)?.state, State::Listening(_)))
    }

    fn get_address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family.into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        Ok(self.table.get_mut(&socket)?.set_backlog(value)?)
    }

    fn get_keep_alive_enabled(&mut self, socket: Resource<TcpSocket>) -> SocketResult<bool> {
        Ok(self.stream_options(&socket)?.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<TcpSocket>, value: bool) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| {
            options.keep_alive = value;
            Ok(())
        })
    }

    fn get_keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>) -> SocketResult<Duration> {
        Ok(self.stream_options(&socket)?.keep_alive_idle_ns())
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>, value: Duration) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| options.set_keep_alive_idle_ns(value))
    }

    fn get_keep_alive_interval(&mut self, socket: Resource<TcpSocket>) -> SocketResult<Duration> {
        Ok(self.stream_options(&socket)?.keep_alive_interval_ns())
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<TcpSocket>, value: Duration) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| options.set_keep_alive_interval_ns(value))
    }

    fn get_keep_alive_count(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u32> {
        Ok(self.stream_options(&socket)?.keep_alive_count())
    }

    fn set_keep_alive_count(&mut self, socket: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| options.set_keep_alive_count(value))
    }

    fn get_hop_limit(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.stream_options(&socket)?.common.hop_limit())
    }

    fn set_hop_limit(&mut self, socket: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| options.common.set_hop_limit(value))
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.stream_options(&socket)?.common.receive_buffer_bytes())
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| options.common.set_receive_buffer_bytes(value))
    }

    fn get_send_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.stream_options(&socket)?.common.send_buffer_bytes())
    }

    fn set_send_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.set_stream_option(&socket, |options| options.common.set_send_buffer_bytes(value))
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
