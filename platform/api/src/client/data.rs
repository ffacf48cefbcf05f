//! The calls on buckets, tables and queues, on items and on messages.

use super::{Client, ClientError, expecting};
use crate::{
    Bucket, ChangeVisibility, DeleteBucketQuery, DeleteMessages, GetItems, IncrementItem, IncrementedItem,
    Items, MessageCount, MessageOutcomes, Operation, Page, PageQuery, PutBucket, PutQueue, PutTable, Queue,
    ReceiveMessages, ReceivedMessages, RedriveQueue, RedrivenMessages, ScanQuery, ScannedItems, SendMessages,
    SentMessages, Table, WriteItems, WrittenItems,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_types::{Name, Namespace};

impl Client {
    /// Creates a bucket, or replaces all that is said of it.
    pub async fn put_bucket(
        &self,
        namespace: &Namespace,
        bucket: &Name,
        body: &PutBucket,
        if_match: Option<u64>,
    ) -> Result<Bucket, ClientError> {
        self.put(Operation::PutBucket, &[namespace.as_str(), bucket.as_str()], body, if_match).await
    }

    /// One page of the buckets.
    pub async fn list_buckets(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Bucket>, ClientError> {
        self.answer(self.request(Operation::ListBuckets, &[namespace.as_str()]).query(query)).await
    }

    /// A bucket.
    pub async fn get_bucket(&self, namespace: &Namespace, bucket: &Name) -> Result<Bucket, ClientError> {
        self.answer(self.request(Operation::GetBucket, &[namespace.as_str(), bucket.as_str()])).await
    }

    /// Removes a bucket.
    pub async fn delete_bucket(
        &self,
        namespace: &Namespace,
        bucket: &Name,
        query: &DeleteBucketQuery,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        let request =
            self.request(Operation::DeleteBucket, &[namespace.as_str(), bucket.as_str()]).query(query);
        self.send(expecting(request, if_match)).await.map(drop)
    }

    /// Creates a table.
    pub async fn put_table(
        &self,
        namespace: &Namespace,
        table: &Name,
        body: &PutTable,
        if_match: Option<u64>,
    ) -> Result<Table, ClientError> {
        self.put(Operation::PutTable, &[namespace.as_str(), table.as_str()], body, if_match).await
    }

    /// One page of the tables.
    pub async fn list_tables(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Table>, ClientError> {
        self.answer(self.request(Operation::ListTables, &[namespace.as_str()]).query(query)).await
    }

    /// A table.
    pub async fn get_table(&self, namespace: &Namespace, table: &Name) -> Result<Table, ClientError> {
        self.answer(self.request(Operation::GetTable, &[namespace.as_str(), table.as_str()])).await
    }

    /// Removes a table with all its items.
    pub async fn delete_table(
        &self,
        namespace: &Namespace,
        table: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteTable, &[namespace.as_str(), table.as_str()], if_match).await
    }

    /// Items by their keys.
    pub async fn get_items(
        &self,
        namespace: &Namespace,
        table: &Name,
        body: &GetItems,
    ) -> Result<Items, ClientError> {
        self.ask_data(Operation::GetItems, namespace, table, body).await
    }

    /// Writes items, all or none.
    pub async fn write_items(
        &self,
        namespace: &Namespace,
        table: &Name,
        body: &WriteItems,
    ) -> Result<WrittenItems, ClientError> {
        self.ask_data(Operation::WriteItems, namespace, table, body).await
    }

    /// Adds to the number that an item's value is.
    pub async fn increment_item(
        &self,
        namespace: &Namespace,
        table: &Name,
        body: &IncrementItem,
    ) -> Result<IncrementedItem, ClientError> {
        self.ask_data(Operation::IncrementItem, namespace, table, body).await
    }

    /// A page of a table's items.
    pub async fn scan_items(
        &self,
        namespace: &Namespace,
        table: &Name,
        query: &ScanQuery,
    ) -> Result<ScannedItems, ClientError> {
        let parameters = [namespace.as_str(), table.as_str()];
        self.answer(self.request(Operation::ScanItems, &parameters).query(query)).await
    }

    /// Creates a queue, or replaces all that it says.
    pub async fn put_queue(
        &self,
        namespace: &Namespace,
        queue: &Name,
        body: &PutQueue,
        if_match: Option<u64>,
    ) -> Result<Queue, ClientError> {
        self.put(Operation::PutQueue, &[namespace.as_str(), queue.as_str()], body, if_match).await
    }

    /// One page of the queues.
    pub async fn list_queues(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Queue>, ClientError> {
        self.answer(self.request(Operation::ListQueues, &[namespace.as_str()]).query(query)).await
    }

    /// A queue.
    pub async fn get_queue(&self, namespace: &Namespace, queue: &Name) -> Result<Queue, ClientError> {
        self.answer(self.request(Operation::GetQueue, &[namespace.as_str(), queue.as_str()])).await
    }

    /// Removes a queue with its messages.
    pub async fn delete_queue(
        &self,
        namespace: &Namespace,
        queue: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteQueue, &[namespace.as_str(), queue.as_str()], if_match).await
    }

    /// Sends messages; each has an outcome of its own.
    pub async fn send_messages(
        &self,
        namespace: &Namespace,
        queue: &Name,
        body: &SendMessages,
    ) -> Result<SentMessages, ClientError> {
        self.ask_data(Operation::SendMessages, namespace, queue, body).await
    }

    /// Receives messages; waits for one, as the call or the queue says.
    pub async fn receive_messages(
        &self,
        namespace: &Namespace,
        queue: &Name,
        body: &ReceiveMessages,
    ) -> Result<ReceivedMessages, ClientError> {
        self.ask_data(Operation::ReceiveMessages, namespace, queue, body).await
    }

    /// Deletes messages that were received.
    pub async fn delete_messages(
        &self,
        namespace: &Namespace,
        queue: &Name,
        body: &DeleteMessages,
    ) -> Result<MessageOutcomes, ClientError> {
        self.ask_data(Operation::DeleteMessages, namespace, queue, body).await
    }

    /// Says for how long messages that were received stay out of sight.
    pub async fn change_visibility(
        &self,
        namespace: &Namespace,
        queue: &Name,
        body: &ChangeVisibility,
    ) -> Result<MessageOutcomes, ClientError> {
        self.ask_data(Operation::ChangeVisibility, namespace, queue, body).await
    }

    /// Forgets all messages of a queue.
    pub async fn purge_queue(
        &self,
        namespace: &Namespace,
        queue: &Name,
    ) -> Result<MessageCount, ClientError> {
        self.answer(self.request(Operation::PurgeQueue, &[namespace.as_str(), queue.as_str()])).await
    }

    /// Moves messages of a dead-letter queue to where they came from, or to another queue.
    pub async fn redrive_queue(
        &self,
        namespace: &Namespace,
        queue: &Name,
        body: &RedriveQueue,
    ) -> Result<RedrivenMessages, ClientError> {
        self.ask_data(Operation::RedriveQueue, namespace, queue, body).await
    }

    async fn ask_data<T: DeserializeOwned>(
        &self,
        operation: Operation,
        namespace: &Namespace,
        name: &Name,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.answer(self.request(operation, &[namespace.as_str(), name.as_str()]).json(body)).await
    }
}
