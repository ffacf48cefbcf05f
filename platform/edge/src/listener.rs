//! The listeners as requests and connections know them, each with its rules: what is told of them is kept here, by name.
//!
//! It deliberately does not accept ([`crate::accept`], [`crate::listening`]), nor carry out what a rule says
//! ([`crate::decision`]). What always holds: the built-in listener is there from the start to the end; a connection keeps
//! the listener that it came to, and sees each change of it with its next request. One that is told to be at another port is
//! where its socket is until it has another.

use crate::config::Proto;
use crate::headers::Forwarded;
use http::HeaderValue;
use rustls::ServerConfig;
use skiff_ledger::Meter;
use skiff_plan::rules::Rules;
use skiff_types::{BUILT_IN_LISTENER, ListenerProtocol, ListenerSpec, Name, QualifiedName, RuleSpec, Scheme};
use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// One listener.
pub(crate) struct Listener {
    name: Name,
    forwarded: RefCell<Forwarded>,
    /// Whether services' own hosts and paths lead to them.
    services: Cell<bool>,
    rules: RefCell<Rules<Rc<Rule>>>,
    /// What counts here.
    meter: RefCell<Option<Meter>>,
    /// None while the built-in one is as it is at first.
    spec: RefCell<Option<Arc<ListenerSpec>>>,
    /// What TLS is spoken by, where it is.
    tls: RefCell<Option<Arc<ServerConfig>>>,
}

/// A rule, and what counts at it.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) spec: Arc<RuleSpec>,
    pub(crate) meter: Option<Meter>,
}

/// All listeners that this worker was told of.
pub(crate) struct Listeners {
    built_in: Rc<Listener>,
    others: RefCell<BTreeMap<Name, Rc<Listener>>>,
    /// The port of the socket that this worker accepts from for each public one, once it has one.
    sockets: RefCell<BTreeMap<Name, u16>>,
    /// Whose each rule is.
    rules: RefCell<HashMap<QualifiedName, Rc<Listener>>>,
    /// Told whenever there is another, or one has changed.
    added: Notify,
}

impl Listener {
    /// The built-in one: services alone, and 404 for what none takes.
    pub(crate) fn built_in(proto: Proto, port: u16) -> Self {
        let name = BUILT_IN_LISTENER.parse().expect("the name of the built-in listener is one");
        Self::named(name, proto, port)
    }

    fn named(name: Name, proto: Proto, port: u16) -> Self {
        Self {
            name,
            forwarded: RefCell::new(Forwarded { proto: proto.header(), port: HeaderValue::from(port) }),
            services: Cell::new(true),
            rules: RefCell::default(),
            meter: RefCell::default(),
            spec: RefCell::default(),
            tls: RefCell::default(),
        }
    }

    fn new(spec: &Arc<ListenerSpec>, port: u16) -> Self {
        let listener = Self::named(spec.name.clone(), Proto::Http, port);
        listener.set(spec);
        listener.set_forwarded(spec, port);
        listener
    }

    fn set(&self, spec: &Arc<ListenerSpec>) {
        self.services.set(spec.services);
        self.spec.replace(Some(spec.clone()));
    }

    fn set_forwarded(&self, spec: &ListenerSpec, port: u16) {
        let proto = match spec.protocol {
            ListenerProtocol::Https => Proto::Https,
            ListenerProtocol::Http | ListenerProtocol::Tcp => Proto::Http,
        };
        self.forwarded.replace(Forwarded { proto: proto.header(), port: HeaderValue::from(port) });
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// What is spoken there.
    pub(crate) fn protocol(&self) -> ListenerProtocol {
        self.spec.borrow().as_ref().map_or(ListenerProtocol::Http, |spec| spec.protocol)
    }

    /// Whether tasks alone reach it, by the virtual network.
    pub(crate) fn is_internal(&self) -> bool {
        self.spec.borrow().as_ref().is_some_and(|spec| spec.scheme == Scheme::Internal)
    }

    /// The facts of it that every request is told.
    pub(crate) fn forwarded(&self) -> Ref<'_, Forwarded> {
        self.forwarded.borrow()
    }

