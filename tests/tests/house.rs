//! The rules of the house that a compiler does not check.

use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use tgmesh_tests::documents::root;

/// Whom each member of the workspace may know. One that is not here is not in the house yet: decide, and add it.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("tgmesh-proto", &[]),
    ("tgmesh-migrations", &[]),
    ("service-kit", &["tgmesh-proto"]),
    ("telegram-emulator", &["tgmesh-proto"]),
    ("tgmesh-integration", &["tgmesh-proto", "service-kit", "tgmesh-migrations"]),
    ("tgmesh-invite", &["tgmesh-proto", "service-kit", "tgmesh-migrations"]),
    ("tgmesh-parsing", &["tgmesh-proto", "service-kit", "tgmesh-migrations"]),
    ("tgmesh", EVERYBODY),
    // Its library must not know services either: see `TESTS_ONLY`.
    ("tgmesh-tests", &["tgmesh-proto"]),
    ("xtask", &[]),
    // A model of the system that knew its code would be wrong where that is.
    ("lease-model", &[]),
];

const EVERYBODY: &[&str] = &[
    "tgmesh-proto",
    "tgmesh-migrations",
    "service-kit",
    "telegram-emulator",
    "tgmesh-integration",
    "tgmesh-invite",
    "tgmesh-parsing",
];

/// Black-box tests put everything together as the binary does.
const WITH_THE_BINARY: &[&str] = &[
    "tgmesh",
    "tgmesh-proto",
    "tgmesh-migrations",
    "service-kit",
    "telegram-emulator",
    "tgmesh-integration",
    "tgmesh-invite",
    "tgmesh-parsing",
];

/// Whom the tests of a member may know besides.
const TESTS_ONLY: &[(&str, &[&str])] = &[
    ("service-kit", &["tgmesh-tests"]),
    ("telegram-emulator", &["tgmesh-tests"]),
    ("tgmesh-migrations", &["tgmesh-tests"]),
    ("tgmesh-integration", &["tgmesh-tests", "telegram-emulator"]),
    ("tgmesh-invite", &["tgmesh-tests"]),
    ("tgmesh-parsing", &["tgmesh-tests"]),
    ("tgmesh", &["tgmesh-tests"]),
    ("tgmesh-tests", WITH_THE_BINARY),
];

/// Third-party crates that only some members may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("grammers-client", &["tgmesh-integration"]),
    ("grammers-session", &["tgmesh-integration"]),
    ("grammers-mtsender", &["tgmesh-integration", "tgmesh-tests"]),
    ("grammers-tl-types", &["tgmesh-integration", "telegram-emulator", "tgmesh-tests"]),
    ("grammers-crypto", &["tgmesh-integration", "telegram-emulator"]),
    ("grammers-mtproto", &["tgmesh-integration", "telegram-emulator", "tgmesh-tests"]),
    ("sea-orm-migration", &["tgmesh-migrations"]),
    ("stateright", &["lease-model"]),
];

/// Most lines of a source file.
const MOST_LINES: usize = 500;
/// Most lines of the binary's `main.rs`.
const MOST_LINES_OF_MAIN: usize = 130;

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata works")
}

fn listed(table: &[(&str, &'static [&'static str])], name: &str) -> &'static [&'static str] {
    table.iter().find(|(member, _)| *member == name).map_or(&[], |(_, known)| known)
}

fn may_know(member: &str, known: &str, kind: DependencyKind) -> bool {
    let for_tests = kind == DependencyKind::Development && listed(TESTS_ONLY, member).contains(&known);
    listed(MAY_KNOW, member).contains(&known) || for_tests
}

/// The folders in which `cargo`, tools and tests leave things.
fn is_ours(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    !name.starts_with('.') && !matches!(name, "target" | "node_modules" | "generated" | "__pycache__")
}

/// Files below `folder` that end in one of `ends`.
fn files(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if is_ours(&path) {
                found.extend(files(&path, ends));
            }
        } else if path.extension().is_some_and(|end| ends.iter().any(|wanted| end == *wanted)) {
            found.push(path);
        }
    }
    found
}

/// Path below the root, and text, of every file of ours that ends in one of `ends`.
fn texts(ends: &[&str]) -> Vec<(String, String)> {
    let root = root();
    files(&root, ends)
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (file.strip_prefix(&root).expect("it lies below the root").to_string_lossy().into_owned(), text)
        })
        .collect()
}

#[track_caller]
fn none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn members_know_only_whom_they_may() {
    let metadata = metadata();
    let members: Vec<&Package> = metadata.workspace_packages();
    let mut faults = Vec::new();
    for member in &members {
        let name = member.name.as_str();
        if !MAY_KNOW.iter().any(|(known, _)| *known == name) {
            faults.push(format!("{name} is not in the table of who may know whom"));
        }
        for dependency in member.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let known = dependency.name.as_str();
            if !may_know(name, known, dependency.kind) {
                faults.push(format!("{name} knows {known} ({})", dependency.kind));
            }
        }
    }
    none(&faults, "who may know whom is a rule of the house");
}

#[test]
fn services_may_not_know_each_other() {
    use DependencyKind::{Development, Normal};
    for (member, known) in [
        ("tgmesh-invite", "tgmesh-parsing"),
        ("tgmesh-parsing", "tgmesh-integration"),
        ("service-kit", "tgmesh-migrations"),
        ("tgmesh-proto", "service-kit"),
        ("tgmesh-tests", "tgmesh-invite"),
    ] {
        assert!(!may_know(member, known, Normal), "{member} may know {known}");
    }
    assert!(!may_know("tgmesh-invite", "tgmesh-parsing", Development));
    assert!(may_know("tgmesh-tests", "tgmesh-invite", Development));
    assert!(may_know("tgmesh", "tgmesh-invite", Normal));
}

