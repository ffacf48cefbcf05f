//! The records of listeners, of their rules, of target groups, and of certificates.
//!
//! What can't be read in one makes it unreadable as a whole: a rule is never known by half of its conditions. A private key
//! is written as it came: the data folder is its owner's alone.

use super::Stored;
use crate::certificates::CertificateError;
use crate::keys;
use crate::model::{Certificate, Imported, Listener, ListenerRule, TargetGroup};
use serde::{Deserialize, Deserializer, Serialize};
use skiff_ports::store::Key;
use skiff_types::{
    Action, Algorithm, CertificateSpec, Condition, FixedResponse, Forward, Limit, ListenerProtocol,
    ListenerSpec, Matcher, Name, Outside, Priority, QualifiedName, Redirect, RedirectStatus, RuleSpec,
    Scheme, Span, TargetGroupSpec, TargetHealthCheck, TargetProtocol, Targets, VirtualAddress, WeightedGroup,
};
use std::sync::Arc;

/// What becomes of a request.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionRecord {
    Forward {
        groups: Vec<WeightedGroup>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stickiness: Option<Span>,
    },
    Redirect {
        permanent: bool,
        protocol: String,
        host: String,
        port: String,
        path: String,
        query: String,
    },
    FixedResponse {
        status: u16,
        content_type: String,
        body: String,
    },
}

impl From<&Action> for ActionRecord {
    fn from(action: &Action) -> Self {
        match action {
            Action::Forward(Forward { groups, stickiness }) => {
                Self::Forward { groups: groups.clone(), stickiness: *stickiness }
            }
            Action::Redirect(redirect) => Self::Redirect {
                permanent: redirect.status == RedirectStatus::MovedPermanently,
                protocol: redirect.protocol.to_string(),
                host: redirect.host.to_string(),
                port: redirect.port.to_string(),
                path: redirect.path.to_string(),
                query: redirect.query.to_string(),
            },
            Action::FixedResponse(FixedResponse { status, content_type, body }) => Self::FixedResponse {
                status: *status,
                content_type: content_type.to_string(),
                body: body.to_string(),
            },
        }
    }
}

impl From<ActionRecord> for Action {
    fn from(record: ActionRecord) -> Self {
        match record {
            ActionRecord::Forward { groups, stickiness } => Self::Forward(Forward { groups, stickiness }),
            ActionRecord::Redirect { permanent, protocol, host, port, path, query } => {
                let status = if permanent { RedirectStatus::MovedPermanently } else { RedirectStatus::Found };
                Self::Redirect(Redirect {
                    status,
                    protocol: protocol.into(),
                    host: host.into(),
                    port: port.into(),
                    path: path.into(),
                    query: query.into(),
                })
            }
            ActionRecord::FixedResponse { status, content_type, body } => {
                Self::FixedResponse(FixedResponse {
                    status,
                    content_type: content_type.into(),
                    body: body.into(),
                })
            }
        }
    }
}

