//! Makes the calls that a plan takes, one after the other, and stops at the first that fails.
//!
//! What always holds: each call says which revision it changes, the one that was compared, so that what somebody else has
//! changed meanwhile is not overwritten; nothing is undone, and nothing is removed. What was interrupted is taken up by
//! running the same command again: what is as it is to be by then takes no call.

use super::difference::Change;
use super::order::Step;
use super::plan::Item;
use super::present::Platform;
use super::resource::{Id, Kind, Resource, Spec};
use super::retry::{ATTEMPTS_MAX, again, is_passing, wait};
use super::settle::replaces;
use crate::{human, progress};
use anyhow::Context as _;
use skiff_api::{Client, ClientError, ErrorCode, PutSecurityGroup, PutService, TaskDefinitionReference};
use skiff_types::TaskDefinitionId;
use std::collections::BTreeMap;

/// How many of the resources that are not done are named where it stops.
const LEFT_SHOWN_MAX: usize = 10;

/// Carries steps out.
pub(super) struct Work<'a, 'p> {
    platform: &'a mut Platform<'p>,
    items: &'a [Item],
    /// The revisions of those that were made without rules first.
    bare: BTreeMap<usize, u64>,
    /// What the document's definitions are called by now.
    definitions: BTreeMap<&'a Id, TaskDefinitionId>,
    /// Which items are as they are to be.
    pub(super) done: Vec<bool>,
}

impl<'a, 'p> Work<'a, 'p> {
    pub(super) fn new(platform: &'a mut Platform<'p>, items: &'a [Item]) -> Self {
        let registered = |item: &'a Item| Some((&item.resource.id, item.registered.clone()?));
        Self {
            platform,
            items,
            bare: BTreeMap::new(),
            definitions: items.iter().filter_map(registered).collect(),
            done: items.iter().map(|item| item.change == Change::Nothing).collect(),
        }
    }

    /// Carries out all steps; an error says what was not done, and that what was done stays.
    pub(super) async fn all(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            let (Step::Bare(at) | Step::Whole(at)) = *step;
            if let Err(error) = self.step(*step).await {
                self.note_stop();
                let Item { resource, change, .. } = &self.items[at];
                return Err(error).with_context(|| format!("{} is not {}", resource.id, past(change)));
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Bare(at) => {
                let (id, body) = (&self.items[at].resource.id, PutSecurityGroup { rules: Some(vec![]) });
                let called = self.put_group(id, &body, self.items[at].revision).await;
                let revision = match called {
                    // It was made by a call whose answer was lost, or by somebody else, whose rules stay until its turn.
                    Err(error) if error.code() == Some(ErrorCode::PreconditionFailed) => {
                        self.platform.forget();
                        let found = self.platform.find(id).await?;
                        let made = found.filter(|found| {
                            found.body.as_ref().is_some_and(|body| {
                                body.get("rules")
                                    .and_then(|rules| rules.as_array())
                                    .is_some_and(Vec::is_empty)
                            })
                        });
                        made.ok_or_else(changed_meanwhile)?.revision
                    }
                    made => made?,
                };
                self.bare.insert(at, revision);
            }
            Step::Whole(at) => {
                let item = &self.items[at];
                match &item.resource.spec {
                    Spec::TaskDefinition(_) => self.register(at).await?,
                    _ => {
                        self.write(at).await?;
                        progress::note(format!("{} {}", past(&item.change), item.resource.id));
                    }
                }
                self.done[at] = true;
            }
        }
        Ok(())
    }

    async fn put_group(&self, id: &Id, body: &PutSecurityGroup, revision: u64) -> Result<u64, ClientError> {
        let client = self.platform.client;
        let group =
            again(|| client.put_security_group(&id.namespace, &id.name, body, Some(revision))).await?;
        Ok(group.revision)
    }

    /// Registers a definition; one that says the same is found, so it may be asked for twice.
    async fn register(&mut self, at: usize) -> anyhow::Result<()> {
        let (client, Resource { id, spec, .. }) = (self.platform.client, &self.items[at].resource);
        let Spec::TaskDefinition(body) = spec else { unreachable!("a definition says what one says") };
        let step = progress::step(format!("registering {id}"));
        let definition = again(|| client.register_task_definition(&id.namespace, body)).await?;
        step.done(format!("registered {id} as {}", definition.id));
        self.definitions.insert(id, definition.id);
        Ok(())
    }

    /// Makes a resource's call. Where its answer is lost, it is looked whether it was carried out before it is made again.
    async fn write(&mut self, at: usize) -> anyhow::Result<()> {
        let item = &self.items[at];
        let revision = self.bare.get(&at).copied().unwrap_or(item.revision);
        let mut attempt = 1;
        loop {
            let called = put(self.platform.client, item, revision, &self.definitions).await;
            match called {
                Err(error) if is_passing(&error) && attempt < ATTEMPTS_MAX => wait(attempt).await,
                // After a call whose answer was lost: the revision may be our own.
                Err(error) if error.code() == Some(ErrorCode::PreconditionFailed) => {
                    return match attempt > 1 && self.is_as_wanted(at).await? {
                        true => Ok(()),
                        false => Err(changed_meanwhile()),
                    };
                }
                result => return Ok(result?),
            }
            attempt += 1;
        }
    }

