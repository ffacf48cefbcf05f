//! What keeps tables, objects, messages and events: opened before all that puts anything in, closed after.
//!
//! Each has files of its own in the data folder. It deliberately knows nothing of what they are called by: names, roles and rules are
//! `control`'s. The S3 endpoint is a door to the buckets, with a listener of its own.

use anyhow::Context;
use skiff_cli::UpArgs;
use skiff_control::Handle;
use skiff_data::buckets::{self, BlobsConfig, Buckets};
use skiff_data::s3;
use skiff_data::tables::{self, Tables};
use skiff_events::buses::{self, Buses};
use skiff_events::queues::{self, Queues};
use skiff_kit::Drain;
use skiff_kit::clock::SystemClock;
use skiff_kit::random::{PooledRandom, SharedRandom};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The domain below which a bucket's name may stand in the host of a request, for clients that put it there.
const S3_DOMAIN: &str = "s3.localhost";
/// How long deliveries and requests may go on once the workers have ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The engines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engines {
    pub(crate) tables: Tables,
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) buses: Buses,
    /// The S3 endpoint, once it answers; never where it is off.
    pub(crate) s3: Arc<OnceLock<s3::Handle>>,
    drain: Drain,
}

impl Engines {
    /// Opens them in the data folder.
    pub(crate) fn open(args: &UpArgs, data: &Path) -> anyhow::Result<Self> {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(PooledRandom));
        let tables = Tables::open(&data.join("tables.db"), tables::Deps { clock: clock.clone() })
            .context("the tables can't be used")?;
        let blobs = match &args.blobs {
            None => BlobsConfig::Folder(data.join("blobs")),
            Some(url) => BlobsConfig::Url {
                url: url.to_string(),
                options: args.blob_options.iter().cloned().collect(),
            },
        };
        let config = buckets::Config { database: data.join("buckets.db"), blobs };
        let deps = buckets::Deps { clock: clock.clone(), random: random.clone() };
        let buckets = Arc::new(Buckets::open(config, deps).context("the buckets can't be used")?);
        let queues = Arc::new(
            Queues::open(
                queues::Config::new(data.join("queues")),
                queues::Deps { clock: clock.clone(), random: random.clone() },
            )
            .context("the queues can't be used")?,
        );
        let buses = Buses::open(
            buses::Config { folder: data.join("buses"), limits: buses::Limits::default() },
            buses::Deps { clock, random: SharedRandom::new(random) },
        )
        .context("the buses can't be used")?;
        Ok(Self { tables, buckets, queues, buses, s3: Arc::default(), drain: Drain::default() })
    }

    /// Begins to deliver events, and to answer by S3 at `listener`, if there is one.
    pub(crate) fn serve(&self, control: &Handle, listener: Option<TcpListener>) -> anyhow::Result<()> {
        self.buses.start(control.targets(), &self.drain);
        if let Some(listener) = listener {
            let access = Arc::new(control.access());
            let config = s3::Config {
                listener: tokio::net::TcpListener::from_std(listener)?,
                domain: Some(S3_DOMAIN.to_owned()),
                region: s3::DEFAULT_REGION.to_owned(),
                limits: s3::Limits::default(),
            };
            let deps = s3::Deps {
                buckets: self.buckets.clone(),
                catalog: control.catalog(),
                authorizer: access.clone(),
                keys: access,
                random: Arc::new(PooledRandom),
            };
            let started = s3::start(config, deps, &self.drain).context("the S3 endpoint can't be started")?;
            // It is started once.
            let _ = self.s3.set(started);
        }
        Ok(())
    }

    /// Lets what is under way end within a bound, and closes the files.
    pub(crate) async fn stop(&self) {
        if !self.drain.finish(DRAIN_TIMEOUT).await {
            tracing::warn!(
                "not all deliveries and requests by S3 ended in time; deliveries are made again at the next start"
            );
        }
        self.buses.close().await;
        self.queues.close().await;
        let closed = [
            ("buckets", self.buckets.close().await.map_err(|error| error.to_string())),
            ("tables", self.tables.close().await.map_err(|error| error.to_string())),
        ];
        for (what, result) in closed {
            if let Err(error) = result {
                tracing::error!(%error, "the {what} could not be closed in order; nothing that was acknowledged is lost");
            }
        }
    }
}