    /// Whether services' own hosts and paths lead to them here.
    pub(crate) fn has_services(&self) -> bool {
        self.services.get()
    }

    /// Its rules.
    pub(crate) fn rules(&self) -> Ref<'_, Rules<Rc<Rule>>> {
        self.rules.borrow()
    }

    /// What counts here, if anything does.
    pub(crate) fn meter(&self) -> Ref<'_, Option<Meter>> {
        self.meter.borrow()
    }

    /// It counts here from now on. Connections that are open stay where they were counted.
    pub(crate) fn set_meter(&self, meter: Option<Meter>) {
        self.meter.replace(meter);
    }

    /// What the next connection is to speak TLS by; nothing where all is said in clear.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.borrow().clone()
    }

    /// Has the next connections speak TLS by this.
    pub(crate) fn set_tls(&self, config: Option<Arc<ServerConfig>>) {
        self.tls.replace(config);
    }

    /// What was told of it; nothing while the built-in one is as it is at first.
    pub(crate) fn spec(&self) -> Ref<'_, Option<Arc<ListenerSpec>>> {
        self.spec.borrow()
    }
}

impl Listeners {
    /// The built-in one alone.
    pub(crate) fn new(built_in: Listener) -> Self {
        let (others, sockets, rules) = Default::default();
        Self { built_in: Rc::new(built_in), others, sockets, rules, added: Notify::new() }
    }

    /// The one that is always there.
    pub(crate) fn built_in(&self) -> &Rc<Listener> {
        &self.built_in
    }

    /// The listener of this name.
    pub(crate) fn get(&self, name: &Name) -> Option<Rc<Listener>> {
        if name.as_str() == BUILT_IN_LISTENER {
            return Some(self.built_in.clone());
        }
        self.others.borrow().get(name).cloned()
    }

