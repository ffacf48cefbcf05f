//! The typed client: one method for each operation behind `/v1`, over plain HTTP.
//!
//! It does not retry, and it does not look for the platform: whoever makes it says where that is. Always holds: an
//! error says which address was asked and, where there is something to do, what.

mod access;
mod alarm;
mod balancer;
mod buses;
mod consumers;
mod data;
mod error;
mod events;
mod lines;
mod metric;
mod network;
mod scaling;

pub use error::ClientError;

use crate::{
    ChangeRollout, ColdStartReport, ColdStartRequest, Deployment, ErrorBody, Image, LogLine, LogQuery, Node,
    Operation, Page, PageQuery, PlatformStatus, PutService, RegisterTaskDefinition, RollbackService, RunTask,
    ScaleService, Service, StopTask, Task, TaskDefinition, TaskDefinitionListQuery, TaskDefinitionQuery,
    TaskDefinitionReference, TaskListQuery, UsageQuery, UsageReport,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use reqwest::{RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_types::{ImageReference, Name, Namespace, TaskDefinitionId, TaskId};
use std::fmt;
use std::time::Duration;

/// Calls the API of one platform. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// Until a connection stands.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Until an ordinary call is answered whole.
    const CALL_TIMEOUT: Duration = Duration::from_secs(60);
    /// Until a call that uploads, compiles or measures is answered whole.
    const LONG_CALL_TIMEOUT: Duration = Duration::from_secs(15 * 60);
    /// Most bytes of an answer in JSON.
    const ANSWER_BYTES_MAX: usize = 64 << 20;
    /// Bytes of a component that are handed to the connection at once.
    const UPLOAD_CHUNK_BYTES: usize = 64 * 1024;

    /// A client of the API at `url`, such as `http://127.0.0.1:8081`.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ClientError> {
        let invalid =
            |reason: &str| ClientError::InvalidUrl { url: url.to_owned(), reason: reason.to_owned() };
        let base = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
        match base.scheme() {
            "http" => {}
            "https" => return Err(ClientError::HttpsUnsupported { url: url.to_owned() }),
            _ => return Err(invalid("it must start with http://")),
        }
        if !base.has_host() || base.query().is_some() || base.fragment().is_some() {
            return Err(invalid("it must be http://HOST:PORT"));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Self::CONNECT_TIMEOUT)
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|error| invalid(&error.to_string()))?;
        Ok(Self { http, base, token })
    }

    /// The address that is called.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Stores `component` under `reference`; `progress` is told each time how many bytes were handed on in all.
    pub async fn push_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
        component: Bytes,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Image, ClientError> {
        let request = self
            .request(Operation::PushImage, &[namespace.as_str(), &reference.to_string()])
            .timeout(Self::LONG_CALL_TIMEOUT)
            .header(CONTENT_TYPE, "application/wasm")
            .header(CONTENT_LENGTH, component.len())
            .body(reqwest::Body::wrap_stream(chunks(component, progress)));
        self.answer(request).await
    }

    /// One page of the images.
    pub async fn list_images(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Image>, ClientError> {
        self.answer(self.request(Operation::ListImages, &[namespace.as_str()]).query(query)).await
    }

    /// An image.
    pub async fn get_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
    ) -> Result<Image, ClientError> {
        let parameters = [namespace.as_str(), &reference.to_string()];
        self.answer(self.request(Operation::GetImage, &parameters)).await
    }

    /// Removes a tag.
    pub async fn delete_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteImage, &[namespace.as_str(), &reference.to_string()], if_match).await
    }

    /// Registers the next revision of a family; compiles its component if that is new.
    pub async fn register_task_definition(
        &self,
        namespace: &Namespace,
        body: &RegisterTaskDefinition,
    ) -> Result<TaskDefinition, ClientError> {
        let request = self.request(Operation::RegisterTaskDefinition, &[namespace.as_str()]);
        self.answer(request.timeout(Self::LONG_CALL_TIMEOUT).json(body)).await
    }

    /// One page of the task definitions.
    pub async fn list_task_definitions(
        &self,
        namespace: &Namespace,
        query: &TaskDefinitionListQuery,
    ) -> Result<Page<TaskDefinition>, ClientError> {
        self.answer(self.request(Operation::ListTaskDefinitions, &[namespace.as_str()]).query(query)).await
    }

    /// A task definition.
    pub async fn get_task_definition(
        &self,
        namespace: &Namespace,
        definition: &TaskDefinitionReference,
        query: &TaskDefinitionQuery,
    ) -> Result<TaskDefinition, ClientError> {
        let parameters = [namespace.as_str(), &definition.to_string()];
        self.answer(self.request(Operation::GetTaskDefinition, &parameters).query(query)).await
    }

    /// Deregisters a revision.
    pub async fn deregister_task_definition(
        &self,
        namespace: &Namespace,
        definition: &TaskDefinitionId,
    ) -> Result<(), ClientError> {
        let parameters = [namespace.as_str(), &definition.to_string()];
        self.send(self.request(Operation::DeregisterTaskDefinition, &parameters)).await.map(drop)
    }

    /// Creates a service or updates it.
    pub async fn put_service(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &PutService,
        if_match: Option<u64>,
    ) -> Result<Service, ClientError> {
        self.change_service(Operation::PutService, namespace, service, body, if_match).await
    }

    /// Says whether [`Client::put_service`] would be refused whatever the definition says; changes nothing.
    pub async fn check_service(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &PutService,
    ) -> Result<(), ClientError> {
        let parameters = [namespace.as_str(), service.as_str()];
        let request = self.request(Operation::CheckService, &parameters).json(body);
        self.send(request).await.map(drop)
    }

    /// One page of the services.
    pub async fn list_services(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Service>, ClientError> {
        self.answer(self.request(Operation::ListServices, &[namespace.as_str()]).query(query)).await
    }

    /// A service.
    pub async fn get_service(&self, namespace: &Namespace, service: &Name) -> Result<Service, ClientError> {
        let parameters = [namespace.as_str(), service.as_str()];
        self.answer(self.request(Operation::GetService, &parameters)).await
    }

    /// Removes a service.
    pub async fn delete_service(
        &self,
        namespace: &Namespace,
        service: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteService, &[namespace.as_str(), service.as_str()], if_match).await
    }

    /// Changes how many tasks a service has.
    pub async fn scale_service(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &ScaleService,
        if_match: Option<u64>,
    ) -> Result<Service, ClientError> {
        self.change_service(Operation::ScaleService, namespace, service, body, if_match).await
    }

    /// Puts a service back to an earlier revision of its task definition.
    pub async fn rollback_service(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &RollbackService,
        if_match: Option<u64>,
    ) -> Result<Service, ClientError> {
        self.change_service(Operation::RollbackService, namespace, service, body, if_match).await
    }

    /// How far a service's deployment is.
    pub async fn get_rollout(
        &self,
        namespace: &Namespace,
        service: &Name,
    ) -> Result<Deployment, ClientError> {
        let parameters = [namespace.as_str(), service.as_str()];
        self.answer(self.request(Operation::GetRollout, &parameters)).await
    }

    /// Halts a service's deployment, has it go on, or gives it up.
    pub async fn change_rollout(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &ChangeRollout,
    ) -> Result<Service, ClientError> {
        self.change_service(Operation::ChangeRollout, namespace, service, body, None).await
    }

    /// Measures cold starts of a service's task.
    pub async fn measure_cold_starts(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &ColdStartRequest,
    ) -> Result<ColdStartReport, ClientError> {
        let parameters = [namespace.as_str(), service.as_str()];
        let request = self.request(Operation::MeasureColdStarts, &parameters);
        self.answer(request.timeout(Self::LONG_CALL_TIMEOUT).json(body)).await
    }

    /// Runs a one-off task.
    pub async fn run_task(&self, namespace: &Namespace, body: &RunTask) -> Result<Task, ClientError> {
        self.answer(self.request(Operation::RunTask, &[namespace.as_str()]).json(body)).await
    }

    /// One page of the tasks.
    pub async fn list_tasks(
        &self,
        namespace: &Namespace,
        query: &TaskListQuery,
    ) -> Result<Page<Task>, ClientError> {
        self.answer(self.request(Operation::ListTasks, &[namespace.as_str()]).query(query)).await
    }

    /// A task.
    pub async fn get_task(&self, namespace: &Namespace, task: TaskId) -> Result<Task, ClientError> {
        let parameters = [namespace.as_str(), &task.to_string()];
        self.answer(self.request(Operation::GetTask, &parameters)).await
    }

    /// Stops a task.
    pub async fn stop_task(
        &self,
        namespace: &Namespace,
        task: TaskId,
        body: &StopTask,
    ) -> Result<Task, ClientError> {
        let parameters = [namespace.as_str(), &task.to_string()];
        self.answer(self.request(Operation::StopTask, &parameters).json(body)).await
    }

    /// Lines that tasks wrote, oldest first. With `follow` the stream lasts as [`LogQuery::follow`] says.
    pub async fn read_logs(
        &self,
        namespace: &Namespace,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, ClientError>>, ClientError> {
        let request = self.request(Operation::ReadLogs, &[namespace.as_str()]).query(query);
        let request = without_timeout(request).header(ACCEPT, "application/x-ndjson");
        Ok(lines::read(self.send(request).await?, self.url().to_owned()))
    }

    /// Lists the nodes that tasks run on.
    pub async fn list_nodes(&self, query: &PageQuery) -> Result<Page<Node>, ClientError> {
        self.answer(self.request(Operation::ListNodes, &[]).query(query)).await
    }

    /// The platform's processes.
    pub async fn status(&self) -> Result<PlatformStatus, ClientError> {
        self.answer(self.request(Operation::GetStatus, &[])).await
    }

    /// What services, their tasks and the platform itself used.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsageReport, ClientError> {
        self.answer(self.request(Operation::GetUsage, &[]).query(query)).await
    }

    async fn change_service(
        &self,
        operation: Operation,
        namespace: &Namespace,
        service: &Name,
        body: &impl Serialize,
        if_match: Option<u64>,
    ) -> Result<Service, ClientError> {
        self.put(operation, &[namespace.as_str(), service.as_str()], body, if_match).await
    }

    /// Says something of what the parameters name, if that is still of the revision that is expected.
    async fn put<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: &[&str],
        body: &impl Serialize,
        if_match: Option<u64>,
    ) -> Result<T, ClientError> {
        self.answer(expecting(self.request(operation, parameters).json(body), if_match)).await
    }

    /// Removes what the parameters name, likewise.
    async fn remove(
        &self,
        operation: Operation,
        parameters: &[&str],
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.send(expecting(self.request(operation, parameters), if_match)).await.map(drop)
    }

    fn request(&self, operation: Operation, parameters: &[&str]) -> RequestBuilder {
        let url = format!("{}{}", self.url(), operation.path_with(parameters));
        let request = self.http.request(operation.method(), url).timeout(Self::CALL_TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends; an answer that is not a success becomes the error that it carries.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.failure(error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = self.body_of(response).await?;
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => {
                let details = error.details.map(Box::new);
                Err(ClientError::Api { status, code: error.code, message: error.message, details })
            }
            Err(_) => Err(ClientError::NotSkiff { url: self.url().to_owned(), status }),
        }
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let body = self.body_of(response).await?;
        serde_json::from_slice(&body)
            .map_err(|source| ClientError::Unreadable { url: self.url().to_owned(), source })
    }

    async fn body_of(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + chunk.len() > Self::ANSWER_BYTES_MAX {
                return Err(ClientError::AnswerTooLarge { limit_bytes: Self::ANSWER_BYTES_MAX });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, error: reqwest::Error) -> ClientError {
        ClientError::from_transport(self.url(), error)
    }
}

fn expecting(request: RequestBuilder, revision: Option<u64>) -> RequestBuilder {
    match revision {
        Some(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
        None => request,
    }
}

/// A year: reqwest can replace a request's timeout but not take it away.
fn without_timeout(request: RequestBuilder) -> RequestBuilder {
    request.timeout(Duration::from_secs(365 * 86_400))
}

fn chunks(
    component: Bytes,
    mut progress: impl FnMut(u64) + Send + 'static,
) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    let size = component.len() as u64;
    let mut rest = component;
    futures::stream::iter(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let chunk = rest.split_to(rest.len().min(Client::UPLOAD_CHUNK_BYTES));
        progress(size - rest.len() as u64);
        Some(Ok(chunk))
    }))
}

#[cfg(test)]
mod tests;
