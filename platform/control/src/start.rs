//! Start and stop of the control plane.

mod api;
mod calls;

pub use api::Api;
pub use calls::CallError;

use crate::access::Access;
use crate::addresses::Addresses;
use crate::catalog::CatalogOfView;
use crate::context::{Config, Context, Deps};
use crate::entrance::Entrance;
use crate::events::Events;
use crate::guest_calls::GuestCallsOfPlane;
use crate::http::{Calls, Door, serve};
use crate::model::{
    AccessKey, Alarm, AlarmNotes, Bucket, Bus, Certificate, Consumer, Definition, EventRule, EventSchedule,
    Image, ItemTable, Listener, ListenerRule, Queue, Role, Scaling, ScalingNotes, ScheduleNotes,
    SecurityGroup, Service, ServiceNotes, StreamPosition, TargetGroup, TaskObject,
};
use crate::network::{NetworkError, establish_network};
use crate::objects::Objects;
use crate::reconcile;
use crate::targets::TargetsOfPlane;
use crate::view::Viewed;
use skiff_kit::Drain;
use skiff_kit::random::SharedRandom;
use skiff_ports::buses::Targets;
use skiff_ports::catalog::Catalog;
use skiff_ports::guest_calls::GuestCalls;
use skiff_ports::store::StoreError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Why the control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// The virtual network can't be had.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// What the platform had promised before could not be taken up.
    #[error("the tasks of before can't be taken up")]
    Resume(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API's listener has no address.
    #[error("the API's listener is not usable")]
    Listener(#[source] std::io::Error),
}

/// A control plane that runs, without a socket. Dropping it stops nothing; see [`Plane::shutdown`]. Cheap to clone.
#[derive(Clone)]
pub struct Plane {
    context: Arc<Context>,
}

/// A control plane that runs, and serves the API. Dropping it stops nothing; see [`Handle::shutdown`]. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    plane: Plane,
    api: SocketAddr,
}

/// Takes up what the store says, starts the reconcilers, and serves the API on `api`.
///
/// Returns as soon as calls are taken; [`Handle::ready`] waits for the workers.
pub async fn start(config: Config, deps: Deps, api: TcpListener) -> Result<Handle, StartError> {
    let address = api.local_addr().map_err(StartError::Listener)?;
    let plane = Plane::start(config, deps).await?;
    let (calls, drain) = (Calls::new(plane.door(address)), plane.context.drain.clone());
    let token = drain.token();
    tokio::spawn(async move {
        serve(api, calls, drain).await;
        drop(token);
    });
    Ok(Handle { plane, api: address })
}

impl Plane {
    /// Takes up what the store says, and starts the reconcilers.
    ///
    /// All that it does follows from what its ports say and from the runtime that it is started in: it reads no other clock
    /// than tokio's and the port's, no other randomness than the port's, and asks nothing of the operating system.
    pub async fn start(config: Config, deps: Deps) -> Result<Self, StartError> {
        let now_ms = deps.clock.unix_ms();
        establish_network(&*deps.store, &config.network.spec.into(), &[], now_ms).await?;
        let (random, drain) = (SharedRandom::new(deps.random.clone()), Drain::new());
        let events = Arc::new(Events::new(deps.journal.clone(), deps.clock.clone(), random));
        events.take_up().await?;
        let objects = Arc::new(Objects::new(deps.store.clone(), events.clone()));
        let started = Self::start_on(config, deps, objects, events, &drain, now_ms).await;
        if started.is_err() {
            // Nobody is left who could stop what keeps the view true.
            drain.begin();
        }
        started
    }

