//! The calls on security groups and on what they let through, and the connection to a task past them.

use super::{Client, ClientError, lines, without_timeout};
use crate::{
    ChangeRule, ExplainQuery, Explanation, FORWARD_PROTOCOL, FlowQuery, FlowRecord, ForwardQuery, Operation,
    Page, PageQuery, PutSecurityGroup, SecurityGroup, TaskNetwork,
};
use futures::stream::BoxStream;
use http::StatusCode;
use http::header::{ACCEPT, CONNECTION, UPGRADE};
use reqwest::Upgraded;
use skiff_types::{Name, Namespace, Rule, TaskId};

impl Client {
    /// Creates a security group, or changes all that it allows.
    pub async fn put_security_group(
        &self,
        namespace: &Namespace,
        group: &Name,
        body: &PutSecurityGroup,
        if_match: Option<u64>,
    ) -> Result<SecurityGroup, ClientError> {
        self.put(Operation::PutSecurityGroup, &[namespace.as_str(), group.as_str()], body, if_match).await
    }

    /// One page of the security groups.
    pub async fn list_security_groups(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<SecurityGroup>, ClientError> {
        self.answer(self.request(Operation::ListSecurityGroups, &[namespace.as_str()]).query(query)).await
    }

    /// A security group.
    pub async fn get_security_group(
        &self,
        namespace: &Namespace,
        group: &Name,
    ) -> Result<SecurityGroup, ClientError> {
        let parameters = [namespace.as_str(), group.as_str()];
        self.answer(self.request(Operation::GetSecurityGroup, &parameters)).await
    }

    /// Removes a security group that nothing uses.
    pub async fn delete_security_group(
        &self,
        namespace: &Namespace,
        group: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteSecurityGroup, &[namespace.as_str(), group.as_str()], if_match).await
    }

    /// Adds a rule to a security group.
    pub async fn allow_rule(
        &self,
        namespace: &Namespace,
        group: &Name,
        rule: &Rule,
    ) -> Result<SecurityGroup, ClientError> {
        self.change_rule(Operation::AllowRule, namespace, group, rule).await
    }

    /// Takes a rule from a security group.
    pub async fn revoke_rule(
        &self,
        namespace: &Namespace,
        group: &Name,
        rule: &Rule,
    ) -> Result<SecurityGroup, ClientError> {
        self.change_rule(Operation::RevokeRule, namespace, group, rule).await
    }

    /// A task's addresses, security groups, listening ports and open connections.
    pub async fn task_network(
        &self,
        namespace: &Namespace,
        task: TaskId,
    ) -> Result<TaskNetwork, ClientError> {
        let parameters = [namespace.as_str(), &task.to_string()];
        self.answer(self.request(Operation::GetTaskNetwork, &parameters)).await
    }

    /// Which rules allow a connection, or which one is missing.
    pub async fn explain(
        &self,
        namespace: &Namespace,
        query: &ExplainQuery,
    ) -> Result<Explanation, ClientError> {
        self.answer(self.request(Operation::ExplainConnection, &[namespace.as_str()]).query(query)).await
    }

    /// Records of the flow log, oldest first. With `follow` the stream does not end by itself.
    pub async fn read_flows(
        &self,
        namespace: &Namespace,
        query: &FlowQuery,
    ) -> Result<BoxStream<'static, Result<FlowRecord, ClientError>>, ClientError> {
        let request = self.request(Operation::ReadFlows, &[namespace.as_str()]).query(query);
        let request = without_timeout(request).header(ACCEPT, "application/x-ndjson");
        Ok(lines::read(self.send(request).await?, self.url().to_owned()))
    }

    /// A connection to a port of a task. Shutting it down ends what is written, and what the task writes still comes;
    /// dropping it ends both.
    pub async fn forward(
        &self,
        namespace: &Namespace,
        task: TaskId,
        query: &ForwardQuery,
    ) -> Result<Upgraded, ClientError> {
        let parameters = [namespace.as_str(), &task.to_string()];
        let request = self.request(Operation::ForwardTask, &parameters).query(query);
        let response =
            self.send(request.header(CONNECTION, "upgrade").header(UPGRADE, FORWARD_PROTOCOL)).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::NotSkiff { url: self.url().to_owned(), status });
        }
        response.upgrade().await.map_err(|error| self.failure(error))
    }

    async fn change_rule(
        &self,
        operation: Operation,
        namespace: &Namespace,
        group: &Name,
        rule: &Rule,
    ) -> Result<SecurityGroup, ClientError> {
        let parameters = [namespace.as_str(), group.as_str()];
        self.answer(self.request(operation, &parameters).json(&ChangeRule { rule: rule.clone() })).await
    }
}
