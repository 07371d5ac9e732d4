//! Documents that are generated from the contracts. The generator is a test, so that they cannot grow old.

use crate::command;

/// Writes the documents anew.
///
/// # Errors
/// When the contracts do not build.
pub fn write() -> anyhow::Result<()> {
    let mut test = command::cargo(["test", "--quiet", "--package", "tgmesh-tests", "--test", "generated"]);
    command::run(test.env("TGMESH_WRITE_DOCS", "1"))
}
