//! In which order resources are written: what is named before what names it, what gives up a place before what takes it, and
//! what leads elsewhere from now on before what it led to.
//!
//! The last is for what becomes something that nobody who still leads there could lead to, such as a listener of http that
//! changes to tcp while its rules move to another; where it would make a circle, the order is as without it. A place is what only one can have: a priority among a listener's rules, a port of the load balancer. Security groups may
//! name each other in a circle: one that is named before its turn is made without rules first, which lets nobody through.

use super::difference::{Change, Fields};
use super::plan::Item;
use super::resource::{Id, Kind, Spec};
use super::settle::replaces;
use anyhow::bail;
use serde_json::Value as Json;
use skiff_types::Scheme;
use std::collections::{BTreeMap, BTreeSet};

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes a security group that allows nothing yet.
    Bare(usize),
    /// Makes a resource what it is to be.
    Whole(usize),
}

/// The calls that make all items what they are to be, in their order; what is as it is to be takes none.
pub(super) fn steps(items: &[Item]) -> anyhow::Result<Vec<Step>> {
    let order = Order::of(items)?.sorted()?;
    let turns: BTreeMap<&Id, usize> =
        order.iter().enumerate().map(|(turn, &at)| (&items[at].resource.id, turn)).collect();
    let index: BTreeMap<&Id, usize> =
        items.iter().enumerate().map(|(at, item)| (&item.resource.id, at)).collect();
    let mut bare = BTreeSet::new();
    for item in items.iter().filter(|item| item.resource.id.kind == Kind::SecurityGroup) {
        for named in item.resource.references().iter().flat_map(|reference| &reference.to) {
            let (Some(later), Some(at)) = (turns.get(named), index.get(named)) else { continue };
            if *later > turns[&item.resource.id] && items[*at].change == Change::Create {
                bare.insert(*at);
            }
        }
    }
    let bare = bare.into_iter().map(Step::Bare);
    let whole = order.into_iter().filter(|at| items[*at].change != Change::Nothing).map(Step::Whole);
    Ok(bare.chain(whole).collect())
}

/// What has to be written before what.
struct Order<'a> {
    items: &'a [Item],
    /// For each item, those that come before it.
    before: Vec<Vec<usize>>,
}

/// How far an item is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visited {
    Not,
    /// What comes before it is being looked at.
    Under,
    Whole,
}

impl<'a> Order<'a> {
    fn of(items: &'a [Item]) -> anyhow::Result<Self> {
        let index: BTreeMap<&Id, usize> =
            items.iter().enumerate().map(|(at, item)| (&item.resource.id, at)).collect();
        let (mut takers, mut holders) = (BTreeMap::new(), BTreeMap::new());
        for (at, item) in items.iter().enumerate() {
            for place in places(item, |field| item.after(field)) {
                if let Some(other) = takers.insert(place.clone(), at) {
                    let (one, two): (&Item, &Item) = (&items[other], item);
                    bail!(
                        "{}: the {} is to have {place}, and so is the {} at {}: give one of them another",
                        two.resource.place,
                        two.resource.id,
                        one.resource.id,
                        one.resource.place
                    );
                }
            }
            for place in places(item, |field| item.present.as_ref()?.get(field)) {
                holders.insert(place, at);
            }
        }
        let mut before: Vec<Vec<usize>> = items.iter().map(|item| named(item, &index)).collect();
        for (place, taker) in &takers {
            if let Some(holder) = holders.get(place).filter(|holder| *holder != taker) {
                before[*taker].push(*holder);
            }
        }
        let mut order = Self { items, before };
        order.leave_first(&index);
        Ok(order)
    }

    /// Has what leads elsewhere from now on come before what it led to and changes too, where that makes no circle.
    fn leave_first(&mut self, index: &BTreeMap<&Id, usize>) {
        let items = self.items;
        for (at, item) in items.iter().enumerate() {
            let Some(present) = &item.present else { continue };
            let stays = led_to(items, index, at, &after(item));
            let left = led_to(items, index, at, present).into_iter().filter(|led| !stays.contains(led));
            for led in left.filter(|led| matches!(items[*led].change, Change::Update(_))) {
                if !self.is_behind(at, led) {
                    self.before[led].push(at);
                }
            }
        }
    }

