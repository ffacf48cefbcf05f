//! What Skiff has beside WASI, as far as its types go: the interfaces of `sdk/wit` that are neither WASI 0.2's nor 0.3's.
//!
//! They are in every linker, so that what was pushed is held against these types before any worker has it. It deliberately does
//! nothing: a worker's capabilities are linked over it (`host-metrics`, `host-data`, `host-events`), and where there is none,
//! whoever calls is refused.

#![allow(dead_code, reason = "only the types are asked for")]

use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

/// What a call comes to of an interface (`skiff:metrics/custom`) that nobody is there for: it ends the guest.
pub(crate) type Refuse = fn(&'static str) -> wasmtime::Error;

/// Links all of it. What was linked there before is to be allowed to be shadowed.
pub(crate) fn link<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    link_metrics(linker, refuse)?;
    link_events(linker, refuse)?;
    link_tables(linker, refuse)?;
    link_keyvalue(linker, refuse)?;
    link_blobstore(linker, refuse)
}

/// An interface that nobody is there for.
struct Absent<'l, T: 'static> {
    instance: LinkerInstance<'l, T>,
    interface: &'static str,
    refuse: Refuse,
}

impl<'l, T: 'static> Absent<'l, T> {
    fn new(
        linker: &'l mut Linker<T>,
        (interface, version): (&'static str, &str),
        refuse: Refuse,
    ) -> wasmtime::Result<Self> {
        Ok(Self { instance: linker.instance(&format!("{interface}@{version}"))?, interface, refuse })
    }

    /// Its function of this name, by its parameters and what it returns.
    fn function<P, R>(&mut self, name: &str) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        let (interface, refuse) = (self.interface, self.refuse);
        self.instance.func_wrap(name, move |_: StoreContextMut<'_, T>, _: P| -> wasmtime::Result<R> {
            Err(refuse(interface))
        })
    }

    /// Its resource of this name. There never is one.
    fn resource<R: 'static>(&mut self, name: &str) -> wasmtime::Result<()> {
        self.instance.resource(name, ResourceType::host::<R>(), |_, _| Ok(()))
    }
}

/// Why a value of a metric is not taken.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
enum PutError {
    #[component(name = "invalid-metric")]
    InvalidMetric,
    #[component(name = "invalid-dimensions")]
    InvalidDimensions,
    #[component(name = "invalid-value")]
    InvalidValue,
    #[component(name = "too-many")]
    TooMany,
}

/// A metric's name, its dimensions and a value.
type Put = (String, Vec<(String, String)>, f64);

fn link_metrics<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    let mut custom = Absent::new(linker, ("skiff:metrics/custom", "0.1.0"), refuse)?;
    custom.function::<Put, (Result<(), PutError>,)>("put")
}

