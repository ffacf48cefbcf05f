//! The manifest, `skiff.toml`: what a project is called, how it is built, and how it is to run.
//!
//! Every error names the file, the line and the value; an unknown key is an error that names the nearest known one.
//! Nothing here looks at the files that the manifest names.

mod alarm;
mod consume;

pub use alarm::AlarmSection;
pub use consume::ConsumeSection;

use crate::scaling::{self, words};
use skiff_api::{HealthCheckSpec, PutDeploymentConfiguration, PutPlacement, PutScaling, Setting};
use skiff_types::{
    CpuUnits, DeploymentConfiguration, HostPattern, Kind, Listen, MemorySize, Name, ParseError, PathPrefix,
    Restart, Reuse, ScaleToZero, Span,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The manifest's file name.
pub const FILE_NAME: &str = "skiff.toml";
/// Largest manifest, in bytes.
pub const BYTES_MAX: u64 = 256 * 1024;

const KEYS: [&str; 21] = [
    "name",
    "kind",
    "component",
    "build",
    "cpu",
    "memory",
    "timeout",
    "concurrency",
    "reuse",
    "snapshot",
    "security-groups",
    "port",
    "stop-timeout",
    "restart",
    "role",
    "health",
    "environment",
    "service",
    "scaling",
    "consume",
    "alarm",
];
const REUSE_KEYS: [&str; 2] = ["requests", "concurrent"];
const HEALTH_KEYS: [&str; 5] = ["interval", "timeout", "healthy", "unhealthy", "start-period"];
const SCALING_KEYS: [&str; 6] = ["min", "max", "targets", "steps", "schedules", "scale-in-protected"];
const SERVICE_KEYS: [&str; 20] = [
    "desired",
    "hosts",
    "paths",
    "listen",
    "min-healthy",
    "max-percent",
    "circuit-breaker",
    "grace",
    "strategy",
    "bake",
    "canary-percent",
    "canary-bake",
    "step-percent",
    "step-bake",
    "deployment-alarms",
    "test-hosts",
    "scale-to-zero",
    "constraints",
    "placement-strategies",
    "scheduling",
];
/// Distance up to which a known key is named as the one that was meant (Jaro-Winkler similarity, 1 is equal).
const SIMILARITY_MIN: f64 = 0.7;

/// A project's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The service's name, and its image's.
    pub name: Name,
    /// What the component is to be; checked against what it is.
    pub kind: Option<Located<Kind>>,
    /// The component's file, relative to the manifest's folder.
    pub component: Located<PathBuf>,
    /// The command that builds it, run by `sh -c` in the manifest's folder.
    pub build: Option<String>,
    /// CPU units of each task.
    pub cpu: Option<CpuUnits>,
    /// Memory of each task.
    pub memory: Option<MemorySize>,
    /// From a request's arrival to its last byte.
    pub timeout: Option<Span>,
    /// Sandboxes each task may have at once.
    pub concurrency: Option<u32>,
    /// Requests that one sandbox serves.
    pub reuse: Option<Reuse>,
    /// Initialise the component once, when it is deployed, and let each sandbox start from there.
    pub snapshot: Option<bool>,
    /// Security groups of its tasks.
    pub security_groups: Option<Vec<Name>>,
    /// The port that a daemon listens on.
    pub port: Option<u16>,
    /// How long a daemon's open connections may take to end once it is to stop.
    pub stop_timeout: Option<Span>,
    /// What becomes of a one-off task whose program ended.
    pub restart: Option<Restart>,
    /// The role that its tasks act as.
    pub role: Option<Name>,
    /// The section `[health]`: how a daemon's health is checked.
    pub health: HealthCheckSpec,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// How it is to run as a service.
    pub service: ServiceSection,
    /// The section `[scaling]`: how the count of its tasks moves by itself.
    pub scaling: Option<PutScaling>,
    /// The section `[consume]`: the queue whose messages it is given.
    pub consume: Option<ConsumeSection>,
    /// The sections `[[alarm]]`: what is watched of it.
    pub alarms: Vec<AlarmSection>,
}

