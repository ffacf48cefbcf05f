//! The operations on alarms.

use super::{Body, Operation, Spec, of};
use crate::{Alarm, AlarmTransition, ErrorCode, Page, PageQuery, PutAlarm};
use http::Method;

impl Operation {
    pub(super) fn alarm_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/alarms";
        const ONE: &str = "/v1/namespaces/{namespace}/alarms/{alarm}";
        const HISTORY: &str = "/v1/namespaces/{namespace}/alarms/{alarm}/history";
        let spec = |method, path, summary| Spec::new(method, path, "alarms", summary);
        match self {
            Self::PutAlarm => {
                spec(Method::PUT, ONE, "Creates an alarm, or replaces all that it says; its state stays.")
                    .if_match()
                    .request(Body::Json(of::<PutAlarm>))
                    .response(200, Body::Json(of::<Alarm>))
                    .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted])
            }
            Self::ListAlarms => spec(Method::GET, ALL, "Lists alarms by name.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Alarm>>)),
            Self::GetAlarm => spec(Method::GET, ONE, "Shows an alarm: what it watches, and what it says.")
                .response(200, Body::Json(of::<Alarm>))
                .errors(&[ErrorCode::NotFound]),
            Self::ListAlarmHistory => {
                spec(Method::GET, HISTORY, "Lists the last 100 changes of an alarm's state, newest first.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<AlarmTransition>>))
                    .errors(&[ErrorCode::NotFound])
            }
            Self::DeleteAlarm => spec(
                Method::DELETE,
                ONE,
                "Removes an alarm that no scaling policy and no service's deployment names.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            other => unreachable!("{other:?} is no operation on alarms"),
        }
    }
}
