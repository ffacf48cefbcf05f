//! The calls that the load balancer answers.

use super::*;

/// The operations on the load balancer's parts.
pub(super) async fn check_balancer(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let group = ["default", "legacy"];
    let limit = json!({ "requests_per_second": 100, "burst": 200, "concurrent": 20 });
    let body = json!({
        "targets": { "outside": ["192.0.2.7:80"] }, "tls": true, "stickiness": "1h", "slow_start": "30s",
        "deregistration_delay": "10s", "health_check": { "path": "/ready" }, "limit": limit,
    });
    let put = call(Operation::PutTargetGroup, &group).json(&body);
    contract.check(Operation::PutTargetGroup, put).await;
    contract.check(Operation::GetTargetGroup, call(Operation::GetTargetGroup, &group)).await;
    let list = Operation::ListTargetGroups;
    contract.check(list, call(list, &["default"])).await;
    contract.check(Operation::ListTargets, call(Operation::ListTargets, &group)).await;

    let forward = json!({ "forward": { "groups": [{ "group": "legacy", "weight": 2 }] } });
    let body = json!({ "protocol": "http", "port": 8090, "default_action": forward, "client_limit": limit });
    let put = call(Operation::PutListener, &["second"]).json(&body);
    contract.check(Operation::PutListener, put).await;
    for listener in ["second", "http"] {
        contract.check(Operation::GetListener, call(Operation::GetListener, &[listener])).await;
    }
    let listed = contract.check(Operation::ListListeners, call(Operation::ListListeners, &[])).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);

    let rule = ["default", "old"];
    let body = json!({
        "listener": "second",
        "priority": 10,
        "conditions": ["path=/old/*"],
        "action": { "redirect": { "to": "/new/#{path}" } },
    });
    contract.check(Operation::PutRule, call(Operation::PutRule, &rule).json(&body)).await;
    contract.check(Operation::GetRule, call(Operation::GetRule, &rule)).await;
    let list = call(Operation::ListRules, &["default"]).query(&[("listener", "second")]);
    let listed = contract.check(Operation::ListRules, list).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    for (path, taken_by) in [("/old/x", json!({ "rule": "default/old" })), ("/", json!("default_action"))] {
        let body = json!({ "method": "GET", "url": format!("http://example.org{path}") });
        let explain = call(Operation::ExplainRequest, &["second"]).json(&body);
        assert_eq!(contract.check(Operation::ExplainRequest, explain).await["taken_by"], taken_by);
    }
    contract.check(Operation::DeleteRule, call(Operation::DeleteRule, &rule)).await;
    let certificate = ["web"];
    let put =
        call(Operation::PutCertificate, &certificate).json(&crate::certificates::made_for("example.org"));
    let put = contract.check(Operation::PutCertificate, put).await;
    assert_eq!(put["domains"], json!(["example.org"]));
    contract.check(Operation::GetCertificate, call(Operation::GetCertificate, &certificate)).await;
    let listed = contract.check(Operation::ListCertificates, call(Operation::ListCertificates, &[])).await;
    assert!(!listed.to_string().contains("PRIVATE KEY"), "{listed}");
    contract.check(Operation::DeleteCertificate, call(Operation::DeleteCertificate, &certificate)).await;
    contract.check(Operation::DeleteListener, call(Operation::DeleteListener, &["second"])).await;
    contract.check(Operation::DeleteTargetGroup, call(Operation::DeleteTargetGroup, &group)).await;
}
