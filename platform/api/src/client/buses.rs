//! The calls on buses, their rules and targets, on schedules, and on the events themselves.

use super::{Client, ClientError, expecting, lines, without_timeout};
use crate::{
    Bus, EventPatternTest, EventRule, EventRuleListQuery, EventSchedule, EventTarget, Operation, Page,
    PageQuery, PutBus, PutEventRule, PutEventSchedule, PutEventsAnswer, TailQuery, TailedEvent,
    TestEventPattern,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE};
use skiff_types::{Name, Namespace};

impl Client {
    /// Creates a bus.
    pub async fn put_bus(
        &self,
        namespace: &Namespace,
        bus: &Name,
        body: &PutBus,
        if_match: Option<u64>,
    ) -> Result<Bus, ClientError> {
        self.put(Operation::PutBus, &[namespace.as_str(), bus.as_str()], body, if_match).await
    }

    /// One page of the buses.
    pub async fn list_buses(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Bus>, ClientError> {
        self.answer(self.request(Operation::ListBuses, &[namespace.as_str()]).query(query)).await
    }

    /// A bus.
    pub async fn get_bus(&self, namespace: &Namespace, bus: &Name) -> Result<Bus, ClientError> {
        self.answer(self.request(Operation::GetBus, &[namespace.as_str(), bus.as_str()])).await
    }

    /// Removes a bus that nothing names.
    pub async fn delete_bus(
        &self,
        namespace: &Namespace,
        bus: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteBus, &[namespace.as_str(), bus.as_str()], if_match).await
    }

    /// Puts events, all or none, in a form that the content type says.
    pub async fn put_events(
        &self,
        namespace: &Namespace,
        bus: &Name,
        content_type: &str,
        body: Bytes,
    ) -> Result<PutEventsAnswer, ClientError> {
        let request = self.request(Operation::PutEvents, &[namespace.as_str(), bus.as_str()]);
        self.answer(request.header(CONTENT_TYPE, content_type).body(body)).await
    }

    /// Events of a bus as they come from now on. The stream does not end by itself.
    pub async fn tail_events(
        &self,
        namespace: &Namespace,
        bus: &Name,
        query: &TailQuery,
    ) -> Result<BoxStream<'static, Result<TailedEvent, ClientError>>, ClientError> {
        let request = self.request(Operation::TailEvents, &[namespace.as_str(), bus.as_str()]).query(query);
        let request = without_timeout(request).header(ACCEPT, "application/x-ndjson");
        Ok(lines::read(self.send(request).await?, self.url().to_owned()))
    }

    /// Whether a pattern takes an event.
    pub async fn test_event_pattern(&self, body: &TestEventPattern) -> Result<EventPatternTest, ClientError> {
        self.answer(self.request(Operation::TestEventPattern, &[]).json(body)).await
    }

    /// Creates a rule of a bus, or replaces what it says.
    pub async fn put_event_rule(
        &self,
        namespace: &Namespace,
        rule: &Name,
        body: &PutEventRule,
        if_match: Option<u64>,
    ) -> Result<EventRule, ClientError> {
        self.put(Operation::PutEventRule, &[namespace.as_str(), rule.as_str()], body, if_match).await
    }

    /// One page of the rules of buses.
    pub async fn list_event_rules(
        &self,
        namespace: &Namespace,
        query: &EventRuleListQuery,
    ) -> Result<Page<EventRule>, ClientError> {
        self.answer(self.request(Operation::ListEventRules, &[namespace.as_str()]).query(query)).await
    }

    /// A rule of a bus.
    pub async fn get_event_rule(&self, namespace: &Namespace, rule: &Name) -> Result<EventRule, ClientError> {
        self.answer(self.request(Operation::GetEventRule, &[namespace.as_str(), rule.as_str()])).await
    }

    /// Removes a rule of a bus.
    pub async fn delete_event_rule(
        &self,
        namespace: &Namespace,
        rule: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteEventRule, &[namespace.as_str(), rule.as_str()], if_match).await
    }

    /// Adds a target to a rule, or replaces one.
    pub async fn put_event_target(
        &self,
        namespace: &Namespace,
        rule: &Name,
        target: &Name,
        body: &EventTarget,
        if_match: Option<u64>,
    ) -> Result<EventRule, ClientError> {
        self.put(
            Operation::PutEventTarget,
            &[namespace.as_str(), rule.as_str(), target.as_str()],
            body,
            if_match,
        )
        .await
    }

    /// Removes a target from a rule.
    pub async fn delete_event_target(
        &self,
        namespace: &Namespace,
        rule: &Name,
        target: &Name,
        if_match: Option<u64>,
    ) -> Result<EventRule, ClientError> {
        let parameters = [namespace.as_str(), rule.as_str(), target.as_str()];
        let request = self.request(Operation::DeleteEventTarget, &parameters);
        self.answer(expecting(request, if_match)).await
    }

    /// Creates a schedule, or replaces all that it says.
    pub async fn put_event_schedule(
        &self,
        namespace: &Namespace,
        schedule: &Name,
        body: &PutEventSchedule,
        if_match: Option<u64>,
    ) -> Result<EventSchedule, ClientError> {
        self.put(Operation::PutEventSchedule, &[namespace.as_str(), schedule.as_str()], body, if_match).await
    }

    /// One page of the schedules.
    pub async fn list_event_schedules(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<EventSchedule>, ClientError> {
        self.answer(self.request(Operation::ListEventSchedules, &[namespace.as_str()]).query(query)).await
    }

    /// A schedule.
    pub async fn get_event_schedule(
        &self,
        namespace: &Namespace,
        schedule: &Name,
    ) -> Result<EventSchedule, ClientError> {
        let parameters = [namespace.as_str(), schedule.as_str()];
        self.answer(self.request(Operation::GetEventSchedule, &parameters)).await
    }

    /// Removes a schedule.
    pub async fn delete_event_schedule(
        &self,
        namespace: &Namespace,
        schedule: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteEventSchedule, &[namespace.as_str(), schedule.as_str()], if_match).await
    }
}
