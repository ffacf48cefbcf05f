//! Resources as documents have them: their kinds, their names, what each says, and what else it names.
//!
//! What a resource says is the body of its call of the API, read by the very type; so a field that the API learns is one
//! of documents at once. A new kind of resource is a variant of [`Kind`] and of [`Spec`]; the compiler names the places
//! that must know it.

use super::certificate::CertificateFiles;
use super::difference::Fields;
use super::tree::{Entry, Fault, Node, Value, unknown};
use serde::Deserialize;
use serde_json::Value as Json;
use skiff_api::{
    Action, EventDestination, EventTarget, PutAlarm, PutBucket, PutBus, PutConsumer, PutEventRule,
    PutEventSchedule, PutListener, PutListenerRule, PutQueue, PutRole, PutScaling, PutSecurityGroup,
    PutService, PutTable, PutTargetGroup, RegisterTaskDefinition, ScalingPolicy, Targets,
};
use skiff_types::{BUILT_IN_LISTENER, Name, Namespace, Peer, QualifiedName};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// What there is; in the order in which it is written, since what comes later may name what comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    SecurityGroup,
    Certificate,
    Role,
    Bus,
    Bucket,
    Table,
    Queue,
    TaskDefinition,
    Alarm,
    Service,
    TargetGroup,
    Listener,
    Rule,
    Scaling,
    Consumer,
    EventRule,
    EventSchedule,
}

impl Kind {
    pub(super) const ALL: [Self; 17] = [
        Self::SecurityGroup,
        Self::Certificate,
        Self::Role,
        Self::Bus,
        Self::Bucket,
        Self::Table,
        Self::Queue,
        Self::TaskDefinition,
        Self::Alarm,
        Self::Service,
        Self::TargetGroup,
        Self::Listener,
        Self::Rule,
        Self::Scaling,
        Self::Consumer,
        Self::EventRule,
        Self::EventSchedule,
    ];

    /// As documents name it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::SecurityGroup => "security-group",
            Self::Certificate => "certificate",
            Self::Role => "role",
            Self::Bus => "bus",
            Self::EventRule => "event-rule",
            Self::EventSchedule => "event-schedule",
            Self::Bucket => "bucket",
            Self::Table => "table",
            Self::Queue => "queue",
            Self::TaskDefinition => "task-definition",
            Self::Alarm => "alarm",
            Self::Service => "service",
            Self::TargetGroup => "target-group",
            Self::Listener => "listener",
            Self::Rule => "rule",
            Self::Scaling => "scaling",
            Self::Consumer => "consumer",
        }
    }

    /// Whether it lives in a namespace; else it is the platform's.
    pub(super) fn is_namespaced(self) -> bool {
        match self {
            Self::Certificate | Self::Listener => false,
            Self::SecurityGroup
            | Self::Role
            | Self::Bus
            | Self::EventRule
            | Self::EventSchedule
            | Self::Bucket
            | Self::Table
            | Self::Queue
            | Self::TaskDefinition
            | Self::Alarm
            | Self::Service
            | Self::TargetGroup
            | Self::Rule
            | Self::Scaling
            | Self::Consumer => true,
        }
    }
}

/// Which resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) kind: Kind,
    /// Where it lives; `default`, and without meaning, for what is the platform's.
    pub(super) namespace: Namespace,
    pub(super) name: Name,
}

impl Id {
    pub(super) fn new(kind: Kind, namespace: Namespace, name: Name) -> Self {
        let namespace = if kind.is_namespaced() { namespace } else { Namespace::default() };
        Self { kind, namespace, name }
    }

    fn of(kind: Kind, name: QualifiedName) -> Self {
        Self::new(kind, name.namespace, name.name)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match kind.is_namespaced() {
            true => write!(f, "{} {namespace}/{name}", kind.word()),
            false => write!(f, "{} {name}", kind.word()),
        }
    }
}

/// Where a resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    /// The line, from 1.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What a resource is to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spec {
    SecurityGroup(PutSecurityGroup),
    Certificate(CertificateFiles),
    Role(PutRole),
    Bus(PutBus),
    Bucket(PutBucket),
    Table(PutTable),
    Queue(PutQueue),
    TaskDefinition(Box<RegisterTaskDefinition>),
    Alarm(Box<PutAlarm>),
    Service(Box<PutService>),
    TargetGroup(Box<PutTargetGroup>),
    Listener(Box<PutListener>),
    Rule(Box<PutListenerRule>),
    EventRule(Box<PutEventRule>),
    EventSchedule(Box<PutEventSchedule>),
    /// Of the service of its name.
    Scaling(PutScaling),
    Consumer(PutConsumer),
}

