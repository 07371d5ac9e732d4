//! The command line beside the services: what it prints holds no secret either, as text or as JSON.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use tgmesh_tests::process::binary;
use tgmesh_tests::wait;

use crate::common::play::telethon;
use crate::common::{PATIENCE, World, phone};
use crate::needles::Canary;
use crate::{TWO_STEPS, WRONG};

/// A token that is nobody's.
const TOKEN: &str = "eyJjYW5hcnkiOnRydWV9.bm90LWEtdG9rZW4tYnV0LWEtc2VjcmV0.c2lnbmVkLWJ5LW5vYm9keS1hdC1hbGw";

/// What was printed, by command, and what must not stand in it.
#[derive(Debug, Default)]
pub struct Printed {
    pub places: Vec<(String, Vec<u8>)>,
    pub canaries: Vec<Canary>,
}

struct Terminal<'a> {
    world: &'a World,
    printed: Printed,
}

impl Terminal<'_> {
    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(binary()?);
        let address = format!("integration={}", self.world.address("integration"));
        command.current_dir(self.world.folder()).args(arguments).args(["--address", &address]);
        command.env("TGMESH_CONFIG", self.world.folder().join("tgmesh.toml")).env("TGMESH__LOG__FILTER", "trace");
        command.env_remove("TGMESH_TOKEN").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn keep(&mut self, arguments: &[&str], stdout: &[u8], stderr: &[u8]) {
        self.printed.places.push((format!("the output of {arguments:?}"), [stdout, b"\n", stderr].concat()));
    }

    /// Runs a command; whether it succeeded.
    fn run(&mut self, arguments: &[&str], token: Option<&str>) -> anyhow::Result<bool> {
        let mut command = self.command(arguments)?;
        command.envs(token.map(|token| ("TGMESH_TOKEN", token)));
        let output = command.output()?;
        self.keep(arguments, &output.stdout, &output.stderr);
        Ok(output.status.success())
    }

    /// Logs in as a script would, whose input ends where it was wrong: a code and a password, each entered wrong first.
    fn log_in(&mut self, user: i64, options: &[&str]) -> anyhow::Result<()> {
        let number = phone(user);
        let arguments = [&["accounts", "login", "phone", number.as_str()], options].concat();
        let mut code = String::new();
        for (turn, reason) in ["wrong", "wrong", ""].into_iter().enumerate() {
            let mut child = self.command(&arguments)?.stdin(Stdio::piped()).spawn()?;
            let mut answers = child.stdin.take().context("it reads")?;
            if turn == 0 {
                // Once the phone shows the code, it is asked for.
                let shows = wait::until("the code", PATIENCE, async || self.world.handle().login_code(&number).ok());
                code = tokio::runtime::Handle::current().block_on(shows)?;
            }
            match turn {
                0 => {
                    let wrong = |digit| if digit == '9' { '0' } else { '9' };
                    writeln!(answers, "{}", code.chars().map(wrong).collect::<String>())?;
                }
                1 => write!(answers, "{code}\n{WRONG}\n")?,
                _ => writeln!(answers, "{TWO_STEPS}")?,
            }
            drop(answers);
            let output = child.wait_with_output()?;
            self.keep(&arguments, &output.stdout, &output.stderr);
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success() == reason.is_empty() && said.contains(reason), "turn {turn}: {said}");
        }
        self.printed.canaries.push(Canary::new("a login code of the command line", code.as_bytes()));
        Ok(())
    }
}

/// Uses the commands that handle secrets; these users log in.
pub fn outputs(world: &World, users: [i64; 2], imported: i64) -> anyhow::Result<Printed> {
    let mut terminal = Terminal { world, printed: Printed::default() };
    terminal.log_in(users[0], &["--json"])?;
    terminal.log_in(users[1], &[])?;

    let mut key = [0; 256];
    for part in key.chunks_mut(32) {
        part.copy_from_slice(&service_kit::identity::random_seed());
    }
    world.handle().add_key(key, 2, Some(imported));
    // One that works, one that Telegram does not know, one that cannot be read.
    let (good, unknown) = (telethon(&key), telethon(&[0xa7; 256]));
    let file = world.folder().join("sessions.txt");
    std::fs::write(&file, format!("{good}\n{unknown}\n{}!\n", &good[..200]))?;
    let file = file.display().to_string();
    for options in [&["--json"][..], &[]] {
        terminal.run(&[&["accounts", "import", file.as_str()], options].concat(), None)?;
        ensure!(terminal.run(&[&["accounts", "list"], options].concat(), None)?, "the accounts cannot be listed");
        terminal.run(&[&["doctor"], options].concat(), None)?;
        let refused = terminal.run(&[&["accounts", "list"], options].concat(), Some(TOKEN))?;
        ensure!(!refused, "anybody is served");
    }
    for part in [&key[..32], &key[64..96], &key[200..232]] {
        terminal.printed.canaries.push(Canary::new("a session's key, imported by the command line", part));
    }
    terminal.printed.canaries.push(Canary::new("a session that is unknown", &[0xa7; 32]));
    terminal.printed.canaries.push(Canary::new("a token that is nobody's", TOKEN.as_bytes()));
    std::fs::remove_file(file)?;
    Ok(terminal.printed)
}
