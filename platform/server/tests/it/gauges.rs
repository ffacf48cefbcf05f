//! Metrics, read one by one.

/// Gauges that are at zero when nothing of a service runs.
pub(crate) const AT_REST_AT_ZERO: [&str; 4] =
    ["skiff_memory_bytes", "skiff_sandboxes", "skiff_requests_in_flight", "skiff_requests_queued"];

/// The value of a service's metric, 0 where there is none yet; `api` is `host:port`.
pub(crate) fn gauge(api: &str, metric: &str, service: &str) -> f64 {
    sum(api, &format!("{metric}{{namespace=\"default\",service=\"{service}\"}}"))
}

/// The sum of all series that begin so.
pub(crate) fn sum(api: &str, series: &str) -> f64 {
    let answer = ureq::get(format!("http://{api}/metrics")).call().expect("the API answers");
    let text = answer.into_body().read_to_string().expect("a whole answer");
    let values =
        text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().expect("a number")).sum()
}
