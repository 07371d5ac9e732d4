//! Shows how far something is: a bar on a terminal, a line for each change of
//! state elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Context;

/// Something that is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    bar: Option<ProgressBar>,
    known: bool,
    told: String,
    quiet: bool,
}

impl Watch {
    /// Shows nothing yet.
    pub(crate) fn new(context: &Context) -> Self {
        let terminal = console::Term::stderr().is_term() && !context.json;
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, known: false, told: String::new(), quiet: context.json }
    }

    /// It has come this far, of so much when that is known. Elsewhere than on a
    /// terminal the line is written when `state` is another one than before:
    /// numbers change all the time.
    pub(crate) fn at(&mut self, position: u64, total: Option<u64>, state: &str, line: &str) {
        let Some(bar) = &self.bar else {
            if !self.quiet && self.told != state {
                eprintln!("{line}");
                state.clone_into(&mut self.told);
            }
            return;
        };
        if let Some(total) = total {
            // Telegram's number is a promise, not a count.
            bar.set_length(total.max(position));
        }
        if self.known != total.is_some() || self.told.is_empty() {
            self.known = total.is_some();
            "drawn".clone_into(&mut self.told);
            let style =
                if self.known { "{bar:30} {percent:>3} %  {pos}/{len}  {msg}" } else { "{spinner} {pos}  {msg}" };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
        }
        bar.set_position(position);
        bar.set_message(line.to_owned());
    }

    /// Writes a line above the bar.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if !self.quiet => eprintln!("{line}"),
            None => {}
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
