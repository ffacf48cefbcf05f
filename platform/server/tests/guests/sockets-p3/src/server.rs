//! Scripts that listen.

use crate::address::{any, family, to_std, to_wasi};
use crate::client::{connect, open};
use crate::connection::{CHUNK_BYTES, Connection};
use crate::{Outcome, broke, failed, ms_since, why};
use guest_common::Script;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use wasip3::clocks::monotonic_clock;
use wasip3::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress, TcpSocket};
use wasip3::wit_bindgen::{StreamReader, spawn_local};

/// A socket that listens, and what is accepted of it.
struct Listener {
    socket: TcpSocket,
    accepted: StreamReader<TcpSocket>,
}

impl Listener {
    /// Listens, with room for so many that nobody has accepted yet.
    fn new(at: IpSocketAddress, backlog: Option<u64>) -> Result<Self, String> {
        let socket = TcpSocket::create(family(to_std(at))).map_err(failed)?;
        if let Some(backlog) = backlog {
            socket.set_listen_backlog_size(backlog).map_err(failed)?;
        }
        socket.bind(at).map_err(failed)?;
        let accepted = socket.listen().map_err(failed)?;
        let listener = Self { socket, accepted };
        println!("listening on {}", listener.local()?);
        Ok(listener)
    }

    fn local(&self) -> Result<SocketAddr, String> {
        self.socket.get_local_address().map(to_std).map_err(failed)
    }

    async fn accept(&mut self) -> Result<(Connection, SocketAddr), String> {
        let socket = self.accepted.next().await.ok_or("failed: no more connections come")?;
        let connection = Connection::new(socket);
        let remote = connection.remote().map_err(failed)?;
        println!("accepted {remote} at {}", connection.local().map_err(failed)?);
        Ok((connection, remote))
    }
}

