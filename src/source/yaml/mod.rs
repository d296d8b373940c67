//! YAML that a person wrote: a services file, a configuration, manifests.
//!
//! - [`document`]: reads a document with positions; errors name file, line, column and field
//! - [`policy_block`]: the `policy:` block of a file; `policy_schema`: its JSON Schema
//! - `patterns`: regular expressions of names, for the JSON Schemas

pub mod document;
pub(crate) mod patterns;
pub mod policy_block;
mod policy_schema;
