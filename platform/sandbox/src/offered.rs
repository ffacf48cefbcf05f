//! The interfaces that Skiff offers to components, by name and generation.
//!
//! A plain list, so that a component can be checked without an engine; a test holds it against the real linker.

use skiff_types::WasiGeneration;

/// What WASI 0.2 has, all of it; `wasi:filesystem` is empty. `wasi:sockets` and outgoing requests are those of the virtual
/// network, a capability of the worker's ([`crate::capability`]), and denied where it has none.
pub(crate) const WASI_0_2: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What WASI 0.3 has, all of it; likewise.
pub(crate) const WASI_0_3: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/client",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// What Skiff has beside WASI, of version 0.1, for components of both generations: capabilities of the worker's, which are tested
/// by who links them (`host-metrics`, `host-events`, `host-data`).
pub(crate) const SKIFF_0_1: &[&str] =
    &["skiff:events/bus", "skiff:metrics/custom", "skiff:queues/producer", "skiff:tables/table"];

/// Proposals to WASI that are no part of a release yet, each in the one version that there is of it; likewise.
pub(crate) const PROPOSED: &[&str] = &[
    "wasi:blobstore/blobstore@0.2.0-draft",
    "wasi:blobstore/container@0.2.0-draft",
    "wasi:blobstore/types@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft2",
];

/// Splits `wasi:http/types@0.2.3` into the interface and its generation; `None` for a version that is no release of
/// WASI 0.2 or 0.3.
pub(crate) fn released(name: &str) -> Option<(&str, WasiGeneration)> {
    let (interface, version) = name.split_once('@')?;
    match version {
        _ if is_patch_of(version, "0.2.") => Some((interface, WasiGeneration::P2)),
        _ if is_patch_of(version, "0.3.") => Some((interface, WasiGeneration::P3)),
        _ => None,
    }
}

/// Whether `version` is `minor` with a number behind it.
fn is_patch_of(version: &str, minor: &str) -> bool {
    let patch = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    version.strip_prefix(minor).is_some_and(patch)
}

/// Why `import` can't be had, as a sentence; `None` if it is offered.
pub(crate) fn refusal(import: &str) -> Option<String> {
    const ALL: &str = "Skiff offers all of WASI 0.2 and 0.3 (wasi:cli, wasi:clocks, wasi:filesystem, wasi:http, \
                       wasi:io in 0.2, wasi:random, wasi:sockets), wasi:keyvalue 0.2.0-draft2, wasi:blobstore 0.2.0-draft, \
                       skiff:events, skiff:metrics, skiff:queues and skiff:tables 0.1, and nothing else so far";
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let known = |list: &[&str]| list.contains(&interface);
    match released(import) {
        Some((_, WasiGeneration::P2)) if known(WASI_0_2) => None,
        Some((_, WasiGeneration::P3)) if known(WASI_0_3) => None,
        _ if SKIFF_0_1.contains(&interface) && is_patch_of(version, "0.1.") => None,
        _ if PROPOSED.contains(&import) => None,
        _ if is_proposed_otherwise(interface) => Some(format!(
            "the component imports {import}, a proposal to WASI that Skiff offers in another version; {ALL}"
        )),
        Some((_, generation)) if interface.starts_with("wasi:") => Some(format!(
            "the component imports {import}, which WASI {generation} as Skiff offers it does not have; {ALL}"
        )),
        _ if known(WASI_0_2) || known(WASI_0_3) => Some(format!(
            "the component imports {interface} in version {version:?}, which is no release of WASI 0.2 or 0.3; build \
             it with a toolchain that targets WASI 0.2.x or 0.3.x"
        )),
        _ => Some(format!("the component imports {import}, which Skiff does not offer; {ALL}")),
    }
}

/// Whether a proposal of this name is offered, in whatever version.
fn is_proposed_otherwise(interface: &str) -> bool {
    PROPOSED.iter().any(|offered| offered.split('@').next() == Some(interface))
}

