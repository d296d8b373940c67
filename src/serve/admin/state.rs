//! What the pages tell of.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    publish::Tables,
    serve::{Agent, metrics::Series},
};

/// What the pages tell of.
#[derive(Clone)]
pub struct AdminState {
    /// The calls and what they know.
    pub agent: Arc<Agent>,
    /// The publishing.
    pub tables: Tables,
    /// The sources and how they fare.
    pub sources: Vec<Arc<dyn Source>>,
    /// Whether the socket takes calls.
    pub listening: watch::Receiver<bool>,
    /// What the agent was told, for a person: each setting and its value.
    pub settings: Vec<(&'static str, String)>,
    /// What is scraped.
    pub series: Series,
}

/// A source that runs, whatever kind it is of.
pub trait Source: Send + Sync {
    /// What it is called, here as in the catalog.
    fn name(&self) -> String;
    /// A read was good at least once.
    fn synced(&self) -> bool;
    /// What is wrong now; what was last good is served until it is mended.
    fn problems(&self) -> Vec<String>;
}

impl AdminState {
    /// What an agent that is not ready waits for.
    pub(super) fn missing(&self) -> Vec<String> {
        let unsynced = self.agent.resolver().catalog().unsynced();
        let sources = unsynced.iter().map(|name| {
            let source = self.sources.iter().find(|source| source.name() == **name);
            let problems = source.map(|source| source.problems()).unwrap_or_default();
            match problems.is_empty() {
                true => format!("no answer so far from {name}"),
                false => format!("no answer so far from {name}: {}", problems.join("; ")),
            }
        });
        let silent = !*self.listening.borrow();
        let socket = silent.then(|| "the socket does not take calls".to_owned());
        sources.chain(socket).collect()
    }
}
