//! Ten thousand damaged bodies and queries: each is refused or taken, none is the platform's fault.

use crate::fixture::{Platform, TOKEN};
use fastrand::Rng;
use http::StatusCode;
use skiff_api::{ErrorBody, Operation};

const ROUNDS: usize = 10_000;
/// What damage is made with, beside noise.
const PIECES: [&str; 22] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "-1",
    "1e999",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "true",
    ":",
    "\"definition\":",
    "default",
    "..",
    "%2F",
    "999999999",
    "[[[[[[[[",
    "\"hosts\":[\"a\"]",
    "64MiB",
    "all from self",
    "\"security_groups\":[\"default\"]",
];

fn damage(text: &str, random: &mut Rng) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let to = random.usize(at..=bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let copy = bytes[at..to].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.u8(..)),
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(at..to, piece.bytes());
            }
        }
    }
    bytes
}

#[tokio::test]
async fn no_body_is_the_platforms_fault() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 0).await;
    platform.push("job", "exit 0").await;
    platform.register("job", "job").await;
    let task = platform.run("job").await.id.to_string();
    let one = ["default", "hello"];
    let group = ["default", "web"];
    let (http, web, certificate) = (["http"], ["default", "web"], ["web"]);
    let bodies: [(Operation, &[&str], &str); 19] = [
        (
            Operation::RegisterTaskDefinition,
            &["default"],
            r#"{"family":"hello","image":"hello:latest","limits":{"cpu":"256","memory":"128MiB","timeout":"30s",
                "concurrency":10,"queue":5},"arguments":["a","b"],"environment":{"K":"V"}}"#,
        ),
        (
            Operation::PutService,
            &one,
            r#"{"definition":"hello:1","desired":0,"hosts":["a.example","*.b.example"],"paths":["/api"],
                "deployment":{"min_healthy_percent":50,"max_percent":150,"circuit_breaker":"stop","grace":"30s"}}"#,
        ),
        (
            Operation::CheckService,
            &one,
            r#"{"definition":"hello","hosts":["a.example"],"listen":["tcp:6379"],"deployment":{"max_percent":150}}"#,
        ),
        (Operation::ScaleService, &one, r#"{"desired":0}"#),
        (Operation::RollbackService, &one, r#"{"revision":1}"#),
        (Operation::ChangeRollout, &one, r#"{"action":"PAUSE"}"#),
        (Operation::MeasureColdStarts, &one, r#"{"path":"/","requests":1}"#),
        (
            Operation::RunTask,
            &["default"],
            r#"{"definition":"hello:1","arguments":["x"],"environment":{"K":"V"}}"#,
        ),
        (Operation::StopTask, &["default", &task], r#"{"reason":"because","now":true}"#),
        (Operation::PushImage, &["default", "other:v1"], "http"),
        (
            Operation::PutSecurityGroup,
            &group,
            r#"{"rules":["tcp:80-90 from self","udp:53 to 192.0.2.0/24"]}"#,
        ),
        (
            Operation::PutMetricData,
            &["default"],
            r#"{"data":[{"metric":"queue/depth","dimensions":"queue=mails","value":7.5},{"metric":"a","values":[1,2],
                "counts":[3,4]},{"metric":"b","statistics":{"sample_count":2,"sum":3,"minimum":1,"maximum":2}}]}"#,
        ),
        (Operation::AllowRule, &group, r#"{"rule":"tcp:443 to *.example.com"}"#),
        (Operation::RevokeRule, &group, r#"{"rule":"tcp:443 to *.example.com"}"#),
        (
            Operation::PutListener,
            &http,
            r##"{"protocol":"http","port":8080,"scheme":"public","services":true,
                "default_action":{"redirect":{"to":"https://#{host}:443/#{path}?#{query}","status":301}}}"##,
        ),
        (
            Operation::PutRule,
            &web,
            r#"{"listener":"http","priority":10,"conditions":["host=*.example.com,a?b","header:x-a=b*"],
                "action":{"forward":{"groups":[{"group":"hello","weight":90},{"group":"default/web"}],
                "stickiness":"1h"}},"limit":{"requests_per_second":5,"burst":9}}"#,
        ),
        (
            Operation::PutTargetGroup,
            &web,
            r#"{"targets":{"outside":["192.0.2.7:80","example.org:443"]},"protocol":"http1","algorithm":"round-robin",
                "tls":true,"stickiness":"1h","slow_start":"30s","deregistration_delay":"5m","health_check":{"path":"/",
                "interval":"5s","timeout":"1s","healthy":2,"unhealthy":3,"matcher":"200-299,302"},
                "limit":{"requests_per_second":100,"burst":200,"concurrent":20}}"#,
        ),
        (
            Operation::PutCertificate,
            &certificate,
            r#"{"certificate":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                "private_key":"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"}"#,
        ),
        (
            Operation::ExplainRequest,
            &http,
            r#"{"method":"GET","url":"http://a.example.com/x?y=z","headers":[["x-a","b"]],"source":"192.0.2.1"}"#,
        ),
    ];
    let queries: [(Operation, &[&str], &str); 8] = [
        (Operation::ListTasks, &["default"], "service=hello&status=RUNNING&stopped=true&limit=10&cursor=00"),
        (Operation::ReadLogs, &["default"], "owner=hello&since_ms=1&tail=10&follow=false"),
        (Operation::ReadEvents, &["default"], "service=hello&type=task&since_ms=1&tail=10&follow=false"),
        (Operation::GetTaskDefinition, &one, "reveal=K,L"),
        (
            Operation::GetMetric,
            &["default", "CPUUtilization"],
            "service=hello&statistic=p99.9&period=1m&since_ms=1&until_ms=2",
        ),
        (Operation::ListRules, &["default"], "listener=http&limit=10&cursor=00"),
        (Operation::ExplainConnection, &["default"], "from=hello&to=192.0.2.1&port=80&transport=udp"),
        (Operation::ReadFlows, &["default"], "owner=hello&verdict=REJECT&since_ms=1&tail=10&follow=false"),
    ];
    let client = reqwest::Client::new();
    let seed = 0x5eed_0001;
    let mut random = Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let is_query = random.u8(..4) == 0;
        let (operation, values, text) = match is_query {
            true => queries[random.usize(..queries.len())],
            false => bodies[random.usize(..bodies.len())],
        };
        let damaged = damage(text, &mut random);
        let mut url = format!("http://{}{}", platform.handle.api(), operation.path_with(values));
        let mut body = damaged.clone();
        if is_query {
            let query = String::from_utf8_lossy(&damaged);
            if query.contains("follow=true") {
                continue;
            }
            url = format!("{url}?{query}");
            body.clear();
        }
        let Ok(url) = reqwest::Url::parse(&url) else { continue };
        let request = client.request(operation.method(), url).bearer_auth(TOKEN).body(body);
        let response = request.send().await.unwrap();
        let told = || {
            format!("seed {seed:#x}, round {round}, {operation:?}: {:?}", String::from_utf8_lossy(&damaged))
        };
        let status = response.status();
        assert!(status.as_u16() < 500, "{status}; {}", told());
        if !status.is_success() {
            assert_ne!(status, StatusCode::UNAUTHORIZED);
            let error: Result<ErrorBody, _> = response.json().await;
            assert!(error.is_ok(), "{status} without a typed error; {}", told());
        }
    }
    platform.assert_node_is_content();
    let health = reqwest::get(format!("http://{}/healthz", platform.handle.api())).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}
