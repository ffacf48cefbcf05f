//! The check of a component: any bytes are refused with a sentence, or reported on, the same each time.

use skiff_ports::runtime::PrepareError;

/// Checks the input as a component.
pub(crate) fn run(input: &[u8]) {
    match skiff_sandbox::inspect(input) {
        Ok(report) => {
            assert_eq!(report.component_bytes, input.len() as u64);
            assert!(report.minimum_memory_bytes > 0);
            assert!(report.imports.is_sorted() && report.exports.is_sorted());
            assert!(report.imports.iter().all(|import| import.starts_with("wasi:")), "{report:?}");
            assert!(report.exports.iter().any(|export| export.starts_with("wasi:")), "{report:?}");
            assert_eq!(skiff_sandbox::inspect(input).ok(), Some(report));
        }
        Err(PrepareError::Refused(reason)) => assert!(!reason.is_empty()),
        Err(other) => panic!("the check needs nothing that could fail: {other}"),
    }
}
