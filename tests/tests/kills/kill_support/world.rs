//! The world in which processes are killed.

use std::fmt::Write as _;

/// Accounts that can invite; their ids begin here.
pub const FIRST_ACCOUNT: i64 = 101;
/// Accounts with a password; their ids begin here.
pub const FIRST_SECRET: i64 = 151;
/// The password of those who have one.
pub const PASSWORD: &str = "correct horse battery staple";
/// The chat that is parsed, and the chat that is invited to.
pub const SOURCE: (i64, &str) = (7001, "kill_source");
pub const DESTINATION: (i64, &str) = (7002, "kill_destination");
/// The first of those who are found.
pub const FIRST_PERSON: i64 = 10_001;

/// What is in it.
#[derive(Debug, Clone, Copy)]
pub struct World {
    pub accounts: i64,
    pub secret_accounts: i64,
    pub people: u32,
    /// Percent of the people with a username.
    pub usernames: f64,
    /// Percent of the people who are bots, and who have deleted their account.
    pub others: f64,
}

/// The number of an account.
pub fn phone(id: i64) -> String {
    format!("+49 30 9000 {id:04}")
}

impl World {
    /// As a scenario file.
    pub fn scenario(&self) -> String {
        let mut text = "seed = 9\ndata_centres = [2]\n".to_owned();
        let accounts = (FIRST_ACCOUNT..).take(usize::try_from(self.accounts).unwrap_or(0));
        for id in accounts.clone() {
            user(&mut text, id, "");
        }
        let secret = (FIRST_SECRET..).take(usize::try_from(self.secret_accounts).unwrap_or(0));
        for id in secret {
            user(&mut text, id, &format!("password = \"{PASSWORD}\"\npassword_hint = \"xkcd 936\"\n"));
        }
        text.push_str("[[user]]\nid = 99\nfirst_name = \"Owner\"\n");
        let members: Vec<String> = accounts.clone().map(|id| id.to_string()).collect();
        let admins: Vec<String> =
            accounts.map(|id| format!("{{ user = {id}, rights = [\"invite_users\"] }}")).collect();
        let (source, destination) = (SOURCE, DESTINATION);
        let _ = write!(
            text,
            "[[chat]]\nid = {}\nkind = \"supergroup\"\ntitle = \"Source\"\nusername = \"{}\"\ncreator = 99\n\
             members = [{}]\n",
            source.0,
            source.1,
            members.join(", ")
        );
        let _ = write!(
            text,
            "[[chat]]\nid = {}\nkind = \"supergroup\"\ntitle = \"Destination\"\nusername = \"{}\"\ncreator = 99\n\
             default_banned = [\"invite_users\"]\nadmins = [{}]\n",
            destination.0,
            destination.1,
            admins.join(", ")
        );
        let _ = write!(
            text,
            "[[population]]\nusers = {}\nfirst_id = {FIRST_PERSON}\nusernames = {:.1}\nbots = {:.1}\ndeleted = {:.1}\n\
             chats = [{{ chat = {}, admins = 3 }}]\n",
            self.people, self.usernames, self.others, self.others, source.0
        );
        text
    }
}

fn user(text: &mut String, id: i64, more: &str) {
    let _ = write!(
        text,
        "[[user]]\nid = {id}\nphone = \"{}\"\nfirst_name = \"Operator\"\nlast_name = \"{id}\"\n\
         username = \"kill_operator_{id}\"\n{more}",
        phone(id)
    );
}
