//! To the outside: streams and datagrams over the kernel's own sockets, read and written in the guest's polls.
//!
//! All that a task exchanges with the outside is held to one rate, in bytes a second. It deliberately judges nothing: who
//! calls has asked the rules about the very address that is given here, and no name is looked up. How long an attempt to
//! connect may take is the caller's to say, too.
//!
//! What always holds: a stream that is dropped before its end is a reset for the other side (RFC 9293, section 3.5.2); a
//! socket on which nothing comes holds no memory to read into.

use crate::charge::Charge;
use crate::error::NetError;
use crate::kernel::{DATAGRAM_BUFFER_BYTES, KernelPlace, OUTSIDE_BUFFER_BYTES};
use crate::rate::{Rate, Turn};
use crate::socket::{Socket, net_error};
use bytes::{Bytes, BytesMut};
use rustix::net::{SendFlags, sockopt};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// Bytes that are read or written at once.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// The longest datagram that there can be: RFC 768 has 16 bits for its length.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// A stream to the outside. Lives on one thread, in a `LocalSet`.
pub(crate) struct OutsideStream {
    socket: Socket<TcpStream>,
    rate: Rc<Rate>,
    reading: Turn,
    writing: Turn,
    forgets_incoming: Cell<bool>,
}

impl OutsideStream {
    /// Connects to an address, as long as it takes: who has waited long enough drops this.
    pub(crate) async fn connect(
        remote: SocketAddr,
        rate: Rc<Rate>,
        charge: Rc<Charge>,
    ) -> Result<Self, NetError> {
        let socket = bounded_socket(remote).map_err(|error| net_error(&error))?;
        let socket = socket.connect(remote).await.map_err(|error| net_error(&error))?;
        // A guest's writes are as it wants them sent.
        socket.set_nodelay(true).map_err(|error| net_error(&error))?;
        Ok(Self {
            socket: Socket::new(socket, charge),
            rate,
            reading: Turn::default(),
            writing: Turn::default(),
            forgets_incoming: Cell::new(false),
        })
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetError>> {
        if self.forgets_incoming.get() {
            return Poll::Ready(Ok(Bytes::new()));
        }
        if !self.socket.is_reset() && self.rate.poll_turn(cx, &self.reading).is_pending() {
            self.socket.wait_to_read(cx);
            return Poll::Pending;
        }
        let mut buffer = BytesMut::new();
        let read = ready!(self.socket.poll_read(cx, &mut buffer, bytes_max.clamp(1, PIECE_BYTES_MAX)))?;
        self.rate.spend(read as u64);
        Poll::Ready(Ok(buffer.freeze()))
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, NetError>> {
        if !self.socket.is_reset() && self.rate.poll_turn(cx, &self.writing).is_pending() {
            self.socket.wait_to_write(cx);
            return Poll::Pending;
        }
        self.socket.poll_writable(cx).map_ok(|()| PIECE_BYTES_MAX)
    }

    pub(crate) fn write(&self, bytes: Bytes) -> Result<(), NetError> {
        match bytes.len() {
            0 => Ok(()),
            1..=PIECE_BYTES_MAX => {
                self.rate.spend(bytes.len() as u64);
                self.socket.write(&[], bytes)
            }
            _ => Err(NetError::InvalidState),
        }
    }

    /// What comes is left to the kernel, which takes as much as it would for a program that reads no more: reading it only
    /// to forget it would use up the task's rate.
    pub(crate) fn shutdown_read(&self) {
        self.forgets_incoming.set(true);
    }

    pub(crate) fn shutdown_write(&self) {
        self.socket.end();
    }

    /// Keeps something until all that was written is sent, or given up.
    pub(crate) fn hold_while_sending<T: 'static>(&self, held: T) {
        self.socket.hold_while_sending(held);
    }

    /// Whether something has come in that nobody has read. Who lets go of the stream then resets it before it ends it.
    pub(crate) fn is_unread(&self) -> bool {
        !self.forgets_incoming.get() && self.socket.unread_bytes() > 0
    }

    pub(crate) fn reset(&self) {
        self.forgets_incoming.set(false);
        self.socket.reset();
    }
}

/// A socket to connect to an address with, and no more of the kernel's memory than it may have.
fn bounded_socket(remote: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Before it is connected: both sides agree then on how much may be on its way (RFC 7323, section 2).
    sockopt::set_socket_send_buffer_size(&socket, OUTSIDE_BUFFER_BYTES)?;
    sockopt::set_socket_recv_buffer_size(&socket, OUTSIDE_BUFFER_BYTES)?;
    Ok(socket)
}

impl Drop for OutsideStream {
    fn drop(&mut self) {
        if !self.socket.is_ended() {
            self.socket.reset();
        }
    }
}

/// Datagrams to and from the outside, of one family of addresses. Whoever sends here is not known yet to be wanted.
pub(crate) struct OutsideDatagrams {
    socket: UdpSocket,
    rate: Rc<Rate>,
    reading: Turn,
    writing: Turn,
    _place: KernelPlace,
}

impl OutsideDatagrams {
    /// A socket of the kernel's choice of port, of the family that `like` is of, at its place. Within a runtime.
    pub(crate) fn open(like: IpAddr, rate: Rc<Rate>, place: KernelPlace) -> Result<Self, NetError> {
        let any: IpAddr = match like {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let opened = std::net::UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            sockopt::set_socket_send_buffer_size(&socket, DATAGRAM_BUFFER_BYTES)?;
            sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER_BYTES)?;
            UdpSocket::from_std(socket)
        });
        let socket = opened.map_err(|error| net_error(&error))?;
        Ok(Self { socket, rate, reading: Turn::default(), writing: Turn::default(), _place: place })
    }

    /// Whether the task may send more now.
    pub(crate) fn poll_sendable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.rate.poll_turn(cx, &self.writing)
    }

    /// Sends a datagram; where the kernel has no room for it, it is lost.
    pub(crate) fn send(&self, bytes: &[u8], remote: SocketAddr) -> Result<(), NetError> {
        self.rate.spend(bytes.len() as u64);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::net::sendto(&self.socket, bytes, flags, &remote).map_err(io::Error::from);
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(net_error(&error)),
        }
    }

    /// The next datagram, and where it came from.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        ready!(self.rate.poll_turn(cx, &self.reading));
        loop {
            ready!(self.socket.poll_recv_ready(cx)).map_err(|error| net_error(&error))?;
            let mut buffer = BytesMut::with_capacity(DATAGRAM_BYTES_MAX);
            match self.socket.try_recv_buf_from(&mut buffer) {
                Ok((length, remote)) => {
                    self.rate.spend(length as u64);
                    // Of its own length, since it may wait for long.
                    let bytes = Bytes::copy_from_slice(&buffer[..length]);
                    return Poll::Ready(Ok((
                        bytes,
                        SocketAddr::new(remote.ip().to_canonical(), remote.port()),
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(net_error(&error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_no_more_than_it_was_told() {
        let socket = bounded_socket("192.0.2.1:80".parse().unwrap()).unwrap();
        let bytes = sockopt::socket_send_buffer_size(&socket).unwrap();
        // The kernel adds as much again for its own structures, and may grant less.
        assert!((OUTSIDE_BUFFER_BYTES..=2 * OUTSIDE_BUFFER_BYTES).contains(&bytes), "{bytes} bytes");
    }
}
