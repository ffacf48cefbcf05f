//! What a user points at (a project, a component's file, an image) made into something that can be run: built,
//! checked, pushed, and registered as a task definition.

use crate::args::{DaemonArgs, LimitArgs};
use crate::context::Context;
use crate::failure::usage;
use crate::manifest::{self, Manifest, ManifestError};
use crate::{human, progress};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use skiff_api::{
    Client, HealthCheckSpec, Initialization, LimitsSpec, RegisterTaskDefinition, TaskDefinition,
};
use skiff_ports::runtime::ComponentReport;
use skiff_types::{ImageReference, Kind, Name, Restart, Span};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a user points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A folder with a manifest.
    Project(PathBuf),
    /// A component's file.
    File(PathBuf),
    /// An image that was pushed before.
    Image(ImageReference),
}

impl Source {
    /// A folder is a project; a file, or what is spelled like one, is a component; anything else names an image.
    pub(crate) fn find(text: &str) -> anyhow::Result<Self> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Project(path.to_owned()));
        }
        let like_a_file = text.ends_with(".wasm") || text.starts_with(['.', '/']);
        if path.is_file() || like_a_file {
            return Ok(Self::File(path.to_owned()));
        }
        match text.parse() {
            Ok(image) => Ok(Self::Image(image)),
            Err(error) => Err(usage(format!("there is no file or folder {text:?}, and {error}"))),
        }
    }

    /// A name after a file or an image: lower case, what can't be in a name replaced by `-`.
    fn default_name(&self) -> anyhow::Result<Name> {
        let stem = match self {
            Self::Project(path) | Self::File(path) => {
                path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
            }
            Self::Image(image) => image.repository.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        sanitised(&stem)
            .ok_or_else(|| usage(format!("no name can be made of {stem:?}; give one with --name")))
    }
}

fn sanitised(stem: &str) -> Option<Name> {
    let mapped = stem.chars().map(|char| match char.to_ascii_lowercase() {
        char @ ('a'..='z' | '0'..='9') => char,
        _ => '-',
    });
    let mapped: String = mapped.collect();
    let from_letter = mapped.trim_start_matches(|char: char| !char.is_ascii_lowercase());
    let cut = &from_letter[..from_letter.len().min(Name::LENGTH_MAX)];
    cut.trim_end_matches('-').parse().ok()
}

/// Something that can be run.
pub(crate) struct Artifact {
    pub(crate) name: Name,
    /// The manifest, where there is one.
    pub(crate) manifest: Option<Manifest>,
    content: Content,
}

enum Content {
    Component(Component),
    Image(ImageReference),
}

/// A component that was checked on this machine.
pub(crate) struct Component {
    pub(crate) bytes: Bytes,
    pub(crate) report: ComponentReport,
}

/// What is said of a task definition, beside what it runs.
pub(crate) struct Settings {
    pub(crate) limits: LimitsSpec,
    pub(crate) environment: BTreeMap<String, String>,
    /// Whether sandboxes start from a snapshot.
    pub(crate) snapshot: bool,
    pub(crate) security_groups: Vec<Name>,
    pub(crate) port: Option<u16>,
    pub(crate) health_check: HealthCheckSpec,
    pub(crate) stop_timeout: Option<Span>,
    pub(crate) restart: Restart,
    pub(crate) role: Option<Name>,
}

impl Artifact {
    /// Builds what is to be built, and checks what can be checked here.
    pub(crate) fn prepare(source: &Source, name: Option<&Name>) -> anyhow::Result<Self> {
        let (manifest, content) = match source {
            Source::Project(folder) => {
                let (manifest, component) = build_project(folder)?;
                (Some(manifest), Content::Component(component))
            }
            Source::File(path) => (None, Content::Component(read_component(path)?)),
            Source::Image(image) => (None, Content::Image(image.clone())),
        };
        let name = match (name, &manifest) {
            (Some(name), _) => name.clone(),
            (None, Some(manifest)) => manifest.name.clone(),
            (None, None) => source.default_name()?,
        };
        Ok(Self { name, manifest, content })
    }

