//! The projects that `skiff new` makes: each builds, without the network, and runs as it stands.

use crate::harness::Platform;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Where the projects are made: the same place in every run, so that cargo builds what they depend on only once.
const WORKSHOP: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/templates");

#[tokio::test]
async fn every_template_builds_and_runs_as_it_stands() {
    let platform = Platform::start(&[]);
    for template in ["http", "http-p3"] {
        let name = format!("my-{template}");
        let folder = make(&platform, template, &name);
        ok(&platform, &["deploy", &folder]);
        let answer = platform.get(&name, "/").await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        assert!(answer.text.ends_with(&format!("Hello from {name}!\n")), "{}", answer.text);
    }
    for template in ["event", "queue"] {
        make(&platform, template, &format!("my-{template}"));
    }
    let folder = make(&platform, "job", "my-job");
    assert_eq!(ok(&platform, &["run", &folder, "--", "Ada", "Grace"]), "Hello, Ada and Grace!\n");
}

/// A project's folder, made from a template and built.
fn make(platform: &Platform, template: &str, name: &str) -> String {
    let workshop = Path::new(WORKSHOP);
    let (path, target) = (workshop.join(name), workshop.join("target"));
    fs::create_dir_all(&target).unwrap();
    // What the last run left; `skiff new` refuses the folder if that fails.
    let _ = fs::remove_dir_all(&path);
    let folder = path.to_str().unwrap().to_owned();
    ok(platform, &["new", name, "--template", template, "--path", &folder]);
    // They share what they depend on. Not by CARGO_TARGET_DIR: a manifest names its component's file below its folder.
    symlink(&target, path.join("target")).unwrap();
    ok(platform, &["build", &folder]);
    folder
}

/// Runs a CLI command that must succeed; what it printed. Cargo, which it may call, lives in the user's home, and need
/// not fetch anything: what the SDK depends on was fetched for the examples.
fn ok(platform: &Platform, arguments: &[&str]) -> String {
    let mut command = platform.command(arguments);
    command.env("HOME", std::env::var_os("HOME").expect("cargo's home is in it"));
    command.env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skiff {arguments:?} failed: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
