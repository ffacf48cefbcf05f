//! The calls on what moves the counts of services' tasks.

use super::{Client, ClientError};
use crate::{Operation, Page, PageQuery, PutScaling, Scaling, ScalingChange};
use skiff_types::{Name, Namespace};

impl Client {
    /// Says within which bounds a service's count moves, and what moves it.
    pub async fn put_scaling(
        &self,
        namespace: &Namespace,
        service: &Name,
        body: &PutScaling,
        if_match: Option<u64>,
    ) -> Result<Scaling, ClientError> {
        self.put(Operation::PutScaling, &[namespace.as_str(), service.as_str()], body, if_match).await
    }

    /// One page of what moves counts.
    pub async fn list_scaling(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Scaling>, ClientError> {
        self.answer(self.request(Operation::ListScaling, &[namespace.as_str()]).query(query)).await
    }

    /// What moves a service's count.
    pub async fn get_scaling(&self, namespace: &Namespace, service: &Name) -> Result<Scaling, ClientError> {
        let parameters = [namespace.as_str(), service.as_str()];
        self.answer(self.request(Operation::GetScaling, &parameters)).await
    }

    /// Leaves a service's count where it is.
    pub async fn delete_scaling(
        &self,
        namespace: &Namespace,
        service: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteScaling, &[namespace.as_str(), service.as_str()], if_match).await
    }

    /// One page of the changes of a service's count, newest first.
    pub async fn list_scaling_activities(
        &self,
        namespace: &Namespace,
        service: &Name,
        query: &PageQuery,
    ) -> Result<Page<ScalingChange>, ClientError> {
        let parameters = [namespace.as_str(), service.as_str()];
        self.answer(self.request(Operation::ListScalingActivities, &parameters).query(query)).await
    }
}
