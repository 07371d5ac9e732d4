//! The emulator alone, as somebody at a terminal has it: it shows login codes, and gives sessions to import.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tgmesh_tests::process::{ANYWHERE, Launch, Process, serve_all};
use tgmesh_tests::wait;

const BINARY: &str = env!("CARGO_BIN_EXE_tgmesh");
const SOON: Duration = Duration::from_secs(60);

/// The services use the emulator that writes this file.
const BESIDE: &str = "[telegram]\nemulator_info = 'info.json'\n";

/// A folder with an emulator and the services beside it, each a process of its own.
struct Stage {
    folder: TempDir,
    emulator: Process,
    _services: Process,
}

impl Stage {
    async fn set(options: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("tgmesh.toml"), format!("{ANYWHERE}{BESIDE}"))?;
        let world = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../telegram-emulator/scenarios/demo.toml");
        let world = world.to_str().context("a path of text")?;
        let alone = [&["emulator", "--scenario", world, "--info", "info.json", "--strict"], options].concat();
        let launch = Launch::new("emulator", BINARY, folder.path()).arguments(alone);
        let launch = launch.variable("TGMESH_CONFIG", "tgmesh.toml").ready_file(folder.path().join("info.json"));
        let mut emulator = launch.start()?;
        emulator.ready(SOON).await?;
        let (services, _) = serve_all(BINARY, folder.path()).await?;
        Ok(Self { folder, emulator, _services: services })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command.env_remove("TGMESH_TOKEN").env("TGMESH_CONFIG", "tgmesh.toml");
        command
    }

    /// What a command that succeeds prints.
    fn text(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let given = self.folder.path().join("input");
        std::fs::write(&given, input)?;
        let output = self.command(arguments).stdin(std::fs::File::open(given)?).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, arguments: &[&str], input: &str) -> anyhow::Result<Value> {
        let text = self.text(&[arguments, &["--json"]].concat(), input)?;
        serde_json::from_str(text.lines().last().unwrap_or_default()).context(text)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_sessions_can_be_imported_in_both_formats() -> anyhow::Result<()> {
    let stage = Stage::set(&[]).await?;
    for (user, format) in [("+49 30 9000 0101", "telethon"), ("+49 30 9000 0102", "pyrogram")] {
        // No control was named, neither here nor there.
        let session = stage.text(&["emulator", "session", user, "--format", format], "")?;
        let imported = stage.json(&["accounts", "import", "-"], &session)?;
        let result = &imported["results"][0];
        ensure!(result["status"] == "STATUS_CONNECTED", "{format}: {imported}");
        let account = result["account"]["id"].as_str().context("an account")?;
        let checked = stage.json(&["accounts", "check", account], "")?;
        ensure!(checked["account"]["state"] == "STATE_READY", "{format}: {checked}");
    }
    let ready = stage.json(&["campaign", "check", "@rust_meetup_berlin"], "")?;
    ensure!(ready["ready"].as_i64().is_some_and(|ready| ready > 0), "{ready}");

    let mut refused = stage.command(&["emulator", "session", "+49 30 1"]);
    let said = String::from_utf8(refused.output()?.stderr)?;
    ensure!(said.contains("there is no user with this phone number"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_login_codes_on_its_terminal() -> anyhow::Result<()> {
    for (options, line) in [(&[] as &[&str], "login code for +493090000101: "), (&["--json"], "{\"code\":\"")] {
        let stage = Stage::set(options).await?;
        // Nothing is entered: the login waits for its code.
        let waits = stage.command(&["accounts", "login", "phone", "+49 30 9000 0101", "--json"]).output()?;
        let login: Value = serde_json::from_slice(&waits.stdout)?;
        let login = login["login"]["id"].as_str().context("an id")?;
        let output = || stage.emulator.output();
        let shown = wait::until("the code to be shown", SOON, async || {
            let output = output();
            let shown = output.lines().find_map(|shown| shown.strip_prefix(line))?;
            shown.get(..5).map(str::to_owned)
        });
        let code = shown.await.with_context(output)?;
        let account = stage.json(&["accounts", "login", "phone", "--login", login], &code)?;
        ensure!(account["login"]["state"] == "STATE_COMPLETED", "{account}");
    }
    Ok(())
}
