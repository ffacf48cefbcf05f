//! `wasi:sockets/tcp` and `tcp-create-socket` 0.2: the states of a socket, and what its guest may ask in which.
//!
//! Nothing takes time but connecting and accepting. Binding and listening are done when they are started, and finishing them
//! only says so; yet nothing else may be started before, as WASI has it.

use super::bindings::network::ErrorCode;
use super::bindings::tcp::{
    Duration, Host, HostTcpSocket, InputStream, IpAddressFamily, IpSocketAddress, Network, OutputStream,
    ShutdownType,
};
use super::bindings::tcp_create_socket;
use super::tcp_streams::Connection;
use super::{SocketError, SocketResult, View, told};
use crate::address::{Family, check_stream_local, check_stream_remote};
use crate::context::Context as SandboxContext;
use crate::local::Local;
use crate::options::StreamOptions;
use futures::future::LocalBoxFuture;
use skiff_net::{Listener, NetError, Port, Stream};
use skiff_types::Transport;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

/// Connections that wait to be accepted where a guest does not say how many may: as Rust's standard library has it.
const BACKLOG_DEFAULT: usize = 128;

/// A socket of TCP.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct TcpSocket {
    family: Family,
    options: StreamOptions,
    backlog: usize,
    state: State,
    started: Option<Operation>,
}

/// What was started, and not finished yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Bind,
    Connect,
    Listen,
}

enum State {
    Unbound,
    Bound(Local<Port>),
    Listening(Listening),
    Connecting(Connecting),
    Connected(Connection),
    /// It failed for good.
    Closed(Local<NetError>),
}

/// A listener, and what it accepted when somebody asked whether there is anything to accept.
struct Listening {
    listener: Local<Listener>,
    accepted: Option<Result<Local<Stream>, NetError>>,
}

enum Connecting {
    Pending(Local<LocalBoxFuture<'static, Result<Stream, NetError>>>),
    Done(Result<Connection, Local<NetError>>),
}

impl TcpSocket {
    fn new(family: Family, options: StreamOptions, state: State) -> Self {
        Self { family, options, backlog: BACKLOG_DEFAULT, state, started: None }
    }

    /// Whether something may be started.
    fn check_idle(&self) -> SocketResult<()> {
        if self.started.is_some() { Err(ErrorCode::ConcurrencyConflict.into()) } else { Ok(()) }
    }

    /// Finishes what was started.
    fn finish(&mut self, operation: Operation) -> SocketResult<()> {
        if self.started != Some(operation) {
            return Err(ErrorCode::NotInProgress.into());
        }
        self.started = None;
        Ok(())
    }

    fn bind(&mut self, context: &mut SandboxContext, local: SocketAddr) -> Result<(), NetError> {
        if !matches!(self.state, State::Unbound) {
            return Err(NetError::InvalidState);
        }
        check_stream_local(self.family, local)?;
        let port = context.interface()?.with(|interface| interface.bind(Transport::Tcp, local))?;
        self.state = State::Bound(Local::new(port));
        self.started = Some(Operation::Bind);
        Ok(())
    }

    fn connect(&mut self, context: &mut SandboxContext, remote: SocketAddr) -> Result<(), NetError> {
        if !matches!(self.state, State::Unbound | State::Bound(_)) {
            return Err(NetError::InvalidState);
        }
        let interface = context.interface()?;
        if let Err(error) = check_stream_remote(self.family, remote) {
            interface.with(|interface| interface.note_no_remote(Transport::Tcp, remote));
            return Err(error);
        }
        let port = match std::mem::replace(&mut self.state, State::between()) {
            State::Bound(port) => Some(port.into_inner()),
            State::Unbound
            | State::Listening(_)
            | State::Connecting(_)
            | State::Connected(_)
            | State::Closed(_) => None,
        };
        let pending = Local::new(interface.with(|interface| interface.connect(port, remote)));
        let mut connecting = Connecting::Pending(pending);
        // It goes out now, whenever the guest asks what became of it.
        let _ = connecting.poll_done(&mut Context::from_waker(Waker::noop()));
        self.state = State::Connecting(connecting);
        self.started = Some(Operation::Connect);
        Ok(())
    }

    fn listen(&mut self, context: &mut SandboxContext) -> Result<(), NetError> {
        if !matches!(self.state, State::Bound(_)) {
            return Err(NetError::InvalidState);
        }
        let interface = context.interface()?;
        if let State::Bound(port) = std::mem::replace(&mut self.state, State::between()) {
            let port = port.into_inner();
            let listener = interface.with(|interface| interface.listen(port, self.backlog))?;
            self.state = State::Listening(Listening { listener: Local::new(listener), accepted: None });
            self.started = Some(Operation::Listen);
        }
        Ok(())
    }

    fn local(&self) -> Result<SocketAddr, NetError> {
        match &self.state {
            State::Bound(port) => Ok(port.get().local()),
            State::Listening(listening) => Ok(listening.listener.get().local_address()),
            State::Connected(connection) => Ok(connection.local()),
            State::Unbound | State::Connecting(_) => Err(NetError::InvalidState),
            State::Closed(error) => Err(error.with(NetError::clone)),
        }
    }

