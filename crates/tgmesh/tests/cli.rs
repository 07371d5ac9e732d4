//! The command line as its users meet it: the real binary, in a folder of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tgmesh_tests::process::{ANYWHERE, Process, serve_all};

const BINARY: &str = env!("CARGO_BIN_EXE_tgmesh");
const SOON: Duration = Duration::from_secs(60);

/// Nobody where no process says that it is, and limits that a test can wait for.
const CONFIG: &str = r#"
[addresses]
integration = "http://127.0.0.1:1"
parsing = "http://127.0.0.1:1"
invite = "http://127.0.0.1:1"
[integration.limits.invite]
interval = { shortest_ms = 0, longest_ms = 0 }
pause_after = "off"
"#;

/// A folder with a configuration, in which commands are given.
struct Folder(TempDir);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        Self::with(&format!("{ANYWHERE}{CONFIG}"))
    }

    fn with(config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("tgmesh.toml"), config)?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command.env_remove("TGMESH_TOKEN").env("TGMESH_CONFIG", "tgmesh.toml");
        command
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Exit code, and what was said on standard error.
    fn fails(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = self.run(arguments)?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    }

    /// The same for a caller who has a token: nothing was served in this folder.
    fn fails_with_token(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = self.command(arguments).env("TGMESH_TOKEN", "any").output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    }

    /// What a command that succeeds prints.
    fn text(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The messages that a command which succeeds prints as JSON, one a line.
    fn messages(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let text = self.text(&[arguments, &["--json"]].concat())?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// The last of them.
    fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.messages(arguments)?.pop().context("nothing was printed")
    }

    async fn serve(&self) -> anyhow::Result<Process> {
        Ok(serve_all(BINARY, self.path()).await?.0)
    }

    /// Logs in as a person at a terminal would: each answer is given when it is asked for.
    fn log_in(&self, phone: &str, password: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let mut command = self.command(&["accounts", "login", "phone", phone, "--json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut answers = child.stdin.take().context("it reads")?;
        let mut steps = Vec::new();
        for line in BufReader::new(child.stdout.take().context("it writes")?).lines() {
            let step: Value = serde_json::from_str(&line?)?;
            match step["login"]["state"].as_str() {
                Some("STATE_CODE_REQUIRED") => {
                    answers.write_all(self.text(&["emulator", "code", phone])?.as_bytes())?;
                }
                Some("STATE_PASSWORD_REQUIRED") => {
                    writeln!(answers, "{}", password.context("no password was expected")?)?;
                }
                _ => {}
            }
            steps.push(step);
        }
        ensure!(child.wait()?.success(), "the login of {phone} failed: {steps:?}");
        Ok(steps)
    }
}

#[test]
fn mistakes_in_the_command_line_end_with_2() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    for arguments in [
        &[] as &[&str],
        &["sevre"],
        &["serve", "everything"],
        &["parse", "start"],
        &["campaign", "create", "--chat", "x", "--consent", "opt-in"],
        &["campaign", "create", "--chat", "x", "--to", "a", "--from-file", "b", "--consent", "opt-in"],
        &["campaign", "create", "--chat", "x", "--to", "a"],
        &["accounts", "login", "phone"],
        &["accounts", "update", "somebody"],
        &["campaign", "update", "last"],
        &["quota", "set", "invite.speed=1"],
        &["quota", "set", "invite.pause=soon"],
        &["accounts", "list", "--address", "billing=127.0.0.1:1"],
        &["emulator", "--port", "2"],
        &["parse", "show", "no-id"],
    ] {
        let (code, said) = folder.fails_with_token(arguments)?;
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(!said.is_empty(), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn an_unknown_setting_is_named_and_ends_with_78() -> anyhow::Result<()> {
    let folder = Folder::with("colour = 1")?;
    let (code, said) = folder.fails(&["migrate"])?;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("colour") && said.contains("what to do:"), "{said}");
    assert!(!folder.path().join("tgmesh-data").exists(), "nothing may be made with a configuration that is not usable");

    let output = folder.run(&["doctor"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout)?.contains("colour"));
    Ok(())
}

#[test]
fn what_needs_no_configuration_works_without() -> anyhow::Result<()> {
    let folder = Folder::with("colour = 1")?;
    assert!(folder.text(&["version"])?.starts_with("tgmesh "));
    assert!(folder.text(&["config"])?.contains("[integration.limits]"));
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.text(&["completions", shell])?;
        assert!(script.contains("campaign") && script.contains("tgmesh"), "{shell}: {script}");
    }
    Ok(())
}

#[test]
fn a_doctor_finds_nothing_where_nothing_runs() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let output = folder.run(&["doctor", "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(found["ok"], false);
    let findings = found["findings"].as_array().context("findings")?;
    for service in ["integration", "parsing", "invite"] {
        let what = format!("{service} service");
        let finding = findings.iter().find(|finding| finding["what"] == what.as_str()).context("a finding")?;
        assert_eq!(finding["state"], "failed");
        assert_eq!(finding["at"], "http://127.0.0.1:1");
    }
    assert!(!folder.path().join("data").exists(), "a doctor changes nothing");
    Ok(())
}

#[test]
fn a_service_that_cannot_be_reached_is_named_and_ends_with_69() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let (code, said) = folder.fails_with_token(&["campaign", "list"])?;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("the invite service at http://127.0.0.1:1 cannot be reached"), "{said}");

    let (code, said) = folder.fails_with_token(&["campaign", "list", "--json"])?;
    assert_eq!(code, Some(69));
    let error: Value = serde_json::from_str(&said)?;
    assert!(error["error"]["advice"].is_string(), "{said}");

    let (code, said) = folder.fails(&["healthcheck", "--address", "127.0.0.1:1"])?;
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_watch_outlives_the_process_that_it_watches() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let mut serve = folder.serve().await?;
    let (folder, mut watch) = tokio::task::spawn_blocking(move || {
        folder.log_in("+49 30 9000 0101", None)?;
        folder.text(&["parse", "start", "@rust_berlin", "--speed", "safe"])?;
        let mut watch = folder.command(&["parse", "watch", "last"]);
        let mut watch = watch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(watch.stderr.take().context("it says")?);
        said.read_line(&mut String::new())?;
        anyhow::Ok((folder, (watch, said)))
    })
    .await??;
    serve.kill()?;
    // Elsewhere, as every port is a free one; and its accounts have lost their sessions.
    serve.restart()?;
    serve.ready(SOON).await?;
    tokio::task::spawn_blocking(move || {
        folder.text(&["parse", "cancel", "last"])?;
        let said = watch.1.lines().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(watch.0.wait()?.code(), Some(1), "{said:?}");
        assert_eq!(said.iter().filter(|line| line.contains("trying again")).count(), 1, "{said:?}");
        assert!(said.last().is_some_and(|line| line.contains("the task is cancelled")), "{said:?}");
        anyhow::Ok(())
    })
    .await?
}

#[test]
fn schemas_are_migrated_one_by_one_or_together() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    assert_eq!(folder.messages(&["migrate", "invite"])?.len(), 1);
    assert!(!folder.path().join("data/parsing.db").exists());
    assert_eq!(folder.messages(&["migrate"])?.len(), 3);
    assert_eq!(folder.messages(&["migrate"])?.len(), 3, "a second time changes nothing");
    Ok(())
}

