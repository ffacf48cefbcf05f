//! The way of a request: what is wrong with it before anything is done, then `s3s` and the operations, then the counters and a line.
//! Whether a request's key has a place left is asked as soon as its signature was found right (`shares`).
//!
//! What `s3s` would do without being asked is shut off here: signatures of version 2, forms, other services than S3.

use super::arriving::Arriving;
use super::caller::Call;
use super::leaving::Leaving;
use super::operations::Operations;
use super::serve::Domain;
use super::shares::{Admission, Shares};
use super::{Counters, Deps, Limits, known, signed};
use http::header::{HeaderValue, SERVER};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{Body, S3Error, S3Result, s3_error};
use skiff_kit::random::SharedRandom;
use skiff_ports::access::AccessKeys;
use skiff_types::Name;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, error};

/// Bytes of XML in a request: 10,000 parts with their checksums are about three quarters of it.
const XML_BYTES_MAX: usize = 4 << 20;
const REQUEST_ID: &str = "x-amz-request-id";

/// Answers requests.
pub(super) struct Front {
    service: S3Service,
    region: String,
    stall_time_max: Duration,
    random: SharedRandom,
    counters: Arc<Counters>,
}

impl Front {
    pub(super) fn new(
        deps: Deps,
        region: String,
        domain: Option<String>,
        limits: Limits,
        counters: Arc<Counters>,
    ) -> Self {
        let random = SharedRandom::new(deps.random.clone());
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_BYTES_MAX;
        // Forms are refused before; if one got by, it would find no room.
        config.post_object_max_file_size = 0;
        let mut service = S3ServiceBuilder::new(Operations::new(deps.clone(), region.clone()));
        service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        service.set_auth(Keys(deps.keys));
        let requests_per_key_max = limits.requests_per_key_max;
        service.set_access(Admission { keys: Shares::default(), requests_per_key_max });
        service.set_validation(Names);
        if let Some(domain) = domain {
            service.set_host(Domain(domain));
        }
        Self { service: service.build(), region, stall_time_max: limits.stall_time_max, random, counters }
    }

    /// Answers a request, whatever it is.
    pub(super) async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Leaving> {
        let began = Instant::now();
        let call = Call::new(&self.random, peer.ip());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut response = match self.answer(request, &call).await {
            Ok(response) => response,
            Err(error) => refusal(error),
        };
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            *response.body_mut() = Body::empty();
        }
        if let Ok(id) = HeaderValue::from_str(call.id()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response.headers_mut().insert(SERVER, HeaderValue::from_static("Skiff"));
        self.counters.answered(call.operation(), status);
        debug!(request = %call.id(), %peer, %method, path, status = status.as_u16(), took = ?began.elapsed(), "S3");
        response.map(|body| Leaving::new(body, self.counters.clone(), call))
    }

    async fn answer(&self, request: Request<Incoming>, call: &Call) -> S3Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        if !known_method(&parts.method) {
            return Err(s3_error!(MethodNotAllowed, "S3 has GET, HEAD, PUT, POST and DELETE alone"));
        }
        let query = known::Query::of(&parts)?;
        signed::check(&parts, &query, &self.region)?;
        known::check(&parts, &query)?;
        let body = Arriving::new(body, &parts, self.stall_time_max, call.clone(), self.counters.clone())?;
        parts.extensions.insert(call.clone());
        let request = Request::from_parts(parts, Body::http_body_unsync(body));
        let response = self.service.call(request).await.map_err(|failure| {
            error!(?failure, request = %call.id(), "the S3 protocol failed");
            s3_error!(InternalError, "the endpoint failed; it is in its log")
        })?;
        match call.fault() {
            // Of XML that did not come as it should `s3s` knows no more than that.
            Some(fault) if response.status().is_server_error() => Err(fault.into()),
            _ => Ok(response),
        }
    }
}

fn known_method(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE].contains(method)
}

fn refusal(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|error| {
        error!(%error, "an error of S3 could not be written");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The access keys, for `s3s` to check signatures with.
struct Keys(Arc<dyn AccessKeys>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let key = self.0.access_key(access_key);
        let unknown =
            || s3_error!(InvalidAccessKeyId, "there is no such access key: make one with: skiff key create");
        key.map(|key| SecretKey::from(key.secret)).ok_or_else(unknown)
    }
}

/// Which names buckets may have: those that all things here may have.
struct Names;

impl NameValidation for Names {
    fn validate_bucket_name(&self, name: &str) -> bool {
        name.parse::<Name>().is_ok()
    }
}
