//! Secrets are planted as canaries; after a full run at trace level none of them may stand in the log, in an error that
//! was answered, or in a file, in any form.

mod cli;
#[path = "../common/mod.rs"]
mod common;
mod needles;

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use base64::Engine as _;
use common::play::{CHAT, telethon};
use common::{UNLIMITED, World, phone};
use needles::{Canary, Needles};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use service_kit::identity::USERS;
use service_kit::sealing::Sealer;
use service_kit::telemetry::{LogConfig, LogFormat, install_to};
use tgmesh_proto::Caller;
use tgmesh_proto::integration::v1 as integration;
use tonic::Status;
use uuid::Uuid;

const API_HASH: &str = "5ec2e7a91c0ffee0badc0de5ec2e7a91";
const TWO_STEPS: &str = "correct horse, canary & staple";
const WRONG: &str = "a wrong password is a secret as well";

/// Everything that was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> Vec<u8> {
        self.0.lock().expect("nobody panics here").clone()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a client could read of an error.
fn readable(status: &Status) -> String {
    format!("{status:?} {:?} {}\n", tgmesh_proto::status::read(status), String::from_utf8_lossy(status.details()))
}

/// All files of the deployment but the keys themselves: databases, their logs, and whatever else.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("keys") {
                files(&path, found)?;
            }
        } else {
            match std::fs::read(&path) {
                Ok(bytes) => found.push((path.display().to_string(), bytes)),
                // The last to close a database takes its log away.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
    }
    Ok(())
}

/// Where canaries stand.
fn search(canaries: &[Canary], places: &[(String, Vec<u8>)]) -> Vec<String> {
    let needles = Needles::of(canaries);
    let leaks = |(place, text): &(String, Vec<u8>)| -> Vec<String> {
        needles.found_in(text).iter().map(|(name, form)| format!("{name} in {place}, {form}")).collect()
    };
    places.iter().flat_map(leaks).collect()
}

/// A login with a code and a password, entered wrong and right; what was typed, and the errors.
async fn log_in(world: &World, user: i64, errors: &mut String) -> anyhow::Result<String> {
    let owner = world.owner;
    let login = world.start_login(owner, user).await?;
    let code = world.handle().login_code(&phone(user))?;
    let wrong: String = code.chars().map(|digit| if digit == '9' { '0' } else { '9' }).collect();
    for code in [wrong, code.clone()] {
        let request = integration::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code };
        match world.integration(owner).submit_login_code(request).await {
            Ok(answer) => errors.push_str(&format!("{answer:?}")),
            Err(status) => errors.push_str(&readable(&status)),
        }
    }
    for password in [WRONG, TWO_STEPS] {
        let request = integration::SubmitLoginPasswordRequest {
            request_id: world.id(),
            login_id: login.id.clone(),
            password: password.to_owned(),
        };
        match world.integration(owner).submit_login_password(request).await {
            Ok(answer) => {
                errors.push_str(&format!("{answer:?}"));
                let login = answer.into_inner().login.context("no login")?;
                assert_eq!(login.state(), integration::login::State::Completed);
            }
            Err(status) => errors.push_str(&readable(&status)),
        }
    }
    assert_eq!(errors.matches("LoginCodeInvalid").count(), 1, "{errors}");
    assert_eq!(errors.matches("LoginPasswordWrong").count(), 1, "{errors}");
    Ok(code)
}

/// A QR code on the screen; the token in it.
async fn show_qr(world: &World) -> anyhow::Result<String> {
    let request = integration::StartQrLoginRequest { request_id: world.id() };
    let mut events = world.integration(world.owner).start_qr_login(request).await?.into_inner();
    let code = events.message().await?.and_then(|event| event.qr_code).context("no code")?;
    Ok(code.link.split_once("token=").context("no token")?.1.to_owned())
}

