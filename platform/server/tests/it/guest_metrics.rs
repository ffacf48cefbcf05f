//! Metrics of guests' own: put by components of both generations, told by whose they are, and in a bounded number.

use crate::harness::{PATIENCE, Platform, eventually, guest_path};
use std::time::Instant;

/// All values of a metric of the last quarter of an hour with these dimensions, added up.
fn sum(platform: &Platform, metric: &str, dimensions: &[&str]) -> f64 {
    let mut arguments = vec!["metrics", metric, "--statistic", "Sum", "--period", "1m"];
    dimensions.iter().for_each(|dimension| arguments.extend(["--dimension", *dimension]));
    let told = platform.json(&arguments);
    told["points"].as_array().unwrap().iter().filter_map(|point| point["value"].as_f64()).sum()
}

/// The series that a service's guests put: metrics that have dimensions.
fn series_of(platform: &Platform, service: &str) -> Vec<String> {
    let told = platform.json(&["metrics", "ls", "--service", service]);
    let listed = told.as_array().unwrap().iter();
    let custom = listed.filter(|metric| metric["dimensions"].is_string());
    custom.map(|metric| metric["metric"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guests_put_is_told_by_whose_it_is() {
    let mut platform = Platform::start(&[]);
    platform.deploy("counter", "app", &[]);
    platform.ok(&["queue", "create", "orders"]);
    platform.ok(&["role", "put", "shop", "--allow", "queue:send orders"]);
    platform.deploy("orders", "shop", &["--role", "shop"]);
    for _ in 0..3 {
        assert_eq!(platform.get("app", "/put?times=4").await.text, "taken");
        let answer = platform.post("shop", "/tea/450", Vec::new()).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert!(answer.text.ends_with(": one tea for 450 cents\n"), "{}", answer.text);
    }
    let jobs = ["service=app", "kind=small"];
    let revenue = ["service=shop", "product=tea"];
    eventually("the values of WASI 0.2 are there", || {
        (sum(&platform, "jobs", &jobs) == 3.0 * 4.0 * 2.0).then_some(())
    });
    eventually("the values of WASI 0.3 are there", || {
        (sum(&platform, "revenue/cents", &revenue) == 3.0 * 450.0).then_some(())
    });
    assert_eq!(series_of(&platform, "app"), ["jobs"]);
    assert_eq!(series_of(&platform, "shop"), ["orders", "revenue/cents"]);

    let forged = platform.get("app", "/forge").await.text;
    assert!(forged.starts_with("InvalidDimensions") && forged.contains("not service or family"), "{forged}");
    assert!(platform.get("app", "/infinite").await.text.starts_with("InvalidValue"));
    assert_eq!(sum(&platform, "jobs", &["service=bank"]), 0.0);

    platform.terminate();
    platform.wait();
    let platform = platform.restart();
    assert_eq!(sum(&platform, "jobs", &jobs), 24.0, "a restart loses none");
    assert_eq!(sum(&platform, "orders", &revenue), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_makes_up_metrics_harms_itself_alone() {
    const METRICS: usize = 1_000;
    const SERIES_OF_SERVICE_MAX: usize = 200;
    let platform = Platform::start(&[]);
    platform.deploy("counter", "noisy", &[]);
    platform.deploy("counter", "quiet", &[]);
    let taken = platform.get("noisy", &format!("/flood?metrics={METRICS}")).await.text;
    let taken: usize = taken.parse().unwrap_or_else(|_| panic!("{taken}"));
    assert!(taken > 0 && taken < METRICS, "{taken} of {METRICS} were taken");
    eventually("its logs say why", || {
        platform.ok(&["logs", "noisy"]).contains("values of too many series come at once").then_some(())
    });
    let dropped = "skiff_guest_metric_values_dropped_total";
    let started = Instant::now();
    while platform.metric(dropped).await == 0.0 {
        assert!(started.elapsed() < PATIENCE, "nothing counts as dropped");
    }
    assert_eq!(platform.get("quiet", "/put").await.text, "taken");
    eventually("another service's values are there", || {
        (sum(&platform, "jobs", &["service=quiet", "kind=small"]) == 2.0).then_some(())
    });
    let series = series_of(&platform, "noisy").len();
    assert!((1..=SERIES_OF_SERVICE_MAX).contains(&series), "{series} series");
}

#[test]
fn values_of_an_initialisation_are_nobody_s() {
    let platform = Platform::start(&[]);
    let path = guest_path("counter");
    let deploy = ["deploy", path.to_str().unwrap(), "--name", "app", "--snapshot", "--env", "INITIALIZE=put"];
    let refused = platform.fails(&deploy);
    assert!(refused.contains("of which nobody could say whose they are"), "{refused}");
}
