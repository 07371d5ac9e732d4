//! Audiences: files of people, and how people come into the database.
//!
//! `decode`, `records` and `file` are pure: bytes in pieces go in, rows come
//! out, and nothing grows with the file.

pub mod decode;
pub mod entity;
pub mod file;
pub mod import;
pub mod records;
pub mod same;
pub mod store;
pub mod task;
pub mod upload;
