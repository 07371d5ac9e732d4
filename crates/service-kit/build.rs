//! Tells the crate which commit it is built from.

use std::process::Command;

fn main() {
    let commit = std::env::var("TGMESH_COMMIT").ok().or_else(|| {
        let out = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    });
    println!("cargo:rustc-env=TGMESH_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo:rerun-if-env-changed=TGMESH_COMMIT");
    println!("cargo:rerun-if-changed=../../.git/HEAD");
}
