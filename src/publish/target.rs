//! The target of a table.

use std::sync::Arc;

use crate::catalog::{Labels, ServiceName};

/// One port of a service, narrowed by labels: each target has its own table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub service: ServiceName,
    /// The port, by name and number as the source gives them.
    pub port: (Option<Arc<str>>, Option<u16>),
    /// Only endpoints with all of these labels belong to the target.
    pub selector: Labels,
    pub way: TargetKind,
}

/// What the picks of a table lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// The endpoints of the service.
    #[default]
    Balanced,
    /// The virtual IP of the service, as its only endpoint. Requests that are not balanced then
    /// have leases, counts and latencies like all others.
    VirtualIp,
}

impl Target {
    /// The port of the service at its virtual IP. None: it has no number, or the target has a label
    /// selector, which a virtual IP can't serve, since it stands for all endpoints.
    pub fn virtual_port(&self) -> Option<u16> {
        self.port.1.filter(|_| self.selector.is_empty())
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.service)?;
        match &self.port {
            (Some(name), _) => write!(f, ":{name}")?,
            (None, Some(number)) => write!(f, ":{number}")?,
            (None, None) => {}
        }
        for (key, value) in &self.selector {
            write!(f, " {key}={value}")?;
        }
        if self.way == TargetKind::VirtualIp {
            f.write_str(" by its virtual IP")?;
        }
        Ok(())
    }
}
