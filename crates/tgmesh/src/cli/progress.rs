//! Shows how far something is: a bar on a terminal, a line for each change of
//! state elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use prost::{Message, Name};
use service_kit::client::UserChannel;
use tonic::{Response, Status, Streaming};

use super::client::{Clients, Heard, Service};
use super::names::Names;
use super::output::tell;
use super::{Context, Failure};

/// A message of a watch.
pub(crate) trait Watched: Message + Name {
    /// What is watched.
    type Subject: Clone;

    /// Where the watch is taken up again.
    fn resume_token(&self) -> &str;

    /// The subject as it is now, when the message says.
    fn subject(&self) -> Option<&Self::Subject>;

    /// What has happened since the last message, a line each.
    fn news(&self, _names: &Names) -> Vec<String> {
        Vec::new()
    }

    /// How far the subject is.
    fn progress(context: &Context, subject: &Self::Subject) -> Progress;
}

/// How far something is.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) position: u64,
    /// Of so much, when that is known.
    pub(crate) total: Option<u64>,
    /// What is worth a line of its own when it changes: numbers change all the time.
    pub(crate) state: String,
    pub(crate) line: String,
    /// Nothing happens any more until somebody does something.
    pub(crate) rests: bool,
}

/// Follows something until it rests; answers how it was last.
pub(crate) async fn follow<T: Watched>(
    context: &Context,
    clients: &Clients,
    names: &Names,
    service: Service,
    open: impl AsyncFn(UserChannel, String) -> Result<Response<Streaming<T>>, Status>,
) -> Result<Option<T::Subject>, Failure> {
    let mut watch = Watch::new(context);
    let (mut last, mut unprinted) = (None, None);
    let each = |heard: Heard<'_, T>| {
        let message = match heard {
            Heard::Message(message) => message,
            Heard::Broken(failure) => {
                watch.line(&format!("{}; trying again", failure.message()));
                return false;
            }
        };
        if let Err(failure) = context.show_json(message) {
            unprinted = Some(failure);
        }
        for line in message.news(names) {
            watch.line(&line);
        }
        let Some(subject) = message.subject() else { return unprinted.is_some() };
        let progress = T::progress(context, subject);
        watch.at(&progress);
        last = Some(subject.clone());
        unprinted.is_some() || progress.rests
    };
    let watched = clients.watch(service, open, each, T::resume_token).await;
    watch.end();
    watched?;
    unprinted.map_or(Ok(last), Err)
}

/// Something that is watched.
#[derive(Debug)]
struct Watch {
    bar: Option<ProgressBar>,
    known: bool,
    told: String,
    quiet: bool,
}

impl Watch {
    /// Shows nothing yet.
    fn new(context: &Context) -> Self {
        let terminal = console::Term::stderr().is_term() && !context.json;
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, known: false, told: String::new(), quiet: context.json }
    }

    /// It has come this far. Elsewhere than on a terminal the line is written
    /// when the state is another one than before.
    fn at(&mut self, Progress { position, total, state, line, .. }: &Progress) {
        let (position, total) = (*position, *total);
        let Some(bar) = &self.bar else {
            if !self.quiet && self.told != *state {
                tell(&format!("{line}\n"));
                state.clone_into(&mut self.told);
            }
            return;
        };
        // Nothing of nothing would be a full bar.
        let total = total.filter(|total| *total > 0);
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
    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if !self.quiet => tell(&format!("{line}\n")),
            None => {}
        }
    }

    /// Leaves the terminal as it was.
    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
