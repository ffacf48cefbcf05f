//! A listening socket for axum: tokio's, but for its `accept`.
//!
//! That one fails on `wasm32-wasip2` (mio 1.2, Rust 1.95): it asks that the new connection does not block by `fcntl` with
//! `F_SETFL`, which wasi-libc does not know of sockets; the standard library asks by `ioctl`, which works. So tokio is only
//! asked when somebody has connected. Once the two agree, `tokio::net::TcpListener` is all it takes.

use axum::serve;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long to accept nothing after a failure, which may be that there is room for no more.
const PAUSE: Duration = Duration::from_millis(50);

pub struct Listener {
    listener: TcpListener,
    /// The same socket: when there is something to accept.
    readiness: ManuallyDrop<TcpStream>,
}

impl Listener {
    /// Listens at an address. Within tokio's runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        // SAFETY: never dropped, so nobody but `listener` closes the descriptor; and it is registered for as long as it is
        // open, since the program listens to its end.
        let same = unsafe { std::net::TcpStream::from_raw_fd(listener.as_raw_fd()) };
        Ok(Self { listener, readiness: ManuallyDrop::new(TcpStream::from_std(same)?) })
    }

    async fn accepted(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            self.readiness.readable().await?;
            match self.readiness.try_io(Interest::READABLE, || self.listener.accept()) {
                Ok((stream, client)) => {
                    stream.set_nonblocking(true)?;
                    return Ok((TcpStream::from_std(stream)?, client));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl serve::Listener for Listener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    /// A connection that fails before it is there is the client's affair: the next one is awaited.
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.accepted().await {
                Ok(accepted) => return accepted,
                Err(error) => eprintln!("a connection was lost: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
