//! Crowds and histories made from a seed.

use super::crowds::{HistorySpec, PopulationSpec, StandingSpec};
use crate::world::hashing::Dice;
use crate::world::{
    AdminRights, BannedRights, ChatKind, Details, Draft, InvitePrivacy, LastSeen, MediaKind, Member, MessagePrivacy,
    Reaction, Standing, Text, User, World,
};

const FIRST_NAMES: [&str; 40] = [
    "Anna",
    "Boris",
    "Clara",
    "David",
    "Elena",
    "Felix",
    "Greta",
    "Hugo",
    "Irina",
    "Jonas",
    "Katja",
    "Leon",
    "Maria",
    "Nikita",
    "Olga",
    "Pavel",
    "Quentin",
    "Rosa",
    "Stefan",
    "Tanja",
    "Ulrich",
    "Vera",
    "Walter",
    "Xenia",
    "Yusuf",
    "Zoe",
    "Алексей",
    "Дарья",
    "Егор",
    "Жанна",
    "Илья",
    "Ксения",
    "Лев",
    "Марина",
    "Олег",
    "Полина",
    "Роман",
    "София",
    "Тимур",
    "Юлия",
];
const LAST_NAMES: [&str; 30] = [
    "Adler",
    "Becker",
    "Curie",
    "Dietrich",
    "Ebert",
    "Fischer",
    "Graf",
    "Hahn",
    "Ivanov",
    "Jansen",
    "Keller",
    "Lange",
    "Müller",
    "Novak",
    "Otto",
    "Petrov",
    "Quast",
    "Richter",
    "Schmidt",
    "Tran",
    "Ulmer",
    "Vogel",
    "Weber",
    "Yilmaz",
    "Zimmer",
    "Смирнов",
    "Кузнецов",
    "Попов",
    "Волков",
    "Зайцев",
];
const WORDS: [&str; 24] = [
    "async",
    "borrow",
    "cargo",
    "trait",
    "lifetime",
    "macro",
    "tokio",
    "crate",
    "release",
    "question",
    "thanks",
    "meetup",
    "Berlin",
    "tonight",
    "compile",
    "error",
    "benchmark",
    "fast",
    "slow",
    "again",
    "why",
    "pattern",
    "match",
    "unsafe",
];
const EMOJI: [&str; 5] = ["👍", "🔥", "❤", "🎉", "🤔"];

/// Phone numbers of generated users begin here, in a range that nobody has.
const FIRST_PHONE: u64 = 999_000_000_000;

/// Makes a crowd; answers the ids that were already taken.
pub(super) fn populate(
    world: &mut World,
    spec: &PopulationSpec,
    first_id: i64,
    dc: u8,
    dice: &mut Dice,
    now: i32,
) -> u32 {
    let count = spec.users as usize;
    world.reserve_users(count);
    let firsts: Vec<Text> = FIRST_NAMES.iter().map(|name| world.texts.add(name)).collect();
    let lasts: Vec<Text> = LAST_NAMES.iter().map(|name| world.texts.add(name)).collect();
    let mut taken = 0;
    let mut made = Vec::with_capacity(count);
    for id in first_id..first_id + i64::from(spec.users) {
        let user = person(world, spec, id, dc, (&firsts, &lasts), dice, now);
        if world.add_user(user).is_ok() { made.push(id) } else { taken += 1 }
    }
    for place in &spec.chats {
        let Some(chat) = world.chat_mut(place.chat) else { continue };
        chat.roster.reserve((made.len() as f64 * place.percent / 100.0) as usize);
        let (mut admins, by) = (place.admins, chat.creator);
        for user in &made {
            if !dice.percent(place.percent) {
                continue;
            }
            let date = now.saturating_sub(i32::try_from(dice.below(40_000_000)).unwrap_or(0));
            let standing = match place.standing {
                StandingSpec::Member if admins > 0 => Standing::Admin,
                StandingSpec::Member => Standing::Member,
                StandingSpec::Left => Standing::Left,
                StandingSpec::Kicked => Standing::Kicked,
            };
            chat.roster.put(Member { user: *user, inviter: 0, date, standing });
            match standing {
                Standing::Admin => {
                    admins -= 1;
                    let details = Details { admin: AdminRights::DELETE_MESSAGES, by, ..Details::default() };
                    chat.roster.put_details(*user, details);
                }
                Standing::Kicked => {
                    let details = Details { banned: BannedRights::VIEW_MESSAGES, by, ..Details::default() };
                    chat.roster.put_details(*user, details);
                }
                _ => {}
            }
        }
    }
    taken
}

