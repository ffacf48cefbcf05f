//! The SDK and the WIT contract beside it agree. Components themselves are run by the platform's tests.

use wit_component::StringEncoding;
use wit_parser::{PackageId, Resolve, WorldId, WorldItem};

fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    let (package, _) = resolve.push_path(folder).expect("the contract parses");
    (resolve, package)
}

#[test]
fn the_contract_has_a_world_for_each_kind_and_generation() {
    let (resolve, package) = contract();
    for (name, export) in [
        ("http", "wasi:http/incoming-handler@0.2.12"),
        ("http-p3", "wasi:http/handler@0.3.2"),
        ("command", "wasi:cli/run@0.2.12"),
        ("command-p3", "wasi:cli/run@0.3.2"),
        ("event", "skiff:events/handler@0.1.0"),
        ("queue", "skiff:queues/consumer@0.1.0"),
    ] {
        let world = &resolve.worlds[resolve.packages[package].worlds[name]];
        let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
        assert_eq!(exports, [export], "{name}");
        let interfaces = world.imports.values().filter(|item| matches!(item, WorldItem::Interface { .. }));
        assert!(interfaces.count() > 30, "{name} imports both generations of WASI");
    }
}

/// What a component's module says of a world is what the contract says. With `SKIFF_UPDATE=1` it is made so.
fn check_encoded(resolve: &Resolve, world: WorldId, file: &str) {
    let encoded = wit_component::metadata::encode(resolve, world, StringEncoding::UTF8, None).unwrap();
    let file = format!("{}/src/runtime/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SKIFF_UPDATE").is_some() {
        std::fs::write(&file, &encoded).unwrap();
    }
    assert!(std::fs::read(&file).unwrap() == encoded, "{file} is old; run this test with SKIFF_UPDATE=1");
}

#[test]
fn the_encoded_world_of_snapshots_is_the_contracts() {
    let (resolve, package) = contract();
    check_encoded(&resolve, resolve.packages[package].worlds["snapshot"], "snapshot.world");
}

#[test]
fn the_encoded_worlds_of_what_is_imported_and_exported_are_the_contracts() {
    let (resolve, _) = contract();
    for (namespace, package, world, file) in [
        ("skiff", "metrics", "imports", "metrics.world"),
        ("skiff", "events", "imports", "events-imports.world"),
        ("skiff", "events", "exports", "events-exports.world"),
        ("skiff", "queues", "imports", "queues-imports.world"),
        ("skiff", "queues", "exports", "queues-exports.world"),
        ("skiff", "tables", "imports", "tables.world"),
        ("wasi", "blobstore", "imports", "buckets.world"),
    ] {
        let is_it = |name: &wit_parser::PackageName| name.namespace == namespace && name.name == package;
        let package = resolve.package_names.iter().find(|(name, _)| is_it(name)).expect("it is there").1;
        check_encoded(&resolve, resolve.packages[*package].worlds[world], file);
    }
}
