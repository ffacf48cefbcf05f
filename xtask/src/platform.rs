//! A platform started for a task, and its CLI.
//!
//! Unless it is to be left running, it has a configuration folder of its own: the user's, by which their CLI finds
//! their platform, stays as it is.

use crate::shell::{output, run};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long `skiff up` may take to be ready, on a machine that is busy building, or with 20,000 services.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Most bytes of metrics that are read: a node full of services has many series.
const METRICS_BYTES_MAX: u64 = 1 << 30;

/// A running `skiff up`; ended when dropped, unless it is let go.
pub(crate) struct Platform {
    binary: PathBuf,
    child: Option<Child>,
    /// `host:port` of the load balancer.
    pub(crate) http: String,
    /// The API's URL.
    pub(crate) api: String,
    /// `host:port` of the S3 endpoint.
    pub(crate) s3: String,
    /// What API calls carry.
    pub(crate) token: String,
    /// The configuration folder, if it is not the user's.
    config_home: Option<PathBuf>,
}

impl Platform {
    /// Starts it, with a configuration folder beside its data, and waits until it is ready; says how long that took.
    pub(crate) fn start(
        binary: &Path,
        data_dir: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<(Self, Duration)> {
        Self::start_under(binary, data_dir, arguments, &[])
    }

    /// The same, with these environment variables beside its own.
    pub(crate) fn start_under(
        binary: &Path,
        data_dir: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<(Self, Duration)> {
        let config_home = Some(data_dir.with_extension("config"));
        Self::start_with(binary, data_dir, config_home, arguments, environment)
    }

    /// Starts it as the user would: on the usual ports, and their CLI finds it.
    pub(crate) fn start_for_user(binary: &Path, data_dir: &Path) -> anyhow::Result<(Self, Duration)> {
        Self::start_with(binary, data_dir, None, &[], &[])
    }

    fn start_with(
        binary: &Path,
        data_dir: &Path,
        config_home: Option<PathBuf>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<(Self, Duration)> {
        std::fs::create_dir_all(data_dir.parent().context("a data folder has a parent")?)?;
        let ready_file = data_dir.with_extension("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let mut command = Command::new(binary);
        command
            .arg("up")
            .args(arguments)
            .arg("--data-dir")
            .arg(data_dir)
            .arg("--ready-file")
            .arg(&ready_file);
        command.env("SKIFF_LOG", "warn,rustls=error").stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(config_variable(config_home.as_deref())).envs(environment.iter().copied());
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{} can't be started", binary.display()))?;
        let ready = loop {
            if let Some(status) = child.try_wait()? {
                bail!("`skiff up` ended at once ({status})");
            }
            if started.elapsed() > READY_TIMEOUT {
                let _ = child.kill();
                bail!("`skiff up` was not ready within {} s", READY_TIMEOUT.as_secs());
            }
            match std::fs::read(&ready_file).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(ready) => break ready,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let took = started.elapsed();
        let text = |key: &str| ready_text(&ready, key);
        let token = std::fs::read_to_string(text("token_file")?)?.trim().to_owned();
        let (http, api) = (text("http")?, format!("http://{}", text("api")?));
        // None where it is switched off.
        let s3 = ready["s3"].as_str().unwrap_or_default().to_owned();
        Ok((Self { binary: binary.to_owned(), child: Some(child), http, api, s3, token, config_home }, took))
    }

    /// The process id of the supervisor.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Runs the CLI against it, showing what it prints.
    pub(crate) fn skiff(&self, arguments: &[&str]) -> anyhow::Result<()> {
        run(&mut self.command(arguments))
    }

    /// Runs the CLI against it and gives back what it prints.
    pub(crate) fn skiff_output(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("SKIFF_API", &self.api).env("SKIFF_TOKEN", &self.token);
        command.envs(config_variable(self.config_home.as_deref())).current_dir(crate::shell::root());
        command
    }

    /// Calls a service through the load balancer.
    pub(crate) fn get(&self, service: &str, path: &str) -> anyhow::Result<String> {
        let url = format!("http://{}{path}", self.http);
        let mut response = ureq::get(&url).header("host", format!("{service}.localhost")).call()?;
        Ok(response.body_mut().read_to_string()?)
    }

    /// The same by POST, without a body.
    pub(crate) fn post(&self, service: &str, path: &str) -> anyhow::Result<String> {
        let url = format!("http://{}{path}", self.http);
        let mut response = ureq::post(&url).header("host", format!("{service}.localhost")).send_empty()?;
        Ok(response.body_mut().read_to_string()?)
    }

    /// Runs a script of an example, which is told of this platform by its environment.
    pub(crate) fn run_script(&self, script: &Path) -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.arg(script).env("SKIFF", &self.binary).env("SKIFF_API", &self.api);
        command.env("SKIFF_TOKEN", &self.token).env("SKIFF_HTTP", format!("http://{}", self.http));
        command.env("SKIFF_S3", format!("http://{}", self.s3)).env("NO_PROXY", "*");
        command.envs(config_variable(self.config_home.as_deref()));
        run(&mut command)
    }

    /// A metric's series, or 0 where there is none yet.
    pub(crate) fn metric(&self, series: &str) -> anyhow::Result<f64> {
        self.metrics(|line| line.strip_prefix(series)?.strip_prefix(' '))
    }

    /// The sum of all series that begin so.
    pub(crate) fn metric_sum(&self, prefix: &str) -> anyhow::Result<f64> {
        self.metrics(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            series.starts_with(prefix).then_some(value)
        })
    }

    /// The sum of the values that are picked from the metrics' lines.
    fn metrics(&self, pick: impl Fn(&str) -> Option<&str>) -> anyhow::Result<f64> {
        let mut response = ureq::get(format!("{}/metrics", self.api)).call()?;
        let text = response.body_mut().with_config().limit(METRICS_BYTES_MAX).read_to_string()?;
        let values = text.lines().filter_map(pick).map(str::parse::<f64>);
        Ok(values.sum::<Result<f64, _>>()?)
    }

    /// Makes what `skiff deploy --no-wait` of a component makes (an image, a task definition, a service), over a
    /// connection that `agent` keeps: thousands of them in the time that as many commands would take to start.
    pub(crate) fn deploy(&self, agent: &ureq::Agent, name: &str, component: &[u8]) -> anyhow::Result<()> {
        let image = format!("{name}:latest");
        self.push(agent, &image, component)?;
        let id = self.register(agent, &json!({ "family": name, "image": image }))?;
        self.put(agent, &format!("services/{name}"), &json!({ "definition": id, "desired": 1 }))
    }

    /// Pushes a component as an image.
    pub(crate) fn push(&self, agent: &ureq::Agent, image: &str, component: &[u8]) -> anyhow::Result<()> {
        let url = format!("{}/v1/namespaces/default/images/{image}", self.api);
        let push = agent.put(url).header("authorization", &format!("Bearer {}", self.token));
        let push = push.header("content-type", "application/wasm");
        answer(push.send(component)).with_context(|| format!("{image} can't be pushed"))?;
        Ok(())
    }

    /// Registers the next revision of a family; its id.
    pub(crate) fn register(&self, agent: &ureq::Agent, definition: &Value) -> anyhow::Result<String> {
        let url = format!("{}/v1/namespaces/default/task-definitions", self.api);
        let request = agent.post(url).header("authorization", &format!("Bearer {}", self.token));
        let registered = answer(request.send_json(definition))
            .with_context(|| format!("no task definition {} can be registered", definition["family"]))?;
        Ok(registered["id"].as_str().context("a task definition has an id")?.to_owned())
    }

    /// What lies at this path of the API in the namespace `default`.
    pub(crate) fn look(&self, agent: &ureq::Agent, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}/v1/namespaces/default/{path}", self.api);
        let request = agent.get(url).header("authorization", &format!("Bearer {}", self.token));
        answer(request.call()).with_context(|| format!("{path} can't be read"))
    }

    /// Puts what lies at this path of the API in the namespace `default`.
    pub(crate) fn put(&self, agent: &ureq::Agent, path: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("{}/v1/namespaces/default/{path}", self.api);
        let request = agent.put(url).header("authorization", &format!("Bearer {}", self.token));
        answer(request.send_json(body)).with_context(|| format!("{path} can't be put"))?;
        Ok(())
    }

    /// The workers' process ids by seat, and whether each serves.
    pub(crate) fn workers(&self) -> anyhow::Result<Vec<(u64, bool)>> {
        let url = format!("{}/v1/status", self.api);
        let bearer = format!("Bearer {}", self.token);
        let status: Value = ureq::get(url).header("authorization", bearer).call()?.body_mut().read_json()?;
        let worker = |worker: &Value| (worker["pid"].as_u64().unwrap_or(0), worker["state"] == "RUNNING");
        Ok(status["workers"].as_array().context("the status lists workers")?.iter().map(worker).collect())
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Leaves it running.
    pub(crate) fn keep(mut self) {
        self.child = None;
    }

    /// Asks it to end, as Ctrl-C does, and waits for it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it runs")?;
        run(Command::new("kill").arg("-TERM").arg(child.id().to_string()))?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = child.try_wait()? {
                return if status.success() { Ok(()) } else { bail!("`skiff up` ended with {status}") };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        bail!("`skiff up` did not end within {} s", STOP_TIMEOUT.as_secs())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The whole of an answer: its connection can serve the next request only once it is read.
fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
    Ok(response?.body_mut().read_json()?)
}

/// By which `skiff` is told of a configuration folder.
fn config_variable(config_home: Option<&Path>) -> Option<(&'static str, &Path)> {
    config_home.map(|folder| ("XDG_CONFIG_HOME", folder))
}

fn ready_text(ready: &Value, key: &str) -> anyhow::Result<String> {
    Ok(ready[key].as_str().with_context(|| format!("the ready file has no {key:?}"))?.to_owned())
}
