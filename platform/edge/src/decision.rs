//! What becomes of a request: the rules of the listener that it came to are asked first, then the hosts and paths that
//! services name, if they count there, and then the listener's default action has it.
//!
//! It deliberately only finds the target group; which of its targets answers is that one's to choose ([`crate::group`]).
//! What always holds: nothing of a request is changed for it, and rules see the same of it whichever HTTP it came by.
//! Where a listener has no rules, asking for them costs one look.

use crate::access_log::push_number;
use crate::edge::Edge;
use crate::group::Aim;
use crate::listener::{Listener, Rule};
use crate::refusal::Refusal;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use skiff_plan::rules;
use skiff_ports::body::{self, Body};
use skiff_types::{Action, FixedResponse, Priority, Redirect};
use std::net::IpAddr;
use std::rc::Rc;

/// Actions as ELBv2's access log names them.
const FORWARD: &str = "forward";
const REDIRECT: &str = "redirect";
const FIXED_RESPONSE: &str = "fixed-response";

/// What becomes of a request.
pub(crate) enum Decision {
    /// A target of this group answers.
    Forward(Aim),
    /// The load balancer does.
    Answer(Response<Body>),
}

/// A decision, or why it can't be carried out, and what it was that decided.
pub(crate) struct Decided {
    pub(crate) ground: Ground,
    /// The rule, if it was one.
    pub(crate) rule: Option<Rc<Rule>>,
    pub(crate) decision: Result<Decision, Refusal>,
}

/// What decided on a request, as the access log says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ground {
    pub(crate) by: By,
    /// What that says is to be done, in ELBv2's words.
    pub(crate) action: &'static str,
}

/// Whose word it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A rule of the listener.
    Rule(Priority),
    /// A host and a path that a service names, or a port.
    Service,
    /// The listener's default action.
    Default,
}

impl By {
    /// Writes the priority: a rule's; 0 of the default action, as ELBv2 has it; a word of its own for services.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Rule(priority) => push_number(out, priority.get().into()),
            Self::Service => out.extend_from_slice(b"service"),
            Self::Default => out.push(b'0'),
        }
    }

    /// With what is done then.
    pub(crate) fn does(self, action: &Action) -> Ground {
        let action = match action {
            Action::Forward(_) => FORWARD,
            Action::Redirect(_) => REDIRECT,
            Action::FixedResponse(_) => FIXED_RESPONSE,
        };
        Ground { by: self, action }
    }
}

impl Ground {
    /// A service's own host and path, or its port: what comes is forwarded.
    pub(crate) const SERVICE: Self = Self { by: By::Service, action: FORWARD };

    /// Whether the client is told to ask elsewhere.
    pub(crate) fn is_redirect(self) -> bool {
        self.action == REDIRECT
    }
}

/// What of a request it is decided by.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// As the client wrote it; empty if there is none.
    pub(crate) authority: &'a str,
    /// The same as routes have it.
    pub(crate) host: &'a str,
    /// Where the connection came from.
    pub(crate) source: IpAddr,
}

impl Edge {
    /// Decides on a request that came to `listener`.
    pub(crate) fn decide(&self, listener: &Listener, asked: &Asked<'_>) -> Decided {
        let rules = listener.rules();
        if !rules.is_empty()
            && let Some(rule) = rules.choose(&asked.of_rules())
        {
            let by = By::Rule(rule.spec.priority);
            let decided = self.carry_out(by, &rule.spec.action, listener, asked);
            return Decided { rule: Some(rule.clone()), ..decided };
        }
        drop(rules);
        let path = asked.uri.path();
        if listener.has_services()
            && let Some(service) = self.find(asked.host, path)
        {
            let aim = self.divide(self.aim_at_service(service, Some(asked.headers)), Some(asked.host));
            return Decided { ground: Ground::SERVICE, rule: None, decision: Ok(Decision::Forward(aim)) };
        }
        match &*listener.spec() {
            Some(spec) => self.carry_out(By::Default, &spec.default_action, listener, asked),
            None => Decided {
                ground: Ground { by: By::Default, action: FIXED_RESPONSE },
                rule: None,
                decision: Err(Refusal::no_route(asked.host, path)),
            },
        }
    }

    fn carry_out(&self, by: By, action: &Action, listener: &Listener, asked: &Asked<'_>) -> Decided {
        let decision = match action {
            Action::Forward(forward) => {
                let aim = self.aim(forward, Some(asked.headers));
                aim.map(|aim| Decision::Forward(self.divide(aim, Some(asked.host))))
            }
            Action::Redirect(redirect) => {
                let forwarded = listener.forwarded();
                let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
                let (protocol, port) = (text(&forwarded.proto), text(&forwarded.port));
                redirected(redirect, &Parts::of(asked, &protocol, &port)).map(Decision::Answer)
            }
            Action::FixedResponse(fixed) => Ok(Decision::Answer(responded(fixed))),
        };
        Decided { ground: by.does(action), rule: None, decision }
    }
}

