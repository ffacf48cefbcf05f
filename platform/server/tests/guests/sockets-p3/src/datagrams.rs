//! Datagrams.

use crate::address::{any, to_std, to_wasi};
use crate::{Outcome, broke, failed, within};
use guest_common::Script;
use std::net::{Ipv4Addr, SocketAddr};
use wasip3::sockets::types::{IpAddressFamily, UdpSocket};

fn bind(port: u16) -> Result<UdpSocket, String> {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).map_err(failed)?;
    socket.bind(any(port)).map_err(failed)?;
    println!("bound {}", to_std(socket.get_local_address().map_err(failed)?));
    Ok(socket)
}

pub(crate) async fn echo(port: u16) -> Outcome {
    let socket = bind(port)?;
    loop {
        let (data, remote) = socket.receive().await.map_err(broke)?;
        println!("received {} bytes from {}", data.len(), to_std(remote));
        if let Err(error) = socket.send(data, Some(remote)).await {
            println!("{}", failed(error));
        }
    }
}

pub(crate) async fn ask(script: &Script, ms: u64) -> Outcome {
    let (host, port) = script.target();
    let host: Ipv4Addr = host.parse().unwrap_or_else(|_| panic!("{host:?} is no IPv4 address"));
    let socket = bind(0)?;
    let data = script.text(1).as_bytes().to_vec();
    println!("sends {} bytes", data.len());
    socket.send(data, Some(to_wasi(SocketAddr::from((host, port))))).await.map_err(failed)?;
    match within(ms, socket.receive()).await {
        None => println!("nothing within {ms} ms"),
        Some(answer) => {
            let (data, remote) = answer.map_err(failed)?;
            println!("received {:?} from {}", String::from_utf8_lossy(&data), to_std(remote));
        }
    }
    Ok(())
}
