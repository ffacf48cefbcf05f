//! Trials: a component deployed under a name of its own, timed from its pushed bytes to its first answer, and removed.

use crate::context::Context;
use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use reqwest::Url;
use reqwest::header::HOST;
use serde::Serialize;
use skiff_api::{
    Client, ClientError, DeploymentState, ErrorCode, LimitsSpec, PutService, RegisterTaskDefinition, Service,
    TaskDefinitionReference,
};
use skiff_types::{ImageReference, Name, TaskDefinitionId};
use std::time::{Duration, Instant};

/// How often a new service is looked at: the resolution of the measurement.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long a new service may take to serve.
const SERVE_MAX: Duration = Duration::from_secs(120);
/// How long its first answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long it may take until nothing uses a definition any more.
const REMOVE_MAX: Duration = Duration::from_secs(30);

/// The stages of one deploy, each in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Trial {
    /// The upload.
    pub(super) push_ns: u64,
    /// Checked, compiled and registered.
    pub(super) register_ns: u64,
    /// From the service's creation until its task is `RUNNING` and reached by requests.
    pub(super) serve_ns: u64,
    /// The first request through the load balancer, until its answer's head.
    pub(super) first_answer_ns: u64,
    /// All of it.
    pub(super) total_ns: u64,
}

/// What was begun so far, so that all of it can be removed, whatever became of it.
pub(super) struct Trials<'a> {
    context: &'a Context,
    client: &'a Client,
    http: reqwest::Client,
    /// Where the load balancer listens: `host:port`.
    balancer: String,
    path: &'a str,
    prefix: String,
    made: Vec<Name>,
}

impl<'a> Trials<'a> {
    pub(super) async fn new(context: &'a Context, client: &'a Client, path: &'a str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?;
        let balancer = client.status().await?.http;
        let prefix = format!("bench-{:x}-{:x}", std::process::id(), crate::human::now_ms());
        Ok(Self { context, client, http, balancer, path, prefix, made: Vec::new() })
    }

    /// The name of the last one.
    pub(super) fn last(&self) -> Option<&Name> {
        self.made.last()
    }

    /// Deploys the component once more, as bytes that were never compiled, and times it.
    pub(super) async fn run(&mut self, component: &Bytes) -> anyhow::Result<Trial> {
        let namespace = &self.context.namespace;
        let name: Name = format!("{}-{}", self.prefix, self.made.len()).parse()?;
        let component = marked(component, name.as_str());
        let image = image(&name);
        self.made.push(name.clone());

        let started = Instant::now();
        self.client.push_image(namespace, &image, component, |_| {}).await?;
        let pushed = started.elapsed();
        let body = RegisterTaskDefinition {
            family: name.clone(),
            image,
            limits: LimitsSpec::default(),
            arguments: Vec::new(),
            environment: Default::default(),
            snapshot: false,
            security_groups: Vec::new(),
            port: None,
            health_check: Default::default(),
            stop_timeout: None,
            restart: Default::default(),
            role: None,
        };
        let definition = self.client.register_task_definition(namespace, &body).await?;
        let registered = started.elapsed();
        let definition = TaskDefinitionReference::from(definition.id);
        let body = PutService {
            definition,
            desired: Some(1),
            hosts: None,
            paths: None,
            security_groups: None,
            listen: None,
            deployment: None,
            scale_to_zero: None,
            placement: None,
        };
        self.client.put_service(namespace, &name, &body, None).await?;
        let service = self.serving(&name).await?;
        let serving = started.elapsed();
        self.first_answer(&service).await?;
        let answered = started.elapsed();
        Ok(Trial {
            push_ns: nanoseconds(pushed),
            register_ns: nanoseconds(registered - pushed),
            serve_ns: nanoseconds(serving - registered),
            first_answer_ns: nanoseconds(answered - serving),
            total_ns: nanoseconds(answered),
        })
    }

