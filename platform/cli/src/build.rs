//! `skiff build`: builds a project and says what its component is.

use crate::args::BuildArgs;
use crate::context::Context;
use crate::{artifact, human, output};
use serde::Serialize;
use skiff_ports::runtime::ComponentReport;
use skiff_types::Name;
use std::path::PathBuf;

/// What was built.
#[derive(Serialize)]
struct Built<'a> {
    name: &'a Name,
    component: PathBuf,
    #[serde(flatten)]
    report: Report<'a>,
}

/// What the check found, without what only compiling finds.
#[derive(Serialize)]
struct Report<'a> {
    kind: skiff_types::Kind,
    generation: skiff_types::WasiGeneration,
    component_bytes: u64,
    minimum_memory_bytes: u64,
    imports: &'a [String],
    exports: &'a [String],
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> anyhow::Result<()> {
    let (manifest, component) = artifact::build_project(&args.dir)?;
    let ComponentReport { kind, generation, imports, exports, minimum_memory_bytes, component_bytes, .. } =
        component.report;
    let report = Report {
        kind,
        generation,
        component_bytes,
        minimum_memory_bytes,
        imports: &imports,
        exports: &exports,
    };
    let built = Built { name: &manifest.name, component: args.dir.join(&manifest.component.value), report };
    context.output.print(&built, || table(&built))?;
    Ok(())
}

fn table(built: &Built<'_>) -> String {
    let report = &built.report;
    output::properties([
        ("Name", built.name.to_string()),
        ("Component", built.component.display().to_string()),
        ("Kind", format!("{} (WASI {})", report.kind, report.generation)),
        ("Size", human::bytes(report.component_bytes)),
        ("Memory of a sandbox", format!("{} at least", human::bytes(report.minimum_memory_bytes))),
        ("Imports", report.imports.join("\n")),
        ("Exports", report.exports.join("\n")),
    ])
}