    fn remote(&self) -> Result<SocketAddr, NetError> {
        match &self.state {
            State::Connected(connection) => Ok(connection.remote()),
            State::Unbound | State::Bound(_) | State::Listening(_) | State::Connecting(_) => {
                Err(NetError::InvalidState)
            }
            State::Closed(error) => Err(error.with(NetError::clone)),
        }
    }

    fn set_backlog(&mut self, value: u64) -> Result<(), NetError> {
        if value == 0 {
            return Err(NetError::InvalidArgument);
        }
        // More than there may be is put in range by the listener.
        let backlog = usize::try_from(value).unwrap_or(usize::MAX);
        match &self.state {
            State::Unbound | State::Bound(_) => self.backlog = backlog,
            State::Listening(listening) => listening.listener.with(|listener| listener.set_backlog(backlog)),
            State::Connecting(_) | State::Connected(_) => return Err(NetError::InvalidState),
            State::Closed(error) => return Err(error.with(NetError::clone)),
        }
        Ok(())
    }

    /// Those of a socket that is not on its way from one state to another.
    fn options(&mut self) -> Result<&mut StreamOptions, NetError> {
        match &self.state {
            State::Unbound | State::Bound(_) | State::Listening(_) | State::Connected(_) => {
                Ok(&mut self.options)
            }
            State::Connecting(_) => Err(NetError::InvalidState),
            State::Closed(error) => Err(error.with(NetError::clone)),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connecting(connecting) => connecting.poll_done(cx).map(|_| ()),
            State::Listening(listening) if self.started.is_none() => listening.poll_accepted(cx),
            State::Unbound
            | State::Bound(_)
            | State::Listening(_)
            | State::Connected(_)
            | State::Closed(_) => Poll::Ready(()),
        }
    }
}

impl State {
    /// What a socket is that was taken out of one state, and is not in another yet.
    fn between() -> Self {
        Self::Closed(Local::new(NetError::InvalidState))
    }
}

impl Listening {
    fn poll_accepted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.accepted.is_none() {
            let accepted = ready!(self.listener.with(|listener| listener.poll_accept(cx)));
            self.accepted = Some(accepted.map(Local::new));
        }
        Poll::Ready(())
    }
}

/// Who waits in a backlog that is closed is reset, and so is this one.
impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(Ok(stream)) = &self.accepted {
            stream.with(Stream::reset);
        }
    }
}

impl Connecting {
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<&Result<Connection, Local<NetError>>> {
        if let Self::Pending(pending) = self {
            let connected = ready!(pending.with_mut(|pending| pending.as_mut().poll(cx)));
            *self = Self::Done(connected.map(Connection::new).map_err(Local::new));
        }
        match self {
            Self::Done(done) => Poll::Ready(done),
            Self::Pending(_) => Poll::Pending,
        }
    }
}

/// Gives the guest a connection that came in, with all that belongs to it, or nothing.
fn push_accepted(
    table: &mut ResourceTable,
    socket: TcpSocket,
    connection: &Connection,
) -> SocketResult<(Resource<TcpSocket>, Resource<InputStream>, Resource<OutputStream>)> {
    let socket = table.push(socket)?;
    match push_streams(table, &socket, connection) {
        Ok((input, output)) => Ok((socket, input, output)),
        Err(error) => {
            table.delete(socket)?;
            Err(error)
        }
    }
}

/// Gives the guest both streams of a connection, or none.
fn push_streams(
    table: &mut ResourceTable,
    socket: &Resource<TcpSocket>,
    connection: &Connection,
) -> SocketResult<(Resource<InputStream>, Resource<OutputStream>)> {
    let (reader, writer) = connection.streams();
    let (input, output): (DynInputStream, DynOutputStream) = (Box::new(reader), Box::new(writer));
    let input = table.push_child(input, socket)?;
    match table.push_child(output, socket) {
        Ok(output) => Ok((input, output)),
        Err(error) => {
            table.delete(input)?;
            Err(error.into())
        }
    }
}

impl tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let socket = TcpSocket::new(family.into(), StreamOptions::default(), State::Unbound);
        Ok(self.table.push(socket)?)
    }
}

impl View<'_> {
    /// What is asked of a socket that needs nothing else.
    fn tcp<T>(
        &mut self,
        socket: &Resource<TcpSocket>,
        ask: impl FnOnce(&mut TcpSocket) -> Result<T, NetError>,
    ) -> SocketResult<T> {
        let asked = ask(self.table.get_mut(socket)?);
        asked.map_err(|error| self.told(error))
    }

    fn options<T>(
        &mut self,
        socket: &Resource<TcpSocket>,
        ask: impl FnOnce(&mut StreamOptions) -> Result<T, NetError>,
    ) -> SocketResult<T> {
        self.tcp(socket, |socket| ask(socket.options()?))
    }
}

