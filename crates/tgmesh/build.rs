//! Tells the crate which commit it is built from. It is asked here, and in no
//! crate below: following each commit then rebuilds the binary's crate alone.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=TGMESH_COMMIT");
    // For builds from an archive: git is not asked then.
    let given = std::env::var("TGMESH_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| {
        follow_head();
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!("cargo:rustc-env=TGMESH_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// Asks again when another commit is checked out, and when the branch gets one.
fn follow_head() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let names = [Some("HEAD"), Some("packed-refs"), branch.as_deref()];
    for name in names.into_iter().flatten() {
        let Some(file) = git(&["rev-parse", "--git-path", name]) else { continue };
        // A packed branch has no file until its next commit: its folder tells of that. A missing file would
        // make every build ask.
        let file = root().join(file);
        let there = file.ancestors().find(|place| place.exists());
        if let Some(there) = there.filter(|there| file == *there || Some(name) == branch.as_deref()) {
            println!("cargo:rerun-if-changed={}", there.display());
        }
    }
}

/// The folder that the repository's own `.git` would be in.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    manifest.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// What git answers; `None` without git, or without a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let root = root();
    let mut command = Command::new("git");
    command.current_dir(&root).args(arguments);
    // An archive that was unpacked inside of another repository is not a commit of that one.
    if let Some(outside) = root.parent() {
        command.env("GIT_CEILING_DIRECTORIES", outside);
    }
    let answer = command.output().ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned())
}
