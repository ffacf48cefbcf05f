//! The calls on roles and access keys.

use super::{Client, ClientError};
use crate::{
    AccessExplanation, AccessKey, AccessQuery, CreateAccessKey, CreatedAccessKey, Operation, Page, PageQuery,
    PutRole, Role,
};
use skiff_types::{AccessKeyId, Name, Namespace};

impl Client {
    /// Creates a role, or replaces all that it allows.
    pub async fn put_role(
        &self,
        namespace: &Namespace,
        role: &Name,
        body: &PutRole,
        if_match: Option<u64>,
    ) -> Result<Role, ClientError> {
        self.put(Operation::PutRole, &[namespace.as_str(), role.as_str()], body, if_match).await
    }

    /// One page of the roles.
    pub async fn list_roles(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Role>, ClientError> {
        self.answer(self.request(Operation::ListRoles, &[namespace.as_str()]).query(query)).await
    }

    /// A role.
    pub async fn get_role(&self, namespace: &Namespace, role: &Name) -> Result<Role, ClientError> {
        self.answer(self.request(Operation::GetRole, &[namespace.as_str(), role.as_str()])).await
    }

    /// Whether a role may do something, and why.
    pub async fn explain_access(
        &self,
        namespace: &Namespace,
        role: &Name,
        query: &AccessQuery,
    ) -> Result<AccessExplanation, ClientError> {
        let parameters = [namespace.as_str(), role.as_str()];
        self.answer(self.request(Operation::ExplainAccess, &parameters).query(query)).await
    }

    /// Removes a role that nobody holds.
    pub async fn delete_role(
        &self,
        namespace: &Namespace,
        role: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteRole, &[namespace.as_str(), role.as_str()], if_match).await
    }

    /// Makes an access key.
    pub async fn create_access_key(
        &self,
        namespace: &Namespace,
        body: &CreateAccessKey,
    ) -> Result<CreatedAccessKey, ClientError> {
        self.answer(self.request(Operation::CreateAccessKey, &[namespace.as_str()]).json(body)).await
    }

    /// One page of the access keys.
    pub async fn list_access_keys(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<AccessKey>, ClientError> {
        self.answer(self.request(Operation::ListAccessKeys, &[namespace.as_str()]).query(query)).await
    }

    /// Removes an access key.
    pub async fn delete_access_key(
        &self,
        namespace: &Namespace,
        key: &AccessKeyId,
    ) -> Result<(), ClientError> {
        let parameters = [namespace.as_str(), key.as_str()];
        self.send(self.request(Operation::DeleteAccessKey, &parameters)).await.map(drop)
    }
}
