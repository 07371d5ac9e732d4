//! The emulator as a client meets it on the wire, and as a harness controls it.

mod connections;
mod control;
mod members;
mod phones;
mod support;
