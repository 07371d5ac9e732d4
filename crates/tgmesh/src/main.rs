//! The binary: reads the command line, does what it says, and ends with an
//! exit code that a script can rely on.

use std::process::ExitCode;

use clap::Parser as _;
use tgmesh::cli::{Cli, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // A mistake in the command line ends here, with the usage and exit code 2; so does --help, with 0.
        Err(error) if error.use_stderr() && std::env::args().any(|argument| argument == "--json") => {
            return Failure::of_usage(&error).tell(true);
        }
        Err(error) => error.exit(),
    };
    let json = cli.json();

    let ended = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let ended = runtime.block_on(cli.run());
            // A prompt that is still waiting for its line must not keep the process.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::new(format!("the process cannot start its threads: {error}"))),
    };

    // What went wrong is told in plain words, on standard error.
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(json),
    }
}
