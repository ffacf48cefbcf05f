//! Records of spans on their way out of the worker: gathered for a moment, so that many go to the supervisor in one message.
//!
//! It deliberately does not know what is in them. What always holds: what was gathered is handed over within
//! [`gathering::GATHERING_TIME`], or as soon as it makes a message; what may wait in all is bounded by the link.

use crate::gathering;
use crate::link::{Link, SPAN_BATCH_RECORDS};
use skiff_ports::spans::{SpanRecord, SpanSink};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Notify;

/// Takes records of spans for the supervisor.
pub(crate) struct Spans {
    link: Rc<Link>,
    gathered: RefCell<Vec<SpanRecord>>,
    /// Told of the first that is gathered.
    begun: Notify,
}

impl Spans {
    /// Starts the task that hands over in time.
    pub(crate) fn start(link: Rc<Link>) -> Rc<Self> {
        let spans = Rc::new(Self { link, gathered: RefCell::default(), begun: Notify::new() });
        gathering::keep(spans.clone(), |spans| &spans.begun, Self::hand_over);
        spans
    }

    /// Gives the link what was gathered.
    pub(crate) fn hand_over(&self) {
        let gathered = self.gathered.take();
        if !gathered.is_empty() {
            self.link.spans(gathered);
        }
    }
}

impl SpanSink for Spans {
    fn record(&self, span: SpanRecord) {
        let count = {
            let mut gathered = self.gathered.borrow_mut();
            gathered.push(span);
            gathered.len()
        };
        match count {
            1 => self.begun.notify_one(),
            SPAN_BATCH_RECORDS => self.hand_over(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gathering::GATHERING_TIME;
    use crate::link::{SPAN_RECORDS_MAX, tests::span};
    use skiff_node::wire::{FrameReader, FromWorker, frames};
    use tokio::time::Instant;

    /// Runs a test on a paused clock, with what comes out of a link.
    fn run(test: impl AsyncFnOnce(Rc<Spans>, FrameReader)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let ((_ours, writer), (reader, _theirs)) = (frames(ours), frames(theirs));
            test(Spans::start(Link::start(writer)), reader).await;
        });
    }

    /// The records of the next message, by their ids, and how many were lost before.
    async fn next(reader: &mut FrameReader) -> (Vec<u64>, u64) {
        match reader.next().await.unwrap() {
            Some((FromWorker::Spans { records, lost }, _)) => {
                (records.into_iter().map(|record| record.span_id).collect(), lost)
            }
            message => panic!("{message:?}"),
        }
    }

    #[test]
    fn records_are_gathered_for_a_moment() {
        run(async |spans, mut reader| {
            let started = Instant::now();
            for round in 0..3_u64 {
                (0..5).for_each(|number| spans.record(span(10 * round + number)));
                let ids: Vec<u64> = (0..5).map(|number| 10 * round + number).collect();
                assert_eq!(next(&mut reader).await, (ids, 0));
            }
            assert!(started.elapsed() >= 3 * GATHERING_TIME);
        });
    }

    #[test]
    fn a_full_message_goes_at_once_and_what_there_is_no_room_for_is_counted() {
        run(async |spans, mut reader| {
            let batches = SPAN_RECORDS_MAX / SPAN_BATCH_RECORDS;
            (0..SPAN_RECORDS_MAX + 7).for_each(|number| spans.record(span(number as u64)));
            spans.hand_over();
            let mut ids = next(&mut reader).await.0;
            assert_eq!(next(&mut reader).await.0.len(), SPAN_BATCH_RECORDS);
            for _ in 2..batches {
                ids.extend(next(&mut reader).await.0);
            }
            assert_eq!(ids.len(), SPAN_RECORDS_MAX - SPAN_BATCH_RECORDS);
            assert_eq!(next(&mut reader).await, (Vec::new(), 7));
            spans.record(span(9));
            assert_eq!(next(&mut reader).await, (vec![9], 0), "there is room again");
        });
    }
}
