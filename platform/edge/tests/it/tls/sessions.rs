//! Sessions: which are taken up again, by which keys of tickets.

use super::*;
use rustls::HandshakeKind;
use skiff_ports::tls::{TICKET_KEY_BYTES, TicketKeys};

fn key(first: u8) -> [u8; TICKET_KEY_BYTES] {
    [first; TICKET_KEY_BYTES]
}

fn keys(first: u8) -> TicketKeys {
    TicketKeys { current: key(first), previous: None }
}

/// Asks once, and says how hands were shaken for that.
async fn ask(client: &Arc<ClientConfig>, address: SocketAddr) -> HandshakeKind {
    let stream = connect(client, address, HELLO).await;
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    assert!(raw(stream, GET).await.ends_with("hi"));
    kind
}

#[test]
fn a_session_is_resumed_by_whoever_has_the_keys() {
    run(async {
        let [one, other, stranger] = [(); 3].map(|()| Bench::new(says("hi")));
        one.edge.set_tickets(keys(1));
        let (_one, at_one) = listen(&one, &[hello()]);
        let (_other, at_other) = listen(&other, &[hello()]);
        let (_shop, at_shop) = listen_as(&one, "shop", &[hello()]);
        let (_stranger, at_stranger) = listen(&stranger, &[hello()]);
        other.edge.set_tickets(keys(1));
        stranger.edge.set_tickets(keys(7));
        for version in BOTH {
            let client = client_of(&[version], &[]);
            assert_eq!(ask(&client, at_one).await, HandshakeKind::Full, "{version:?}");
            assert_eq!(ask(&client, at_one).await, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(ask(&client, at_other).await, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(ask(&client, at_stranger).await, HandshakeKind::Full, "{version:?}");

            let client = client_of(&[version], &[]);
            assert_eq!(ask(&client, at_one).await, HandshakeKind::Full, "{version:?}");
            assert_eq!(ask(&client, at_shop).await, HandshakeKind::Full, "another listener, {version:?}");
        }
    });
}

#[test]
fn a_session_outlives_one_renewal_of_the_keys() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for version in BOTH {
            bench.edge.set_tickets(keys(1));
            let clients = [(); 2].map(|()| client_of(&[version], &[]));
            for client in &clients {
                assert_eq!(ask(client, address).await, HandshakeKind::Full, "{version:?}");
            }
            bench.edge.set_tickets(keys(1).renewed(key(2)));
            assert_eq!(ask(&clients[0], address).await, HandshakeKind::Resumed, "{version:?}");
            bench.edge.set_tickets(keys(1).renewed(key(2)).renewed(key(3)));
            assert_eq!(ask(&clients[1], address).await, HandshakeKind::Full, "{version:?}");
        }
    });
}

#[test]
fn without_keys_no_session_is_resumed() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for version in BOTH {
            let client = client_of(&[version], &[]);
            for _ in 0..2 {
                assert_eq!(ask(&client, address).await, HandshakeKind::Full, "{version:?}");
            }
        }
    });
}