    /// Whether an item comes behind another, or is it.
    fn is_behind(&self, at: usize, other: usize) -> bool {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![at]);
        while let Some(next) = waiting.pop() {
            if next == other {
                return true;
            }
            if seen.insert(next) {
                waiting.extend(&self.before[next]);
            }
        }
        false
    }

    /// All items, each behind those that come before it; else in the order in which they are given.
    fn sorted(&self) -> anyhow::Result<Vec<usize>> {
        let mut visited = vec![Visited::Not; self.items.len()];
        let mut sorted = Vec::with_capacity(self.items.len());
        for first in 0..self.items.len() {
            // Those that wait for what comes before them, and how much of that was looked at.
            let mut waiting = vec![(first, 0)];
            while let Some((at, looked)) = waiting.last_mut() {
                let at = *at;
                if visited[at] == Visited::Whole {
                    waiting.pop();
                    continue;
                }
                visited[at] = Visited::Under;
                match self.before[at].get(*looked) {
                    Some(&next) if visited[next] == Visited::Under => bail!(self.circle(at, next)),
                    Some(&next) => {
                        *looked += 1;
                        waiting.push((next, 0));
                    }
                    None => {
                        visited[at] = Visited::Whole;
                        sorted.push(at);
                        waiting.pop();
                    }
                }
            }
        }
        Ok(sorted)
    }

    fn circle(&self, one: usize, two: usize) -> String {
        let (one, two) = (&self.items[one].resource, &self.items[two].resource);
        format!(
            "{}: the {} and the {} would exchange what only one can have, a port or a priority, which no single step does: \
             give one of them a free one first, and apply that",
            one.place, one.id, two.id
        )
    }
}

/// The items that an item names; but security groups may name each other in a circle.
fn named(item: &Item, index: &BTreeMap<&Id, usize>) -> Vec<usize> {
    if item.resource.id.kind == Kind::SecurityGroup {
        return vec![];
    }
    let references = item.resource.references();
    let found = references.iter().filter_map(|reference| reference.to.iter().find_map(|id| index.get(id)));
    found.copied().collect()
}

/// What an item says in the end, with what it leaves out and keeps.
fn after(item: &Item) -> Fields {
    let mut after = match (&item.present, replaces(&item.resource.spec)) {
        (Some(present), false) => present.clone(),
        (Some(_), true) | (None, _) => Fields::new(),
    };
    after.extend(item.wanted.clone());
    after
}

/// The items that the one at this place leads to where it says this, and those that a target group among them leads to at
/// present: who leads to the group leads to its service, too.
fn led_to(items: &[Item], index: &BTreeMap<&Id, usize>, at: usize, says: &Fields) -> BTreeSet<usize> {
    let directly = |at: usize, says: &Fields| -> Vec<usize> {
        let id = &items[at].resource.id;
        let references = Spec::leading(id.kind, says).map_or_else(Vec::new, |spec| spec.references(id));
        let to = references.iter().flat_map(|reference| &reference.to);
        to.filter_map(|id| index.get(id).copied()).collect()
    };
    let mut led = directly(at, says);
    let groups = led.iter().filter(|led| items[**led].resource.id.kind == Kind::TargetGroup);
    let behind = groups.filter_map(|group| Some(directly(*group, items[*group].present.as_ref()?)));
    let behind: Vec<usize> = behind.flatten().collect();
    led.extend(behind);
    led.into_iter().collect()
}

