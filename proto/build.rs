//! Generates the contract crate from the proto files: messages, clients and
//! servers, and from the options of `tgmesh.options.v1` the validation of
//! requests, the rules of methods and the error catalogue.

mod codegen {
    pub mod catalogue;
    pub mod options;
    pub mod validation;
}

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use prost::Message as _;
use prost_reflect::DescriptorPool;

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=tgmesh");
    println!("cargo:rerun-if-changed=codegen");

    let mut files = Vec::new();
    collect(&root.join("tgmesh"), &mut files)?;
    files.sort();

    // The compiler's own bytes, not prost's types: prost drops custom options.
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true);
    for file in &files {
        compiler.open_file(file.strip_prefix(&root)?).with_context(|| format!("cannot compile {}", file.display()))?;
    }
    let bytes = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("descriptor.bin"), &bytes)?;

    let pool = DescriptorPool::decode(bytes.as_slice())?;
    let set = prost_types::FileDescriptorSet::decode(bytes.as_slice())?;

    let mut config = tonic_prost_build::configure()
        .codec_path("crate::codec::ValidatingCodec")
        .build_transport(true)
        .emit_rerun_if_changed(false);
    config = config.skip_debug(codegen::validation::with_secrets(&pool).iter().map(|name| format!(".{name}")));
    // Messages know their names, so that clients can print any of them by its descriptor.
    let mut names = tonic_prost_build::Config::new();
    names.enable_type_names();
    config.compile_fds_with_config(set, names)?;

    let mut packages: Vec<String> = pool
        .files()
        .map(|file| file.package_name().to_owned())
        .filter(|name| name.starts_with("tgmesh.") && name != "tgmesh.options.v1")
        .collect();
    packages.sort();
    packages.dedup();
    std::fs::write(out.join("modules.rs"), modules(&packages))?;
    std::fs::write(out.join("validation.rs"), codegen::validation::generate(&pool)?)?;
    std::fs::write(out.join("methods.rs"), codegen::catalogue::methods(&pool)?)?;
    std::fs::write(out.join("reasons.rs"), codegen::catalogue::reasons(&pool)?)?;
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// One `pub mod` per package, nested as the package names are.
fn modules(packages: &[String]) -> String {
    let mut out = String::new();
    for package in packages {
        let parts: Vec<&str> = package.split('.').skip(1).collect();
        for part in &parts {
            let _ = write!(out, "pub mod {part} {{ ");
        }
        let _ = write!(out, "include!(concat!(env!(\"OUT_DIR\"), \"/{package}.rs\"));");
        out.push_str(&" }".repeat(parts.len()));
        out.push('\n');
    }
    out
}
