//! Memory of `tgmesh serve all` for each connected account, of 200, against that of a bare connection.
//!
//! The emulator runs in this process, the product and the bare client each in one of their own.

#[path = "../tests/common/mod.rs"]
mod common;
mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::play::telethon;
use service_kit::client::{TokenSource, UserChannel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::identity::{Acting, Issuer, SigningKey, USERS, random_seed};
use support::bare::Bare;
use support::{median, print, rounds, say};
use telegram_emulator::{Emulator, EmulatorConfig, Scenario};
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient;
use tgmesh_proto::integration::v1::{CheckAccountRequest, ImportSessionsRequest};
use tgmesh_tests::process::{Launch, binary};
use tgmesh_tests::wait;

const ACCOUNTS: i64 = 200;
const FIRST: i64 = 9_001;
const PATIENCE: Duration = Duration::from_secs(120);

/// The argument that makes this program the bare client: it connects by the keys on its standard input.
const BARE: &str = "--bare-client";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == BARE) {
        return bare_client().await;
    }
    let (mut product, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..rounds() {
        let emulator = Emulator::start(EmulatorConfig { strict: true, ..EmulatorConfig::new(scenario()?) }).await?;
        baseline.push(of_bare(&emulator).await?);
        product.push(of_product(&emulator).await?);
        emulator.shutdown().await;
        say(&format!("round {}: {:.1} of {:.1} KiB an account", round + 1, product[round], baseline[round]));
    }
    print("memory", "connected_account", "KiB", median(&mut product), median(&mut baseline));
    Ok(())
}

fn scenario() -> anyhow::Result<Scenario> {
    let mut text = "seed = 7\ndata_centres = [2]\n".to_owned();
    for id in FIRST..FIRST + ACCOUNTS {
        writeln!(text, "[[user]]\nid = {id}\nphone = '+49 30 9100 {id}'\nfirst_name = 'Account {id}'")?;
    }
    Ok(Scenario::parse(&text)?)
}

/// A key for each user, known to the emulator.
fn keys(emulator: &Emulator) -> Vec<[u8; 256]> {
    let key = |user| {
        let mut key = [0; 256];
        for part in key.chunks_mut(32) {
            part.copy_from_slice(&random_seed());
        }
        emulator.handle().add_key(key, 2, Some(user));
        key
    };
    (FIRST..FIRST + ACCOUNTS).map(key).collect()
}

async fn of_product(emulator: &Emulator) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let info = folder.path().join("emulator.json");
    emulator.info().write_file(&info)?;
    let config = folder.path().join("tgmesh.toml");
    let ready = folder.path().join("ready.json");
    std::fs::write(&config, settings(folder.path(), &info))?;
    let mut process = Launch::new("tgmesh", binary()?, folder.path())
        .arguments(["serve", "all", "--config"])
        .arguments([config.display().to_string()])
        .ready_file(&ready)
        .start()?;
    let served = process.ready(PATIENCE).await?;
    let address = served["services"]["integration"].as_str().context("no address")?.to_owned();
    let clock = SystemClock::shared();
    let acting = Acting { user_id: new_id(&*clock), workspace_id: new_id(&*clock) };
    let key = SigningKey::load_or_create(USERS, &folder.path().join("data/keys").join(format!("{USERS}.key")))?;
    let tokens = Arc::new(User { issuer: Issuer::new(key, clock.clone()), acting });
    let mut client = IntegrationServiceClient::new(UserChannel::new(&format!("http://{address}"), tokens)?);
    let before = resident_kib(process.id())?;
    for keys in keys(emulator).chunks(50) {
        let sessions = keys.iter().map(telethon).collect::<Vec<_>>().join("\n");
        let request = ImportSessionsRequest { request_id: new_id(&*clock).to_string(), sessions };
        let answer = client.import_sessions(request).await?.into_inner();
        for result in answer.results {
            // Accounts connect on first use.
            let account_id = result.account.with_context(|| result.detail.clone())?.id;
            client.check_account(CheckAccountRequest { request_id: new_id(&*clock).to_string(), account_id }).await?;
        }
    }
    let what = "all accounts to be connected";
    wait::until(what, PATIENCE, async || (connected(emulator) == ACCOUNTS).then_some(())).await?;
    let after = resident_kib(process.id())?;
    process.stop(PATIENCE).await?;
    Ok(per_account(before, after))
}

fn settings(folder: &Path, info: &Path) -> String {
    let server = "listen = '127.0.0.1:0'";
    format!(
        "data_dir = '{}'\nready_file = '{}'\n[telegram]\nemulator_info = '{}'\n[admin]\n{server}\n\
         [integration.server]\n{server}\n[parsing.server]\n{server}\n[invite.server]\n{server}\n",
        folder.join("data").display(),
        folder.join("ready.json").display(),
        info.display()
    )
}

/// Connections that are open with a user's key.
fn connected(emulator: &Emulator) -> i64 {
    let open = emulator.handle().connections().into_iter().filter(|connection| connection.end.is_none());
    i64::try_from(open.count()).unwrap_or(i64::MAX)
}

async fn of_bare(emulator: &Emulator) -> anyhow::Result<f64> {
    let address = emulator.info().dcs.first().context("no data centre")?.address;
    let mut input = format!("{address}\n");
    for key in keys(emulator) {
        for byte in key {
            write!(input, "{byte:02x}")?;
        }
        input.push('\n');
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("keys");
    std::fs::write(&file, input)?;
    let child = tokio::process::Command::new(std::env::current_exe()?).args([BARE.as_ref(), file.as_os_str()]).output();
    let output = child.await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let (before, after) = (numbers.next().context("no number")??, numbers.next().context("no number")??);
    Ok(per_account(before, after))
}

/// Connects, and prints the memory before and after.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn bare_client() -> anyhow::Result<()> {
    let file = std::env::args().next_back().context("no file")?;
    let input = std::fs::read_to_string(file)?;
    let mut lines = input.lines();
    let address = lines.next().context("no address")?.parse()?;
    let before = resident_kib(std::process::id())?;
    let mut all = Vec::new();
    for line in lines {
        let mut key = [0; 256];
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(line.get(2 * at..2 * at + 2).context("a short key")?, 16)?;
        }
        all.push(Bare::with_key(address, key).await?);
    }
    println!("{before} {}", resident_kib(std::process::id())?);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below what a double holds")]
fn per_account(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64 / ACCOUNTS as f64
}

/// Resident memory of a process.
fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

#[derive(Debug)]
struct User {
    issuer: Issuer,
    acting: Acting,
}

impl TokenSource for User {
    fn token(&self) -> String {
        self.issuer.user(self.acting, false)
    }
}
