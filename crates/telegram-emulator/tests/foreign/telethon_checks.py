"""Checks of the emulator with Telethon: logins, reading, updates. What accounts do is in telethon_acts."""

import asyncio

from harness import Control, check, run
from telethon_kit import ADA, BANNED, BOB, CLEO, DAN, EVE, client, login, pin, raises  # before telethon: it guards
from telethon import events, functions, types
from telethon.network import connection


@check("handshake and connection layer")
async def handshake(control):
    made = client(control)
    await made.connect()
    assert made.is_connected() and not await made.is_user_authorized()
    await made.disconnect()


for kind in (
    connection.ConnectionTcpFull,
    connection.ConnectionTcpAbridged,
    connection.ConnectionTcpIntermediate,
    connection.ConnectionTcpObfuscated,
):

    @check(f"transport {kind.__name__}")
    async def transport(control, kind=kind):
        made = await login(control, transport=kind)
        assert (await made.get_me()).id == 11
        await made.get_participants("thousand_members", limit=200)
        await made.log_out()


@check("phone login with wrong code first")
async def phone_login(control):
    made = client(control)
    await made.connect()
    await raises("PHONE_NUMBER_INVALID", made.send_code_request("+1"))
    await raises("PHONE_NUMBER_BANNED", made.send_code_request(BANNED))
    sent = await made.send_code_request(ADA)
    assert isinstance(sent.type, types.auth.SentCodeTypeApp) and sent.type.length == 5
    code = await control("login_code", phone=ADA)
    await raises("PHONE_CODE_INVALID", made.sign_in(ADA, "00000" if code != "00000" else "11111"))
    me = await made.sign_in(ADA, code)
    assert me.id == 11 and me.phone == ADA.lstrip("+")
    assert await made.is_user_authorized()
    await made.log_out()


@check("cancelled code has expired")
async def cancelled_code(control):
    made = client(control)
    await made.connect()
    sent = await made.send_code_request(ADA)
    code = await control("login_code", phone=ADA)
    assert await made(functions.auth.CancelCodeRequest(ADA, sent.phone_code_hash))
    await raises("PHONE_CODE_EXPIRED", made.sign_in(ADA, code, phone_code_hash=sent.phone_code_hash))
    await made.disconnect()


@check("two-step verification: wrong and right password")
async def two_factor(control):
    made = client(control)
    await made.connect()
    await made.send_code_request(BOB)
    await raises("SESSION_PASSWORD_NEEDED", made.sign_in(BOB, await control("login_code", phone=BOB)))
    password = await made(functions.account.GetPasswordRequest())
    assert password.has_password and password.hint == "a classic"
    await raises("PASSWORD_HASH_INVALID", made.sign_in(password="wrong"))
    stale = types.InputCheckPasswordSRP(srp_id=1, A=b"\1" * 256, M1=b"\2" * 32)
    await raises("SRP_ID_INVALID", made(functions.auth.CheckPasswordRequest(stale)))
    assert (await made.sign_in(password="hunter2 but longer")).id == 12
    await made.log_out()


@check("QR login")
async def qr_login(control):
    made = client(control)
    await made.connect()
    qr = await made.qr_login()
    waiting = asyncio.create_task(qr.wait(20))
    await asyncio.sleep(0)
    await control("accept_login_token", phone=CLEO, link=qr.url)
    assert (await waiting).id == 13
    assert await made.is_user_authorized()
    await made.log_out()


@check("QR login moves to the scanner's data centre")
async def qr_migration(control):
    made = client(control)
    await made.connect()
    qr = await made.qr_login()
    waiting = asyncio.create_task(qr.wait(20))
    await asyncio.sleep(0)
    await control("accept_login_token", phone=DAN, link=qr.url)
    assert (await waiting).id == 14
    assert made.session.dc_id == 4
    await made.log_out()


@check("bot login")
async def bot_login(control):
    made = client(control)
    await made.connect()
    await raises("ACCESS_TOKEN_INVALID", made.sign_in(bot_token="18:Wrong"))
    me = await made.sign_in(bot_token="18:EmulatedToken")
    assert me.bot and me.id == 18
    await made.log_out()


@check("PHONE_MIGRATE")
async def phone_migrate(control):
    made = await login(control, DAN)
    assert made.session.dc_id == 4 and (await made.get_me()).id == 14
    await made.log_out()


