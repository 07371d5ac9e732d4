//! What tasks found.

pub mod entity;
pub mod store;
pub mod stream;
