//! What agents are told: all that the catalog knows.
//!
//! A resource for each namespace names its services and their ports. A port's cluster has the facts of its
//! service as metadata, and its assignment has every eligible endpoint, the unready ones too: an agent
//! decides by itself which of them serve.
//!
//! - [`mod@write`]: the catalog as resources; [`read`]: resources as the catalog has them
//! - [`parts`]: a large assignment in parts

pub mod parts;
pub mod read;
pub mod write;

#[cfg(test)]
mod tests;
