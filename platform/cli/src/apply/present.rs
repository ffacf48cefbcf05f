//! What the platform has: each resource as the body that would make it so, with the revision that it is at.
//!
//! It is read in lists, one for each kind and namespace that is asked about, so that a document of ten thousand rules takes
//! no ten thousand calls. Nothing here writes. A call that the connection was lost under is made again.

use super::difference::Fields;
use super::fields::{body_of, fields_of, table};
use super::resource::{Id, Kind};
use super::retry::again;
use crate::context::all_pages;
use serde_json::Value as Json;
use skiff_api::{
    Certificate, Client, ErrorCode, EventRuleListQuery, Image, ListenerRuleListQuery, PageQuery, PutAlarm,
    PutBucket, PutBus, PutConsumer, PutEventRule, PutEventSchedule, PutListener, PutListenerRule, PutQueue,
    PutRole, PutScaling, PutSecurityGroup, PutService, PutTable, PutTargetGroup, RegisterTaskDefinition,
    Service, ServiceState, TargetGroup, TargetHealthCheckSpec, TaskDefinition, TaskDefinitionListQuery,
    TaskDefinitionQuery, TaskDefinitionReference,
};
use skiff_types::{ImageReference, Name, Namespace};
use std::collections::BTreeMap;

/// A resource as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Present {
    /// For `If-Match`.
    pub(super) revision: u64,
    /// The body that would make it so; none of a service that is on its way out.
    pub(super) body: Option<Fields>,
}

/// What was read of a platform.
pub(super) struct Platform<'a> {
    pub(super) client: &'a Client,
    listed: BTreeMap<(Kind, Namespace), BTreeMap<Name, Present>>,
    families: BTreeMap<(Namespace, Name), Vec<TaskDefinition>>,
}

impl<'a> Platform<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, listed: BTreeMap::new(), families: BTreeMap::new() }
    }

    /// A resource, if it is there; of task definitions, its newest revision.
    pub(super) async fn find(&mut self, id: &Id) -> anyhow::Result<Option<Present>> {
        if id.kind == Kind::TaskDefinition {
            let revisions = self.revisions(&id.namespace, &id.name).await?;
            return Ok(revisions.first().map(|definition| Present {
                revision: definition.id.revision.into(),
                body: Some(definition_body(definition)),
            }));
        }
        let key = (id.kind, id.namespace.clone());
        if !self.listed.contains_key(&key) {
            let listed = list(self.client, id.kind, &id.namespace).await?;
            self.listed.insert(key.clone(), listed);
        }
        Ok(self.listed[&key].get(&id.name).cloned())
    }

    /// Whether something is there to stay.
    pub(super) async fn has(&mut self, id: &Id) -> anyhow::Result<bool> {
        Ok(self.find(id).await?.is_some_and(|present| present.body.is_some()))
    }

    /// The revisions of a family, the newest first.
    pub(super) async fn revisions(
        &mut self,
        namespace: &Namespace,
        family: &Name,
    ) -> anyhow::Result<&[TaskDefinition]> {
        let key = (namespace.clone(), family.clone());
        if !self.families.contains_key(&key) {
            let client = self.client;
            let revisions = all_pages(|cursor| {
                let (family, limit) = (Some(family.clone()), Some(PageQuery::LIMIT_MAX));
                let query = TaskDefinitionListQuery { family, limit, cursor };
                async move { again(|| client.list_task_definitions(namespace, &query)).await }
            });
            let revisions = revisions.await?;
            self.families.insert(key.clone(), revisions);
        }
        Ok(&self.families[&key])
    }

    /// The same definition with the values of its environment.
    pub(super) async fn revealed(&self, definition: &TaskDefinition) -> anyhow::Result<TaskDefinition> {
        let names: Vec<&str> = definition.environment.keys().map(String::as_str).collect();
        // Names are joined by commas; one that has a comma itself stays hidden, and counts as another.
        if names.is_empty() || names.iter().any(|name| name.contains(',')) {
            return Ok(definition.clone());
        }
        let reference = TaskDefinitionReference::from(definition.id.clone());
        let query = TaskDefinitionQuery { reveal: Some(names.join(",")) };
        let (client, namespace) = (self.client, &definition.namespace);
        Ok(again(|| client.get_task_definition(namespace, &reference, &query)).await?)
    }

    /// A revision of a task definition, if it is there.
    pub(super) async fn definition(
        &self,
        namespace: &Namespace,
        reference: &TaskDefinitionReference,
    ) -> anyhow::Result<Option<TaskDefinition>> {
        let (client, query) = (self.client, TaskDefinitionQuery::default());
        match again(|| client.get_task_definition(namespace, reference, &query)).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// An image, if it is there.
    pub(super) async fn image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
    ) -> anyhow::Result<Option<Image>> {
        let client = self.client;
        match again(|| client.get_image(namespace, reference)).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Forgets what was read, so that it is read again.
    pub(super) fn forget(&mut self) {
        self.listed.clear();
        self.families.clear();
    }
}

