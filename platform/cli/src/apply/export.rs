//! `skiff export`: what the platform has, as a document that `skiff apply` takes.
//!
//! Certificates and access keys are left out, since their secrets never come out of the platform, and so are task definitions, whose
//! environment may hold secrets: services name the revisions that they run. What nobody has changed since the platform
//! came with it is left out too.

use super::format::yaml;
use super::present::{Present, list};
use super::resource::Kind;
use crate::context::Context;
use crate::output;
use serde_json::{Value as Json, json};
use skiff_types::{Name, Namespace};

/// What is written, in the order in which it is applied.
const KINDS: [Kind; 15] = [
    Kind::SecurityGroup,
    Kind::Role,
    Kind::Bus,
    Kind::Bucket,
    Kind::Table,
    Kind::Queue,
    Kind::Alarm,
    Kind::Service,
    Kind::TargetGroup,
    Kind::Listener,
    Kind::Rule,
    Kind::Scaling,
    Kind::Consumer,
    Kind::EventRule,
    Kind::EventSchedule,
];

pub(crate) async fn run(context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let mut resources = Vec::new();
    for kind in KINDS {
        let listed = list(&client, kind, &context.namespace).await?;
        resources.extend(
            listed
                .into_iter()
                .filter_map(|(name, present)| resource(kind, &context.namespace, &name, present)),
        );
    }
    if context.output.is_json() {
        context.output.print(&resources, String::new)?;
        return Ok(());
    }
    output::line(yaml::write(&Json::Array(resources)).trim_end())?;
    Ok(())
}

/// A resource as documents have it; none of what is on its way out, or as it was at first.
fn resource(kind: Kind, namespace: &Namespace, name: &Name, present: Present) -> Option<Json> {
    let spec = present.body.filter(|_| present.revision > 0)?;
    let mut resource = json!({ "kind": kind.word(), "name": name, "spec": spec });
    if kind.is_namespaced() {
        resource["namespace"] = namespace.as_str().into();
    }
    Some(resource)
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use skiff_api::{Listener, PutListener, PutTargetGroup, TargetGroup};

    /// Writes what is shown, and reads it as a document; the spec that it has there.
    fn round(kind: Kind, shown: Json, body: impl Fn(Json) -> super::super::difference::Fields) -> Json {
        let name: Name = "a".parse().unwrap();
        let present = Present { revision: 3, body: Some(body(shown)) };
        let resource = resource(kind, &Namespace::default(), &name, present).unwrap();
        let spec = resource["spec"].clone();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.yaml");
        std::fs::write(&file, yaml::write(&Json::Array(vec![resource]))).unwrap();
        let read = document::read(&[file], &"other".parse().unwrap()).unwrap();
        let settled = super::super::settle::settled(&read[0], None).unwrap();
        assert_eq!(read[0].id.namespace, Namespace::default());
        assert_eq!(Json::Object(settled), spec);
        spec
    }

    #[test]
    fn what_is_exported_is_read_as_the_same() {
        let shown = json!({
            "name": "a", "revision": 3, "protocol": "http", "port": 9000, "scheme": "public", "services": false,
            "default_action": { "forward": { "groups": [{ "group": "default/b", "weight": 7 }] } }, "rules": 2,
        });
        let spec = round(Kind::Listener, shown, |shown| {
            let listener: Listener = serde_json::from_value(shown).unwrap();
            super::super::fields::body_of::<PutListener>(&listener)
        });
        assert_eq!(spec["port"], 9000);
        let shown = json!({
            "name": "a", "namespace": "default", "revision": 3, "targets": { "outside": ["192.0.2.7:80"] },
            "protocol": "http1", "algorithm": "round-robin", "deregistration_delay": "5m", "created_at_ms": 1,
            "updated_at_ms": 2,
        });
        let group = |shown| {
            let group: TargetGroup = serde_json::from_value(shown).unwrap();
            super::super::fields::body_of::<PutTargetGroup>(&group)
        };
        round(Kind::TargetGroup, shown, group);
        let shown = json!({
            "name": "a", "namespace": "default", "revision": 3, "targets": { "outside": ["example.org:443"] },
            "protocol": "http2", "tls": true, "algorithm": "round-robin", "stickiness": "1h", "slow_start": "30s",
            "deregistration_delay": "10s", "limit": { "requests_per_second": 100, "concurrent": 20 },
            "health_check": {
                "path": "/ready", "interval": "10s", "timeout": "5s", "healthy": 5, "unhealthy": 2, "matcher": "200",
            },
            "created_at_ms": 1, "updated_at_ms": 2,
        });
        let spec = round(Kind::TargetGroup, shown, group);
        for setting in ["tls", "stickiness", "slow_start", "deregistration_delay", "limit", "health_check"] {
            assert!(!spec[setting].is_null(), "{setting} is not exported");
        }
    }

    #[test]
    fn what_nobody_has_changed_is_left_out() {
        let name: Name = "http".parse().unwrap();
        let present = |revision| Present { revision, body: Some(Default::default()) };
        assert_eq!(resource(Kind::Listener, &Namespace::default(), &name, present(0)), None);
        let shown = resource(Kind::Listener, &Namespace::default(), &name, present(1)).unwrap();
        assert_eq!(shown, json!({ "kind": "listener", "name": "http", "spec": {} }));
        let leaving = Present { revision: 1, body: None };
        assert_eq!(resource(Kind::Service, &Namespace::default(), &name, leaving), None);
    }
}
