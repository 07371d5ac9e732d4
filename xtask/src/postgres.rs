//! A PostgreSQL server of our own, for one run of the tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::server::{self, Program, Server, User};
use crate::{command, debian};

/// Names a server that is there already; then none is started.
pub const URL: &str = "TGMESH_TEST_POSTGRES_URL";

/// A running server.
pub struct Postgres {
    /// A superuser's URL; each test makes a database of its own there.
    pub url: String,
    _server: Server,
}

/// What a commit is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing here outlives the run, so nothing is worth waiting for the disk.
    None,
    /// A commit is on the disk, as in production: whoever measures measures that too.
    Full,
}

impl Postgres {
    /// Starts a server with fresh data on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no binaries are installed and none can be, or the server does not start.
    pub fn start(durability: Durability) -> anyhow::Result<Self> {
        let binaries = binaries()?;
        let user = User::unprivileged(&["postgres", "nobody"])?;
        let folder = server::folder("postgres", user)?;
        let data = folder.join("data");

        let mut initdb = command::program(binaries.join("initdb"));
        initdb.current_dir(&folder).args(["--username=tgmesh", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--no-sync", "--pgdata"]).arg(&data);
        command::output(server::run_as(&mut initdb, user)).context("cannot prepare a PostgreSQL server")?;

        let port = server::free_port()?;
        let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            // Relative to the data folder: a socket's path may have 107 bytes, and the folder's own may be longer.
            "unix_socket_directories=.".to_owned(),
            "max_connections=400".to_owned(),
            "timezone=UTC".to_owned(),
        ] {
            arguments.push("-c".to_owned());
            arguments.push(setting);
        }
        if durability == Durability::None {
            for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
                arguments.push("-c".to_owned());
                arguments.push(setting.to_owned());
            }
        }
        let file = binaries.join("postgres");
        let program = Program { name: "postgres", file: &file, arguments: &arguments, stop: "INT" };
        let mut server = Server::start(&program, folder, user)?;
        // The eighth line of this file is the server's own word for its state.
        let state = data.join("postmaster.pid");
        server.wait_until(Duration::from_secs(60), || {
            std::fs::read_to_string(&state)
                .is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
        })?;
        Ok(Self { url: format!("postgres://tgmesh@127.0.0.1:{port}/postgres"), _server: server })
    }
}

/// The folder of the newest server that is installed; installs one when there is none.
fn binaries() -> anyhow::Result<PathBuf> {
    if let Some(folder) = installed() {
        return Ok(folder);
    }
    debian::install(&["postgresql"], "the tests need the binaries of a PostgreSQL server")?;
    installed().context("the PostgreSQL server that was just installed cannot be found")
}

fn installed() -> Option<PathBuf> {
    let complete = |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    // Debian keeps them off the PATH, in a folder a version.
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| complete(folder))
        .collect();
    debian.sort();
    if let Some((_, folder)) = debian.pop() {
        return Some(folder);
    }
    let folder = command::find("initdb")?.canonicalize().ok()?.parent()?.to_path_buf();
    complete(&folder).then_some(folder)
}