impl Host for View<'_> {}

impl HostTcpSocket for View<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check(&network)?;
        let socket = self.table.get_mut(&socket)?;
        socket.check_idle()?;
        let bound = socket.bind(self.context, local.into());
        bound.map_err(|error| told(self.context, error))
    }

    fn finish_bind(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        self.table.get_mut(&socket)?.finish(Operation::Bind)
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check(&network)?;
        let socket = self.table.get_mut(&socket)?;
        socket.check_idle()?;
        let connected = socket.connect(self.context, remote.into());
        connected.map_err(|error| told(self.context, error))
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<InputStream>, Resource<OutputStream>)> {
        let socket = self.table.get_mut(&this)?;
        let State::Connecting(connecting) = &mut socket.state else {
            return Err(ErrorCode::NotInProgress.into());
        };
        let Poll::Ready(done) = connecting.poll_done(&mut Context::from_waker(Waker::noop())) else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let done = done.clone();
        socket.finish(Operation::Connect)?;
        socket.state = match &done {
            Ok(connection) => State::Connected(connection.clone()),
            Err(error) => State::Closed(error.clone()),
        };
        let connection = done.map_err(|error| told(self.context, error.into_inner()))?;
        push_streams(self.table, &this, &connection)
    }

    fn start_listen(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.table.get_mut(&socket)?;
        socket.check_idle()?;
        let listens = socket.listen(self.context);
        listens.map_err(|error| told(self.context, error))
    }

    fn finish_listen(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        self.table.get_mut(&socket)?.finish(Operation::Listen)
    }

    fn accept(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<InputStream>, Resource<OutputStream>)> {
        let socket = self.table.get_mut(&socket)?;
        let (family, options) = (socket.family, socket.options);
        let State::Listening(listening) = &mut socket.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        if listening.poll_accepted(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Err(ErrorCode::WouldBlock.into());
        }
        let Some(accepted) = listening.accepted.take() else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let stream = accepted.map_err(|error| told(self.context, error))?;
        let connection = Connection::new(stream.into_inner());
        let socket = TcpSocket::new(family, options, State::Connected(connection.clone()));
        let given = push_accepted(self.table, socket, &connection);
        if given.is_err() {
            // Whoever connected is told that nobody has it.
            connection.reset();
        }
        given
    }

    fn local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        self.tcp(&socket, |socket| socket.local().map(Into::into))
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        self.tcp(&socket, |socket| socket.remote().map(Into::into))
    }

    fn is_listening(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(matches!(self.table.get(&socket)?.state, State::Listening(_)))
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family.into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.tcp(&socket, |socket| socket.set_backlog(value))
    }

    fn keep_alive_enabled(&mut self, socket: Resource<TcpSocket>) -> SocketResult<bool> {
        self.options(&socket, |options| Ok(options.keep_alive))
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<TcpSocket>, value: bool) -> SocketResult<()> {
        self.options(&socket, |options| {
            options.keep_alive = value;
            Ok(())
        })
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>) -> SocketResult<Duration> {
        self.options(&socket, |options| Ok(options.keep_alive_idle_ns()))
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>, value: Duration) -> SocketResult<()> {
        self.options(&socket, |options| options.set_keep_alive_idle_ns(value))
    }

    fn keep_alive_interval(&mut self, socket: Resource<TcpSocket>) -> SocketResult<Duration> {
        self.options(&socket, |options| Ok(options.keep_alive_interval_ns()))
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<TcpSocket>, value: Duration) -> SocketResult<()> {
        self.options(&socket, |options| options.set_keep_alive_interval_ns(value))
    }

    fn keep_alive_count(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u32> {
        self.options(&socket, |options| Ok(options.keep_alive_count()))
    }

    fn set_keep_alive_count(&mut self, socket: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        self.options(&socket, |options| options.set_keep_alive_count(value))
    }

    fn hop_limit(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u8> {
        self.options(&socket, |options| Ok(options.common.hop_limit()))
    }

    fn set_hop_limit(&mut self, socket: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        self.options(&socket, |options| options.common.set_hop_limit(value))
    }

    fn receive_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.options(&socket, |options| Ok(options.common.receive_buffer_bytes()))
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.options(&socket, |options| options.common.set_receive_buffer_bytes(value))
    }

    fn send_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.options(&socket, |options| Ok(options.common.send_buffer_bytes()))
    }

    fn set_send_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.options(&socket, |options| options.common.set_send_buffer_bytes(value))
    }

    fn subscribe(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, which: ShutdownType) -> SocketResult<()> {
        let State::Connected(connection) = &self.table.get(&socket)?.state else {
            return Err(SocketError::Code(ErrorCode::InvalidState));
        };
        match which {
            ShutdownType::Receive => connection.shutdown_read(),
            ShutdownType::Send => connection.shutdown_write(),
            ShutdownType::Both => {
                connection.shutdown_read();
                connection.shutdown_write();
            }
        }
        Ok(())
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }
}
