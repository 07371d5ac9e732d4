//! Asks a person, or reads what a script writes.

use std::io::{BufRead as _, IsTerminal as _};

use super::Failure;

/// Asks for a line on the terminal; reads one from standard input when that is
/// none. `None` at its end. What is typed is not shown when it is `hidden`.
pub(crate) async fn ask(question: &str, hidden: bool) -> Result<Option<String>, Failure> {
    let question = question.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            super::output::tell(&format!("{question}: "));
        }
        if terminal && hidden {
            return console::Term::stderr().read_secure_line().map(Some);
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line)?;
        Ok((read > 0).then_some(line))
    });
    let line = read.await.map_err(|error| Failure::new(error.to_string()))?;
    let line = line.map_err(|error| Failure::new(format!("nothing can be read: {error}")))?;
    // Only the line's end: a password may begin or end with a space.
    Ok(line.map(|line| line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Asks whether to go on; a script says --yes instead.
pub(crate) async fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(format!("{question}: this must be confirmed")).advice("add --yes"));
    }
    match ask(&format!("{question} [y/N]"), false).await?.as_deref().map(str::trim) {
        Some("y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new("nothing was done")),
    }
}
