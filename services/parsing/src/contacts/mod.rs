//! People across all tasks of a workspace.

pub mod entity;
pub mod store;
