//! The project's commands, behind `cargo xtask`. Needs nothing but cargo itself: tools are installed in pinned
//! versions into the ignored folder `.tools`, servers are started from installed binaries and stopped at the end.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

mod bench;
mod ci;
mod command;
mod debian;
mod docs;
mod places;
mod postgres;
mod python;
mod server;
mod steps;
mod tests;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of the tgmesh project")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring up what the tests need, and run them
    Test(tests::Arguments),
    /// Check everything that CI checks, in its order
    Ci(ci::Arguments),
    /// Run the release benches: one JSON line a figure on stdout
    Bench(bench::Arguments),
    /// Check licences, banned crates and sources of all dependencies
    Deny,
    /// Write the documents that are generated from the contracts
    Docs,
    /// Format the Rust code and the contracts
    Fmt,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Test(arguments) => tests::run(&arguments),
        Task::Ci(arguments) => ci::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Deny => tools::cargo_deny(),
        Task::Docs => docs::write(),
        Task::Fmt => ci::format(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
