//! Spans of requests (OpenTelemetry), where somebody asked for them: which requests have one, and what is kept for it while a
//! request lasts.
//!
//! A trace that a client continues is recorded if the client's flag `sampled` says that the client records it, one that begins
//! here if it is of the share that is asked for. A request has two spans: its own, and, if a target was asked, that of the
//! call, which targets are told as their parent; the call takes in all targets that were asked. It deliberately does not know
//! how records get out of the worker. TCP connections, and requests from task to task, have none.
//!
//! What always holds: what begins here tells targets that it is sampled if and only if it is recorded. Where nobody asked for
//! spans, a request costs a look at that and nothing more.

use crate::chance::Chance;
use crate::trace::Trace;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::spans::{SampleShare, SpanRecord, SpanSink};
use std::rc::Rc;

/// Bytes of a text of a record that a client or a target chose, after which it is cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// Which requests are recorded, and who takes the records.
pub(crate) struct Spans {
    share: SampleShare,
    sink: Rc<dyn SpanSink>,
}

impl Spans {
    pub(crate) fn new(share: SampleShare, sink: Rc<dyn SpanSink>) -> Self {
        Self { share, sink }
    }

    /// Begins the spans of a request of this trace, if they are recorded; the trace says so from here on.
    pub(crate) fn begin(&self, trace: &mut Trace, chance: &Chance) -> Option<Box<Recording>> {
        if trace.parent().is_none() && self.share.takes(trace.number()) {
            trace.sample();
        }
        // An id of zeros is none.
        let id = || chance.number().max(1);
        trace.is_sampled().then(|| Box::new(Recording { id: id(), call: id(), asked_ns: 0, retries: 0 }))
    }

    /// Hands a record over.
    pub(crate) fn record(&self, span: SpanRecord) {
        self.sink.record(span);
    }
}

/// What is kept of a request that is recorded.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Its span's id.
    pub(crate) id: u64,
    /// The id of the call's.
    pub(crate) call: u64,
    /// When a target was chosen first; 0 before.
    asked_ns: u64,
    retries: u32,
}

impl Recording {
    /// A target is asked.
    pub(crate) fn asks(&mut self) {
        match self.asked_ns {
            0 => self.asked_ns = monotonic_ns(),
            _ => self.retries += 1,
        }
    }

    /// When a target was asked first, and how many were asked before the last; nothing if none was.
    pub(crate) fn asked(&self) -> Option<(u64, u32)> {
        (self.asked_ns != 0).then_some((self.asked_ns, self.retries))
    }
}

/// The first bytes of a text, cut between two characters.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// The same of what may be no text.
pub(crate) fn cut_bytes(bytes: &[u8]) -> String {
    cut(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use std::cell::RefCell;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[derive(Default)]
    struct Kept(RefCell<Vec<SpanRecord>>);

    impl SpanSink for Kept {
        fn record(&self, span: SpanRecord) {
            self.0.borrow_mut().push(span);
        }
    }

    fn spans(share: f64) -> Spans {
        Spans::new(SampleShare::new(share).unwrap(), Rc::new(Kept::default()))
    }

    /// Whether a request with this `traceparent` is recorded, and the flags that a target is told.
    fn of(given: Option<&str>, share: f64) -> (bool, String) {
        let (mut headers, chance) = (HeaderMap::new(), Chance::new(1));
        if let Some(given) = given {
            headers.insert("traceparent", given.parse().unwrap());
        }
        let mut trace = Trace::of(&headers, &chance);
        let recording = spans(share).begin(&mut trace, &chance);
        if let Some(recording) = &recording {
            assert!(recording.id != recording.call && recording.asked().is_none(), "{recording:?}");
        }
        trace.tell(&mut headers, 7);
        let told = headers["traceparent"].to_str().unwrap().to_owned();
        (recording.is_some(), told.rsplit('-').next().unwrap().to_owned())
    }

    #[test]
    fn a_trace_that_a_client_continues_is_recorded_if_the_client_records_it() {
        let parent = |flags: &str| format!("00-{ID}-00f067aa0ba902b7-{flags}");
        for share in [0.0, 0.5, 1.0] {
            assert_eq!(of(Some(&parent("01")), share), (true, "01".to_owned()));
            assert_eq!(of(Some(&parent("03")), share), (true, "03".to_owned()));
            assert_eq!(of(Some(&parent("00")), share), (false, "00".to_owned()));
            assert_eq!(of(Some(&parent("02")), share), (false, "02".to_owned()));
        }
    }

    #[test]
    fn a_trace_that_begins_here_is_recorded_if_it_is_of_the_share() {
        for given in [None, Some("no trace"), Some("00-0-0-01")] {
            assert_eq!(of(given, 0.0), (false, "00".to_owned()));
            assert_eq!(of(given, 1.0), (true, "01".to_owned()));
        }
        let (half, chance) = (spans(0.5), Chance::new(3));
        let begins = |_| half.begin(&mut Trace::of(&HeaderMap::new(), &chance), &chance).is_some();
        let recorded = (0..1_000).map(begins).filter(|is_recorded| *is_recorded).count();
        assert!((400..600).contains(&recorded), "{recorded} of 1000");
    }

    #[test]
    fn what_is_asked_after_the_first_is_a_retry() {
        let mut recording = Recording { id: 1, call: 2, asked_ns: 0, retries: 0 };
        assert_eq!(recording.asked(), None);
        recording.asks();
        let (first_ns, retries) = recording.asked().unwrap();
        assert_eq!(retries, 0);
        (0..2).for_each(|_| recording.asks());
        assert_eq!(recording.asked(), Some((first_ns, 2)));
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&long).len(), TEXT_BYTES_MAX);
        assert_eq!(cut(&format!("a{long}")).len(), TEXT_BYTES_MAX - 1);
        assert_eq!(cut_bytes(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(cut_bytes(b"plain"), "plain");
    }
}
