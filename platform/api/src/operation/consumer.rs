//! The operations on consumers of queues.

use super::{Body, Operation, Spec, of};
use crate::{Consumer, ErrorCode, Page, PageQuery, PutConsumer};
use http::Method;

impl Operation {
    pub(super) fn consumer_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/consumers";
        const ONE: &str = "/v1/namespaces/{namespace}/consumers/{consumer}";
        let spec = |method, path, summary| Spec::new(method, path, "queues", summary);
        match self {
            Self::PutConsumer => spec(
                Method::PUT,
                ONE,
                "Has a service be given the messages of a queue, or replaces all that is said of that.",
            )
            .if_match()
            .request(Body::Json(of::<PutConsumer>))
            .response(200, Body::Json(of::<Consumer>))
            .errors(&[
                ErrorCode::NotFound,
                ErrorCode::Conflict,
                ErrorCode::FailedPrecondition,
                ErrorCode::ResourceExhausted,
            ]),
            Self::ListConsumers => {
                spec(Method::GET, ALL, "Lists consumers of queues by name, and what has come of them.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<Consumer>>))
            }
            Self::GetConsumer => {
                spec(Method::GET, ONE, "Shows a consumer of a queue, and what has come of it.")
                    .response(200, Body::Json(of::<Consumer>))
                    .errors(&[ErrorCode::NotFound])
            }
            Self::DeleteConsumer => spec(
                Method::DELETE,
                ONE,
                "Has a service be given no more messages of a queue; what tasks have of them is finished.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on consumers"),
        }
    }
}
