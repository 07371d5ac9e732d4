//! Documents that are generated from the contracts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::contract;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `docs/errors.md`: the error catalogue.
///
/// # Errors
/// When the catalogue is not where it should be.
pub fn errors() -> anyhow::Result<String> {
    let pool = contract::pool();
    let catalogue = pool.get_enum_by_name("tgmesh.error.v1.ErrorReason").context("the error catalogue is missing")?;
    let file = catalogue.parent_file();
    let mut text = String::from(
        "<!-- Generated from proto/tgmesh/error/v1/error.proto by `cargo xtask docs`; do not edit. -->\n\n\
         # Errors\n\n\
         Every error carries a `google.rpc.ErrorInfo` with domain `tgmesh` and one of these reasons. The reason \
         decides the status code. The metadata named here always come with it; others may. Broken rules of a request \
         come with a `google.rpc.BadRequest` that names each field by its path, and where a retry helps, a \
         `google.rpc.RetryInfo` says after how long. New reasons may be added: treat one that you do not know by its \
         status code.\n\n\
         | reason | code | metadata | meaning |\n|---|---|---|---|\n",
    );
    for value in catalogue.values().filter(|value| value.number() != 0) {
        let (code, keys) =
            contract::reason_rules(&value).with_context(|| format!("{} has no rules", value.full_name()))?;
        let name = value.name().trim_start_matches("ERROR_REASON_");
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let meaning = contract::comment(file.file_descriptor_proto(), value.path());
        writeln!(text, "| `{name}` | {code} | {} | {} |", keys.join(", "), meaning.replace('|', "\\|"))?;
    }
    Ok(text)
}