impl<'a> Asked<'a> {
    fn of_rules(&'a self) -> rules::Request<'a> {
        rules::Request {
            host: self.host,
            path: self.uri.path(),
            query: self.uri.query(),
            method: self.method.as_str(),
            source: self.source,
            headers: self,
        }
    }
}

impl rules::Headers for Asked<'_> {
    fn any(&self, name: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        match name {
            // HTTP/2 has another name for it, and may split cookies; whoever is forwarded to sees one of each.
            "host" => !self.authority.is_empty() && found(self.authority.as_bytes()),
            "cookie" if self.headers.get_all(COOKIE).iter().nth(1).is_some() => {
                let crumbs = self.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
                found(&crumbs.collect::<Vec<_>>().join(&b"; "[..]))
            }
            name => self.headers.get_all(name).iter().any(|value| found(value.as_bytes())),
        }
    }
}

/// What a redirection may take over from the request.
struct Parts<'a> {
    protocol: &'a str,
    host: &'a str,
    port: &'a str,
    /// Without its first `/`.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(asked: &'a Asked<'_>, protocol: &'a str, port: &'a str) -> Self {
        let path = asked.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        Self { protocol, host: asked.host, port, path, query: asked.uri.query().unwrap_or_default() }
    }

    fn named(&self, name: &str) -> &'a str {
        match name {
            "protocol" => self.protocol,
            "host" => self.host,
            "port" => self.port,
            "path" => self.path,
            "query" => self.query,
            _ => "",
        }
    }

    /// The text with `#{...}` replaced, each once: what the client sent is never taken for one.
    fn fill(&self, text: &str) -> String {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("#{")
            && let Some((name, behind)) = after.split_once('}')
        {
            filled.push_str(before);
            filled.push_str(self.named(name));
            rest = behind;
        }
        filled.push_str(rest);
        filled
    }
}

fn redirected(redirect: &Redirect, parts: &Parts<'_>) -> Result<Response<Body>, Refusal> {
    let host = parts.fill(&redirect.host);
    if host.is_empty() {
        return Err(Refusal::Malformed("it names no host, and is to be redirected there"));
    }
    let [protocol, port, path, query] =
        [&redirect.protocol, &redirect.port, &redirect.path, &redirect.query].map(|text| parts.fill(text));
    let mark = if query.is_empty() { "" } else { "?" };
    let location = HeaderValue::try_from(format!("{protocol}://{host}:{port}{path}{mark}{query}"));
    let location = location.map_err(|_| Refusal::Malformed("its target can't be redirected"))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = status(redirect.status.code());
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn responded(fixed: &FixedResponse) -> Response<Body> {
    let body = fixed.body.as_bytes().to_vec();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body::full(body));
    *response.status_mut() = status(fixed.status);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if let Ok(content_type) = HeaderValue::from_str(&fixed.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// Whoever wrote an action was told if its status is none.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::Headers as _;

    const PARTS: Parts<'_> =
        Parts { protocol: "http", host: "shop.example", port: "8080", path: "a/b", query: "c=d" };

    #[track_caller]
    fn check(to: &str, parts: &Parts<'_>, expected: &str) {
        let answer = redirected(&to.parse().unwrap(), parts).unwrap();
        assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(answer.headers()[LOCATION], expected);
    }

    #[test]
    fn a_redirection_takes_over_what_it_names() {
        check("https://#{host}:443/#{path}?#{query}", &PARTS, "https://shop.example:443/a/b?c=d");
        check("https://example.org", &PARTS, "https://example.org:8080/a/b?c=d");
        let moved = "http://shop.example:8080/new/a/b?of=shop.example&c=d";
        check("/new/#{path}?of=#{host}&#{query}", &PARTS, moved);
        check("/new?", &PARTS, "http://shop.example:8080/new");
        check("/new", &Parts { query: "", ..PARTS }, "http://shop.example:8080/new");
    }

    #[test]
    fn what_the_client_sent_is_no_placeholder() {
        let parts = Parts { path: "#{query}", query: "#{host}", ..PARTS };
        check("https://example.org", &parts, "https://example.org:8080/#{query}?#{host}");
    }

    #[test]
    fn nobody_is_redirected_to_no_host() {
        let parts = Parts { host: "", ..PARTS };
        check("https://example.org", &parts, "https://example.org:8080/a/b?c=d");
        assert!(redirected(&"/new".parse().unwrap(), &parts).is_err());
    }

    #[test]
    fn rules_see_one_host_and_one_cookie() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
            headers.append("x-other", HeaderValue::from_static(crumb));
        }
        let (method, uri) = (Method::GET, Uri::from_static("/"));
        let (authority, host) = ("Shop.example:80", "shop.example");
        let source = [127, 0, 0, 1].into();
        let asked = Asked { method: &method, uri: &uri, headers: &headers, authority, host, source };
        let values = |name: &str| {
            let mut values = Vec::new();
            asked.any(name, &mut |value| {
                values.push(String::from_utf8(value.to_vec()).unwrap());
                false
            });
            values
        };
        assert_eq!(values("cookie"), ["a=1; b=2"]);
        assert_eq!(values("x-other"), ["a=1", "b=2"]);
        assert_eq!(values("host"), ["Shop.example:80"]);
        assert!(values("x-none").is_empty());
    }
}
