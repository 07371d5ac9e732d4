//! Scenario files: a world described in TOML, explicit users and chats beside generated crowds.
//!
//! Unknown keys are refused, and every mistake is reported with the path to it, all at once.

mod build;
mod crowds;
mod generate;
mod model;

use std::path::Path;

pub use crowds::*;
pub use model::*;

use crate::faults::Fault;
use crate::world::World;

/// Why a scenario was refused.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key that is not known or of another type.
    #[error("the scenario is not valid: {0}")]
    Parse(#[from] Box<toml::de::Error>),
    /// What the file says does not fit together. One line for each mistake, beginning with its path.
    #[error("the scenario is inconsistent:\n{}", .0.join("\n"))]
    Inconsistent(Vec<String>),
}

impl Scenario {
    /// Reads a scenario file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads a scenario from text.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        toml::from_str(text).map_err(|error| ScenarioError::Parse(Box::new(error)))
    }

    /// Builds the world, with the dates of its messages before `now`.
    pub(crate) fn build(&self, now: i32, seed: Option<u64>) -> Result<(World, Vec<Fault>), ScenarioError> {
        build::Builder::new(self, now, seed.unwrap_or(self.seed)).build()
    }

    /// The data centres, in ascending order.
    pub(crate) fn dc_ids(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self.data_centres.iter().map(|dc| i32::from(*dc)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        match Scenario::parse(text).unwrap().build(1_000_000, None) {
            Err(ScenarioError::Inconsistent(mistakes)) => mistakes,
            other => panic!("expected mistakes, got {:?}", other.map(|_| "a world")),
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for text in ["sead = 1", "[[user]]\nid = 1\nfoo = 2", "[[chat]]\nid = 1\nkind = \"channel\"\ntitel = \"x\""] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn mistakes_name_their_path_and_come_all_at_once() {
        let text = r#"
            [[user]]
            id = 1
            phone = "nonsense"
            contacts = [7]
            [[user]]
            id = 1
            [[chat]]
            id = 5
            kind = "supergroup"
            title = "t"
            members = [1, 8]
            linked = 6
            [[chat]]
            id = 5
            kind = "channel"
            title = "t"
            [[population]]
            users = 10
            chats = [{ chat = 99 }]
            [[fault]]
            kind = "error"
        "#;
        let mistakes = mistakes(text);
        for expected in [
            "user[0].phone:",
            "user[0].contacts[0]:",
            "user[1]:",
            "chat[0].members[1]:",
            "chat[0].linked:",
            "chat[1].id:",
            "population[0].chats[0].chat:",
            "fault[0].error:",
        ] {
            assert!(mistakes.iter().any(|line| line.starts_with(expected)), "{expected} not in {mistakes:#?}");
        }
    }

    #[test]
    fn a_seed_decides_the_world() {
        let text = "[[chat]]\nid = 5\nkind = \"supergroup\"\ntitle = \"t\"\n[[population]]\nusers = 500\nbots = 10.0\n\
                    deleted = 5.0\nchats = [{ chat = 5 }]\n[[history]]\nchat = 5\nmessages = 50";
        let build = |seed| {
            let (world, _) = Scenario::parse(text).unwrap().build(1_000_000, Some(seed)).unwrap();
            let users: Vec<String> = world.users.iter().map(|user| format!("{user:?}")).collect();
            (users, world.chat(5).unwrap().history.messages().len())
        };
        assert_eq!(build(1), build(1));
        assert_ne!(build(1).0, build(2).0);
        assert_eq!(build(3).1, 51, "a supergroup begins with the message of its creation");
    }

    #[test]
    #[ignore = "for release builds: the time it takes is what it measures"]
    fn a_million_users_are_made_in_seconds() {
        let text = "[[chat]]\nid = 5\nkind = \"supergroup\"\ntitle = \"t\"\n[[chat]]\nid = 6\nkind = \"channel\"\n\
                    title = \"c\"\n[[population]]\nusers = 1000000\nbots = 1.0\ndeleted = 2.0\nphones = 10.0\n\
                    chats = [{ chat = 5, percent = 20.0 }, { chat = 6 }]\n[[history]]\nchat = 5\nmessages = 100000\n\
                    replies = 30.0\nreactions = 2";
        let (world, _) = Scenario::parse(text).unwrap().build(1_700_000_000, None).unwrap();
        assert_eq!(world.users.len(), 1_000_000);
        assert_eq!(world.chat(6).unwrap().roster.inside(), 1_000_000);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 600_000, "{kilobytes} kB at the peak");
    }

    #[test]
    fn shipped_scenarios_are_valid() {
        for name in ["tests.toml", "demo.toml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
            let scenario = Scenario::load(&path).unwrap();
            if let Err(error) = scenario.build(1_700_000_000, None) {
                panic!("{name}: {error}");
            }
        }
    }
}
