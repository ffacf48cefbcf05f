//! Metrics with a memory: what the node measured is there second by second, over a restart too, and so are values of one's own.

use crate::fixture::{Platform, name, namespace, until};
use skiff_api::{
    ErrorCode, Metric, MetricDatum, MetricListQuery, MetricQuery, MetricSeries, PutMetricData, StatisticSet,
    Task,
};
use skiff_control::{Readings, TaskReading};
use skiff_ledger::Totals;
use skiff_ports::metrics::{GuestMetrics, GuestPoint};
use skiff_types::{Datum, MetricOf, SeriesId};

/// Has the node say that a task of `hello` has used so much in all.
fn used(platform: &Platform, task: &Task, cpu_ms: u64, requests: u64) {
    let mut totals = Totals {
        cpu_ns: cpu_ms * 1_000_000,
        responses: [requests, 0, 0, 0],
        memory_bytes: 32 << 20,
        ..Totals::default()
    };
    // 50 to 75 microseconds each.
    totals.request_duration.buckets[6] = requests;
    totals.request_duration.sum_ns = requests * 60_000;
    let reading =
        TaskReading { task: task.id, owner: "default/hello".parse().unwrap(), in_service: true, totals };
    *platform.meters.0.lock().unwrap() = Readings { living: vec![reading], ended: vec![] };
}

async fn started() -> (Platform, Task) {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    let task = platform.running("hello").await.remove(0);
    (platform, task)
}

async fn get(platform: &Platform, metric: &str, query: MetricQuery) -> MetricSeries {
    platform.client.get_metric(&namespace(), &metric.parse().unwrap(), &query).await.unwrap()
}

/// All values of the last quarter of an hour put together.
async fn over_all(platform: &Platform, metric: &str, statistic: &str, query: MetricQuery) -> Option<f64> {
    let statistic = Some(statistic.parse().unwrap());
    let series =
        get(platform, metric, MetricQuery { statistic, period: Some("1d".parse().unwrap()), ..query }).await;
    series.points.iter().find_map(|point| point.value)
}

fn of_hello() -> MetricQuery {
    MetricQuery { service: Some(name("hello")), ..MetricQuery::default() }
}

fn datum(metric: &str, value: f64) -> MetricDatum {
    MetricDatum {
        metric: metric.parse().unwrap(),
        dimensions: Default::default(),
        at_ms: None,
        value: Some(value),
        values: None,
        counts: None,
        statistics: None,
    }
}

async fn put(platform: &Platform, data: Vec<MetricDatum>) -> Option<ErrorCode> {
    let put = platform.client.put_metric_data(&namespace(), &PutMetricData { data }).await;
    put.err().map(|error| error.code().unwrap())
}

#[tokio::test]
async fn what_a_service_does_is_measured_by_the_second_and_counted_once() {
    let (platform, task) = started().await;
    let none = platform.client.list_metrics(&namespace(), &MetricListQuery::default()).await.unwrap();
    assert!(none.items.is_empty(), "nobody called it");
    used(&platform, &task, 500, 90);
    until("the requests are counted", || async {
        (over_all(&platform, "RequestCount", "Sum", of_hello()).await == Some(90.0)).then_some(())
    })
    .await;
    used(&platform, &task, 900, 100);
    until("the next requests are counted", || async {
        (over_all(&platform, "requestcount", "Sum", of_hello()).await == Some(100.0)).then_some(())
    })
    .await;
    let p99 = over_all(&platform, "TargetResponseTime", "p99", of_hello()).await.unwrap();
    assert!((50e-6..=75e-6).contains(&p99), "{p99}");
    let average = over_all(&platform, "TargetResponseTime", "Average", of_hello()).await.unwrap();
    assert!((average - 60e-6).abs() < 1e-9, "{average}");
    assert_eq!(over_all(&platform, "RunningTaskCount", "Maximum", of_hello()).await, Some(1.0));
    assert!(over_all(&platform, "CPUUtilization", "Maximum", of_hello()).await.unwrap() > 0.0);
    let memory = over_all(&platform, "MemoryUtilization", "Maximum", of_hello()).await.unwrap();
    let of_task = MetricQuery { task: Some(task.id), ..MetricQuery::default() };
    assert_eq!(over_all(&platform, "MemoryUtilization", "Maximum", of_task).await, Some(memory));
    let listed = platform.client.list_metrics(&namespace(), &MetricListQuery::default()).await.unwrap().items;
    let is_of_bus = |metric: &Metric| metric.metric.as_str() == "EventsPut";
    let is_of_hello = |metric: &Metric| metric.service == Some(name("hello"));
    assert!(listed.iter().all(|metric| is_of_hello(metric) || is_of_bus(metric)), "{listed:?}");
    assert!(!listed.iter().any(|metric| metric.metric.as_str() == "HTTPCode_Target_5XX_Count"), "{listed:?}");
}