    /// What it does, where that can be told before it is registered.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match &self.content {
            Content::Component(component) => Some(component.report.kind),
            Content::Image(_) => None,
        }
    }

    /// The security groups that the command line names, else those of the manifest, if either names any.
    pub(crate) fn security_groups(&self, asked: &[Name]) -> Option<Vec<Name>> {
        match asked.is_empty() {
            true => self.manifest.as_ref().and_then(|manifest| manifest.security_groups.clone()),
            false => Some(asked.to_vec()),
        }
    }

    /// What the command line says, and else the manifest. Security groups are left out.
    pub(crate) fn settings(&self, arguments: &LimitArgs, daemon: &DaemonArgs) -> Settings {
        let manifest = self.manifest.as_ref();
        let limits = LimitsSpec {
            cpu: arguments.cpu.or(manifest.and_then(|manifest| manifest.cpu)),
            memory: arguments.memory.or(manifest.and_then(|manifest| manifest.memory)),
            timeout: manifest.and_then(|manifest| manifest.timeout),
            concurrency: manifest.and_then(|manifest| manifest.concurrency),
            reuse: manifest.and_then(|manifest| manifest.reuse),
            ..LimitsSpec::default()
        };
        let mut environment = manifest.map(|manifest| manifest.environment.clone()).unwrap_or_default();
        environment.extend(arguments.environment.iter().cloned());
        let health = manifest.map(|manifest| manifest.health).unwrap_or_default();
        let health_check = HealthCheckSpec {
            interval: daemon.health_interval.or(health.interval),
            timeout: daemon.health_timeout.or(health.timeout),
            start_period: daemon.health_start_period.or(health.start_period),
            ..health
        };
        Settings {
            limits,
            environment,
            snapshot: manifest.and_then(|manifest| manifest.snapshot).unwrap_or(false),
            security_groups: Vec::new(),
            port: daemon.port.or(manifest.and_then(|manifest| manifest.port)),
            health_check,
            stop_timeout: daemon.stop_timeout.or(manifest.and_then(|manifest| manifest.stop_timeout)),
            restart: manifest.and_then(|manifest| manifest.restart).unwrap_or_default(),
            role: manifest.and_then(|manifest| manifest.role.clone()),
        }
    }

    /// Pushes what is not pushed yet; the image that it is.
    pub(crate) async fn push(&self, context: &Context, client: &Client) -> anyhow::Result<ImageReference> {
        match &self.content {
            Content::Image(image) => Ok(image.clone()),
            Content::Component(component) => push(context, client, &self.name, &component.bytes).await,
        }
    }

    /// Pushes what is not pushed yet, and registers a revision of the family that has the artifact's name.
    pub(crate) async fn register(
        &self,
        context: &Context,
        client: &Client,
        settings: Settings,
    ) -> anyhow::Result<TaskDefinition> {
        let image = self.push(context, client).await?;
        let body = RegisterTaskDefinition {
            family: self.name.clone(),
            image,
            limits: settings.limits,
            arguments: Vec::new(),
            environment: settings.environment,
            snapshot: settings.snapshot,
            security_groups: settings.security_groups,
            port: settings.port,
            health_check: settings.health_check,
            stop_timeout: settings.stop_timeout,
            restart: settings.restart,
            role: settings.role,
        };
        let step = progress::step(if settings.snapshot { "initialising and compiling" } else { "compiling" });
        let definition = client.register_task_definition(&context.namespace, &body).await?;
        step.done(format!("registered {}", definition.id));
        if let Some(initialization) = &definition.initialization {
            progress::note(initialized(initialization));
        }
        Ok(definition)
    }
}

