//! The state that the admin pages show.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    catalog::Catalog,
    publish::Tables,
    serve::{Agent, metrics::Series},
};

#[derive(Clone)]
pub struct AdminState {
    /// The state of the calls.
    pub agent: Arc<Agent>,
    pub tables: Tables,
    /// The sources with their status.
    pub sources: Vec<Arc<dyn Source>>,
    /// Whether the socket takes calls.
    pub listening: watch::Receiver<bool>,
    /// The agent's options as text: each setting and its value.
    pub settings: Vec<(&'static str, String)>,
    /// The optional metrics.
    pub series: Series,
}

/// A running source of any kind.
pub trait Source: Send + Sync {
    /// Its name, as in the catalog.
    fn name(&self) -> String;
    /// It has been read well at least once.
    fn synced(&self) -> bool;
    /// The current problems. Until they are mended, what was last good is served.
    fn problems(&self) -> Vec<String>;
}

impl AdminState {
    /// What the agent waits for before it is ready.
    pub(super) fn missing(&self) -> Vec<String> {
        let sources = unanswered(self.agent.resolver().catalog(), &self.sources);
        let silent = !*self.listening.borrow();
        let socket = silent.then(|| "the socket does not take calls".to_owned());
        sources.into_iter().chain(socket).collect()
    }
}

/// The sources that have not answered yet, each with its problems.
pub fn unanswered(catalog: &Catalog, sources: &[Arc<dyn Source>]) -> Vec<String> {
    let line = |name: Arc<str>| {
        let source = sources.iter().find(|source| source.name() == *name);
        let problems = source.map(|source| source.problems()).unwrap_or_default();
        match problems.is_empty() {
            true => format!("no answer so far from {name}"),
            false => format!("no answer so far from {name}: {}", problems.join("; ")),
        }
    };
    catalog.unsynced().into_iter().map(line).collect()
}
