//! The binary `tgmesh`: starts any service or all of them, the emulator, the
//! demo, and the operator's commands. As a library, for the tests: the same
//! functions that the binary calls.

pub mod cli;
pub mod config;
pub mod demo;
pub mod launch;
pub mod local;
pub mod network;

/// Which build this is: the version and the commit, such as `0.1.0+3f2a9c1`;
/// the commit is `unknown` where neither git nor `TGMESH_COMMIT` told it.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("TGMESH_COMMIT"));
