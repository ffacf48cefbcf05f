//! The decision against a naive model, and what must hold of every decision.

use super::*;
use crate::explain::explain;
use proptest::prelude::*;
use skiff_ports::network::NetworkSetup;
use skiff_types::NetworkSpec;

const GROUPS: &[&str] = &["default", "web", "cache", "more"];
const NAMESPACES: &[&str] = &["default", "shop"];
const PORTS: &[u16] = &[80, 443, 6379, DOOR];
const HOSTS: &[&str] =
    &["api.example.com", "API.example.com.", "example.com", "a.b.example.com", "api.example.org"];
const PATTERNS: &[&str] = &["api.example.com", "*.example.com", "example.com", "*.b.example.com"];
/// Where the platform listens, on all addresses of the host.
const DOOR: u16 = 8081;
const HOST: &str = "198.41.0.4";

/// Addresses outside, and the shortest prefix of a rule that names each; `None` if none does.
const ADDRESSES: &[(&str, Option<u8>)] = &[
    ("93.184.216.34", Some(0)),
    ("93.184.216.35", Some(0)),
    ("10.1.2.3", Some(8)),
    ("10.64.0.9", None),
    ("127.0.0.1", Some(8)),
    ("169.254.169.254", Some(16)),
    (HOST, Some(32)),
    ("2606:4700::1111", Some(0)),
    ("fd00:ec2::254", Some(7)),
    ("fd73:6b69:6666::9", None),
    ("64:ff9b::a01:203", Some(104)),
    ("64:ff9b::5db8:d822", Some(0)),
    ("2002:7f00:1::1", Some(24)),
];
/// Those of them behind which the platform's door is.
const DOORS: &[&str] = &["127.0.0.1", HOST, "2002:7f00:1::1"];

fn guard() -> Guard {
    let own_doors = vec![format!("0.0.0.0:{DOOR}").parse().unwrap()];
    let setup = NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors };
    Guard::new(&setup, &[HOST.parse().unwrap()])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn identity(namespace: &str, groups: &[&str]) -> Identity {
    Identity {
        task: TaskId::from_parts(0, [0; 10]),
        owner: format!("{namespace}/app").parse().unwrap(),
        groups: groups.iter().map(|group| name(group)).collect(),
    }
}

fn built(groups: &[GroupRules]) -> Groups {
    let mut built = Groups::default();
    groups.iter().for_each(|group| built.set(group.clone()));
    built
}

/// A party that owns what it is made of.
#[derive(Debug, Clone)]
enum Who {
    Task(Identity),
    LoadBalancer,
    Outside(usize, Vec<Box<str>>),
    Platform,
}

impl Who {
    fn party(&self) -> Party<'_> {
        match self {
            Self::Task(identity) => Party::Task(identity),
            Self::LoadBalancer => Party::LoadBalancer,
            Self::Outside(index, names) => {
                Party::Outside { address: ADDRESSES[*index].0.parse().unwrap(), names }
            }
            Self::Platform => Party::Platform,
        }
    }
}

/// A connection that is asked about.
#[derive(Debug, Clone)]
struct Asked {
    groups: Vec<GroupRules>,
    from: Who,
    to: Who,
    transport: Transport,
    port: u16,
}

impl Asked {
    fn decide(&self, groups: &[GroupRules]) -> Decision {
        let (from, to) = (self.from.party(), self.to.party());
        decide(&built(groups), &guard(), &from, &to, self.transport, self.port)
    }
}

/// The same decision, by looking at everything and saying what the words of a rule say.
mod naive {
    use super::*;

    pub(super) fn allows(asked: &Asked) -> bool {
        let side = |direction, own: &Who, peer: &Who| match own {
            Who::Task(own) => asked.groups.iter().any(|group| {
                let is_own =
                    group.group.namespace == own.owner.namespace && own.groups.contains(&group.group.name);
                is_own
                    && group.rules.iter().any(|rule| rule_allows(asked, direction, &group.group, rule, peer))
            }),
            Who::LoadBalancer | Who::Outside(..) | Who::Platform => true,
        };
        let is_task = |who: &Who| matches!(who, Who::Task(_));
        (is_task(&asked.from) || is_task(&asked.to))
            && side(Direction::Egress, &asked.from, &asked.to)
            && side(Direction::Ingress, &asked.to, &asked.from)
    }

