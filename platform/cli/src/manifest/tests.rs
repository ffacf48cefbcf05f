//! What manifests mean, what is said about wrong ones, and that none makes the reader panic.

use super::*;
use skiff_types::{CircuitBreaker, StrategyName};

const WHOLE: &str = r#"
name = "hello"
kind = "http"
component = "target/wasm32-wasip2/release/hello.wasm"
build = "cargo build --release --target wasm32-wasip2"
cpu = 512
memory = "64MiB"
timeout = "10s"
concurrency = 50
reuse = { requests = 128, concurrent = 16 }
snapshot = true
security-groups = ["web", "backend"]
port = 6379
stop-timeout = "1m"
restart = "on-failure"
role = "cache"

[health]
interval = "5s"
unhealthy = 2
start-period = "10s"

[environment]
LOG = "debug"
EMPTY = ""

[service]
desired = 2
hosts = ["hello.example.com", "*.example.com"]
paths = ["/api"]
listen = ["tcp:6379"]
min-healthy = 50
max-percent = 150
circuit-breaker = "stop"
grace = "30s"
strategy = "canary"
canary-percent = 10
canary-bake = "2m"
deployment-alarms = ["slow"]
test-hosts = ["green.example.com"]
scale-to-zero = "5m"
constraints = ["memberOf(attribute:zone == a)"]
placement-strategies = ["spread(attribute:zone)", "binpack(memory)"]
scheduling = "REPLICA"

[scaling]
min = 2
max = 40
targets = ["RequestCountPerTarget=6000"]
steps = ["busy=+2,cooldown=1m"]
schedules = ["day=cron(0 8 ? * MON-FRI *),min=10"]
scale-in-protected = true

[consume]
queue = "orders"
batch = 5
concurrency = 2
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text, Path::new("some/skiff.toml"))
}

