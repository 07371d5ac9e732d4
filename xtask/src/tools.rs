//! Installs the tools that the project uses, in pinned versions, into `.tools`.

use std::path::PathBuf;
use std::process::Command;

use crate::{command, debian, places};

/// The test runner; one that is on the PATH is taken when it is not older.
const NEXTEST: Cargo = Cargo { package: "cargo-nextest", version: "0.9.143", features: Some("default-no-update") };
const DENY: Cargo = Cargo { package: "cargo-deny", version: "0.20.2", features: None };
const BUF: &str = "1.75.0";

/// A tool that comes from the crate registry.
struct Cargo {
    package: &'static str,
    version: &'static str,
    /// The only features to take; all defaults when none are named.
    features: Option<&'static str>,
}

impl Cargo {
    fn file(&self) -> PathBuf {
        places::tools().join("bin").join(self.package)
    }

    /// The version of the program behind `command`, when it can be run.
    fn version_of(&self, mut command: Command) -> Option<String> {
        let text = command::output(command.arg("--version")).ok()?;
        let text = text.lines().next()?.strip_prefix(self.package)?.trim();
        text.split_whitespace().next().map(str::to_owned)
    }

    fn install(&self) -> anyhow::Result<PathBuf> {
        let file = self.file();
        if self.version_of(command::program(&file)).as_deref() == Some(self.version) {
            return Ok(file);
        }
        println!("installing {} {} into .tools", self.package, self.version);
        let mut install = command::cargo(["install", "--quiet", "--locked", "--force"]);
        // Unoptimised: a third of the time to build, and these tools wait for others anyway.
        install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
        // A folder of its own, so that the workspace's target folder is not locked meanwhile.
        install.arg("--target-dir").arg(places::target().join("tools"));
        if let Some(features) = self.features {
            install.args(["--no-default-features", "--features", features]);
        }
        install.arg("--root").arg(places::tools());
        command::run(install.arg(format!("{}@{}", self.package, self.version)))?;
        // Its artefacts serve no second time.
        let _ = std::fs::remove_dir_all(places::target().join("tools"));
        Ok(file)
    }
}

/// `cargo nextest`, ready for its arguments.
///
/// # Errors
/// When it is missing and cannot be installed.
pub fn nextest() -> anyhow::Result<Command> {
    let mut found = command::program("cargo-nextest");
    found.arg("nextest");
    let file = match NEXTEST.version_of(found) {
        Some(version) if parts(&version) >= parts(NEXTEST.version) => PathBuf::from(NEXTEST.package),
        _ => NEXTEST.install()?,
    };
    let mut nextest = command::program(file);
    nextest.arg("nextest");
    Ok(nextest)
}

fn parts(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Checks the dependencies against `deny.toml`.
///
/// # Errors
/// When a rule is broken, or the tool cannot be installed.
pub fn cargo_deny() -> anyhow::Result<()> {
    let mut deny = command::program(DENY.install()?);
    deny.args(["--workspace", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    command::run(&mut deny)
}

/// `buf`, ready for its arguments.
///
/// # Errors
/// When it is missing and cannot be installed.
pub fn buf() -> anyhow::Result<Command> {
    let folder = places::tools().join("npm");
    let file = folder.join("node_modules/.bin/buf");
    if command::output(command::program(&file).arg("--version")).ok().as_deref() != Some(BUF) {
        if command::find("npm").is_none() {
            debian::install(&["npm"], "the contracts are checked with buf, which needs npm")?;
        }
        println!("installing buf {BUF} into .tools/npm");
        std::fs::create_dir_all(&folder)?;
        let mut npm = command::program("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--save-exact", "--loglevel=error", "--prefix"]);
        command::run(npm.arg(&folder).arg(format!("@bufbuild/buf@{BUF}")))?;
    }
    Ok(command::program(file))
}
