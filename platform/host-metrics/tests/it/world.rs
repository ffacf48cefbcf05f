//! A component that puts one value and looks what it is answered, over a sink that takes all or nothing.

use skiff_host_metrics::HostMetrics;
use skiff_ports::logs::LogLine;
use skiff_ports::metrics::{GuestValue, MetricSink, TooManyPoints};
use skiff_testbed::{Ended, command, run_to_end};
use skiff_types::TaskId;
use std::cell::RefCell;
use std::rc::Rc;

/// What guests put, and whether there is room for it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) sink: Rc<Sink>,
    pub(crate) is_full: bool,
}

/// Takes what comes.
#[derive(Default)]
pub(crate) struct Sink(pub(crate) RefCell<Vec<GuestValue>>);

impl MetricSink for Sink {
    fn put(&self, _: TaskId, put: GuestValue) -> Result<(), TooManyPoints> {
        self.0.borrow_mut().push(put);
        Ok(())
    }
}

/// Has room for nothing.
struct Full;

impl MetricSink for Full {
    fn put(&self, _: TaskId, _: GuestValue) -> Result<(), TooManyPoints> {
        Err(TooManyPoints)
    }
}

impl World {
    /// Runs a task that puts one value, and ends well only if it is answered so; what its logs say then.
    pub(crate) async fn put(
        &self,
        in_service: bool,
        metric: &str,
        dimension: (&str, &str),
        value: &str,
        answer: i32,
    ) -> Vec<LogLine> {
        let sink: Rc<dyn MetricSink> = if self.is_full { Rc::new(Full) } else { self.sink.clone() };
        let component = component(metric, dimension, value, answer);
        let Ended { exit_code, why, lines } =
            run_to_end(&component, in_service, HostMetrics::new(sink)).await;
        let what = format!("{metric:?}, {dimension:?}, {value}");
        assert_eq!(exit_code, Some(0), "{what}: it was answered otherwise: {why}");
        lines
    }
}

/// A command on WASI 0.2 that puts a value with one dimension, and returns an error unless it is answered so.
fn component(metric: &str, (name, dimension): (&str, &str), value: &str, answer: i32) -> String {
    let imports = r#"(import "skiff:metrics/custom@0.1.0" (instance $custom
            (type $cases (enum "invalid-metric" "invalid-dimensions" "invalid-value" "too-many"))
            (export "error" (type $error (eq $cases)))
            (export "put" (func
              (param "metric" string) (param "dimensions" (list (tuple string string))) (param "value" f64)
              (result (result (error $error)))))))"#;
    let lowered = r#"(core func $put
            (canon lower (func $custom "put") (memory (core memory $memory "memory")) string-encoding=utf8))"#;
    let given = r#"(export "put" (func $put))"#;
    let declared = r#"(import "host" "put" (func $put (param i32 i32 i32 i32 f64 i32)))"#;
    let data = format!(
        r#"(data (i32.const 256) "{metric}") (data (i32.const 512) "{name}") (data (i32.const 768) "{dimension}")"#
    );
    let (metric_bytes, name_bytes, dimension_bytes) = (metric.len(), name.len(), dimension.len());
    let main = format!(
        r#"
              (i32.store (i32.const 0) (i32.const 512))
              (i32.store (i32.const 4) (i32.const {name_bytes}))
              (i32.store (i32.const 8) (i32.const 768))
              (i32.store (i32.const 12) (i32.const {dimension_bytes}))
              (call $put (i32.const 256) (i32.const {metric_bytes}) (i32.const 0) (i32.const 1)
                (f64.const {value}) (i32.const 32))
              (i32.load16_u (i32.const 32))"#
    );
    command((imports, lowered, given), (declared, &data, &main), answer)
}
