//! The decision for people: every rule that was looked at on either side, which of them allows, and what is missing.
//!
//! It asks what [`crate::decide`] asks, of the same functions, but all of it: that one stops at the first rule that allows
//! and at the first side that denies. It opens nothing and knows no tasks but the two it is given; which of a service's
//! tasks is asked about is for `control` to choose. It is as long as the rules of the two tasks' groups, which are bounded
//! where they are made ([`skiff_types::GROUPS_OF_TASK_MAX`], [`skiff_types::RULES_MAX`]).

use crate::outside::Guard;
use crate::policy::{Groups, Missing, Outcome, Party, Question, questions};
use skiff_types::{Direction, Name, Peer, QualifiedName, Rule, Transport};
use std::fmt;

/// Whether two may be connected, and why; printed as one sentence for each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The sides where rules are asked: that of who connects first.
    pub sides: Vec<Side>,
    /// What is missing where there is no such side.
    pub nobody: Option<Missing>,
}

/// What the groups of one task say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Which way its rules look.
    pub direction: Direction,
    /// The task's service or family.
    pub owner: QualifiedName,
    /// Groups that the task is in but that there are not: they allow nothing.
    pub unknown: Vec<QualifiedName>,
    /// The rules of its groups that look that way, each with what came of it.
    pub considered: Vec<Considered>,
    /// What is missing, where none of them allows it.
    pub missing: Option<Missing>,
}

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Whose it is.
    pub group: QualifiedName,
    /// The rule.
    pub rule: Rule,
    /// What came of it.
    pub outcome: Outcome,
}

/// Why `from` may connect to `to` at this port of it, or why not.
pub fn explain(
    groups: &Groups,
    guard: &Guard,
    from: &Party<'_>,
    to: &Party<'_>,
    transport: Transport,
    port: u16,
) -> Explanation {
    let asked = questions(groups, guard, *from, *to, transport, port);
    let sides: Vec<Side> = asked.iter().flatten().map(Side::of).collect();
    let nobody = sides.is_empty().then(Missing::of_nobody);
    Explanation { sides, nobody }
}

impl Explanation {
    /// Whether they may be connected.
    pub fn is_allowed(&self) -> bool {
        self.nobody.is_none() && self.sides.iter().all(|side| side.missing.is_none())
    }

    /// All that is missing: each is needed.
    pub fn missing(&self) -> impl Iterator<Item = &Missing> {
        self.sides.iter().filter_map(|side| side.missing.as_ref()).chain(&self.nobody)
    }
}

impl Side {
    fn of(question: &Question<'_>) -> Self {
        let qualified =
            |group: &Name| QualifiedName::new(question.own.owner.namespace.clone(), group.clone());
        let (mut unknown, mut considered) = (Vec::new(), Vec::new());
        for group in question.own.groups.iter() {
            let Some(rules) = question.rules(group) else {
                unknown.push(qualified(group));
                continue;
            };
            considered.extend(rules.map(|rule| {
                let outcome = told_apart(question, rule, question.outcome(group, rule));
                Considered { group: qualified(group), rule: rule.clone(), outcome }
            }));
        }
        let mut side = Self {
            direction: question.direction,
            owner: question.own.owner.clone(),
            unknown,
            considered,
            missing: None,
        };
        side.missing = side.allowed_by().is_none().then(|| question.missing());
        side
    }

    /// The rule that allows it: the first that does.
    pub fn allowed_by(&self) -> Option<&Considered> {
        self.considered.iter().find(|considered| considered.outcome == Outcome::Allows)
    }
}

