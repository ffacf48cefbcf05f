//! The calls on metrics that have a memory.

use super::{Client, ClientError};
use crate::{Metric, MetricListQuery, MetricQuery, MetricSeries, Operation, Page, PutMetricData};
use skiff_types::{MetricName, Namespace};

impl Client {
    /// Takes in values of custom metrics, all of them or none.
    pub async fn put_metric_data(
        &self,
        namespace: &Namespace,
        body: &PutMetricData,
    ) -> Result<(), ClientError> {
        let request = self.request(Operation::PutMetricData, &[namespace.as_str()]).json(body);
        self.send(request).await.map(drop)
    }

    /// One page of the series that have values.
    pub async fn list_metrics(
        &self,
        namespace: &Namespace,
        query: &MetricListQuery,
    ) -> Result<Page<Metric>, ClientError> {
        self.answer(self.request(Operation::ListMetrics, &[namespace.as_str()]).query(query)).await
    }

    /// What a statistic makes of a series.
    pub async fn get_metric(
        &self,
        namespace: &Namespace,
        metric: &MetricName,
        query: &MetricQuery,
    ) -> Result<MetricSeries, ClientError> {
        let parameters = [namespace.as_str(), metric.as_str()];
        self.answer(self.request(Operation::GetMetric, &parameters).query(query)).await
    }
}
