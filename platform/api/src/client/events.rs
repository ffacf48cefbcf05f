//! The call that reads the stream of events.

use super::{Client, ClientError, lines, without_timeout};
use crate::{Event, EventQuery, Operation};
use futures::stream::BoxStream;
use http::header::ACCEPT;
use skiff_types::Namespace;

impl Client {
    /// Events, oldest first. With `follow` the stream does not end by itself.
    pub async fn read_events(
        &self,
        namespace: &Namespace,
        query: &EventQuery,
    ) -> Result<BoxStream<'static, Result<Event, ClientError>>, ClientError> {
        let request = self.request(Operation::ReadEvents, &[namespace.as_str()]).query(query);
        let request = without_timeout(request).header(ACCEPT, "application/x-ndjson");
        Ok(lines::read(self.send(request).await?, self.url().to_owned()))
    }
}
