//! Real processes: started with a folder of their own, waited for, killed in the middle of their work, started again.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::wait;

/// Names the binary under test.
pub const BINARY: &str = "TGMESH_TEST_BINARY";

/// How long a process may take until it serves, on a busy machine.
const SERVES: Duration = Duration::from_secs(60);

/// The `tgmesh` binary that was built with the tests.
///
/// # Errors
/// When it was not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    let file = match std::env::var_os(BINARY) {
        Some(file) => PathBuf::from(file),
        // target/debug/deps/<test> has the binary two folders above.
        None => std::env::current_exe()?.ancestors().nth(2).context("the test lies nowhere")?.join("tgmesh"),
    };
    if !file.is_file() {
        bail!("{} does not exist: run the tests through `cargo xtask test`, which builds it", file.display());
    }
    Ok(file)
}

/// The beginning of the `tgmesh.toml` of [`serve_all`]: the data folder `data` beside it, and free ports everywhere.
pub const ANYWHERE: &str = "
data_dir = 'data'
[admin]
listen = '127.0.0.1:0'
[emulator]
control = '127.0.0.1:0'
[integration.server]
listen = '127.0.0.1:0'
[parsing.server]
listen = '127.0.0.1:0'
[invite.server]
listen = '127.0.0.1:0'
";

/// Starts `tgmesh serve all` in the folder of its `tgmesh.toml`, and waits until it serves. Answers what its ready file
/// says, too.
///
/// # Errors
/// As [`Process::ready`] has them, or when it cannot be started.
pub async fn serve_all(program: impl Into<PathBuf>, folder: &Path) -> anyhow::Result<(Process, serde_json::Value)> {
    let launch = Launch::new("serve", program, folder).arguments(["serve", "all"]);
    let launch = launch.variable("TGMESH_CONFIG", "tgmesh.toml").ready_file(folder.join("data/ready.json"));
    let mut process = launch.start()?;
    let ready = process.ready(SERVES).await?;
    Ok((process, ready))
}

/// How a process is started; the same for every start.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    folder: PathBuf,
    name: String,
    ready_file: Option<PathBuf>,
}

impl Launch {
    /// `program` with its working folder; `name` is for messages and the log's file name.
    pub fn new(name: &str, program: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: folder.into(),
            name: name.to_owned(),
            ready_file: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The JSON file that the process writes once it serves. It is removed before each start.
    #[must_use]
    pub fn ready_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ready_file = Some(file.into());
        self
    }

    /// Starts the process. Its stdout and stderr go to the end of one log, over all starts.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> anyhow::Result<Process> {
        let child = self.spawn()?;
        Ok(Process { launch: self, child })
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        std::fs::create_dir_all(&self.folder)?;
        if let Some(file) = &self.ready_file {
            let _ = std::fs::remove_file(file);
        }
        let log: File = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("cannot start {} ({})", self.name, self.program.display()))
    }
}

/// A process under test. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Child,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where all its output goes.
    pub fn log(&self) -> PathBuf {
        self.launch.log()
    }

    /// Its output so far, over all starts.
    pub fn output(&self) -> String {
        std::fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits for the ready file and returns what stands in it.
    ///
    /// # Errors
    /// When the process has no ready file, ends before it is ready, or takes longer than `timeout`; with the end of
    /// its output.
    pub async fn ready(&mut self, timeout: Duration) -> anyhow::Result<serde_json::Value> {
        let file = self.launch.ready_file.clone().context("this process has no ready file")?;
        let what = format!("{} to be ready", self.launch.name);
        let ready = wait::until(&what, timeout, async || match self.child.try_wait() {
            // A file that is half written is no JSON yet.
            Ok(None) => read_json(&file).map(Ok),
            Ok(Some(status)) => Some(Err(status)),
            Err(_) => None,
        });
        match ready.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => bail!("{} ended before it was ready ({status}){}", self.launch.name, self.end_of_log()),
            Err(error) => bail!("{error}{}", self.end_of_log()),
        }
    }

    /// Sends a signal by its name, such as TERM, STOP or CONT.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let kill = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status()?;
        if !status.success() {
            bail!("cannot send {name} to {}: it is gone", self.launch.name);
        }
        Ok(())
    }

    /// Kills it at once, as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (TERM) and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub async fn stop(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal("TERM")?;
        let what = format!("{} to stop", self.launch.name);
        let stopped = wait::until(&what, timeout, async || self.child.try_wait().ok().flatten()).await;
        if stopped.is_err() {
            self.kill()?;
        }
        stopped.with_context(|| self.end_of_log())
    }

    /// Starts it again after its end, in the same folder.
    ///
    /// # Errors
    /// When it still runs, or cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            bail!("{} still runs", self.launch.name);
        }
        self.child = self.launch.spawn()?;
        Ok(())
    }

    fn end_of_log(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        format!("; its output ends with:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn read_json(file: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}