/// A resource of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resource {
    pub(super) id: Id,
    pub(super) spec: Spec,
    pub(super) place: Place,
}

/// What else a resource needs: one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// What it is to the resource, like `its listener`.
    pub(super) what: &'static str,
    /// Any of them will do; the first is meant where there are several.
    pub(super) to: Vec<Id>,
}

const KEYS: [&str; 4] = ["kind", "name", "namespace", "spec"];

impl Resource {
    /// Reads one; `here` is the namespace of those that name none, `file` the document.
    pub(super) fn read(node: &Node, here: &Namespace, file: &Arc<Path>) -> Result<Self, Fault> {
        let Value::Table(entries) = &node.value else {
            let message = format!("a resource is a table with these keys: {}", KEYS.join(", "));
            return Err(Fault::new(node.line, message));
        };
        if let Some(entry) = entries.iter().find(|entry| !KEYS.contains(&entry.key.as_str())) {
            return Err(Fault::new(entry.line, format!("the key {}", unknown(&entry.key, &KEYS))));
        }
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let required = |key: &str| {
            find(key).ok_or_else(|| {
                let message =
                    format!("the key \"{key}\" is missing; a resource has these: {}", KEYS.join(", "));
                Fault::new(node.line, message)
            })
        };
        let kind = kind(required("kind")?)?;
        let name: Name = parsed(required("name")?)?;
        let namespace = find("namespace").map(parsed::<Namespace>).transpose()?;
        if let Some(given) = find("namespace").filter(|_| !kind.is_namespaced()) {
            let message =
                format!("a {} is the platform's, and lives in no namespace; leave it out", kind.word());
            return Err(Fault::new(given.line, message).below("namespace"));
        }
        let id = Id::new(kind, namespace.unwrap_or_else(|| here.clone()), name);
        let spec = Spec::read(&id, &required("spec")?.node, file).map_err(|fault| {
            let fault = fault.below("spec");
            Fault::new(fault.line, format!("{id}: {fault}"))
        })?;
        Ok(Self { id, spec, place: Place { file: file.clone(), line: node.line } })
    }

    /// What has to be there for it.
    pub(super) fn references(&self) -> Vec<Reference> {
        self.spec.references(&self.id)
    }
}

