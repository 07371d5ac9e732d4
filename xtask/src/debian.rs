//! Installs Debian's packages, where that is possible without asking: as root, on Debian or its kin.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::command;

/// Whether this process runs as root.
pub fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

/// Installs the packages; `what` says for whom, as in "the tests need a PostgreSQL server".
///
/// # Errors
/// When this is not Debian, or not root, or apt fails. The message says what to do by hand.
pub fn install(packages: &[&str], what: &str) -> anyhow::Result<()> {
    let list = packages.join(" ");
    if !Path::new("/etc/debian_version").exists() {
        bail!(
            "{what}: install it with this system's package manager (on Debian: apt-get install {list}) and try again"
        );
    }
    if !is_root() {
        bail!("{what}: run `sudo apt-get install {list}` and try again");
    }
    println!("{what}: installing Debian's packages {list}");
    let apt = || {
        let mut apt = command::program("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    command::run(apt().args(["update", "--quiet", "--quiet"])).context("cannot refresh the list of packages")?;
    command::run(apt().args(["install", "--yes", "--quiet", "--quiet", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("{what}, and Debian's packages {list} cannot be installed"))
}
