//! Every `--help` as it is printed, and what the grammar takes and refuses.

use super::*;
use clap::CommandFactory;
use skiff_types::{EventType, Listen, ListenerProtocol, Restart, StrategyName, TaskStatus};
use std::net::SocketAddr;

fn helps(command: &mut clap::Command, path: &str, found: &mut Vec<(String, String)>) {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    found.push((path.clone(), command.render_long_help().to_string()));
    for subcommand in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        helps(subcommand, &path, found);
    }
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_help() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut found = Vec::new();
    helps(&mut command, "", &mut found);
    assert!(found.len() > 25, "{} commands", found.len());
    for (path, help) in &found {
        let internal = path == "skiff worker" || path == "skiff compile";
        assert!(internal || help.contains("Examples:"), "`{path} --help` has no examples");
    }
    let all = found.iter().map(|(path, help)| format!("$ {path} --help\n{}\n", help.trim_end()));
    insta::assert_snapshot!(all.collect::<Vec<_>>().join("\n"));
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn global_flags_stand_anywhere() {
    for line in ["skiff --output json --namespace team ps", "skiff ps --output json --namespace team"] {
        let global = parse(line).unwrap().global;
        assert_eq!((global.output, global.namespace.as_str()), (OutputFormat::Json, "team"));
    }
    let global = parse("skiff ps --api 127.0.0.1:9").unwrap().global;
    assert_eq!(global.api.unwrap().url(), "http://127.0.0.1:9");
}

#[test]
fn up_listens_where_it_is_told() {
    let up = |line: &str| match parse(line).unwrap().command {
        Command::Up(args) => args,
        other => panic!("{other:?}"),
    };
    let socket = |text: &str| text.parse::<SocketAddr>().ok();
    let args = up("skiff up");
    assert_eq!((Some(args.http), args.api.socket()), (socket("127.0.0.1:8080"), socket("127.0.0.1:8081")));
    assert_eq!((args.drain_timeout.ms(), args.access_log), (30_000, AccessLog::On));
    for line in ["skiff up --api 127.0.0.1:0", "skiff --api 127.0.0.1:0 up"] {
        assert_eq!(up(line).api.socket(), socket("127.0.0.1:0"), "{line}");
    }
    let args = up(
        "skiff up --workers 3 --drain-timeout 5s --insecure --access-log /tmp/a --data-dir d --ready-file r",
    );
    assert_eq!((args.workers.unwrap().get(), args.drain_timeout.ms(), args.insecure), (3, 5_000, true));
    assert_eq!(args.access_log, AccessLog::File("/tmp/a".into()));
    assert_eq!(args.access_log_format, AccessLogFormat::Json);
    assert_eq!(up("skiff up --access-log-format elb").access_log_format, AccessLogFormat::Elb);
    for bad in [
        "skiff up --api http://x",
        "skiff up --http 8080",
        "skiff up --workers 0",
        "skiff up --access-log-format xml",
        "skiff up --drain-timeout 5",
        "skiff up --otlp 127.0.0.1:4318",
        "skiff up --otlp ftp://127.0.0.1",
        "skiff up --otlp http://me:secret@127.0.0.1",
        "skiff up --otlp http://127.0.0.1 --otlp-sample 2",
        "skiff up --otlp-sample 0.5",
        "skiff up --otlp http://127.0.0.1 --otlp-header x-api-key",
    ] {
        assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad} was taken");
    }
}

#[test]
fn up_sends_spans_where_it_is_told_and_shows_no_key() {
    let up = |line: &str| match parse(line).unwrap().command {
        Command::Up(args) => args,
        other => panic!("{other:?}"),
    };
    let args = up("skiff up");
    assert!(args.otlp.is_none() && args.otlp_headers.is_empty());
    let args = up("skiff up --otlp https://example.com/otlp --otlp-header a=b --otlp-header x-key=s=cret");
    assert_eq!(args.otlp.as_ref().unwrap().as_str(), "https://example.com/otlp");
    assert_eq!(args.otlp_sample, "1".parse().unwrap());
    let headers = args.otlp_headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(headers.eq([("a", &b"b"[..]), ("x-key", &b"s=cret"[..])]));
    assert!(!format!("{args:?}").contains("cret"));
    let args = up("skiff up --otlp http://127.0.0.1:4318 --otlp-sample 0.25");
    assert_eq!(args.otlp_sample, "0.25".parse().unwrap());
}