impl Spec {
    /// What has to be there for a resource that is to be this.
    pub(super) fn references(&self, id: &Id) -> Vec<Reference> {
        let here = &id.namespace;
        let one =
            |what, kind, name: &Name| Reference { what, to: vec![Id::new(kind, here.clone(), name.clone())] };
        let groups = |names: &[Name]| -> Vec<Reference> {
            names.iter().map(|name| one("its security group", Kind::SecurityGroup, name)).collect()
        };
        match self {
            Self::Certificate(_) | Self::Alarm(_) | Self::Role(_) | Self::Bus(_) | Self::Table(_) => vec![],
            Self::Bucket(body) => {
                body.bus.iter().map(|bus| one("the bus that it tells", Kind::Bus, bus)).collect()
            }
            Self::EventRule(body) => {
                let bus = body.bus.iter().map(|bus| one("its bus", Kind::Bus, bus));
                let targets = body.targets.iter().flatten();
                bus.chain(targets.flat_map(|target| led_to(target, here))).collect()
            }
            Self::EventSchedule(body) => led_to(&body.target, here),
            Self::Queue(body) => {
                let dead_letter = body.dead_letter.iter();
                let named =
                    dead_letter.map(|to| one("the queue of its dead letters", Kind::Queue, &to.queue));
                named.collect()
            }
            Self::SecurityGroup(body) => {
                let peers = body.rules.iter().flatten().filter_map(|rule| match &rule.peer {
                    Peer::Group(group) => Some(Id::of(Kind::SecurityGroup, group.qualified(here))),
                    Peer::LoadBalancer | Peer::Itself | Peer::Platform | Peer::Network(_) | Peer::Host(_) => {
                        None
                    }
                });
                let others = peers.filter(|peer| peer != id);
                others.map(|peer| Reference { what: "the group of a rule of it", to: vec![peer] }).collect()
            }
            Self::TaskDefinition(body) => {
                let mut references = groups(&body.security_groups);
                references.extend(body.role.as_ref().map(|role| one("its role", Kind::Role, role)));
                references
            }
            Self::Service(body) => {
                let mut references = groups(body.security_groups.as_deref().unwrap_or_default());
                // A revision is not to be had from a document: the platform numbers them.
                if body.definition.revision.is_none() {
                    references.push(one("its definition", Kind::TaskDefinition, &body.definition.family));
                }
                let alarms = body.deployment.iter().flat_map(|deployment| deployment.alarms.iter().flatten());
                references.extend(alarms.map(|alarm| one("an alarm of its deployments", Kind::Alarm, alarm)));
                references
            }
            Self::TargetGroup(body) => match &body.targets {
                Targets::Service(service) => {
                    let service = Id::of(Kind::Service, service.qualified(here));
                    vec![Reference { what: "the service whose tasks it has", to: vec![service] }]
                }
                Targets::Virtual(_) | Targets::Outside(_) => vec![],
            },
            Self::Listener(body) => {
                let certificates = body.certificates.iter().flatten();
                let certificates = certificates.map(|name| one("its certificate", Kind::Certificate, name));
                let forwards = body.default_action.iter().flat_map(|action| forwards(action, here));
                certificates.chain(forwards).collect()
            }
            Self::Rule(body) => {
                let listener = body.listener.clone().unwrap_or_else(built_in);
                let mut references = vec![one("its listener", Kind::Listener, &listener)];
                references.extend(forwards(&body.action, here));
                references
            }
            Self::Consumer(body) => vec![
                one("the queue that it takes messages of", Kind::Queue, &body.queue),
                one("the service that it gives them to", Kind::Service, &body.service),
            ],
            Self::Scaling(body) => {
                let alarms = body.policies.iter().filter_map(|policy| match policy {
                    ScalingPolicy::Step(step) => Some(&step.alarm),
                    ScalingPolicy::TargetTracking(_) => None,
                });
                let alarms = alarms.map(|alarm| one("the alarm that it follows", Kind::Alarm, alarm));
                [one("the service that it scales", Kind::Service, &id.name)]
                    .into_iter()
                    .chain(alarms)
                    .collect()
            }
        }
    }
}

/// What a target of a rule or a schedule leads to.
fn led_to(target: &EventTarget, here: &Namespace) -> Vec<Reference> {
    let one =
        |what, kind, name: &Name| Reference { what, to: vec![Id::new(kind, here.clone(), name.clone())] };
    let to = match &target.to {
        // A revision is not to be had from a document: the platform numbers them.
        EventDestination::Task(task) if task.definition.revision.is_some() => None,
        EventDestination::Task(task) => Some(one(
            "the definition of the task that it runs",
            Kind::TaskDefinition,
            &task.definition.family,
        )),
        EventDestination::Service(service) => {
            Some(one("the service that it calls", Kind::Service, &service.name))
        }
        EventDestination::Queue(queue) => Some(one("the queue that it sends to", Kind::Queue, &queue.name)),
        EventDestination::Bus(bus) => Some(one("the bus that it puts on", Kind::Bus, bus)),
        EventDestination::Webhook(_) => None,
    };
    let dead_letter =
        target.dead_letter.iter().map(|queue| one("the queue of its dead letters", Kind::Queue, queue));
    to.into_iter().chain(dead_letter).collect()
}

/// The listener that is there from the start.
fn built_in() -> Name {
    BUILT_IN_LISTENER.parse().expect("a name")
}

/// Whom an action forwards to: a target group, or the service of its name where there is none.
fn forwards(action: &Action, here: &Namespace) -> Vec<Reference> {
    match action {
        Action::Forward(forward) => {
            let one = |name: QualifiedName| Reference {
                what: "the target group that it forwards to",
                to: vec![Id::of(Kind::TargetGroup, name.clone()), Id::of(Kind::Service, name)],
            };
            forward.groups.iter().map(|weighted| one(weighted.group.qualified(here))).collect()
        }
        Action::Redirect(_) | Action::FixedResponse(_) => vec![],
    }
}

