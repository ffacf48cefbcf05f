//! The operations on buckets, tables and queues, on items and on messages.

use super::{Body, Operation, Spec, of};
use crate::{
    Bucket, ChangeVisibility, DeleteBucketQuery, DeleteMessages, ErrorCode, GetItems, IncrementItem,
    IncrementedItem, Items, MessageCount, MessageOutcomes, Page, PageQuery, PutBucket, PutQueue, PutTable,
    Queue, ReceiveMessages, ReceivedMessages, RedriveQueue, RedrivenMessages, ScanQuery, ScannedItems,
    SendMessages, SentMessages, Table, WriteItems, WrittenItems,
};
use http::Method;

impl Operation {
    pub(super) fn bucket_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/buckets";
        const ONE: &str = "/v1/namespaces/{namespace}/buckets/{bucket}";
        let spec = |method, path, summary| Spec::new(method, path, "buckets", summary);
        match self {
            Self::PutBucket => spec(
                Method::PUT,
                ONE,
                "Creates a bucket, or replaces all that is said of it; its objects stay.",
            )
            .if_match()
            .request(Body::Json(of::<PutBucket>))
            .response(200, Body::Json(of::<Bucket>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::ListBuckets => spec(Method::GET, ALL, "Lists buckets by name.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Bucket>>)),
            Self::GetBucket => spec(Method::GET, ONE, "Shows a bucket, and what it holds.")
                .response(200, Body::Json(of::<Bucket>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteBucket => {
                spec(Method::DELETE, ONE, "Removes a bucket that has no objects, or with all that it has.")
                    .if_match()
                    .query(of::<DeleteBucketQuery>)
                    .response(204, Body::Empty)
                    .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition])
            }
            other => unreachable!("{other:?} is no operation on buckets"),
        }
    }

    pub(super) fn table_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/tables";
        const ONE: &str = "/v1/namespaces/{namespace}/tables/{table}";
        let spec = |method, path, summary| Spec::new(method, path, "tables", summary);
        match self {
            Self::PutTable => spec(Method::PUT, ONE, "Creates a table; one that is there stays as it is.")
                .if_match()
                .request(Body::Json(of::<PutTable>))
                .response(200, Body::Json(of::<Table>))
                .errors(&[ErrorCode::ResourceExhausted]),
            Self::ListTables => spec(Method::GET, ALL, "Lists tables by name.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Table>>)),
            Self::GetTable => spec(Method::GET, ONE, "Shows a table, and what it holds.")
                .response(200, Body::Json(of::<Table>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteTable => spec(Method::DELETE, ONE, "Removes a table with all its items.")
                .if_match()
                .response(204, Body::Empty)
                .errors(&[ErrorCode::NotFound]),
            Self::GetItems => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tables/{table}/get",
                "Gets items by their keys.",
            )
            .request(Body::Json(of::<GetItems>))
            .response(200, Body::Json(of::<Items>))
            .errors(&[ErrorCode::NotFound]),
            Self::WriteItems => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tables/{table}/write",
                "Writes and deletes items, all or none, each only if it is as its write expects it.",
            )
            .request(Body::Json(of::<WriteItems>))
            .response(200, Body::Json(of::<WrittenItems>))
            .errors(&[
                ErrorCode::NotFound,
                ErrorCode::PreconditionFailed,
                ErrorCode::ResourceExhausted,
            ]),
            Self::IncrementItem => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tables/{table}/increment",
                "Adds to the number that an item's value is.",
            )
            .request(Body::Json(of::<IncrementItem>))
            .response(200, Body::Json(of::<IncrementedItem>))
            .errors(&[
                ErrorCode::NotFound,
                ErrorCode::FailedPrecondition,
                ErrorCode::ResourceExhausted,
            ]),
            Self::ScanItems => spec(
                Method::GET,
                "/v1/namespaces/{namespace}/tables/{table}/items",
                "Lists items by the bytes of their keys.",
            )
            .query(of::<ScanQuery>)
            .response(200, Body::Json(of::<ScannedItems>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on tables"),
        }
    }

    pub(super) fn queue_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/queues";
        const ONE: &str = "/v1/namespaces/{namespace}/queues/{queue}";
        let spec = |method, path, summary| Spec::new(method, path, "queues", summary);
        match self {
            Self::PutQueue => {
                spec(Method::PUT, ONE, "Creates a queue, or replaces all that it says; its messages stay.")
                    .if_match()
                    .request(Body::Json(of::<PutQueue>))
                    .response(200, Body::Json(of::<Queue>))
                    .errors(&[
                        ErrorCode::NotFound,
                        ErrorCode::FailedPrecondition,
                        ErrorCode::ResourceExhausted,
                    ])
            }
            Self::ListQueues => spec(Method::GET, ALL, "Lists queues by name, and what they hold.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Queue>>)),
            Self::GetQueue => spec(Method::GET, ONE, "Shows a queue: what it says, and what it holds.")
                .response(200, Body::Json(of::<Queue>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteQueue => spec(
                Method::DELETE,
                ONE,
                "Removes a queue that is nobody's dead-letter queue, with its messages.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            _ => self.message_spec(),
        }
    }

    fn message_spec(self) -> Spec {
        let post = |path, summary| Spec::new(Method::POST, path, "queues", summary);
        match self {
            Self::SendMessages => post(
                "/v1/namespaces/{namespace}/queues/{queue}/messages",
                "Sends messages; each has an outcome.",
            )
            .request(Body::Json(of::<SendMessages>))
            .response(200, Body::Json(of::<SentMessages>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::ReceiveMessages => post(
                "/v1/namespaces/{namespace}/queues/{queue}/receive",
                "Receives messages, which go out of sight for a while; waits for one.",
            )
            .request(Body::Json(of::<ReceiveMessages>))
            .response(200, Body::Json(of::<ReceivedMessages>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::DeleteMessages => post(
                "/v1/namespaces/{namespace}/queues/{queue}/delete",
                "Deletes messages that were received: they never come again.",
            )
            .request(Body::Json(of::<DeleteMessages>))
            .response(200, Body::Json(of::<MessageOutcomes>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::ChangeVisibility => post(
                "/v1/namespaces/{namespace}/queues/{queue}/visibility",
                "Says for how long messages that were received stay out of sight from now on.",
            )
            .request(Body::Json(of::<ChangeVisibility>))
            .response(200, Body::Json(of::<MessageOutcomes>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::PurgeQueue => {
                post("/v1/namespaces/{namespace}/queues/{queue}/purge", "Forgets all messages of a queue.")
                    .response(200, Body::Json(of::<MessageCount>))
                    .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted])
            }
            Self::RedriveQueue => post(
                "/v1/namespaces/{namespace}/queues/{queue}/redrive",
                "Moves messages of a dead-letter queue to where each came from, or to another queue.",
            )
            .request(Body::Json(of::<RedriveQueue>))
            .response(200, Body::Json(of::<RedrivenMessages>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            other => unreachable!("{other:?} is no operation on queues"),
        }
    }
}
