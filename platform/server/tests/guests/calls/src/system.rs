//! Calls of `wasi:cli`, `wasi:clocks`, `wasi:random`, `wasi:filesystem` and `wasi:sockets`, whose network is denied.

use crate::Machine;
use guest_common::Program;
use wasip2::cli::{
    environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens;
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
use wasip2::sockets::tcp::ShutdownType;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

impl Machine {
    pub(crate) fn system(&mut self, program: &mut Program) {
        match program.byte() % 20 {
            0 => self.inputs.push(stdin::get_stdin()),
            1 => self.outputs.push(stdout::get_stdout()),
            2 => self.outputs.push(stderr::get_stderr()),
            3 => {
                _ = (environment::get_environment(), environment::get_arguments(), environment::initial_cwd())
            }
            4 => {
                _ = terminal_stdin::get_terminal_stdin();
                _ = (terminal_stdout::get_terminal_stdout(), terminal_stderr::get_terminal_stderr());
            }
            5 => _ = (monotonic_clock::resolution(), wall_clock::now(), wall_clock::resolution()),
            6 => _ = random::get_random_bytes(program.number()),
            7 => _ = insecure::get_insecure_random_bytes(program.number()),
            8 => {
                _ = (
                    random::get_random_u64(),
                    insecure::get_insecure_random_u64(),
                    insecure_seed::insecure_seed(),
                )
            }
            9 => _ = preopens::get_directories(),
            10 => self.networks.push(instance_network()),
            11 => self.tcp.extend(create_tcp_socket(family(program))),
            12 => self.udp.extend(create_udp_socket(family(program))),
            13 | 14 => self.tcp_call(program),
            15 | 16 => self.udp_call(program),
            17 => {
                let Some(network) = program.pick(&mut self.networks) else { return };
                self.lookups.extend(resolve_addresses(network, &program.text()));
            }
            18 => {
                let Some(lookup) = program.pick(&mut self.lookups) else { return };
                self.pollables.push(lookup.subscribe());
                _ = lookup.resolve_next_address();
            }
            _ if program.flag() => exit::exit_with_code(program.byte()),
            _ => {}
        }
    }

    fn tcp_call(&mut self, program: &mut Program) {
        let Some(socket) = program.pick(&mut self.tcp) else { return };
        match program.byte() % 9 {
            0 => {
                let Some(network) = program.pick(&mut self.networks) else { return };
                _ = socket.start_bind(network, address(program));
            }
            1 => _ = socket.finish_bind(),
            2 => {
                let Some(network) = program.pick(&mut self.networks) else { return };
                _ = socket.start_connect(network, address(program));
            }
            3 => {
                if let Ok((input, output)) = socket.finish_connect() {
                    self.inputs.push(input);
                    self.outputs.push(output);
                }
            }
            4 => _ = (socket.start_listen(), socket.finish_listen()),
            5 => _ = socket.accept(),
            6 => {
                _ = socket.set_receive_buffer_size(program.number());
                _ = socket.set_keep_alive_idle_time(program.number());
                _ = socket.set_hop_limit(program.byte());
                _ = socket.set_listen_backlog_size(program.number());
            }
            7 => _ = (socket.shutdown(ShutdownType::Both), socket.local_address(), socket.remote_address()),
            _ => self.pollables.push(socket.subscribe()),
        }
    }

    fn udp_call(&mut self, program: &mut Program) {
        let Some(socket) = program.pick(&mut self.udp) else { return };
        match program.byte() % 5 {
            0 => {
                let Some(network) = program.pick(&mut self.networks) else { return };
                _ = socket.start_bind(network, address(program));
            }
            1 => _ = socket.finish_bind(),
            2 => _ = socket.stream(Some(address(program))),
            3 => {
                _ = (
                    socket.set_send_buffer_size(program.number()),
                    socket.set_unicast_hop_limit(program.byte()),
                )
            }
            _ => self.pollables.push(socket.subscribe()),
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
