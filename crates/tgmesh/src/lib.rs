//! The binary `tgmesh`: starts any service or all of them, the emulator, the
//! demo, and the operator's commands. As a library, for the tests: the same
//! functions that the binary calls.

pub mod cli;
pub mod config;
pub mod demo;
pub mod launch;
pub mod local;
pub mod network;
