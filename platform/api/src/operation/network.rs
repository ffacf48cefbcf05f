//! The operations on security groups and on what they let through.

use super::{Body, Operation, Spec, of};
use crate::{
    ChangeRule, ErrorCode, ExplainQuery, Explanation, FlowQuery, FlowRecord, Page, PageQuery,
    PutSecurityGroup, SecurityGroup, TaskNetwork,
};
use http::Method;

impl Operation {
    pub(super) fn network_spec(self) -> Spec {
        match self {
            Self::PutSecurityGroup
            | Self::ListSecurityGroups
            | Self::GetSecurityGroup
            | Self::DeleteSecurityGroup
            | Self::AllowRule
            | Self::RevokeRule => self.security_group_spec(),
            Self::GetTaskNetwork | Self::ExplainConnection | Self::ReadFlows => self.flow_spec(),
            other => unreachable!("{other:?} is no operation on the network"),
        }
    }

    fn security_group_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/security-groups";
        const ONE: &str = "/v1/namespaces/{namespace}/security-groups/{security_group}";
        const ALLOW: &str = "/v1/namespaces/{namespace}/security-groups/{security_group}/allow";
        const REVOKE: &str = "/v1/namespaces/{namespace}/security-groups/{security_group}/revoke";
        let spec = |method, path, summary| Spec::new(method, path, "security groups", summary);
        match self {
            Self::PutSecurityGroup => {
                spec(Method::PUT, ONE, "Creates a security group, or changes all that it allows.")
                    .if_match()
                    .request(Body::Json(of::<PutSecurityGroup>))
                    .response(200, Body::Json(of::<SecurityGroup>))
                    .errors(&[ErrorCode::NotFound])
            }
            Self::ListSecurityGroups => {
                spec(Method::GET, ALL, "Lists security groups by name, the default one among them.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<SecurityGroup>>))
            }
            Self::GetSecurityGroup => spec(Method::GET, ONE, "Shows a security group.")
                .response(200, Body::Json(of::<SecurityGroup>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteSecurityGroup => spec(
                Method::DELETE,
                ONE,
                "Removes a security group in which no task is, and which no service and no other group names.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::AllowRule => spec(
                Method::POST,
                ALLOW,
                "Adds a rule to a security group, for each next connection; one that it has already changes nothing.",
            )
            .if_match()
            .request(Body::Json(of::<ChangeRule>))
            .response(200, Body::Json(of::<SecurityGroup>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::RevokeRule => spec(
                Method::POST,
                REVOKE,
                "Takes a rule from a security group; connections that no other rule allows are cut.",
            )
            .if_match()
            .request(Body::Json(of::<ChangeRule>))
            .response(200, Body::Json(of::<SecurityGroup>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on security groups"),
        }
    }

    fn flow_spec(self) -> Spec {
        let spec = |path, summary| Spec::new(Method::GET, path, "network", summary);
        match self {
            Self::GetTaskNetwork => spec(
                "/v1/namespaces/{namespace}/tasks/{task}/network",
                "Shows a task's addresses, security groups, listening ports and open connections.",
            )
            .response(200, Body::Json(of::<TaskNetwork>))
            .errors(&[ErrorCode::NotFound]),
            Self::ExplainConnection => spec(
                "/v1/namespaces/{namespace}/network/explain",
                "Says which rules allow a connection, or which one is missing.",
            )
            .query(of::<ExplainQuery>)
            .response(200, Body::Json(of::<Explanation>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            Self::ReadFlows => spec(
                "/v1/namespaces/{namespace}/network/flows",
                "Streams the flow log: who was connected with whom, and who was kept from it, oldest first.",
            )
            .query(of::<FlowQuery>)
            .response(200, Body::JsonLines(of::<FlowRecord>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on flows"),
        }
    }
}
