//! The operations on buses, their rules and targets, on schedules, and on the events themselves.

use super::{Body, Operation, Spec, of};
use crate::{
    Bus, ErrorCode, EventPatternTest, EventRule, EventRuleListQuery, EventSchedule, EventTarget, Page,
    PageQuery, PutBus, PutEventRule, PutEventSchedule, PutEventsAnswer, TailQuery, TailedEvent,
    TestEventPattern,
};
use http::Method;

/// What an event is put as; the others that are taken are said in the summary.
const CLOUDEVENTS: &str = "application/cloudevents+json";

impl Operation {
    pub(super) fn bus_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/buses";
        const ONE: &str = "/v1/namespaces/{namespace}/buses/{bus}";
        const EVENTS: &str = "/v1/namespaces/{namespace}/buses/{bus}/events";
        let spec = |method, path, summary| Spec::new(method, path, "buses", summary);
        match self {
            Self::PutBus => spec(Method::PUT, ONE, "Creates a bus; one that is there stays as it is.")
                .if_match()
                .request(Body::Json(of::<PutBus>))
                .response(200, Body::Json(of::<Bus>))
                .errors(&[ErrorCode::ResourceExhausted]),
            Self::ListBuses => spec(Method::GET, ALL, "Lists buses by name, the default one among them.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Bus>>)),
            Self::GetBus => spec(Method::GET, ONE, "Shows a bus.")
                .response(200, Body::Json(of::<Bus>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteBus => spec(Method::DELETE, ONE, "Removes a bus that no rule, no target and no bucket names.")
                .if_match()
                .response(204, Body::Empty)
                .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::PutEvents => spec(
                Method::POST,
                EVENTS,
                "Puts events, all or none: CloudEvents 1.0 in structured, binary or batch mode, or EventBridge's entries as \
                 application/json. An access key will do: \"Authorization: Bearer ID:SECRET\".",
            )
            .request(Body::Raw(CLOUDEVENTS))
            .response(200, Body::Json(of::<PutEventsAnswer>))
            .errors(&[ErrorCode::Forbidden, ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::TailEvents => spec(Method::GET, EVENTS, "Streams the events of a bus as they come from now on.")
                .query(of::<TailQuery>)
                .response(200, Body::JsonLines(of::<TailedEvent>))
                .errors(&[ErrorCode::NotFound]),
            Self::TestEventPattern => {
                spec(Method::POST, "/v1/event-patterns/test", "Says whether an event pattern takes an event.")
                    .request(Body::Json(of::<TestEventPattern>))
                    .response(200, Body::Json(of::<EventPatternTest>))
            }
            other => unreachable!("{other:?} is no operation on buses"),
        }
    }

    pub(super) fn event_rule_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/event-rules";
        const ONE: &str = "/v1/namespaces/{namespace}/event-rules/{event_rule}";
        const TARGET: &str = "/v1/namespaces/{namespace}/event-rules/{event_rule}/targets/{target}";
        let spec = |method, path, summary| Spec::new(method, path, "buses", summary);
        match self {
            Self::PutEventRule => spec(
                Method::PUT,
                ONE,
                "Creates a rule of a bus, or replaces what it says; targets that are left out stay.",
            )
            .if_match()
            .request(Body::Json(of::<PutEventRule>))
            .response(200, Body::Json(of::<EventRule>))
            .errors(&[
                ErrorCode::NotFound,
                ErrorCode::FailedPrecondition,
                ErrorCode::ResourceExhausted,
            ]),
            Self::ListEventRules => spec(Method::GET, ALL, "Lists rules of buses by name.")
                .query(of::<EventRuleListQuery>)
                .response(200, Body::Json(of::<Page<EventRule>>)),
            Self::GetEventRule => spec(Method::GET, ONE, "Shows a rule of a bus, with its targets.")
                .response(200, Body::Json(of::<EventRule>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteEventRule => spec(
                Method::DELETE,
                ONE,
                "Removes a rule of a bus, with its targets; what is on its way to them is given up.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound]),
            Self::PutEventTarget => {
                spec(Method::PUT, TARGET, "Adds a target to a rule, or replaces all that one says.")
                    .if_match()
                    .request(Body::Json(of::<EventTarget>))
                    .response(200, Body::Json(of::<EventRule>))
                    .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition])
            }
            Self::DeleteEventTarget => spec(
                Method::DELETE,
                TARGET,
                "Removes a target from a rule; what is on its way to it is given up.",
            )
            .if_match()
            .response(200, Body::Json(of::<EventRule>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on rules of buses"),
        }
    }

    pub(super) fn event_schedule_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/event-schedules";
        const ONE: &str = "/v1/namespaces/{namespace}/event-schedules/{event_schedule}";
        let spec = |method, path, summary| Spec::new(method, path, "schedules", summary);
        match self {
            Self::PutEventSchedule => {
                spec(Method::PUT, ONE, "Creates a schedule, or replaces all that it says.")
                    .if_match()
                    .request(Body::Json(of::<PutEventSchedule>))
                    .response(200, Body::Json(of::<EventSchedule>))
                    .errors(&[
                        ErrorCode::NotFound,
                        ErrorCode::FailedPrecondition,
                        ErrorCode::ResourceExhausted,
                    ])
            }
            Self::ListEventSchedules => {
                spec(Method::GET, ALL, "Lists schedules by name, and when they are due.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<EventSchedule>>))
            }
            Self::GetEventSchedule => spec(Method::GET, ONE, "Shows a schedule, and when it is due.")
                .response(200, Body::Json(of::<EventSchedule>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteEventSchedule => spec(Method::DELETE, ONE, "Removes a schedule.")
                .if_match()
                .response(204, Body::Empty)
                .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on schedules"),
        }
    }
}