/// A listener's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct ListenerRecord {
    name: Name,
    protocol: ListenerProtocol,
    port: u16,
    scheme: Scheme,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Name>,
    services: bool,
    default_action: ActionRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_limit: Option<Limit>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Listener> for ListenerRecord {
    fn from(object: &Listener) -> Self {
        let spec = &*object.spec;
        Self {
            name: spec.name.clone(),
            protocol: spec.protocol,
            port: spec.port,
            scheme: spec.scheme,
            certificates: spec.certificates.clone(),
            services: spec.services,
            default_action: (&spec.default_action).into(),
            client_limit: spec.client_limit,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<ListenerRecord> for Listener {
    fn from(record: ListenerRecord) -> Self {
        let spec = ListenerSpec {
            name: record.name,
            protocol: record.protocol,
            port: record.port,
            scheme: record.scheme,
            certificates: record.certificates,
            services: record.services,
            default_action: record.default_action.into(),
            client_limit: record.client_limit,
        };
        Self {
            spec: Arc::new(spec),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for Listener {
    const PREFIX: &'static str = "listener";
    type Record = ListenerRecord;

    fn key(&self) -> Key {
        keys::listener(&self.spec.name)
    }
}

/// A rule's record; conditions are written as their users write them.
#[derive(Serialize, Deserialize)]
pub(crate) struct RuleRecord {
    name: QualifiedName,
    listener: Name,
    #[serde(deserialize_with = "priority")]
    priority: Priority,
    conditions: Vec<Condition>,
    action: ActionRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

/// A priority within its bounds.
fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Priority, D::Error> {
    u32::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
}

impl From<&ListenerRule> for RuleRecord {
    fn from(object: &ListenerRule) -> Self {
        let spec = &*object.spec;
        Self {
            name: spec.name.clone(),
            listener: spec.listener.clone(),
            priority: spec.priority,
            conditions: spec.conditions.clone(),
            action: (&spec.action).into(),
            limit: spec.limit,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<RuleRecord> for ListenerRule {
    fn from(record: RuleRecord) -> Self {
        let spec = RuleSpec {
            name: record.name,
            listener: record.listener,
            priority: record.priority,
            conditions: record.conditions,
            action: record.action.into(),
            limit: record.limit,
        };
        Self {
            spec: Arc::new(spec),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for ListenerRule {
    const PREFIX: &'static str = "rule";
    type Record = RuleRecord;

    fn key(&self) -> Key {
        keys::rule(&self.spec.name)
    }
}

/// Who a group's targets are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetsRecord {
    Service(QualifiedName),
    Virtual(Vec<VirtualAddress>),
    Outside(Vec<Outside>),
}

impl From<&Targets> for TargetsRecord {
    fn from(targets: &Targets) -> Self {
        match targets {
            Targets::Service(service) => Self::Service(service.clone()),
            Targets::Virtual(addresses) => Self::Virtual(addresses.clone()),
            Targets::Outside(hosts) => Self::Outside(hosts.clone()),
        }
    }
}

impl From<TargetsRecord> for Targets {
    fn from(record: TargetsRecord) -> Self {
        match record {
            TargetsRecord::Service(service) => Self::Service(service),
            TargetsRecord::Virtual(addresses) => Self::Virtual(addresses),
            TargetsRecord::Outside(hosts) => Self::Outside(hosts),
        }
    }
}

/// How targets are checked.
#[derive(Serialize, Deserialize)]
struct TargetHealthCheckRecord {
    path: Option<String>,
    interval: Span,
    timeout: Span,
    healthy: u32,
    unhealthy: u32,
    matcher: Matcher,
}

impl From<&TargetHealthCheck> for TargetHealthCheckRecord {
    fn from(check: &TargetHealthCheck) -> Self {
        Self {
            path: check.path.as_deref().map(str::to_owned),
            interval: check.interval,
            timeout: check.timeout,
            healthy: check.healthy,
            unhealthy: check.unhealthy,
            matcher: check.matcher.clone(),
        }
    }
}

impl From<TargetHealthCheckRecord> for TargetHealthCheck {
    fn from(record: TargetHealthCheckRecord) -> Self {
        Self {
            path: record.path.map(Into::into),
            interval: record.interval,
            timeout: record.timeout,
            healthy: record.healthy,
            unhealthy: record.unhealthy,
            matcher: record.matcher,
        }
    }
}

/// A target group's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct TargetGroupRecord {
    name: QualifiedName,
    targets: TargetsRecord,
    protocol: TargetProtocol,
    tls: bool,
    algorithm: Algorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stickiness: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slow_start: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deregistration_delay: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_check: Option<TargetHealthCheckRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&TargetGroup> for TargetGroupRecord {
    fn from(object: &TargetGroup) -> Self {
        let spec = &*object.spec;
        Self {
            name: spec.name.clone(),
            targets: (&spec.targets).into(),
            protocol: spec.protocol,
            tls: spec.tls,
            algorithm: spec.algorithm,
            stickiness: spec.stickiness,
            slow_start: spec.slow_start,
            deregistration_delay: spec.deregistration_delay,
            health_check: spec.health_check.as_ref().map(TargetHealthCheckRecord::from),
            limit: spec.limit,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<TargetGroupRecord> for TargetGroup {
    fn from(record: TargetGroupRecord) -> Self {
        let spec = TargetGroupSpec {
            name: record.name,
            targets: record.targets.into(),
            protocol: record.protocol,
            tls: record.tls,
            algorithm: record.algorithm,
            stickiness: record.stickiness,
            slow_start: record.slow_start,
            deregistration_delay: record.deregistration_delay,
            health_check: record.health_check.map(TargetHealthCheck::from),
            limit: record.limit,
        };
        Self {
            spec: Arc::new(spec),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for TargetGroup {
    const PREFIX: &'static str = "targetgroup";
    type Record = TargetGroupRecord;

    fn key(&self) -> Key {
        keys::target_group(&self.spec.name)
    }
}

/// A certificate's record: it is read whole, with its key, or not at all.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "CertificateText", into = "CertificateText")]
pub(crate) struct CertificateRecord(Certificate);

/// A certificate as it is written.
#[derive(Serialize, Deserialize)]
struct CertificateText {
    name: Name,
    certificate: Arc<str>,
    private_key: Arc<str>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl TryFrom<CertificateText> for CertificateRecord {
    type Error = CertificateError;

    fn try_from(text: CertificateText) -> Result<Self, CertificateError> {
        let CertificateText { name, certificate, private_key, created_at_ms, updated_at_ms } = text;
        let imported = Imported::read(CertificateSpec { name, chain: certificate, key: private_key })?;
        Ok(Self(Certificate { spec: Arc::new(imported), created_at_ms, updated_at_ms }))
    }
}

impl From<CertificateRecord> for CertificateText {
    fn from(CertificateRecord(object): CertificateRecord) -> Self {
        let CertificateSpec { name, chain, key } = object.spec.spec.clone();
        Self {
            name,
            certificate: chain,
            private_key: key,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<&Certificate> for CertificateRecord {
    fn from(object: &Certificate) -> Self {
        Self(object.clone())
    }
}

impl From<CertificateRecord> for Certificate {
    fn from(CertificateRecord(object): CertificateRecord) -> Self {
        object
    }
}

impl Stored for Certificate {
    const PREFIX: &'static str = "certificate";
    type Record = CertificateRecord;

    fn key(&self) -> Key {
        keys::certificate(&self.spec.spec.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Declared, built_in_listener};
    use crate::records::RecordError;
    use crate::records::tests::check;

    fn declared<S>(spec: S) -> Declared<S> {
        Declared { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 2 }
    }

    fn rule(action: Action) -> ListenerRule {
        declared(RuleSpec {
            name: "default/api".parse().unwrap(),
            listener: "http".parse().unwrap(),
            priority: 10_u32.try_into().unwrap(),
            conditions: vec!["host=*.example.com".parse().unwrap(), "method=GET,HEAD".parse().unwrap()],
            action,
            limit: None,
        })
    }

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        check(
            &declared(built_in_listener(8080)),
            r#"{"name":"http","protocol":"http","port":8080,"scheme":"public","services":true,"default_action":{"fixed_response":{"status":404,"content_type":"text/plain","body":""}},"created_at_ms":1,"updated_at_ms":2}"#,
        );
        let groups = vec!["default/web=90".parse().unwrap(), "shop/web=10".parse().unwrap()];
        check(
            &rule(Action::Forward(Forward { groups, stickiness: None })),
            r#"{"name":"default/api","listener":"http","priority":10,"conditions":["host=*.example.com","method=GET,HEAD"],"action":{"forward":{"groups":["default/web=90","shop/web=10"]}},"created_at_ms":1,"updated_at_ms":2}"#,
        );
        let redirect = Redirect { status: RedirectStatus::Found, ..("https://:443/new".parse().unwrap()) };
        check(
            &rule(Action::Redirect(redirect)),
            r##"{"name":"default/api","listener":"http","priority":10,"conditions":["host=*.example.com","method=GET,HEAD"],"action":{"redirect":{"permanent":false,"protocol":"https","host":"#{host}","port":"443","path":"/new","query":"#{query}"}},"created_at_ms":1,"updated_at_ms":2}"##,
        );
        let of_service = TargetGroupSpec::of_service("default/web".parse().unwrap());
        let outside =
            Targets::Outside(vec!["192.0.2.7:80".parse().unwrap(), "example.org:443".parse().unwrap()]);
        check(
            &declared(TargetGroupSpec { targets: outside, ..of_service.clone() }),
            r#"{"name":"default/web","targets":{"outside":["192.0.2.7:80","example.org:443"]},"protocol":"http1","tls":false,"algorithm":"least-outstanding-requests","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let whole = declared(TargetGroupSpec {
            stickiness: Some(Span::from_ms(1_000)),
            slow_start: Some(Span::from_ms(2_000)),
            deregistration_delay: Some(TargetGroupSpec::DEREGISTRATION_DELAY),
            health_check: Some(TargetHealthCheck {
                path: Some("/ready".into()),
                ..TargetHealthCheck::default()
            }),
            limit: Some("rate=100,concurrent=20".parse().unwrap()),
            ..of_service
        });
        check(
            &whole,
            r#"{"name":"default/web","targets":{"service":"default/web"},"protocol":"http1","tls":false,"algorithm":"least-outstanding-requests","stickiness":"1s","slow_start":"2s","deregistration_delay":"5m","health_check":{"path":"/ready","interval":"10s","timeout":"5s","healthy":5,"unhealthy":2,"matcher":"200"},"limit":"rate=100,concurrent=20","created_at_ms":1,"updated_at_ms":2}"#,
        );
    }

    /// Records of before there were limits are those of [`what_is_on_disk_today_is_read_tomorrow`] that have none.
    #[test]
    fn limits_are_written_where_there_are_any() {
        let limit = Some("rate=5,burst=9".parse().unwrap());
        check(
            &declared(ListenerSpec { client_limit: limit, ..built_in_listener(8080) }),
            r#"{"name":"http","protocol":"http","port":8080,"scheme":"public","services":true,"default_action":{"fixed_response":{"status":404,"content_type":"text/plain","body":""}},"client_limit":"rate=5,burst=9","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let groups = vec!["default/web".parse().unwrap()];
        let forward = Action::Forward(Forward { groups, stickiness: Some(Span::from_ms(60_000)) });
        let unlimited = rule(forward);
        let limited = declared(RuleSpec { limit, ..(*unlimited.spec).clone() });
        check(
            &limited,
            r#"{"name":"default/api","listener":"http","priority":10,"conditions":["host=*.example.com","method=GET,HEAD"],"action":{"forward":{"groups":["default/web=1"],"stickiness":"1m"}},"limit":"rate=5,burst=9","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let nothing = limited.encode().unwrap();
        let nothing = String::from_utf8(nothing.to_vec()).unwrap().replace("rate=5,", "");
        assert!(matches!(ListenerRule::decode(nothing.as_bytes()), Err(RecordError::Damaged(_))));
    }

    #[test]
    fn a_certificate_is_read_with_its_key_or_not_at_all() {
        let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let spec = CertificateSpec {
            name: "web".parse().unwrap(),
            chain: chain.as_str().into(),
            key: key.as_str().into(),
        };
        let object = declared(Imported::read(spec).unwrap());
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let written = format!(
            r#"{{"name":"web","certificate":{},"private_key":{},"created_at_ms":1,"updated_at_ms":2}}"#,
            text(&chain),
            text(&key)
        );
        check(&object, &written);
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let damaged = object.encode().unwrap();
        let damaged = String::from_utf8(damaged.to_vec()).unwrap().replace(&text(&key), &text(&other));
        let damaged = Certificate::decode(damaged.as_bytes());
        assert!(matches!(damaged, Err(RecordError::Damaged(_))), "{damaged:?}");
    }

    #[test]
    fn a_rule_is_not_known_by_half_of_what_it_says() {
        let rule = rule(Action::Forward(Forward::to("default/web".parse().unwrap())));
        let written = String::from_utf8(rule.encode().unwrap().to_vec()).unwrap();
        let damages = [("method=GET", "cookie=GET"), (":10,", ":0,"), ("default/web=1", "default/web=1000")];
        for (sound, damaged) in damages {
            assert!(written.contains(sound), "{written}");
            let damaged = ListenerRule::decode(written.replace(sound, damaged).as_bytes());
            assert!(matches!(damaged, Err(RecordError::Damaged(_))), "{damaged:?}");
        }
    }
}
