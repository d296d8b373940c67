//! How a service is called: `name.namespace[@cluster][:port]`.

use std::{fmt, sync::Arc};

/// A service's name without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// The first part.
    pub name: Arc<str>,
    /// The second part.
    pub namespace: Arc<str>,
    /// Where several clusters are known.
    pub cluster: Option<Arc<str>>,
}

/// What a caller asks for: a service, and a port where it has several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRef {
    /// Which service.
    pub service: ServiceName,
    /// Which of its ports; none where there is just one.
    pub port: Option<PortRef>,
}

/// A port by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    /// Such as `grpc`.
    Name(Arc<str>),
    /// Such as 8080.
    Number(u16),
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)?;
        if let Some(cluster) = &self.cluster {
            write!(f, "@{cluster}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        match &self.port {
            Some(PortRef::Name(name)) => write!(f, ":{name}"),
            Some(PortRef::Number(number)) => write!(f, ":{number}"),
            None => Ok(()),
        }
    }
}