    pub(super) fn rule_allows(
        asked: &Asked,
        direction: Direction,
        group: &QualifiedName,
        rule: &Rule,
        peer: &Who,
    ) -> bool {
        let there_is = |group: &QualifiedName| asked.groups.iter().any(|known| known.group == *group);
        let is_in = |identity: &Identity, group: &QualifiedName| {
            identity.owner.namespace == group.namespace
                && identity.groups.contains(&group.name)
                && there_is(group)
        };
        let PortRange { from: first, to: last } = rule.ports;
        let means_peer = match (peer, &rule.peer) {
            (Who::Task(peer), Peer::Itself) => is_in(peer, group),
            (Who::Task(peer), Peer::Group(other)) => is_in(peer, &other.qualified(&group.namespace)),
            (Who::LoadBalancer, Peer::LoadBalancer) => direction == Direction::Ingress,
            (Who::Platform, Peer::Platform) => direction == Direction::Egress,
            (Who::Outside(index, _), Peer::Network(network)) => {
                let (address, named_from) = ADDRESSES[*index];
                let close_enough = match (direction, named_from) {
                    (_, None) => false,
                    (Direction::Ingress, Some(_)) => true,
                    (Direction::Egress, Some(_)) if DOORS.contains(&address) && asked.port == DOOR => {
                        network.prefix_len() == network.max_prefix_len() && first == last
                    }
                    (Direction::Egress, Some(length)) => network.prefix_len() >= length,
                };
                let prefix = |address: &str| -> String {
                    bits(address).chars().take(network.prefix_len().into()).collect()
                };
                let of_family = network.addr().is_ipv4() != address.contains(':');
                of_family && close_enough && prefix(address) == prefix(&network.addr().to_string())
            }
            (Who::Outside(index, names), Peer::Host(pattern)) => {
                let (address, named_from) = ADDRESSES[*index];
                let is_door = DOORS.contains(&address) && asked.port == DOOR;
                let is_public = named_from == Some(0) && !is_door;
                direction == Direction::Egress
                    && is_public
                    && names.iter().any(|name| host_matches(name, pattern.as_str()))
            }
            _ => false,
        };
        let transports = match rule.transport {
            None => vec![Transport::Tcp, Transport::Udp],
            Some(transport) => vec![transport],
        };
        rule.direction == direction
            && transports.contains(&asked.transport)
            && first <= asked.port
            && asked.port <= last
            && means_peer
    }

    fn bits(address: &str) -> String {
        match address.parse::<IpAddr>().unwrap() {
            IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
            IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
        }
    }

    fn host_matches(name: &str, pattern: &str) -> bool {
        let name = name.to_lowercase();
        let labels = |text: &str| -> Vec<String> {
            text.split('.').filter(|label| !label.is_empty()).map(str::to_owned).collect()
        };
        let (name, pattern) = (labels(&name), labels(pattern));
        name.len() == pattern.len()
            && name.iter().zip(&pattern).all(|(label, wanted)| wanted == "*" || label == wanted)
    }
}

fn peer() -> impl Strategy<Value = Peer> {
    let group = (prop::option::of(prop::sample::select(NAMESPACES)), prop::sample::select(GROUPS));
    let network =
        (0..ADDRESSES.len(), prop::sample::select(vec![0_u8, 7, 8, 12, 16, 24, 31, 32, 96, 104, 127, 128]));
    prop_oneof![
        1 => Just(Peer::LoadBalancer),
        1 => Just(Peer::Platform),
        2 => Just(Peer::Itself),
        4 => group.prop_map(|(namespace, group)| {
            let namespace = namespace.map(|namespace| namespace.parse().unwrap());
            Peer::Group(GroupRef { namespace, name: name(group) })
        }),
        4 => network.prop_map(|(index, length)| {
            let address: IpAddr = ADDRESSES[index].0.parse().unwrap();
            let length = if address.is_ipv4() { length.min(32) } else { length };
            Peer::Network(ipnet::IpNet::new(address, length).unwrap().trunc())
        }),
        2 => prop::sample::select(PATTERNS).prop_map(|pattern| Peer::Host(pattern.parse().unwrap())),
    ]
}

