//! A server that lives as long as this process, at most.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::{command, debian, places};

/// Runs the server and waits for our end of the pipe on its stdin to close. That happens however this process ends,
/// by ctrl-c and by kill -9 too; then the server is asked to stop and its files are removed. The log of one that ends by
/// itself is kept for the error.
const GUARD: &str = r#"
exec 3<&0 </dev/null
folder=$1
stop=$2
shift 2
"$@" 3<&- &
server=$!
{ cat <&3 >/dev/null; : >"$folder/stopping"; kill -s "$stop" "$server" 2>/dev/null; } &
exec 3<&-
wait "$server"
status=$?
[ -e "$folder/stopping" ] && rm -rf -- "$folder"/*
exit $status
"#;

/// Longest wait for a server to stop; after it the server is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Who runs a server: PostgreSQL refuses to run as root.
#[derive(Clone, Copy)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The first of `names` that exists, when this process runs as root; otherwise nobody but who runs it.
    ///
    /// # Errors
    /// When this is root and none of the names exists.
    pub fn unprivileged(names: &[&str]) -> anyhow::Result<Option<Self>> {
        if !debian::is_root() {
            return Ok(None);
        }
        let id = |flag: &str, name: &str| command::output(Command::new("id").args([flag, name])).ok()?.parse().ok();
        names
            .iter()
            .find_map(|name| Some(Some(Self { uid: id("-u", name)?, gid: id("-g", name)? })))
            .with_context(|| format!("no user to run a server as: tried {}", names.join(", ")))
    }
}

/// A fresh folder for one server's files, which its user owns.
///
/// # Errors
/// When it cannot be made.
pub fn folder(name: &str, user: Option<User>) -> anyhow::Result<PathBuf> {
    let ours = places::target().join("servers");
    fs::create_dir_all(&ours)?;
    remove_leftovers(&ours);
    // A clone below /root can be entered by root alone.
    let parent = if user.is_none() || anyone_may_enter(&ours) { ours } else { std::env::temp_dir() };
    let folder = parent.join(format!("tgmesh-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    if let Some(User { uid, gid }) = user {
        std::os::unix::fs::chown(&folder, Some(uid), Some(gid))?;
    }
    Ok(folder)
}

fn anyone_may_enter(folder: &Path) -> bool {
    folder.ancestors().all(|folder| fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0))
}

/// Removes the folders of processes that are gone.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.rsplit('-').next()) else { continue };
        if !signal("-0", pid) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A port of the loopback interface that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Gives the command to the user.
pub fn run_as(command: &mut Command, user: Option<User>) -> &mut Command {
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// What is started, and how it is stopped.
pub struct Program<'a> {
    /// For messages and the log's name.
    pub name: &'static str,
    pub file: &'a Path,
    pub arguments: &'a [String],
    /// The signal that makes it stop at once, clients or not.
    pub stop: &'static str,
}

/// A running server. It is stopped, and its folder removed, when this is dropped.
pub struct Server {
    name: &'static str,
    guard: Child,
    /// Closing it stops the server.
    pipe: Option<ChildStdin>,
    folder: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts the program with its output in a file of `folder`, which goes away with the server.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Program<'_>, folder: PathBuf, user: Option<User>) -> anyhow::Result<Self> {
        let name = program.name;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&folder).arg(program.stop).arg(program.file).args(program.arguments);
        command.current_dir(&folder).stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // A group of its own: ctrl-c reaches the tests first, and the server when we are gone.
        run_as(command.process_group(0), user);
        let mut guard = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pipe = guard.stdin.take();
        Ok(Self { name, guard, pipe, folder, log })
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// When the server ends before, or is not ready in time; with the end of its log.
    pub fn wait_until(&mut self, timeout: Duration, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let pause = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        while !ready() {
            if let Some(status) = self.guard.try_wait()? {
                bail!("{} ended at once ({status}){}", self.name, self.end_of_log());
            }
            if waited > timeout {
                bail!("{} is not ready after {} s{}", self.name, timeout.as_secs(), self.end_of_log());
            }
            wait(pause);
            waited += pause;
        }
        Ok(())
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        if end.is_empty() { String::new() } else { format!("; its log ends with:\n{end}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let pause = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while matches!(self.guard.try_wait(), Ok(None)) {
            if waited > STOP_TIMEOUT {
                eprintln!("warning: {} did not stop and is killed", self.name);
                // The guard leads the group of the server and of nothing else.
                signal("-KILL", &format!("-{}", self.guard.id()));
                let _ = self.guard.wait();
                break;
            }
            wait(pause);
            waited += pause;
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends a signal to a process, or with a minus to a group; false when there is none. The shell's own `kill`, since
/// small systems have no other.
fn signal(signal: &str, pid: &str) -> bool {
    command::succeeds(Command::new("sh").args(["-c", "kill \"$1\" \"$2\"", "kill", signal, pid]))
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs in this process, and nothing tells of a change")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn start(name: &'static str, script: &str) -> anyhow::Result<(Server, PathBuf)> {
        let folder = folder(name, None)?;
        let arguments = ["-c".to_owned(), script.to_owned()];
        let program = Program { name, file: Path::new("/bin/sh"), arguments: &arguments, stop: "TERM" };
        Ok((Server::start(&program, folder.clone(), None)?, folder))
    }

    #[test]
    fn a_server_and_its_files_go_with_their_owner() -> anyhow::Result<()> {
        let (mut server, folder) = start("lives", "echo $$ > pid; exec sleep 1000")?;
        let pid = || fs::read_to_string(folder.join("pid")).unwrap_or_default().trim().to_owned();
        server.wait_until(SOON, || signal("-0", &pid()))?;
        let pid = pid();
        drop(server);
        assert!(!signal("-0", &pid), "the server still runs");
        assert!(!folder.exists(), "its files are still there");
        Ok(())
    }

    #[test]
    fn a_server_that_ends_at_once_shows_its_last_words() -> anyhow::Result<()> {
        let (mut server, _) = start("dies", "echo the port is taken; exit 3")?;
        let error = server.wait_until(SOON, || false).expect_err("it ended").to_string();
        assert!(error.contains("exit status: 3") && error.contains("the port is taken"), "{error}");
        Ok(())
    }
}
