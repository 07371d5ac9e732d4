//! What CI checks, in its order: what is quick to fail comes first.

use std::process::Stdio;

use anyhow::bail;

use crate::steps::Steps;
use crate::{command, tests, tools};

/// Rules that `demo --break` breaks on purpose, and the invariant that the verdict has to name: one that never
/// convicts is none, and a demo that fails for another reason has not convicted.
const BROKEN_RULES: &[(&str, &str)] = &[
    ("twice", "WORK-1"),
    ("limit", "QUOTA-1"),
    ("second-connection", "CONN-1"),
    ("drop", "WORK-1"),
    ("miscount", "REPORT-1"),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// Also refuse changes of the contracts that break clients built from the last commit on main. Off by default
    /// until the first issue has settled the contracts
    #[arg(long)]
    breaking: bool,
}

/// Runs all checks.
///
/// # Errors
/// At the first one that fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut steps = Steps::new();
    let result = all_steps(arguments, &mut steps);
    steps.summary();
    result
}

fn all_steps(arguments: &Arguments, steps: &mut Steps) -> anyhow::Result<()> {
    steps.step("lock file is current", || {
        let mut metadata = command::cargo(["metadata", "--locked", "--format-version", "1"]);
        command::run(metadata.stdout(Stdio::null()))
    })?;
    steps.step("format", || {
        component("fmt", "rustfmt")?;
        command::run(&mut command::cargo(["fmt", "--all", "--check"]))
    })?;
    steps.step("contracts: lint", || command::run(tools::buf()?.arg("lint")))?;
    steps.step("contracts: format", || command::run(tools::buf()?.args(["format", "--diff", "--exit-code"])))?;
    if arguments.breaking {
        steps.step("contracts: breaking changes", || {
            command::run(tools::buf()?.args(["breaking", "--against", ".git#branch=main"]))
        })?;
    }
    steps.step("clippy", || {
        component("clippy", "clippy")?;
        let lint = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        command::run(&mut command::cargo(lint))
    })?;
    steps.step("dependencies", tools::cargo_deny)?;
    // That generated documents are current is one of the tests.
    tests::all_steps(&tests::Arguments::default(), steps)?;
    steps.step("demo: build", || command::run(&mut command::cargo(["build", "--release", "--locked"])))?;
    steps.step("demo", || command::run(&mut demo(&[])))?;
    steps.step("demo: every broken rule is convicted", || {
        BROKEN_RULES.iter().try_for_each(|(rule, invariant)| convicted(rule, invariant))
    })
}

fn convicted(rule: &str, invariant: &str) -> anyhow::Result<()> {
    let ended = demo(&["--break", rule]).output()?;
    let verdict = String::from_utf8_lossy(&ended.stdout);
    if ended.status.success() {
        bail!("`demo --break {rule}` ended green: the verdict does not see it");
    }
    if !convicts(&verdict, invariant) {
        let words = String::from_utf8_lossy(&ended.stderr);
        bail!("`demo --break {rule}` ended red and does not convict {invariant}:\n{verdict}\n{words}");
    }
    println!("`demo --break {rule}` is convicted by {invariant}");
    Ok(())
}

/// Whether a line of the verdict calls the invariant broken: kept ones are named too.
fn convicts(verdict: &str, invariant: &str) -> bool {
    verdict.lines().any(|line| line.split_whitespace().take(2).eq(["RED", invariant]))
}

fn demo(arguments: &[&str]) -> std::process::Command {
    let mut demo = command::cargo(["run", "--quiet", "--release", "--", "demo"]);
    demo.args(arguments);
    demo
}

/// Formats everything that has a format.
///
/// # Errors
/// When a tool is missing or fails.
pub fn format() -> anyhow::Result<()> {
    command::run(&mut command::cargo(["fmt", "--all"]))?;
    command::run(tools::buf()?.args(["format", "--write"]))
}

fn component(subcommand: &str, name: &str) -> anyhow::Result<()> {
    if !command::succeeds(&mut command::cargo([subcommand, "--version"])) {
        bail!("cargo {subcommand} is missing: run `rustup component add {name}` and try again");
    }
    Ok(())
}

#[cfg(test)]
mod verdicts {
    use super::convicts;

    #[test]
    fn an_invariant_that_was_kept_is_not_convicted() {
        let verdict = "5. The verdict\n  ok  WORK-1    49 invited\n  RED QUOTA-1   200 ms too early\n\nRED: QUOTA-1\n";
        assert!(convicts(verdict, "QUOTA-1"));
        assert!(!convicts(verdict, "WORK-1") && !convicts(verdict, "QUOTA"));
    }
}
