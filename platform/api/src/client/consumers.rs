//! The calls on consumers of queues.

use super::{Client, ClientError};
use crate::{Consumer, Operation, Page, PageQuery, PutConsumer};
use skiff_types::{Name, Namespace};

impl Client {
    /// Creates a consumer, or replaces all that it says.
    pub async fn put_consumer(
        &self,
        namespace: &Namespace,
        consumer: &Name,
        body: &PutConsumer,
        if_match: Option<u64>,
    ) -> Result<Consumer, ClientError> {
        self.put(Operation::PutConsumer, &[namespace.as_str(), consumer.as_str()], body, if_match).await
    }

    /// One page of the consumers.
    pub async fn list_consumers(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Consumer>, ClientError> {
        self.answer(self.request(Operation::ListConsumers, &[namespace.as_str()]).query(query)).await
    }

    /// A consumer.
    pub async fn get_consumer(
        &self,
        namespace: &Namespace,
        consumer: &Name,
    ) -> Result<Consumer, ClientError> {
        let parameters = [namespace.as_str(), consumer.as_str()];
        self.answer(self.request(Operation::GetConsumer, &parameters)).await
    }

    /// Removes a consumer.
    pub async fn delete_consumer(
        &self,
        namespace: &Namespace,
        consumer: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteConsumer, &[namespace.as_str(), consumer.as_str()], if_match).await
    }
}