#[test]
fn the_platforms_own_processes_are_known() {
    let Command::Worker(worker) = parse("skiff worker --supervisor 7").unwrap().command else { panic!() };
    assert_eq!(worker.supervisor, 7);
    let digest = format!("sha256:{}", "07".repeat(32));
    let line = format!("skiff compile --supervisor 7 --component a.wasm --digest {digest} --native b");
    let Command::Compile(compile) = parse(&line).unwrap().command else { panic!() };
    assert_eq!((compile.component, compile.output), ("a.wasm".into(), "b".into()));
    assert_eq!(compile.digest.to_string(), digest);
}

#[test]
fn what_follows_the_dashes_is_the_programs() {
    let Command::Run(run) = parse("skiff run job.wasm --env A=b=c -- --output x").unwrap().command else {
        panic!()
    };
    assert_eq!(run.arguments, ["--output", "x"]);
    assert_eq!(run.limits.environment, [("A".to_owned(), "b=c".to_owned())]);
}

#[test]
fn a_daemon_is_told_by_its_port() {
    let line = "skiff run kv.wasm --port 6379 --health-interval 1s --stop-timeout 5s --restart on-failure";
    let Command::Run(run) = parse(line).unwrap().command else { panic!() };
    assert_eq!((run.daemon.port, run.restart), (Some(6379), Some(Restart::OnFailure)));
    let millis = |span: Option<Span>| span.map(Span::ms);
    assert_eq!(
        (millis(run.daemon.health_interval), millis(run.daemon.stop_timeout)),
        (Some(1_000), Some(5_000))
    );
    let line = "skiff deploy kv.wasm --port 6379 --listen tcp:6379 --listen tcp:6380";
    let Command::Deploy(deploy) = parse(line).unwrap().command else { panic!() };
    assert_eq!(deploy.listen, [Listen::Tcp(6379), Listen::Tcp(6380)]);
}

#[test]
fn a_task_is_stopped_now_or_finishes_what_it_has() {
    for (line, expected) in [("skiff task stop 5e8f01b2", false), ("skiff task stop 5e8f01b2 --now", true)] {
        let Command::Task { command: TaskCommand::Stop(args) } = parse(line).unwrap().command else {
            panic!()
        };
        assert_eq!(args.now, expected, "{line}");
    }
}

#[test]
fn who_is_connected_to_is_named_with_a_port() {
    let to = |text: &str| {
        let Command::Net { command: NetworkCommand::Explain(args) } =
            parse(&format!("skiff net explain web {text}")).unwrap().command
        else {
            panic!()
        };
        (args.to.host, args.to.port)
    };
    assert_eq!(to("cache:6379"), ("cache".to_owned(), 6379));
    assert_eq!(to("shop/cache:6379"), ("shop/cache".to_owned(), 6379));
    assert_eq!(to("[2001:db8::7]:53"), ("2001:db8::7".to_owned(), 53));
}

#[test]
fn how_a_service_is_deployed_is_said_by_flags_or_the_manifest() {
    let asked = |line: &str, section: Option<&skiff_api::PutDeploymentConfiguration>| match parse(line)
        .unwrap()
        .command
    {
        Command::Deploy(args) => args.deployment.asked(section),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked("skiff deploy", None), None);
    let line = "skiff deploy --min-healthy 50 --max-percent 100 --circuit-breaker off --grace 30s";
    let all = asked(line, None).unwrap();
    assert_eq!((all.min_healthy_percent, all.max_percent), (Some(50), Some(100)));
    assert_eq!(all.circuit_breaker, Some(skiff_types::CircuitBreaker::Off));
    assert_eq!(all.grace, skiff_api::Setting::Given(Span::from_ms(30_000)));
    assert_eq!(asked("skiff deploy", Some(&all)), Some(all.clone()));
    let flag = asked("skiff deploy --max-percent 150", Some(&all)).unwrap();
    assert_eq!((flag.min_healthy_percent, flag.max_percent), (Some(50), Some(150)));

    let line = "skiff deploy --strategy canary --canary-percent 10 --canary-bake 5m --bake 1m --deployment-alarm slow \
                --deployment-alarm errors --test-host green.example";
    let canary = asked(line, Some(&all)).unwrap();
    assert_eq!((canary.strategy, canary.canary_percent), (Some(StrategyName::Canary), Some(10)));
    assert_eq!(
        (canary.canary_bake, canary.bake),
        (Some(Span::from_ms(300_000)), Some(Span::from_ms(60_000)))
    );
    assert_eq!((canary.alarms.as_ref().unwrap().len(), canary.min_healthy_percent), (2, Some(50)));
    assert_eq!(canary.test_hosts.as_ref().unwrap()[0].as_str(), "green.example");
    let same = asked("skiff deploy --strategy canary --canary-percent 20", Some(&canary)).unwrap();
    assert_eq!((same.canary_percent, same.canary_bake), (Some(20), canary.canary_bake));
    let other = asked("skiff deploy --strategy rolling", Some(&canary)).unwrap();
    assert_eq!((other.canary_percent, other.bake, &other.alarms), (None, None, &canary.alarms));
}

