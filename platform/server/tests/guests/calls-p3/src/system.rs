//! Calls of `wasi:cli`, `wasi:clocks`, `wasi:random`, `wasi:filesystem` and `wasi:sockets`, whose network is denied.

use crate::Machine;
use guest_common::Program;
use wasip3::cli::{environment, exit, stderr, stdin, stdout, terminal_stdin, terminal_stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::filesystem::preopens;
use wasip3::random::{insecure, insecure_seed, random};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket, UdpSocket,
};
use wasip3::wit_bindgen::spawn_local;

impl Machine {
    pub(crate) fn system(&mut self, program: &mut Program) {
        match program.byte() % 18 {
            0 => self.readers.push(stdin::read_via_stream().0),
            1 => {
                let Some(reader) = program.take(&mut self.readers) else { return };
                _ = stdout::write_via_stream(reader);
            }
            2 => {
                let Some(reader) = program.take(&mut self.readers) else { return };
                _ = spawn_local(stderr::write_via_stream(reader).into_future());
            }
            3 => {
                _ = (
                    environment::get_environment(),
                    environment::get_arguments(),
                    environment::get_initial_cwd(),
                )
            }
            4 => _ = (terminal_stdin::get_terminal_stdin(), terminal_stdout::get_terminal_stdout()),
            5 => _ = (monotonic_clock::get_resolution(), system_clock::now(), system_clock::get_resolution()),
            6 => _ = random::get_random_bytes(program.number()),
            7 => _ = insecure::get_insecure_random_bytes(program.number()),
            8 => {
                _ = (
                    random::get_random_u64(),
                    insecure::get_insecure_random_u64(),
                    insecure_seed::get_insecure_seed(),
                )
            }
            9 => _ = preopens::get_directories(),
            10 => self.tcp.extend(TcpSocket::create(family(program))),
            11 => self.udp.extend(UdpSocket::create(family(program))),
            12 | 13 => self.tcp_call(program),
            14 => self.udp_call(program),
            15 => _ = spawn_local(resolve_addresses(program.text())),
            16 => {
                _ = spawn_local(monotonic_clock::wait_until(
                    monotonic_clock::now() + program.nanoseconds() / 2,
                ))
            }
            _ if program.flag() => exit::exit_with_code(program.byte()),
            _ => {}
        }
    }

    fn tcp_call(&mut self, program: &mut Program) {
        let call = program.byte() % 6;
        if call == 0 {
            let Some(socket) = program.take(&mut self.tcp) else { return };
            let address = address(program);
            _ = spawn_local(async move { socket.connect(address).await });
            return;
        }
        let Some(socket) = program.pick(&mut self.tcp) else { return };
        match call {
            1 => _ = socket.bind(address(program)),
            2 => _ = socket.listen(),
            3 => {
                let Some(reader) = program.take(&mut self.readers) else { return };
                _ = socket.send(reader);
            }
            4 => self.readers.push(socket.receive().0),
            _ => {
                _ = socket.set_receive_buffer_size(program.number());
                _ = socket.set_keep_alive_idle_time(program.number());
                _ = socket.set_hop_limit(program.byte());
                _ = (socket.get_local_address(), socket.get_remote_address());
            }
        }
    }

    fn udp_call(&mut self, program: &mut Program) {
        let call = program.byte() % 5;
        if call == 0 {
            let Some(socket) = program.take(&mut self.udp) else { return };
            _ = spawn_local(async move { socket.receive().await });
            return;
        }
        let Some(socket) = program.pick(&mut self.udp) else { return };
        match call {
            1 => _ = socket.bind(address(program)),
            2 => _ = socket.connect(address(program)),
            3 => _ = socket.disconnect(),
            _ => {
                _ = (
                    socket.set_send_buffer_size(program.number()),
                    socket.set_unicast_hop_limit(program.byte()),
                )
            }
        }
    }
}

fn family(program: &mut Program) -> IpAddressFamily {
    program.of(&[IpAddressFamily::Ipv4, IpAddressFamily::Ipv6])
}

fn address(program: &mut Program) -> IpSocketAddress {
    let port = program.number() as u16;
    if program.flag() {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
    } else {
        let address = (0, 0, 0, 0, 0, 0xffff, 0x7f00, 1);
        IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 1, address, scope_id: 1 })
    }
}