/// The places that a resource has whose fields are these.
fn places<'f>(item: &Item, field: impl Fn(&str) -> Option<&'f Json>) -> Vec<String> {
    let shown = |field: Option<&Json>| field.map(Json::to_string).unwrap_or_default();
    match item.resource.id.kind {
        Kind::Rule => match (field("listener").and_then(Json::as_str), field("priority")) {
            (Some(listener), priority @ Some(_)) => {
                vec![format!("the priority {} of the listener {listener}", shown(priority))]
            }
            _ => vec![],
        },
        Kind::Listener => {
            let scheme = field("scheme").and_then(Json::as_str);
            let scheme: Option<Scheme> = scheme.and_then(|scheme| scheme.parse().ok());
            // One within the virtual network is another than that of the node.
            let what = match scheme.unwrap_or_default() {
                Scheme::Public => "the port",
                Scheme::Internal => "the internal port",
            };
            field("port").map(|port| format!("{what} {port}")).into_iter().collect()
        }
        Kind::Service => {
            let listen = field("listen").and_then(Json::as_array).into_iter().flatten();
            let ports = listen.filter_map(|listen| listen.as_str()?.rsplit_once(':'));
            ports.map(|(_, port)| format!("the port {port}")).collect()
        }
        Kind::SecurityGroup
        | Kind::Certificate
        | Kind::Role
        | Kind::Bus
        | Kind::EventRule
        | Kind::EventSchedule
        | Kind::Bucket
        | Kind::Table
        | Kind::Queue
        | Kind::TaskDefinition
        | Kind::Alarm
        | Kind::TargetGroup
        | Kind::Scaling
        | Kind::Consumer => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::yaml;
    use super::super::resource::Resource;
    use super::super::settle::settled;
    use super::*;
    use serde_json::json;
    use std::path::Path;
    use std::sync::Arc;

    /// Items of a document, where what is there is so at present.
    fn items(text: &str, present: &[(&str, Json)]) -> Vec<Item> {
        let file: Arc<Path> = Path::new("a").into();
        let documents = yaml::read(text).unwrap();
        let mut resources: Vec<Resource> =
            documents.iter().map(|node| Resource::read(node, &Default::default(), &file).unwrap()).collect();
        resources.sort_by_key(|resource| resource.id.kind);
        let item = |resource: Resource| {
            let name = resource.id.to_string();
            let found = present.iter().find(|(id, _)| *id == name);
            let present: Option<Fields> = found.map(|(_, fields)| fields.as_object().unwrap().clone());
            let wanted = settled(&resource, present.as_ref()).unwrap();
            let change = Change::between(present.as_ref(), &wanted, replaces(&resource.spec));
            Item { resource, present, wanted, change, revision: 0, registered: None }
        };
        resources.into_iter().map(item).collect()
    }

    #[track_caller]
    fn check(items: &[Item], expected: &[&str]) {
        let shown = |step: &Step| match step {
            Step::Bare(at) => format!("bare {}", items[*at].resource.id),
            Step::Whole(at) => items[*at].resource.id.to_string(),
        };
        assert_eq!(steps(items).unwrap().iter().map(shown).collect::<Vec<_>>(), expected);
    }

    fn rule(name: &str, priority: u32) -> String {
        format!(
            "---\nkind: rule\nname: {name}\nspec: {{ priority: {priority}, conditions: ['path=*'], action: {{ fixed_response: {{ \
             status: 404 }} }} }}\n"
        )
    }

    fn ruled(priority: u32) -> Json {
        let action = json!({ "fixed_response": { "status": 404, "content_type": "text/plain", "body": "" } });
        json!({ "listener": "http", "priority": priority, "conditions": ["path=*"], "action": action })
    }

    #[test]
    fn what_is_named_comes_first() {
        let text = "kind: rule\nname: a\nspec: { listener: web, priority: 1, conditions: ['path=*'], action: { forward: { groups: \
                    [{ group: b }] } } }\n---\nkind: listener\nname: web\nspec: { protocol: http, port: 9000 }\n---\n\
                    kind: target-group\nname: b\nspec: { targets: { service: c } }\n---\n\
                    kind: service\nname: c\nspec: { definition: c }\n---\nkind: task-definition\nname: c\nspec: { image: c }\n";
        let expected = [
            "task-definition default/c",
            "service default/c",
            "target-group default/b",
            "listener web",
            "rule default/a",
        ];
        check(&items(text, &[]), &expected);
        let there = [("listener web", json!({ "protocol": "http", "port": 9000 }))];
        check(&items(text, &there), &[&expected[..3], &expected[4..]].concat());
    }

    #[test]
    fn groups_that_name_each_other_are_made_without_rules_first() {
        let text = "kind: security-group\nname: web\nspec: { rules: ['tcp:6379 to db'] }\n---\n\
                    kind: security-group\nname: db\nspec: { rules: [tcp:6379 from web] }\n";
        check(
            &items(text, &[]),
            &["bare security-group default/db", "security-group default/web", "security-group default/db"],
        );
        let there = [("security-group default/db", json!({ "rules": [] }))];
        check(&items(text, &there), &["security-group default/web", "security-group default/db"]);
    }

    #[test]
    fn a_place_is_given_up_before_it_is_taken() {
        let text = [rule("a", 20), rule("b", 30), rule("c", 10)].concat();
        let present = [("rule default/a", ruled(10)), ("rule default/b", ruled(20))];
        check(&items(&text, &present), &["rule default/b", "rule default/a", "rule default/c"]);
        let present =
            [("rule default/a", ruled(30)), ("rule default/b", ruled(20)), ("rule default/c", ruled(10))];
        let error = steps(&items(&text, &present)).unwrap_err().to_string();
        assert!(error.contains("would exchange what only one can have"), "{error}");
    }

    /// A rule of a listener that forwards to a target group, as a document has it, and as it is at present.
    fn forwarding(listener: &str, group: &str) -> (String, Json) {
        let text = format!(
            "---\nkind: rule\nname: a\nspec: {{ listener: {listener}, priority: 1, conditions: ['path=*'], action: {{ \
             forward: {{ groups: [{{ group: {group} }}] }} }} }}\n"
        );
        let groups = json!([{ "group": format!("default/{group}"), "weight": 1 }]);
        let action = json!({ "forward": { "groups": groups } });
        let body = json!({ "listener": listener, "priority": 1, "conditions": ["path=*"], "action": action });
        (text, body)
    }

    #[test]
    fn what_leads_elsewhere_from_now_on_does_so_before_what_it_led_to_changes() {
        let tcp = |port: u16| {
            format!(
                "kind: listener\nname: web\nspec: {{ protocol: tcp, port: {port}, default_action: {{ forward: {{ groups: [{{ \
                 group: kv }}] }} }} }}\n"
            )
        };
        let other = |port: u16| {
            format!("---\nkind: listener\nname: other\nspec: {{ protocol: http, port: {port} }}\n")
        };
        let http = json!({ "protocol": "http", "port": 9000 });
        let (moved, (_, there)) = (forwarding("other", "app").0, forwarding("web", "app"));
        let present = [("listener web", http), ("rule default/a", there)];
        let text = [tcp(9000), other(9001), moved.clone()].concat();
        check(&items(&text, &present), &["listener other", "rule default/a", "listener web"]);
        // The other listener takes the place of this one: what would come first can't.
        let text = [tcp(9001), other(9000), moved].concat();
        check(&items(&text, &present), &["listener web", "listener other", "rule default/a"]);

        let group = "kind: target-group\nname: old\nspec: { targets: { outside: ['192.0.2.7:80'] }, protocol: tcp }\n";
        let old = json!({ "targets": { "outside": ["192.0.2.7:80"] }, "protocol": "http1" });
        let present = [("target-group default/old", old), ("rule default/a", forwarding("http", "old").1)];
        let text = [group, &forwarding("http", "new").0].concat();
        check(&items(&text, &present), &["rule default/a", "target-group default/old"]);
        let text = [group, &forwarding("http", "old").0].concat();
        check(&items(&text, &present), &["target-group default/old"]);
    }

    #[test]
    fn who_leads_to_a_group_leads_to_its_service() {
        let text = "kind: service\nname: kv\nspec: { definition: kv }\n---\n\
                    kind: target-group\nname: old\nspec: { targets: { service: kv } }\n";
        let text = [text, &forwarding("http", "new").0].concat();
        let present = [
            ("service default/kv", json!({ "definition": "kv:1" })),
            ("target-group default/old", json!({ "targets": { "service": "default/kv" } })),
            ("rule default/a", forwarding("http", "old").1),
        ];
        check(&items(&text, &present), &["rule default/a", "service default/kv"]);
    }

    #[test]
    fn a_place_is_not_given_twice() {
        let error = steps(&items(&[rule("a", 20), rule("b", 20)].concat(), &[])).unwrap_err().to_string();
        let expected = "a:6: the rule default/b is to have the priority 20 of the listener http, and so is the rule default/a at \
                        a:2: give one of them another";
        assert_eq!(error, expected);
        let text = "kind: service\nname: a\nspec: { definition: a, listen: ['tcp:9000'] }\n---\n\
                    kind: listener\nname: b\nspec: { protocol: http, port: 9000 }\n";
        let error = steps(&items(text, &[])).unwrap_err().to_string();
        assert!(
            error.contains("the listener b is to have the port 9000, and so is the service default/a"),
            "{error}"
        );
    }

    #[test]
    fn an_internal_listener_has_a_port_of_its_own() {
        let listener = |name: &str, scheme: &str| {
            format!(
                "---\nkind: listener\nname: {name}\nspec: {{ protocol: http, port: 9000, scheme: {scheme} }}\n"
            )
        };
        let text = [listener("a", "public"), listener("b", "internal")].concat();
        check(&items(&text, &[]), &["listener a", "listener b"]);
        let text = [listener("a", "internal"), listener("b", "internal")].concat();
        let error = steps(&items(&text, &[])).unwrap_err().to_string();
        assert!(error.contains("the listener b is to have the internal port 9000"), "{error}");
        let text = "kind: listener\nname: a\nspec: { protocol: http, port: 9000 }\n---\n\
                    kind: listener\nname: b\nspec: { protocol: http, port: 9000 }\n";
        let present = |port: u16| json!({ "protocol": "http", "port": port, "scheme": "internal" });
        check(&items(text, &[("listener b", present(9000))]), &["listener a"]);
        let error = steps(&items(text, &[("listener a", present(9001)), ("listener b", present(9000))]));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the internal port 9000"), "what is left out stays: {error}");
    }
}