#[test]
fn events_are_filtered_by_whom_and_by_type() {
    let line = "skiff events -f --service web --type deployment --type task --since 1h --tail 5 -o json";
    let cli = parse(line).unwrap();
    let Command::Events(args) = cli.command else { panic!() };
    assert_eq!((args.follow, args.services[0].as_str(), args.tail), (true, "web", Some(5)));
    assert_eq!(args.types, [EventType::Deployment, EventType::Task]);
    assert_eq!((args.services.len(), args.since.map(Span::ms)), (1, Some(3_600_000)));
    assert_eq!(cli.global.output, OutputFormat::Json);
}

#[test]
fn the_common_way_to_scale_is_typed_at_once() {
    let line = "skiff scaling put web --min 2 --max 40 --target RequestCountPerTarget=6000 --step busy=0..5:+1,5..:+3";
    let Command::Scaling { command: ScalingCommand::Put(args) } = parse(line).unwrap().command else {
        panic!()
    };
    assert_eq!((args.name.as_str(), args.min, args.max, args.scale_in_protected), ("web", 2, 40, false));
    assert_eq!((args.targets[0].target.get(), args.steps[0].steps.len()), (6_000.0, 2));
    let words = [
        "skiff",
        "scaling",
        "put",
        "web",
        "--min=1",
        "--max=9",
        "--schedule",
        "day=cron(0 8 ? * MON *),min=4",
    ];
    let Command::Scaling { command: ScalingCommand::Put(args) } = Cli::try_parse_from(words).unwrap().command
    else {
        panic!()
    };
    assert_eq!(args.schedules[0].min, Some(4));
    for bad in [
        "skiff scaling put web --min 1",
        "skiff scaling put web --min 1 --max 2 --target CPUUtilization",
        "skiff scaling put web --min 1 --max 2 --target CPUUtilization=60,scale-in-cooldown=5",
        "skiff scaling put web --min 1 --max 2 --step busy",
        "skiff scaling rm",
    ] {
        assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad} was taken");
    }
}

#[test]
fn a_port_here_need_not_be_named() {
    let ports = |text: &str| {
        let Command::Forward(args) = parse(&format!("skiff forward cache {text}")).unwrap().command else {
            panic!()
        };
        args.ports.map(|ports| (ports.local, ports.remote))
    };
    assert_eq!(ports(""), None);
    assert_eq!(ports("6379"), Some((None, Some(6379))));
    assert_eq!(ports("6380:6379"), Some((Some(6380), Some(6379))));
    assert_eq!(ports("0:6379"), Some((Some(0), Some(6379))));
    assert_eq!(ports("0:"), Some((Some(0), None)));
}

#[test]
fn a_rule_is_all_the_words_behind_its_group() {
    let line = "skiff sg allow cache tcp:6379 from web --namespace shop";
    let cli = parse(line).unwrap();
    let Command::Sg { command: SecurityGroupCommand::Allow(args) } = cli.command else { panic!() };
    assert_eq!((args.name.as_str(), args.rule.join(" ").as_str()), ("cache", "tcp:6379 from web"));
    assert_eq!(cli.global.namespace.as_str(), "shop");
}