@check("participants of the thousand-member group, in pages and by filter")
async def participants(control):
    made = await login(control)
    everybody = await made.get_participants("thousand_members")
    assert everybody.total == 1000, everybody.total
    assert len({user.id for user in everybody}) == 1000, len(everybody)
    group = await made.get_input_entity("thousand_members")
    bots = await made.get_participants(group, filter=types.ChannelParticipantsBots())
    assert bots and all(user.bot for user in bots)
    admins = await made.get_participants(group, filter=types.ChannelParticipantsAdmins())
    assert len(admins) == 4
    found = await made.get_participants(group, search="ada")
    assert 11 in {user.id for user in found} and len(found) < 100
    await raises("CHAT_ADMIN_REQUIRED", made.get_participants(group, filter=types.ChannelParticipantsKicked("")))
    page = await made(functions.channels.GetParticipantsRequest(group, types.ChannelParticipantsRecent(), 0, 500, 0))
    assert len(page.participants) == 200 and page.count == 1000
    await made.log_out()


@check("hidden members and channel subscribers")
async def hidden(control):
    made = await login(control)
    full = await made(functions.channels.GetFullChannelRequest("hidden_members"))
    assert full.full_chat.participants_hidden and not full.full_chat.can_view_participants
    assert {user.id for user in await made.get_participants("hidden_members")} == {40}
    assert len(await made.get_participants("news_channel")) == 3, "Ada is an administrator there"
    await made.log_out()
    scanner = await login(control, EVE)
    await raises("CHAT_ADMIN_REQUIRED", scanner.get_participants("news_channel"))
    await scanner.log_out()


@check("history both ways")
async def history(control):
    made = await login(control)
    down = [message.id async for message in made.iter_messages("thousand_members")]
    assert down == list(range(251, 0, -1)), (len(down), down[:3], down[-3:])
    up = [message.id async for message in made.iter_messages("thousand_members", reverse=True)]
    assert up == list(range(1, 252)), (len(up), up[:3])
    middle = [message.id async for message in made.iter_messages("thousand_members", min_id=100, max_id=110)]
    assert middle == list(range(109, 100, -1)), middle
    some = await made.get_messages("thousand_members", ids=[5, 9999, 7])
    assert [getattr(message, "id", None) for message in some] == [5, None, 7]
    by_search = await made.get_messages("thousand_members", search="message 17:", limit=10)
    assert [message.id for message in by_search] == [19], by_search
    assert by_search.total == 1
    await made.log_out()


@check("dialogs")
async def dialogs(control):
    made = await login(control)
    titles = [dialog.name async for dialog in made.iter_dialogs()]
    for expected in ("Thousand", "Destination", "News", "Basic", "Friend"):
        assert expected in titles, titles
    assert len(titles) == len(set(titles))
    await made.log_out()


@check("comments and discussion message")
async def comments(control):
    made = await login(control)
    posts = await made.get_messages("news_channel", limit=10)
    assert [(post.id, post.replies.replies) for post in posts] == [(2, 0), (1, 3)]
    texts = [message.text async for message in made.iter_messages("news_channel", reply_to=1)]
    assert texts == ["third comment", "second comment", "first comment"], texts
    up = [message.text async for message in made.iter_messages("news_channel", reply_to=1, reverse=True)]
    assert up == texts[::-1]
    discussion = await made(functions.messages.GetDiscussionMessageRequest("news_channel", 1))
    assert discussion.messages[0].fwd_from.channel_post == 1
    sent = await made.send_message("news_channel", "a comment by Ada", comment_to=2)
    assert sent.peer_id.channel_id == 504
    assert (await made.get_messages("news_channel", ids=2)).replies.replies == 1
    await made.log_out()


@check("reactions")
async def reactions(control):
    made = await login(control)
    post = await made.get_messages("news_channel", ids=1)
    assert {(r.reaction.emoticon, r.count) for r in post.reactions.results} == {("🔥", 2), ("👍", 1)}
    first = await made(functions.messages.GetMessageReactionsListRequest("news_channel", 1, limit=2))
    assert first.count == 3 and len(first.reactions) == 2 and first.next_offset
    second = await made(
        functions.messages.GetMessageReactionsListRequest("news_channel", 1, limit=2, offset=first.next_offset)
    )
    seen = {r.peer_id.user_id for r in first.reactions + second.reactions}
    assert seen == {12, 21, 32} and not second.next_offset
    fire = types.ReactionEmoji("🔥")
    only = await made(functions.messages.GetMessageReactionsListRequest("news_channel", 1, limit=50, reaction=fire))
    assert only.count == 2
    await made.log_out()


