//! The calls on alarms.

use super::{Client, ClientError};
use crate::{Alarm, AlarmTransition, Operation, Page, PageQuery, PutAlarm};
use skiff_types::{Name, Namespace};

impl Client {
    /// Creates an alarm, or replaces all that it says.
    pub async fn put_alarm(
        &self,
        namespace: &Namespace,
        alarm: &Name,
        body: &PutAlarm,
        if_match: Option<u64>,
    ) -> Result<Alarm, ClientError> {
        self.put(Operation::PutAlarm, &[namespace.as_str(), alarm.as_str()], body, if_match).await
    }

    /// One page of the alarms.
    pub async fn list_alarms(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<Alarm>, ClientError> {
        self.answer(self.request(Operation::ListAlarms, &[namespace.as_str()]).query(query)).await
    }

    /// An alarm.
    pub async fn get_alarm(&self, namespace: &Namespace, alarm: &Name) -> Result<Alarm, ClientError> {
        self.answer(self.request(Operation::GetAlarm, &[namespace.as_str(), alarm.as_str()])).await
    }

    /// One page of the changes of an alarm's state, newest first.
    pub async fn list_alarm_history(
        &self,
        namespace: &Namespace,
        alarm: &Name,
        query: &PageQuery,
    ) -> Result<Page<AlarmTransition>, ClientError> {
        let parameters = [namespace.as_str(), alarm.as_str()];
        self.answer(self.request(Operation::ListAlarmHistory, &parameters).query(query)).await
    }

    /// Removes an alarm that nothing follows.
    pub async fn delete_alarm(
        &self,
        namespace: &Namespace,
        alarm: &Name,
        if_match: Option<u64>,
    ) -> Result<(), ClientError> {
        self.remove(Operation::DeleteAlarm, &[namespace.as_str(), alarm.as_str()], if_match).await
    }
}