#[test]
fn a_whole_manifest() {
    let manifest = parse(WHOLE).unwrap();
    assert_eq!(manifest.name.as_str(), "hello");
    assert_eq!(manifest.kind, Some(Located { value: Kind::Http, line: 3 }));
    assert_eq!(manifest.component.line, 4);
    assert_eq!(manifest.component.value, Path::new("target/wasm32-wasip2/release/hello.wasm"));
    assert_eq!(manifest.build.as_deref(), Some("cargo build --release --target wasm32-wasip2"));
    assert_eq!(manifest.cpu, CpuUnits::new(512));
    assert_eq!(manifest.memory, Some(MemorySize::from_mib(64)));
    assert_eq!(manifest.timeout, Some(Span::from_ms(10_000)));
    assert_eq!(manifest.concurrency, Some(50));
    assert_eq!(manifest.reuse, "128x16".parse().ok());
    assert_eq!(manifest.snapshot, Some(true));
    assert_eq!(manifest.security_groups, Some(["web", "backend"].map(|name| name.parse().unwrap()).into()));
    assert_eq!((manifest.port, manifest.restart), (Some(6379), Some(Restart::OnFailure)));
    assert_eq!(manifest.role.as_ref().map(|role| role.as_str()), Some("cache"));
    assert_eq!(manifest.stop_timeout, Some(Span::from_ms(60_000)));
    let health = HealthCheckSpec {
        interval: Some(Span::from_ms(5_000)),
        unhealthy: Some(2),
        start_period: Some(Span::from_ms(10_000)),
        ..HealthCheckSpec::default()
    };
    assert_eq!(manifest.health, health);
    assert_eq!(manifest.service.listen, [Listen::Tcp(6379)]);
    let placement = PutPlacement {
        constraints: Some(vec!["memberOf(attribute:zone == a)".parse().unwrap()]),
        strategies: Some(vec!["spread(attribute:zone)".parse().unwrap(), "binpack(memory)".parse().unwrap()]),
        scheduling: Some(skiff_types::SchedulingStrategy::Replica),
    };
    assert_eq!(manifest.service.placement, placement);
    let environment =
        [("EMPTY", ""), ("LOG", "debug")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(manifest.environment, BTreeMap::from(environment));
    assert_eq!(manifest.service.desired, Some(2));
    assert_eq!(manifest.service.hosts.len(), 2);
    let deployment = PutDeploymentConfiguration {
        min_healthy_percent: Some(50),
        max_percent: Some(150),
        circuit_breaker: Some(CircuitBreaker::Stop),
        grace: Setting::Given(Span::from_ms(30_000)),
        strategy: Some(StrategyName::Canary),
        canary_percent: Some(10),
        canary_bake: Some(Span::from_ms(120_000)),
        alarms: Some(vec!["slow".parse().unwrap()]),
        test_hosts: Some(vec!["green.example.com".parse().unwrap()]),
        ..PutDeploymentConfiguration::default()
    };
    assert_eq!(manifest.service.deployment, deployment);
    assert_eq!(manifest.service.scale_to_zero, Some(ScaleToZero::After(Span::from_ms(300_000))));
    assert_eq!(manifest.service.paths[0].as_str(), "/api");
    let scaling = manifest.scaling.unwrap();
    assert_eq!((scaling.min, scaling.max, scaling.scale_in_protected), (2, 40, true));
    let policies: Vec<&str> = scaling.policies.iter().map(|policy| policy.name().as_str()).collect();
    assert_eq!(policies, ["requestcountpertarget", "busy"]);
    assert_eq!((scaling.schedules.len(), scaling.schedules[0].min), (1, Some(10)));
    let consume = ConsumeSection { queue: "orders".parse().unwrap(), batch: Some(5), concurrency: Some(2) };
    assert_eq!(manifest.consume, Some(consume));
}

#[test]
fn only_name_and_component_are_needed() {
    let manifest = parse("name = \"a\"\ncomponent = \"a.wasm\"\n").unwrap();
    assert_eq!(
        (manifest.cpu, manifest.memory, manifest.kind.clone(), manifest.build.clone()),
        (None, None, None, None)
    );
    assert_eq!(manifest.service, ServiceSection::default());
    let quoted = parse("name = \"a\"\ncomponent = \"a.wasm\"\ncpu = \"256\"\n").unwrap();
    assert_eq!(quoted.cpu, CpuUnits::new(256), "units in quotes are units");
}

#[test]
fn every_error_names_file_line_and_value() {
    let base = "name = \"a\"\ncomponent = \"a.wasm\"\n";
    let cases = [
        ("nmae = \"b\"", "3: the key \"nmae\" is unknown in the manifest; did you mean \"name\"?"),
        ("Memory = \"1MiB\"", "3: the key \"Memory\" is unknown in the manifest; did you mean \"memory\"?"),
        (
            "env = { A = \"b\" }",
            "3: the key \"env\" is unknown in the manifest; did you mean \"environment\"?",
        ),
        ("[service]\nhost = \"x\"", "4: the key \"host\" is unknown in [service]; did you mean \"hosts\"?"),
        (
            "[service]\nxyzzy = 1",
            "4: the key \"xyzzy\" is unknown in [service]; the keys of [service] are desired, hosts, paths, listen, min-healthy, max-percent, circuit-breaker, grace, strategy, bake, canary-percent, canary-bake, step-percent, step-bake, deployment-alarms, test-hosts, scale-to-zero, constraints, placement-strategies, scheduling",
        ),
        ("[scaling]\nmin = 1", "3: the key \"max\" is missing in [scaling]"),
        ("[consume]\nbatch = 1", "3: the key \"queue\" is missing in [consume]"),
        (
            "[consume]\nqueue = \"a\"\nbach = 1",
            "5: the key \"bach\" is unknown in [consume]; did you mean \"batch\"?",
        ),
        (
            "[scaling]\nmin = 1\nmax = 2\ntarget = []",
            "6: the key \"target\" is unknown in [scaling]; did you mean \"targets\"?",
        ),
        (
            "[scaling]\nmin = 1\nmax = 2\nsteps = [\"busy\"]",
            "6: steps: \"busy\" is not a step policy: [NAME:]ALARM=STEPS and settings behind commas, like busy=+2 or \
             busy=0..20:+10%,20..:+30%,cooldown=1m",
        ),
        (
            "memory = 128",
            "3: memory: 128 is not a size with its unit, like 128MiB, 1GiB or 512KiB, in quotes",
        ),
        ("memory = \"128\"", "3: memory: \"128\" is not a size with its unit, like 128MiB, 1GiB or 512KiB"),
        ("timeout = \"30\"", "3: timeout: \"30\" is not a time with its unit, like 30s, 500ms, 5m or 2h"),
        ("timeout = 30", "3: timeout: 30 is not a time with its unit, like 30s, 500ms, 5m or 2h, in quotes"),
        ("cpu = 7", "3: cpu: 7 is not a CPU size in units from 16 to 65536 (1024 are one vCPU), like 256"),
        (
            "cpu = 0.25",
            "3: cpu: 0.25 is not a CPU size in units from 16 to 65536 (1024 are one vCPU), like 256, in quotes",
        ),
        ("kind = \"job\"", "3: kind: \"job\" is not a kind of task: \"http\", \"command\" or \"event\""),
        ("concurrency = 0", "3: concurrency: 0 is not a whole number from 1 upwards, without quotes"),
        (
            "reuse = 5",
            "3: reuse: 5 is not how many requests one sandbox serves: { requests = 128, concurrent = 16 }",
        ),
        ("reuse = { requests = 0 }", "3: requests: 0 is not a whole number from 1 upwards, without quotes"),
        ("reuse = { request = 2 }", "3: the key \"request\" is unknown in reuse; did you mean \"requests\"?"),
        (
            "concurrency = \"10\"",
            "3: concurrency: \"10\" is not a whole number from 1 upwards, without quotes",
        ),
        ("port = 0", "3: port: 0 is not a port, from 1 to 65535, without quotes"),
        ("port = \"6379\"", "3: port: \"6379\" is not a port, from 1 to 65535, without quotes"),
        (
            "restart = \"no\"",
            "3: restart: \"no\" is not a restart policy: \"never\", \"on-failure\" or \"always\"",
        ),
        ("health = 1", "3: health: 1 is not a section: [health] and its keys below it"),
        (
            "[health]\nstart_period = \"1s\"",
            "4: the key \"start_period\" is unknown in [health]; did you mean \"start-period\"?",
        ),
        (
            "[health]\ninterval = 5",
            "4: interval: 5 is not a time with its unit, like 30s, 500ms, 5m or 2h, in quotes",
        ),
        ("[service]\nlisten = [\"6379\"]", "4: listen: \"6379\" is not a listener, like \"tcp:6379\""),
        ("snapshot = \"yes\"", "3: snapshot: \"yes\" is not true or false, without quotes"),
        (
            "security-groups = \"web\"",
            "3: security-groups: \"web\" is not a list of texts, like [\"a\", \"b\"]",
        ),
        (
            "security_groups = [\"web\"]",
            "3: the key \"security_groups\" is unknown in the manifest; did you mean \"security-groups\"?",
        ),
        ("build = \"\"", "3: build: \"\" is not a text that says something"),
        ("build = [\"make\"]", "3: build: [\"make\"] is not a text in quotes"),
        ("environment = 1", "3: environment: 1 is not a section: [environment] and its keys below it"),
        ("[environment]\nA = 1", "4: A: 1 is not a text in quotes"),
        ("[environment]\n\"A=\" = \"1\"", "4: \"A=\" is not the name of an environment variable, like LOG"),
        ("[service]\ndesired = -1", "4: desired: -1 is not a whole number from 0 upwards, without quotes"),
        ("[service]\nhosts = \"a\"", "4: hosts: \"a\" is not a list of texts, like [\"a\", \"b\"]"),
        (
            "[service]\nhosts = [\n  \"good\",\n  \"a:80\",\n]",
            "6: hosts: \"a:80\" is not a host without port, like \"api.example.com\" or \"*.example.com\"",
        ),
        (
            "[service]\nmin-healthy = 101",
            "4: min-healthy: 101 is not a whole number of percent, from 0 to 100, without quotes",
        ),
        (
            "[service]\ncircuit-breaker = \"on\"",
            "4: circuit-breaker: \"on\" is not a circuit breaker: off, stop or rollback",
        ),
        (
            "[service]\nscale-to-zero = \"0s\"",
            "4: scale-to-zero: \"0s\" is not a time without a request, from 1s to 7d, like 5m; or never",
        ),
        (
            "[service]\npaths = [\"api\"]",
            "4: paths: \"api\" is not a path prefix that starts with '/', like \"/api\"",
        ),
    ];
    for (addition, expected) in cases {
        let error = parse(&format!("{base}{addition}\n")).expect_err(addition).to_string();
        assert_eq!(error, format!("some/skiff.toml:{expected}"), "for {addition:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let error = parse("component = \"a.wasm\"").unwrap_err().to_string();
    assert_eq!(error, "some/skiff.toml:1: the key \"name\" is missing; the manifest must have it");
    let error = parse("name = \"a\"").unwrap_err().to_string();
    assert_eq!(error, "some/skiff.toml:1: the key \"component\" is missing; the manifest must have it");
}

#[test]
fn what_is_not_toml_names_its_line() {
    for (text, line) in
        [("name = \"a\"\ncomponent = ", 2), ("name = \"a\nb\"", 1), ("a = 1\na = 2", 2), ("[", 1)]
    {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
}

/// A byte removed, changed, doubled or put in, or a piece moved, up to eight times.
fn mutate(random: &mut fastrand::Rng) -> String {
    let mut bytes = WHOLE.as_bytes().to_vec();
    for _ in 0..random.usize(1..=8) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        match random.u8(0..6) {
            0 => drop(bytes.remove(at)),
            1 => bytes[at] = random.u8(..),
            2 => bytes.insert(at, random.u8(..)),
            3 => bytes.insert(at, *random.choice(b"[]{}\"'=.#\n\\0-+_").expect("not empty")),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let end = (at + random.usize(..40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_mutated_manifest_panics() {
    const SEED: u64 = 0x5c1f_f001;
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let text = mutate(&mut random);
        match parse(&text) {
            Ok(_) => taken += 1,
            Err(error) => {
                refused += 1;
                let lines = text.split('\n').count();
                assert!((1..=lines).contains(&error.line), "{error} in {text:?}");
                assert!(!error.message.is_empty());
            }
        }
    }
    assert!(
        taken > 100 && refused > 1_000,
        "{taken} were taken and {refused} refused: the mutations are no test"
    );
}
