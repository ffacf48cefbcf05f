//! The calls on the load balancer's listeners, rules, target groups and certificates.

use super::{Client, ClientError};
use crate::{
    Certificate, ExplainRequest, Listener, ListenerRule, ListenerRuleListQuery, Operation, Page, PageQuery,
    PutCertificate, PutListener, PutListenerRule, PutTargetGroup, RequestExplanation, Target, TargetGroup,
};
use skiff_types::{Name, Namespace};

impl Client {
    /// Creates a listener, or changes it.
    pub async fn put_listener(
        &self,
        listener: &Name,
        body: &PutListener,
        if_match: Option<u64>,
    ) -> Result<Listener, ClientError> {
        self.put(Operation::PutListener, &[listener.as_str()], body, if_match).await
    }

    /// One page of the listeners.
    pub async fn list_listeners(&self, query: &PageQuery) -> Result<Page<Listener>, ClientError> {
        self.answer(self.request(Operation::ListListeners, &[]).query(query)).await
    }

    /// A listener.
    pub async fn get_listener(&self, listener: &Name) -> Result<Listener, ClientError> {
        self.answer(self.request(Operation::GetListener, &[listener.as_str()])).await
    }

    /// Removes a listener that has no rules; `http` is again as it was at first.
    pub async fn delete_listener(&self, listener: &Name, if_match: Option<u64>) -> Result<(), ClientError> {
        self.remove(Operation::DeleteListener, &[listener.as_str()], if_match).await
    }

    /// Which rule of a listener would take a request, and why the ones before it would not.
    pub async fn explain_request(
        &self,
        listener: &Name,
        body: &ExplainRequest,
    ) -> Result<RequestExplanation, ClientError> {
        self.answer(self.request(Operation::ExplainRequest, &[listener.as_str()]).json(body)).await
    }

    /// Creates a rule of a listener, or replaces all that it says.
    pub async fn put_rule(
        &self,
        namespace: &Namespace,
        rule: &Name,
        body: &PutListenerRule,
        if_match: Option<u64>,
    ) -> Result<ListenerRule, ClientError> {
        self.put(Operation::PutRule, &[namespace.as_str(), rule.as_str()], body, if_match).await
    }

    /// One page of the rules.
    pub async fn list_rules(
        &self,
        namespace: &Namespace,
        query: &ListenerRuleListQuery,
    ) -> Result<Page<ListenerRule>, ClientError> {
        self.answer(self.request(Operation::ListRules, &[namespace.as_str()]).query(query)).await
    }

    /// A rule.
    pub async fn get_rule(&self, namespace: &Namespace, rule: &Name) -> Result<ListenerRule, ClientError> {
        let parameters = [namespace.as_str(), rule.as_str()];
        self.answer(self.request(Operation::GetRule, &parameters)).await
    }

    /// Removes a rule.
    pub async fn delete_rule(
        &self,
        namespace: &Namespace,
        rule: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteRule, &[namespace.as_str(), rule.as_str()], if_match).await
    }

    /// Creates a target group, or changes it.
    pub async fn put_target_group(
        &self,
        namespace: &Namespace,
        target_group: &Name,
        body: &PutTargetGroup,
        if_match: Option<u64>,
    ) -> Result<TargetGroup, ClientError> {
        self.put(Operation::PutTargetGroup, &[namespace.as_str(), target_group.as_str()], body, if_match)
            .await
    }

    /// One page of the target groups.
    pub async fn list_target_groups(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<TargetGroup>, ClientError> {
        self.answer(self.request(Operation::ListTargetGroups, &[namespace.as_str()]).query(query)).await
    }

    /// A target group.
    pub async fn get_target_group(
        &self,
        namespace: &Namespace,
        target_group: &Name,
    ) -> Result<TargetGroup, ClientError> {
        let parameters = [namespace.as_str(), target_group.as_str()];
        self.answer(self.request(Operation::GetTargetGroup, &parameters)).await
    }

    /// Removes a target group that nothing names.
    pub async fn delete_target_group(
        &self,
        namespace: &Namespace,
        target_group: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteTargetGroup, &[namespace.as_str(), target_group.as_str()], if_match)
            .await
    }

    /// One page of the targets of a target group, or of the one that a service is.
    pub async fn list_targets(
        &self,
        namespace: &Namespace,
        target_group: &Name,
        query: &PageQuery,
    ) -> Result<Page<Target>, ClientError> {
        let parameters = [namespace.as_str(), target_group.as_str()];
        self.answer(self.request(Operation::ListTargets, &parameters).query(query)).await
    }

    /// Imports a certificate with its private key, or exchanges it.
    pub async fn put_certificate(
        &self,
        certificate: &Name,
        body: &PutCertificate,
        if_match: Option<u64>,
    ) -> Result<Certificate, ClientError> {
        self.put(Operation::PutCertificate, &[certificate.as_str()], body, if_match).await
    }

    /// One page of the certificates.
    pub async fn list_certificates(&self, query: &PageQuery) -> Result<Page<Certificate>, ClientError> {
        self.answer(self.request(Operation::ListCertificates, &[]).query(query)).await
    }

    /// A certificate.
    pub async fn get_certificate(&self, certificate: &Name) -> Result<Certificate, ClientError> {
        self.answer(self.request(Operation::GetCertificate, &[certificate.as_str()])).await
    }

    /// Removes a certificate that no listener names.
    pub async fn delete_certificate(
        &self,
        certificate: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteCertificate, &[certificate.as_str()], if_match).await
    }
}
