//! How far the sources have read what they read from.
//!
//! A control plane tells its clients, so that one that moves to another control plane knows whether that one has read
//! less. Two numbers are needed for it. What a source has read up to says little of what it has seen: if nothing
//! changes, one that listed later, or was told of others' changes later, has the higher number. So the newest change
//! that one source has seen is compared with what the other has read up to.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::change::SourceId;

/// The longest text of a progress, in bytes, which comes from the network. One origin with four kinds has 250.
const LONGEST: usize = 4096;

/// How far somebody has read, by origin and kind: `ORIGIN/endpointslices=456:440,ORIGIN/services=456:123`. An origin
/// is what counts the versions, such as a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress(BTreeMap<String, Versions>);

/// The versions of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// All changes up to this one were read.
    pub read: u64,
    /// The newest change that was seen.
    pub changed: u64,
}

/// The progress of each source, as sources report it.
#[derive(Debug, Default)]
pub struct Progresses {
    all: Mutex<BTreeMap<SourceId, OfSource>>,
    /// The number of sources that are telling something now.
    telling: watch::Sender<usize>,
}

/// A source tells the catalog something that it has read, and has not reported yet how far it has read.
#[derive(Debug)]
pub struct Telling<'a>(&'a watch::Sender<usize>);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|telling| *telling -= 1);
    }
}

#[derive(Debug)]
struct OfSource {
    origin: Arc<str>,
    kinds: BTreeMap<&'static str, Versions>,
}

impl Progress {
    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the other one has seen a change that this one has not read. Two that do not have the same origins and
    /// kinds can't be compared: then it is not behind.
    pub fn is_behind(&self, other: &Self) -> bool {
        let mut both = self.0.values().zip(other.0.values());
        self.can_be_compared(other) && both.any(|(own, other)| own.read < other.changed)
    }

    /// What somebody knows by now who knew this and has read the other one, which is not behind.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        if !self.can_be_compared(&other) {
            return other;
        }
        for (own, other) in self.0.values_mut().zip(other.0.into_values()) {
            own.read = own.read.max(other.read);
            own.changed = own.changed.max(other.changed);
        }
        self
    }

    fn can_be_compared(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl FromStr for Progress {
    type Err = ();

    /// Err: it is the version of another kind of server, which can't be compared.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(());
        }
        let part = |part: &str| {
            let (key, versions) = part.split_once('=')?;
            let (read, changed) = versions.split_once(':')?;
            let versions = Versions { read: read.parse().ok()?, changed: changed.parse().ok()? };
            key.contains('/').then_some((key.to_owned(), versions))
        };
        text.split(',').map(part).collect::<Option<_>>().map(Self).ok_or(())
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, Versions { read, changed })) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "," };
            write!(f, "{separator}{key}={read}:{changed}")?;
        }
        Ok(())
    }
}

impl Progresses {
    /// The catalog has all changes of this kind up to these versions. Those of another origin of the source count no
    /// longer.
    pub fn report(
        &self,
        source: SourceId,
        origin: &Arc<str>,
        kind: &'static str,
        versions: Versions,
    ) {
        let mut all = self.all();
        let new = || OfSource { origin: origin.clone(), kinds: BTreeMap::new() };
        let of_source = all.entry(source).or_insert_with(new);
        if of_source.origin != *origin {
            *of_source = new();
        }
        of_source.kinds.insert(kind, versions);
    }

    /// A source begins to tell something. It reports before it drops this. Meanwhile nobody should pass on what the
    /// catalog has: it may be a part, and its version is not known.
    pub fn telling(&self) -> Telling<'_> {
        self.telling.send_modify(|telling| *telling += 1);
        Telling(&self.telling)
    }

    /// Whether no source is telling anything.
    pub fn is_settled(&self) -> bool {
        *self.telling.borrow() == 0
    }

    /// Waits for a moment in which no source is telling anything.
    pub async fn settled(&self) {
        // The sender is here, so that this can't fail.
        self.telling.subscribe().wait_for(|telling| *telling == 0).await.ok();
    }

    /// That of all sources together.
    pub fn now(&self) -> Progress {
        let all = self.all();
        let of_source = |OfSource { origin, kinds }: &OfSource| {
            let of_kind =
                |(kind, versions): (&&str, &Versions)| (format!("{origin}/{kind}"), *versions);
            kinds.iter().map(of_kind).collect::<Vec<_>>()
        };
        Progress(all.values().flat_map(of_source).collect())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SourceId, OfSource>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(text: &str) -> Progress {
        text.parse().unwrap()
    }

    #[test]
    fn it_reads_back_as_it_is_written_and_other_versions_are_none() {
        for text in ["a/x=1:0", "a/x=1:1,a/y=18446744073709551615:5,b/x=0:0"] {
            assert_eq!(progress(text).to_string(), text);
        }
        let long = format!("a/{}=1:1", "x".repeat(LONGEST));
        for other in
            ["", "version-1", "1", "a=1:1", "a/x=1", "a/x=:", "a/x=-1:1", "a/x=1:1,", &long]
        {
            assert_eq!(other.parse::<Progress>(), Err(()), "{other}");
        }
    }

    #[test]
    fn who_has_not_read_a_change_that_the_other_has_seen_is_behind() {
        let behind = |one: &str, other: &str| progress(one).is_behind(&progress(other));
        assert!(behind("a/x=7:5,a/y=9:9", "a/x=9:8,a/y=9:9"));
        assert!(behind("a/x=9:9,a/y=8:8", "a/x=5:5,a/y=9:9"), "in one kind");
        assert!(!behind("a/x=8:5,a/y=9:9", "a/x=8:8,a/y=9:9"));
        assert!(!behind("a/x=5:5", "a/x=100:5"), "nothing changed since, as the other one knows");
        assert!(!behind("b/x=1:1", "a/x=2:2"), "another origin");
        assert!(!behind("a/x=1:1", "a/x=2:2,a/y=9:9"), "other kinds");
        assert!(!behind("a/x=1:1,a/y=1:1", "a/x=2:2"), "other kinds");
    }

    #[test]
    fn what_was_seen_at_one_server_counts_at_the_next() {
        let with = |one: &str, other: &str| progress(one).with(progress(other)).to_string();
        assert_eq!(with("a/x=5:5", "a/x=9:4"), "a/x=9:5", "it listed after a deletion");
        assert_eq!(with("a/x=5:5", "a/x=6:6"), "a/x=6:6");
        assert_eq!(with("a/x=5:5", "b/x=1:1"), "b/x=1:1");
        assert_eq!(Progress::default().with(progress("b/x=1:1")).to_string(), "b/x=1:1");
    }

    #[test]
    fn a_source_reports_for_one_origin() {
        let all = Progresses::default();
        assert!(all.now().is_empty());
        let report = |source, origin: &str, kind, read| {
            let versions = Versions { read, changed: 1 };
            all.report(SourceId(source), &origin.into(), kind, versions);
        };
        report(0, "a", "x", 5);
        report(0, "a", "y", 7);
        report(1, "b", "x", 1);
        report(0, "a", "x", 6);
        assert_eq!(all.now().to_string(), "a/x=6:1,a/y=7:1,b/x=1:1");
        report(0, "c", "x", 2);
        assert_eq!(all.now().to_string(), "b/x=1:1,c/x=2:1");
    }

    #[test]
    fn nobody_passes_on_what_is_being_told() {
        let all = Progresses::default();
        let (one, other) = (all.telling(), all.telling());
        drop(one);
        assert!(!all.is_settled());
        drop(other);
        assert!(all.is_settled());
    }
}
