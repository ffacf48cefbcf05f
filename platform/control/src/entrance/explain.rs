//! Why two may be connected, or why not: finds out who is meant, and asks the network's own decision.
//!
//! It opens no connection. Of a service it looks at what its next task is to be: those that run may be of another revision,
//! with other groups, until a deployment is done. A host outside is looked up as this process does it.

use super::Entrance;
use super::tasks::no_task;
use crate::error::ApiError;
use crate::keys;
use crate::model::TaskObject;
use crate::view::{NamedGroups, View};
use skiff_api::{ConsideredRule, ExplainQuery, ExplanationSide};
use skiff_net::{Groups, Identity, InternalName, Missing, Outcome, Party, Side, Subnet};
use skiff_plan::security_groups;
use skiff_ports::network::GroupRules;
use skiff_types::{
    Group, HostPattern, Listen, Name, Namespace, QualifiedName, Scheme, TaskId, Transport, default_group,
};
use std::net::IpAddr;
use std::time::Duration;

/// The longest that a host's name is looked up for.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// One end of a connection, as its name was understood.
#[derive(Debug, Clone)]
enum End {
    Task(Identity),
    LoadBalancer,
    Platform,
    Outside {
        address: IpAddr,
        names: Vec<Box<str>>,
    },
    /// A host that is still to be looked up.
    Host(String),
}

impl Entrance {
    /// Why two may be connected, or why not.
    pub(crate) async fn explain(
        &self,
        namespace: &Namespace,
        query: &ExplainQuery,
    ) -> Result<skiff_api::Explanation, ApiError> {
        let (transport, port) = (query.transport.unwrap_or(Transport::Tcp), query.port);
        let (from, to, groups, listeners) = self.context.objects.read(|view| {
            let find = |text: &str| self.find_end(view, namespace, text);
            let (from, to) = (find(&query.from)?, find(&query.to)?);
            let groups = groups_of([&from, &to], view);
            Ok::<_, ApiError>((from, to, groups, listeners_of(view)))
        })?;
        let guard = self.context.guard(&listeners);
        let (from, to) = (looked_up(from).await?, looked_up(to).await?);
        let explained = |from: &Party<'_>, to: &Party<'_>| {
            let explanation = skiff_net::explain(&groups, &guard, from, to, transport, port);
            let (from, to) = (from.to_string(), to.to_string());
            skiff_api::Explanation {
                allowed: explanation.is_allowed(),
                from,
                to,
                port,
                transport,
                sides: explanation.sides.iter().map(side).collect(),
                message: explanation.to_string(),
            }
        };
        // A host may have several addresses: what is denied says more.
        let mut all = from.iter().flat_map(|from| {
            let explained = &explained;
            to.iter().map(move |to| explained(&from.party(), &to.party()))
        });
        let first = all.next().ok_or_else(|| ApiError::not_now("that host has no address at present"))?;
        let denied = if first.allowed { all.find(|explanation| !explanation.allowed) } else { None };
        Ok(denied.unwrap_or(first))
    }

    /// Who is meant by a text.
    fn find_end(&self, view: &View, namespace: &Namespace, text: &str) -> Result<End, ApiError> {
        match text {
            "load-balancer" => return Ok(End::LoadBalancer),
            "platform" => return Ok(End::Platform),
            _ => {}
        }
        if let Ok(task) = text.parse() {
            return task_end(view, namespace, task);
        }
        if let Ok(address) = text.parse() {
            return Ok(self.address_end(view, address));
        }
        if let Ok(name) = text.parse::<Name>() {
            return owner_end(view, &QualifiedName::new(namespace.clone(), name));
        }
        if let Ok(name) = text.parse::<QualifiedName>() {
            return owner_end(view, &name);
        }
        let wrong = || {
            ApiError::invalid(format!(
                "{text:?} is nobody: name a service, a task's id, load-balancer, or an address or a host outside"
            ))
        };
        match InternalName::parse(text) {
            Ok(Some(InternalName::Service(name))) => owner_end(view, &name),
            Ok(Some(InternalName::Task(task))) => task_end(view, namespace, task),
            Ok(Some(InternalName::Listener(listener))) => listener_end(view, &listener),
            Ok(None) if text.parse::<HostPattern>().is_ok() => Ok(End::Host(text.to_owned())),
            Ok(None) => Err(wrong()),
            Err(error) if text.contains('.') => Err(ApiError::invalid(format!("{text:?}: {error}"))),
            Err(_) => Err(wrong()),
        }
    }

    /// The task that has an address, or the platform; whoever is outside there, if none has.
    fn address_end(&self, view: &View, address: IpAddr) -> End {
        let has_it = |object: &TaskObject| object.address_in_use().is_some_and(|task| task.has(address));
        let spec = self.context.addresses.spec();
        let subnet = Subnet::index_of(&spec, address).map(|index| Subnet::of_node(&spec, index));
        if subnet.is_some_and(|subnet| subnet.is_ok_and(|subnet| subnet.platform().has(address))) {
            return End::Platform;
        }
        let of_network = spec.contains(address);
        let mut tasks = view.tasks.all().filter(|_| of_network);
        match tasks.find(|held| has_it(&held.value)) {
            Some(held) => End::Task(identity(view, &held.value)),
            None => End::Outside { address, names: vec![] },
        }
    }
}