/// The keys that the deployment keeps sealed: canaries that it has made itself.
async fn made_keys(data: &Path, sealing: &[u8]) -> anyhow::Result<Vec<Canary>> {
    let sealer = Sealer::new(&[sealing.to_vec()])?;
    let file = data.join("integration.db");
    let database = sea_orm::Database::connect(format!("sqlite://{}?mode=ro", file.display())).await?;
    let mut found = Vec::new();
    for (kind, name, query) in [
        ("session", "an account's key", "SELECT account_id, sealed FROM sessions"),
        ("login", "a login's key", "SELECT id, sealed FROM logins WHERE sealed IS NOT NULL"),
    ] {
        for row in database.query_all_raw(Statement::from_string(DbBackend::Sqlite, query)).await? {
            let (id, sealed) = (row.try_get_by_index::<Uuid>(0)?, row.try_get_by_index::<Vec<u8>>(1)?);
            let plain = sealer.open(&format!("{kind}:{id}"), &sealed)?;
            for part in [&plain[16..48], &plain[128..160], &plain[200..232]] {
                found.push(Canary::new(name, part));
            }
        }
    }
    database.close().await?;
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn long_no_secret_leaves_its_place() -> anyhow::Result<()> {
    let log = Log::default();
    let writer = log.clone();
    let config = LogConfig { filter: "trace".to_owned(), format: LogFormat::Json };
    // In JSON: colours would stand between a name and its value.
    install_to(&config, move || writer.clone())?;

    let sealing = service_kit::identity::random_seed();
    let sealing_text = base64::engine::general_purpose::STANDARD.encode(&sealing);
    let scenario: String = (71..74)
        .map(|id| {
            let phone = phone(id);
            format!("\n[[user]]\nid = {id}\nphone = '{phone}'\nfirst_name = 'Canary {id}'\npassword = '{TWO_STEPS}'\n")
        })
        .collect();
    let settings = format!("{UNLIMITED}[sealing]\nkeys = ['{sealing_text}']\n");
    let world = World::start_as_outside(&settings, &scenario, API_HASH).await?;
    let mut errors = String::new();
    let mut canaries = vec![
        Canary::new("the api hash", API_HASH.as_bytes()),
        Canary::new("the password", TWO_STEPS.as_bytes()),
        Canary::new("the wrong password", WRONG.as_bytes()),
        Canary::new("the sealing key", &sealing),
        Canary::new("the sealing key's text", sealing_text.as_bytes()),
    ];
    for name in tgmesh::launch::SERVICES.into_iter().chain([USERS]) {
        let text = std::fs::read(world.config.key_dir().join(format!("{name}.key")))?;
        let seed = base64::engine::general_purpose::STANDARD.decode(text.trim_ascii())?;
        canaries.push(Canary::new("a signing key", &seed));
    }

    let code = log_in(&world, 71, &mut errors).await?;
    canaries.push(Canary::new("the login code", code.as_bytes()));
    canaries.push(Canary::new("the qr token", show_qr(&world).await?.as_bytes()));

    let mut key = [0; 256];
    for part in key.chunks_mut(32) {
        part.copy_from_slice(&service_kit::identity::random_seed());
    }
    for part in [&key[..32], &key[100..132], &key[224..]] {
        canaries.push(Canary::new("the session's key", part));
    }
    // Sessions that cannot be read, or that Telegram does not know, stand in the request beside the one that works.
    let unknown = telethon(&[0x5c; 256]);
    let sessions = format!("{}!\n{unknown}\n", &telethon(&key)[..300]);
    canaries.push(Canary::new("the unknown session", &[0x5c; 32]));
    let request = integration::ImportSessionsRequest { request_id: world.id(), sessions };
    match world.integration(world.owner).import_sessions(request).await {
        Ok(answer) => errors.push_str(&format!("{:?}", answer.into_inner())),
        Err(status) => errors.push_str(&readable(&status)),
    }
    world.connect_by(world.owner, 61, key).await?;

    world.parse(world.owner, CHAT).await?;
    let campaign = world.create_campaign(world.owner, &["@target_willing", "@target_private", "@target_left"]).await?;
    world.start_campaign(world.owner, &campaign).await?;
    world.until_done(world.owner, &campaign).await?;

    let printed = tokio::task::block_in_place(|| cli::outputs(&world, [72, 73], 62))?;
    canaries.extend(printed.canaries);

    // All tokens of one key begin alike; and none of ours may be found by its signature.
    for caller in [Caller::User, Caller::Operator, Caller::Invite, Caller::Parsing] {
        let token = world.token(caller, world.owner, "integration");
        canaries.push(Canary::new("a token's head", &token.as_bytes()[..30]));
        canaries.push(Canary::new("a token's signature", token.rsplit('.').next().context("no signature")?.as_bytes()));
    }
    // Keys that were made with Telegram, in logins that are over and in one that is not.
    let keys = made_keys(&world.config.data_dir, &sealing).await?;
    assert!(keys.len() >= 6, "only {} keys are kept", keys.len());
    canaries.extend(keys);

    let data = world.config.data_dir.clone();
    let mut places = vec![("an answer".to_owned(), errors.clone().into_bytes())];
    places.extend(printed.places);
    // While everything runs, so that the write-ahead logs are there; and again after the end.
    files(&data, &mut places)?;
    assert!(places.iter().any(|(name, _)| name.ends_with(".db-wal")), "no write-ahead log was searched");
    let folder = world.stop().await?;
    files(&data, &mut places)?;
    let text = log.text();
    let lines = |level: &str| String::from_utf8_lossy(&text).matches(level).count();
    assert!(
        lines("\"level\":\"DEBUG\"") > 0 && lines("\"level\":\"TRACE\"") > 0,
        "the log was not written at trace level"
    );
    places.push(("the log".to_owned(), text));
    assert_eq!(search(&canaries, &places), Vec::<String>::new());

    // The same search convicts: each canary in each form, in the log and in a database.
    for canary in &canaries {
        for (form, leak) in canary.forms() {
            let line = [b"{\"field\":\"", leak, b"\"}"].concat();
            let leaks = search(std::slice::from_ref(canary), &[("a line".to_owned(), line)]);
            assert!(!leaks.is_empty(), "{} is not found in the form {form}", canary.name);
        }
    }
    tracing::debug!(leak = TWO_STEPS, key = format!("{:?}", &key[100..132]), "leaked on purpose");
    let database = sea_orm::Database::connect(format!("sqlite://{}", data.join("parsing.db").display())).await?;
    database.execute_unprepared("CREATE TABLE leak (text TEXT)").await?;
    database.execute_unprepared(&format!("INSERT INTO leak VALUES ('{sealing_text}')")).await?;
    database.close().await?;
    let mut places = vec![("the log".to_owned(), log.text())];
    files(&data, &mut places)?;
    let leaks = search(&canaries, &places);
    for leak in ["the password in the log", "the session's key in the log", "the sealing key's text in "] {
        assert!(leaks.iter().any(|found| found.starts_with(leak)), "{leak} is not noticed: {leaks:?}");
    }
    drop(folder);
    Ok(())
}
