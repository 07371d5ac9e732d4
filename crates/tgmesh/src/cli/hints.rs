//! The commands that the command line advises.

use std::path::Path;

/// The variable in place of `--config`: who has set it need not be told to.
const CONFIG: &str = "TGMESH_CONFIG";

/// The flags that say which deployment is meant. Commands that are advised repeat
/// them: without, they would look elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    flags: String,
}

impl Hints {
    /// Of the command line that was given.
    pub(crate) fn new(config: Option<&Path>, data_dir: Option<&Path>) -> Self {
        let of_variable = std::env::var_os(CONFIG);
        let config = config.filter(|file| of_variable.as_deref() != Some(file.as_os_str()));
        let given = [("--config", config), ("--data-dir", data_dir)];
        let flags = given.iter().filter_map(|(flag, path)| Some(format!(" {flag} {}", quoted((*path)?))));
        Self { flags: flags.collect() }
    }

    /// A text of our own with every `tgmesh COMMAND` in it as it has to be typed.
    /// Not for what others wrote, such as the name of a campaign.
    pub(crate) fn complete(&self, text: &str) -> String {
        text.replace("tgmesh ", &format!("tgmesh{} ", self.flags))
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_repeat_the_flags_that_were_given() {
        let advice = "`tgmesh accounts list` shows them; start another: tgmesh accounts login qr";
        assert_eq!(Hints::default().complete(advice), advice);
        let hints = Hints::new(Some("o'brien.toml".as_ref()), Some("/srv/mesh data".as_ref()));
        assert_eq!(
            hints.complete("`tgmesh doctor` looks for the fault"),
            r"`tgmesh --config 'o'\''brien.toml' --data-dir '/srv/mesh data' doctor` looks for the fault"
        );
        let hints = Hints::new(None, Some("mesh".as_ref()));
        assert_eq!(hints.complete(advice).matches("tgmesh --data-dir mesh accounts").count(), 2);
    }
}
