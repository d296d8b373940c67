//! The services file that the agents of the demo read, as anybody would write it.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::scene::{BACK_ENDS, ZONES};

/// The file, rewritten at each change of the members.
pub(crate) struct Services {
    path: PathBuf,
    random: bool,
    addresses: Vec<SocketAddr>,
}

impl Services {
    /// `addresses` by number of the back-end. `random`: the agents choose at random.
    pub(crate) fn new(folder: &Path, random: bool, addresses: Vec<SocketAddr>) -> Self {
        Self { path: folder.join("services.yaml"), random, addresses }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts these members in, at once for who reads it: written beside, then renamed over.
    pub(crate) fn write(&self, members: &[usize]) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        fs::write(&beside, self.yaml(members))?;
        fs::rename(beside, &self.path)
    }

    fn yaml(&self, members: &[usize]) -> String {
        let mut yaml = String::from("services:\n  - name: orders.demo\n");
        if self.random {
            yaml.push_str("    policy:\n      strategy: random\n");
        }
        yaml.push_str("    endpoints:\n");
        for &member in members {
            let zone = ZONES[BACK_ENDS[member].zone];
            _ = writeln!(yaml, "      - {{ address: {}, zone: {zone} }}", self.addresses[member]);
        }
        yaml
    }
}
