//! Documents: where they are read from, and the resources in them.
//!
//! A document is a list of resources, or one alone; in TOML, a `[[resource]]` for each. Every fault is told with its file
//! and line, and many of them at once. What always holds: no two resources of what is read together have the same name.

use super::format::Format;
use super::resource::{Id, Place, Resource};
use super::tree::{Fault, Node, Value, unknown};
use crate::failure::usage;
use crate::human;
use anyhow::{Context as _, bail};
use skiff_types::Namespace;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest document, in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// What stands for standard input.
const STDIN: &str = "-";
/// How a document may begin that is one table: with a list of resources, or as one resource.
const KEYS: [&str; 5] = ["resource", "kind", "name", "namespace", "spec"];

/// How many faults are told.
const FAULTS_SHOWN_MAX: usize = 20;

/// What was wrong, each with its place.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn add(&mut self, place: &Place, message: impl std::fmt::Display) {
        self.0.push(format!("{place}: {message}"));
    }

    /// All of them as one error, if there are any.
    pub(super) fn check(self) -> anyhow::Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [fault] => bail!("{fault}"),
            faults => {
                let shown = human::first(faults, FAULTS_SHOWN_MAX, "\n  ");
                bail!("{} things are wrong; nothing is changed\n  {shown}", faults.len())
            }
        }
    }
}

/// Reads all resources of these files and folders, in order; `here` is the namespace of those that name none.
pub(super) fn read(sources: &[PathBuf], here: &Namespace) -> anyhow::Result<Vec<Resource>> {
    let (mut resources, mut faults) = (Vec::new(), Faults::default());
    for source in sources {
        for file in files(source)? {
            let text = text(&file)?;
            let format = Format::of_name(&file).unwrap_or_else(|| Format::of_text(&text));
            resources_of(&text, format, &file.into(), here, &mut resources, &mut faults);
        }
    }
    check_unique(&resources, &mut faults);
    faults.check()?;
    Ok(resources)
}

/// The file itself, or a folder's documents in the order of their names.
fn files(source: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !source.is_dir() {
        return Ok(vec![source.to_owned()]);
    }
    let shown = source.display();
    let entries = std::fs::read_dir(source).with_context(|| format!("the folder {shown} can't be read"))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let is_document = |path: &PathBuf| path.is_file() && Format::of_name(path).is_some();
    let mut files: Vec<PathBuf> = paths.into_iter().filter(is_document).collect();
    files.sort();
    match files.is_empty() {
        true => {
            Err(usage(format!("the folder {shown} has no document: no file .toml, .json, .yaml or .yml")))
        }
        false => Ok(files),
    }
}

fn text(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let reader: Box<dyn Read> = match file.as_os_str() == STDIN {
        true => Box::new(io::stdin().lock()),
        false => Box::new(std::fs::File::open(file).with_context(|| format!("{shown} can't be read"))?),
    };
    let mut text = String::new();
    reader
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{shown} can't be read as a text of UTF-8"))?;
    if text.len() as u64 > BYTES_MAX {
        bail!("{shown} has more than {BYTES_MAX} bytes, the most of a document: make several of it");
    }
    Ok(text)
}

/// Adds the resources of one text, and what is wrong with it.
fn resources_of(
    text: &str,
    format: Format,
    file: &Arc<Path>,
    here: &Namespace,
    resources: &mut Vec<Resource>,
    faults: &mut Faults,
) {
    let mut fault = |fault: Fault| {
        faults.add(&Place { file: file.clone(), line: fault.line.max(1) }, fault);
    };
    let documents = match format.read(text) {
        Ok(documents) => documents,
        Err(error) => return fault(error),
    };
    for document in &documents {
        match listed(document) {
            Ok(nodes) => {
                for node in nodes {
                    match Resource::read(node, here, file) {
                        Ok(resource) => resources.push(resource),
                        Err(error) => fault(error),
                    }
                }
            }
            Err(error) => fault(error),
        }
    }
}

/// The resources in a document, as they stand there.
fn listed(document: &Node) -> Result<&[Node], Fault> {
    let entries = match &document.value {
        Value::List(nodes) => return Ok(nodes),
        Value::Table(entries) => entries,
        _ => {
            let message = "a document is a list of resources, each with a kind, a name and a spec";
            return Err(Fault::new(document.line, message));
        }
    };
    if let Some(entry) = entries.iter().find(|entry| !KEYS.contains(&entry.key.as_str())) {
        return Err(Fault::new(entry.line, format!("the key {}", unknown(&entry.key, &KEYS))));
    }
    match entries.iter().find(|entry| entry.key == "resource").map(|entry| &entry.node) {
        Some(Node { value: Value::List(nodes), .. }) if entries.len() == 1 => Ok(nodes),
        Some(node) => {
            let message = "\"resource\" is the list of all resources, and nothing stands beside it; in TOML, each \
                           begins with [[resource]]";
            Err(Fault::new(node.line, message))
        }
        None if entries.is_empty() => Ok(&[]),
        None => Ok(std::slice::from_ref(document)),
    }
}

