//! The calls on consumers of queues.

use super::{Client, ClientError, expecting};
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
        let parameters = [namespace.as_str(), consumer.as_str()];
        let request = self.request(Operation::PutConsumer, &parameters).json(body);
        self.answer(expecting(request, if_match)).await
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
        let parameters = [namespace.as_str(), consumer.as_str()];
        let request = self.request(Operation::DeleteConsumer, &parameters);
        self.send(expecting(request, if_match)).await.map(drop)
    }
}
