//! How processes start and refuse to, and what they leave in the data folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::ensure;
use tempfile::TempDir;
use tgmesh_tests::process::{ANYWHERE, Process, serve_all};

const BINARY: &str = env!("CARGO_BIN_EXE_tgmesh");
const SOON: Duration = Duration::from_secs(30);
const CONFIGURATION: Option<i32> = Some(78);

struct Place(TempDir);

impl Place {
    fn new(settings: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("tgmesh.toml"), settings)?;
        Ok(Self(folder))
    }

    fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
        let mut command = Command::new(BINARY);
        command.current_dir(self.0.path()).args(arguments).env("TGMESH_CONFIG", "tgmesh.toml");
        Ok(command.envs(variables.iter().copied()).output()?)
    }

    /// The exit code, and the first line of what was said.
    fn fails(&self, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<(Option<i32>, String)> {
        let output = self.run(arguments, variables)?;
        let said = String::from_utf8(output.stderr)?;
        Ok((output.status.code(), said.lines().find(|line| line.starts_with("error: ")).unwrap_or(&said).to_owned()))
    }

    async fn serve(&self) -> anyhow::Result<Process> {
        Ok(serve_all(BINARY, self.0.path()).await?.0)
    }
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<_>>()?;
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn a_data_folder_is_its_owners_alone_and_has_one_process() -> anyhow::Result<()> {
    let place = Place::new(ANYWHERE)?;
    let mut process = place.serve().await?;
    let mode = |path: &Path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o777);
    ensure!(mode(&place.data())? == 0o700, "the folder is {:o}", mode(&place.data())?);
    let found = names(&place.data())?;
    for name in &found {
        let path = place.data().join(name);
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        ensure!(mode(&path)? == expected, "{name} is {:o}", mode(&path)?);
    }
    ensure!(found.iter().any(|name| name.ends_with(".db-wal")), "{found:?}");

    let (code, said) = place.fails(&["serve", "all"], &[])?;
    ensure!(code == Some(1), "{code:?}: {said}");
    ensure!(said.contains("is already running here: process "), "{said}");
    ensure!(names(&place.data())? == found, "the second one left something behind");
    process.stop(SOON).await?;
    let left = names(&place.data())?;
    ensure!(!left.iter().any(|name| name.ends_with(".lock")), "{left:?}");
    Ok(())
}

#[test]
fn what_cannot_start_leaves_nothing_behind() -> anyhow::Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let admin = format!("listen = '{}'\n[emulator]", taken.local_addr()?);
    let place = Place::new(&ANYWHERE.replace("listen = '127.0.0.1:0'\n[emulator]", &admin))?;
    let (code, said) = place.fails(&["serve", "all"], &[])?;
    ensure!(code == Some(1) && said.contains("the admin port cannot listen on"), "{code:?}: {said}");
    ensure!(!place.data().exists(), "{:?}", names(&place.data())?);
    Ok(())
}

#[test]
fn a_client_in_an_empty_folder_makes_nothing() -> anyhow::Result<()> {
    let place = Place::new(ANYWHERE)?;
    let (code, said) = place.fails(&["accounts", "list"], &[])?;
    ensure!(code == Some(77) && said.contains("nothing was ever served in the data folder data"), "{code:?}: {said}");
    ensure!(!place.data().exists(), "{:?}", names(&place.data())?);
    Ok(())
}

#[test]
fn what_is_wrong_with_the_configuration_is_one_line_with_its_place() -> anyhow::Result<()> {
    let place = Place::new(&ANYWHERE.replace("[admin]", "[log]\nfilter = 'a=b=c'\n[admin]"))?;
    let file = "error: tgmesh.toml: log.filter: expected levels such as";
    let (code, said) = place.fails(&["serve", "all"], &[])?;
    ensure!(code == CONFIGURATION && said.starts_with(file), "{code:?}: {said}");
    let place = Place::new(ANYWHERE)?;
    for (variable, value, expected) in [
        ("TGMESH__TELEGRAM__API_HASH", "987654321", "telegram.api_hash: expected text, in quotes"),
        ("TGMESH__GRACE_S", "987654321x", "grace_s: expected a whole number, 0 or more"),
        ("TGMESH__GRACES", "987654321", "graces: is no setting"),
    ] {
        let (code, said) = place.fails(&["serve", "all"], &[(variable, value)])?;
        let expected = format!("error: environment variable {variable}: {expected}");
        ensure!(code == CONFIGURATION && said == expected, "{code:?}: {said}");
    }
    let (code, said) = place.fails(&["--config", "/tmp", "serve", "all"], &[])?;
    ensure!(code == CONFIGURATION && said.contains("/tmp is a folder"), "{code:?}: {said}");
    Ok(())
}

#[test]
fn production_makes_no_keys() -> anyhow::Result<()> {
    let place = Place::new("")?;
    let (data, keys) = (place.data(), place.0.path().join("keys"));
    fs::create_dir(&keys)?;
    let seed = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let database = |name: &str| format!("[databases.{name}]\nurl = 'postgres://127.0.0.1:1/x'\n");
    fs::write(
        place.0.path().join("tgmesh.toml"),
        format!(
            "profile = 'production'\ndata_dir = '{}'\n[admin]\nlisten = '127.0.0.1:0'\n[sealing]\nkeys = ['{seed}']\n\
             [identity]\nkey_dir = '{}'\n[identity.trusted]\ngateway = ['{seed}']\n[telegram]\napi_id = 1\n\
             api_hash = 'x'\n[telegram.data_centres]\n2 = '127.0.0.1:1'\n{}{}{}",
            data.display(),
            keys.display(),
            database("integration"),
            database("parsing"),
            database("invite"),
        ),
    )?;
    let (code, said) = place.fails(&["serve", "invite"], &[])?;
    ensure!(code == Some(1) && said.contains("production makes no keys by itself"), "{code:?}: {said}");
    ensure!(said.contains("invite.key"), "{said}");
    ensure!(names(&keys)?.is_empty() && !data.exists(), "{:?}", names(&keys)?);
    Ok(())
}