impl End {
    fn party(&self) -> Party<'_> {
        match self {
            Self::Task(identity) => Party::Task(identity),
            Self::LoadBalancer => Party::LoadBalancer,
            Self::Platform => Party::Platform,
            Self::Outside { address, names } => Party::Outside { address: *address, names },
            Self::Host(_) => unreachable!("a host was looked up before it is asked about"),
        }
    }
}

fn task_end(view: &View, namespace: &Namespace, task: TaskId) -> Result<End, ApiError> {
    let held = view.task_key(task).and_then(|key| view.tasks.get(key));
    let held = held.ok_or_else(|| no_task(namespace, task))?;
    Ok(End::Task(identity(view, &held.value)))
}

/// An internal listener: to rules, a service of the platform's own.
fn listener_end(view: &View, name: &Name) -> Result<End, ApiError> {
    match view.listener(name).is_some_and(|spec| spec.scheme == Scheme::Internal) {
        true => Ok(End::Platform),
        false => Err(ApiError::not_found(format!(
            "there is no internal listener {name}; make it with `skiff listener create {name} --port PORT --internal`"
        ))),
    }
}

/// The tasks of a service, or the one-off tasks of a family.
fn owner_end(view: &View, owner: &QualifiedName) -> Result<End, ApiError> {
    let service = match view.groups_named_by(owner) {
        NamedGroups::Said(_) => view.service(owner).map(|held| view.groups_of_service(&held.value)),
        NamedGroups::Unreadable => Some(Vec::new()),
    };
    let family = || {
        let held = view.newest(&owner.namespace, &owner.name)?;
        Some(security_groups::of_task(&held.value.definition.security_groups, None))
    };
    let groups = service.or_else(family).ok_or_else(|| {
        let QualifiedName { namespace, name } = owner;
        ApiError::not_found(format!("there is no service or family {name} in the namespace {namespace}"))
    })?;
    let mut tasks = [Group::Service(owner.name.clone()), Group::Family(owner.name.clone())]
        .into_iter()
        .filter_map(|group| Some(view.tasks_of(&owner.namespace, &group).last()?.value.task.id));
    let task = tasks.next().unwrap_or(TaskId::from_parts(0, [0; 10]));
    Ok(End::Task(Identity { task, owner: owner.clone(), groups: groups.into() }))
}

fn identity(view: &View, object: &TaskObject) -> Identity {
    let TaskObject { task, .. } = object;
    Identity { task: task.id, owner: object.owner(), groups: view.groups_of(task).into() }
}

/// The groups that the decision about these two needs: those of their namespaces.
fn groups_of(ends: [&End; 2], view: &View) -> Groups {
    let mut groups = Groups::default();
    for end in ends {
        let End::Task(Identity { owner, .. }) = end else { continue };
        let default = QualifiedName::new(owner.namespace.clone(), default_group());
        if let Some(rules) = view.rules_of_group(&default) {
            groups.set(GroupRules { group: default, rules });
        }
        for held in view.security_groups.under(&keys::in_namespace("sg", &owner.namespace)) {
            groups.set(GroupRules { group: held.value.qualified(), rules: held.value.rules.clone() });
        }
    }
    groups
}

/// The ports of the node at which there are listeners, of services and others.
fn listeners_of(view: &View) -> Vec<u16> {
    let services = view.services.all().filter(|held| !held.value.removed);
    let inline = services.flat_map(|held| held.value.spec.listen.iter().map(|Listen::Tcp(port)| *port));
    let public = view.other_listeners().filter(|spec| spec.scheme == Scheme::Public);
    inline.chain(public.map(|spec| spec.port)).collect()
}

/// An end as it can be asked about: a host once for each of its addresses.
async fn looked_up(end: End) -> Result<Vec<End>, ApiError> {
    let End::Host(host) = end else { return Ok(vec![end]) };
    // The port is not looked at.
    let looking = tokio::net::lookup_host((host.as_str(), 0));
    let found = match tokio::time::timeout(LOOKUP_TIME, looking).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            return Err(ApiError::not_now(format!("{host} can't be looked up at present: {error}")));
        }
        Err(_) => {
            let seconds = LOOKUP_TIME.as_secs();
            return Err(ApiError::not_now(format!("looking {host} up took longer than {seconds} seconds")));
        }
    };
    let outside = |address: IpAddr| End::Outside { address, names: vec![host.as_str().into()] };
    let mut addresses: Vec<IpAddr> = found.map(|found| found.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses.into_iter().map(outside).collect())
}

fn side(side: &Side) -> ExplanationSide {
    ExplanationSide {
        direction: side.direction,
        owner: side.owner.clone(),
        allowed: side.missing.is_none(),
        unknown_groups: side.unknown.clone(),
        considered: side
            .considered
            .iter()
            .map(|considered| ConsideredRule {
                group: considered.group.clone(),
                rule: considered.rule.clone(),
                allows: considered.outcome == Outcome::Allows,
                outcome: considered.outcome.to_string(),
            })
            .collect(),
        command: side.missing.as_ref().and_then(Missing::command),
    }
}
