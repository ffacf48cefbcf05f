//! What moves the counts of services' tasks: put, shown, taken away. The reconcilers move them.

use super::page::page;
use super::placement::check_counted;
use super::services::{existing, no_service};
use super::{Entrance, IfMatch, WRITE_ATTEMPTS};
use crate::error::ApiError;
use crate::keys;
use crate::model::{Declared, Scaling, bounds_now};
use crate::view::{Held, View};
use skiff_api::{ErrorCode, Page, PageQuery, PutScaling, ScalingChange, ScalingStatus};
use skiff_plan::schedule;
use skiff_ports::store::Expect;
use skiff_types::{Namespace, Policy, QualifiedName, ScaleToZero, ScalingSpec};
use std::sync::Arc;
use tracing::info;

impl Entrance {
    /// Says within which bounds a service's count moves, and what moves it.
    pub(crate) async fn put_scaling(
        &self,
        name: &QualifiedName,
        request: PutScaling,
        if_match: IfMatch,
    ) -> Result<skiff_api::Scaling, ApiError> {
        let spec = request.to_domain(name.clone()).map_err(ApiError::invalid)?;
        for scheduled in &spec.schedules {
            schedule::check(&scheduled.schedule, &scheduled.zone).map_err(|error| {
                ApiError::invalid(format!("the schedule {} can't be: {error}", scheduled.name))
            })?;
        }
        // So that neither the service nor an alarm that it follows goes meanwhile.
        let _alone = self.context.routing.lock().await;
        let spec = Arc::new(spec);
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Scaling>(&keys::scaling(name)).await?;
            let service = self.context.objects.read(|view| view.service(name).map(|held| held.value.clone()));
            let service = existing(service.as_deref(), name)?;
            check_counted(service)?;
            self.context.objects.read(|view| check_alarms(view, &spec))?;
            check_least(&spec, service.spec.scale_to_zero).map_err(ApiError::invalid)?;
            // One that was put for an earlier service of the name is none of this.
            let its = present.as_ref().filter(|held| held.value.is_of(service));
            if_match.check(its.map_or(0, |held| held.revision))?;
            let now_ms = self.context.now_ms();
            let (created_at_ms, updated_at_ms) = match its {
                Some(held) if held.value.spec == spec => {
                    return self.context.objects.read(|view| shown(view, held));
                }
                // Another time than before, by which it is told that the bounds are said anew.
                Some(held) => (held.value.created_at_ms, now_ms.max(held.value.updated_at_ms + 1)),
                None => {
                    let begins_at_ms = now_ms.max(service.created_at_ms);
                    (begins_at_ms, begins_at_ms)
                }
            };
            let expect = present.as_ref().map_or(Expect::Absent, |held| Expect::Revision(held.revision));
            let object = Declared { spec: spec.clone(), created_at_ms, updated_at_ms };
            match self.context.objects.put(object, expect).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    let held = result?;
                    info!(service = %name, min = spec.min, max = spec.max, "to be scaled");
                    self.context.objects.wakes.scaling.notify_one();
                    return self.context.objects.read(|view| shown(view, &held));
                }
            }
        }
        let message = format!("others keep changing the scaling of {name}; try again");
        Err(ApiError::new(ErrorCode::Unavailable, message))
    }

    /// Lists what moves counts, by the services' names.
    pub(crate) fn list_scaling(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Scaling>, ApiError> {
        let all: Vec<(String, skiff_api::Scaling)> = self.context.objects.read(|view| {
            let declared = view.scaling.under(&keys::in_namespace("scaling", namespace));
            // That of a service which is gone is about to go.
            let of_living = declared.filter_map(|held| scaling_of(view, &held.value.spec.service).ok());
            let shown = of_living.filter_map(|held| shown(view, held).ok());
            shown.map(|scaling| (scaling.service.to_string(), scaling)).collect()
        });
        page(all, query.limit, query.cursor.as_deref(), |scaling| scaling)
    }

    /// Shows what moves a service's count.
    pub(crate) fn get_scaling(&self, name: &QualifiedName) -> Result<skiff_api::Scaling, ApiError> {
        self.context.objects.read(|view| shown(view, scaling_of(view, name)?))
    }

    /// Leaves a service's count where it is.
    pub(crate) async fn delete_scaling(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| match scaling_of(view, name) {
            Err(error) => error,
            // It went in this moment.
            Ok(_) => no_scaling(name),
        };
        let check = |view: &View| scaling_of(view, name).map(|_| ());
        self.withdraw::<ScalingSpec>(&keys::scaling(name), if_match, missing, check).await?;
        info!(service = %name, "no longer scaled");
        self.context.objects.wakes.scaling.notify_one();
        Ok(())
    }

    /// Lists the changes of a service's count, newest first.
    pub(crate) fn list_scaling_activities(
        &self,
        name: &QualifiedName,
        query: &PageQuery,
    ) -> Result<Page<ScalingChange>, ApiError> {
        let changes: Vec<ScalingChange> = self.context.objects.read(|view| {
            let scaling = scaling_of(view, name)?;
            let notes = view.notes_of_scaling(&scaling.value);
            let activities = notes.into_iter().flat_map(|held| &held.value.activities);
            Ok::<_, ApiError>(activities.map(ScalingChange::from).collect())
        })?;
        // By time, and where there are several of the same, as they are noted.
        let place = |(index, change): (usize, ScalingChange)| {
            (format!("{:020} {index:03}", u64::MAX - change.began_at_ms), change)
        };
        let placed = changes.into_iter().enumerate().map(place).collect();
        page(placed, query.limit, query.cursor.as_deref(), |change| change)
    }
}

