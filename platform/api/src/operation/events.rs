//! The operation on the stream of events.

use super::{Body, Operation, Spec, of};
use crate::{ErrorCode, Event, EventQuery};
use http::Method;

impl Operation {
    pub(super) fn event_spec(self) -> Spec {
        match self {
            Self::ReadEvents => Spec::new(
                Method::GET,
                "/v1/namespaces/{namespace}/events",
                "events",
                "Streams what happened to tasks, services and alarms, oldest first.",
            )
            .query(of::<EventQuery>)
            .response(200, Body::JsonLines(of::<Event>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on events"),
        }
    }
}