/// Why a component that exports what `generation` has can't have these imports, as a sentence: to those of WASI 0.2
/// nothing of 0.3 is linked ([`crate::engine`] says why).
pub(crate) fn refusal_of_newer(generation: WasiGeneration, imports: &[String]) -> Option<String> {
    let is_newer = |import: &&String| matches!(released(import), Some((_, WasiGeneration::P3)));
    let newer = imports.iter().find(is_newer).filter(|_| generation == WasiGeneration::P2)?;
    Some(format!(
        "the component exports an interface of WASI 0.2 and imports {newer}; Skiff offers WASI 0.3 to components that \
         export wasi:http/handler@0.3 or wasi:cli/run@0.3, so export one of those, or import WASI 0.2 alone"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Flavour, compile_engine};
    use crate::state::SandboxState;

    /// A function of each interface that has any; the others have types alone, which need nobody to provide them.
    const FUNCTIONS: &[(&str, &str, &str)] = &[
        ("wasi:cli/environment", "get-environment", "get-environment"),
        ("wasi:cli/exit", "exit", "exit"),
        ("wasi:cli/stderr", "get-stderr", "write-via-stream"),
        ("wasi:cli/stdin", "get-stdin", "read-via-stream"),
        ("wasi:cli/stdout", "get-stdout", "write-via-stream"),
        ("wasi:cli/terminal-stderr", "get-terminal-stderr", "get-terminal-stderr"),
        ("wasi:cli/terminal-stdin", "get-terminal-stdin", "get-terminal-stdin"),
        ("wasi:cli/terminal-stdout", "get-terminal-stdout", "get-terminal-stdout"),
        ("wasi:clocks/monotonic-clock", "now", "now"),
        ("wasi:clocks/system-clock", "", "now"),
        ("wasi:clocks/wall-clock", "now", ""),
        ("wasi:filesystem/preopens", "get-directories", "get-directories"),
        ("wasi:filesystem/types", "filesystem-error-code", "[method]descriptor.stat"),
        ("wasi:http/client", "", "send"),
        ("wasi:http/outgoing-handler", "handle", ""),
        ("wasi:http/types", "http-error-code", "[constructor]fields"),
        ("wasi:io/poll", "poll", ""),
        ("wasi:random/insecure", "get-insecure-random-u64", "get-insecure-random-u64"),
        ("wasi:random/insecure-seed", "insecure-seed", "get-insecure-seed"),
        ("wasi:random/random", "get-random-u64", "get-random-u64"),
        ("wasi:sockets/instance-network", "instance-network", ""),
        ("wasi:sockets/ip-name-lookup", "resolve-addresses", "resolve-addresses"),
        ("wasi:sockets/tcp-create-socket", "create-tcp-socket", ""),
        ("wasi:sockets/udp-create-socket", "create-udp-socket", ""),
    ];

    #[test]
    fn what_is_offered_is_in_the_linker() {
        let engine = compile_engine(Flavour::of(WasiGeneration::P3, 0)).unwrap();
        let linker = crate::link::linker::<SandboxState>(&engine, WasiGeneration::P3).unwrap();
        let defines = |interface: &str, version: &str, function: &str| {
            // What is there can't be defined a second time.
            let mut linker = linker.clone();
            let mut instance = linker.instance(&format!("{interface}@{version}")).unwrap();
            instance.func_wrap(function, |_, (): ()| Ok(())).is_err()
        };
        for (interface, function_0_2, function_0_3) in FUNCTIONS {
            for (list, version, function) in
                [(WASI_0_2, "0.2.12", function_0_2), (WASI_0_3, "0.3.0", function_0_3)]
            {
                assert_eq!(list.contains(interface), !function.is_empty(), "{interface}@{version}");
                assert_eq!(
                    defines(interface, version, function),
                    !function.is_empty(),
                    "{interface}@{version}"
                );
            }
        }
        assert!(!defines("wasi:keyvalue/store", "0.2.0", "open"));
        let functions = [
            "delete-container",
            "[method]container.get-data",
            "[static]outgoing-value.finish",
            "swap",
            "set-many",
            "open",
        ];
        for (offered, function) in PROPOSED.iter().zip(functions) {
            let (interface, version) = offered.split_once('@').unwrap();
            assert!(defines(interface, version, function), "{offered}");
        }
        for (offered, function) in SKIFF_0_1.iter().zip(["put", "put", "send", "increment"]) {
            assert!(defines(offered, "0.1.0", function), "{offered}");
        }
    }

    #[test]
    fn releases_are_told_from_candidates() {
        assert_eq!(released("wasi:http/types@0.2.12"), Some(("wasi:http/types", WasiGeneration::P2)));
        assert_eq!(released("wasi:http/types@0.3.0"), Some(("wasi:http/types", WasiGeneration::P3)));
        for other in ["wasi:http/types", "wasi:http/types@0.3.0-rc-2025-09-16", "a:b/c@0.2.", "a:b/c@1.2.0"] {
            assert_eq!(released(other), None, "{other}");
        }
    }

    #[test]
    fn a_refusal_names_the_import_and_what_there_is() {
        assert_eq!(refusal("wasi:cli/stdout@0.2.0"), None);
        assert_eq!(refusal("wasi:clocks/system-clock@0.3.0"), None);
        let text = refusal("wasi:keyvalue/store@0.2.0").unwrap();
        assert!(text.contains("wasi:keyvalue/store@0.2.0") && text.contains("wasi:http"), "{text}");
        assert!(refusal("wasi:cli/stdout@0.3.0-rc-2025-09-16").unwrap().contains("no release"));
        assert_eq!(refusal("wasi:keyvalue/store@0.2.0-draft2"), None);
        let text = refusal("wasi:blobstore/container@0.2.0-draft2").unwrap();
        assert!(text.contains("in another version") && text.contains("wasi:blobstore 0.2.0-draft"), "{text}");
        assert_eq!(refusal("skiff:metrics/custom@0.1.0"), None);
        let text = refusal("skiff:metrics/custom@0.2.0").unwrap();
        assert!(text.contains("skiff:metrics/custom@0.2.0") && text.contains("skiff:metrics"), "{text}");
        for offered in SKIFF_0_1 {
            assert_eq!(refusal(&format!("{offered}@0.1.7")), None);
        }
        assert!(refusal("acme:secret/api@1.0.0").unwrap().contains("acme:secret/api@1.0.0"));
    }

    #[test]
    fn what_exports_wasi_0_2_imports_nothing_newer() {
        let imports = ["wasi:cli/stdout@0.2.0", "wasi:clocks/system-clock@0.3.0"].map(str::to_owned);
        assert_eq!(refusal_of_newer(WasiGeneration::P3, &imports), None);
        assert_eq!(refusal_of_newer(WasiGeneration::P2, &imports[..1]), None);
        let text = refusal_of_newer(WasiGeneration::P2, &imports).unwrap();
        assert!(text.contains("wasi:clocks/system-clock@0.3.0"), "{text}");
    }
}
