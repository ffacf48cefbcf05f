//! `examples/thumbnails` while the platform is killed again and again: each image whose upload boto3 was told of has its row, and the
//! thumbnail that the row names.

use super::program::{python, run_within};
use super::{AccessKey, example, tools};
use crate::harness::{PATIENCE, Platform, eventually, guest_path};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;

const SCRIPT: &str = "thumbnails.py";
/// Images that are uploaded, and how often the platform is killed meanwhile: each time once so many more rows are there.
const IMAGES: usize = 60;
const KILLS: usize = 2;
const ROWS_BETWEEN: usize = 10;
/// What is waited for goes on over starts of the platform.
const PATIENCES: u32 = 5;

/// The rows, by key.
fn rows(platform: &Platform) -> BTreeMap<String, Value> {
    let items = platform.json(&["table", "scan", "thumbnails", "--limit", "1000"]);
    let row = |item: &Value| {
        let value = item["value"].as_str().expect("a row is text");
        (item["key"].as_str().unwrap().to_owned(), serde_json::from_str(value).expect("a row is JSON"))
    };
    items.as_array().unwrap().iter().map(row).collect()
}

fn client(program: &Path, platform: &Platform, key: &AccessKey, arguments: &[&str]) -> Command {
    let mut command = python(program, SCRIPT);
    // Where the platform is, is another place after each start.
    command.arg(platform.dir().join("ready.json")).args(arguments);
    key.give(&mut command);
    command
}

#[test]
fn every_image_that_was_uploaded_has_its_row_over_kills() {
    let Some(program) = tools::python() else { return };
    let mut platform = Platform::start(&[]);
    let component = guest_path("thumbnails");
    platform.ok(&["image", "push", component.to_str().unwrap(), "--name", "thumbnails"]);
    platform.ok(&["apply", "-f", example("thumbnails/thumbnails.yaml").to_str().unwrap()]);
    let key = AccessKey::of(&platform, "uploader");
    let upload = client(&program, &platform, &key, &["upload", &IMAGES.to_string()]);
    let (platform, uploaded) = thread::scope(|scope| {
        let uploads = scope.spawn(|| run_within(PATIENCE * PATIENCES, upload));
        for kill in 1..=KILLS {
            eventually("more rows are there", || {
                (rows(&platform).len() >= kill * ROWS_BETWEEN || uploads.is_finished()).then_some(())
            });
            platform.kill();
            platform = platform.restart();
        }
        (platform, uploads.join().expect("the uploads succeed"))
    });

    let uploaded: Vec<Value> =
        uploaded.lines().map(|line| serde_json::from_str(line).expect("it prints JSON")).collect();
    assert_eq!(uploaded.len(), IMAGES);
    let missing = |rows: &BTreeMap<String, Value>| {
        let is_right = |image: &&Value| {
            let row = rows.get(image["key"].as_str().unwrap());
            row.is_some_and(|row| {
                ["width", "height", "bytes", "etag"].iter().all(|field| row[field] == image[field])
            })
        };
        uploaded.iter().filter(|image| !is_right(image)).count()
    };
    eventually("all rows are right", || (missing(&rows(&platform)) == 0).then_some(()));
    let rows = rows(&platform);
    assert_eq!(rows.len(), IMAGES);
    let thumbnails: Vec<&str> = rows.values().map(|row| row["thumbnail"].as_str().unwrap()).collect();
    let check = client(&program, &platform, &key, &[&["check"], &thumbnails[..]].concat());
    run_within(PATIENCE, check);
}
