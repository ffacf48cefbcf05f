//! From a component to an answer: deploying, changing and removing services, by the CLI.

use crate::harness::{Platform, eventually, guest_path, signal};
use futures::future::join_all;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// An example's folder.
fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_examples_answer_through_the_load_balancer() {
    let platform = Platform::start(&[]);
    let examples = [
        ("hello", "/", "Hello"),
        ("hello-p3", "/", "Hello"),
        ("http-daemon", "/", "Hello from a daemon"),
        ("table", "/SKU-000042", "no. 42:"),
    ];
    for (name, path, text) in examples {
        platform.ok(&["deploy", &example(name)]);
        let answer = platform.get(name, path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.text.contains(text), "{}", answer.text);
        assert!(answer.headers.contains_key("x-request-id"));
    }
    let services = platform.json(&["service", "ls"]);
    assert_eq!(services["items"].as_array().or(services.as_array()).unwrap().len(), examples.len());
    assert_eq!(platform.get("nobody", "/").await.status, 404);
}

#[test]
fn a_deploy_keeps_the_count_that_a_service_was_scaled_to() {
    let platform = Platform::start(&[]);
    let hello = example("hello");
    platform.ok(&["deploy", &hello]);
    platform.ok(&["scale", "hello", "2"]);
    platform.ok(&["deploy", &hello, "--env", "COLOUR=green"]);
    let service = platform.json(&["service", "show", "hello"]);
    assert_eq!(service["spec"]["definition"], "hello:2");
    assert_eq!(service["spec"]["desired"], 2);
}

#[test]
fn a_deploy_that_is_refused_leaves_no_revision() {
    let platform = Platform::start(&[]);
    let hello = example("hello");
    platform.ok(&["deploy", &hello]);
    for refused in [["--max-percent", "100"], ["--security-group", "nobody"]] {
        let deploy = ["deploy", &hello, "--env", "COLOUR=red", refused[0], refused[1]];
        let error = platform.fails(&deploy);
        assert!(error.contains("error: "), "{error}");
        assert_eq!(platform.json(&["service", "show", "hello"])["spec"]["definition"], "hello:1");
    }
    platform.ok(&["deploy", &hello, "--env", "COLOUR=red"]);
    assert_eq!(platform.json(&["service", "show", "hello"])["spec"]["definition"], "hello:2");
}

#[test]
fn the_job_example_prints_and_exits_with_a_code() {
    let platform = Platform::start(&[]);
    let job = guest_path("job");
    let output = platform.run(&["run", job.to_str().unwrap(), "--", "20", "22"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("42"), "{stdout}");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(platform.run(&["run", job.to_str().unwrap(), "--", "many"]).status.code(), Some(2));
}

#[tokio::test]
async fn every_request_has_a_sandbox_of_its_own() {
    let platform = Platform::start(&[]);
    for guest in ["misbehave", "misbehave-p3"] {
        platform.deploy(guest, guest, &["--cpu", "2048"]);
        let client = reqwest::Client::new();
        for _ in 0..200 {
            let answer = platform.get_with(&client, guest, "/count").await.unwrap();
            assert_eq!((answer.status, answer.text.trim()), (200, "1"), "{guest}");
        }
    }
}

#[tokio::test]
async fn a_new_revision_replaces_the_old_without_a_failed_request() {
    let platform = Platform::start(&[]);
    let size = ["--cpu", "2048", "--desired", "2"];
    platform.deploy("misbehave", "app", &[&["--env", "COLOUR=blue"][..], &size].concat());
    // Each on a connection of its own; half of them always have a request on its way while a revision leaves.
    let stop = AtomicBool::new(false);
    let load = async |path: &'static str| {
        let (client, mut answers) = (reqwest::Client::new(), 0);
        while !stop.load(Relaxed) {
            let answer = platform.get_with(&client, "app", path).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answers += 1;
        }
        answers
    };
    let paths = ["/env?name=COLOUR", "/sleep?ms=100"];
    let clients = join_all((0..8).map(|client| load(paths[client % 2])));
    let changes = async {
        for colour in ["green", "red", "white"] {
            let path = guest_path("misbehave");
            let environment = format!("COLOUR={colour}");
            let mut arguments =
                vec!["deploy", path.to_str().unwrap(), "--name", "app", "--env", &environment];
            arguments.extend(size);
            let mut command = platform.command(&arguments);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(platform.get("app", "/env?name=COLOUR").await.text.contains(colour));
        }
        stop.store(true, Relaxed);
    };
    let (answers, ()) = tokio::join!(clients, changes);
    assert!(answers.iter().all(|answers| *answers > 0), "{answers:?}");
    platform.ok(&["rollback", "app"]);
    eventually_text(&platform, "red").await;
}

async fn eventually_text(platform: &Platform, wanted: &str) {
    let started = std::time::Instant::now();
    while !platform.get("app", "/env?name=COLOUR").await.text.contains(wanted) {
        assert!(started.elapsed() < crate::harness::PATIENCE, "{wanted} never answered");
    }
}

