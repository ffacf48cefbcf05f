//! Alarms: made, changed, shown with what they say, removed. What they say is for the reconciler to find out.
//!
//! A service that an alarm watches need not be there: it may come later, and go before. What always holds: an alarm that
//! something follows stays.

use super::balancer::not_there;
use super::metrics::check_is_measured;
use super::page::page;
use super::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::keys;
use crate::model::{Alarm, AlarmNotes, AlarmTransition};
use crate::view::{Held, View};
use skiff_api::{AlarmStatus, ErrorCode, Page, PageQuery, PutAlarm};
use skiff_types::{AlarmSpec, Namespace, QualifiedName};
use tracing::info;

/// The most alarms: as many as CloudWatch gives an account.
const ALARMS_MAX: usize = 5_000;

impl Entrance {
    /// Creates an alarm, or replaces all that it says.
    pub(crate) async fn put_alarm(
        &self,
        name: &QualifiedName,
        request: PutAlarm,
        if_match: IfMatch,
    ) -> Result<skiff_api::Alarm, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&AlarmSpec>| -> Result<AlarmSpec, ApiError> {
            let spec = request.to_domain(name.clone()).map_err(ApiError::invalid)?;
            check_is_measured(&spec.metric.of, &spec.metric.metric, &spec.metric.dimensions)?;
            let count = self.context.objects.read(|view| view.alarms.declared.all().count());
            if present.is_none() && count >= ALARMS_MAX {
                return Err(ApiError::new(
                    ErrorCode::ResourceExhausted,
                    format!(
                        "there are {count} alarms, and {ALARMS_MAX} are the most: remove one that nobody needs, with \
                         `skiff alarm rm`"
                    ),
                ));
            }
            Ok(spec)
        };
        let held = self.declare(&keys::alarm(name), if_match, spec).await?;
        info!(alarm = %name, "wanted");
        Ok(self.context.objects.read(|view| self.shown_alarm(view, &held)))
    }

    /// Lists alarms by name.
    pub(crate) fn list_alarms(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Alarm>, ApiError> {
        self.context.objects.read(|view| {
            let alarms = view.alarms.declared.under(&keys::in_namespace("alarm", namespace));
            let alarms = alarms.map(|held| (held.value.spec.name.name.to_string(), held)).collect();
            page(alarms, query.limit, query.cursor.as_deref(), |held| self.shown_alarm(view, held))
        })
    }

    /// Shows an alarm.
    pub(crate) fn get_alarm(&self, name: &QualifiedName) -> Result<skiff_api::Alarm, ApiError> {
        self.context.objects.read(|view| {
            let held = view.alarm(name).ok_or_else(|| no_alarm(view, name))?;
            Ok(self.shown_alarm(view, held))
        })
    }

    /// Lists the changes of an alarm's state, newest first.
    pub(crate) fn list_alarm_history(
        &self,
        name: &QualifiedName,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::AlarmTransition>, ApiError> {
        let history = self.context.objects.read(|view| {
            let held = view.alarm(name).ok_or_else(|| no_alarm(view, name))?;
            Ok::<_, ApiError>(view.notes_of_alarm(&held.value).map(|notes| notes.history.clone()))
        })?;
        let history = history.unwrap_or_default().into_iter().enumerate();
        // By time, and where there are several of the same, as they are noted.
        let place = |(index, transition): (usize, AlarmTransition)| {
            (format!("{:020} {index:03}", u64::MAX - transition.at_ms), transition)
        };
        page(history.map(place).collect(), query.limit, query.cursor.as_deref(), shown_transition)
    }

    /// Removes an alarm that nothing follows.
    pub(crate) async fn delete_alarm(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_alarm(view, name);
        let check = |view: &View| check_unneeded(view, name);
        self.withdraw::<AlarmSpec>(&keys::alarm(name), if_match, missing, check).await?;
        self.context.alarms.forget(name);
        info!(alarm = %name, "the alarm is removed");
        Ok(())
    }

    fn shown_alarm(&self, view: &View, held: &Held<Alarm>) -> skiff_api::Alarm {
        let Alarm { spec, created_at_ms, updated_at_ms } = &*held.value;
        let new = AlarmNotes::new(&held.value);
        let notes = view.notes_of_alarm(&held.value).unwrap_or(&new);
        let signal = self.context.alarms.signal(&spec.name);
        let status = AlarmStatus {
            state: notes.state,
            reason: notes.reason.clone(),
            since_ms: notes.changed_at_ms,
            value: signal.and_then(|signal| signal.value).filter(|value| value.is_finite()),
            evaluated_at_ms: signal.map(|signal| signal.evaluated_at_ms),
            undelivered: notes.undelivered.len() as u32,
        };
        skiff_api::Alarm::new(spec, held.revision, status, *created_at_ms, *updated_at_ms)
    }
}

fn shown_transition(transition: AlarmTransition) -> skiff_api::AlarmTransition {
    let AlarmTransition { at_ms, before, after, reason, value } = transition;
    skiff_api::AlarmTransition { at_ms, before, after, reason, value }
}

/// Refuses the removal of an alarm that something follows, or may follow whose record can't be read.
fn check_unneeded(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    if let Some(who) = view.alarm_is_named_by(name) {
        return Err(ApiError::not_now(format!(
            "{who} names the alarm {name}; change that to name another, or none, first"
        )));
    }
    let places = ["service", "scaling"].map(|token| keys::in_namespace(token, &name.namespace));
    match view.unreadable.iter().find(|key| places.iter().any(|place| key.is_under(place))) {
        Some(key) => Err(ApiError::not_now(format!(
            "the record {key} can't be read, and may need the alarm {name}, which stays until it can be; see the platform's \
             log"
        ))),
        None => Ok(()),
    }
}

fn no_alarm(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: alarm } = name;
    let missing = format!(
        "there is no alarm {alarm} in the namespace {namespace}; make it with `skiff alarm put {alarm}`, `skiff alarm ls` lists \
         those that there are"
    );
    not_there(view, &keys::alarm(name), missing)
}
