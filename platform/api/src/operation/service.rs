//! The operations on services and their deployments.

use super::{Body, Operation, Spec, of};
use crate::{
    ChangeRollout, ColdStartReport, ColdStartRequest, Deployment, ErrorCode, Page, PageQuery, PutService,
    RollbackService, ScaleService, Service,
};
use http::Method;

impl Operation {
    pub(super) fn service_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/services";
        const ONE: &str = "/v1/namespaces/{namespace}/services/{service}";
        const ROLLOUT: &str = "/v1/namespaces/{namespace}/services/{service}/rollout";
        let spec = |method, path, summary| Spec::new(method, path, "services", summary);
        match self {
            Self::PutService => spec(Method::PUT, ONE, "Creates a service or updates it.")
                .if_match()
                .request(Body::Json(of::<PutService>))
                .response(200, Body::Json(of::<Service>))
                .errors(&[ErrorCode::NotFound, ErrorCode::Conflict]),
            Self::CheckService => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/services/{service}/check",
                "Says whether a service could be so, whatever its definition, which need not be there; changes nothing.",
            )
            .request(Body::Json(of::<PutService>))
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::Conflict]),
            Self::ListServices => spec(Method::GET, ALL, "Lists services by name.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Service>>)),
            Self::GetService => spec(Method::GET, ONE, "Shows a service: what it is to be and what it is.")
                .response(200, Body::Json(of::<Service>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteService => spec(
                Method::DELETE,
                ONE,
                "Removes a service that no rule and no listener needs, and stops its tasks.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::ScaleService => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/services/{service}/scale",
                "Changes how many tasks a service has.",
            )
            .if_match()
            .request(Body::Json(of::<ScaleService>))
            .response(200, Body::Json(of::<Service>))
            .errors(&[ErrorCode::NotFound]),
            Self::RollbackService => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/services/{service}/rollback",
                "Puts a service back to an earlier revision of its task definition.",
            )
            .if_match()
            .request(Body::Json(of::<RollbackService>))
            .response(200, Body::Json(of::<Service>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition, ErrorCode::Conflict]),
            Self::MeasureColdStarts => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/services/{service}/cold-starts",
                "Measures the stages of cold starts of a service's task.",
            )
            .request(Body::Json(of::<ColdStartRequest>))
            .response(200, Body::Json(of::<ColdStartReport>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::GetRollout => spec(Method::GET, ROLLOUT, "Shows how far a service's deployment is.")
                .response(200, Body::Json(of::<Deployment>))
                .errors(&[ErrorCode::NotFound]),
            Self::ChangeRollout => {
                spec(Method::POST, ROLLOUT, "Halts a service's deployment, has it go on, or gives it up.")
                    .request(Body::Json(of::<ChangeRollout>))
                    .response(200, Body::Json(of::<Service>))
                    .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition])
            }
            other => unreachable!("{other:?} is no operation on services"),
        }
    }
}
