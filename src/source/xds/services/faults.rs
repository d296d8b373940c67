//! What is wrong with single resources: the source refused what the control plane sent, or the control plane
//! says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::xds::client::delta::SILENCE;

use super::{
    news::News,
    resource::{Kind, Resource},
};

/// The refused resources that are remembered, for notes and problems.
pub(super) const MOST_REFUSED: usize = 1000;
/// The refused resources that are a problem each. The others are one together.
pub(super) const MOST_PROBLEMS: usize = 32;
/// The finder of that problem.
const MORE: &str = "more";

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The refused resources, and why.
    refused: BTreeMap<Resource, Refusal>,
    /// What was asked for, and the control plane says nothing of.
    silent: BTreeSet<Resource>,
}

#[derive(Debug)]
struct Refusal {
    why: String,
    /// A state from before stays.
    known: bool,
}

impl Faults {
    /// Whether nothing may come of a resource for now.
    pub(super) fn have(&self, resource: &Resource) -> bool {
        self.refused.contains_key(resource) || self.silent.contains(resource)
    }

    pub(super) fn is_refused(&self, resource: &Resource) -> bool {
        self.refused.contains_key(resource)
    }

    /// `known`: a state from before stays.
    pub(super) fn refuse(&mut self, resource: Resource, why: String, known: bool) -> News {
        let again = self.refused.contains_key(&resource);
        let refusal = Refusal { why, known };
        let news = if !again && self.refused.len() >= MOST_PROBLEMS {
            let why =
                format!("more than {MOST_PROBLEMS} resources of the control plane are refused");
            News::Wrong { finder: MORE.into(), why }
        } else {
            let finder = resource.0.shown(&resource.1);
            News::Wrong { finder, why: refusal.described(&resource) }
        };
        if again || self.refused.len() < MOST_REFUSED {
            self.refused.insert(resource, refusal);
        }
        news
    }

    /// A resource is not refused any more.
    pub(super) fn accept(&mut self, resource: &Resource, news: &mut Vec<News>) {
        if self.refused.remove(resource).is_some() {
            news.push(News::Mended { finder: resource.0.shown(&resource.1) });
            if self.refused.len() == MOST_PROBLEMS {
                news.push(News::Mended { finder: MORE.into() });
            }
        }
    }

    /// The control plane says nothing of a resource.
    pub(super) fn silent(&mut self, resource: Resource, news: &mut Vec<News>) {
        if self.silent.len() < MOST_PROBLEMS {
            let what = resource.0.shown(&resource.1);
            news.push(News::Wrong { finder: silence_of(&what), why: says_nothing_of(&what) });
        }
        self.silent.insert(resource);
    }

    /// The control plane has said something of it, or nobody waits for that any more.
    pub(super) fn heard(&mut self, resource: &Resource, news: &mut Vec<News>) {
        if self.silent.remove(resource) {
            news.push(News::Mended { finder: silence_of(&resource.0.shown(&resource.1)) });
        }
    }

    /// What is wrong with a resource, for a person.
    pub(super) fn of(&self, resource: &Resource) -> Option<String> {
        match self.refused.get(resource) {
            Some(refusal) => Some(refusal.described(resource)),
            None if self.silent.contains(resource) => {
                Some(says_nothing_of(&resource.0.shown(&resource.1)))
            }
            None => None,
        }
    }

    #[cfg(test)]
    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }
}

impl Refusal {
    fn described(&self, (kind, name): &(Kind, ::xds::Name)) -> String {
        let instead = match self.known {
            true => "its last good state stays",
            false => "nothing is known of it",
        };
        let what = kind.shown(name);
        format!("the control plane's {what} is refused, and {instead}: {}", self.why)
    }
}

fn silence_of(what: &str) -> Arc<str> {
    format!("silence of {what}").into()
}

fn says_nothing_of(what: &str) -> String {
    format!("the control plane says nothing of {what}, for {} s or more", SILENCE.as_secs())
}