#[tokio::test]
async fn the_main_job_by_hand() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let mut serve = folder.serve().await?;
    let job = tokio::task::spawn_blocking(move || job(&folder).map(|()| folder)).await?;
    let folder = job.with_context(|| serve.output())?;
    let status = serve.stop(SOON).await?;
    assert!(status.success(), "{status}: {}", serve.output());
    assert!(!folder.path().join("data/ready.json").exists(), "nobody is to be sent to a process that has ended");
    Ok(())
}

/// The message that a command printed, whatever its exit code.
fn answer_of(output: &Output) -> anyhow::Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Everything that the README tells an operator to do.
fn job(folder: &Folder) -> anyhow::Result<()> {
    for service in ["ready", "integration", "parsing", "invite", ""] {
        folder.text(&["healthcheck", "--service", service]).with_context(|| service.to_owned())?;
    }
    assert_eq!(folder.run(&["healthcheck", "--service", "billing"])?.status.code(), Some(1));
    assert_eq!(folder.json(&["doctor"])?["ok"], true);

    accounts(folder)?;
    let task = parse(folder)?;
    campaign(folder, &task)?;

    // Another workspace sees none of it.
    let stranger = ["--workspace", "00000000-0000-7000-8000-000000000001"];
    for list in [["accounts", "list"], ["parse", "list"], ["campaign", "list"]] {
        let answer = folder.json(&[&list[..], &stranger].concat())?;
        let lists = answer.as_object().context("a message")?.values();
        assert!(lists.filter_map(Value::as_array).all(Vec::is_empty), "{answer}");
    }
    let (code, said) = folder.fails(&[&["parse", "show", task.as_str()][..], &stranger].concat())?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("PARSE_TASK_NOT_FOUND"), "{said}");
    Ok(())
}