#[test]
fn a_rule_has_conditions_and_one_action() {
    let line =
        "skiff rule create api --priority 10 --if path=/a/*,/b --if host=x.org --forward web=9,shop/web";
    let Command::Rule { command: RuleCommand::Create(args) } = parse(line).unwrap().command else { panic!() };
    assert_eq!((args.listener.as_str(), args.priority.get()), ("http", 10));
    let conditions: Vec<String> = args.conditions.iter().map(ToString::to_string).collect();
    assert_eq!(conditions, ["path=/a/*,/b", "host=x.org"]);
    let groups: Vec<String> = args.action.forward.iter().map(ToString::to_string).collect();
    assert_eq!(groups, ["web=9", "shop/web=1"]);
    let head = "skiff rule create api --priority 10 --if path=*";
    for (action, taken) in [
        ("--redirect https://example.org --status 302", true),
        ("--respond 404 --body no --content-type text/html", true),
        ("", false),
        ("--forward web --respond 404", false),
        ("--forward web --redirect /x", false),
        ("--redirect /x --respond 404", false),
        ("--redirect /x --status 307", false),
        ("--forward web --status 301", false),
        ("--forward web --body no", false),
        ("--respond 404 --content-type image/png", false),
        ("--respond 100", false),
        ("--forward web=1000", false),
        ("--forward web,", false),
    ] {
        assert_eq!(parse(&format!("{head} {action}")).is_ok(), taken, "{action}");
    }
}

#[test]
fn a_request_to_explain_has_headers_as_curl_takes_them() {
    let words = ["skiff", "rule", "explain", "GET", "/x", "-H", "X-Beta: yes", "--header", "host:a:80"];
    let Command::Rule { command: RuleCommand::Explain(args) } = Cli::try_parse_from(words).unwrap().command
    else {
        panic!()
    };
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(args.headers, [header("X-Beta", "yes"), header("host", "a:80")]);
    assert_eq!((args.method.as_str(), args.url.as_str(), args.source), ("GET", "/x", None));
}

#[test]
fn a_target_group_has_one_kind_of_targets_at_most() {
    let head = "skiff target-group create web";
    for (targets, taken) in [
        ("--service shop/web", true),
        ("--outside 192.0.2.7:80,example.org:443 --algorithm round-robin", true),
        ("--address 10.64.0.7:80 --protocol tcp", true),
        ("", true),
        ("--slow-start 30s", true),
        ("--service web --outside example.org:443", false),
        ("--outside example.org", false),
        ("--address web:80", false),
        ("--service web --algorithm random", false),
    ] {
        assert_eq!(parse(&format!("{head} {targets}")).is_ok(), taken, "{targets}");
    }
}

#[test]
fn a_listener_may_be_changed_without_its_port() {
    let line = "skiff listener create http --no-services --respond 503";
    let Command::Listener { command: ListenerCommand::Create(args) } = parse(line).unwrap().command else {
        panic!()
    };
    assert_eq!((args.port, args.protocol, args.services, args.no_services), (None, None, false, true));
    assert_eq!(args.action.respond, Some(503));
}

#[test]
fn a_listener_may_have_several_certificates() {
    let line = "skiff listener create web --port 8443 --protocol https --certificate a,b --certificate c";
    let Command::Listener { command: ListenerCommand::Create(args) } = parse(line).unwrap().command else {
        panic!()
    };
    let names: Vec<&str> = args.certificates.iter().map(Name::as_str).collect();
    assert_eq!((args.protocol, names), (Some(ListenerProtocol::Https), vec!["a", "b", "c"]));
}

#[test]
fn a_certificate_comes_with_its_key() {
    let line = "skiff cert import web --certificate a.pem --private-key b.pem";
    let Command::Cert { command: CertificateCommand::Import(args) } = parse(line).unwrap().command else {
        panic!()
    };
    assert_eq!((args.certificate, args.private_key), ("a.pem".into(), "b.pem".into()));
}

#[test]
fn https_is_served_if_it_is_asked_for() {
    let up = |line: &str| match parse(line).unwrap().command {
        Command::Up(args) => (args.tls, args.tls_port),
        other => panic!("{other:?}"),
    };
    assert_eq!(up("skiff up"), (None, 8443));
    assert_eq!(up("skiff up --tls dev"), (Some(Tls::Dev), 8443));
    assert_eq!(up("skiff up --tls dev --tls-port 443"), (Some(Tls::Dev), 443));
}