fn check_unique(resources: &[Resource], faults: &mut Faults) {
    let mut seen: BTreeMap<&Id, &Place> = BTreeMap::new();
    for Resource { id, place, .. } in resources {
        match seen.get(id) {
            Some(first) => {
                faults.add(place, format!("the {id} is there already, at {first}: say all of it once"))
            }
            None => {
                seen.insert(id, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
[[resource]]
kind = "target-group"
name = "legacy"
spec = { targets = { outside = ["192.0.2.7:8080"] }, algorithm = "round-robin" }

[[resource]]
kind = "rule"
name = "old"
namespace = "shop"
[resource.spec]
priority = 10
conditions = ["path=/old/*"]
action.forward.groups = [{ group = "default/legacy", weight = 3 }]
"#;
    const JSON: &str = r#"[
  { "kind": "target-group", "name": "legacy",
    "spec": { "targets": { "outside": ["192.0.2.7:8080"] }, "algorithm": "round-robin" } },
  { "kind": "rule", "name": "old", "namespace": "shop",
    "spec": { "priority": 10, "conditions": ["path=/old/*"],
              "action": { "forward": { "groups": [{ "group": "default/legacy", "weight": 3 }] } } } }
]"#;
    const YAML: &str = "\
kind: target-group
name: legacy
spec:
  targets:
    outside: ['192.0.2.7:8080']
  algorithm: round-robin
---
- kind: rule
  name: old
  namespace: shop
  spec:
    priority: 10
    conditions:
    - path=/old/*
    action:
      forward:
        groups:
        - {group: default/legacy, weight: 3}
";

    fn parse(text: &str, format: Format) -> anyhow::Result<Vec<Resource>> {
        let (mut resources, mut faults) = (Vec::new(), Faults::default());
        let file: Arc<Path> = Path::new("a").into();
        resources_of(text, format, &file, &Namespace::default(), &mut resources, &mut faults);
        check_unique(&resources, &mut faults);
        faults.check()?;
        Ok(resources)
    }

    #[test]
    fn three_formats_say_the_same() {
        let said = |text: &str, format| -> Vec<_> {
            let resources = parse(text, format).unwrap();
            resources.into_iter().map(|resource| (resource.id, resource.spec)).collect()
        };
        let expected = said(TOML, Format::Toml);
        assert_eq!(expected.len(), 2);
        assert_eq!(said(JSON, Format::Json), expected);
        assert_eq!(said(YAML, Format::Yaml), expected);
        for (text, format) in [(TOML, Format::Toml), (JSON, Format::Json), (YAML, Format::Yaml)] {
            assert_eq!(Format::of_text(text), format);
        }
        let lines = |text: &str, format| -> Vec<usize> {
            parse(text, format).unwrap().iter().map(|resource| resource.place.line).collect()
        };
        assert_eq!(lines(TOML, Format::Toml), [2, 7]);
        assert_eq!(lines(JSON, Format::Json), [2, 4]);
        assert_eq!(lines(YAML, Format::Yaml), [1, 8]);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = "- kind: rul\n  name: a\n- kind: security-group\n  name: b\n  spec: {}\n- 7\n\
                    - kind: security-group\n  name: b\n  spec: {}\n";
        let error = parse(text, Format::Yaml).unwrap_err().to_string();
        let expected = "3 things are wrong; nothing is changed\n  \
            a:1: the kind \"rul\" is unknown; did you mean \"rule\"?\n  \
            a:6: a resource is a table with these keys: kind, name, namespace, spec\n  \
            a:7: the security-group default/b is there already, at a:3: say all of it once";
        assert_eq!(error, expected);
    }

    #[test]
    fn of_many_faults_the_first_are_told() {
        let error = parse(&"- 7\n".repeat(FAULTS_SHOWN_MAX + 3), Format::Yaml).unwrap_err().to_string();
        assert!(error.starts_with("23 things are wrong; nothing is changed\n  a:1: "), "{error}");
        assert!(error.contains("\n  a:20: ") && !error.contains("a:21: "), "{error}");
        assert!(error.ends_with("\n  and 3 more"), "{error}");
    }

    #[test]
    fn a_document_has_resources_alone() {
        let beside = "a:1: \"resource\" is the list of all resources, and nothing stands beside it";
        for (text, format, expected) in [
            (
                "7",
                Format::Yaml,
                "a:1: a document is a list of resources, each with a kind, a name and a spec",
            ),
            (
                "[[resuorce]]\nkind = \"rule\"",
                Format::Toml,
                "a:1: the key \"resuorce\" is unknown; did you mean \"resource\"?",
            ),
            ("resource: []\nkind: rule", Format::Yaml, beside),
            ("[{]", Format::Json, "a:1: this is not JSON: "),
        ] {
            let error = parse(text, format).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for (text, format) in
            [("", Format::Yaml), ("", Format::Toml), ("[]", Format::Json), ("---\n", Format::Yaml)]
        {
            assert!(parse(text, format).unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let group = |name: &str| format!("kind: security-group\nname: {name}\nspec: {{}}");
        for (file, text) in [("2.yaml", group("two")), ("1.yml", group("one")), ("note.txt", "?".to_owned())]
        {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        std::fs::create_dir(folder.path().join("3.yaml")).unwrap();
        let read = |path: &Path| read(&[path.to_owned()], &Namespace::default());
        let names: Vec<String> =
            read(folder.path()).unwrap().iter().map(|resource| resource.id.name.to_string()).collect();
        assert_eq!(names, ["one", "two"]);
        let empty = tempfile::tempdir().unwrap();
        let error = read(empty.path()).unwrap_err().to_string();
        assert!(error.contains("has no document: no file .toml, .json, .yaml or .yml"), "{error}");
        assert!(read(&folder.path().join("gone.yaml")).is_err());
    }
}
