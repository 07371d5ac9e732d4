//! The emulator judged by client libraries that know nothing of it.
//!
//! Telethon and kurigram run in Python with the interpreter that `TGMESH_TEST_PYTHON` names. They steer the
//! emulators by JSON lines over their standard streams, and report each check by name.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use telegram_emulator::{
    Emulator, EmulatorConfig, Fault, FaultFilter, FaultKind, Handle, MediaKind, Post, RpcError, Scenario,
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// A script that hangs must not hang the tests.
const LIMIT: Duration = Duration::from_secs(600);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

fn python() -> String {
    std::env::var("TGMESH_TEST_PYTHON")
        .unwrap_or_else(|_| panic!("run through `cargo xtask test`, or set TGMESH_TEST_PYTHON"))
}

async fn emulator(strict: bool) -> Emulator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/tests.toml");
    let config = EmulatorConfig { strict, ..EmulatorConfig::new(Scenario::load(&path).unwrap()) };
    Emulator::start(config).await.unwrap()
}

/// Answers one request of a script.
fn control(handle: &Handle, request: &Value) -> Result<Value, String> {
    let text = |name: &str| request[name].as_str().map(str::to_owned);
    let number = |name: &str| request[name].as_i64();
    let fault = |kind| {
        let filter = FaultFilter { account: number("account"), method: text("method"), ..FaultFilter::default() };
        let times = number("times").and_then(|times| u32::try_from(times).ok());
        Fault { times, ..Fault::always(filter, kind) }
    };
    let failed = |error: telegram_emulator::ControlError| error.to_string();
    match request["request"].as_str().unwrap_or_default() {
        "login_code" => handle.login_code(&text("phone").unwrap_or_default()).map(Value::from).map_err(failed),
        "accept_login_token" => handle
            .accept_login_token(&text("phone").unwrap_or_default(), &text("link").unwrap_or_default())
            .map(|()| Value::Null)
            .map_err(failed),
        "inject_error" => {
            let error = RpcError::by_name(&text("error").unwrap_or_default());
            Ok(handle.inject_fault(fault(FaultKind::Error(error))).into())
        }
        "inject" => {
            let kind = match text("kind").as_deref() {
                Some("drop_after_effect") => FaultKind::DropAfterEffect,
                Some("drop_before_effect") => FaultKind::DropBeforeEffect,
                Some("silence") => FaultKind::Silence,
                other => return Err(format!("no such kind of fault: {other:?}")),
            };
            Ok(handle.inject_fault(fault(kind)).into())
        }
        "clear_faults" => Ok(handle.clear_faults(None).into()),
        "drop_connections" => Ok(handle.drop_connections(number("account"), None).into()),
        "revoke_keys" => {
            let account = number("account").unwrap_or_default();
            Ok(handle.revoke_keys(account, text("error").map(|name| RpcError::by_name(&name))).into())
        }
        "post_message" => {
            let post = Post {
                author: number("author").unwrap_or_default(),
                chat: number("chat"),
                user: number("user"),
                text: text("text").unwrap_or_default(),
                reply_to: 0,
                media: MediaKind::None,
            };
            handle.post_message(&post).map(Value::from).map_err(failed)
        }
        "private_messages" => Ok(handle
            .private_messages(number("owner").unwrap_or_default(), number("author").unwrap_or_default())
            .into()),
        "overlaps" => Ok(handle.overlaps().len().into()),
        "summary" => {
            let summary = handle.summary();
            Ok(json!({ "calls": summary.calls, "effects": summary.effects, "errors": summary.errors }))
        }
        other => Err(format!("no such request: {other}")),
    }
}

/// What the checks of a script came to.
#[derive(Default)]
struct Verdict {
    passed: Vec<String>,
    failed: Vec<(String, String)>,
}

impl Verdict {
    fn is_clean(&self, at_least: usize) {
        let failures: Vec<_> = self.failed.iter().map(|(name, error)| format!("{name}: {error}")).collect();
        let all = self.passed.len() + self.failed.len();
        assert!(failures.is_empty(), "{} of {all} checks failed:\n{}", failures.len(), failures.join("\n"));
        assert!(self.passed.len() >= at_least, "only {all} checks ran");
    }
}

/// Runs the checks of a script whose name contains `only` against a lax and a strict emulator; a fault may make
/// both of them misbehave from the start.
async fn run(script: &str, only: &str, fault: Option<Fault>) -> Verdict {
    let (lax, strict) = (emulator(false).await, emulator(true).await);
    for emulator in [&lax, &strict] {
        fault.clone().map(|fault| emulator.handle().inject_fault(fault));
    }
    // kurigram leaves a file behind where it runs.
    let work = std::env::temp_dir().join(format!("telegram-emulator-{script}-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    let mut child = Command::new(python())
        .arg("-B")
        .arg(folder().join(script))
        .arg(only)
        .current_dir(&work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("TGMESH_TEST_PYTHON names an interpreter that can be started");
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let infos = json!({ "lax": lax.info(), "strict": strict.info() });
    input.write_all(format!("{infos}\n").as_bytes()).await.unwrap();

    let (mut verdict, mut announced) = (Verdict::default(), None);
    let talk = async {
        while let Some(line) = output.next_line().await.unwrap() {
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            if line.get("request").is_some() {
                let handle = if line["emulator"] == "strict" { strict.handle() } else { lax.handle() };
                let answer = match control(handle, &line) {
                    Ok(value) => json!({ "value": value }),
                    Err(error) => json!({ "error": error }),
                };
                input.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            } else if let Some(name) = line["check"].as_str() {
                if line["ok"] == true {
                    verdict.passed.push(name.to_owned());
                } else {
                    let trace = line["trace"].as_str().unwrap_or_default();
                    verdict.failed.push((name.to_owned(), format!("{}\n{trace}", line["error"])));
                }
            } else if line.get("done").is_some() {
                announced = line["done"].as_u64();
            }
        }
    };
    tokio::time::timeout(LIMIT, talk).await.expect("the script ends within its time");
    drop(input);
    let status = child.wait().await.unwrap();
    lax.shutdown().await;
    strict.shutdown().await;
    let _ = std::fs::remove_dir_all(&work);
    assert!(status.success(), "the script ended with {status}");
    let reported = verdict.passed.len() + verdict.failed.len();
    assert_eq!(announced, Some(reported as u64), "every check has reported");
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telethon() {
    run("telethon_checks.py", "", None).await.is_clean(30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kurigram() {
    run("kurigram_checks.py", "", None).await.is_clean(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_convict_an_emulator_that_misbehaves() {
    let filter = FaultFilter { method: Some("channels.getParticipants".into()), ..FaultFilter::default() };
    let fault = Fault::always(filter, FaultKind::Error(RpcError::by_name("CHANNEL_PRIVATE")));
    for script in ["telethon_checks.py", "kurigram_checks.py"] {
        let verdict = run(script, "thousand-member", Some(fault.clone())).await;
        assert_eq!((verdict.passed.len(), verdict.failed.len()), (0, 1), "{script}");
        assert!(verdict.failed[0].1.contains("CHANNEL_PRIVATE") || verdict.failed[0].1.contains("ChannelPrivate"));
    }
}
