//! The operations on metrics that have a memory.

use super::{Body, Operation, Spec, of};
use crate::{ErrorCode, Metric, MetricListQuery, MetricQuery, MetricSeries, Page, PutMetricData};
use http::Method;

impl Operation {
    pub(super) fn metric_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/metrics";
        const ONE: &str = "/v1/namespaces/{namespace}/metrics/{metric}";
        let spec = |method, path, summary| Spec::new(method, path, "metrics", summary);
        match self {
            Self::PutMetricData => {
                spec(Method::POST, ALL, "Takes in values of custom metrics: all of them, or none.")
                    .request(Body::Json(of::<PutMetricData>))
                    .response(204, Body::Empty)
                    .errors(&[ErrorCode::ResourceExhausted])
            }
            Self::ListMetrics => spec(
                Method::GET,
                ALL,
                "Lists the series that have values: those of services, of one task, and custom ones.",
            )
            .query(of::<MetricListQuery>)
            .response(200, Body::Json(of::<Page<Metric>>))
            .errors(&[ErrorCode::NotFound]),
            Self::GetMetric => spec(
                Method::GET,
                ONE,
                "Says what a statistic makes of a series, period by period. An idle service is measured from the first \
                 such call on.",
            )
            .query(of::<MetricQuery>)
            .response(200, Body::Json(of::<MetricSeries>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on metrics"),
        }
    }
}
