//! The commit that a build names is the one that it is built from: this crate's own build script, in a repository that
//! is a few commits long.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use tempfile::TempDir;

/// A repository with a crate where this one is, which prints its stamp.
struct Repository(TempDir);

impl Repository {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("archive/crates/probe");
        fs::create_dir_all(place.join("src"))?;
        fs::write(place.join("Cargo.toml"), "[package]\nname = 'probe'\nedition = '2024'\n[workspace]\n")?;
        fs::write(place.join("src/main.rs"), "fn main() { print!(\"{}\", env!(\"TGMESH_COMMIT\")) }")?;
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs"), place.join("build.rs"))?;
        Ok(Self(folder))
    }

    fn run(&self, program: &str, folder: &str, arguments: &[&str], commit: Option<&str>) -> anyhow::Result<String> {
        let mut command = Command::new(program);
        command.current_dir(self.0.path().join(folder)).args(arguments).env_remove("TGMESH_COMMIT");
        command.env("CARGO_TARGET_DIR", self.0.path().join("target")).envs(commit.map(|id| ("TGMESH_COMMIT", id)));
        for name in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{name}_NAME"), "nobody").env(format!("GIT_{name}_EMAIL"), "nobody@example.org");
        }
        let output = command.output()?;
        ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.run("git", folder, arguments, None)
    }

    /// Adds a commit that changes nothing; its id.
    fn commit(&self, folder: &str) -> anyhow::Result<String> {
        self.git(folder, &["commit", "--quiet", "--allow-empty", "--message", "another"])?;
        self.git(folder, &["rev-parse", "--short=12", "HEAD"])
    }

    /// What a build says of itself.
    fn stamp(&self, commit: Option<&str>) -> anyhow::Result<String> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        self.run(&cargo, "archive/crates/probe", &["run", "--quiet", "--offline"], commit)
    }
}

#[test]
fn a_build_follows_every_commit() -> anyhow::Result<()> {
    let here = Repository::new()?;
    here.git("archive", &["init", "--quiet", "--initial-branch", "main"])?;
    let first = here.commit("archive")?;
    assert_eq!(here.stamp(None)?, first);
    let second = here.commit("archive")?;
    assert_eq!(here.stamp(None)?, second, "a commit on the branch");
    // Packed, the branch has no file that could change, until it has one again.
    here.git("archive", &["pack-refs", "--all"])?;
    assert_eq!(here.stamp(None)?, second);
    let third = here.commit("archive")?;
    assert_eq!(here.stamp(None)?, third, "a commit on a packed branch");
    here.git("archive", &["checkout", "--quiet", "--detach", &first])?;
    assert_eq!(here.stamp(None)?, first, "another commit that is checked out");
    assert_eq!(here.stamp(Some("told"))?, "told", "what the environment says comes first");
    Ok(())
}

#[test]
fn a_build_from_an_archive_says_that_it_knows_no_commit() -> anyhow::Result<()> {
    let here = Repository::new()?;
    assert_eq!(here.stamp(None)?, "unknown");
    here.git("", &["init", "--quiet"])?;
    here.commit("")?;
    let again = Repository::new()?;
    fs::rename(here.0.path().join(".git"), again.0.path().join(".git"))?;
    assert_eq!(again.stamp(None)?, "unknown", "the repository around is not the archive's");
    Ok(())
}

#[test]
fn the_binary_tells_its_build() -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_tgmesh")).arg("--version").output()?;
    assert_eq!(String::from_utf8(output.stdout)?.trim(), format!("tgmesh {}", tgmesh::BUILD));
    Ok(())
}
