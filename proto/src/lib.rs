//! The contracts of tgmesh: messages, clients and servers of every package, the
//! descriptor set behind reflection, the rules that the contracts state about
//! themselves, and the error catalogue.
//!
//! Everything here is generated from the files under `tgmesh/`. Requests are
//! validated by the codec that the generated servers use, so a handler never
//! sees a request that breaks a rule of its contract.

// Generated code is not held to our lints; the written modules turn them on again.
#![expect(clippy::all, clippy::allow_attributes, reason = "most of this crate is generated")]

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

pub mod codec;
pub mod methods;
pub mod shortage;
pub mod status;
pub mod validate;

mod generated {
    use crate::validate::{Rules, Validate, Violations, check};
    include!(concat!(env!("OUT_DIR"), "/validation.rs"));
    include!(concat!(env!("OUT_DIR"), "/reasons.rs"));
}

pub use error::v1::ErrorReason;
pub use methods::{Caller, METHODS, MethodInfo};
pub use validate::{Validate, Violations};

/// A request that can be repeated under its id.
pub trait WithRequestId {
    /// The id: a UUID, by the rules of the contract.
    fn request_id(&self) -> &str;
}

/// The encoded `FileDescriptorSet` of all contracts with their imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