#[tokio::test]
async fn what_was_measured_is_there_over_a_restart() {
    let (platform, task) = started().await;
    used(&platform, &task, 500, 90);
    let custom = MetricQuery::default;
    until("the requests are counted", || async {
        (over_all(&platform, "RequestCount", "Sum", of_hello()).await == Some(90.0)).then_some(())
    })
    .await;
    assert_eq!(put(&platform, vec![datum("jobs", 4.5), datum("jobs", 1.5)]).await, None);
    let platform = Platform::start_on(platform.stop().await).await;
    assert_eq!(over_all(&platform, "RequestCount", "Sum", of_hello()).await, Some(90.0));
    assert_eq!(over_all(&platform, "jobs", "Sum", custom()).await, Some(6.0));
    assert_eq!(over_all(&platform, "jobs", "SampleCount", custom()).await, Some(2.0));
    assert_eq!(put(&platform, vec![datum("jobs", 4.0)]).await, None);
    assert_eq!(over_all(&platform, "jobs", "Sum", custom()).await, Some(10.0));
}

#[tokio::test]
async fn values_of_ones_own_are_taken_all_or_none() {
    let platform = Platform::start().await;
    let bad = StatisticSet { sample_count: 0, sum: 0.0, minimum: 0.0, maximum: 0.0 };
    let bad = MetricDatum { value: None, statistics: Some(bad), ..datum("jobs", 0.0) };
    assert_eq!(put(&platform, vec![datum("jobs", 1.0), bad]).await, Some(ErrorCode::InvalidArgument));
    assert_eq!(over_all(&platform, "jobs", "Sum", MetricQuery::default()).await, None);
    let dimensioned = MetricDatum { dimensions: "queue=mails".parse().unwrap(), ..datum("jobs", 3.0) };
    assert_eq!(put(&platform, vec![datum("jobs", 1.0), dimensioned]).await, None);
    assert_eq!(over_all(&platform, "jobs", "Sum", MetricQuery::default()).await, Some(1.0));
    let query = MetricQuery { dimensions: "queue=mails".parse().unwrap(), ..MetricQuery::default() };
    assert_eq!(over_all(&platform, "jobs", "Sum", query).await, Some(3.0));

    let other = "other".parse().unwrap();
    let listed = platform.client.list_metrics(&other, &MetricListQuery::default()).await.unwrap();
    assert!(listed.items.is_empty(), "a namespace sees its own alone");
}

#[tokio::test]
async fn what_skiff_measures_of_a_queue_is_nobody_else_s_to_say() {
    let platform = Platform::start().await;
    let of = |metric: &str, dimensions: &str| MetricDatum {
        dimensions: dimensions.parse().unwrap(),
        ..datum(metric, 1e6)
    };
    for (metric, dimensions) in [("Backlog", "queue=orders"), ("failedinvocations", "rule=placed")] {
        let refused = put(&platform, vec![datum("jobs", 1.0), of(metric, dimensions)]).await;
        assert_eq!(refused, Some(ErrorCode::InvalidArgument), "{metric}");
    }
    assert_eq!(put(&platform, vec![of("Backlog", "zone=a"), of("depth", "queue=orders")]).await, None);
    let pretended = vec![guest_point("Backlog", "queue=orders,service=shop", 3)];
    platform.node.put(GuestMetrics { points: pretended, dropped: 0 });
    until("it is dropped", || async {
        let dropped = "skiff_guest_metric_values_dropped_total 3";
        text_of_metrics(&platform).await.contains(dropped).then_some(())
    })
    .await;
}