/// Refuses no task at the least where nothing would ever start one.
pub(super) fn check_least(spec: &ScalingSpec, scale_to_zero: ScaleToZero) -> Result<(), String> {
    if spec.min > 0 || scale_to_zero.after().is_some() {
        return Ok(());
    }
    Err(format!(
        "the scaling of {} has a minimum of 0 tasks, from which no metric starts one: a request or a message does, where the \
         service scales to zero, as `skiff deploy --scale-to-zero 5m` has it; else let the minimum be 1 or more",
        spec.service
    ))
}

/// Refuses to follow an alarm that is not there.
fn check_alarms(view: &View, spec: &ScalingSpec) -> Result<(), ApiError> {
    let namespace = &spec.service.namespace;
    spec.policies.iter().try_for_each(|policy| {
        let Policy::Step(step) = policy else { return Ok(()) };
        let alarm = QualifiedName::new(namespace.clone(), step.alarm.clone());
        match view.alarm(&alarm) {
            Some(_) => Ok(()),
            None => Err(ApiError::not_found(format!(
                "there is no alarm {} in the namespace {namespace}, which the policy {} follows; make it with `skiff alarm \
                 put {}`",
                step.alarm, step.name, step.alarm
            ))),
        }
    })
}

/// What moves a service's count; an error says what is not there.
fn scaling_of<'a>(view: &'a View, name: &QualifiedName) -> Result<&'a Held<Scaling>, ApiError> {
    let service = view.service(name).filter(|held| !held.value.removed).ok_or_else(|| no_service(name))?;
    view.scaling_of(&service.value).ok_or_else(|| no_scaling(name))
}

fn no_scaling(name: &QualifiedName) -> ApiError {
    let service = &name.name;
    ApiError::not_found(format!(
        "nothing moves the count of {name} but `skiff scale {service}`; to have it scaled, use `skiff scaling put {service}`"
    ))
}

fn shown(view: &View, held: &Held<Scaling>) -> Result<skiff_api::Scaling, ApiError> {
    let (scaling, spec) = (&*held.value, &*held.value.spec);
    let name = &spec.service;
    let service = view.service(name).map(|held| &*held.value);
    let service = existing(service, name)?;
    let PutScaling { min, max, policies, schedules, scale_in_protected } = spec.into();
    Ok(skiff_api::Scaling {
        service: name.name.clone(),
        namespace: name.namespace.clone(),
        revision: held.revision,
        min,
        max,
        policies,
        schedules,
        scale_in_protected,
        status: status(view, scaling, service.spec.desired),
        created_at_ms: scaling.created_at_ms,
        updated_at_ms: scaling.updated_at_ms,
    })
}

/// What has come of scaling, of a service that is to have so many tasks.
pub(super) fn status(view: &View, scaling: &Scaling, desired: u32) -> ScalingStatus {
    let notes = view.notes_of_scaling(scaling).map(|held| &*held.value);
    let (min, max) = bounds_now(scaling, notes);
    let last = notes.and_then(|notes| notes.activities.first());
    ScalingStatus { desired, min, max, last: last.map(ScalingChange::from) }
}
