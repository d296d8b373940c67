//! What a table is made for.

use std::sync::Arc;

use crate::catalog::{Labels, ServiceName};

/// What a table is made for: one port of a service, narrowed by labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which service.
    pub service: ServiceName,
    /// Which of its ports, by name and number as the source gives them.
    pub port: (Option<Arc<str>>, Option<u16>),
    /// Only endpoints with all of these labels.
    pub selector: Labels,
    /// What is picked from.
    pub way: TargetKind,
}

/// What a table's picks lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// Endpoints.
    #[default]
    Balanced,
    /// The service's virtual IP, as its only endpoint: requests that are not to be balanced have
    /// their leases, counts and latencies like all others.
    VirtualIp,
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
