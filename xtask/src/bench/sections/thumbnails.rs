//! `examples/thumbnails` with the AWS CLI: 1,000 images, while the platform is killed ten times in between; whether each has its row,
//! and a right one.

use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, example};
use crate::bench::stats::number;
use crate::clients;
use crate::platform::Platform;
use crate::shell::{output, root};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Images, and of a quick run.
const IMAGES: usize = 1_000;
const IMAGES_QUICK: usize = 50;
/// How often the platform is killed, each time once another part of the rows is there.
const KILLS: usize = 10;
/// How long anything may take that is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let images = if bench.settings.quick { IMAGES_QUICK } else { IMAGES };
    let programs = clients::programs()?;
    let folder = bench.folder().join("images");
    let made = make_images(&programs, &folder, images)?;
    let world = World::new(bench)?;
    let mut platform = world.start()?;
    platform.skiff_output(&[
        "image",
        "push",
        &example("thumbnails").to_string_lossy(),
        "--name",
        "thumbnails",
    ])?;
    platform.skiff_output(&["apply", "-f", "examples/thumbnails/thumbnails.yaml"])?;
    let key = platform.skiff_output(&["key", "create", "--role", "uploader", "--output", "json"])?;
    let mut uploads = Uploads {
        command: world.sync(&programs, &folder, &serde_json::from_str(&key)?)?,
        running: None,
        begun: 0,
    };

    let began = Instant::now();
    let mut kills = Vec::new();
    for kill in 1..=KILLS {
        uploads.until(|| Ok(rows(&platform)? >= images * kill / (KILLS + 1)))?;
        platform.kill()?;
        let killed = Instant::now();
        platform = world.start()?;
        kills.push(killed.elapsed().as_secs_f64() * 1e3);
    }
    while !uploads.has_ended()? {
        std::thread::sleep(LOOK);
    }
    let uploaded = began.elapsed();
    let right = wait_for_rows(&platform, &made)?;
    let took = began.elapsed();
    platform.stop()?;

    let rows = [
        ("images", images.to_string()),
        ("right rows", right.to_string()),
        ("kills of the platform", kills.len().to_string()),
        ("`aws s3 sync`, begun anew where it had given up", uploads.begun.to_string()),
        ("until all are uploaded, s", number(uploaded.as_secs_f64())),
        ("until all rows are there, s", number(took.as_secs_f64())),
    ];
    Ok(Section {
        title: "Thumbnails",
        method: vec![format!(
            "{images} images of 300 to 1,300 pixels, by `aws s3 sync`, the platform killed with SIGKILL each time another {} rows are \
             there and started again at once; then every row is held against its image",
            images / (KILLS + 1)
        )],
        tables: vec![Table {
            title: "Images over kills".to_owned(),
            header: vec!["what", ""],
            rows: rows.iter().map(|(what, value)| vec![(*what).to_owned(), value.clone()]).collect(),
        }],
        goals: vec![Goal::at_least("right rows", right as f64, images as f64, "")],
        data: json!({ "images": images, "right": right, "starts_ms": kills, "s": took.as_secs_f64() }),
        ..Section::default()
    })
}

/// What stays over kills: the data, and where buckets are reached.
struct World<'a> {
    bench: &'a Bench,
    data_dir: PathBuf,
    s3: String,
}

impl<'a> World<'a> {
    fn new(bench: &'a Bench) -> anyhow::Result<Self> {
        let s3 = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        Ok(Self { bench, data_dir: bench.new_data_dir(), s3 })
    }

    fn start(&self) -> anyhow::Result<Platform> {
        let doors = ["--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--s3", &self.s3];
        Ok(Platform::start_under(&self.bench.binary, &self.data_dir, &doors, &[])?.0)
    }

    /// The AWS CLI, as it uploads a folder; what it says is in a file beside.
    fn sync(&self, programs: &Path, folder: &Path, key: &Value) -> anyhow::Result<Command> {
        let field = |name: &str| key[name].as_str().with_context(|| format!("a key has its {name}"));
        let mut command = Command::new(programs.join("aws"));
        command.args(["s3", "sync", "--only-show-errors", "--endpoint-url", &format!("http://{}", self.s3)]);
        command.arg(folder).arg("s3://uploads/").env("AWS_REGION", "us-east-1").env("NO_PROXY", "*");
        command.env("AWS_ACCESS_KEY_ID", field("id")?).env("AWS_SECRET_ACCESS_KEY", field("secret")?);
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        let said = File::create(folder.with_extension("log"))?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        Ok(command)
    }
}

/// Uploads, begun again until they succeed.
struct Uploads {
    command: Command,
    running: Option<Child>,
    begun: usize,
}

impl Uploads {
    /// Whether they have; begins where they are not under way.
    fn has_ended(&mut self) -> anyhow::Result<bool> {
        if let Some(child) = &mut self.running {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
        }
        self.running = Some(self.command.spawn().context("the AWS CLI can't be started")?);
        self.begun += 1;
        Ok(false)
    }

    /// Goes on until something holds, or they have ended.
    fn until(&mut self, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.has_ended()? && !holds()? {
            if began.elapsed() > PATIENCE {
                bail!("no more rows come for {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Has the tests' script make images; what their rows are to say, by key.
fn make_images(programs: &Path, folder: &Path, images: usize) -> anyhow::Result<BTreeMap<String, Value>> {
    std::fs::create_dir_all(folder)?;
    let script = root().join("platform/server/tests/clients/thumbnails.py");
    let mut command = Command::new(programs.join("python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(folder).args(["make", &images.to_string()]);
    let made = output(&mut command)?;
    let read = |line: &str| -> anyhow::Result<(String, Value)> {
        let row: Value = serde_json::from_str(line)?;
        Ok((row["key"].as_str().context("an image has a key")?.to_owned(), row))
    };
    made.lines().map(read).collect()
}

/// How many rows there are.
fn rows(platform: &Platform) -> anyhow::Result<usize> {
    let table = platform.look(&ureq::Agent::new_with_defaults(), "tables/thumbnails")?;
    Ok(table["status"]["items"].as_u64().unwrap_or(0) as usize)
}

/// Waits until all rows are right, or for as long as that may take; how many are.
fn wait_for_rows(platform: &Platform, made: &BTreeMap<String, Value>) -> anyhow::Result<usize> {
    let (limit, began) = (made.len().to_string(), Instant::now());
    loop {
        let scan = ["table", "scan", "thumbnails", "--limit", &limit, "--output", "json"];
        let items: Value = serde_json::from_str(&platform.skiff_output(&scan)?)?;
        let is_right = |item: &&Value| {
            let image = item["key"].as_str().and_then(|key| made.get(key));
            let row = item["value"].as_str().and_then(|row| serde_json::from_str::<Value>(row).ok());
            let fields = ["width", "height", "bytes", "etag"];
            image.zip(row).is_some_and(|(image, row)| fields.iter().all(|field| row[field] == image[field]))
        };
        let right = items.as_array().into_iter().flatten().filter(is_right).count();
        if right == made.len() || began.elapsed() > PATIENCE {
            return Ok(right);
        }
        std::thread::sleep(LOOK);
    }
}
