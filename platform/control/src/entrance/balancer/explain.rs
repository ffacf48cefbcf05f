//! Which rule of a listener takes a request, and why those before it do not; else which service, or the default action.
//!
//! No request is sent. It is asked what is wanted now; workers act on the same a moment later. Beyond rules it goes the
//! load balancer's way: the most specific host of the services, and of that the longest path.

use super::listeners::no_listener;
use super::living_service;
use crate::entrance::Entrance;
use crate::error::ApiError;
use crate::model::groups_of;
use crate::view::View;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use skiff_api::{
    ErrorCode, ExplainRequest, ExplainedTargetGroup, ExplanationStep, RequestExplanation, TakenBy,
};
use skiff_plan::routes::{Host, Place};
use skiff_plan::rules::{self, Headers, Rules};
use skiff_types::{
    Action, Forward, ListenerProtocol, ListenerSpec, Name, PathPrefix, QualifiedName, RuleSpec, Targets,
    WeightedGroup,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Longest host, in bytes, as the load balancer takes them.
const HOST_LENGTH_MAX: usize = 255;
/// Characters of a wrong value that are shown.
const SHOWN_CHARS_MAX: usize = 120;

/// A request as rules look at it.
struct Asked {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    source: IpAddr,
    headers: Sent,
}

/// A request's headers.
struct Sent(HeaderMap);

impl Headers for Sent {
    fn any(&self, name: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.get_all(name).iter().any(|value| found(value.as_bytes()))
    }
}

impl Entrance {
    /// What would become of a request at a listener, and why.
    pub(crate) async fn explain_request(
        &self,
        name: &Name,
        request: ExplainRequest,
    ) -> Result<RequestExplanation, ApiError> {
        let asked = Asked::of(&request)?;
        let (listener, rules) = self.context.objects.read(|view| {
            let listener = view.listener(name).ok_or_else(|| no_listener(view, name))?;
            let rules = view.rules_of_listener(name).filter_map(|rule| Some(&view.rule(rule)?.value.spec));
            Ok::<_, ApiError>((listener, rules.cloned().collect::<Vec<Arc<RuleSpec>>>()))
        })?;
        if listener.protocol == ListenerProtocol::Tcp {
            return Err(ApiError::not_now(format!(
                "the listener {name} speaks tcp: all that comes to it goes where its default action says"
            )));
        }
        // Thousands of rules take some milliseconds.
        let asking = tokio::task::spawn_blocking(move || {
            let (steps, taker) = ask(&rules, &asked);
            (asked, steps, taker)
        });
        let asking = asking
            .await
            .map_err(|_| ApiError::new(ErrorCode::Unavailable, "the rules could not be asked; try again"));
        let (asked, steps, taker) = asking?;
        Ok(self.context.objects.read(|view| explained(view, &listener, &asked, steps, taker)))
    }
}

impl Asked {
    /// The request that is asked about, if there can be such a one.
    fn of(request: &ExplainRequest) -> Result<Self, ApiError> {
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| {
            ApiError::invalid(format!("{:?} is not a method, like \"GET\"", shortened(&request.method)))
        })?;
        let uri = request.url.parse::<Uri>().ok().filter(|uri| uri.path_and_query().is_some());
        let uri = uri.ok_or_else(|| {
            ApiError::invalid(format!(
                "{:?} is not what a request can ask for, like \"http://api.example.com/orders?page=2\" or \"/orders\"",
                shortened(&request.url)
            ))
        })?;
        let mut headers = headers(&request.headers)?;
        let mut named = headers.get_all(HOST).iter();
        let authority = match (named.next(), named.next()) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("a request has one Host header, not several"));
            }
            (Some(host), None) => host.clone(),
            // Clients say what their URL says.
            (None, _) => match uri.authority() {
                Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(ApiError::invalid)?,
                None => {
                    return Err(ApiError::invalid(
                        "say which host is asked for: with an absolute URL, or with a Host header",
                    ));
                }
            },
        };
        let host = authority.to_str().ok().and_then(host).ok_or_else(|| {
            ApiError::invalid(format!("{authority:?} is not a host, like \"api.example.com\""))
        })?;
        headers.insert(HOST, authority);
        Ok(Self {
            host,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            method,
            source: request.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical(),
            headers: Sent(headers),
        })
    }

    fn request(&self) -> rules::Request<'_> {
        rules::Request {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: self.method.as_str(),
            source: self.source,
            headers: &self.headers,
        }
    }
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = || ApiError::invalid(format!("{:?} can't be a header's name", shortened(name)));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            ApiError::invalid(format!("the value of the header {:?} has control characters", shortened(name)))
        })?;
        headers
            .try_append(header, value)
            .map_err(|_| ApiError::invalid("those are more headers than a request can have"))?;
    }
    Ok(headers)
}

/// A host as rules and routes see it: without its port and a dot at its end, in lower case.
fn host(authority: &str) -> Option<String> {
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host();
    let host = host.strip_suffix('.').unwrap_or(host);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte);
    let is_sound = host.len() <= HOST_LENGTH_MAX && host.bytes().all(known);
    (is_sound && !authority.as_str().contains('@')).then(|| host.to_ascii_lowercase())
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Asks rules, in their order, up to the one that takes the request.
fn ask(specs: &[Arc<RuleSpec>], asked: &Asked) -> (Vec<ExplanationStep>, Option<Arc<RuleSpec>>) {
    let mut rules = Rules::new();
    for spec in specs {
        rules.set(spec.name.clone(), spec.priority, &spec.conditions, ());
    }
    let explanation = rules::explain(&rules, &asked.request());
    let taker = explanation.steps.last().filter(|step| step.failed.is_none()).map(|step| step.rule);
    let taker = taker.and_then(|taker| specs.iter().find(|spec| spec.name == *taker).cloned());
    let step = |step: &rules::Step<'_>| ExplanationStep {
        rule: step.rule.clone(),
        priority: step.priority.get(),
        failed: step.failed.cloned(),
    };
    (explanation.steps.iter().map(step).collect(), taker)
}

