//! Audiences: files of people, and how people come into the database.

pub mod entity;
pub mod import;
pub mod store;