/// The section `[service]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSection {
    /// How many tasks.
    pub desired: Option<u32>,
    /// Hosts it answers on.
    pub hosts: Vec<HostPattern>,
    /// Path prefixes it answers on.
    pub paths: Vec<PathPrefix>,
    /// Where it is reached beside HTTP.
    pub listen: Vec<Listen>,
    /// How it goes from one revision to the next.
    pub deployment: PutDeploymentConfiguration,
    /// After how long without a request it has no task.
    pub scale_to_zero: Option<ScaleToZero>,
    /// On which nodes its tasks may run.
    pub placement: PutPlacement,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The line, from 1.
    pub line: usize,
}

/// What is wrong with a manifest. Prints as `FILE:LINE: what`, the value among it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {message}", file.display())]
pub struct ManifestError {
    /// The manifest.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Manifest {
    /// Reads a manifest; `file` is what errors call it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestError> {
        let reader = Reader { text, file };
        let (table, errors) = DeTable::parse_recoverable(text);
        // The first by place: what follows it often follows from it.
        if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
            return Err(reader.syntax(error));
        }
        reader.manifest(table.get_ref())
    }
}

type Table<'a> = DeTable<'a>;
type Value<'a> = Spanned<DeValue<'a>>;

struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Reader<'_> {
    fn manifest(&self, table: &Table<'_>) -> Result<Manifest, ManifestError> {
        self.refuse_unknown(table, &KEYS, "the manifest")?;
        let required = |key: &str| {
            let message = format!("the key \"{key}\" is missing; the manifest must have it");
            table.get(key).ok_or_else(|| self.error(&(0..0), message))
        };
        let optional = |key: &str| table.get(key).map(|value| (key.to_owned(), value));
        let (name, component) = (required("name")?, required("component")?);
        Ok(Manifest {
            name: self.parsed("name", name)?,
            kind: optional("kind")
                .map(|(key, value)| self.located(value, self.parsed(&key, value)?))
                .transpose()?,
            component: self.located(component, self.path("component", component)?)?,
            build: optional("build").map(|(key, value)| self.non_empty(&key, value)).transpose()?,
            cpu: optional("cpu").map(|(key, value)| self.cpu(&key, value)).transpose()?,
            memory: optional("memory").map(|(key, value)| self.parsed(&key, value)).transpose()?,
            timeout: optional("timeout").map(|(key, value)| self.parsed(&key, value)).transpose()?,
            concurrency: optional("concurrency")
                .map(|(key, value)| self.count(&key, value, 1))
                .transpose()?,
            reuse: optional("reuse").map(|(key, value)| self.reuse(&key, value)).transpose()?,
            snapshot: optional("snapshot").map(|(key, value)| self.switch(&key, value)).transpose()?,
            security_groups: optional("security-groups")
                .map(|(key, value)| self.list(&key, value))
                .transpose()?,
            port: optional("port").map(|(key, value)| self.port(&key, value)).transpose()?,
            stop_timeout: optional("stop-timeout")
                .map(|(key, value)| self.parsed(&key, value))
                .transpose()?,
            restart: optional("restart").map(|(key, value)| self.parsed(&key, value)).transpose()?,
            role: optional("role").map(|(key, value)| self.parsed(&key, value)).transpose()?,
            health: optional("health")
                .map_or(Ok(HealthCheckSpec::default()), |(_, value)| self.health(value))?,
            environment: optional("environment")
                .map_or(Ok(BTreeMap::new()), |(_, value)| self.environment(value))?,
            service: optional("service")
                .map_or(Ok(ServiceSection::default()), |(_, value)| self.service(value))?,
            scaling: optional("scaling").map(|(_, value)| self.scaling(value)).transpose()?,
            consume: optional("consume").map(|(_, value)| self.consume(value)).transpose()?,
            alarms: optional("alarm").map_or(Ok(Vec::new()), |(_, value)| self.alarms(value))?,
        })
    }

    fn service(&self, value: &Value<'_>) -> Result<ServiceSection, ManifestError> {
        let table = self.table("service", value)?;
        self.refuse_unknown(table, &SERVICE_KEYS, "[service]")?;
        Ok(ServiceSection {
            desired: table.get("desired").map(|value| self.count("desired", value, 0)).transpose()?,
            hosts: table.get("hosts").map_or(Ok(Vec::new()), |value| self.list("hosts", value))?,
            paths: table.get("paths").map_or(Ok(Vec::new()), |value| self.list("paths", value))?,
            listen: table.get("listen").map_or(Ok(Vec::new()), |value| self.list("listen", value))?,
            deployment: self.deployment(table)?,
            scale_to_zero: table
                .get("scale-to-zero")
                .map(|value| self.parsed("scale-to-zero", value))
                .transpose()?,
            placement: self.placement(table)?,
        })
    }

    fn placement(&self, table: &Table<'_>) -> Result<PutPlacement, ManifestError> {
        Ok(PutPlacement {
            constraints: table.get("constraints").map(|value| self.list("constraints", value)).transpose()?,
            strategies: table
                .get("placement-strategies")
                .map(|value| self.list("placement-strategies", value))
                .transpose()?,
            scheduling: table.get("scheduling").map(|value| self.parsed("scheduling", value)).transpose()?,
        })
    }

    fn deployment(&self, table: &Table<'_>) -> Result<PutDeploymentConfiguration, ManifestError> {
        let percent =
            |key: &str, most: u16| table.get(key).map(|value| self.percent(key, value, most)).transpose();
        let span = |key: &str| table.get(key).map(|value| self.parsed(key, value)).transpose();
        let grace: Option<Span> = span("grace")?;
        Ok(PutDeploymentConfiguration {
            min_healthy_percent: percent("min-healthy", 100)?,
            max_percent: percent("max-percent", DeploymentConfiguration::MAX_PERCENT_MAX)?,
            circuit_breaker: table
                .get("circuit-breaker")
                .map(|value| self.parsed("circuit-breaker", value))
                .transpose()?,
            grace: grace.map_or(Setting::Kept, Setting::Given),
            strategy: table.get("strategy").map(|value| self.parsed("strategy", value)).transpose()?,
            bake: span("bake")?,
            canary_percent: percent("canary-percent", 100)?,
            canary_bake: span("canary-bake")?,
            step_percent: percent("step-percent", 100)?,
            step_bake: span("step-bake")?,
            alarms: table
                .get("deployment-alarms")
                .map(|value| self.list("deployment-alarms", value))
                .transpose()?,
            test_hosts: table.get("test-hosts").map(|value| self.list("test-hosts", value)).transpose()?,
        })
    }

    fn scaling(&self, value: &Value<'_>) -> Result<PutScaling, ManifestError> {
        let table = self.table("scaling", value)?;
        self.refuse_unknown(table, &SCALING_KEYS, "[scaling]")?;
        let count = |key: &str| match table.get(key) {
            Some(value) => self.count(key, value, 0),
            None => Err(self.error(&value.span(), format!("the key \"{key}\" is missing in [scaling]"))),
        };
        let protected = table
            .get("scale-in-protected")
            .map(|value| self.switch("scale-in-protected", value))
            .transpose()?;
        Ok(scaling::body(
            (count("min")?, count("max")?),
            &self.words(table, "targets", words::target)?,
            &self.words(table, "steps", words::step)?,
            &self.words(table, "schedules", words::schedule)?,
            protected.unwrap_or(false),
        ))
    }

    /// A list of texts, each read by `read`; none where there is none.
    fn words<T>(
        &self,
        table: &Table<'_>,
        key: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ManifestError> {
        let Some(value) = table.get(key) else { return Ok(vec![]) };
        let items = value.get_ref().as_array();
        let items = items.ok_or_else(|| self.wrong(key, value, "a list of texts, like [\"a\", \"b\"]"))?;
        let item = |item: &Value<'_>| {
            let read = read(self.text(key, item)?);
            read.map_err(|error| self.error(&item.span(), format!("{key}: {error}")))
        };
        items.iter().map(item).collect()
    }

    fn health(&self, value: &Value<'_>) -> Result<HealthCheckSpec, ManifestError> {
        let table = self.table("health", value)?;
        self.refuse_unknown(table, &HEALTH_KEYS, "[health]")?;
        let span = |key: &str| table.get(key).map(|value| self.parsed(key, value)).transpose();
        let count = |key: &str| table.get(key).map(|value| self.count(key, value, 1)).transpose();
        Ok(HealthCheckSpec {
            interval: span("interval")?,
            timeout: span("timeout")?,
            healthy: count("healthy")?,
            unhealthy: count("unhealthy")?,
            start_period: span("start-period")?,
        })
    }

    fn environment(&self, value: &Value<'_>) -> Result<BTreeMap<String, String>, ManifestError> {
        let entry = |(key, value): (&Spanned<toml::de::DeString<'_>>, &Value<'_>)| {
            let name = key.get_ref().as_ref();
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("{name:?} is not the name of an environment variable, like LOG");
                return Err(self.error(&key.span(), message));
            }
            Ok((name.to_owned(), self.text(name, value)?.to_owned()))
        };
        self.table("environment", value)?.iter().map(entry).collect()
    }

    fn syntax(&self, error: &toml::de::Error) -> ManifestError {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let span = error.span().unwrap_or(0..0);
        let excerpt = self.excerpt(&span);
        self.error(&span, if excerpt.is_empty() { message } else { format!("{message}: {excerpt}") })
    }

    fn refuse_unknown(&self, table: &Table<'_>, known: &[&str], place: &str) -> Result<(), ManifestError> {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let hint = match nearest(name, known) {
                    Some(nearest) => format!("did you mean \"{nearest}\"?"),
                    None => format!("the keys of {place} are {}", known.join(", ")),
                };
                return Err(
                    self.error(&key.span(), format!("the key {name:?} is unknown in {place}; {hint}"))
                );
            }
        }
        Ok(())
    }

    fn table<'v, 'i>(&self, key: &str, value: &'v Value<'i>) -> Result<&'v Table<'i>, ManifestError> {
        let wrong = || self.wrong(key, value, &format!("a section: [{key}] and its keys below it"));
        value.get_ref().as_table().ok_or_else(wrong)
    }

    fn text<'v>(&self, key: &str, value: &'v Value<'_>) -> Result<&'v str, ManifestError> {
        value.get_ref().as_str().ok_or_else(|| self.wrong(key, value, "a text in quotes"))
    }

    fn non_empty(&self, key: &str, value: &Value<'_>) -> Result<String, ManifestError> {
        let text = self.text(key, value)?;
        match text.trim().is_empty() || text.contains('\0') {
            true => Err(self.wrong(key, value, "a text that says something")),
            false => Ok(text.to_owned()),
        }
    }

    fn path(&self, key: &str, value: &Value<'_>) -> Result<PathBuf, ManifestError> {
        self.non_empty(key, value).map(PathBuf::from)
    }

    fn parsed<T: FromStr<Err = ParseError>>(&self, key: &str, value: &Value<'_>) -> Result<T, ManifestError> {
        match value.get_ref().as_str() {
            Some(text) => text.parse().map_err(|error| self.error(&value.span(), format!("{key}: {error}"))),
            None => {
                // What it would have to be is said by the error that its own text, taken for a value, gives.
                let excerpt = self.excerpt(&value.span());
                let hint = excerpt.parse::<T>().err().map_or("a text in quotes", |error| error.expected);
                Err(self.wrong(key, value, &format!("{hint}, in quotes")))
            }
        }
    }

    fn cpu(&self, key: &str, value: &Value<'_>) -> Result<CpuUnits, ManifestError> {
        match integer(value) {
            Some(units) => units.to_string().parse().map_err(|error: ParseError| {
                let message = format!("{key}: {} is not {}", self.excerpt(&value.span()), error.expected);
                self.error(&value.span(), message)
            }),
            None => self.parsed(key, value),
        }
    }

    fn reuse(&self, key: &str, value: &Value<'_>) -> Result<Reuse, ManifestError> {
        let example = "how many requests one sandbox serves: { requests = 128, concurrent = 16 }";
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong(key, value, example))?;
        self.refuse_unknown(table, &REUSE_KEYS, "reuse")?;
        let number = |key: &str| table.get(key).map(|value| self.count(key, value, 1)).transpose();
        let requests = number("requests")?.ok_or_else(|| self.wrong(key, value, example))?;
        let reuse = Reuse { requests, concurrent: number("concurrent")?.unwrap_or(1) };
        if !reuse.is_valid() {
            let most = format!("at most {} requests, {} at once", Reuse::REQUESTS_MAX, Reuse::CONCURRENT_MAX);
            return Err(self.wrong(key, value, &most));
        }
        Ok(reuse)
    }

    fn count(&self, key: &str, value: &Value<'_>, least: u32) -> Result<u32, ManifestError> {
        let count =
            integer(value).and_then(|count| u32::try_from(count).ok()).filter(|&count| count >= least);
        count.ok_or_else(|| {
            self.wrong(key, value, &format!("a whole number from {least} upwards, without quotes"))
        })
    }

    fn number(&self, key: &str, value: &Value<'_>) -> Result<f64, ManifestError> {
        let whole = || integer(value).map(|number| number as f64);
        let number = value.get_ref().as_float().and_then(|float| float.as_str().parse().ok()).or_else(whole);
        let number = number.filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| self.wrong(key, value, "a number, like 80 or 0.5, without quotes"))
    }

    fn percent(&self, key: &str, value: &Value<'_>, most: u16) -> Result<u16, ManifestError> {
        let percent = integer(value).and_then(|percent| u16::try_from(percent).ok());
        percent.filter(|&percent| percent <= most).ok_or_else(|| {
            self.wrong(key, value, &format!("a whole number of percent, from 0 to {most}, without quotes"))
        })
    }

    fn port(&self, key: &str, value: &Value<'_>) -> Result<u16, ManifestError> {
        let port = integer(value).and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        port.ok_or_else(|| self.wrong(key, value, "a port, from 1 to 65535, without quotes"))
    }

    fn switch(&self, key: &str, value: &Value<'_>) -> Result<bool, ManifestError> {
        value.get_ref().as_bool().ok_or_else(|| self.wrong(key, value, "true or false, without quotes"))
    }

    fn list<T: FromStr<Err = ParseError>>(
        &self,
        key: &str,
        value: &Value<'_>,
    ) -> Result<Vec<T>, ManifestError> {
        let items = value.get_ref().as_array();
        let items = items.ok_or_else(|| self.wrong(key, value, "a list of texts, like [\"a\", \"b\"]"))?;
        items.iter().map(|item| self.parsed(key, item)).collect()
    }

    fn located<T>(&self, value: &Value<'_>, inner: T) -> Result<Located<T>, ManifestError> {
        Ok(Located { value: inner, line: self.line(&value.span()) })
    }

    fn wrong(&self, key: &str, value: &Value<'_>, expected: &str) -> ManifestError {
        let span = value.span();
        self.error(&span, format!("{key}: {} is not {expected}", self.excerpt(&span)))
    }

    fn error(&self, span: &Range<usize>, message: String) -> ManifestError {
        ManifestError { file: self.file.to_owned(), line: self.line(span), message }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// The value as it stands in the manifest, its first line at most.
    fn excerpt(&self, span: &Range<usize>) -> String {
        const CHARS_MAX: usize = 80;
        let text = self.text.get(span.clone()).unwrap_or_default();
        text.lines().next().unwrap_or_default().chars().take(CHARS_MAX).collect()
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The known key that `unknown` most resembles, if it resembles one.
pub(crate) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |key: &&str| strsim::jaro_winkler(&unknown.to_lowercase(), key);
    let best = known.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(&best) >= SIMILARITY_MIN).then_some(best)
}

#[cfg(test)]
mod tests;