#[tokio::test]
async fn more_series_of_ones_own_than_there_may_be_are_refused() {
    let platform = Platform::start().await;
    let named = |number: usize| datum(&format!("m{number}"), 1.0);
    for thousand in 0..10 {
        let data = (0..1_000).map(|number| named(thousand * 1_000 + number)).collect();
        assert_eq!(put(&platform, data).await, None);
    }
    assert_eq!(put(&platform, vec![named(0), named(10_000)]).await, Some(ErrorCode::ResourceExhausted));
    assert_eq!(put(&platform, vec![named(0), named(9_999)]).await, None, "those that are there go on");
    assert_eq!(over_all(&platform, "m0", "Sum", MetricQuery::default()).await, Some(2.0));
}

/// The most series that guests of one service or family put.
const OF_ONE_SOURCE_MAX: usize = 200;

/// Values that a guest put just now.
fn guest_point(metric: &str, dimensions: &str, values: u64) -> GuestPoint {
    let series = SeriesId {
        of: MetricOf::Custom(namespace()),
        metric: metric.parse().unwrap(),
        dimensions: dimensions.parse().unwrap(),
    };
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    GuestPoint::new(series, now_ms, &Datum::of_same(2.0, values).unwrap()).unwrap()
}

async fn text_of_metrics(platform: &Platform) -> String {
    let url = format!("http://{}/metrics", platform.handle.api());
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn what_guests_put_is_told_by_their_service() {
    let platform = Platform::start().await;
    platform.node.put(GuestMetrics {
        points: vec![
            guest_point("orders", "service=shop,zone=a", 3),
            guest_point("orders", "service=bank,zone=a", 1),
            guest_point("orders", "family=shop", 1),
        ],
        dropped: 0,
    });
    let query =
        || MetricQuery { dimensions: "zone=a,service=shop".parse().unwrap(), ..MetricQuery::default() };
    until("the values are in their series", || async {
        (over_all(&platform, "orders", "Sum", query()).await == Some(6.0)).then_some(())
    })
    .await;
    let of_shop = MetricListQuery { service: Some(name("shop")), ..MetricListQuery::default() };
    let listed = platform.client.list_metrics(&namespace(), &of_shop).await.unwrap().items;
    let dimensions: Vec<_> = listed.iter().map(|metric| metric.dimensions.to_string()).collect();
    assert_eq!(dimensions, ["service=shop,zone=a"], "neither another service's nor a family's");
    let all = platform.client.list_metrics(&namespace(), &MetricListQuery::default()).await.unwrap().items;
    assert_eq!(all.len(), 3);
}

#[tokio::test]
async fn guests_of_a_service_make_so_many_series_and_no_other_feels_it() {
    let platform = Platform::start().await;
    let of_flood = |number: usize| guest_point(&format!("m{number}"), "service=flood", 2);
    platform
        .node
        .put(GuestMetrics { points: (0..OF_ONE_SOURCE_MAX + 3).map(of_flood).collect(), dropped: 5 });
    platform.node.put(GuestMetrics {
        points: vec![
            of_flood(0),
            guest_point("m0", "service=shop", 2),
            guest_point("m0", "family=flood", 2),
            guest_point("m0", "zone=a", 2),
        ],
        dropped: 0,
    });
    let of =
        |dimensions: &str| MetricQuery { dimensions: dimensions.parse().unwrap(), ..MetricQuery::default() };
    until("what comes next is taken", || async {
        (over_all(&platform, "m0", "SampleCount", of("family=flood")).await == Some(2.0)).then_some(())
    })
    .await;
    let count = async |dimensions: &str| over_all(&platform, "m0", "SampleCount", of(dimensions)).await;
    assert_eq!(count("service=flood").await, Some(4.0), "those that are there go on");
    assert_eq!(count("service=shop").await, Some(2.0));
    assert_eq!(count("zone=a").await, None, "it does not say whose it is");
    let beyond = format!("m{OF_ONE_SOURCE_MAX}");
    assert_eq!(over_all(&platform, &beyond, "Sum", of("service=flood")).await, None);
    let text = text_of_metrics(&platform).await;
    let dropped = "skiff_guest_metric_values_dropped_total";
    // Three series too many and one of nobody's, two values each, and those of the way.
    assert!(text.contains(&format!("{dropped} {}", 3 * 2 + 2 + 5)), "{text}");
    let too_many = put(
        &platform,
        vec![MetricDatum { dimensions: "service=flood".parse().unwrap(), ..datum("by-hand", 1.0) }],
    )
    .await;
    assert_eq!(too_many, None, "who may call the API is not bounded by it");
}