/// All resources of a kind, but task definitions, of which there are several under a name.
pub(super) async fn list(
    client: &Client,
    kind: Kind,
    namespace: &Namespace,
) -> anyhow::Result<BTreeMap<Name, Present>> {
    let query = |cursor| PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
    let listed: Vec<(Name, Present)> = match kind {
        Kind::SecurityGroup => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_security_groups(namespace, &query)).await
            });
            let one = |group: skiff_api::SecurityGroup| {
                (group.name.clone(), present(group.revision, body_of::<PutSecurityGroup>(&group)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Certificate => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_certificates(&query)).await
            });
            let one = |certificate: Certificate| {
                let body = certificate_body(&certificate.fingerprint);
                (certificate.name.clone(), present(certificate.revision, body))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Role => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_roles(namespace, &query)).await
            });
            let one = |role: skiff_api::Role| {
                (role.name.clone(), present(role.revision, body_of::<PutRole>(&role)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Bus => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_buses(namespace, &query)).await
            });
            let one =
                |bus: skiff_api::Bus| (bus.name.clone(), present(bus.revision, body_of::<PutBus>(&bus)));
            all.await?.into_iter().map(one).collect()
        }
        Kind::EventRule => {
            let all = all_pages(|cursor| async move {
                let query = EventRuleListQuery { bus: None, limit: Some(PageQuery::LIMIT_MAX), cursor };
                again(|| client.list_event_rules(namespace, &query)).await
            });
            let one = |rule: skiff_api::EventRule| {
                (rule.name.clone(), present(rule.revision, body_of::<PutEventRule>(&rule)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::EventSchedule => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_event_schedules(namespace, &query)).await
            });
            let one = |schedule: skiff_api::EventSchedule| {
                (schedule.name.clone(), present(schedule.revision, body_of::<PutEventSchedule>(&schedule)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Bucket => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_buckets(namespace, &query)).await
            });
            let one = |bucket: skiff_api::Bucket| {
                (bucket.name.clone(), present(bucket.revision, body_of::<PutBucket>(&bucket)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Table => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_tables(namespace, &query)).await
            });
            let one = |table: skiff_api::Table| {
                (table.name.clone(), present(table.revision, body_of::<PutTable>(&table)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Queue => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_queues(namespace, &query)).await
            });
            let one = |queue: skiff_api::Queue| {
                (queue.name.clone(), present(queue.revision, body_of::<PutQueue>(&queue)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::TaskDefinition => vec![],
        Kind::Service => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_services(namespace, &query)).await
            });
            all.await?.into_iter().map(service).collect()
        }
        Kind::Alarm => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_alarms(namespace, &query)).await
            });
            let one = |alarm: skiff_api::Alarm| {
                (alarm.name.clone(), present(alarm.revision, body_of::<PutAlarm>(&alarm)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::TargetGroup => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_target_groups(namespace, &query)).await
            });
            all.await?.into_iter().map(target_group).collect()
        }
        Kind::Listener => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_listeners(&query)).await
            });
            let one = |listener: skiff_api::Listener| {
                (listener.name.clone(), present(listener.revision, body_of::<PutListener>(&listener)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Rule => {
            let all = all_pages(|cursor| async move {
                let query =
                    ListenerRuleListQuery { listener: None, limit: Some(PageQuery::LIMIT_MAX), cursor };
                again(|| client.list_rules(namespace, &query)).await
            });
            let one = |rule: skiff_api::ListenerRule| {
                (rule.name.clone(), present(rule.revision, body_of::<PutListenerRule>(&rule)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Consumer => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_consumers(namespace, &query)).await
            });
            let one = |consumer: skiff_api::Consumer| {
                (consumer.name.clone(), present(consumer.revision, body_of::<PutConsumer>(&consumer)))
            };
            all.await?.into_iter().map(one).collect()
        }
        Kind::Scaling => {
            let all = all_pages(|cursor| async move {
                let query = query(cursor);
                again(|| client.list_scaling(namespace, &query)).await
            });
            let one = |scaling: skiff_api::Scaling| {
                (scaling.service.clone(), present(scaling.revision, body_of::<PutScaling>(&scaling)))
            };
            all.await?.into_iter().map(one).collect()
        }
    };
    Ok(listed.into_iter().collect())
}

fn present(revision: u64, body: Fields) -> Present {
    Present { revision, body: Some(body) }
}

fn service(service: Service) -> (Name, Present) {
    let stays = service.status.state == ServiceState::Active;
    let body = stays.then(|| body_of::<PutService>(&service.spec));
    (service.name, Present { revision: service.revision, body })
}

fn target_group(group: TargetGroup) -> (Name, Present) {
    let mut body = body_of::<PutTargetGroup>(&group);
    // A check is shown with what it does not need to say.
    if let Some(check) = group.health_check {
        let said = serde_json::to_value(TargetHealthCheckSpec::from(check));
        body.insert("health_check".to_owned(), said.expect("a body is JSON"));
    }
    (group.name, present(group.revision, body))
}

/// What a certificate is compared by.
pub(super) fn certificate_body(fingerprint: &str) -> Fields {
    Fields::from_iter([("fingerprint".to_owned(), Json::from(fingerprint))])
}

/// What a definition says, as `settle` has it of a document's: with the component that its image had.
pub(super) fn definition_body(definition: &TaskDefinition) -> Fields {
    let mut shown = table(definition);
    let limits = shown.remove("requested_limits").unwrap_or_default();
    shown.insert("limits".to_owned(), limits);
    let known = fields_of::<RegisterTaskDefinition>();
    shown.retain(|field, _| known.contains(&field.as_str()));
    shown.insert("component".to_owned(), definition.component.digest.to_string().into());
    shown
}