#[test]
fn values_without_units_are_wrong_usage() {
    let lines = [
        "skiff deploy --memory 128",
        "skiff deploy --timeout 30",
        "skiff deploy --cpu 1",
        "skiff deploy --env A",
        "skiff deploy --path api",
        "skiff deploy --security-group Web",
        "skiff deploy --port 0",
        "skiff deploy --port 65536",
        "skiff deploy --listen 6379",
        "skiff deploy --health-interval 10",
        "skiff deploy --restart always",
        "skiff run job.wasm --restart sometimes",
        "skiff run job.wasm --stop-timeout 5",
        "skiff up --network 10.64.0.0",
        "skiff up --network6 10.64.0.0/10",
        "skiff sg create web --rule tcp:80",
        "skiff sg create web --rule tcp:80 --no-rules",
        "skiff sg allow web",
        "skiff net explain web",
        "skiff net explain web cache",
        "skiff net explain web 2001:db8::7:53",
        "skiff net flows --since 5",
        "skiff deploy --grace 30",
        "skiff deploy --circuit-breaker on",
        "skiff deploy --min-healthy 50%",
        "skiff rollout stop hello",
        "skiff events --type tasks",
        "skiff events --since 5",
        "skiff events web",
        "skiff listener create web --port 0",
        "skiff listener create web --port 80 --protocol udp",
        "skiff listener create web --services --no-services",
        "skiff listener create web --internal --public",
        "skiff listener create web --protocol https --certificate Web",
        "skiff cert import web --certificate a.pem",
        "skiff cert rm",
        "skiff up --tls prod",
        "skiff up --tls-port 8443",
        "skiff up --tls dev --tls-port 0",
        "skiff rule create api --if path=* --respond 404",
        "skiff rule create api --priority 1 --respond 404",
        "skiff rule create api --priority 50001 --if path=* --respond 404",
        "skiff rule create api --priority 1 --if cookie=a --respond 404",
        "skiff rule explain GET",
        "skiff rule explain GET / -H x-beta",
        "skiff target-group rm",
        "skiff forward",
        "skiff forward cache 0",
        "skiff forward cache :6379",
        "skiff forward cache 6379:0",
        "skiff forward cache redis",
        "skiff scale hello -1",
        "skiff task ls --status DEAD",
        "skiff taskdef rm hello",
        "skiff bench cold-start hello --requests 0",
        "skiff new Hello",
        "skiff ps --output yaml",
        "skiff usage --since 24",
        "skiff usage --by node",
        "skiff completions tcsh",
        "skiff man",
        "skiff rm",
        "skiff",
    ];
    for line in lines {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line} was taken");
    }
    let Command::Task { command: TaskCommand::Ls(args) } =
        parse("skiff task ls --status running").unwrap().command
    else {
        panic!()
    };
    assert_eq!(args.status, Some(TaskStatus::Running));
}

#[test]
fn a_metric_is_of_somebody_or_ones_own() {
    let metrics = |line: &str| match parse(line).unwrap().command {
        Command::Metrics(args) => args,
        other => panic!("{other:?}"),
    };
    let args =
        metrics("skiff metrics hello cpuutilization --since 1h --statistic p99 --period 1m --svg a.svg");
    assert_eq!((args.subject.as_deref(), args.since.to_string().as_str()), (Some("hello"), "1h"));
    assert_eq!(args.metric.unwrap().as_str(), "CPUUtilization");
    let args = metrics("skiff metrics queue/depth --dimension queue=mails --dimension zone=a");
    assert!(args.is_of_a_metric() && !metrics("skiff metrics hello --since 1h").is_of_a_metric());
    assert_eq!((args.metric, args.dimensions.len(), args.since.ms()), (None, 2, 900_000));
    match metrics("skiff metrics put jobs -1.5 --dimension a=b=c").command {
        Some(MetricsCommand::Put(args)) => assert_eq!((args.value, &*args.dimensions[0].1), (-1.5, "b=c")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(metrics("skiff metrics ls --service hello").command, Some(MetricsCommand::Ls(_))));
    for bad in [
        "skiff metrics",
        "skiff metrics hello CPU:x",
        "skiff metrics hello CPUUtilization --statistic mean",
        "skiff metrics hello CPUUtilization --since 5",
        "skiff metrics put jobs",
        "skiff metrics put jobs x",
        "skiff metrics put jobs NaN",
        "skiff metrics put jobs inf",
        "skiff metrics put jobs 1e999",
        "skiff metrics put jobs 1 --dimension Queue=a",
        "skiff metrics ls --service hello --task 5e8f01b2",
    ] {
        assert!(parse(bad).is_err(), "{bad} was taken");
    }
}
