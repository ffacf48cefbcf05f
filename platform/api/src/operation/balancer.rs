//! The operations on the load balancer's listeners, rules, target groups and certificates.

use super::{Body, Operation, Spec, of};
use crate::{
    Certificate, ErrorCode, ExplainRequest, Listener, ListenerRule, ListenerRuleListQuery, Page, PageQuery,
    PutCertificate, PutListener, PutListenerRule, PutTargetGroup, RequestExplanation, Target, TargetGroup,
};
use http::Method;

impl Operation {
    pub(super) fn balancer_spec(self) -> Spec {
        match self {
            Self::PutListener
            | Self::ListListeners
            | Self::GetListener
            | Self::DeleteListener
            | Self::ExplainRequest => self.listener_spec(),
            Self::PutRule | Self::ListRules | Self::GetRule | Self::DeleteRule => self.rule_spec(),
            Self::PutTargetGroup
            | Self::ListTargetGroups
            | Self::GetTargetGroup
            | Self::DeleteTargetGroup
            | Self::ListTargets => self.target_group_spec(),
            Self::PutCertificate
            | Self::ListCertificates
            | Self::GetCertificate
            | Self::DeleteCertificate => self.certificate_spec(),
            other => unreachable!("{other:?} is no operation on the load balancer"),
        }
    }

    fn listener_spec(self) -> Spec {
        const ALL: &str = "/v1/listeners";
        const ONE: &str = "/v1/listeners/{listener}";
        const EXPLAIN: &str = "/v1/listeners/{listener}/explain";
        let spec = |method, path, summary| Spec::new(method, path, "listeners", summary);
        match self {
            Self::PutListener => spec(Method::PUT, ONE, "Creates a listener, or changes it.")
                .if_match()
                .request(Body::Json(of::<PutListener>))
                .response(200, Body::Json(of::<Listener>))
                .errors(&[
                    ErrorCode::NotFound,
                    ErrorCode::Conflict,
                    ErrorCode::FailedPrecondition,
                    ErrorCode::ResourceExhausted,
                ]),
            Self::ListListeners => spec(Method::GET, ALL, "Lists listeners by name, `http` among them.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Listener>>)),
            Self::GetListener => spec(Method::GET, ONE, "Shows a listener.")
                .response(200, Body::Json(of::<Listener>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteListener => spec(
                Method::DELETE,
                ONE,
                "Removes a listener that has no rules; `http` stays, and is again as it was at first.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::ExplainRequest => spec(
                Method::POST,
                EXPLAIN,
                "Says which rule would take a request, and why the ones before it would not.",
            )
            .request(Body::Json(of::<ExplainRequest>))
            .response(200, Body::Json(of::<RequestExplanation>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            other => unreachable!("{other:?} is no operation on listeners"),
        }
    }

    fn rule_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/rules";
        const ONE: &str = "/v1/namespaces/{namespace}/rules/{rule}";
        let spec = |method, path, summary| Spec::new(method, path, "rules", summary);
        match self {
            Self::PutRule => {
                spec(Method::PUT, ONE, "Creates a rule of a listener, or replaces all that it says.")
                    .if_match()
                    .request(Body::Json(of::<PutListenerRule>))
                    .response(200, Body::Json(of::<ListenerRule>))
                    .errors(&[
                        ErrorCode::NotFound,
                        ErrorCode::Conflict,
                        ErrorCode::FailedPrecondition,
                        ErrorCode::ResourceExhausted,
                    ])
            }
            Self::ListRules => spec(Method::GET, ALL, "Lists rules by name.")
                .query(of::<ListenerRuleListQuery>)
                .response(200, Body::Json(of::<Page<ListenerRule>>)),
            Self::GetRule => spec(Method::GET, ONE, "Shows a rule.")
                .response(200, Body::Json(of::<ListenerRule>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteRule => spec(Method::DELETE, ONE, "Removes a rule.")
                .if_match()
                .response(204, Body::Empty)
                .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on rules"),
        }
    }

    fn target_group_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/target-groups";
        const ONE: &str = "/v1/namespaces/{namespace}/target-groups/{target_group}";
        let spec = |method, path, summary| Spec::new(method, path, "target groups", summary);
        match self {
            Self::PutTargetGroup => spec(Method::PUT, ONE, "Creates a target group, or changes it.")
                .if_match()
                .request(Body::Json(of::<PutTargetGroup>))
                .response(200, Body::Json(of::<TargetGroup>))
                .errors(&[
                    ErrorCode::NotFound,
                    ErrorCode::FailedPrecondition,
                    ErrorCode::ResourceExhausted,
                ]),
            Self::ListTargetGroups => spec(
                Method::GET,
                ALL,
                "Lists target groups by name; not those that services are without one of their name.",
            )
            .query(of::<PageQuery>)
            .response(200, Body::Json(of::<Page<TargetGroup>>)),
            Self::GetTargetGroup => spec(Method::GET, ONE, "Shows a target group.")
                .response(200, Body::Json(of::<TargetGroup>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteTargetGroup => spec(
                Method::DELETE,
                ONE,
                "Removes a target group that no rule and no listener names, unless there is a service of its name.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::ListTargets => spec(
                Method::GET,
                "/v1/namespaces/{namespace}/target-groups/{target_group}/targets",
                "Lists the targets of a target group and how each of them is; of one that a service is, too.",
            )
            .query(of::<PageQuery>)
            .response(200, Body::Json(of::<Page<Target>>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on target groups"),
        }
    }

    fn certificate_spec(self) -> Spec {
        const ALL: &str = "/v1/certificates";
        const ONE: &str = "/v1/certificates/{certificate}";
        let spec = |method, path, summary| Spec::new(method, path, "certificates", summary);
        match self {
            Self::PutCertificate => spec(
                Method::PUT,
                ONE,
                "Imports a certificate with its private key, or exchanges it; connections go on.",
            )
            .if_match()
            .request(Body::Json(of::<PutCertificate>))
            .response(200, Body::Json(of::<Certificate>))
            .errors(&[ErrorCode::ResourceExhausted]),
            Self::ListCertificates => spec(Method::GET, ALL, "Lists certificates by name.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Certificate>>)),
            Self::GetCertificate => spec(Method::GET, ONE, "Shows a certificate, without its private key.")
                .response(200, Body::Json(of::<Certificate>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteCertificate => {
                spec(Method::DELETE, ONE, "Removes a certificate that no listener names.")
                    .if_match()
                    .response(204, Body::Empty)
                    .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition])
            }
            other => unreachable!("{other:?} is no operation on certificates"),
        }
    }
}
