//! Text for people: lines and tables, in colour where a terminal shows it.
//!
//! - [`style`]: what stands out, and how
//! - [`page`]: lines of text; [`table`]: aligned columns

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

pub mod page;
pub mod style;
pub mod table;

pub use page::Page;
pub use table::{Align, Cell, Table};