fn accounts(folder: &Folder) -> anyhow::Result<()> {
    assert!(folder.text(&["accounts", "list"])?.contains("no accounts yet"));
    let steps = folder.log_in("+49 30 9000 0101", None)?;
    assert_eq!(steps.len(), 2, "{steps:?}");
    let steps = folder.log_in("+49 30 9000 0105", Some("correct horse battery staple"))?;
    assert_eq!(steps[1]["login"]["passwordHint"], "xkcd 936");

    // Where nobody enters anything the login waits, and is gone on with.
    let phone = "+49 30 9000 0102";
    let output = folder.run(&["accounts", "login", "phone", phone, "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let waits: Value = serde_json::from_slice(&output.stdout)?;
    let login = waits["login"]["id"].as_str().context("an id")?;
    let mut command = folder.command(&["accounts", "login", "phone", "--login", login]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let code = folder.text(&["emulator", "code", phone])?;
    child.stdin.take().context("it reads")?.write_all(code.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    qr(folder)?;
    let listed = folder.json(&["accounts", "list"])?;
    let accounts = listed["accounts"].as_array().context("accounts")?;
    assert_eq!(accounts.len(), 4);
    assert!(accounts.iter().all(|account| account["state"] == "STATE_READY"), "{listed}");
    let shown = folder.json(&["accounts", "show", "operator_six"])?;
    assert_eq!(shown["account"]["telegramUserId"], "106");
    let paused = folder.json(&["accounts", "pause", "@operator_two"])?;
    assert_eq!(paused["account"]["state"], "STATE_PAUSED");
    let changed = folder.json(&["accounts", "update", "operator_six", "--label", "desk", "--purposes", "parse"])?;
    assert_eq!(changed["account"]["label"], "desk", "{changed}");
    assert_eq!(changed["account"]["purposes"], serde_json::json!(["PURPOSE_PARSE"]), "{changed}");
    let changed = folder.json(&["accounts", "update", "desk", "--label", "", "--purposes", "parse", "invite"])?;
    assert_eq!(
        (&changed["account"]["label"], changed["account"]["purposes"][1].as_str()),
        (&"".into(), Some("PURPOSE_INVITE"))
    );
    let summary = folder.json(&["accounts", "summary"])?;
    assert!(summary["states"].as_array().is_some_and(|states| states.len() >= 2), "{summary}");
    assert_eq!(folder.fails(&["accounts", "show", "nobody"])?.0, Some(1));

    assert!(folder.text(&["accounts", "check", "operator_six"])?.ends_with("ready\n  nothing is wrong\n"));
    let (code, said) = folder.fails(&["accounts", "check", "operator_two"])?;
    assert_eq!((code, said.matches("paused").count()), (Some(1), 1), "{said}");
    let id = paused["account"]["id"].as_str().context("an id")?;
    assert!(said.contains(&format!("resume it: tgmesh accounts resume {id}")), "{said}");
    let token = folder.text(&["token"])?;
    assert_eq!(token.trim().split('.').count(), 3, "a signed token");
    let output = folder.command(&["campaign", "list"]).env("TGMESH_TOKEN", token.trim()).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let (code, said) = folder.fails(&["accounts", "delete", "operator_two"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("--yes"), "{said}");
    folder.text(&["accounts", "delete", "operator_two", "--yes"])?;
    assert_eq!(folder.json(&["accounts", "list"])?["accounts"].as_array().map(Vec::len), Some(3));

    // What is no session is told line by line, and never repeated.
    std::fs::write(folder.path().join("sessions.txt"), "# ours\nsecret-that-is-no-session\n")?;
    let output = folder.run(&["accounts", "import", "sessions.txt"])?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    assert!(text.contains("unreadable") && !text.contains("secret-that"), "{text}");
    Ok(())
}

fn qr(folder: &Folder) -> anyhow::Result<()> {
    let mut command = folder.command(&["accounts", "login", "qr", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut states = Vec::new();
    for line in BufReader::new(child.stdout.take().context("it writes")?).lines() {
        let step: Value = serde_json::from_str(&line?)?;
        if let Some(link) = step["qrCode"]["link"].as_str() {
            folder.text(&["emulator", "scan", "+49 30 9000 0106", link])?;
        }
        states.push(step["login"]["state"].as_str().unwrap_or_default().to_owned());
    }
    assert!(child.wait()?.success(), "{states:?}");
    assert_eq!(states.last().map(String::as_str), Some("STATE_COMPLETED"));
    Ok(())
}

fn parse(folder: &Folder) -> anyhow::Result<String> {
    let preview = folder.json(&["parse", "start", "@rust_berlin", "--dry-run"])?;
    assert_eq!(preview["previews"][0]["total"], "2000", "{preview}");
    let created = folder.json(&["parse", "start", "t.me/rust_berlin", "--speed", "fast"])?;
    let task = created["parseTasks"][0]["id"].as_str().context("an id")?.to_owned();
    let seen = folder.messages(&["parse", "watch", &task])?;
    let last = &seen.last().context("the watch says something")?["parseTask"];
    assert_eq!(last["state"], "STATE_COMPLETED", "{last}");
    assert_eq!(last["completeness"]["complete"], true, "{last}");

    let results: usize = last["progress"]["results"].as_str().context("a number")?.parse()?;
    folder.text(&["parse", "export", &task, "--output", "people.csv"])?;
    let csv = std::fs::read_to_string(folder.path().join("people.csv"))?;
    assert_eq!(csv.lines().count(), results + 1);
    let lines = folder.text(&["parse", "export", "last", "--format", "ndjson"])?;
    assert_eq!(lines.lines().count(), results);

    let (code, said) = folder.fails(&["parse", "start", "nobody_here_at_all", "--watch"])?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("CHAT_NOT_FOUND"), "{said}");
    Ok(task)
}

fn campaign(folder: &Folder, task: &str) -> anyhow::Result<()> {
    let chat = "@rust_meetup_berlin";
    let ready = folder.json(&["campaign", "check", chat])?;
    assert_eq!((&ready["ready"], &ready["chat"]["title"]), (&Value::from(3), &"Rust Meetup Berlin".into()));
    let by_id = folder.json(&["campaign", "check", "-1000000007002"])?;
    assert_eq!(by_id["chat"], ready["chat"]);

    folder.text(&["dnc", "add", "@user_10000006", "@user_10000010", "--reason", "asked for it"])?;
    assert!(folder.text(&["dnc", "remove", "@User_10000010"])?.starts_with('1'));
    assert_eq!(folder.fails(&["dnc", "remove", "@user_10000010"])?.0, Some(1));
    let create = ["campaign", "create", "--chat", chat, "--consent", "opt-in"];
    let audience = ["--from-parse", task, "--limit", "6"];
    let dry = folder.json(&[&create[..], &audience, &["--dry-run"]].concat())?;
    assert_eq!((&dry["campaign"]["id"], &dry["importReport"]["accepted"]), (&"".into(), &"6".into()), "{dry}");
    assert!(folder.text(&["campaign", "list"])?.contains("no campaigns yet"));

    let created = folder.json(&[&create[..], &audience, &["--name", "Meetup"]].concat())?;
    let id = created["campaign"]["id"].as_str().context("an id")?;
    folder.text(&["campaign", "start", id])?;
    let seen = folder.messages(&["campaign", "watch", id])?;
    let last = &seen.last().context("the watch says something")?["campaign"];
    assert_eq!(last["state"], "STATE_COMPLETED", "{last}");
    let report = folder.json(&["campaign", "report", "last"])?;
    let done: i64 = report["campaign"]["progress"]["outcomes"]
        .as_array()
        .context("outcomes")?
        .iter()
        .filter_map(|count| count["targets"].as_str()?.parse::<i64>().ok())
        .sum();
    assert_eq!(done, 6, "{report}");
    let done_as = |outcome: &str| folder.json(&["campaign", "targets", id, "--outcome", outcome]);
    assert!(done_as("invited")?["targets"].as_array().is_some_and(|targets| !targets.is_empty()));
    assert_eq!(done_as("do not contact")?["targets"].as_array().map(Vec::len), Some(0));
    let targets = folder.json(&["campaign", "targets", id])?;
    assert_eq!(targets["targets"].as_array().map(Vec::len), Some(6));
    assert!(folder.text(&["campaign", "executions", id])?.contains("invited"));

    // A file, and names.
    std::fs::write(folder.path().join("people-2.csv"), "username\nuser_10000006\n@user_10000010\na_third_person\n")?;
    let created = folder.json(&[&create[..], &["--from-file", "people-2.csv"]].concat())?;
    assert_eq!(created["importReport"]["doNotContact"], "1", "{created}");
    folder.text(&["campaign", "delete", "last", "--yes"])?;
    let created = folder.json(&[&create[..], &["--to", "@some_person", "t.me/another_person"]].concat())?;
    assert_eq!(created["importReport"]["accepted"], "2", "{created}");

    let account = report["accounts"][0]["accountId"].as_str().context("an account")?;
    let usage = folder.json(&["quota", "show", account, "--chat", chat])?;
    assert_eq!(usage, folder.json(&["quota", "show", account, "--chat", "-1000000007002"])?);
    let invites = usage["usage"].as_array().context("usage")?;
    assert!(invites.iter().any(|limit| limit["used"].as_i64().is_some_and(|used| used > 0)), "{usage}");
    assert!(folder.text(&["quota", "limits"])?.contains("invites a day"));
    assert!(folder.text(&["quota", "history", account])?.contains("invite"));
    folder.text(&["leases", "list"])?;
    let nobody = "00000000-0000-7000-8000-000000000001";
    let (code, said) = folder.fails(&["leases", "revoke", nobody])?;
    assert!(code == Some(1) && said.contains("LEASE_NOT_FOUND"), "{said}");

    let renamed = folder.json(&["campaign", "update", "last", "--name", "Others", "--priority", "high"])?;
    assert_eq!(
        (&renamed["campaign"]["name"], &renamed["campaign"]["priority"]),
        (&"Others".into(), &"PRIORITY_HIGH".into())
    );
    let try_one = ["campaign", "test", "--chat", chat];
    let tried = folder.run(&[&try_one[..], &["user_10000006", "--json"]].concat())?;
    let answer = answer_of(&tried)?;
    assert_eq!((tried.status.code(), &answer["outcome"]), (Some(1), &"OUTCOME_DO_NOT_CONTACT".into()), "{answer}");
    let set = folder.json(&["quota", "set", "--account", account, "invite.per_day=1", "invite.pause=45min"])?;
    assert_eq!(
        (&set["limits"]["invite"]["perDay"], &set["effective"]["invite"]["pause"]),
        (&1.into(), &"2700s".into()),
        "{set}"
    );
    assert!(folder.text(&["quota", "limits", "--account", account])?.contains("invite.per_day"));
    let (code, said) = folder.fails(&[&try_one[..], &["user_10000010", "--account", account]].concat())?;
    assert!(code == Some(75), "{code:?}: {said}");
    folder.text(&["quota", "set", "--account", account, "invite.per_day=off"])?;
    let tried = folder.run(&[&try_one[..], &["user_10000010", "--account", account, "--json"]].concat())?;
    let answer = answer_of(&tried)?;
    let invited = answer["outcome"] == "OUTCOME_INVITED";
    assert_eq!((tried.status.code(), &answer["accountId"]), (Some(i32::from(!invited)), &account.into()), "{answer}");
    Ok(())
}
