//! What is to become of each resource of a document: checked against the document and the platform, compared with what is.
//!
//! It only reads. What it passes, every reference of which leads to something, in the document or on the platform.

use super::difference::{Change, Fields};
use super::document::Faults;
use super::present::{Platform, Present, definition_body};
use super::resource::{Id, Kind, Reference, Resource, Spec};
use super::settle::{definition, replaces, settled};
use serde_json::Value as Json;
use skiff_api::{PutService, RegisterTaskDefinition, Targets, TaskDefinition, TaskDefinitionReference};
use skiff_types::{QualifiedName, TaskDefinitionId};
use std::collections::{BTreeMap, BTreeSet};

/// A resource and what is to become of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) resource: Resource,
    /// As it is, if it is there.
    pub(super) present: Option<Fields>,
    /// What its call says of it.
    pub(super) wanted: Fields,
    pub(super) change: Change,
    /// The revision that was compared; 0 of what is not there.
    pub(super) revision: u64,
    /// Of a task definition: the revision that says the same already.
    pub(super) registered: Option<TaskDefinitionId>,
}

impl Item {
    /// A field as it is to be in the end.
    pub(super) fn after(&self, field: &str) -> Option<&Json> {
        self.wanted.get(field).or_else(|| self.present.as_ref()?.get(field))
    }
}

/// Compares all resources with what is, those first that others may name.
pub(super) async fn plan(
    platform: &mut Platform<'_>,
    mut resources: Vec<Resource>,
) -> anyhow::Result<Vec<Item>> {
    resources.sort_by_key(|resource| resource.id.kind);
    let in_document: BTreeSet<Id> = resources.iter().map(|resource| resource.id.clone()).collect();
    let (mut items, mut faults) = (Vec::new(), Faults::default());
    let mut registered: BTreeMap<Id, Option<TaskDefinitionId>> = BTreeMap::new();
    for resource in resources {
        for reference in resource.references() {
            if let Some(missing) = missing(platform, &reference, &in_document).await? {
                faults.add(&resource.place, format!("{}: {missing}", resource.id));
            }
        }
        if let Some(service) = namesake(platform, &resource, &in_document).await? {
            let message = format!(
                "{}: the {service} has its name, and its tasks are meant by whatever forwards to that; give the target group \
                 of other targets another name",
                resource.id
            );
            faults.add(&resource.place, message);
        }
        let compared = match &resource.spec {
            Spec::TaskDefinition(body) => compare_definition(platform, &resource.id, body).await?,
            Spec::Service(body) => compare_service(platform, &resource, body, &registered).await?,
            _ => compare(&resource, platform.find(&resource.id).await?),
        };
        match compared {
            Ok(Compared { present, revision, wanted, change, registered: id }) => {
                if resource.id.kind == Kind::TaskDefinition {
                    registered.insert(resource.id.clone(), id.clone());
                }
                items.push(Item { resource, present, wanted, change, revision, registered: id });
            }
            Err(message) => faults.add(&resource.place, format!("{}: {message}", resource.id)),
        }
    }
    faults.check()?;
    Ok(items)
}

/// What came of comparing a resource.
struct Compared {
    present: Option<Fields>,
    revision: u64,
    wanted: Fields,
    change: Change,
    registered: Option<TaskDefinitionId>,
}

/// What a reference leads to nowhere by, if it does.
async fn missing(
    platform: &mut Platform<'_>,
    reference: &Reference,
    in_document: &BTreeSet<Id>,
) -> anyhow::Result<Option<String>> {
    for id in &reference.to {
        if in_document.contains(id) || platform.has(id).await? {
            return Ok(None);
        }
    }
    let names = reference.to.iter().map(Id::to_string).collect::<Vec<_>>().join(" or the ");
    Ok(Some(format!("{}, the {names}, is neither in the document nor on the platform", reference.what)))
}

/// The service whose name a target group of other targets would have.
async fn namesake(
    platform: &mut Platform<'_>,
    resource: &Resource,
    in_document: &BTreeSet<Id>,
) -> anyhow::Result<Option<Id>> {
    let Id { namespace, name, .. } = &resource.id;
    let Spec::TargetGroup(body) = &resource.spec else { return Ok(None) };
    let own = QualifiedName::new(namespace.clone(), name.clone());
    if matches!(&body.targets, Targets::Service(service) if service.qualified(namespace) == own) {
        return Ok(None);
    }
    let service = Id::new(Kind::Service, namespace.clone(), name.clone());
    let is_there = in_document.contains(&service) || platform.has(&service).await?;
    Ok(is_there.then_some(service))
}

