//! Roles live, by the command line: made, added to, explained, shown as Cedar, applied and exported; and keys, over a kill.

use crate::harness::Platform;
use serde_json::json;

#[test]
fn a_role_is_made_added_to_explained_and_removed() {
    let platform = Platform::start(&[]);
    platform.ok(&["role", "put", "thumbs", "--allow", "bucket:read uploads/images/*"]);
    let ask = |action: &str, resource: &str| platform.run(&["role", "explain", "thumbs", action, resource]);
    let allowed = ask("bucket:read", "uploads/images/cat.png");
    assert!(allowed.status.success());
    let said = String::from_utf8(allowed.stdout).unwrap();
    assert_eq!(said.trim_end(), "allowed by bucket:read uploads/images/*");
    for (action, resource) in [
        ("bucket:read", "uploads/image"),
        ("bucket:read", "uploads"),
        ("bucket:write", "uploads/images/cat.png"),
        ("table:write", "thumbnails"),
    ] {
        assert_eq!(ask(action, resource).status.code(), Some(1), "{action} {resource}");
    }

    // The command that a denial names does what it says, and takes nothing away.
    let denied = String::from_utf8(ask("table:write", "thumbnails").stdout).unwrap();
    assert!(denied.contains("skiff role put thumbs --add \"table:write thumbnails\""), "{denied}");
    platform.ok(&["role", "put", "thumbs", "--add", "table:write thumbnails"]);
    let shown = platform.json(&["role", "show", "thumbs"]);
    assert_eq!(shown["allow"], json!(["bucket:read uploads/images/*", "table:write thumbnails"]));
    assert!(ask("table:write", "thumbnails/cat.png").status.success());
    let cedar = platform.ok(&["role", "show", "thumbs", "--cedar"]);
    assert!(cedar.contains("resource in Skiff::Table::\"thumbnails\""), "{cedar}");

    // What is shown as Cedar is taken as Cedar, and means the same.
    let file = platform.dir().join("thumbs.cedar");
    std::fs::write(&file, &cedar).unwrap();
    platform.ok(&["role", "put", "thumbs", "--policy", file.to_str().unwrap()]);
    assert_eq!(platform.json(&["role", "show", "thumbs"])["allow"], json!([]));
    assert!(ask("table:write", "thumbnails/cat.png").status.success());
    assert!(!ask("bucket:read", "uploads/image").status.success());

    // What is said in Cedar is not lost by a word about grants, but by one about it.
    let grant = ["role", "put", "thumbs", "--allow", "bucket:read uploads"];
    let error = platform.fails(&grant);
    assert!(error.contains("has policies in Cedar") && error.contains("--replace"), "{error}");
    assert!(ask("table:write", "thumbnails/cat.png").status.success());
    platform.ok(&[&grant[..], &["--replace"]].concat());
    assert!(!ask("table:write", "thumbnails/cat.png").status.success());
    platform.ok(&grant);

    std::fs::write(&file, "permit (principal, action, resource)\nwhen { nonsense };").unwrap();
    let error = platform.fails(&["role", "put", "thumbs", "--policy", file.to_str().unwrap()]);
    assert!(error.contains("line 2 of the policy"), "{error}");
    let wrong = platform.run(&["role", "put", "thumbs", "--allow", "bucket:get uploads"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
    platform.ok(&["role", "rm", "thumbs"]);
    assert_eq!(platform.json(&["role", "ls"]), json!([]));
}

#[test]
fn a_task_definition_names_a_role_and_holds_it() {
    let platform = Platform::start(&[]);
    let component = platform.component("hello");
    let deploy = ["deploy", component.to_str().unwrap(), "--name", "hello", "--role", "greeter"];
    let error = platform.fails(&deploy);
    assert!(error.contains("make it with `skiff role put greeter`"), "{error}");
    platform.ok(&["role", "put", "greeter", "--allow", "secret:read greeting"]);
    platform.ok(&deploy);
    assert_eq!(platform.json(&["taskdef", "show", "hello"])["role"], "greeter");
    let shown = platform.ok(&["taskdef", "show", "hello"]);
    assert!(shown.lines().any(|line| line.starts_with("Role ") && line.ends_with(" greeter")), "{shown}");
    let error = platform.fails(&["role", "rm", "greeter"]);
    assert!(error.contains("is named by the task definition hello:1"), "{error}");
}

#[test]
fn keys_and_roles_outlive_a_kill() {
    let mut platform = Platform::start(&[]);
    platform.ok(&["role", "put", "uploader", "--allow", "bucket:* uploads"]);
    let key = platform.json(&["key", "create", "--role", "uploader"]);
    let (id, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    assert!(id.starts_with("SKIF") && id.len() == 20 && secret.len() == 40, "{key}");
    platform.kill();
    let platform = platform.restart();
    let listed = platform.json(&["key", "ls"]);
    assert_eq!((&listed[0]["id"], &listed[0]["role"]), (&json!(id), &json!("uploader")));
    assert!(!listed.to_string().contains(secret) && !platform.log().contains(secret));
    let error = platform.fails(&["role", "rm", "uploader"]);
    assert!(error.contains(&format!("skiff key rm {id}")), "{error}");
    platform.ok(&["key", "rm", id]);
    platform.ok(&["role", "rm", "uploader"]);
}

#[test]
fn roles_are_applied_and_exported() {
    let platform = Platform::start(&[]);
    let file = platform.dir().join("roles.yaml");
    let document = "- kind: role\n  name: thumbs\n  spec:\n    allow: ['bucket:read uploads/*', 'table:write thumbnails']\n    \
                    policy: |\n      forbid (principal, action, resource is Skiff::Bus);\n";
    std::fs::write(&file, document).unwrap();
    let apply = ["apply", "-f", file.to_str().unwrap()];
    platform.ok(&apply);
    assert_eq!(platform.json(&["role", "ls"])[0]["name"], "thumbs");
    let again = platform.json(&apply);
    assert_eq!(again[0]["change"], "unchanged", "{again}");
    let exported = platform.ok(&["export"]);
    assert!(exported.contains("bucket:read uploads/*"), "{exported}");
    std::fs::write(&file, exported).unwrap();
    assert_eq!(platform.json(&apply)[0]["change"], "unchanged");
    std::fs::write(&file, "kind: role\nname: thumbs\nspec: { allow: ['bucket:read uploads/*'] }\n").unwrap();
    assert_eq!(platform.json(&apply)[0]["change"], "change");
    let shown = platform.json(&["role", "show", "thumbs"]);
    assert_eq!((&shown["allow"], &shown["policy"]), (&json!(["bucket:read uploads/*"]), &json!(null)));
}
