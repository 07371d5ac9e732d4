//! How the command line writes: where nobody reads, where nothing fits, and to scripts.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use serde_json::Value;

fn run(arguments: &[&str], output: Stdio) -> anyhow::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tgmesh"));
    let child = command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).spawn()?;
    Ok(child.wait_with_output()?)
}

const WORDY: [&[&str]; 4] = [&["config"], &["completions", "bash"], &["version"], &["version", "--json"]];

#[test]
fn nobody_reading_any_more_is_no_failure() -> anyhow::Result<()> {
    for arguments in WORDY {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = run(arguments, writer.into())?;
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_one() -> anyhow::Result<()> {
    for arguments in WORDY {
        let output = run(arguments, File::options().write(true).open("/dev/full")?.into())?;
        let said = String::from_utf8(output.stderr)?;
        assert!(output.status.code() == Some(1) && said.contains("cannot be written"), "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn usage_errors_are_json_too() -> anyhow::Result<()> {
    let output = run(&["parse", "start", "--json"], Stdio::null())?;
    let said = String::from_utf8(output.stderr)?;
    let error: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    assert_eq!(output.status.code(), Some(2));
    assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains("SOURCES")), "{said}");
    Ok(())
}

#[test]
fn advice_repeats_the_flags_that_say_which_deployment_is_meant() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("our.toml"), "[addresses]\ninvite = 'http://127.0.0.1:1'\n")?;
    for (flags, variable, advised) in [
        (&["--data-dir", "the data"] as &[&str], Some("our.toml"), "`tgmesh --data-dir 'the data' doctor` looks"),
        (&["--config", "our.toml"], None, "`tgmesh --config our.toml doctor` looks"),
        (&[], Some("our.toml"), "`tgmesh doctor` looks"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tgmesh"));
        command.current_dir(folder.path()).env_remove("TGMESH_CONFIG").env("TGMESH_TOKEN", "any");
        let output =
            command.envs(variable.map(|file| ("TGMESH_CONFIG", file))).args(flags).args(["dnc", "list"]).output()?;
        let said = String::from_utf8(output.stderr)?;
        assert!(said.contains(advised), "{flags:?}: {said}");
    }
    Ok(())
}
