//! What `std::net` can't say: calls of `wasi:sockets` itself.

use crate::Outcome;
use guest_common::Script;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::poll;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

const NS_PER_MS: u64 = 1_000_000;

pub(crate) fn failed(error: ErrorCode) -> String {
    format!("failed: {}", error.name())
}

/// What a stream says of its end.
pub(crate) fn why(error: StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

/// Listens on every address of the task, with room for so many that nobody has accepted yet.
pub(crate) fn listen(port: u16, backlog: Option<u64>) -> Result<TcpSocket, String> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(failed)?;
    if let Some(backlog) = backlog {
        socket.set_listen_backlog_size(backlog).map_err(failed)?;
    }
    let any = to_wasi(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    socket.start_bind(&instance_network(), any).map_err(failed)?;
    finish(&socket, TcpSocket::finish_bind)?;
    socket.start_listen().map_err(failed)?;
    finish(&socket, TcpSocket::finish_listen)?;
    println!("listening on {}", to_std(socket.local_address().map_err(failed)?));
    Ok(socket)
}

fn connect(to: SocketAddr) -> Result<(TcpSocket, InputStream, OutputStream), String> {
    let family = if to.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
    let socket = create_tcp_socket(family).map_err(failed)?;
    socket.start_connect(&instance_network(), to_wasi(to)).map_err(failed)?;
    let (input, output) = finish(&socket, TcpSocket::finish_connect)?;
    let local = socket.local_address().map_err(failed)?;
    println!("connected {} to {}", to_std(local), to_std(socket.remote_address().map_err(failed)?));
    Ok((socket, input, output))
}

/// Waits for the end of what was started.
fn finish<T>(socket: &TcpSocket, poll: impl Fn(&TcpSocket) -> Result<T, ErrorCode>) -> Result<T, String> {
    loop {
        match poll(socket) {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            other => return other.map_err(failed),
        }
    }
}

pub(crate) fn wait(script: &Script, ms: u64) -> Outcome {
    let (host, port) = script.target();
    let to = SocketAddr::new(lookup(&host).map_err(failed)?[0], port);
    let (_socket, input, _output) = connect(to)?;
    let readable = input.subscribe();
    let timer = monotonic_clock::subscribe_duration(ms * NS_PER_MS);
    if poll(&[&readable, &timer]) == [1] {
        println!("nothing within {ms} ms");
    } else {
        match input.read(64 << 10) {
            Ok(bytes) => println!("received {} bytes", bytes.len()),
            Err(StreamError::Closed) => println!("ended"),
            Err(error) => println!("broke: {}", why(error)),
        }
    }
    Ok(())
}

pub(crate) fn resolve(name: &str) -> Outcome {
    let mut addresses = lookup(name).map_err(failed)?;
    addresses.sort();
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    println!("resolved {}", texts.join(" "));
    Ok(())
}

fn lookup(name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    let stream = resolve_addresses(&instance_network(), name)?;
    let mut addresses = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4(address))) => addresses.push(v4(address).into()),
            Ok(Some(IpAddress::Ipv6(address))) => addresses.push(v6(address).into()),
            Ok(None) if addresses.is_empty() => return Err(ErrorCode::NameUnresolvable),
            Ok(None) => return Ok(addresses),
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn options() -> Outcome {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(failed)?;
    let said = |result: Result<(), ErrorCode>| result.map_or_else(|error| error.name(), |()| "set");
    macro_rules! option {
        ($name:literal, $get:ident, $set:ident, $value:expr, $wrong:expr) => {
            let (right, wrong) = ($value, $wrong);
            let refused = said(socket.$set(wrong));
            let taken = said(socket.$set(right));
            let now = socket.$get().map_err(failed)?;
            println!("{}: {wrong} {refused}, {right} {taken}, is {now}", $name);
        };
    }
    option!("keep-alive-enabled", keep_alive_enabled, set_keep_alive_enabled, true, false);
    option!("keep-alive-idle-time", keep_alive_idle_time, set_keep_alive_idle_time, 5_000_000_000, 0);
    option!("keep-alive-interval", keep_alive_interval, set_keep_alive_interval, 7_000_000_000, 0);
    option!("keep-alive-count", keep_alive_count, set_keep_alive_count, 9, 0);
    option!("hop-limit", hop_limit, set_hop_limit, 42, 0);
    option!("receive-buffer-size", receive_buffer_size, set_receive_buffer_size, 32_768, 0);
    option!("send-buffer-size", send_buffer_size, set_send_buffer_size, 32_768, 0);
    println!("listen-backlog-size: 0 {}", said(socket.set_listen_backlog_size(0)));
    println!("listen-backlog-size: 5 {}", said(socket.set_listen_backlog_size(5)));
    println!(
        "local-address: {}",
        socket.local_address().map_or_else(|error| error.name(), |_| "there is one")
    );
    println!(
        "remote-address: {}",
        socket.remote_address().map_or_else(|error| error.name(), |_| "there is one")
    );
    Ok(())
}

pub(crate) fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.ip().segments();
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: address.flowinfo(),
                address: (a, b, c, d, e, f, g, h),
                scope_id: address.scope_id(),
            })
        }
    }
}

pub(crate) fn to_std(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(address) => (v4(address.address), address.port).into(),
        IpSocketAddress::Ipv6(address) => (v6(address.address), address.port).into(),
    }
}

fn v4((a, b, c, d): (u8, u8, u8, u8)) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

fn v6((a, b, c, d, e, f, g, h): (u16, u16, u16, u16, u16, u16, u16, u16)) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}
