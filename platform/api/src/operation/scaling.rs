//! The operations on what moves the counts of services' tasks.

use super::{Body, Operation, Spec, of};
use crate::{ErrorCode, Page, PageQuery, PutScaling, Scaling, ScalingChange};
use http::Method;

impl Operation {
    pub(super) fn scaling_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/scaling";
        const ONE: &str = "/v1/namespaces/{namespace}/services/{service}/scaling";
        const ACTIVITIES: &str = "/v1/namespaces/{namespace}/services/{service}/scaling/activities";
        let spec = |method, path, summary| Spec::new(method, path, "scaling", summary);
        match self {
            Self::PutScaling => spec(
                Method::PUT,
                ONE,
                "Says within which bounds a service's count moves, and what moves it; replaces all that was said of it.",
            )
            .if_match()
            .request(Body::Json(of::<PutScaling>))
            .response(200, Body::Json(of::<Scaling>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::ListScaling => spec(Method::GET, ALL, "Lists what moves counts, by the services' names.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Scaling>>)),
            Self::GetScaling => spec(Method::GET, ONE, "Shows what moves a service's count.")
                .response(200, Body::Json(of::<Scaling>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteScaling => {
                spec(Method::DELETE, ONE, "Leaves a service's count where it is, to be set by hand again.")
                    .if_match()
                    .response(204, Body::Empty)
                    .errors(&[ErrorCode::NotFound])
            }
            Self::ListScalingActivities => {
                spec(Method::GET, ACTIVITIES, "Lists the last 100 changes of a service's count, newest first.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<ScalingChange>>))
                    .errors(&[ErrorCode::NotFound])
            }
            other => unreachable!("{other:?} is no operation on scaling"),
        }
    }
}