    async fn start_on(
        config: Config,
        deps: Deps,
        objects: Arc<Objects>,
        events: Arc<Events>,
        drain: &Drain,
        now_ms: u64,
    ) -> Result<Self, StartError> {
        follow::<Image>(&objects, drain).await?;
        follow::<Definition>(&objects, drain).await?;
        follow::<SecurityGroup>(&objects, drain).await?;
        follow::<TargetGroup>(&objects, drain).await?;
        follow::<Certificate>(&objects, drain).await?;
        follow::<Listener>(&objects, drain).await?;
        follow::<ListenerRule>(&objects, drain).await?;
        follow::<Service>(&objects, drain).await?;
        follow::<ServiceNotes>(&objects, drain).await?;
        follow::<Scaling>(&objects, drain).await?;
        follow::<ScalingNotes>(&objects, drain).await?;
        follow::<TaskObject>(&objects, drain).await?;
        follow::<Alarm>(&objects, drain).await?;
        follow::<AlarmNotes>(&objects, drain).await?;
        follow::<Bucket>(&objects, drain).await?;
        follow::<ItemTable>(&objects, drain).await?;
        follow::<Queue>(&objects, drain).await?;
        follow::<Consumer>(&objects, drain).await?;
        follow::<Bus>(&objects, drain).await?;
        follow::<EventRule>(&objects, drain).await?;
        follow::<EventSchedule>(&objects, drain).await?;
        follow::<ScheduleNotes>(&objects, drain).await?;
        follow::<StreamPosition>(&objects, drain).await?;
        follow::<Role>(&objects, drain).await?;
        follow::<AccessKey>(&objects, drain).await?;
        objects.all_listed().await?;
        let random = SharedRandom::new(deps.random.clone());
        let addresses = Addresses::open(deps.store.clone(), random, &objects, now_ms).await?;
        let context = Arc::new(Context::new(config, deps, objects, events, addresses, drain.clone()));
        context.series.take_up(now_ms).await?;
        reconcile::resume(&context).await.map_err(|error| StartError::Resume(error.into()))?;
        context.tell_all_rules();
        reconcile::start(&context);
        Ok(Self { context })
    }

    /// The API, as a client in this process calls it.
    pub fn api(&self) -> Api {
        Api::new(Calls::new(self.door(SocketAddr::from(([0, 0, 0, 0], 0)))))
    }

    /// Who may do what, by the roles and keys that there are at each moment.
    pub fn access(&self) -> Access {
        Access::new(self.context.objects.clone())
    }

    /// Which buckets, tables, queues and buses there are.
    pub fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(CatalogOfView::new(self.context.clone()))
    }

    /// What carries deliveries of events out. The rules are set by now, so the buses may start with it.
    pub fn targets(&self) -> Arc<dyn Targets> {
        Arc::new(TargetsOfPlane::new(self.context.clone()))
    }

    /// What answers the calls of guests.
    pub fn guest_calls(&self) -> Arc<dyn GuestCalls> {
        Arc::new(GuestCallsOfPlane::new(self.context.clone(), self.catalog()))
    }

    fn door(&self, address: SocketAddr) -> Door {
        let entrance = Entrance::new(self.context.clone());
        Door { entrance, token: self.context.config.token.clone(), address }
    }

    /// Ends once the workers act on the first version.
    pub async fn ready(&self) {
        self.context.acknowledged.reached(1).await;
    }

    /// Stops the reconcilers once calls under way are finished; every object stays as it is. Says whether all ended within
    /// `timeout`.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.context.drain.finish(timeout).await
    }
}

/// Lists one type of objects and keeps the list true.
async fn follow<T: Viewed>(objects: &Arc<Objects>, drain: &Drain) -> Result<(), StoreError> {
    let listed = objects.list::<T>().await?;
    let (objects, drain, token) = (objects.clone(), drain.clone(), drain.token());
    tokio::spawn(async move {
        objects.follow::<T>(listed, drain).await;
        drop(token);
    });
    Ok(())
}

impl Handle {
    /// Where the API listens.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Ends once the workers act on the first version.
    pub async fn ready(&self) {
        self.plane.ready().await;
    }

    /// Who may do what, by the roles and keys that there are at each moment.
    pub fn access(&self) -> Access {
        self.plane.access()
    }

    /// Which buckets, tables, queues and buses there are.
    pub fn catalog(&self) -> Arc<dyn Catalog> {
        self.plane.catalog()
    }

    /// What carries deliveries of events out. The rules are set by now, so the buses may start with it.
    pub fn targets(&self) -> Arc<dyn Targets> {
        self.plane.targets()
    }

    /// What answers the calls of guests.
    pub fn guest_calls(&self) -> Arc<dyn GuestCalls> {
        self.plane.guest_calls()
    }

    /// Takes in which addresses the host has now, where it explains what rules allow.
    pub fn set_host_addresses(&self, addresses: &[IpAddr]) {
        self.plane.context.set_host_addresses(addresses);
    }

    /// To be called before the node is told to stop. Says from now on, to who asks after the platform's health, that it is
    /// shutting down; starts no task in another's place, and takes the end of what was to go on for the platform's own.
    pub fn wind_down(&self) {
        self.plane.context.wind_down();
    }

    /// Takes no more calls, finishes those under way, and stops the reconcilers; every object stays as it is. Says
    /// whether all ended within `timeout`.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.plane.shutdown(timeout).await
    }
}
