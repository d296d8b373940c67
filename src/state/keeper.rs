//! Loads the state at the start, and writes it when something changes.
//!
//! A thread of its own writes, never one that answers picks. Only the agent that holds the socket's
//! lock writes; one that hands over [stops](Keeper::stand_back) first.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::{debug, info, warn};

use super::{
    file,
    judgements::{self, Moment},
    locality, record, services,
};
use crate::{catalog::Catalog, publish::Tables};

/// Changes within this time are written together. Range 0.1 s to 1 min. A longer one loses more at
/// a power loss; a shorter one writes more often during a roll-out of every service.
pub const COALESCE: Duration = Duration::from_secs(1);

/// How often to write without changes, to record that the sources still confirm the services. Half
/// of the time after which a service is stale.
pub const CONFIRM_EVERY: Duration = Duration::from_secs(300);

/// Where the state comes from, and where it is restored to.
#[derive(Clone, Debug)]
pub struct Origins {
    /// The sources as they are configured, in their order.
    pub sources: Vec<String>,
    /// The services.
    pub catalog: Arc<Catalog>,
    /// The outlier states.
    pub tables: Tables,
}

impl Origins {
    /// The record of everything that outlives the agent.
    #[must_use]
    pub fn record(&self) -> record::State {
        let kept = self.catalog.last_good();
        let mut state = services::write(&kept, &self.sources, crate::clock::wall());
        state.judgements = self.judgements();
        state.place = locality::write(&self.tables.locality());
        state
    }

    /// The record of the outlier states.
    #[must_use]
    pub fn judgements(&self) -> Vec<record::Judgement> {
        judgements::write(&self.tables.judgements(), Moment::read())
    }

    /// Restores outlier states to the tables.
    ///
    /// # Errors
    /// The record is invalid.
    pub fn remember(&self, written: &[record::Judgement]) -> Result<(), record::InvalidRecord> {
        self.tables.remember(judgements::read(written, Moment::read())?);
        Ok(())
    }

    /// Counters of changes of the services and of the outlier states.
    fn changes(&self) -> (u64, u64) {
        (*self.catalog.changes().borrow(), *self.tables.judged().borrow())
    }

    /// Restores a record to the catalog and the tables.
    fn take_in(&self, state: &record::State) -> Result<usize, record::InvalidRecord> {
        let services = services::read(state, &self.sources)?;
        self.remember(&state.judgements)?;
        if let Some(found) = locality::read(state.place.as_ref(), &self.tables.locality()) {
            self.tables.locate(found);
        }
        let count = services.len();
        let Moment { now, wall } = Moment::read();
        self.catalog.restore(services, wall, now);
        Ok(count)
    }
}

/// Keeps the state of one folder; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    origins: Origins,
    /// The counters of changes when the state was loaded.
    loaded: (u64, u64),
    /// Locked during a write.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    stands_back: bool,
    /// The last failure that was logged.
    logged: Option<String>,
}

impl Keeper {
    /// Loads the state of an earlier agent. An invalid one is logged, and the agent starts without
    /// it.
    #[must_use]
    pub fn load(folder: &Path, origins: Origins) -> Self {
        let path = folder.join(file::NAME);
        let loaded = file::read(folder).and_then(|state| match state {
            Some(state) => (origins.take_in(&state).map(Some))
                .map_err(|error| file::ReadError::Damaged(error.to_string())),
            None => Ok(None),
        });
        match loaded {
            Ok(Some(services)) => {
                info!(services, path = %path.display(), "serving the services last known good");
            }
            Ok(None) => debug!(path = %path.display(), "no state of an earlier agent"),
            Err(error) => {
                warn!(
                    "state {}: {error}; starting without it, and writing a new one",
                    path.display()
                )
            }
        }
        let loaded = origins.changes();
        let (folder, writing) = (folder.to_owned(), Mutex::default());
        Self { shared: Arc::new(Shared { folder, origins, loaded, writing }) }
    }

    /// Writes after every change, forever.
    pub async fn run(&self) {
        let Origins { catalog, tables, .. } = &self.shared.origins;
        let (mut known, mut judged) = (catalog.changes(), tables.judged());
        if self.shared.origins.changes() != self.shared.loaded {
            known.mark_changed();
        }
        loop {
            tokio::select! {
                // `self` owns both senders, so waiting can't fail.
                _ = known.changed() => tokio::time::sleep(COALESCE).await,
                _ = judged.changed() => tokio::time::sleep(COALESCE).await,
                () = tokio::time::sleep(CONFIRM_EVERY) => {}
            }
            known.mark_unchanged();
            judged.mark_unchanged();
            let keeper = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || keeper.write()).await {
                warn!(%error, "the state could not be written");
            }
        }
    }

    /// Writes the current state, unless another agent writes.
    pub fn write(&self) {
        let Shared { folder, origins, writing, .. } = &*self.shared;
        let mut writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.stands_back {
            return;
        }
        let failure = file::write(folder, &origins.record()).err().map(|error| error.to_string());
        if failure != writing.logged {
            match &failure {
                Some(error) => warn!(
                    "the state can't be written, so a restart would begin with an earlier state: \
                     {error}"
                ),
                None => info!("the state is written again"),
            }
        }
        writing.logged = failure;
    }

    /// Stops writing, and waits for a running write.
    pub fn stand_back(&self) {
        self.set(true);
    }

    /// Resumes writing.
    pub fn carry_on(&self) {
        self.set(false);
    }

    fn set(&self, stands_back: bool) {
        let mut writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.stands_back = stands_back;
    }
}