/// Any rule, also one that can't be written: the decision must not rely on who made it.
fn rule() -> impl Strategy<Value = Rule> {
    let direction = prop::sample::select(vec![Direction::Ingress, Direction::Egress]);
    let transport = prop::option::of(prop::sample::select(vec![Transport::Tcp, Transport::Udp]));
    let ports = prop_oneof![
        Just(PortRange::ALL),
        prop::sample::select(PORTS).prop_map(|port| PortRange { from: port, to: port }),
        (0..PORTS.len(), 0..PORTS.len())
            .prop_map(|(a, b)| PortRange { from: PORTS[a.min(b)], to: PORTS[a.max(b)] }),
    ];
    (direction, transport, ports, peer()).prop_map(|(direction, transport, ports, peer)| Rule {
        direction,
        transport,
        ports,
        peer,
    })
}

fn who() -> impl Strategy<Value = Who> {
    let groups = prop::sample::subsequence(GROUPS, 0..=GROUPS.len());
    let task = (prop::sample::select(NAMESPACES), groups);
    let names = prop::sample::subsequence(HOSTS, 0..=2);
    prop_oneof![
        4 => task.prop_map(|(namespace, groups)| Who::Task(identity(namespace, &groups))),
        1 => Just(Who::LoadBalancer),
        4 => (0..ADDRESSES.len(), names).prop_map(|(index, names)| {
            Who::Outside(index, names.into_iter().map(Box::from).collect())
        }),
        1 => Just(Who::Platform),
    ]
}

