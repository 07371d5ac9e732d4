//! What the kill tests share: real processes, named windows, and a judge that
//! believes only what the emulator recorded.

pub mod brake;
pub mod campaign;
pub mod import;
pub mod judge;
pub mod login;
pub mod parse;
pub mod qr;
#[path = "../../common/sessions.rs"]
mod sessions;
pub mod stage;
pub mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Longest time that one condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Integration,
    Parsing,
    Invite,
}

impl Service {
    pub const ALL: [Self; 3] = [Self::Integration, Self::Parsing, Self::Invite];

    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integration => "integration",
            Self::Parsing => "parsing",
            Self::Invite => "invite",
        }
    }
}

/// Where in its work a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// The work is taken, and nothing has gone to Telegram.
    Claimed,
    /// At Telegram, which has not executed it yet.
    WireBefore,
    /// At Telegram, which has executed and not answered it.
    WireAfter,
    /// Answered by Telegram, inside the transaction that writes the answer down.
    Answered,
    /// Inside the transaction of a page.
    Page,
    /// Between two steps of a login.
    Login,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claimed => "claimed and not sent",
            Self::WireBefore => "on the wire, before the effect",
            Self::WireAfter => "on the wire, after the effect",
            Self::Answered => "answered and not committed",
            Self::Page => "inside a page's commit",
            Self::Login => "between code and password",
        })
    }
}

/// How often each process was killed in each window.
#[derive(Debug, Clone, Default)]
pub struct Histogram(BTreeMap<(Window, Service), usize>);

impl Histogram {
    pub fn count(&mut self, service: Service, window: Window) {
        *self.0.entry((window, service)).or_default() += 1;
    }

    /// Kills in a window.
    pub fn of(&self, service: Service, window: Window) -> usize {
        self.0.get(&(window, service)).copied().unwrap_or(0)
    }

    #[expect(clippy::print_stdout, reason = "the report of a kill test is its histogram")]
    pub fn print(&self, title: &str) {
        println!("{title}: {} kills", self.0.values().sum::<usize>());
        for ((window, service), kills) in &self.0 {
            println!("  {:11} {window:30} {kills:3} {}", service.name(), "#".repeat(*kills));
        }
    }
}
