//! Keeps one copy of strings that repeat (zones, nodes, labels): 100,000 endpoints name three zones.

use std::{collections::HashSet, sync::Arc};

use super::{
    model::{Endpoint, Hints, Labels, Port, Service},
    name::ServiceName,
};

/// Fewer strings than this are not worth a sweep.
const SWEEP_FROM: usize = 4096;

/// The strings and label sets in use, each once.
#[derive(Debug)]
pub(crate) struct Interner {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Arc<Labels>>,
    hints: HashSet<Arc<Hints>>,
    sweep_at: usize,
}

impl Interner {
    pub(crate) fn new() -> Self {
        Self {
            texts: HashSet::new(),
            labels: HashSet::new(),
            hints: HashSet::new(),
            sweep_at: SWEEP_FROM,
        }
    }

    /// Makes the service share its strings with other services.
    pub(super) fn share(&mut self, service: &mut Service) {
        self.text(&mut service.name.namespace);
        self.text(&mut service.source);
        for port in &mut service.ports {
            self.share_port(port);
        }
        self.sweep();
    }

    /// Makes the name share its namespace with other names.
    pub(super) fn share_name(&mut self, name: &mut ServiceName) {
        self.text(&mut name.namespace);
    }

    /// Makes the port's endpoints share their strings with other endpoints.
    pub(crate) fn share_port(&mut self, port: &mut Port) {
        self.optional(&mut port.name);
        // A source that keeps its services has shared them before. A copy would take the memory
        // twice.
        if port.endpoints.iter().all(|endpoint| self.is_shared(endpoint)) {
            return;
        }
        for endpoint in Arc::make_mut(&mut port.endpoints) {
            self.optional(&mut endpoint.region);
            self.optional(&mut endpoint.zone);
            self.optional(&mut endpoint.node);
            self.optional(&mut endpoint.server_name);
            self.label_set(&mut endpoint.labels);
            if let Some(hints) = &mut endpoint.hints {
                match self.hints.get(hints) {
                    Some(known) => hints.clone_from(known),
                    None => {
                        self.hints.insert(hints.clone());
                    }
                }
            }
        }
    }

    /// Makes these labels share with equal ones, and their texts with others.
    pub(crate) fn share_labels(&mut self, labels: &mut Arc<Labels>) {
        self.label_set(labels);
        self.sweep();
    }

    fn is_shared(&self, endpoint: &Endpoint) -> bool {
        let Endpoint { region, zone, node, server_name, labels, hints, .. } = endpoint;
        [region, zone, node, server_name]
            .into_iter()
            .flatten()
            .all(|text| self.texts.get(text).is_some_and(|known| Arc::ptr_eq(known, text)))
            && self.labels.get(labels).is_some_and(|known| Arc::ptr_eq(known, labels))
            && hints
                .iter()
                .all(|hints| self.hints.get(hints).is_some_and(|known| Arc::ptr_eq(known, hints)))
    }

    fn label_set(&mut self, labels: &mut Arc<Labels>) {
        if let Some(known) = self.labels.get(labels) {
            labels.clone_from(known);
            return;
        }
        let shared: Labels = labels
            .iter()
            .map(|(key, value)| {
                let (mut key, mut value) = (key.clone(), value.clone());
                self.text(&mut key);
                self.text(&mut value);
                (key, value)
            })
            .collect();
        *labels = Arc::new(shared);
        self.labels.insert(labels.clone());
    }

    fn optional(&mut self, text: &mut Option<Arc<str>>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn text(&mut self, text: &mut Arc<str>) {
        match self.texts.get(text) {
            Some(known) => text.clone_from(known),
            None => {
                self.texts.insert(text.clone());
            }
        }
    }

    /// Drops unused strings (every roll-out brings a new `pod-template-hash`).
    fn sweep(&mut self) {
        if self.texts.len() + self.labels.len() + self.hints.len() < self.sweep_at {
            return;
        }
        self.hints.retain(|hints| Arc::strong_count(hints) > 1);
        self.labels.retain(|labels| Arc::strong_count(labels) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.sweep_at =
            (2 * (self.texts.len() + self.labels.len() + self.hints.len())).max(SWEEP_FROM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_any_more_is_dropped() {
        let mut interner = Interner::new();
        let mut kept: Arc<str> = "zone-a".into();
        interner.text(&mut kept);
        for n in 0..SWEEP_FROM {
            interner.text(&mut Arc::from(format!("pod-{n}")));
        }
        interner.sweep();
        assert_eq!(interner.texts.len(), 1);
        assert!(interner.texts.contains("zone-a"));
    }
}