fn person(
    world: &mut World,
    spec: &PopulationSpec,
    id: i64,
    dc: u8,
    (firsts, lasts): (&[Text], &[Text]),
    dice: &mut Dice,
    now: i32,
) -> User {
    let mut user = User { dc, ..User::new(id) };
    if dice.percent(spec.deleted) {
        user.deleted = true;
        return user;
    }
    user.first_name = dice.pick(firsts).copied().unwrap_or_default();
    user.last_name = dice.pick(lasts).copied().unwrap_or_default();
    user.bot = dice.percent(spec.bots);
    if user.bot {
        user.username = world.texts.add(&format!("helper_{id}_bot"));
        return user;
    }
    user.premium = dice.percent(spec.premium);
    if dice.percent(spec.usernames) {
        user.username = world.texts.add(&format!("user_{id}"));
    }
    if dice.percent(spec.phones) {
        user.phone = FIRST_PHONE + id.unsigned_abs() % 1_000_000_000;
    }
    user.invites = invite_privacy(spec, dice);
    if dice.percent(spec.messages_contacts) {
        user.messages = MessagePrivacy::Contacts;
    }
    if dice.percent(spec.full_of_channels) {
        user.channels_elsewhere = if user.premium { 1000 } else { 500 };
    }
    user.last_seen = match dice.below(10) {
        0 => LastSeen::LongAgo,
        1 => LastSeen::Online,
        2..=4 => LastSeen::At(now.saturating_sub(i32::try_from(dice.below(2_000_000)).unwrap_or(0))),
        5..=7 => LastSeen::Recently,
        8 => LastSeen::WithinWeek,
        _ => LastSeen::WithinMonth,
    };
    user
}

/// One draw over all kinds of privacy, so that their percentages add up.
fn invite_privacy(spec: &PopulationSpec, dice: &mut Dice) -> InvitePrivacy {
    let kinds = [
        (spec.invites_contacts, InvitePrivacy::Contacts),
        (spec.invites_contacts_and_premium, InvitePrivacy::ContactsAndPremium),
        (spec.invites_nobody, InvitePrivacy::Nobody),
        (spec.invites_nobody_by_error, InvitePrivacy::NobodyByError),
    ];
    let mut left = dice.below(100_000) as f64 / 1000.0;
    for (percent, privacy) in kinds {
        if left < percent {
            return privacy;
        }
        left -= percent;
    }
    InvitePrivacy::Everybody
}

/// Writes a history into a chat that has members.
pub(super) fn write_history(world: &mut World, spec: &HistorySpec, dice: &mut Dice, now: i32) {
    let Some(chat) = world.chat_mut(spec.chat) else { return };
    chat.history.reserve(spec.messages as usize);
    let broadcast = chat.kind == ChatKind::Channel;
    let linked = chat.linked.filter(|_| broadcast);
    let mut authors: Vec<i64> = chat.roster.members().map(|member| member.user).collect();
    authors.truncate(spec.authors.map_or(usize::MAX, |authors| authors as usize));
    let commenters: Vec<i64> = linked
        .and_then(|group| world.chat(group))
        .map(|group| group.roster.members().map(|member| member.user).collect())
        .unwrap_or_default();
    let span = i64::from(spec.days.max(1)) * 86_400;
    let count = i64::from(spec.messages.max(1));
    for number in 0..i64::from(spec.messages) {
        let date = now.saturating_sub(i32::try_from(span - span * number / count).unwrap_or(0));
        let author = dice.pick(&authors).copied().unwrap_or(0);
        let text = sentence(dice, number);
        let reply_to = match world.chat(spec.chat).and_then(|chat| chat.history.top()) {
            Some(top) if !broadcast && dice.percent(spec.replies) => {
                (top.id - i32::try_from(dice.below(20)).unwrap_or(0)).max(1)
            }
            _ => 0,
        };
        let media = if dice.percent(spec.photos) { MediaKind::Photo } else { MediaKind::None };
        let draft = Draft { author, text: &text, reply_to, date, media };
        let Ok(written) = world.post(spec.chat, &draft) else { continue };
        decorate(world, spec, written.id, broadcast, &authors, dice, date);
        if let Some((group, root)) = written.posts.get(1).copied() {
            for _ in 0..dice.below(u64::from(spec.comments) + 1) {
                let author = dice.pick(&commenters).copied().unwrap_or(0);
                let text = sentence(dice, number);
                let comment = Draft { author, text: &text, reply_to: root, date: date + 60, ..Draft::default() };
                let _ = world.post(group, &comment);
            }
        }
    }
}

fn decorate(
    world: &mut World,
    spec: &HistorySpec,
    id: i32,
    broadcast: bool,
    people: &[i64],
    dice: &mut Dice,
    date: i32,
) {
    let message = world.chat_mut(spec.chat).and_then(|chat| chat.history.get_mut(id));
    let Some(message) = message else { return };
    if broadcast {
        message.views = i32::try_from(100 + dice.below(10_000)).unwrap_or(1);
        message.forwards = i32::try_from(dice.below(50)).unwrap_or(0);
    }
    for _ in 0..dice.below(u64::from(spec.reactions) + 1) {
        let (Some(user), Some(emoji)) = (dice.pick(people).copied(), dice.pick(&EMOJI)) else { continue };
        if !message.reactions().iter().any(|reaction| reaction.user == user) {
            message.extras_mut().reactions.push(Reaction { user, date, emoji: (*emoji).to_owned() });
        }
    }
}

fn sentence(dice: &mut Dice, number: i64) -> String {
    let mut text = format!("message {number}:");
    for _ in 0..3 + dice.below(5) {
        text.push(' ');
        text.push_str(dice.pick(&WORDS).copied().unwrap_or_default());
    }
    text
}