    async fn serving(&self, name: &Name) -> anyhow::Result<Service> {
        let started = Instant::now();
        while started.elapsed() < SERVE_MAX {
            let service = self.client.get_service(&self.context.namespace, name).await?;
            if service.status.deployment.state == DeploymentState::Completed {
                return Ok(service);
            }
            if let (1.., Some(message)) =
                (service.status.deployment.failures, &service.status.deployment.message)
            {
                bail!("the component does not run: {message}");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        bail!("the component does not serve after {} s", SERVE_MAX.as_secs())
    }

    /// Any answer counts. The service's host may not resolve here, so the load balancer is called by its address.
    async fn first_answer(&self, service: &Service) -> anyhow::Result<()> {
        let url = service.status.urls.first().ok_or_else(|| anyhow!("the service has no URL"))?;
        let url = Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
        let host = url.host_str().ok_or_else(|| anyhow!("{url} names no host"))?;
        let request = self.http.get(format!("http://{}{}", self.balancer, self.path)).header(HOST, host);
        request.send().await.context("the component gave no answer")?;
        Ok(())
    }

    /// Removes services, definitions and images; goes on past what fails, and says what did.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        let namespace = &self.context.namespace;
        let mut failed = Ok(());
        for name in &self.made {
            keep_first(&mut failed, self.client.delete_service(namespace, name, None).await);
        }
        for name in &self.made {
            keep_first(&mut failed, self.deregister(&definition(name)).await);
        }
        for name in &self.made {
            keep_first(&mut failed, self.client.delete_image(namespace, &image(name), None).await);
        }
        failed.context("what was deployed for the measurement could not all be removed")
    }

    /// A definition goes once the service's last task has stopped.
    async fn deregister(&self, definition: &TaskDefinitionId) -> Result<(), ClientError> {
        let started = Instant::now();
        loop {
            match self.client.deregister_task_definition(&self.context.namespace, definition).await {
                Err(error)
                    if error.code() == Some(ErrorCode::FailedPrecondition)
                        && started.elapsed() < REMOVE_MAX =>
                {
                    tokio::time::sleep(POLL_INTERVAL * 10).await;
                }
                result => return result,
            }
        }
    }
}

/// What is not there any more, or never came to be, is removed.
fn keep_first(kept: &mut Result<(), ClientError>, result: Result<(), ClientError>) {
    let gone = matches!(&result, Err(error) if error.code() == Some(ErrorCode::NotFound));
    if kept.is_ok() && !gone {
        *kept = result;
    }
}

/// A trial's family is its own, so it has one revision.
fn definition(name: &Name) -> TaskDefinitionId {
    TaskDefinitionId { family: name.clone(), revision: 1 }
}

fn image(name: &Name) -> ImageReference {
    ImageReference {
        repository: name.to_string(),
        tag: Some(ImageReference::DEFAULT_TAG.to_owned()),
        digest: None,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// The component with a custom section of its own at the end: another digest, the same program.
///
/// A custom section is id 0, its size, and a name with its size (WebAssembly 2.0, section 5.5.3); a component may have
/// them wherever a section may be.
fn marked(component: &[u8], mark: &str) -> Bytes {
    const SHORT: usize = 0x80;
    assert!(mark.len() + 1 < SHORT, "sizes below 128 are one byte in LEB128");
    let mut marked = Vec::with_capacity(component.len() + mark.len() + 3);
    marked.extend_from_slice(component);
    marked.extend_from_slice(&[0, mark.len() as u8 + 1, mark.len() as u8]);
    marked.extend_from_slice(mark.as_bytes());
    marked.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_custom_section() {
        let component = b"\0asm\x0d\0\x01\0";
        assert_eq!(marked(component, "ab").as_ref(), b"\0asm\x0d\0\x01\0\x00\x03\x02ab");
        // It fails for what it lacks, not for a section that can't be read.
        let error = skiff_sandbox::inspect(&marked(component, "bench-1")).unwrap_err().to_string();
        assert!(error.contains("it exports nothing"), "{error}");
    }
}