/// What becomes of a request that this rule takes, or none.
fn explained(
    view: &View,
    listener: &ListenerSpec,
    asked: &Asked,
    steps: Vec<ExplanationStep>,
    taker: Option<Arc<RuleSpec>>,
) -> RequestExplanation {
    let service = || service_of(view, &asked.host, &asked.path).filter(|_| listener.services);
    let (taken_by, action, target_groups) = match taker {
        Some(rule) => {
            let groups = groups_of(&rule.action).iter().map(|weighted| target_group(view, weighted));
            (TakenBy::Rule(rule.name.clone()), rule.action.clone(), groups.collect())
        }
        None => match service() {
            // Its own tasks, even if there is a target group of its name.
            Some(service) => {
                let group = ExplainedTargetGroup {
                    target_group: service.clone(),
                    weight: 1,
                    targets: Some((&Targets::Service(service.clone())).into()),
                };
                (TakenBy::Service(service.clone()), Action::Forward(Forward::to(service)), vec![group])
            }
            None => {
                let groups = groups_of(&listener.default_action).iter();
                let groups = groups.map(|weighted| target_group(view, weighted)).collect();
                (TakenBy::DefaultAction, listener.default_action.clone(), groups)
            }
        },
    };
    RequestExplanation {
        listener: listener.name.clone(),
        steps,
        taken_by,
        action: (&action).into(),
        target_groups,
    }
}

fn target_group(view: &View, WeightedGroup { group, weight }: &WeightedGroup) -> ExplainedTargetGroup {
    let made = view.target_group(group).map(|held| (&held.value.spec.targets).into());
    let of_service = || living_service(view, group).ok().map(|_| (&Targets::Service(group.clone())).into());
    ExplainedTargetGroup { target_group: group.clone(), weight: *weight, targets: made.or_else(of_service) }
}

/// The service that has a host and path.
fn service_of(view: &View, host: &str, path: &str) -> Option<QualifiedName> {
    let wildcard = host.split_once('.').filter(|(label, _)| !label.is_empty());
    let wildcard = wildcard.map(|(_, domain)| format!("*.{domain}"));
    let patterns = [Some(host), wildcard.as_deref()].into_iter().flatten();
    let patterns = patterns.filter_map(|pattern| pattern.parse().ok()).map(Host::Pattern);
    let prefixes = prefixes(path);
    patterns.chain([Host::Any]).find_map(|host| {
        let mut places = prefixes.iter().map(|prefix| Place::Http(host.clone(), prefix.clone()));
        places.find_map(|place| holder(view, &place))
    })
}

/// All prefixes that take a path, longest first.
fn prefixes(path: &str) -> Vec<PathPrefix> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut prefixes: Vec<PathPrefix> = ends.filter_map(|end| path[..end].parse().ok()).collect();
    prefixes.reverse();
    if path.starts_with('/') {
        prefixes.extend("/".parse::<PathPrefix>());
    }
    prefixes
}

/// Which of the services that ask for a host and path has it: the one that was made first.
fn holder(view: &View, place: &Place) -> Option<QualifiedName> {
    let askers = view.askers.of(place).iter();
    let services = askers.filter_map(|name| Some((name, &*view.service(name)?.value)));
    let answering = services.filter(|(_, service)| !service.removed && view.is_balanced(service));
    answering.min_by_key(|(name, service)| (service.created_at_ms, *name)).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str, headers: &[(&str, &str)]) -> Result<Asked, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = ExplainRequest {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: headers.collect(),
            source: None,
        };
        Asked::of(&request).map_err(|error| error.message)
    }

    #[test]
    fn a_request_is_for_the_host_that_it_names() {
        let cases = [
            ("http://Api.Example.com:8080/a?b", &[][..], "api.example.com", "/a"),
            ("https://api.example.com", &[], "api.example.com", "/"),
            ("/a/b?c=d", &[("Host", "api.example.com.")], "api.example.com", "/a/b"),
            ("http://other/", &[("host", "[::1]:80")], "[::1]", "/"),
        ];
        for (url, headers, host, path) in cases {
            let asked = asked(url, headers).unwrap();
            assert_eq!((asked.host.as_str(), asked.path.as_str()), (host, path), "{url}");
            assert!(asked.headers.any("host", &mut |_| true), "{url}: it has a Host header as sent");
        }
    }

    #[test]
    fn what_nobody_can_send_is_refused() {
        let cases = [
            ("/a", &[][..], "say which host"),
            ("example.com", &[], "is not what a request can ask for"),
            ("", &[], "is not what a request can ask for"),
            ("/", &[("host", "a"), ("Host", "b")], "one Host header"),
            ("/", &[("host", "a b")], "is not a host"),
            ("http://user@host/", &[], "is not a host"),
            ("http://a/", &[("a b", "c")], "can't be a header's name"),
            ("http://a/", &[("a", "b\r\nc")], "has control characters"),
        ];
        for (url, headers, message) in cases {
            let error = asked(url, headers).err().unwrap_or_else(|| panic!("{url:?} {headers:?} was taken"));
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_longest_prefix_comes_first() {
        let texts = |path| prefixes(path).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts("/a/b"), ["/a/b", "/a", "/"]);
        assert_eq!(texts("/a/"), ["/a", "/a", "/"]);
        assert_eq!(texts("*"), [""; 0]);
    }
}
