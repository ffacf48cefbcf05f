//! The metrics of the S3 endpoint: what it did since it was started. There are none without one.

use super::{Families, metric};
use crate::context::Context;
use crate::meters::S3Reading;
use prometheus::proto::MetricType;

/// A metric of the endpoint: name, help, type, value.
type S3Metric = (&'static str, &'static str, MetricType, fn(&S3Reading) -> u64);

const OF_S3: [S3Metric; 4] = [
    ("skiff_s3_connections", "Connections of the S3 endpoint that are open.", MetricType::GAUGE, |s3| {
        s3.connections
    }),
    (
        "skiff_s3_connections_refused_total",
        "Connections that were refused because their address had as many as one may have.",
        MetricType::COUNTER,
        |s3| s3.connections_refused,
    ),
    (
        "skiff_s3_request_body_bytes_total",
        "Bytes of the bodies of requests by S3, with their framing.",
        MetricType::COUNTER,
        |s3| s3.bytes_in,
    ),
    (
        "skiff_s3_response_body_bytes_total",
        "Bytes of the bodies of answers by S3.",
        MetricType::COUNTER,
        |s3| s3.bytes_out,
    ),
];

/// Adds them.
pub(super) fn add(context: &Context, families: &mut Families) {
    let Some(s3) = context.accounts.s3() else { return };
    for (name, help, kind, value) in OF_S3 {
        families.add(name, help, kind, metric(&[], kind, value(&s3) as f64));
    }
    for requests in &s3.requests {
        let labels =
            [("operation", requests.operation.to_owned()), ("code_class", requests.code_class.to_owned())];
        families.add(
            "skiff_s3_requests_total",
            "Requests by S3, by operation and class of status; those that were refused before it was known are of none.",
            MetricType::COUNTER,
            metric(&labels, MetricType::COUNTER, requests.count as f64),
        );
    }
}