/// How the initialisation went, and below it what it wrote.
fn initialized(initialization: &Initialization) -> String {
    let took = human::nanoseconds(initialization.took_ms * 1_000_000);
    let mut text = format!("each sandbox starts from a snapshot; its initialisation took {took}");
    for line in initialization.output.lines() {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

/// Pushes a component as `NAME:latest`.
pub(crate) async fn push(
    context: &Context,
    client: &Client,
    name: &Name,
    component: &Bytes,
) -> anyhow::Result<ImageReference> {
    let tag = Some(ImageReference::DEFAULT_TAG.to_owned());
    let reference = ImageReference { repository: name.to_string(), tag, digest: None };
    let size = component.len() as u64;
    let step = progress::transfer(format!("pushing {reference}"), size);
    let image = client.push_image(&context.namespace, &reference, component.clone(), step.position()).await?;
    step.done(format!("pushed {reference} ({}, {})", human::bytes(size), image.digest.short()));
    Ok(reference)
}

/// Reads a project's manifest, runs its build command, and checks the component that it names.
pub(crate) fn build_project(folder: &Path) -> anyhow::Result<(Manifest, Component)> {
    let file = folder.join(manifest::FILE_NAME);
    let manifest = Manifest::parse(&read_manifest(&file, folder)?, &file)?;
    if let Some(build) = &manifest.build {
        run_build(build, folder)?;
    }
    let path = folder.join(&manifest.component.value);
    let component = read_component(&path).with_context(|| {
        let Manifest { component, .. } = &manifest;
        at(&file, component.line, format!("component: {} can't be used", component.value.display()))
    })?;
    if let Some(kind) = &manifest.kind
        && kind.value != component.report.kind
    {
        let message =
            format!("kind: \"{}\" is not what the component is: \"{}\"", kind.value, component.report.kind);
        bail!(at(&file, kind.line, message));
    }
    Ok((manifest, component))
}

fn at(file: &Path, line: usize, message: String) -> ManifestError {
    ManifestError { file: file.to_owned(), line, message }
}

fn read_manifest(file: &Path, folder: &Path) -> anyhow::Result<String> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > manifest::BYTES_MAX => {
            bail!(
                "{} is larger than {} bytes, the most a manifest may have",
                file.display(),
                manifest::BYTES_MAX
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(usage(format!(
            "{} has no {}; make a project with `skiff new`, or name a component's file",
            folder.display(),
            manifest::FILE_NAME
        ))),
        _ => fs::read_to_string(file).with_context(|| format!("can't read {}", file.display())),
    }
}

/// Runs a build command in a project's folder; what it prints goes to standard error.
fn run_build(build: &str, folder: &Path) -> anyhow::Result<()> {
    progress::note(format!("building: {build}"));
    let started = std::time::Instant::now();
    let mut command = Command::new("sh");
    command.arg("-c").arg(build).current_dir(folder).stdin(Stdio::null()).stdout(io::stderr());
    let status = command.status().context("can't run the build command: there is no `sh`")?;
    if !status.success() {
        bail!("the build command failed ({status}): {build}");
    }
    progress::note(format!("built in {}", human::elapsed(started.elapsed())));
    Ok(())
}

/// Reads a component's file and checks it.
pub(crate) fn read_component(path: &Path) -> anyhow::Result<Component> {
    let size = fs::metadata(path).with_context(|| format!("can't read {}", path.display()))?.len();
    if size > skiff_api::IMAGE_BYTES_MAX {
        let most = human::bytes(skiff_api::IMAGE_BYTES_MAX);
        bail!("{} has {}; an image has {most} at most", path.display(), human::bytes(size));
    }
    let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    let report = skiff_sandbox::inspect(&bytes).with_context(|| format!("{} is refused", path.display()))?;
    Ok(Component { bytes: bytes.into(), report })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pointed_at_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, "x").unwrap();
        let find = |path: &Path| Source::find(path.to_str().unwrap()).unwrap();
        assert_eq!(find(folder.path()), Source::Project(folder.path().to_owned()));
        assert_eq!(find(&path), Source::File(path));
        assert_eq!(Source::find("missing.wasm").unwrap(), Source::File("missing.wasm".into()));
        assert_eq!(Source::find("team/x:v1").unwrap(), Source::Image("team/x:v1".parse().unwrap()));
        let error = Source::find("No Such Thing").unwrap_err().to_string();
        assert!(error.starts_with("there is no file or folder \"No Such Thing\""), "{error}");
    }

    #[test]
    fn a_name_is_made_of_a_file_or_an_image() {
        let name = |source: Source| source.default_name().map(|name| name.to_string()).ok();
        assert_eq!(name(Source::File("target/my_App.v2.wasm".into())).as_deref(), Some("my-app-v2"));
        assert_eq!(name(Source::File("/x/1st-try.wasm".into())).as_deref(), Some("st-try"));
        assert_eq!(name(Source::Image("team/hello:v2".parse().unwrap())).as_deref(), Some("hello"));
        assert_eq!(name(Source::File("42.wasm".into())), None);
        assert_eq!(sanitised(&"a".repeat(100)).unwrap().as_str().len(), Name::LENGTH_MAX);
    }

    #[test]
    fn a_missing_manifest_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = build_project(folder.path()).err().unwrap().to_string();
        assert!(error.contains("has no skiff.toml; make a project with `skiff new`"), "{error}");
    }

    fn project(manifest: &str) -> anyhow::Error {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("skiff.toml"), manifest).unwrap();
        build_project(folder.path()).err().expect("the project is broken")
    }

    #[test]
    fn a_build_that_fails_is_told_with_its_command() {
        let error = project("name = \"a\"\ncomponent = \"a.wasm\"\nbuild = \"exit 3\"").to_string();
        assert!(error.contains("the build command failed") && error.ends_with(": exit 3"), "{error}");
    }

    #[test]
    fn a_component_that_the_build_did_not_make_is_told_with_its_line() {
        let error = format!("{:#}", project("name = \"a\"\n\ncomponent = \"a.wasm\"\nbuild = \"true\""));
        assert!(error.contains("skiff.toml:3: component: a.wasm can't be used"), "{error}");
    }

    #[test]
    fn a_core_module_is_refused_with_the_command_that_makes_it_a_component() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core.wasm");
        fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        let error = format!("{:#}", read_component(&path).err().unwrap());
        assert!(error.contains("wasm-tools component new"), "{error}");
    }

    #[test]
    fn the_command_line_goes_before_the_manifest() {
        let text = r#"
            name = "a"
            component = "a"
            cpu = 64
            memory = "1MiB"
            security-groups = ["web"]
            port = 6379
            stop-timeout = "5s"
            restart = "always"
            environment = { A = "1", B = "2" }
            health = { interval = "1s", unhealthy = 7 }
        "#;
        let manifest = Manifest::parse(text, Path::new("skiff.toml")).unwrap();
        let image = Content::Image("a".parse().unwrap());
        let artifact = Artifact { name: manifest.name.clone(), manifest: Some(manifest), content: image };
        let arguments = LimitArgs {
            cpu: "512".parse().ok(),
            memory: None,
            environment: vec![("B".to_owned(), "3".to_owned())],
        };
        let daemon =
            DaemonArgs { port: Some(7000), health_interval: "3s".parse().ok(), ..Default::default() };
        let settings = artifact.settings(&arguments, &daemon);
        let (limits, environment, health) = (settings.limits, settings.environment, settings.health_check);
        assert_eq!((limits.cpu, limits.memory), ("512".parse().ok(), "1MiB".parse().ok()));
        assert_eq!((environment["A"].as_str(), environment["B"].as_str()), ("1", "3"));
        assert_eq!((settings.port, settings.stop_timeout), (Some(7000), "5s".parse().ok()));
        assert_eq!((health.interval, health.unhealthy), ("3s".parse().ok(), Some(7)));
        assert_eq!(settings.restart, Restart::Always);
        let [web, own] = ["web", "own"].map(|name| vec![name.parse().unwrap()]);
        assert_eq!(artifact.security_groups(&own), Some(own));
        assert_eq!(artifact.security_groups(&[]), Some(web));
    }
}
