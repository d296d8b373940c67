//! Which control plane a source follows: the text after `xds:`.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::suggest::{did_you_mean, similar};

/// A control plane as a person names it: `unix:///run/pointsman/xds.sock` or `HOST:PORT`, and options
/// behind commas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Where it listens.
    pub address: Address,
    /// The services are the server's clusters, all of them. A control plane of Pointsman names services
    /// by itself; other servers know clusters only.
    pub clusters: bool,
    /// The node's id in requests. None: the node's name.
    pub node_id: Option<String>,
    /// The node's cluster in requests.
    pub node_cluster: Option<String>,
}

/// Where a control plane listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host, which may be a name, and a port.
    Tcp(String),
}

const OPTIONS: [&str; 3] = ["clusters", "node-id", "node-cluster"];

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        let address = Address::read(address).ok_or_else(|| wrong(address, "xds:"))?;
        let mut server = Self { address, clusters: false, node_id: None, node_cluster: None };
        for option in parts {
            match option.split_once('=') {
                Some(("node-id", id)) if !id.is_empty() => server.node_id = Some(id.into()),
                Some(("node-cluster", cluster)) if !cluster.is_empty() => {
                    server.node_cluster = Some(cluster.into());
                }
                None if option == "clusters" => server.clusters = true,
                _ => {
                    let word = option.split('=').next().unwrap_or(option);
                    let hint = did_you_mean(&similar(word, OPTIONS));
                    return Err(format!(
                        "\"{option}\" is not an option of xds{hint}: write clusters, node-id=ID or \
                         node-cluster=NAME, each with a comma before it"
                    ));
                }
            }
        }
        Ok(server)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| wrong(text, ""))
    }
}

impl Address {
    fn read(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let authority = text.parse::<http::uri::Authority>().ok()?;
        let valid =
            !host.is_empty() && port > 0 && !authority.host().is_empty() && !text.contains('@');
        valid.then(|| Self::Tcp(text.to_owned()))
    }
}

/// `prefix`: what an address has before it where it was written.
fn wrong(text: &str, prefix: &str) -> String {
    format!(
        "\"{text}\" is not the address of a control plane: write \
         {prefix}unix:///run/pointsman/xds.sock or {prefix}HOST:PORT"
    )
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xds:{}", self.address)?;
        if self.clusters {
            f.write_str(",clusters")?;
        }
        if let Some(id) = &self.node_id {
            write!(f, ",node-id={id}")?;
        }
        match &self.node_cluster {
            Some(cluster) => write!(f, ",node-cluster={cluster}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reads_back_as_it_is_written() {
        for text in [
            "unix:///run/pointsman/xds.sock",
            "control-plane.pointsman:18000",
            "10.0.0.1:18000,clusters",
            "[fd00::1]:18000,clusters,node-id=a,node-cluster=b",
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), format!("xds:{text}"));
        }
        let short: Server = "unix:/run/xds.sock".parse().unwrap();
        assert_eq!(short.to_string(), "xds:unix:///run/xds.sock");
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        let wrong = |text: &str| text.parse::<Server>().unwrap_err();
        for text in ["", "host", "host:", ":1", "host:0", "host:70000", "unix://xds.sock", "a@b:1"]
        {
            assert!(wrong(text).contains("xds:HOST:PORT"), "{text}: {}", wrong(text));
        }
        let wrong_address = "xds:10.0.0.1:18000".parse::<Address>().unwrap_err();
        assert!(wrong_address.ends_with("write unix:///run/pointsman/xds.sock or HOST:PORT"));
        assert!(wrong("a:1,cluster").contains("did you mean \"clusters\"?"));
        assert!(wrong("a:1,node-id=").contains("node-id=ID"));
    }
}
