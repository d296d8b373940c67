//! The services file that the demo's agents read. It is an ordinary one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use humantime::format_rfc3339_seconds;

use super::scenario::{AT_START, BACK_ENDS, SERVICE, ZONES};
use crate::clock;

/// The file. Each change of the members rewrites it.
pub(crate) struct ServicesFile {
    path: PathBuf,
    random: bool,
    addresses: Vec<SocketAddr>,
    /// When the back-ends that were added later became ready.
    ready_since: BTreeMap<usize, String>,
}

impl ServicesFile {
    /// `addresses` has an entry for each back-end. With `random` the agents choose at random.
    pub(crate) fn new(folder: &Path, random: bool, addresses: Vec<SocketAddr>) -> Self {
        let path = folder.join("services.yaml");
        Self { path, random, addresses, ready_since: BTreeMap::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes these members to a new file, then renames it over the old one, so that a reader sees either
    /// the old or the new file.
    pub(crate) fn write(&mut self, members: &[usize]) -> io::Result<()> {
        for &added in members.iter().filter(|&&member| member >= AT_START) {
            let now = || format_rfc3339_seconds(clock::wall()).to_string();
            self.ready_since.entry(added).or_insert_with(now);
        }
        let beside = self.path.with_extension("new");
        fs::write(&beside, self.yaml(members))?;
        fs::rename(beside, &self.path)
    }

    fn yaml(&self, members: &[usize]) -> String {
        let mut yaml = format!("services:\n  - name: {SERVICE}\n");
        if self.random {
            yaml.push_str("    policy:\n      strategy: random\n");
        }
        yaml.push_str("    endpoints:\n");
        for member in members {
            let (address, zone) = (self.addresses[*member], ZONES[BACK_ENDS[*member].zone]);
            _ = write!(yaml, "      - {{ address: \"{address}\", zone: {zone}");
            if let Some(since) = self.ready_since.get(member) {
                _ = write!(yaml, ", ready_since: {since}");
            }
            yaml.push_str(" }\n");
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file;

    #[test]
    fn the_file_is_one_that_an_agent_takes() {
        let folder = tempfile::tempdir().unwrap();
        let addresses = (0..10).map(|port| SocketAddr::from(([127, 0, 0, 1], 9000 + port)));
        let mut services = ServicesFile::new(folder.path(), true, addresses.collect());
        services.write(&[0, 9]).unwrap();
        let first = services.yaml(&[0, 9]);
        services.write(&[0, 9]).unwrap();
        assert_eq!(services.yaml(&[0, 9]), first, "an endpoint is not new again at each writing");
        assert_eq!(fs::read_to_string(services.path()).unwrap(), first);

        let value: serde_json::Value = serde_saphyr::from_str(&first).unwrap();
        let schema = jsonschema::validator_for(&file::schema()).unwrap();
        schema.validate(&value).unwrap();
    }
}