    /// Those beside the built-in one.
    pub(crate) fn others(&self) -> Ref<'_, BTreeMap<Name, Rc<Listener>>> {
        self.others.borrow()
    }

    /// The public listener on this port, the built-in one aside.
    pub(crate) fn at_port(&self, port: u16) -> Option<Rc<Listener>> {
        self.reached(Scheme::Public, port).or_else(|| self.still_at(port))
    }

    /// The public listener that is to be elsewhere, and whose socket is still on this port.
    fn still_at(&self, port: u16) -> Option<Rc<Listener>> {
        let sockets = self.sockets.borrow();
        let (name, _) = sockets.iter().find(|(_, at)| **at == port)?;
        self.get(name).filter(|listener| !listener.is_internal())
    }

    /// The internal listener on this port.
    pub(crate) fn internal_at_port(&self, port: u16) -> Option<Rc<Listener>> {
        self.reached(Scheme::Internal, port)
    }

    /// Among those of one scheme, a port is one listener's.
    fn reached(&self, scheme: Scheme, port: u16) -> Option<Rc<Listener>> {
        let others = self.others.borrow();
        let is_at = |listener: &Rc<Listener>| {
            listener.spec().as_ref().is_some_and(|spec| (spec.scheme, spec.port) == (scheme, port))
        };
        others.values().find(|listener| is_at(listener)).cloned()
    }

    /// Ends when there is another listener, or one has changed.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// From now on it is accepted for the listener of this name at this port, whichever it was told to be at.
    pub(crate) fn accepts_at(&self, name: &Name, port: u16) {
        self.sockets.borrow_mut().insert(name.clone(), port);
        if let Some(listener) = self.get(name)
            && let Some(spec) = listener.spec().as_ref()
        {
            listener.set_forwarded(spec, port);
        }
    }

    /// The port that requests to a listener come to.
    fn port_of(&self, spec: &ListenerSpec) -> u16 {
        let sockets = self.sockets.borrow();
        let socket = sockets.get(&spec.name).filter(|_| spec.scheme == Scheme::Public);
        socket.copied().unwrap_or(spec.port)
    }

    /// A listener is new, or has changed; `meter` counts there. Of the built-in one, who reaches it and what is spoken there
    /// never does.
    pub(crate) fn set(&self, spec: &Arc<ListenerSpec>, meter: Option<Meter>) {
        match self.get(&spec.name) {
            Some(listener) => {
                listener.set(spec);
                listener.set_meter(meter);
                if !Rc::ptr_eq(&listener, &self.built_in) {
                    listener.set_forwarded(spec, self.port_of(spec));
                }
            }
            None => {
                let listener = Listener::new(spec, self.port_of(spec));
                listener.set_meter(meter);
                self.others.borrow_mut().insert(spec.name.clone(), Rc::new(listener));
            }
        }
        self.added.notify_waiters();
    }

    /// A listener is gone: it is given back. The built-in one is as it was at first instead.
    pub(crate) fn close(&self, name: &Name) -> Option<Rc<Listener>> {
        if name.as_str() == BUILT_IN_LISTENER {
            self.built_in.services.set(true);
            self.built_in.spec.take();
            return None;
        }
        self.sockets.borrow_mut().remove(name);
        self.others.borrow_mut().remove(name)
    }

    /// A rule is new, or has changed; `meter` counts at it.
    pub(crate) fn set_rule(&self, rule: &Arc<RuleSpec>, meter: Option<Meter>) {
        let listener = self.get(&rule.listener);
        let before = match &listener {
            Some(listener) => self.rules.borrow_mut().insert(rule.name.clone(), listener.clone()),
            None => self.rules.borrow_mut().remove(&rule.name),
        };
        let has_moved =
            |before: &Rc<Listener>| !listener.as_ref().is_some_and(|listener| Rc::ptr_eq(listener, before));
        if let Some(before) = before.filter(has_moved) {
            before.rules.borrow_mut().remove(&rule.name);
        }
        match listener {
            Some(listener) => {
                let mut rules = listener.rules.borrow_mut();
                let value = Rc::new(Rule { spec: rule.clone(), meter });
                rules.set(rule.name.clone(), rule.priority, &rule.conditions, value);
            }
            None => tracing::error!(rule = %rule.name, listener = %rule.listener, "a rule of no listener"),
        }
    }

    /// A rule is gone.
    pub(crate) fn drop_rule(&self, name: &QualifiedName) {
        if let Some(listener) = self.rules.borrow_mut().remove(name) {
            listener.rules.borrow_mut().remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{Action, FixedResponse};

    fn listeners() -> Listeners {
        Listeners::new(Listener::built_in(Proto::Http, 80))
    }

    fn spec(name: &str, port: u16) -> Arc<ListenerSpec> {
        Arc::new(ListenerSpec {
            name: name.parse().unwrap(),
            protocol: ListenerProtocol::Http,
            port,
            scheme: Scheme::Public,
            certificates: Vec::new(),
            services: false,
            default_action: Action::FixedResponse(FixedResponse::status(404)),
            client_limit: None,
        })
    }

    fn rule(name: &str, listener: &str) -> Arc<RuleSpec> {
        Arc::new(RuleSpec {
            name: format!("default/{name}").parse().unwrap(),
            listener: listener.parse().unwrap(),
            priority: "7".parse().unwrap(),
            conditions: vec!["path=/*".parse().unwrap()],
            action: Action::FixedResponse(FixedResponse::status(200)),
            limit: None,
        })
    }

    fn port(listener: &Listener) -> String {
        listener.forwarded().port.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_listener_comes_changes_and_goes() {
        let (listeners, name) = (listeners(), "web".parse().unwrap());
        assert!(listeners.get(&name).is_none() && listeners.at_port(81).is_none());
        listeners.set(&spec("web", 81), None);
        let listener = listeners.at_port(81).unwrap();
        assert!(Rc::ptr_eq(&listener, &listeners.get(&name).unwrap()) && !listener.has_services());
        listeners.set(&spec("web", 82), None);
        assert!(listeners.at_port(81).is_none() && Rc::ptr_eq(&listener, &listeners.at_port(82).unwrap()));
        assert_eq!(port(&listener), "82");
        assert!(Rc::ptr_eq(&listener, &listeners.close(&name).unwrap()) && listeners.get(&name).is_none());
    }

    #[test]
    fn a_listener_is_where_its_socket_is() {
        let (listeners, name) = (listeners(), "web".parse().unwrap());
        // A socket may come before its listener is told of.
        listeners.accepts_at(&name, 81);
        assert!(listeners.at_port(81).is_none());
        listeners.set(&spec("web", 81), None);
        listeners.set(&spec("web", 82), None);
        let listener = listeners.at_port(81).unwrap();
        assert_eq!((listener.name().as_str(), port(&listener)), ("web", "81".to_owned()));
        assert!(Rc::ptr_eq(&listener, &listeners.at_port(82).unwrap()), "both lead there");
        listeners.set(&spec("third", 81), None);
        assert_eq!(
            listeners.at_port(81).unwrap().name().as_str(),
            "third",
            "who is told to be there goes before"
        );
        listeners.close(&"third".parse().unwrap());
        listeners.accepts_at(&name, 82);
        assert!(listeners.at_port(81).is_none());
        assert_eq!(port(&listener), "82");
        listeners.close(&name);
        listeners.set(&spec("web", 83), None);
        assert_eq!(port(&listeners.get(&name).unwrap()), "83");
    }

    #[test]
    fn a_port_is_one_public_and_one_internal_listeners() {
        let listeners = listeners();
        listeners.set(&spec("web", 81), None);
        let internal = |name: &str, port| {
            Arc::new(ListenerSpec { scheme: Scheme::Internal, ..ListenerSpec::clone(&spec(name, port)) })
        };
        listeners.set(&internal("api", 81), None);
        let name = |listener: Option<Rc<Listener>>| listener.map(|listener| listener.name().to_string());
        assert_eq!(name(listeners.at_port(81)).as_deref(), Some("web"));
        assert_eq!(name(listeners.internal_at_port(81)).as_deref(), Some("api"));
        listeners.set(&internal("web", 82), None);
        assert!(listeners.at_port(81).is_none() && listeners.at_port(82).is_none());
        assert!(listeners.internal_at_port(82).is_some_and(|listener| listener.is_internal()));
    }

    #[test]
    fn the_built_in_listener_stays_and_keeps_its_port() {
        let (listeners, name) = (listeners(), BUILT_IN_LISTENER.parse().unwrap());
        listeners.set(&spec(BUILT_IN_LISTENER, 81), None);
        let listener = listeners.get(&name).unwrap();
        assert!(!listener.has_services() && listener.spec().is_some() && listeners.at_port(81).is_none());
        assert_eq!(port(&listener), "80");
        assert!(listeners.close(&name).is_none());
        assert!(listener.has_services() && listener.spec().is_none());
    }

    #[test]
    fn a_rule_is_one_listeners_at_a_time() {
        let listeners = listeners();
        listeners.set(&spec("web", 81), None);
        let of = |name: &str| listeners.get(&name.parse().unwrap()).unwrap().rules().len();
        listeners.set_rule(&rule("one", "http"), None);
        listeners.set_rule(&rule("two", "http"), None);
        assert_eq!((of("http"), of("web")), (2, 0));
        listeners.set_rule(&rule("one", "web"), None);
        listeners.set_rule(&rule("two", "http"), None);
        assert_eq!((of("http"), of("web")), (1, 1));
        listeners.set_rule(&rule("one", "nobody"), None);
        listeners.drop_rule(&"default/two".parse().unwrap());
        assert_eq!((of("http"), of("web")), (0, 0));
        listeners.drop_rule(&"default/one".parse().unwrap());
    }
}
