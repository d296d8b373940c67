//! The name of the driver.

/// As pods' volumes and the `CSIDriver` object have it.
pub const DRIVER: &str = "csi.pointsman.dev";