fn group_rules() -> impl Strategy<Value = Vec<GroupRules>> {
    let all = NAMESPACES.iter().flat_map(|namespace| GROUPS.iter().map(move |group| (*namespace, *group)));
    let some = prop::sample::subsequence(all.collect::<Vec<_>>(), 0..=6);
    (some, prop::collection::vec(prop::collection::vec(rule(), 0..8), 6)).prop_map(|(groups, rules)| {
        let group = |((namespace, group), rules): ((&str, &str), Vec<Rule>)| GroupRules {
            group: format!("{namespace}/{group}").parse().unwrap(),
            rules,
        };
        groups.into_iter().zip(rules).map(group).collect::<Vec<_>>()
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let transport = prop::sample::select(vec![Transport::Tcp, Transport::Udp]);
    (group_rules(), who(), who(), transport, prop::sample::select(PORTS))
        .prop_map(|(groups, from, to, transport, port)| Asked { groups, from, to, transport, port })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_decision_is_that_of_the_naive_model(asked in asked()) {
        let decision = asked.decide(&asked.groups);
        prop_assert_eq!(decision.is_allowed(), naive::allows(&asked), "{:?}", decision);
        if let (Who::Task(from), Who::Task(to), Transport::Tcp, true) =
            (&asked.from, &asked.to, asked.transport, decision.is_allowed())
        {
            prop_assert!(may_lead_into(&built(&asked.groups), from, &to.owner.namespace, asked.port));
        }
        if let Decision::Allowed { egress, ingress } = decision {
            for (direction, own, peer, by) in [
                (Direction::Egress, &asked.from, &asked.to, egress),
                (Direction::Ingress, &asked.to, &asked.from, ingress),
            ] {
                let Who::Task(own) = own else {
                    prop_assert_eq!(by, None);
                    continue;
                };
                let (group, rule) = by.expect("a task is connected by a rule");
                prop_assert!(own.groups.contains(&group.name) && own.owner.namespace == group.namespace);
                prop_assert!(built(&asked.groups).get(&group).unwrap().contains(&rule));
                prop_assert!(naive::rule_allows(&asked, direction, &group, &rule, peer));
            }
        }
    }

    #[test]
    fn the_rule_that_is_missing_allows_it_and_can_be_written(asked in asked()) {
        let mut asked = asked;
        // At most one for each side.
        for _ in 0..2 {
            let Decision::Denied(missing) = asked.decide(&asked.groups) else { return Ok(()) };
            let Some(rule) = &missing.rule else {
                prop_assert!(missing.command().is_none());
                return Ok(());
            };
            let written: Rule = rule.to_string().parse().expect("a rule that is proposed can be given");
            prop_assert_eq!(&written, rule);
            prop_assert!(missing.reason.ends_with(&missing.command().unwrap()), "{}", missing);
            match asked.groups.iter_mut().find(|known| known.group == missing.group) {
                Some(known) => known.rules.push(written),
                None => asked.groups.push(GroupRules { group: missing.group, rules: vec![written] }),
            }
        }
        prop_assert!(asked.decide(&asked.groups).is_allowed(), "more than one rule is missing on one side");
    }

    #[test]
    fn a_rule_more_denies_nothing_and_a_group_less_allows_nothing(
        asked in asked(), rule in rule(), at in any::<prop::sample::Index>(),
    ) {
        if asked.groups.is_empty() {
            return Ok(());
        }
        let (mut more, mut less) = (asked.groups.clone(), built(&asked.groups));
        let at = at.index(asked.groups.len());
        more[at].rules.push(rule);
        less.remove(&asked.groups[at].group);
        let before = asked.decide(&asked.groups).is_allowed();
        prop_assert!(!before || asked.decide(&more).is_allowed());
        let (from, to) = (asked.from.party(), asked.to.party());
        let after = decide(&less, &guard(), &from, &to, asked.transport, asked.port).is_allowed();
        prop_assert!(before || !after);
    }

    #[test]
    fn an_explanation_says_what_is_decided(asked in asked()) {
        let (from, to) = (asked.from.party(), asked.to.party());
        let groups = built(&asked.groups);
        let explanation = explain(&groups, &guard(), &from, &to, asked.transport, asked.port);
        match asked.decide(&asked.groups) {
            Decision::Denied(missing) => {
                prop_assert!(!explanation.is_allowed());
                prop_assert_eq!(explanation.missing().next(), Some(&missing));
            }
            Decision::Allowed { egress, ingress } => {
                prop_assert!(explanation.is_allowed());
                let by: Vec<_> = explanation
                    .sides
                    .iter()
                    .map(|side| side.allowed_by().map(|by| (by.group.clone(), by.rule.clone())))
                    .collect();
                let decided: Vec<_> = [egress, ingress].into_iter().filter(Option::is_some).collect();
                prop_assert_eq!(by, decided);
            }
        }
    }
}

fn rules(group: &str, rules: &[&str]) -> GroupRules {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    GroupRules { group: group.parse().unwrap(), rules }
}

fn is_allowed(groups: &[GroupRules], from: &Identity, to: &Identity, port: u16) -> bool {
    let (from, to) = (Party::Task(from), Party::Task(to));
    decide(&built(groups), &guard(), &from, &to, Transport::Tcp, port).is_allowed()
}

#[test]
fn what_a_new_group_allows_is_itself_the_balancer_and_the_platform() {
    let default = GroupRules { group: "default/default".parse().unwrap(), rules: Rule::defaults() };
    let groups = built(&[default, rules("shop/default", &["all from self", "all to self"])]);
    let (mine, theirs) = (identity("default", &["default"]), identity("shop", &["default"]));
    let outside = Party::Outside { address: "93.184.216.34".parse().unwrap(), names: &[] };
    let (mine, theirs) = (Party::Task(&mine), Party::Task(&theirs));
    for (from, to, allowed) in [
        (mine, mine, true),
        (Party::LoadBalancer, mine, true),
        (mine, Party::Platform, true),
        (mine, outside, false),
        (outside, mine, false),
        (mine, Party::LoadBalancer, false),
        (Party::Platform, mine, false),
        (mine, theirs, false),
        (theirs, mine, false),
    ] {
        let decision = decide(&groups, &guard(), &from, &to, Transport::Tcp, 80);
        assert_eq!(decision.is_allowed(), allowed, "{from} to {to}: {decision:?}");
    }
}

#[test]
fn both_sides_must_allow_it() {
    let (web, cache) = (identity("default", &["web"]), identity("default", &["cache"]));
    let egress = rules("default/web", &["tcp:6379 to cache"]);
    let ingress = rules("default/cache", &["tcp:6379 from web"]);
    let none = |group| rules(group, &[]);
    assert!(is_allowed(&[egress.clone(), ingress.clone()], &web, &cache, 6379));
    assert!(!is_allowed(&[egress.clone(), ingress.clone()], &web, &cache, 6380));
    assert!(!is_allowed(&[egress.clone(), ingress.clone()], &cache, &web, 6379));
    assert!(!is_allowed(&[egress.clone(), none("default/cache")], &web, &cache, 6379));
    assert!(!is_allowed(&[none("default/web"), ingress], &web, &cache, 6379));
}

#[test]
fn a_group_of_the_same_name_in_another_namespace_is_another_group() {
    let (web, cache) = (identity("shop", &["web"]), identity("default", &["cache"]));
    let egress = rules("shop/web", &["all to default/cache"]);
    let groups = |from: &str| [egress.clone(), rules("default/web", &[]), rules("default/cache", &[from])];
    assert!(is_allowed(&groups("all from shop/web"), &web, &cache, 80));
    assert!(!is_allowed(&groups("all from web"), &web, &cache, 80));
}

#[test]
fn a_task_whose_rules_name_nobody_in_a_namespace_is_not_led_there() {
    let leads = |rule: &str, namespace: &str| {
        let groups = built(&[rules("shop/web", &[rule])]);
        may_lead_into(&groups, &identity("shop", &["web"]), &namespace.parse().unwrap(), 80)
    };
    assert!(leads("all to self", "shop") && !leads("all to self", "default"));
    assert!(leads("tcp:80 to cache", "shop") && !leads("tcp:80 to cache", "default"));
    assert!(leads("tcp:80 to default/cache", "default") && !leads("tcp:80 to default/cache", "shop"));
    for rule in
        ["tcp:81 to cache", "udp:80 to cache", "all from cache", "all to 0.0.0.0/0", "all to platform"]
    {
        assert!(!leads(rule, "shop"), "{rule}");
    }
}

#[test]
fn a_rule_for_addresses_means_no_task_and_no_rule_for_tasks_an_address() {
    let (web, cache) = (identity("default", &["web"]), identity("default", &["cache"]));
    let groups = [
        rules("default/web", &["all to 0.0.0.0/0", "all to ::/0", "all to 10.64.0.9/32"]),
        rules("default/cache", &["all from 0.0.0.0/0", "all from ::/0"]),
    ];
    assert!(!is_allowed(&groups, &web, &cache, 80));
    let to = Party::Outside { address: "10.64.0.9".parse().unwrap(), names: &[] };
    let decision = decide(&built(&groups), &guard(), &Party::Task(&web), &to, Transport::Tcp, 80);
    let Decision::Denied(missing) = decision else { panic!("an address of the virtual network is nobody's") };
    assert_eq!(missing.rule, None);
}

#[test]
fn who_is_in_a_group_that_is_gone_is_nobody() {
    let (web, cache) = (identity("default", &["web"]), identity("default", &["cache"]));
    let mut groups =
        built(&[rules("default/web", &["all to cache"]), rules("default/cache", &["all from web"])]);
    let (from, to) = (Party::Task(&web), Party::Task(&cache));
    let allowed = |groups: &Groups| decide(groups, &guard(), &from, &to, Transport::Udp, 53).is_allowed();
    assert!(allowed(&groups));
    groups.remove(&"default/web".parse().unwrap());
    assert!(!allowed(&groups));
    groups.set(rules("default/other", &["all to cache"]));
    assert!(!allowed(&groups));
    groups.remove(&"default/other".parse().unwrap());
    groups.remove(&"default/cache".parse().unwrap());
    assert!(groups.namespaces.is_empty(), "nothing is left of what is gone");
}

#[test]
fn a_name_that_a_guest_made_up_proposes_no_wider_rule() {
    let web = identity("default", &["web"]);
    let groups = built(&[rules("default/web", &[])]);
    for (looked_up, proposed) in [
        ("api.example.com", "tcp:443 to api.example.com"),
        ("API.example.com.", "tcp:443 to api.example.com"),
        ("*.example.com", "tcp:443 to 93.184.216.34/32"),
        ("intranet", "tcp:443 to 93.184.216.34/32"),
        ("0.0.0.0/0", "tcp:443 to 93.184.216.34/32"),
        ("10.0.0.1", "tcp:443 to 93.184.216.34/32"),
        ("a.b\"; skiff stop", "tcp:443 to 93.184.216.34/32"),
        ("", "tcp:443 to 93.184.216.34/32"),
    ] {
        let names: [Box<str>; 1] = [looked_up.into()];
        let to = Party::Outside { address: "93.184.216.34".parse().unwrap(), names: &names };
        let decision = decide(&groups, &guard(), &Party::Task(&web), &to, Transport::Tcp, 443);
        let Decision::Denied(missing) = decision else { panic!("{looked_up} opened it") };
        assert_eq!(missing.rule.as_ref().unwrap().to_string(), proposed, "{looked_up}");
        assert!(!missing.reason.contains("stop"), "{missing}");
    }
}