fn kind(entry: &Entry) -> Result<Kind, Fault> {
    let word = text(entry)?;
    Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
        let words = Kind::ALL.map(Kind::word);
        Fault::new(entry.line, format!("the kind {}", unknown(word, &words)))
    })
}

fn parsed<T: FromStr<Err: fmt::Display>>(entry: &Entry) -> Result<T, Fault> {
    text(entry)?
        .parse()
        .map_err(|error: T::Err| Fault::new(entry.node.line, error.to_string()).below(&entry.key))
}

fn text(entry: &Entry) -> Result<&str, Fault> {
    let read = <&str>::deserialize(&entry.node);
    read.map_err(|fault| fault.below(&entry.key))
}

impl Spec {
    /// What a body says as the platform shows it, of the kinds that lead requests elsewhere; nothing of others.
    pub(super) fn leading(kind: Kind, body: &Fields) -> Option<Self> {
        let body = Json::Object(body.clone());
        match kind {
            Kind::TargetGroup => serde_json::from_value(body).ok().map(Self::TargetGroup),
            Kind::Listener => serde_json::from_value(body).ok().map(Self::Listener),
            Kind::Rule => serde_json::from_value(body).ok().map(Self::Rule),
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
            | Kind::Service
            | Kind::Scaling
            | Kind::Consumer => None,
        }
    }

    fn read(id: &Id, node: &Node, file: &Path) -> Result<Self, Fault> {
        Ok(match id.kind {
            Kind::SecurityGroup => Self::SecurityGroup(Deserialize::deserialize(node)?),
            Kind::Certificate => {
                let folder = file.parent().map(PathBuf::from).unwrap_or_default();
                Self::Certificate(CertificateFiles::read(node, &folder)?)
            }
            Kind::Role => Self::Role(Deserialize::deserialize(node)?),
            Kind::Bus => Self::Bus(Deserialize::deserialize(node)?),
            Kind::EventRule => Self::EventRule(Deserialize::deserialize(node)?),
            Kind::EventSchedule => Self::EventSchedule(Deserialize::deserialize(node)?),
            Kind::Bucket => Self::Bucket(Deserialize::deserialize(node)?),
            Kind::Table => Self::Table(Deserialize::deserialize(node)?),
            Kind::Queue => Self::Queue(Deserialize::deserialize(node)?),
            Kind::TaskDefinition => Self::TaskDefinition(Deserialize::deserialize(&with_family(id, node)?)?),
            Kind::Alarm => Self::Alarm(Deserialize::deserialize(node)?),
            Kind::Service => Self::Service(Deserialize::deserialize(node)?),
            Kind::TargetGroup => Self::TargetGroup(Deserialize::deserialize(node)?),
            Kind::Listener => Self::Listener(Deserialize::deserialize(node)?),
            Kind::Rule => Self::Rule(Deserialize::deserialize(node)?),
            Kind::Scaling => Self::Scaling(Deserialize::deserialize(node)?),
            Kind::Consumer => Self::Consumer(Deserialize::deserialize(node)?),
        })
    }
}