fn compare(resource: &Resource, found: Option<Present>) -> Result<Compared, String> {
    let (revision, present) = found.map_or((0, None), |found| (found.revision, found.body));
    let wanted = settled(resource, present.as_ref()).map_err(|error| error.to_string())?;
    let change = Change::between(present.as_ref(), &wanted, replaces(&resource.spec));
    Ok(Compared { present, revision, wanted, change, registered: None })
}

/// A service runs one revision: what the document calls by its family alone is the one that the document's definition is,
/// else the newest.
async fn compare_service(
    platform: &mut Platform<'_>,
    resource: &Resource,
    body: &PutService,
    registered: &BTreeMap<Id, Option<TaskDefinitionId>>,
) -> anyhow::Result<Result<Compared, String>> {
    let (here, TaskDefinitionReference { family, revision }) = (&resource.id.namespace, &body.definition);
    let id = Id::new(Kind::TaskDefinition, here.clone(), family.clone());
    let definition = match (revision, registered.get(&id)) {
        (Some(_), _) => match platform.definition(here, &body.definition).await? {
            Some(definition) => definition.id.to_string(),
            None => {
                let message = format!("its definition {} is not on the platform", body.definition);
                return Ok(Err(format!(
                    "{message}; leave the revision out to run what the document registers"
                )));
            }
        },
        (None, Some(Some(id))) => id.to_string(),
        (None, Some(None)) => format!("the new revision of {family}"),
        (None, None) => match platform.revisions(here, family).await?.first() {
            Some(newest) => newest.id.to_string(),
            // It was told as a reference that leads nowhere.
            None => family.to_string(),
        },
    };
    let found = platform.find(&resource.id).await?;
    // How many tasks there are of a service that is scaled, that says, whatever the document does.
    let scaling = Id::new(Kind::Scaling, here.clone(), resource.id.name.clone());
    let is_scaled = found.is_some() && platform.has(&scaling).await?;
    Ok(compare(resource, found).map(|compared| {
        let mut wanted = compared.wanted;
        wanted.insert("definition".to_owned(), definition.into());
        if is_scaled {
            wanted.remove("desired");
        }
        let change = Change::between(compared.present.as_ref(), &wanted, false);
        Compared { wanted, change, ..compared }
    }))
}

/// A definition is unchanged if one of its family's revisions says the same of the same component: the platform would
/// register no other.
async fn compare_definition(
    platform: &mut Platform<'_>,
    id: &Id,
    body: &RegisterTaskDefinition,
) -> anyhow::Result<Result<Compared, String>> {
    let Some(image) = platform.image(&id.namespace, &body.image).await? else {
        return Ok(Err(format!(
            "its image {} is not on the platform; a document pushes none: `skiff deploy` does",
            body.image
        )));
    };
    let wanted = definition(body, image.component);
    let revisions = platform.revisions(&id.namespace, &id.name).await?.to_vec();
    for revision in &revisions {
        if !may_say(revision, &wanted) {
            continue;
        }
        let present = definition_body(&platform.revealed(revision).await?);
        if Change::between(Some(&present), &wanted, true) == Change::Nothing {
            let (change, registered) = (Change::Nothing, Some(revision.id.clone()));
            return Ok(Ok(Compared { present: Some(present), revision: 0, wanted, change, registered }));
        }
    }
    let present = match revisions.first() {
        Some(newest) => Some(definition_body(&platform.revealed(newest).await?)),
        None => None,
    };
    let change = Change::between(present.as_ref(), &wanted, true);
    Ok(Ok(Compared { present, revision: 0, wanted, change, registered: None }))
}

/// Whether a revision may say this, as far as can be known without the values of its environment.
fn may_say(revision: &TaskDefinition, wanted: &Fields) -> bool {
    let mut present = definition_body(revision);
    let names = |environment: Option<&Json>| -> Vec<String> {
        environment
            .and_then(Json::as_object)
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut wanted = wanted.clone();
    names(present.remove("environment").as_ref()) == names(wanted.remove("environment").as_ref())
        && Change::between(Some(&present), &wanted, true) == Change::Nothing
}
