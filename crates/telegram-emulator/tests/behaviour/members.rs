//! Member lists: pages, caps, and what hides from whom.

use grammers_tl_types::{enums, functions as f};

use crate::support::{Client, Failure, emulator_of};

const LARGE: &str = r#"
    [[user]]
    id = 1
    phone = "+49 30 1000 0001"
    [[user]]
    id = 2
    phone = "+49 30 1000 0002"
    [[chat]]
    id = 10
    kind = "supergroup"
    title = "Large"
    username = "large_group"
    members = [1, 2]
    [[chat]]
    id = 11
    kind = "channel"
    title = "Channel"
    username = "large_channel"
    creator = 1
    members = [2]
    [[chat]]
    id = 12
    kind = "supergroup"
    title = "Hidden"
    username = "hidden_group"
    creator = 2
    members = [1]
    members_hidden = true
    [[population]]
    users = 12000
    bots = 1.0
    chats = [{ chat = 10 }, { chat = 11, percent = 10.0 }, { chat = 12, percent = 5.0 }]
"#;

struct Page {
    count: i32,
    users: Vec<i64>,
}

async fn page(
    client: &mut Client,
    chat: &str,
    filter: enums::ChannelParticipantsFilter,
    offset: i32,
) -> Result<Page, Failure> {
    let channel = client.input_channel(chat).await;
    let request = f::channels::GetParticipants { channel, filter, offset, limit: 1000, hash: 0 };
    let answer = client.call(&request).await?;
    let enums::channels::ChannelParticipants::Participants(page) = answer else { panic!("not modified") };
    let users = page.users.iter().map(enums::User::id).collect();
    assert!(page.participants.len() <= 200);
    Ok(Page { count: page.count, users })
}

async fn walk(client: &mut Client, chat: &str, filter: enums::ChannelParticipantsFilter) -> (i32, Vec<i64>) {
    let (mut all, mut count) = (Vec::new(), 0);
    loop {
        let offset = i32::try_from(all.len()).unwrap();
        let page = page(client, chat, filter.clone(), offset).await.unwrap();
        count = page.count.max(count);
        if page.users.is_empty() {
            return (count, all);
        }
        all.extend(page.users);
    }
}

#[tokio::test]
async fn lists_end_at_telegrams_caps_and_report_the_whole() {
    let emulator = emulator_of(LARGE).await;
    let recent = enums::ChannelParticipantsFilter::ChannelParticipantsRecent;
    let mut client = Client::login(&emulator, 1, [1; 256]).await;

    let (count, mut users) = walk(&mut client, "large_group", recent.clone()).await;
    assert_eq!((count, users.len()), (12_002, 10_000));
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 10_000, "nobody twice");

    let (count, users) = walk(&mut client, "large_channel", recent.clone()).await;
    let members = emulator.handle().chats().iter().find(|chat| chat.id == 11).unwrap().members;
    assert_eq!((count, users.len()), (i32::try_from(members).unwrap(), 200));

    let bots = enums::ChannelParticipantsFilter::ChannelParticipantsBots;
    let (count, users) = walk(&mut client, "large_group", bots).await;
    assert!(usize::try_from(count).unwrap() == users.len() && users.len() > 50);
    emulator.shutdown().await;
}

#[tokio::test]
async fn what_is_hidden_shows_to_administrators_only() {
    let emulator = emulator_of(LARGE).await;
    let recent = enums::ChannelParticipantsFilter::ChannelParticipantsRecent;
    let mut member = Client::login(&emulator, 1, [1; 256]).await;
    let mut admin = Client::login(&emulator, 2, [2; 256]).await;
    assert_eq!(walk(&mut member, "hidden_group", recent.clone()).await, (1, vec![2]));
    assert!(walk(&mut admin, "hidden_group", recent.clone()).await.1.len() > 100);
    let refused = page(&mut admin, "large_channel", recent, 0).await.err();
    assert_eq!(refused, Some(Failure::Rpc(400, "CHAT_ADMIN_REQUIRED".into())));
    emulator.shutdown().await;
}