#[tokio::test]
async fn scales_and_removes() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &[]);
    platform.ok(&["scale", "app", "3"]);
    let running = |platform: &Platform| {
        let service = platform.json(&["service", "show", "app"]);
        service["status"]["running"].as_u64()
    };
    eventually("three tasks run", || (running(&platform) == Some(3)).then_some(()));
    platform.ok(&["scale", "app", "0"]);
    eventually("no task runs", || (running(&platform) == Some(0)).then_some(()));
    assert_eq!(platform.get("app", "/count").await.status, 503);
    platform.ok(&["rm", "app"]);
    eventually("the service is gone", || {
        platform.run(&["service", "show", "app"]).status.code().filter(|code| *code == 1)
    });
    assert_eq!(platform.get("app", "/count").await.status, 404);
}

#[tokio::test]
async fn hosts_and_paths_route_the_longest_match_first() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "wide", &["--path", "/", "--env", "WHO=wide"]);
    platform.deploy("misbehave", "narrow", &["--host", "api.example.com", "--env", "WHO=narrow"]);
    let client = reqwest::Client::new();
    let ask = async |host: &str| {
        let request = client.get(format!("http://{}/env?name=WHO", platform.http)).header("host", host);
        request.send().await.unwrap().text().await.unwrap()
    };
    assert!(ask("api.example.com").await.contains("narrow"));
    assert!(ask("API.example.com:80").await.contains("narrow"));
    assert!(ask("other.example.com").await.contains("wide"));
}

#[test]
fn what_can_not_run_is_refused_at_deploy() {
    let platform = Platform::start(&[]);
    let module = platform.dir().join("module.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let said = platform.fails(&["deploy", module.to_str().unwrap(), "--name", "module"]);
    assert!(said.contains("core WebAssembly module") && said.contains("wasm32-wasip2"), "{said}");
    let text = platform.dir().join("text.wasm");
    std::fs::write(&text, "not wasm").unwrap();
    assert!(platform.fails(&["deploy", text.to_str().unwrap(), "--name", "text"]).contains("not"));
    let said = platform.fails(&["deploy", "nothing-here", "--name", "x"]);
    assert!(said.contains("nothing-here"), "{said}");
    let misbehave = guest_path("misbehave");
    let tiny = ["deploy", misbehave.to_str().unwrap(), "--name", "tiny", "--memory", "1MiB"];
    assert!(platform.fails(&tiny).contains("memory"));
}

#[tokio::test]
async fn a_restart_serves_again_without_compiling() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--desired", "2"]);
    let tasks = |platform: &Platform| {
        let list = platform.json(&["task", "ls", "--service", "app"]);
        let tasks = list["items"].as_array().or(list.as_array()).unwrap().clone();
        tasks
            .iter()
            .map(|task| task["id"].as_str().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = tasks(&platform);
    let native = newest_native(&platform);
    platform.kill();
    let platform = platform.restart();
    let started = std::time::Instant::now();
    while platform.get("app", "/count").await.status != 200 {
        assert!(started.elapsed() < crate::harness::PATIENCE);
    }
    assert_eq!(tasks(&platform), before, "the tasks of an http service outlive their supervisor");
    assert_eq!(newest_native(&platform), native, "the native code was not written again");
}

#[tokio::test]
async fn damaged_native_code_is_compiled_again_and_never_run() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &[]);
    platform.kill();
    let (path, _) = newest_native(&platform);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, &bytes).unwrap();
    let platform = platform.restart();
    let started = std::time::Instant::now();
    while platform.get("app", "/count").await.status != 200 {
        assert!(started.elapsed() < crate::harness::PATIENCE);
    }
    assert_ne!(std::fs::read(newest_native(&platform).0).unwrap(), bytes);
}

/// The one file of native code, and when it was written.
fn newest_native(platform: &Platform) -> (std::path::PathBuf, std::time::SystemTime) {
    let folder = platform.data_dir().join("cache/native");
    let mut files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let path = files.next().expect("native code is kept");
    assert!(files.next().is_none(), "one component, one file");
    let modified = path.metadata().unwrap().modified().unwrap();
    (path, modified)
}

#[test]
fn environment_values_are_shown_only_when_asked_for_by_name() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--env", "PASSWORD=hunter2", "--env", "OTHER=plain"]);
    for arguments in [&["taskdef", "show", "app"][..], &["service", "show", "app"], &["task", "ls"], &["ps"]]
    {
        let table = platform.ok(arguments);
        let json = platform.json(arguments).to_string();
        assert!(!table.contains("hunter2") && !json.contains("hunter2"), "{arguments:?}");
    }
    assert!(platform.ok(&["taskdef", "show", "app"]).contains("PASSWORD"));
}

#[test]
fn a_measurement_that_is_interrupted_removes_what_it_deployed() {
    let platform = Platform::start(&[]);
    let hello = guest_path("hello");
    let arguments = ["bench", "cold-start", hello.to_str().unwrap(), "--deploys", "100"];
    let bench = platform.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let has = |kind: &str| !platform.json(&[kind, "ls"]).as_array().unwrap().is_empty();
    eventually("the first is deployed", || has("service").then_some(()));
    signal(bench.id(), "INT");
    let output = bench.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: interrupted"), "{stderr}");
    assert!(!has("taskdef") && !has("image"));
    eventually("its services are gone", || (!has("service")).then_some(()));
}
