//! `skiff apply` as its users meet it: what it shows, what it does, and that it goes on after whatever ended it.
//!
//! What happens in the middle is made to by a stand-in for the API ([`between`]), which sees each call that writes before
//! the platform does. Documents mostly have target groups of hosts that nobody asks: those need no component.

mod between;

use crate::harness::{PATIENCE, Platform, eventually, free_port};
use between::{Fate, between};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

/// The exit code of a dry run that found something to do.
const DIFFERENT: i32 = 3;

/// Writes a document beside the platform's data; its path.
fn document(platform: &Platform, name: &str, text: &str) -> String {
    let path = platform.dir().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A target group of a host that nobody asks.
fn group(name: &str, algorithm: &str) -> String {
    format!(
        "- kind: target-group\n  name: {name}\n  spec:\n    targets: {{ outside: [\"192.0.2.7:80\"] }}\n    \
         algorithm: {algorithm}\n"
    )
}

/// A rule of the built-in listener that forwards to a group.
fn rule(name: &str, priority: u32, to: &str) -> String {
    format!(
        "- kind: rule\n  name: {name}\n  spec:\n    priority: {priority}\n    conditions: [\"host={name}.example\"]\n    \
         action: {{ forward: {{ groups: [{{ group: {to} }}] }} }}\n"
    )
}

/// The change of each resource of a document, as `KIND NAME: CHANGE`.
fn changes(platform: &Platform, arguments: &[&str]) -> Vec<String> {
    let outcomes = platform.json(&[&["apply", "-f"][..], arguments].concat());
    let text = |outcome: &Value, key: &str| outcome[key].as_str().unwrap().to_owned();
    let shown = |outcome: &Value| {
        format!("{} {}: {}", text(outcome, "kind"), text(outcome, "name"), text(outcome, "change"))
    };
    outcomes.as_array().unwrap().iter().map(shown).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A command that is to meet the platform by this address.
fn by(platform: &Platform, address: &str, arguments: &[&str]) -> Command {
    let mut command = platform.command(arguments);
    command.env("SKIFF_API", format!("http://{address}"));
    command
}

fn algorithm(platform: &Platform, group: &str) -> String {
    platform.json(&["target-group", "show", group])["algorithm"].as_str().unwrap().to_owned()
}

#[test]
fn the_example_is_applied_and_then_there_is_nothing_to_do() {
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &[]);
    platform.deploy("hello-p3", "hello-p3", &[]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop.yaml");
    let port = free_port();
    let example = std::fs::read_to_string(example).unwrap().replace("9000", &port.to_string());
    let file = document(&platform, "shop.yaml", &example);

    let dry = platform.run(&["apply", "-f", &file, "--dry-run", "--exit-code"]);
    assert_eq!(dry.status.code(), Some(DIFFERENT), "{}", stderr(&dry));
    let shown = String::from_utf8(dry.stdout).unwrap();
    assert_eq!(shown.lines().count(), 9, "{shown}");
    assert!(shown.lines().all(|line| line.starts_with("+ create ")), "{shown}");
    assert!(shown.starts_with("+ create security-group default/shop\n"), "{shown}");
    assert!(shown.trim_end().ends_with("+ create rule default/shop"), "{shown}");
    assert!(platform.fails(&["listener", "show", "shop"]).contains("there is no listener shop"));

    platform.ok(&["apply", "-f", &file]);
    let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().new_agent();
    eventually("the shop answers", || {
        let request = agent.get(format!("http://127.0.0.1:{port}/")).header("host", "shop.localhost");
        request.call().ok()?.body_mut().read_to_string().ok().filter(|text| text.contains("Hello"))
    });
    let definition = platform.json(&["service", "show", "shop-one"])["spec"]["definition"].clone();
    assert_eq!(definition, "shop-one:1");

    let again = platform.run(&["apply", "-f", &file]);
    assert!(
        again.status.success() && stderr(&again).contains("nothing to do: 9 resources are"),
        "{}",
        stderr(&again)
    );
    let shown = String::from_utf8(again.stdout).unwrap();
    assert!(shown.lines().all(|line| line.starts_with("= unchanged ")), "{shown}");
    assert!(platform.run(&["apply", "-f", &file, "--dry-run", "--exit-code"]).status.success());

    let changed = example.replace("weight: 95", "weight: 90").replacen("cpu: \"512\"", "cpu: \"1024\"", 1);
    let file = document(&platform, "shop.yaml", &changed);
    let shown = platform.ok(&["apply", "-f", &file]);
    let expected = [
        "~ change task-definition default/shop-one",
        "    limits.cpu: 512 → 1024",
        "~ change service default/shop-one",
        "    definition: shop-one:1 → the new revision of shop-one",
        "~ change rule default/shop",
        "    action.forward.groups:",
        "      - {\"group\":\"default/shop-one\",\"weight\":95}",
        "      + {\"group\":\"default/shop-one\",\"weight\":90}",
    ];
    let written: Vec<&str> = shown.lines().filter(|line| !line.starts_with("= ")).collect();
    assert_eq!(written, expected);
    let definition = platform.json(&["service", "show", "shop-one"])["spec"]["definition"].clone();
    assert_eq!(definition, "shop-one:2");
    assert!(stderr(&platform.run(&["apply", "-f", &file])).contains("nothing to do"));
    // What said so once is not registered anew.
    let file = document(&platform, "shop.yaml", &example);
    platform.ok(&["apply", "-f", &file]);
    let definition = platform.json(&["service", "show", "shop-one"])["spec"]["definition"].clone();
    assert_eq!(definition, "shop-one:1");
    assert!(stderr(&platform.run(&["apply", "-f", &file])).contains("nothing to do"));
}

#[test]
fn a_document_is_found_unsound_before_anything_is_written() {
    let platform = Platform::start(&[]);
    let text =
        [group("legacy", "round-robin"), rule("a", 1, "lgeacy"), "- kind: listener\n  naem: x\n".to_owned()]
            .concat();
    let file = document(&platform, "all.yaml", &text);
    let error = platform.fails(&["apply", "-f", &file]);
    assert!(error.contains("all.yaml:13: the key \"naem\" is unknown; did you mean \"name\"?"), "{error}");

    let text = [group("legacy", "round-robin"), rule("a", 1, "lgeacy"), rule("b", 2, "legacy")].concat();
    let file = document(&platform, "all.yaml", &text);
    let error = platform.fails(&["apply", "-f", &file]);
    let expected = "all.yaml:6: rule default/a: the target group that it forwards to, the target-group default/lgeacy or the \
                    service default/lgeacy, is neither in the document nor on the platform";
    assert!(error.contains(expected), "{error}");

    let text = [group("legacy", "round-robin"), rule("a", 1, "legacy"), rule("b", 1, "legacy")].concat();
    let file = document(&platform, "all.yaml", &text);
    let error = platform.fails(&["apply", "-f", &file]);
    assert!(
        error.contains("to have the priority 1 of the listener http, and so is the rule default/a at"),
        "{error}"
    );

    let definition = "kind: task-definition\nname: a\nspec: { image: nowhere }\n---\n\
                      kind: service\nname: a\nspec: { definition: 'b:3' }\n";
    let file = document(&platform, "all.yaml", definition);
    let error = platform.fails(&["apply", "-f", &file]);
    assert!(error.contains("2 things are wrong; nothing is changed"), "{error}");
    assert!(error.contains("its image nowhere is not on the platform"), "{error}");
    assert!(error.contains("its definition b:3 is not on the platform"), "{error}");
    assert_eq!(platform.json(&["target-group", "ls"]), serde_json::json!([]));
}

#[test]
fn what_somebody_else_changes_meanwhile_is_not_overwritten() {
    let platform = Platform::start(&[]);
    let file = document(&platform, "all.yaml", &group("legacy", "round-robin"));
    platform.ok(&["apply", "-f", &file]);
    let file = document(&platform, "all.yaml", &group("legacy", "weighted-random"));
    let mut other = platform.command(&[
        "target-group",
        "create",
        "legacy",
        "--outside",
        "192.0.2.8:80",
        "--algorithm",
        "least-outstanding-requests",
    ]);
    let address = between(&platform.api, move |_| {
        assert!(other.output().unwrap().status.success());
        Fate::Passes
    });
    let output = by(&platform, &address, &["apply", "-f", &file]).output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("target-group default/legacy is not changed: somebody else changed it after"),
        "{error}"
    );
    assert_eq!(algorithm(&platform, "legacy"), "least-outstanding-requests");
    let shown = platform.ok(&["apply", "-f", &file]);
    let expected = "~ change target-group default/legacy\n    algorithm: least-outstanding-requests → weighted-random\n    \
                    targets.outside:\n      - 192.0.2.8:80\n      + 192.0.2.7:80\n";
    assert_eq!(shown, expected);
    assert_eq!(algorithm(&platform, "legacy"), "weighted-random");
}

#[test]
fn after_a_failure_the_same_command_goes_on_from_there() {
    let platform = Platform::start(&[]);
    let listener =
        |port: &str| format!("- kind: listener\n  name: web\n  spec: {{ protocol: http, port: {port} }}\n");
    let text = |port: &str| [group("legacy", "round-robin"), listener(port), rule("a", 1, "legacy")].concat();
    // A port that the platform itself has: that it is, nobody knows but the platform.
    let taken = platform.api.rsplit_once(':').unwrap().1;
    let file = document(&platform, "all.yaml", &text(taken));
    let error = platform.fails(&["apply", "-f", &file]);
    let expected = "stopped: what was done stays, and 2 resources are not done: listener web, rule default/a; run the same \
                    command again to go on from there";
    assert!(error.contains("created target-group default/legacy") && error.contains(expected), "{error}");
    assert!(
        error.contains("error: listener web is not created: Skiff itself listens at the port"),
        "{error}"
    );
    let file = document(&platform, "all.yaml", &text(&free_port().to_string()));
    let expected = ["target-group legacy: unchanged", "listener web: create", "rule a: create"];
    assert_eq!(changes(&platform, &[&file]), expected);
    let expected = ["target-group legacy: unchanged", "listener web: unchanged", "rule a: unchanged"];
    assert_eq!(changes(&platform, &[&file]), expected);
}

#[test]
fn after_a_kill_the_same_command_goes_on_from_there() {
    let platform = Platform::start(&[]);
    let rules: Vec<String> =
        (1..=3).map(|priority| rule(&format!("r{priority}"), priority, "legacy")).collect();
    let file = document(&platform, "all.yaml", &[group("legacy", "round-robin"), rules.concat()].concat());
    let (reached, is_reached) = mpsc::channel();
    let (killed, is_killed) = mpsc::channel();
    let address = between(&platform.api, move |call| match call {
        0 | 1 => Fate::Passes,
        _ => {
            reached.send(()).unwrap();
            is_killed.recv_timeout(PATIENCE).unwrap();
            Fate::IsLost
        }
    });
    let mut command = by(&platform, &address, &["apply", "-f", &file]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    is_reached.recv_timeout(PATIENCE).expect("the third call");
    child.kill().unwrap();
    child.wait().unwrap();
    killed.send(()).unwrap();
    let expected =
        ["target-group legacy: unchanged", "rule r1: unchanged", "rule r2: create", "rule r3: create"];
    assert_eq!(changes(&platform, &[&file]), expected);
    assert!(stderr(&platform.run(&["apply", "-f", &file])).contains("nothing to do"));
}

#[test]
fn a_call_whose_connection_is_lost_is_made_again() {
    let platform = Platform::start(&[]);
    let text = [group("legacy", "round-robin"), rule("a", 1, "legacy"), rule("b", 2, "legacy")].concat();
    let file = document(&platform, "all.yaml", &text);
    // The first call does not arrive; the second is it again, and its answer is lost; the third finds that.
    let address = between(&platform.api, |call| match call {
        0 => Fate::IsLost,
        1 => Fate::AnswerIsLost,
        _ => Fate::Passes,
    });
    let output = by(&platform, &address, &["apply", "-f", &file]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("3 created, 0 changed, 0 unchanged"), "{}", stderr(&output));
    assert!(stderr(&platform.run(&["apply", "-f", &file])).contains("nothing to do"));
}

#[test]
fn security_groups_may_name_each_other() {
    let platform = Platform::start(&[]);
    let text = "[[resource]]\nkind = \"security-group\"\nname = \"web\"\nspec.rules = [\"tcp:6379 to db\", \"all from self\"]\n\n\
                [[resource]]\nkind = \"security-group\"\nname = \"db\"\nspec.rules = [\"tcp:6379 from web\"]\n";
    let file = document(&platform, "groups.toml", text);
    assert_eq!(changes(&platform, &[&file]), ["security-group web: create", "security-group db: create"]);
    let rules = |name: &str| platform.json(&["sg", "show", name])["rules"].clone();
    assert_eq!(rules("web"), serde_json::json!(["tcp:6379 to db", "all from self"]));
    assert_eq!(rules("db"), serde_json::json!(["tcp:6379 from web"]));
    assert!(stderr(&platform.run(&["apply", "-f", &file])).contains("nothing to do"));
}

#[test]
fn a_certificate_lies_beside_the_document() {
    let platform = Platform::start(&[]);
    let issue = || {
        let issued = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
        document(&platform, "web.pem", &issued.cert.pem());
        document(&platform, "web.key", &issued.signing_key.serialize_pem());
    };
    issue();
    let text = format!(
        "[{{ \"kind\": \"listener\", \"name\": \"web\",\n   \"spec\": {{ \"protocol\": \"https\", \"port\": {}, \
         \"certificates\": [\"web\"] }} }},\n {{ \"kind\": \"certificate\", \"name\": \"web\",\n   \
         \"spec\": {{ \"certificate_file\": \"web.pem\", \"private_key_file\": \"web.key\" }} }}]\n",
        free_port()
    );
    let file = document(&platform, "web.json", &text);
    assert_eq!(changes(&platform, &[&file]), ["certificate web: create", "listener web: create"]);
    assert_eq!(changes(&platform, &[&file]), ["certificate web: unchanged", "listener web: unchanged"]);
    issue();
    let shown = platform.ok(&["apply", "-f", &file]);
    assert!(shown.contains("~ change certificate web\n    fingerprint: "), "{shown}");
    assert_eq!(changes(&platform, &[&file]), ["certificate web: unchanged", "listener web: unchanged"]);
}

#[test]
fn what_is_exported_is_as_it_is() {
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &["--host", "hello.example"]);
    let text = [group("legacy", "round-robin"), rule("a", 1, "legacy"), rule("b", 2, "hello")].concat();
    let listener = format!(
        "- kind: listener\n  name: web\n  spec:\n    protocol: http\n    port: {}\n    default_action: {{ redirect: {{ to: \
         \"https://#{{host}}\" }} }}\n",
        free_port()
    );
    let groups = "- kind: security-group\n  name: web\n  spec: { rules: [\"tcp:443 to *.example.com\"] }\n";
    let folder = platform.dir().join("all");
    std::fs::create_dir(&folder).unwrap();
    for (file, text) in [("2.yaml", &text), ("1.yml", &listener), ("3.yaml", &groups.to_owned())] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    platform.ok(&["apply", "-f", folder.to_str().unwrap()]);
    let exported = platform.ok(&["export"]);
    let file = document(&platform, "exported.yaml", &exported);
    let expected = [
        "security-group web: unchanged",
        "service hello: unchanged",
        "target-group legacy: unchanged",
        "listener web: unchanged",
        "rule a: unchanged",
        "rule b: unchanged",
    ];
    assert_eq!(changes(&platform, &[&file]), expected, "{exported}");
    // By standard input, and as JSON, too; and on what is gone it makes it again.
    let json = document(&platform, "exported.json", &platform.ok(&["export", "--output", "json"]));
    platform.ok(&["rule", "rm", "b"]);
    let shown = |file: &PathBuf, arguments: &[&str]| {
        let mut command = platform.command(arguments);
        let output = command.stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let dry = shown(&file.into(), &["apply", "-f", "-", "--dry-run"]);
    assert!(dry.ends_with("+ create rule default/b\n") && dry.matches("= unchanged").count() == 5, "{dry}");
    assert_eq!(shown(&json.into(), &["apply", "-f", "-"]), dry);
    assert_eq!(platform.ok(&["export"]), exported);
}