@check("sending, and a repeated random id")
async def sending(control):
    made = await login(control)
    sent = await made.send_message("target_willing", "hello there")
    assert sent.out and sent.text == "hello there"
    assert (await made.get_messages("target_willing", limit=1))[0].id == sent.id
    assert (await made.send_message("me", "note to self")).id > sent.id
    group = await made.send_message("thousand_members", "hello group")
    assert group.id == 252 and group.sender_id == 11
    peer = await made.get_input_entity("target_willing")
    once = functions.messages.SendMessageRequest(peer, "once", random_id=4711)
    await made(once)
    await raises("RANDOM_ID_DUPLICATE", made(once))
    summary = await control("summary")
    assert summary["effects"]["message_sent_to_user"] == 3, summary
    await made.log_out()


@check("an update arrives")
async def update(control):
    made = await login(control)
    await made.get_dialogs()
    arrived = asyncio.get_running_loop().create_future()

    @made.on(events.NewMessage(incoming=True))
    async def handler(event):
        if event.raw_text == "pushed" and not arrived.done():
            arrived.set_result(event)

    await control("post_message", author=21, user=11, text="pushed")
    event = await asyncio.wait_for(arrived, 10)
    assert event.sender_id == 21
    await made.log_out()


@check("an update of a channel arrives")
async def channel_update(control):
    made = await login(control)
    await made.get_dialogs()
    arrived = asyncio.get_running_loop().create_future()

    @made.on(events.NewMessage(chats=501))
    async def handler(event):
        if event.raw_text == "pushed to all" and not arrived.done():
            arrived.set_result(event)

    await control("post_message", author=40, chat=501, text="pushed to all")
    event = await asyncio.wait_for(arrived, 10)
    assert event.sender_id == 40 and event.chat.title == "Thousand"
    await made.log_out()


@check("getDifference after a cut connection")
async def difference(control):
    made = await login(control, auto_reconnect=True)
    await made.get_dialogs()
    state = await made(functions.updates.GetStateRequest())
    await control("drop_connections", account=11)
    await control("post_message", author=21, user=11, text="missed one")
    await control("post_message", author=21, user=11, text="missed two")
    channel = await made.get_input_entity("thousand_members")
    pts = (await made(functions.channels.GetFullChannelRequest(channel))).full_chat.pts
    await control("post_message", author=40, chat=501, text="missed three")
    answer = await made(functions.updates.GetDifferenceRequest(pts=state.pts, date=state.date, qts=0))
    assert [message.message for message in answer.new_messages][-2:] == ["missed one", "missed two"]
    assert answer.state.pts == state.pts + 2
    moved = [u.channel_id for u in answer.other_updates if isinstance(u, types.UpdateChannelTooLong)]
    assert 501 in moved, answer.other_updates
    assert all(u.pts is None for u in answer.other_updates), "a pts here would make grammers jump over what it missed"
    answer = await made(
        functions.updates.GetChannelDifferenceRequest(channel, types.ChannelMessagesFilterEmpty(), pts, 100)
    )
    assert [message.message for message in answer.new_messages] == ["missed three"]
    assert answer.pts == pts + 1 and answer.final
    await made.log_out()


@check("search and resolving")
async def search(control):
    made = await login(control)
    found = await made(functions.contacts.SearchRequest("thous", 10))
    assert [chat.title for chat in found.chats] == ["Thousand"]
    await raises("USERNAME_NOT_OCCUPIED", made(functions.contacts.ResolveUsernameRequest("nobody_at_all")))
    await raises("USERNAME_INVALID", made(functions.contacts.ResolveUsernameRequest("no spaces!")))
    phone = await made(functions.contacts.ResolvePhoneRequest("493080000031"))
    assert phone.peer.user_id == 31
    imported = await made(
        functions.contacts.ImportContactsRequest(
            [
                types.InputPhoneContact(1, "+49309999999", "W", ""),
                types.InputPhoneContact(2, "+493080000031", "W", ""),
            ]
        )
    )
    assert [(c.user_id, c.client_id) for c in imported.imported] == [(31, 2)]
    await made.log_out()


import telethon_acts  # noqa: E402, F401  its checks come last


async def main():
    control = Control()
    pin(control)
    await run(control)


asyncio.run(main())
