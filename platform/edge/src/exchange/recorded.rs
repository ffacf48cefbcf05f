//! The record of a request's spans, made when its exchange is over.
//!
//! It has what the access log says, but for the query. What always holds: a request that is not recorded makes none, and who
//! takes records is not waited for.

use super::Exchange;
use crate::decision::By;
use crate::span::{Recording, cut, cut_bytes};
use http::Version;
use skiff_kit::clock::unix_ns;
use skiff_ports::spans::{CallRecord, HttpVersion, SpanRecord};
use skiff_types::ListenerProtocol;

impl Exchange {
    /// Hands its record over, if it is recorded; `now_ns` is of the monotonic clock.
    pub(super) fn record(&self, now_ns: u64, received_bytes: u64) {
        let (Some(recording), Some(spans)) = (&self.recording, self.edge.spans()) else { return };
        let unix_now_ns = unix_ns();
        let at = |ns: u64| unix_now_ns.saturating_sub(now_ns.saturating_sub(ns));
        spans.record(self.span(recording, at, now_ns, received_bytes));
    }

    /// `at` says which time of day a time of the monotonic clock was.
    fn span(
        &self,
        recording: &Recording,
        at: impl Fn(u64) -> u64,
        now_ns: u64,
        received_bytes: u64,
    ) -> SpanRecord {
        let listener = &self.connection.listener;
        let service = self.group.as_ref().map(|group| &*group.label);
        SpanRecord {
            trace_id: self.trace.number(),
            span_id: recording.id,
            parent_id: self.trace.parent(),
            began_at_ns: at(self.start_ns),
            ended_at_ns: at(now_ns),
            call: self.call_record(recording, &at),
            method: cut(self.method.as_str()),
            is_tls: listener.protocol() == ListenerProtocol::Https,
            // Not who a client says that it is, which no sound request does.
            host: cut(self.host().rsplit('@').next().unwrap_or_default()),
            path: cut(self.uri.path()),
            version: match self.version {
                Version::HTTP_10 => HttpVersion::Http10,
                Version::HTTP_2 => HttpVersion::Http2,
                _ => HttpVersion::Http11,
            },
            client: self.connection.source,
            user_agent: self.user_agent.as_ref().map(|agent| cut_bytes(agent.as_bytes())),
            request_id: self.request_id.to_str().unwrap_or_default().to_owned(),
            listener: listener.name().clone(),
            decided_by: self.decided_by_whom(),
            target_group: self.named.as_deref().or(service).map(str::to_owned),
            status: self.status.map(|status| status.as_u16()),
            error: self.cause.as_deref().map(cut),
            received_bytes,
            sent_bytes: self.sent_bytes,
        }
    }

    fn call_record(&self, recording: &Recording, at: &impl Fn(u64) -> u64) -> Option<CallRecord> {
        let ((asked_ns, retries), target) = (recording.asked()?, self.target()?);
        Some(CallRecord {
            span_id: recording.call,
            began_at_ns: at(asked_ns),
            answered_at_ns: (self.answered_ns != 0).then(|| at(self.answered_ns)),
            target: target.label.to_string(),
            port: target.port_beside_label().filter(|port| *port != 0),
            is_tls: target.pool().is_some_and(|pool| pool.speaks().tls),
            status: self.target_status.map(|status| status.as_u16()),
            retries,
        })
    }

    fn decided_by_whom(&self) -> Option<String> {
        let by = match (&self.rule, self.ground?.by) {
            (Some(rule), _) => rule.spec.name.to_string(),
            (None, By::Service) => "service".to_owned(),
            // A rule decides only where there is one.
            (None, By::Rule(_) | By::Default) => "default".to_owned(),
        };
        Some(by)
    }
}