/// A rule that means nobody because its group is gone looks to the decision like one for somebody else.
fn told_apart(question: &Question<'_>, rule: &Rule, outcome: Outcome) -> Outcome {
    match (&rule.peer, outcome) {
        (Peer::Group(group), Outcome::OtherPeer) => {
            let group = group.qualified(&question.own.owner.namespace);
            if question.groups.get(&group).is_none() { Outcome::UnknownGroup } else { outcome }
        }
        (_, outcome) => outcome,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, side) in self.sides.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{side}")?;
        }
        self.nobody.as_ref().map_or(Ok(()), |missing| missing.fmt(f))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(missing) = &self.missing {
            return missing.fmt(f);
        }
        self.allowed_by().map_or(Ok(()), |Considered { group, rule, .. }| {
            write!(f, "{}: {} is allowed by the rule \"{rule}\" of {group}", self.owner, self.direction)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Identity;
    use skiff_ports::network::{GroupRules, NetworkSetup};
    use skiff_types::{NetworkSpec, TaskId};

    fn groups(groups: &[(&str, &[&str])]) -> Groups {
        let mut all = Groups::default();
        for (name, rules) in groups {
            let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            all.set(GroupRules { group: name.parse().unwrap(), rules });
        }
        all
    }

    fn identity(owner: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
        Identity { task: TaskId::from_parts(0, [0; 10]), owner: owner.parse().unwrap(), groups }
    }

    fn guard() -> Guard {
        let own_doors = vec!["0.0.0.0:8081".parse().unwrap()];
        let setup = NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors };
        Guard::new(&setup, &["198.41.0.4".parse().unwrap()])
    }

    fn considered(side: &Side) -> Vec<(String, Outcome)> {
        let shown = |considered: &Considered| {
            (format!("{}: {}", considered.group, considered.rule), considered.outcome)
        };
        side.considered.iter().map(shown).collect()
    }

    #[test]
    fn both_sides_are_told_rule_by_rule_with_all_that_is_missing() {
        let groups = groups(&[
            (
                "shop/web",
                &["all from load-balancer", "udp:6379 to cache", "tcp:1-80 to cache", "tcp to old/gone"],
            ),
            ("shop/more", &["all to self", "all to 0.0.0.0/0"]),
            ("data/cache", &["all from shop/other", "tcp:6379 from self"]),
        ]);
        let web = identity("shop/front", &["gone", "more", "web"]);
        let cache = identity("data/redis", &["cache"]);
        let (from, to) = (Party::Task(&web), Party::Task(&cache));
        let explanation = explain(&groups, &guard(), &from, &to, Transport::Tcp, 6379);
        assert!(!explanation.is_allowed());
        let [egress, ingress] = explanation.sides.as_slice() else { panic!("{explanation:?}") };
        assert_eq!(egress.unknown, ["shop/gone".parse::<QualifiedName>().unwrap()]);
        assert_eq!(
            considered(egress),
            [
                ("shop/more: all to self".to_owned(), Outcome::OtherPeer),
                ("shop/more: all to 0.0.0.0/0".to_owned(), Outcome::OtherPeer),
                ("shop/web: udp:6379 to cache".to_owned(), Outcome::OtherTransport),
                ("shop/web: tcp:1-80 to cache".to_owned(), Outcome::OtherPorts),
                ("shop/web: tcp to old/gone".to_owned(), Outcome::UnknownGroup),
            ]
        );
        assert_eq!(
            considered(ingress),
            [
                ("data/cache: all from shop/other".to_owned(), Outcome::UnknownGroup),
                ("data/cache: tcp:6379 from self".to_owned(), Outcome::OtherPeer),
            ]
        );
        let commands: Vec<_> = explanation.missing().map(|missing| missing.command().unwrap()).collect();
        assert_eq!(
            commands,
            [
                "skiff sg allow more \"tcp:6379 to data/cache\" --namespace shop",
                "skiff sg allow cache \"tcp:6379 from shop/more\" --namespace data",
            ]
        );
    }

    #[test]
    fn what_is_allowed_says_by_which_rules() {
        let groups = groups(&[
            ("default/web", &["tcp:6379 to cache"]),
            ("default/cache", &["all from load-balancer", "tcp:6000-7000 from web", "all from web"]),
        ]);
        let (web, cache) = (identity("default/front", &["web"]), identity("default/redis", &["cache"]));
        let (from, to) = (Party::Task(&web), Party::Task(&cache));
        let explanation = explain(&groups, &guard(), &from, &to, Transport::Tcp, 6379);
        assert!(explanation.is_allowed() && explanation.missing().next().is_none());
        assert_eq!(
            explanation.to_string(),
            "default/front: egress is allowed by the rule \"tcp:6379 to cache\" of default/web\n\
             default/redis: ingress is allowed by the rule \"tcp:6000-7000 from web\" of default/cache"
        );
    }

    #[test]
    fn an_address_outside_says_how_closely_it_must_be_named() {
        let groups = groups(&[("default/default", &["all to 0.0.0.0/0", "tcp to *.example.com"])]);
        let web = identity("default/web", &["default"]);
        let explained = |address: &str, port| {
            let names: [Box<str>; 1] = ["db.example.com".into()];
            let to = Party::Outside { address: address.parse().unwrap(), names: &names };
            explain(&groups, &guard(), &Party::Task(&web), &to, Transport::Tcp, port)
        };
        assert!(explained("93.184.216.34", 443).is_allowed());
        let explanation = explained("10.1.2.3", 5432);
        let outcomes = considered(&explanation.sides[0]).into_iter().map(|(_, outcome)| outcome);
        assert_eq!(outcomes.collect::<Vec<_>>(), [Outcome::NotCloseEnough; 2]);
        assert_eq!(
            explanation.to_string(),
            "tcp:5432 to db.example.com (10.1.2.3) is denied to default/web: no egress rule of its security groups \
             (default) allows it; 10.1.2.3 is in 10.0.0.0/8, a private network (RFC 1918): only a rule for a network \
             within that range means it; to allow it: skiff sg allow default \"tcp:5432 to 10.1.2.3/32\""
        );
        let door = explained("198.41.0.4", 8081).to_string();
        assert!(door.contains("198.41.0.4 with port 8081 is the platform's own"), "{door}");
        let host = explained("198.41.0.4", 22).to_string();
        assert!(host.contains("198.41.0.4 is the host's own"), "{host}");
        let nobody = explained("10.64.0.9", 80);
        assert!(nobody.to_string().ends_with("and no task's; no rule can allow it"), "{nobody}");
    }

    #[test]
    fn where_no_end_is_a_task_nothing_can_allow_it() {
        let explanation =
            explain(&Groups::default(), &guard(), &Party::LoadBalancer, &Party::Platform, Transport::Tcp, 1);
        assert!(!explanation.is_allowed() && explanation.sides.is_empty());
        assert!(explanation.missing().all(|missing| missing.rule.is_none() && missing.command().is_none()));
    }
}