/// How many connections have ended, and who waits for that.
#[derive(Default)]
struct Ended {
    count: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Ended {
    fn add(&self) {
        self.count.set(self.count.get() + 1);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn reach(&self, count: u64) {
        poll_fn(|cx| {
            if self.count.get() >= count {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Gives back what each connection sends; after so many it accepts no more, and waits for their ends.
pub(crate) async fn echo(port: u16, count: Option<u64>) -> Outcome {
    let mut listener = Listener::new(any(port), None)?;
    let ended = Rc::new(Ended::default());
    let mut accepted = 0;
    while count.is_none_or(|count| accepted < count) {
        let (mut connection, remote) = listener.accept().await?;
        accepted += 1;
        let ended = ended.clone();
        spawn_local(async move {
            let mut bytes = 0;
            match give_back(&mut connection, &mut bytes).await {
                Ok(()) => println!("ended {remote} after {bytes} bytes"),
                Err(error) => println!("broke {remote} after {bytes} bytes: {}", why(&error)),
            }
            ended.add();
        });
    }
    ended.reach(accepted).await;
    Ok(())
}

async fn give_back(connection: &mut Connection, bytes: &mut usize) -> Result<(), ErrorCode> {
    loop {
        let data = connection.read(CHUNK_BYTES).await?;
        if data.is_empty() {
            return connection.finish().await;
        }
        *bytes += data.len();
        connection.write(data).await?;
    }
}

/// Listens, and never accepts.
pub(crate) async fn mute(port: u16, backlog: u64) -> Outcome {
    let _listener = Listener::new(any(port), Some(backlog))?;
    monotonic_clock::wait_for(u64::MAX).await;
    Ok(())
}

/// Waits until somebody has connected, and ends without accepting.
pub(crate) async fn glance(port: u16) -> Outcome {
    let mut listener = Listener::new(any(port), None)?;
    // Without room for one, it is only said that there is one.
    listener.accepted.read(Vec::new()).await;
    println!("somebody has connected");
    Ok(())
}

pub(crate) async fn reject(port: u16) -> Outcome {
    let mut listener = Listener::new(any(port), None)?;
    loop {
        let (mut connection, _) = listener.accept().await?;
        match connection.read(1).await {
            Ok(_) => println!("dropped"),
            Err(error) => println!("{}", broke(error)),
        }
    }
}

pub(crate) async fn sink(port: u16) -> Outcome {
    let mut listener = Listener::new(any(port), None)?;
    loop {
        let (mut connection, _) = listener.accept().await?;
        let began_ns = monotonic_clock::now();
        match connection.count_to_end().await {
            Ok(bytes) => println!("received {bytes} bytes in {} ms", ms_since(began_ns)),
            Err(error) => println!("{}", broke(error)),
        }
    }
}

pub(crate) async fn source(port: u16, bytes: u64) -> Outcome {
    let mut listener = Listener::new(any(port), None)?;
    loop {
        let (mut connection, _) = listener.accept().await?;
        match connection.write_count(bytes).await {
            Ok(()) => println!("sent {bytes} bytes"),
            Err(error) => println!("{}", broke(error)),
        }
    }
}

pub(crate) async fn to_itself(script: &Script) -> Outcome {
    let own = connect(script).await?.local().map_err(failed)?.ip();
    let mut listener = Listener::new(to_wasi((own, 0).into()), None)?;
    let mut there = open(listener.local()?).await.map_err(failed)?;
    let (mut here, _) = listener.accept().await?;
    there.write(b"hello".to_vec()).await.map_err(broke)?;
    let text = here.read_exact(5).await.map_err(broke)?;
    println!("received {:?}", String::from_utf8_lossy(&text));
    Ok(())
}

pub(crate) fn bind(addresses: &[String]) -> Outcome {
    let mut kept = Vec::new();
    for address in addresses {
        let address: SocketAddr = address.parse().unwrap_or_else(|_| panic!("{address:?} is no address"));
        let bound = TcpSocket::create(family(address)).and_then(|socket| {
            socket.bind(to_wasi(address))?;
            let accepted = socket.listen()?;
            Ok((socket.get_local_address().map(to_std)?, socket, accepted))
        });
        match bound {
            Ok((local, socket, accepted)) => {
                println!("listening on {local}");
                kept.push((socket, accepted));
            }
            Err(error) => println!("{}", failed(error)),
        }
    }
    Ok(())
}

pub(crate) fn options() -> Outcome {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(failed)?;
    let said = |result: Result<(), ErrorCode>| result.map_or_else(|error| why(&error), |()| "set".to_owned());
    macro_rules! option {
        ($name:literal, $get:ident, $set:ident, $value:expr, $wrong:expr) => {
            let (right, wrong) = ($value, $wrong);
            let refused = said(socket.$set(wrong));
            let taken = said(socket.$set(right));
            let now = socket.$get().map_err(failed)?;
            println!("{}: {wrong} {refused}, {right} {taken}, is {now}", $name);
        };
    }
    option!("keep-alive-enabled", get_keep_alive_enabled, set_keep_alive_enabled, true, false);
    option!("keep-alive-idle-time", get_keep_alive_idle_time, set_keep_alive_idle_time, 5_000_000_000, 0);
    option!("keep-alive-interval", get_keep_alive_interval, set_keep_alive_interval, 7_000_000_000, 0);
    option!("keep-alive-count", get_keep_alive_count, set_keep_alive_count, 9, 0);
    option!("hop-limit", get_hop_limit, set_hop_limit, 42, 0);
    option!("receive-buffer-size", get_receive_buffer_size, set_receive_buffer_size, 32_768, 0);
    option!("send-buffer-size", get_send_buffer_size, set_send_buffer_size, 32_768, 0);
    println!("listen-backlog-size: 0 {}", said(socket.set_listen_backlog_size(0)));
    println!("listen-backlog-size: 5 {}", said(socket.set_listen_backlog_size(5)));
    let there_is =
        |result: Result<_, ErrorCode>| result.map_or_else(|error| why(&error), |_| "there is one".to_owned());
    println!("local-address: {}", there_is(socket.get_local_address()));
    println!("remote-address: {}", there_is(socket.get_remote_address()));
    Ok(())
}