#[test]
fn reserved_crates_stay_where_they_belong() {
    let mut faults = Vec::new();
    for member in metadata().workspace_packages() {
        for dependency in &member.dependencies {
            let reserved = RESERVED.iter().find(|(name, _)| *name == dependency.name);
            if reserved.is_some_and(|(_, members)| !members.contains(&member.name.as_str())) {
                faults.push(format!("{} depends on {}", member.name, dependency.name));
            }
        }
    }
    none(&faults, "these crates have one place each");
}

#[test]
fn grammers_is_named_only_where_connections_are_held() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["rs"]) {
        let allowed = path.starts_with("crates/telegram-emulator/")
            || path.starts_with("services/integration/src/connections/")
            || path.starts_with("services/integration/src/telegram/")
            || path.starts_with("services/integration/tests/")
            || path == "tests/benches/support/bare.rs";
        // As a path or an import; the name alone may stand in a log filter.
        let named = text
            .split("grammers_")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_').starts_with("::"));
        if !allowed && (named || text.contains(&format!("use {}", "grammers_"))) {
            faults.push(path);
        }
    }
    none(
        &faults,
        "grammers is named only in integration's connections/ and telegram/, in the emulator, and in the benches' baseline",
    );
}

#[test]
fn there_is_one_sqlite() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("the lock file can be read");
    let banned = format!("name = \"{}\"", "libsql-ffi");
    assert!(!lock.contains(&banned), "libsql-ffi bundles a second SQLite: only the link fails, with duplicate symbols");
}

#[test]
fn members_share_lints_licence_and_version() {
    let mut faults = Vec::new();
    for member in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&member.manifest_path).expect("a manifest can be read");
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{} has not the lints of the workspace", member.name));
        }
        if member.license.as_deref() != Some("MIT OR Apache-2.0") {
            faults.push(format!("{} has not the licence of the workspace", member.name));
        }
        if member.publish.as_deref() != Some(&[]) {
            faults.push(format!("{} could be published", member.name));
        }
        for dependency in manifest.lines().filter(|line| line.contains("version = \"") && line.contains('{')) {
            faults.push(format!("{} names a version of its own: {dependency}", member.name));
        }
    }
    none(&faults, "members take lints, licence and versions from the workspace");
}

#[test]
fn no_source_file_is_long() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["rs", "py", "ts", "tsx", "lua", "sh"]) {
        let most = if path == "crates/tgmesh/src/main.rs" { MOST_LINES_OF_MAIN } else { MOST_LINES };
        let lines = text.lines().count();
        if lines > most {
            faults.push(format!("{path} has {lines} lines, more than {most}"));
        }
    }
    none(&faults, "a long file is two rooms with one door");
}

#[test]
fn lints_are_expected_and_never_allowed() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["rs"]) {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if ["#[", "#!["].iter().any(|begin| line.starts_with(&format!("{begin}{}(", "allow"))) {
                faults.push(format!("{path}:{}", number + 1));
            }
        }
    }
    none(&faults, "#[expect(…, reason = …)] goes away when it is no longer needed, #[allow] does not");
}

#[test]
fn tests_wait_for_things_and_not_for_a_while() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["rs"]) {
        let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        // The one place that waits for all tests.
        if is_test && path != "tests/src/wait.rs" && !path.starts_with("xtask/") {
            for (number, line) in text.lines().enumerate() {
                if line.contains(&format!("{}(", "sleep")) && !line.trim_start().starts_with("//") {
                    faults.push(format!("{path}:{}", number + 1));
                }
            }
        }
    }
    none(&faults, "a guessed while is too short or too long: use tgmesh_tests::wait::until, or an injected clock");
}

#[test]
fn examples_are_tests_and_not_comments() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["rs"]) {
        let mut open = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let Some(fence) = ["/// ```", "//! ```"].iter().find_map(|fence| line.strip_prefix(fence)) else {
                continue;
            };
            if !open && !matches!(fence, "text" | "toml" | "json" | "sh" | "sql") {
                faults.push(format!("{path}:{}", number + 1));
            }
            open = !open;
        }
    }
    none(&faults, "the test runner runs no examples in comments: mark it as text, or write a test");
}

#[test]
fn the_grpc_layer_knows_no_database() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["rs"]) {
        if path.starts_with("services/") && path.contains("/src/grpc") && text.contains("sea_orm") {
            faults.push(path);
        }
    }
    none(&faults, "grpc/ turns wire types into wire types; stores belong to the resources");
}

#[test]
fn documents_link_to_what_exists() {
    let mut faults = Vec::new();
    for (path, text) in texts(&["md"]) {
        let folder = root().join(&path).parent().map(Path::to_path_buf).unwrap_or_default();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") && !folder.join(link).exists()
            {
                faults.push(format!("{path} links to {link}"));
            }
        }
    }
    none(&faults, "a link leads somewhere");
}

#[test]
fn both_licences_are_here() {
    for (file, words) in [("LICENSE-MIT", "Permission is hereby granted"), ("LICENSE-APACHE", "Version 2.0")] {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(text.contains(words), "{file} is missing or is another one");
    }
}
