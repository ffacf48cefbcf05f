//! `skiff new`: a project folder that builds and runs as it stands.
//!
//! It copies a template from `templates/`, with `{{name}}` replaced, and the Rust SDK's sources into `vendor/skiff-sdk`,
//! because the SDK is on no registry. Both are in this binary: nothing is fetched. A template's file loses the ending
//! `.template`, which hides it from cargo and from editors here; `gitignore` becomes `.gitignore`.

use crate::args::{NewArgs, Template};
use crate::context::Context;
use crate::failure::usage;
use crate::progress;
use anyhow::Context as _;
use serde::Serialize;
use skiff_types::Name;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Where the SDK goes in a project.
const SDK_FOLDER: &str = "vendor/skiff-sdk";

#[derive(Serialize)]
struct Made<'a> {
    name: &'a Name,
    path: &'a Path,
}

pub(crate) fn run(context: &Context, args: &NewArgs) -> anyhow::Result<()> {
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    refuse_non_empty(&folder)?;
    for (path, contents) in files(args.template, &args.name) {
        let path = folder.join(path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(&path, contents)
        };
        write().with_context(|| format!("can't write {}", path.display()))?;
    }
    progress::note(format!("made {}; next: {}", folder.display(), next_step(args.template, &folder)));
    context.output.print(&Made { name: &args.name, path: &folder }, String::new)?;
    Ok(())
}

/// What brings a new project to life: a service is deployed, a job is run.
fn next_step(template: Template, folder: &Path) -> String {
    let folder = folder.display();
    match template {
        Template::Http | Template::HttpP3 | Template::Event | Template::Queue => {
            format!("skiff deploy {folder}")
        }
        Template::Job => format!("skiff run {folder} -- Ada Grace"),
    }
}

fn refuse_non_empty(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder).map(|entries| entries.count()) {
        Ok(0) => Ok(()),
        Ok(_) => Err(usage(format!("the folder {} is not empty", folder.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't use {} as the folder", folder.display())),
    }
}

/// All files of a new project: paths relative to its folder, and what they hold.
fn files(template: Template, name: &Name) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let folder = match template {
        Template::Http => "http",
        Template::HttpP3 => "http-p3",
        Template::Job => "job",
        Template::Event => "event",
        Template::Queue => "queue",
    };
    let fill = |text: &str| text.replace("{{name}}", name.as_str());
    let own = TEMPLATES.iter().filter_map(move |(path, text)| {
        let path = Path::new(path).strip_prefix(folder).ok()?;
        let file = path.file_name()?.to_str()?;
        let file = if file == "gitignore" { ".gitignore" } else { file.trim_end_matches(".template") };
        Some((path.with_file_name(file), fill(text).into_bytes()))
    });
    let sdk = SDK.iter().map(|(path, bytes)| (Path::new(SDK_FOLDER).join(path), bytes.to_vec()));
    own.chain(sdk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use clap::ValueEnum;

    #[test]
    fn every_template_is_a_project() {
        for template in Template::value_variants() {
            let name: Name = "my-app".parse().unwrap();
            let files: Vec<_> = files(*template, &name).collect();
            let text = |path: &str| {
                let (_, bytes) = files.iter().find(|(found, _)| found == Path::new(path)).expect(path);
                std::str::from_utf8(bytes).expect(path)
            };
            let manifest = Manifest::parse(text("skiff.toml"), Path::new("skiff.toml")).unwrap();
            assert_eq!(manifest.name, name, "{template:?}");
            assert!(manifest.build.is_some(), "{template:?}");
            assert_eq!(manifest.service.desired, None, "{template:?}: a deploy would undo `skiff scale`");
            assert!(
                text("Cargo.toml").contains(SDK_FOLDER),
                "{template:?} does not use the SDK that comes with it"
            );
            assert!(text("vendor/skiff-sdk/Cargo.toml").contains("skiff-sdk"));
            for (path, bytes) in &files {
                assert!(!String::from_utf8_lossy(bytes).contains("{{name}}"), "{}", path.display());
                assert!(path.components().all(|part| part.as_os_str() != "target"), "{}", path.display());
            }
        }
    }

    #[test]
    fn the_next_step_of_a_job_is_to_run_it() {
        let next = |template| next_step(template, Path::new("my-app"));
        assert_eq!(next(Template::Http), "skiff deploy my-app");
        assert_eq!(next(Template::HttpP3), "skiff deploy my-app");
        assert_eq!(next(Template::Event), "skiff deploy my-app");
        assert_eq!(next(Template::Job), "skiff run my-app -- Ada Grace");
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        refuse_non_empty(folder.path()).unwrap();
        refuse_non_empty(&folder.path().join("new")).unwrap();
        fs::write(folder.path().join("x"), "").unwrap();
        let error = refuse_non_empty(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not empty"), "{error}");
    }
}