/// Of `skiff:events` and `skiff:queues` alike.
#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum ServiceError {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "no-such")]
    NoSuch(String),
    #[component(name = "busy")]
    Busy(String),
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "failed")]
    Failed(String),
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Event {
    #[component(name = "id")]
    id: Option<String>,
    #[component(name = "source")]
    source: String,
    #[component(name = "detail-type")]
    detail_type: String,
    #[component(name = "subject")]
    subject: Option<String>,
    #[component(name = "time-ms")]
    time_ms: Option<u64>,
    #[component(name = "detail")]
    detail: String,
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Message {
    #[component(name = "body")]
    body: Vec<u8>,
    #[component(name = "attributes")]
    attributes: Vec<(String, String)>,
    #[component(name = "delay-ms")]
    delay_ms: Option<u64>,
    #[component(name = "group")]
    group: Option<String>,
    #[component(name = "deduplication-id")]
    deduplication_id: Option<String>,
}

/// Of each message its id, or what is wrong with it.
type SentEach = Vec<Result<String, String>>;

fn link_events<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    let mut bus = Absent::new(linker, ("skiff:events/bus", "0.1.0"), refuse)?;
    bus.function::<(String, Vec<Event>), (Result<(), ServiceError>,)>("put")?;
    let mut producer = Absent::new(linker, ("skiff:queues/producer", "0.1.0"), refuse)?;
    producer.function::<(String, Vec<Message>), (Result<SentEach, ServiceError>,)>("send")
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum TableError {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "no-such")]
    NoSuch(String),
    #[component(name = "conflict")]
    Conflict(Conflicting),
    #[component(name = "busy")]
    Busy(String),
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "failed")]
    Failed(String),
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Conflicting {
    #[component(name = "message")]
    message: String,
    #[component(name = "version")]
    version: Option<u64>,
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Item {
    #[component(name = "value")]
    value: Vec<u8>,
    #[component(name = "version")]
    version: u64,
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Expect {
    #[component(name = "any")]
    Any,
    #[component(name = "absent")]
    Absent,
    #[component(name = "present")]
    Present,
    #[component(name = "version")]
    Version(u64),
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct WriteItem {
    #[component(name = "key")]
    key: String,
    #[component(name = "value")]
    value: Option<Vec<u8>>,
    #[component(name = "expires-in-ms")]
    expires_in_ms: Option<u64>,
    #[component(name = "expect")]
    expect: Expect,
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct Page {
    #[component(name = "items")]
    items: Vec<(String, Item)>,
    #[component(name = "next")]
    next: Option<String>,
}

/// A table, a prefix, after what, and how many.
type Scan = (String, String, Option<String>, u32);

fn link_tables<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    let mut table = Absent::new(linker, ("skiff:tables/table", "0.1.0"), refuse)?;
    table.function::<(String, Vec<String>), (Result<Vec<Option<Item>>, TableError>,)>("get")?;
    table.function::<(String, Vec<WriteItem>), (Result<Vec<u64>, TableError>,)>("write")?;
    table.function::<(String, String, i64), (Result<i64, TableError>,)>("increment")?;
    table.function::<Scan, (Result<Page, TableError>,)>("scan")
}

/// `wasi:keyvalue/store.bucket`.
enum Bucket {}
/// `wasi:keyvalue/atomics.cas`.
enum Cas {}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum StoreError {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    StoreError(StoreError),
    #[component(name = "cas-failed")]
    CasFailed(Resource<Cas>),
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct KeyResponse {
    #[component(name = "keys")]
    keys: Vec<String>,
    #[component(name = "cursor")]
    cursor: Option<String>,
}

/// What may fail as a store does.
type Stored<R> = (Result<R, StoreError>,);
/// Keys with their values, as far as they are there.
type Found = Vec<Option<(String, Vec<u8>)>>;

fn link_keyvalue<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    const VERSION: &str = "0.2.0-draft2";
    type OfKey = (Resource<Bucket>, String);
    let mut store = Absent::new(linker, ("wasi:keyvalue/store", VERSION), refuse)?;
    store.resource::<Bucket>("bucket")?;
    store.function::<(String,), Stored<Resource<Bucket>>>("open")?;
    store.function::<OfKey, Stored<Option<Vec<u8>>>>("[method]bucket.get")?;
    store.function::<(Resource<Bucket>, String, Vec<u8>), Stored<()>>("[method]bucket.set")?;
    store.function::<OfKey, Stored<()>>("[method]bucket.delete")?;
    store.function::<OfKey, Stored<bool>>("[method]bucket.exists")?;
    store.function::<(Resource<Bucket>, Option<String>), Stored<KeyResponse>>("[method]bucket.list-keys")?;
    let mut atomics = Absent::new(linker, ("wasi:keyvalue/atomics", VERSION), refuse)?;
    atomics.resource::<Cas>("cas")?;
    atomics.function::<OfKey, Stored<Resource<Cas>>>("[static]cas.new")?;
    atomics.function::<(Resource<Cas>,), Stored<Option<Vec<u8>>>>("[method]cas.current")?;
    atomics.function::<(Resource<Bucket>, String, i64), Stored<i64>>("increment")?;
    atomics.function::<(Resource<Cas>, Vec<u8>), (Result<(), CasError>,)>("swap")?;
    let mut batch = Absent::new(linker, ("wasi:keyvalue/batch", VERSION), refuse)?;
    batch.function::<(Resource<Bucket>, Vec<String>), Stored<Found>>("get-many")?;
    batch.function::<(Resource<Bucket>, Vec<(String, Vec<u8>)>), Stored<()>>("set-many")?;
    batch.function::<(Resource<Bucket>, Vec<String>), Stored<()>>("delete-many")
}

/// `wasi:blobstore/types.outgoing-value`.
enum OutgoingValue {}
/// `wasi:blobstore/types.incoming-value`.
enum IncomingValue {}
/// `wasi:blobstore/container.container`.
enum Container {}
/// `wasi:blobstore/container.stream-object-names`.
enum ObjectNames {}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct ContainerMetadata {
    #[component(name = "name")]
    name: String,
    #[component(name = "created-at")]
    created_at: u64,
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct ObjectMetadata {
    #[component(name = "name")]
    name: String,
    #[component(name = "container")]
    container: String,
    #[component(name = "created-at")]
    created_at: u64,
    #[component(name = "size")]
    size: u64,
}

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct ObjectId {
    #[component(name = "container")]
    container: String,
    #[component(name = "object")]
    object: String,
}

/// What may fail, with a text that says why.
type Blob<R> = (Result<R, String>,);

fn link_blobstore<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    const VERSION: &str = "0.2.0-draft";
    let mut types = Absent::new(linker, ("wasi:blobstore/types", VERSION), refuse)?;
    types.resource::<OutgoingValue>("outgoing-value")?;
    types.resource::<IncomingValue>("incoming-value")?;
    types.function::<(), (Resource<OutgoingValue>,)>("[static]outgoing-value.new-outgoing-value")?;
    types.function::<(Resource<OutgoingValue>,), (Result<Resource<DynOutputStream>, ()>,)>(
        "[method]outgoing-value.outgoing-value-write-body",
    )?;
    types.function::<(Resource<OutgoingValue>,), Blob<()>>("[static]outgoing-value.finish")?;
    types.function::<(Resource<IncomingValue>,), Blob<Vec<u8>>>(
        "[static]incoming-value.incoming-value-consume-sync",
    )?;
    types.function::<(Resource<IncomingValue>,), Blob<Resource<DynInputStream>>>(
        "[static]incoming-value.incoming-value-consume-async",
    )?;
    types.function::<(Resource<IncomingValue>,), (u64,)>("[method]incoming-value.size")?;
    link_container(linker, refuse)?;
    let mut blobstore = Absent::new(linker, ("wasi:blobstore/blobstore", VERSION), refuse)?;
    blobstore.function::<(String,), Blob<Resource<Container>>>("create-container")?;
    blobstore.function::<(String,), Blob<Resource<Container>>>("get-container")?;
    blobstore.function::<(String,), Blob<()>>("delete-container")?;
    blobstore.function::<(String,), Blob<bool>>("container-exists")?;
    blobstore.function::<(ObjectId, ObjectId), Blob<()>>("copy-object")?;
    blobstore.function::<(ObjectId, ObjectId), Blob<()>>("move-object")
}

fn link_container<T: 'static>(linker: &mut Linker<T>, refuse: Refuse) -> wasmtime::Result<()> {
    type Itself = (Resource<Container>,);
    type OfObject = (Resource<Container>, String);
    let mut container = Absent::new(linker, ("wasi:blobstore/container", "0.2.0-draft"), refuse)?;
    container.resource::<Container>("container")?;
    container.resource::<ObjectNames>("stream-object-names")?;
    container.function::<Itself, Blob<String>>("[method]container.name")?;
    container.function::<Itself, Blob<ContainerMetadata>>("[method]container.info")?;
    container.function::<(Resource<Container>, String, u64, u64), Blob<Resource<IncomingValue>>>(
        "[method]container.get-data",
    )?;
    container.function::<(Resource<Container>, String, Resource<OutgoingValue>), Blob<()>>(
        "[method]container.write-data",
    )?;
    container.function::<Itself, Blob<Resource<ObjectNames>>>("[method]container.list-objects")?;
    container.function::<OfObject, Blob<()>>("[method]container.delete-object")?;
    container.function::<(Resource<Container>, Vec<String>), Blob<()>>("[method]container.delete-objects")?;
    container.function::<OfObject, Blob<bool>>("[method]container.has-object")?;
    container.function::<OfObject, Blob<ObjectMetadata>>("[method]container.object-info")?;
    container.function::<Itself, Blob<()>>("[method]container.clear")?;
    container.function::<(Resource<ObjectNames>, u64), Blob<(Vec<String>, bool)>>(
        "[method]stream-object-names.read-stream-object-names",
    )?;
    container.function::<(Resource<ObjectNames>, u64), Blob<(u64, bool)>>(
        "[method]stream-object-names.skip-stream-object-names",
    )
}
