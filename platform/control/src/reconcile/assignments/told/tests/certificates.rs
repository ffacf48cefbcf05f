//! Certificates are told while a listener names them.

use super::*;

#[test]
fn a_certificate_is_told_as_long_as_a_listener_names_it() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    let (first, second) = (certificate(), certificate());
    world.put(first.clone());
    world.tell(&mut told, &mut node);
    assert!(node.certificates.is_empty(), "nobody names it");
    let secure = declared(ListenerSpec {
        protocol: ListenerProtocol::Https,
        certificates: vec![first.spec.spec.name.clone()],
        ..(*listener(1, true).spec).clone()
    });
    world.put(secure);
    world.tell(&mut told, &mut node);
    let known = |node: &Node| node.certificates.values().cloned().collect::<Vec<_>>();
    assert_eq!(known(&node), std::slice::from_ref(&first.spec.told));

    world.put(second.clone());
    let prepared = |_: &Digest| true;
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    let change = told.look(&world.view, &owners, &prepared);
    assert_eq!((change.balancer.certificates.len(), change.balancer.listeners.len()), (1, 0));
    node.take_in(change);
    assert_eq!(known(&node), std::slice::from_ref(&second.spec.told));
    told.doubt_all();
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert!(told.look(&world.view, &owners, &prepared).is_empty());

    assert!(world.view.apply_unreadable::<Certificate>(&second.key()));
    world.tell(&mut told, &mut node);
    assert!(node.certificates.is_empty() && node.listeners.len() == 2);
    world.put(second);
    world.tell(&mut told, &mut node);
    assert_eq!(node.certificates.len(), 1);
    world.put(listener(1, true));
    world.tell(&mut told, &mut node);
    assert!(node.certificates.is_empty(), "nobody names it any more");
}

/// A certificate of that name, another each time.
fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem().into(), made.signing_key.serialize_pem().into());
    declared(Imported::read(CertificateSpec { name: "web".parse().unwrap(), chain, key }).unwrap())
}
