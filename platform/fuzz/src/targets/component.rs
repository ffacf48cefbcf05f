//! The check of a component: any bytes are refused with a sentence, or reported on, the same each time; and what is sound
//! can be rewritten for the compiler, to what is sound too.

use skiff_ports::runtime::{ComponentReport, PrepareError};

/// Checks the input as a component.
pub(crate) fn run(input: &[u8]) {
    match skiff_sandbox::inspect(input) {
        Ok(report) => {
            assert_eq!(report.component_bytes, input.len() as u64);
            assert!(report.minimum_memory_bytes > 0);
            assert!(report.imports.is_sorted() && report.exports.is_sorted());
            assert!(report.imports.iter().all(|import| import.starts_with("wasi:")), "{report:?}");
            assert!(report.exports.iter().any(|export| export.starts_with("wasi:")), "{report:?}");
            assert_eq!(skiff_sandbox::inspect(input).ok(), Some(report.clone()));
            rewrite(input, &report);
        }
        Err(PrepareError::Refused(reason)) => assert!(!reason.is_empty()),
        Err(other) => panic!("the check needs nothing that could fail: {other}"),
    }
}

fn rewrite(input: &[u8], report: &ComponentReport) {
    match skiff_sandbox::bulk::in_pieces(input.to_vec()) {
        Ok(rewritten) => {
            let component_bytes = rewritten.len() as u64;
            let as_before = ComponentReport { component_bytes, ..report.clone() };
            assert_eq!(skiff_sandbox::inspect(&rewritten).ok(), Some(as_before));
        }
        Err(PrepareError::Refused(reason)) => assert!(!reason.is_empty()),
        Err(other) => panic!("what is sound can be read: {other}"),
    }
}
