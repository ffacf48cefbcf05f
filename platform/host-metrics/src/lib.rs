//! Metrics of guests' own: `skiff:metrics/custom` of `sdk/wit`, for components of WASI 0.2 and 0.3 alike, over a
//! [`MetricSink`].
//!
//! It checks what a guest says, and adds whose it is. It deliberately neither gathers nor bounds what comes: the sink does.
//!
//! What always holds: each value carries the service of the task that put it, or the family where no service runs it, which no
//! guest can say otherwise; none is under a name that says what Skiff itself measures of a queue or a rule; a guest waits for nobody; and what goes on to the sink is never counted as its guest's heap, since
//! values of several guests lie in one place ([`skiff_sandbox::apart`]).

use bindings::custom::{self, Error};
use send_wrapper::SendWrapper;
use skiff_ports::metrics::{GuestValue, MetricSink, TooManyPoints};
use skiff_sandbox::{Capability, Guest, Outgoing, SandboxState, apart};
use skiff_types::{Dimensions, MetricName, Name, TaskId, WasiGeneration, own_dimension};
use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use wasmtime::component::{HasData, Linker};

/// Made out of `sdk/wit`.
mod bindings {
    mod generated {
        wasmtime::component::bindgen!({
            path: "../../sdk/wit/deps/skiff-metrics-0.1.0.wit",
            world: "imports",
        });
    }

    pub(crate) use self::generated::skiff::metrics::custom;
}

/// Metrics as a capability of a worker's guests. Lives on one thread.
pub struct HostMetrics {
    sink: SendWrapper<Rc<dyn MetricSink>>,
}

impl HostMetrics {
    /// Hands what guests put to `sink`.
    pub fn new(sink: Rc<dyn MetricSink>) -> Arc<Self> {
        Arc::new(Self { sink: SendWrapper::new(sink) })
    }
}

impl Capability for HostMetrics {
    fn link(&self, linker: &mut Linker<SandboxState>, _: WasiGeneration) -> wasmtime::Result<()> {
        custom::add_to_linker::<_, Custom>(linker, |state| state.capability::<Context>().context)
    }

    fn context_type(&self) -> TypeId {
        TypeId::of::<Context>()
    }

    fn context(&self, guest: Guest) -> Box<dyn Any + Send> {
        Box::new(Context { guest, sink: self.sink.clone(), is_told: false, is_told_of_names: false })
    }

    fn outgoing(&self) -> Option<&dyn Outgoing> {
        None
    }

    /// Nothing is kept for a task here.
    fn ended(&self, _: TaskId) {}
}

/// Says that guests' calls work on a [`Context`].
struct Custom;

impl HasData for Custom {
    type Data<'a> = &'a mut Context;
}

/// What one sandbox holds. Made when its guest first puts a value.
struct Context {
    guest: Guest,
    sink: SendWrapper<Rc<dyn MetricSink>>,
    /// Whether the task's logs say already that this sandbox puts too much.
    is_told: bool,
    /// Likewise that it puts what is not its own to say.
    is_told_of_names: bool,
}

impl custom::Host for Context {
    fn put(&mut self, metric: String, dimensions: Vec<(String, String)>, value: f64) -> Result<(), Error> {
        let mut own = None;
        let put = || {
            let source = (&self.guest.owner().name, self.guest.in_service());
            let metric: MetricName = metric.parse().map_err(|_| Error::InvalidMetric)?;
            let dimensions = with_source(&dimensions, source).ok_or(Error::InvalidDimensions)?;
            own = own_dimension(&metric, &dimensions);
            if own.is_some() {
                return Err(Error::InvalidMetric);
            }
            if !value.is_finite() {
                return Err(Error::InvalidValue);
            }
            let namespace = self.guest.owner().namespace.clone();
            let put = GuestValue { namespace, metric, dimensions, value };
            self.sink.put(self.guest.task(), put).map_err(|TooManyPoints| Error::TooMany)
        };
        let result = apart(put);
        if let Some(dimension) = own
            && !mem::replace(&mut self.is_told_of_names, true)
        {
            self.guest.remark(&format!(
                "a value of the metric {metric} was refused: with the dimension {dimension} it is what Skiff itself measures; \
                 take another name"
            ));
        }
        if result == Err(Error::TooMany) && !mem::replace(&mut self.is_told, true) {
            self.guest.remark(&format!(
                "a value of the metric {metric} was dropped: values of too many series come at once, or values too far \
                 apart; use fewer names and values of dimensions"
            ));
        }
        result
    }
}

/// The dimensions that a guest says, and whose they are; none if they can't be kept, or say that themselves.
fn with_source(told: &[(String, String)], (owner, in_service): (&Name, bool)) -> Option<Dimensions> {
    // Before anything is copied.
    if told.len() >= Dimensions::COUNT_MAX {
        return None;
    }
    let [service, family] = Dimensions::SOURCES;
    let source = if in_service { service } else { family };
    let mut dimensions = BTreeMap::from([(source.parse::<Name>().ok()?, owner.to_string())]);
    for (name, value) in told {
        if Dimensions::SOURCES.contains(&name.as_str()) || value.len() > Dimensions::VALUE_BYTES_MAX {
            return None;
        }
        let name: Name = name.parse().ok()?;
        if dimensions.insert(name, value.clone()).is_some() {
            return None;
        }
    }
    Dimensions::new(dimensions).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(in_service: bool, dimensions: &[(&str, &str)]) -> Option<String> {
        let dimensions: Vec<_> =
            dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        with_source(&dimensions, (&"shop".parse().unwrap(), in_service)).map(|all| all.to_string())
    }

    #[test]
    fn whose_values_are_is_added() {
        assert_eq!(told(true, &[]).unwrap(), "service=shop");
        assert_eq!(told(false, &[]).unwrap(), "family=shop");
        assert_eq!(told(true, &[("zone", "a"), ("kind", "x=y")]).unwrap(), "kind=x=y,service=shop,zone=a");
    }

    #[test]
    fn whose_values_are_is_not_the_guest_s_to_say() {
        for name in ["service", "family"] {
            for in_service in [true, false] {
                assert_eq!(told(in_service, &[(name, "bank")]), None, "{name}");
            }
        }
        assert_eq!(told(true, &[("Service", "bank")]), None, "no name");
    }

    #[test]
    fn dimensions_that_can_not_be_kept_are_refused() {
        let many: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|name| (name, "1")).collect();
        assert_eq!(told(true, &many[..3]).unwrap(), "a=1,b=1,c=1,service=shop");
        let long = "x".repeat(Dimensions::VALUE_BYTES_MAX + 1);
        let bad = [
            many,
            vec![("a", "1"), ("a", "2")],
            vec![("a", "")],
            vec![("a", "1,service=bank")],
            vec![("a", "two\nlines")],
            vec![("a", long.as_str())],
            vec![("", "1")],
        ];
        for dimensions in bad {
            assert_eq!(told(true, &dimensions), None, "{dimensions:?}");
        }
    }
}
