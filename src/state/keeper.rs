//! Loads the state at the start, and writes it as things change.
//!
//! Writing is for a thread of its own and never for one that answers picks. Only the agent that
//! holds the socket's lock writes; one that hands over [stands back](Keeper::stand_back) first.

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

/// Changes this far apart are written together. Range 0.1 s to 1 min: what is lost with the
/// machine's power, against what a roll-out of every service makes the disk do.
pub const COALESCE: Duration = Duration::from_secs(1);

/// How often it is written where nothing changed, so that it says until when its sources vouched
/// for it: half of the time after which a service is stale.
pub const CONFIRM_EVERY: Duration = Duration::from_secs(300);

/// What the state is taken from and given to.
#[derive(Clone, Debug)]
pub struct Origins {
    /// The sources as they are configured, in their order.
    pub sources: Vec<String>,
    /// What is known.
    pub catalog: Arc<Catalog>,
    /// Who is put aside.
    pub tables: Tables,
}

impl Origins {
    /// All that outlives the agent, as of now.
    #[must_use]
    pub fn record(&self) -> record::State {
        let kept = self.catalog.last_good();
        let mut state = services::write(&kept, &self.sources, crate::clock::wall());
        state.judgements = self.judgements();
        state.place = locality::write(&self.tables.here());
        state
    }

    /// Who is put aside, as of now.
    #[must_use]
    pub fn judgements(&self) -> Vec<record::Judgement> {
        judgements::write(&self.tables.judgements(), Moment::read())
    }

    /// Gives who is put aside to the tables.
    ///
    /// # Errors
    /// When the record can't be meant so.
    pub fn remember(&self, written: &[record::Judgement]) -> Result<(), record::InvalidRecord> {
        self.tables.remember(judgements::read(written, Moment::read())?);
        Ok(())
    }

    /// Numbers that grow with every change of either.
    fn changes(&self) -> (u64, u64) {
        (*self.catalog.changes().borrow(), *self.tables.judged().borrow())
    }

    /// Gives a record to the catalog and the tables.
    fn take_in(&self, state: &record::State) -> Result<usize, record::InvalidRecord> {
        let services = services::read(state, &self.sources)?;
        self.remember(&state.judgements)?;
        if let Some(here) = locality::read(state.place.as_ref(), &self.tables.here()) {
            self.tables.locate(here);
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
    /// What had changed, of services and of judgements, when the state was loaded.
    loaded: (u64, u64),
    /// Held while it writes.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    stands_back: bool,
    /// What was said of the last failure.
    told: Option<String>,
}

impl Keeper {
    /// Loads what an earlier agent left in the folder; whatever is wrong with it is said, and the
    /// agent goes on without.
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
                info!(services, path = %path.display(), "serving what was last known good");
            }
            Ok(None) => debug!(path = %path.display(), "no state of an earlier agent"),
            Err(error) => {
                warn!("state {}: {error}; starting without it, and writing it anew", path.display())
            }
        }
        let loaded = origins.changes();
        let (folder, writing) = (folder.to_owned(), Mutex::default());
        Self { shared: Arc::new(Shared { folder, origins, loaded, writing }) }
    }

    /// Writes after changes since it was loaded, for ever.
    pub async fn run(&self) {
        let Origins { catalog, tables, .. } = &self.shared.origins;
        let (mut known, mut judged) = (catalog.changes(), tables.judged());
        if self.shared.origins.changes() != self.shared.loaded {
            known.mark_changed();
        }
        loop {
            tokio::select! {
                // Both senders live in `self`, so that waiting can't fail.
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

    /// Writes what is known now, unless another agent does.
    pub fn write(&self) {
        let Shared { folder, origins, writing, .. } = &*self.shared;
        let mut writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.stands_back {
            return;
        }
        let told = file::write(folder, &origins.record()).err().map(|error| error.to_string());
        if told != writing.told {
            match &told {
                Some(error) => warn!(
                    "the state can't be written, and a restart would begin with what was written \
                     last: {error}"
                ),
                None => info!("the state is written again"),
            }
        }
        writing.told = told;
    }

    /// Writes no more, and waits for a write under way.
    pub fn stand_back(&self) {
        self.set(true);
    }

    /// Writes again.
    pub fn carry_on(&self) {
        self.set(false);
    }

    fn set(&self, stands_back: bool) {
        let mut writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.stands_back = stands_back;
    }
}
