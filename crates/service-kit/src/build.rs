//! Which build this is.

/// The version and the commit, such as `0.1.0+3f2a9c1`. Shown in health, logs,
/// and answers' headers, so that a fix that was never deployed can be seen.
pub const ID: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("TGMESH_COMMIT"));
