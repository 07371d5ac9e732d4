//! Documents that are generated are as their source says. With `TGMESH_WRITE_DOCS` set they are written instead,
//! which is what `cargo xtask docs` does.

use tgmesh_tests::documents;

#[test]
fn the_error_document_is_current() -> anyhow::Result<()> {
    is_current("docs/errors.md", &documents::errors()?)
}

fn is_current(name: &str, text: &str) -> anyhow::Result<()> {
    let file = documents::root().join(name);
    if std::env::var_os("TGMESH_WRITE_DOCS").is_some() {
        std::fs::write(&file, text)?;
        return Ok(());
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == text, "{name} is not what the contracts say: run `cargo xtask docs` and commit it");
    Ok(())
}
