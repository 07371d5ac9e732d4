//! The Python environment with the Telegram clients that nobody here wrote.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{command, debian, places};

/// What is to be installed, in exact versions.
const REQUIREMENTS: &str = "crates/telegram-emulator/tests/foreign/requirements.txt";

/// The environment's interpreter; `None` while nothing is required.
///
/// Packages are installed when the file of requirements has changed since the last time.
///
/// # Errors
/// When Python is missing, or the packages cannot be installed.
pub fn interpreter() -> anyhow::Result<Option<PathBuf>> {
    let file = places::root().join(REQUIREMENTS);
    if !file.exists() {
        return Ok(None);
    }
    let wanted = std::fs::read_to_string(&file).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let folder = places::tools().join("python");
    let interpreter = folder.join("bin/python");
    let stamp = folder.join("installed.txt");

    // An environment dies with the interpreter that made it, so having its files is not enough.
    let works = command::succeeds(command::program(&interpreter).args(["-c", "import pip"]));
    if works && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(interpreter));
    }
    if !works {
        create(&folder)?;
    }
    println!("installing the foreign Telegram clients into .tools/python");
    let _ = std::fs::remove_file(&stamp);
    let mut pip = command::program(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--requirement"]);
    command::run(pip.arg(&file)).context("the foreign Telegram clients cannot be installed")?;
    std::fs::write(&stamp, wanted)?;
    Ok(Some(interpreter))
}

fn create(folder: &Path) -> anyhow::Result<()> {
    // Debian's python3 comes without ensurepip, and then makes environments without pip.
    let able = || command::succeeds(command::program("python3").args(["-c", "import venv, ensurepip"]));
    if !able() {
        debian::install(
            &["python3", "python3-venv"],
            "the emulator is tested with Telegram clients written in Python",
        )?;
    }
    let _ = std::fs::remove_dir_all(folder);
    command::run(command::program("python3").args(["-m", "venv"]).arg(folder))
        .context("cannot make a Python environment")
}
