//! The examples' own scripts of ordinary clients: what they check is theirs.

use super::program::run_within;
use super::{example, tools};
use crate::harness::{PATIENCE, Platform, guest_path, skiff};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Each waits as long for one thing as a test does, and for several.
const PATIENCES: u32 = 5;

/// A script, told where the platform is, and of its components, which are built already.
fn script(platform: &Platform, path: &str, components: &[(&str, &str)]) -> Command {
    let mut command = Command::new("sh");
    command.arg(example(path)).env("SKIFF", skiff().get_program()).env("HOME", platform.dir());
    command.env("SKIFF_API", format!("http://{}", platform.api)).env("SKIFF_TOKEN", &platform.token);
    command.env("SKIFF_HTTP", format!("http://{}", platform.http)).env_remove("XDG_CONFIG_HOME");
    command.env("SKIFF_S3", format!("http://{}", platform.s3)).env("NO_PROXY", "*");
    for (name, guest) in components {
        command.env(name, guest_path(guest));
    }
    command
}

#[test]
fn the_script_of_thumbnails_finds_all_as_it_should_be() {
    let Some(programs) = tools::programs() else { return };
    let platform = Platform::start(&[]);
    let mut command = script(&platform, "thumbnails/try.sh", &[("THUMBNAILS", "thumbnails")]);
    let others = env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::iter::once(programs).chain(env::split_paths(&others)).collect();
    command.env("PATH", env::join_paths(path).expect("no folder has a colon in its name"));
    let said = run_within(PATIENCE * PATIENCES, command);
    assert!(said.ends_with("all is as it should be\n"), "{said}");
}

#[test]
fn the_script_of_orders_finds_all_as_it_should_be() {
    if !tools::has_curl() {
        return;
    }
    let platform = Platform::start(&[]);
    let command = script(&platform, "orders/try.sh", &[("ORDERS", "orders"), ("FULFIL", "fulfil")]);
    let said = run_within(PATIENCE * PATIENCES, command);
    assert!(said.ends_with("all is as it should be\n"), "{said}");
}