/// The family of a definition is its name in the document, so that it is not said twice.
fn with_family(id: &Id, node: &Node) -> Result<Node, Fault> {
    let mut node = node.clone();
    if let Value::Table(entries) = &mut node.value {
        match entries.iter().find(|entry| entry.key == "family") {
            Some(entry) if entry.node.value == Value::Text(id.name.to_string()) => {}
            Some(entry) => {
                let message =
                    format!("the family is the name of the resource, {}; leave it out here", id.name);
                return Err(Fault::new(entry.line, message).below("family"));
            }
            None => {
                let family = Node { line: node.line, value: Value::Text(id.name.to_string()) };
                entries.push(Entry { key: "family".to_owned(), line: node.line, node: family });
            }
        }
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::super::format::yaml;
    use super::*;

    fn read(text: &str) -> Result<Resource, String> {
        let file: Arc<Path> = Path::new("a.yaml").into();
        let nodes = yaml::read(text).unwrap();
        Resource::read(&nodes[0], &"shop".parse().unwrap(), &file)
            .map_err(|fault| format!("{}: {fault}", fault.line))
    }

    #[test]
    fn what_is_wrong_with_a_resource_is_told_with_its_line() {
        for (text, expected) in [
            ("7", "1: a resource is a table with these keys: kind, name, namespace, spec"),
            ("kind: rule\nnaem: a", "2: the key \"naem\" is unknown; did you mean \"name\"?"),
            ("kind: rul\nname: a", "1: the kind \"rul\" is unknown; did you mean \"rule\"?"),
            ("name: a", "1: the key \"kind\" is missing; a resource has these: kind, name, namespace, spec"),
            ("kind: 7\nname: a", "1: kind: 7 is not a text; put it into quotes"),
            (
                "kind: listener\nname: a\nnamespace: shop\nspec: {}",
                "3: namespace: a listener is the platform's, and lives in no namespace; leave it out",
            ),
            (
                "kind: service\nname: web\nspec:\n  definition: web\n  hots: [a]",
                "5: service shop/web: spec: \"hots\" is unknown; did you mean \"hosts\"?",
            ),
            (
                "kind: task-definition\nname: web\nspec:\n  family: other\n  image: web",
                "4: task-definition shop/web: spec.family: the family is the name of the resource, web; leave it out here",
            ),
            (
                "kind: target-group\nname: a\nspec:\n  targets: {}",
                "4: target-group shop/a: spec.targets: exactly one of these keys is to be here: service, virtual, outside",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        let error = read("kind: rule\nname: A b").unwrap_err();
        assert!(error.starts_with("2: name: \"A b\" is not a name"), "{error}");
    }

    #[test]
    fn what_a_resource_needs_is_known() {
        let needs = |text: &str| -> Vec<String> {
            let references = read(text).unwrap().references();
            let shown = |id: &Id| id.to_string();
            let to = |reference: &Reference| reference.to.iter().map(shown).collect::<Vec<_>>().join(" or ");
            references.iter().map(to).collect()
        };
        assert_eq!(
            needs(
                "kind: security-group\nname: a\nspec: { rules: [all from self, all from b, 'all to x/c', all from a] }"
            ),
            ["security-group shop/b", "security-group x/c"]
        );
        assert_eq!(
            needs("kind: service\nname: a\nspec: { definition: a, security_groups: [b] }"),
            ["security-group shop/b", "task-definition shop/a"]
        );
        assert_eq!(needs("kind: service\nname: a\nspec: { definition: 'a:3' }"), [""; 0]);
        assert_eq!(needs("kind: task-definition\nname: a\nspec: { image: a, role: b }"), ["role shop/b"]);
        assert_eq!(
            needs("kind: queue\nname: a\nspec: { dead_letter: { queue: b, receives_max: 3 } }"),
            ["queue shop/b"]
        );
        assert_eq!(needs("kind: table\nname: a\nspec: {}"), [""; 0]);
        assert_eq!(needs("kind: bucket\nname: a\nspec: { bus: b }"), ["bus shop/b"]);
        let target = "{ id: c, to: { task: { definition: t } }, dead_letter: d }";
        assert_eq!(
            needs(&format!(
                "kind: event-rule\nname: a\nspec: {{ bus: b, pattern: {{ source: [x] }}, targets: [{target}] }}"
            )),
            ["bus shop/b", "task-definition shop/t", "queue shop/d"]
        );
        assert_eq!(
            needs(
                "kind: event-schedule\nname: a\nspec: { schedule: rate(1 day), target: { to: { service: { name: s } } } }"
            ),
            ["service shop/s"]
        );
        assert_eq!(
            needs("kind: target-group\nname: a\nspec: { targets: { service: x/a } }"),
            ["service x/a"]
        );
        assert_eq!(needs("kind: scaling\nname: a\nspec: { min: 1, max: 9 }"), ["service shop/a"]);
        assert_eq!(
            needs("kind: consumer\nname: a\nspec: { queue: b, service: c }"),
            ["queue shop/b", "service shop/c"]
        );
        let action = "{ forward: { groups: [{ group: b }] } }";
        assert_eq!(
            needs(&format!(
                "kind: listener\nname: a\nspec: {{ protocol: https, port: 1, certificates: [c], default_action: {action} }}"
            )),
            ["certificate c", "target-group default/b or service default/b"]
        );
        assert_eq!(
            needs(&format!(
                "kind: rule\nname: a\nspec: {{ priority: 1, conditions: ['path=*'], action: {action} }}"
            )),
            ["listener http", "target-group shop/b or service shop/b"]
        );
    }
}
