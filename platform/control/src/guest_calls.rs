//! What guests ask of tables, buckets, queues and buses: judged by their task's role, and carried out by the engines.
//!
//! | file | what it has |
//! | --- | --- |
//! | `tables` | items |
//! | `buckets` | buckets, and objects whole |
//! | `transfers` | objects that are read or written in pieces |
//! | `sending` | messages and events |
//! | `failures` | what guests are told where an engine failed |
//! | `denials` | what was denied: counted, and said in the platform's log once a minute |
//!
//! It deliberately does not ask whether the task runs where the call comes from: who passes it on has seen that. What always holds:
//! a name is one of the task's own namespace, for no other can be said; a role is asked before it is looked whether there is such a
//! thing, so that who may not touch it does not learn that either; what is judged is what is touched, byte for byte; and a role
//! holds as it is at the moment of each call, but what a guest has begun to read or write goes on.

mod buckets;
mod denials;
mod failures;
mod sending;
mod tables;
mod transfers;

pub(crate) use denials::Denials;

use crate::access::Access;
use crate::context::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use skiff_ports::access::Authorizer;
use skiff_ports::catalog::Catalog;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError, GuestCalls, GuestSession};
use skiff_types::{AccessAction, AccessResource, Name, Namespace, QualifiedName, ResourceKind, TaskId};
use std::sync::Arc;
use transfers::Transfers;

/// What a call comes to.
type Answered<T = GuestAnswer> = Result<T, GuestCallError>;

/// Answers the guests of all workers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GuestCallsOfPlane {
    context: Arc<Context>,
    access: Access,
    catalog: Arc<dyn Catalog>,
}

/// Who asks: a task, where it is, and as whom it acts.
struct Asker {
    task: TaskId,
    namespace: Namespace,
    role: Option<QualifiedName>,
}

impl Asker {
    /// What a name means that it says.
    fn named(&self, name: Name) -> QualifiedName {
        QualifiedName::new(self.namespace.clone(), name)
    }
}

impl GuestCallsOfPlane {
    pub(crate) fn new(context: Arc<Context>, catalog: Arc<dyn Catalog>) -> Self {
        Self { access: Access::new(context.objects.clone()), context, catalog }
    }

    fn asker(&self, task: TaskId) -> Answered<Asker> {
        let found = self.context.objects.read(|view| view.acts_as(task));
        let (namespace, role) =
            found.ok_or_else(|| GuestCallError::Failed("the task is gone, or not known yet".to_owned()))?;
        Ok(Asker { task, namespace, role })
    }

    /// Whether the task's role allows this. A denial is counted.
    fn allow(&self, asker: &Asker, action: AccessAction, resource: &AccessResource) -> Answered<()> {
        self.access.check(asker.role.as_ref(), action, resource).map_err(|denied| {
            self.context.denials.note(asker.task, &denied, self.context.now_ms());
            GuestCallError::Denied { message: denied.message, grant: denied.grant }
        })
    }

    /// Whether the task's role may allow anything that can be done to a thing: else this is denied as `action` on it is.
    fn allow_to_open(
        &self,
        asker: &Asker,
        (kind, action): (ResourceKind, AccessAction),
        name: &QualifiedName,
    ) -> Answered<()> {
        match self.access.may_touch(asker.role.as_ref(), kind, name) {
            true => Ok(()),
            false => self.allow(asker, action, &AccessResource::new(kind, name.clone())),
        }
    }

    async fn answer(&self, transfers: &Transfers, task: TaskId, call: GuestCall) -> Answered {
        match call {
            // Ends what the task has, whatever became of the task.
            GuestCall::Stop(transfer) => {
                transfers.stop(task, transfer);
                Ok(GuestAnswer::Done)
            }
            call => {
                let asker = self.asker(task)?;
                self.answer_to(transfers, &asker, call).await
            }
        }
    }

    async fn answer_to(&self, transfers: &Transfers, asker: &Asker, call: GuestCall) -> Answered {
        match call {
            GuestCall::OpenTable(table) => self.open_table(asker, table),
            GuestCall::Get { table, keys } => self.get_items(asker, table, keys).await,
            GuestCall::Write { table, writes } => self.write_items(asker, table, writes).await,
            GuestCall::Increment { table, key, delta } => self.increment(asker, table, key, delta).await,
            GuestCall::Keys { table, prefix, after, limit } => {
                let page = self.scan(asker, table, (prefix, after, limit)).await?;
                let keys = page.items.into_iter().map(|item| item.key).collect();
                Ok(GuestAnswer::Keys(keys, page.next))
            }
            GuestCall::Scan { table, prefix, after, limit } => {
                let page = self.scan(asker, table, (prefix, after, limit)).await?;
                Ok(tables::page(page))
            }
            GuestCall::Bucket(bucket) => self.open_bucket(asker, bucket),
            GuestCall::CreateBucket(bucket) => self.create_bucket(asker, bucket).await,
            GuestCall::RemoveBucket(bucket) => self.remove_bucket(asker, bucket).await,
            GuestCall::Head { bucket, key } => self.head(asker, bucket, key).await,
            GuestCall::Read { bucket, key, start, end } => {
                self.read(transfers, asker, (bucket, key), start..end).await
            }
            GuestCall::ReadMore(transfer) => transfers.read(asker.task, transfer).await,
            GuestCall::Put { bucket, key, content_type, metadata } => {
                self.put(transfers, asker, (bucket, key), (content_type, metadata))
            }
            GuestCall::PutMore(transfer, bytes) => transfers.write(asker.task, transfer, bytes).await,
            GuestCall::PutEnd(transfer) => transfers.finish(asker.task, transfer).await,
            GuestCall::Stop(transfer) => {
                transfers.stop(asker.task, transfer);
                Ok(GuestAnswer::Done)
            }
            GuestCall::List { bucket, prefix, after, limit } => {
                self.list(asker, bucket, (prefix, after, limit)).await
            }
            GuestCall::Delete { bucket, keys } => self.delete(asker, bucket, keys).await,
            GuestCall::Clear(bucket) => self.clear(asker, bucket).await,
            GuestCall::Copy { from, to, moves } => self.copy(asker, from, to, moves).await,
            GuestCall::Send { queue, messages } => self.send(asker, queue, messages).await,
            GuestCall::PutEvents { bus, events } => self.put_events(asker, bus, events).await,
        }
    }
}

impl GuestCalls for GuestCallsOfPlane {
    fn session(&self) -> Box<dyn GuestSession> {
        Box::new(Session { answers: self.clone(), transfers: Arc::default() })
    }
}

/// What the guests of one worker have open.
struct Session {
    answers: GuestCallsOfPlane,
    transfers: Arc<Transfers>,
}

impl GuestSession for Session {
    fn call(&self, task: TaskId, call: GuestCall) -> BoxFuture<'static, Answered> {
        let (answers, transfers) = (self.answers.clone(), self.transfers.clone());
        async move { answers.answer(&transfers, task, call).await }.boxed()
    }
}