    async fn is_as_wanted(&mut self, at: usize) -> anyhow::Result<bool> {
        let Item { resource, wanted, .. } = &self.items[at];
        self.platform.forget();
        let found = self.platform.find(&resource.id).await?;
        let present = found.and_then(|found| found.body);
        let mut wanted = wanted.clone();
        if let Some(definition) = definition_of(resource, &self.definitions) {
            wanted.insert("definition".to_owned(), definition.to_string().into());
        }
        Ok(Change::between(present.as_ref(), &wanted, replaces(&resource.spec)) == Change::Nothing)
    }

    fn note_stop(&self) {
        let left = self.items.iter().zip(&self.done).filter(|(_, done)| !**done);
        let left: Vec<String> = left.map(|(item, _)| item.resource.id.to_string()).collect();
        let stay = match self
            .items
            .iter()
            .zip(&self.done)
            .any(|(item, done)| *done && item.change != Change::Nothing)
        {
            true => "what was done stays",
            false => "nothing was changed",
        };
        progress::note(format!(
            "stopped: {stay}, and {} not done: {}; run the same command again to go on from there",
            human::count(left.len() as u64, "resource") + if left.len() == 1 { " is" } else { " are" },
            human::first(&left, LEFT_SHOWN_MAX, ", ")
        ));
    }
}

fn past(change: &Change) -> &'static str {
    match change {
        Change::Create => "created",
        Change::Update(_) => "changed",
        Change::Nothing => "unchanged",
    }
}

fn changed_meanwhile() -> anyhow::Error {
    anyhow::anyhow!(
        "somebody else changed it after it was compared, and that is not overwritten; run `skiff apply` again to see the \
         difference from what it is now"
    )
}

/// What the definition is called that a service names by its family, if it is one of the document's.
fn definition_of<'d>(
    resource: &Resource,
    definitions: &'d BTreeMap<&Id, TaskDefinitionId>,
) -> Option<&'d TaskDefinitionId> {
    let Spec::Service(body) = &resource.spec else { return None };
    let TaskDefinitionReference { family, revision: None } = &body.definition else { return None };
    definitions.get(&Id::new(Kind::TaskDefinition, resource.id.namespace.clone(), family.clone()))
}

/// The call of a resource, for one that is at this revision.
async fn put(
    client: &Client,
    item: &Item,
    revision: u64,
    definitions: &BTreeMap<&Id, TaskDefinitionId>,
) -> Result<(), ClientError> {
    let Resource { id: Id { namespace, name, .. }, spec, .. } = &item.resource;
    let revision = Some(revision);
    match spec {
        Spec::SecurityGroup(body) => {
            client.put_security_group(namespace, name, body, revision).await.map(drop)
        }
        Spec::Certificate(files) => client.put_certificate(name, &files.body, revision).await.map(drop),
        Spec::Role(body) => client.put_role(namespace, name, body, revision).await.map(drop),
        Spec::Bus(body) => client.put_bus(namespace, name, body, revision).await.map(drop),
        Spec::EventRule(body) => client.put_event_rule(namespace, name, body, revision).await.map(drop),
        Spec::EventSchedule(body) => {
            client.put_event_schedule(namespace, name, body, revision).await.map(drop)
        }
        Spec::Bucket(body) => client.put_bucket(namespace, name, body, revision).await.map(drop),
        Spec::Table(body) => client.put_table(namespace, name, body, revision).await.map(drop),
        Spec::Queue(body) => client.put_queue(namespace, name, body, revision).await.map(drop),
        Spec::TaskDefinition(body) => client.register_task_definition(namespace, body).await.map(drop),
        Spec::Service(body) => {
            let definition = definition_of(&item.resource, definitions).cloned();
            let definition =
                definition.map_or_else(|| body.definition.clone(), TaskDefinitionReference::from);
            let body = PutService { definition, ..(**body).clone() };
            client.put_service(namespace, name, &body, revision).await.map(drop)
        }
        Spec::Alarm(body) => client.put_alarm(namespace, name, body, revision).await.map(drop),
        Spec::TargetGroup(body) => client.put_target_group(namespace, name, body, revision).await.map(drop),
        Spec::Listener(body) => client.put_listener(name, body, revision).await.map(drop),
        Spec::Rule(body) => client.put_rule(namespace, name, body, revision).await.map(drop),
        Spec::Scaling(body) => client.put_scaling(namespace, name, body, revision).await.map(drop),
        Spec::Consumer(body) => client.put_consumer(namespace, name, body, revision).await.map(drop),
    }
}
