"""Checks of the emulator with Telethon."""

import asyncio
import logging
import re
import sys

from harness import ERRORS, Control, check, only_loopback, run

only_loopback()

import rsa  # noqa: E402
from telethon import TelegramClient, errors, events, functions, types  # noqa: E402
from telethon.client import telegrambaseclient  # noqa: E402
from telethon.crypto import rsa as telethon_rsa  # noqa: E402
from telethon.errors import rpcerrorlist  # noqa: E402
from telethon.network import connection  # noqa: E402
from telethon.sessions import MemorySession  # noqa: E402

logging.basicConfig(level=logging.ERROR, stream=sys.stderr)

ADA, BOB, CLEO, DAN, EVE, FINN, BANNED, GIL = (f"+49308000{n:04}" for n in (11, 12, 13, 14, 15, 16, 17, 19))
DC = 2


def pin(control):
    info = control.emulators["lax"]
    telethon_rsa._server_keys.clear()
    key = rsa.PublicKey(int(info["rsa_modulus"]), info["rsa_exponent"])
    telethon_rsa._server_keys[info["rsa_fingerprint"]] = (key, False)
    telegrambaseclient.DEFAULT_IPV4_IP, telegrambaseclient.DEFAULT_PORT = control.address(DC)
    telegrambaseclient.DEFAULT_IPV6_IP = "::1"


def client(control, emulator="lax", transport=connection.ConnectionTcpFull, session=None, **options):
    TelegramClient._config = None  # cached for the whole process otherwise
    if session is None:
        session = MemorySession()
        session.set_dc(DC, *control.address(DC, emulator))
    options = {"flood_sleep_threshold": 0, "request_retries": 1, "raise_last_call_error": True, "connection_retries": 3, "retry_delay": 0.1, **options}
    return TelegramClient(session, 1, "emulated", connection=transport, **options)


async def login(control, phone=ADA, emulator="lax", **options):
    made = client(control, emulator, **options)
    await made.connect()
    await made.send_code_request(phone)
    code = await control("login_code", emulator, phone=phone)
    await made.sign_in(phone, code)
    return made


async def raises(name, awaitable):
    """The error has to arrive, and as the class that the library itself has for it."""
    try:
        await awaitable
    except errors.RPCError as error:
        base = name.rstrip("0123456789").rstrip("_") if name[-1].isdigit() else name
        known = rpcerrorlist.rpc_errors_dict.get(base)
        for pattern, candidate in rpcerrorlist.rpc_errors_re:
            if known is None and re.match(pattern, name):
                known = candidate
        if known is not None:
            assert type(error) is known, f"{name} came as {type(error).__name__}"
        else:
            assert error.message == name, f"{name} came as {error.message}"
        return error
    raise AssertionError(f"{name} did not come")


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


async def invite(made, chat, *users):
    return await made(functions.channels.InviteToChannelRequest(chat, list(users)))


@check("InviteToChannel: every outcome that the world's state gives")
async def invitations(control):
    made = await login(control)
    await made(functions.channels.GetFullChannelRequest("destination_group"))
    done = await invite(made, "destination_group", "target_friend")
    assert not done.missing_invitees and any(isinstance(u, types.UpdateNewChannelMessage) for u in done.updates.updates)
    missing = (await invite(made, "destination_group", "target_private")).missing_invitees
    assert [(m.user_id, bool(m.premium_would_allow_invite)) for m in missing] == [(22, False)], missing
    missing = (await invite(made, "destination_group", "target_premium")).missing_invitees
    assert missing[0].premium_would_allow_invite and missing[0].premium_required_for_pm
    for target, name in {
        "target_refusing": "USER_PRIVACY_RESTRICTED",
        "target_left": "USER_NOT_MUTUAL_CONTACT",
        "target_kicked": "USER_KICKED",
        "target_full": "USER_CHANNELS_TOO_MUCH",
        "target_blocking": "USER_BLOCKED",
        "target_bot": "BOTS_TOO_MUCH",
        "target_member": "USER_ALREADY_PARTICIPANT",
    }.items():
        await raises(name, invite(made, "destination_group", target))
    for user in await made.get_participants("thousand_members"):
        if user.deleted:
            await raises("INPUT_USER_DEACTIVATED", invite(made, "destination_group", user))
            break
    await made(functions.contacts.BlockRequest("target_blocked"))
    await raises("YOU_BLOCKED_USER", invite(made, "destination_group", "target_blocked"))
    await made(functions.contacts.UnblockRequest("target_blocked"))
    for chat, name in {
        "closed_group": "CHAT_ADMIN_REQUIRED",
        "weak_admins": "CHAT_ADMIN_INVITE_REQUIRED",
        "full_group": "USERS_TOO_MUCH",
        "restricted_group": "CHAT_RESTRICTED",
        "strangers_group": "CHAT_WRITE_FORBIDDEN",
    }.items():
        await raises(name, invite(made, chat, "target_willing"))
    await raises("USER_BOT", invite(made, "news_channel", "target_bot"))
    await raises("SLOWMODE_WAIT_60", twice(made, "slow_group"))
    await raises("CHAT_WRITE_FORBIDDEN", made.send_message("closed_group", "x"))
    await raises("USER_IS_BLOCKED", made.send_message("target_blocking", "x"))
    await raises("USER_PRIVACY_RESTRICTED", made.send_message("target_private", "x"))
    await made.log_out()


async def twice(made, chat):
    await made.send_message(chat, "one")
    await made.send_message(chat, "two")


@check("access hashes of another account are refused")
async def foreign_hashes(control):
    ada, eve = await login(control), await login(control, EVE)
    user, chat = await ada.get_input_entity("target_willing"), await ada.get_input_entity("destination_group")
    foreign_user = types.InputUser(user.user_id, user.access_hash)
    foreign_chat = types.InputChannel(chat.channel_id, chat.access_hash)
    await raises("CHANNEL_INVALID", eve(functions.channels.GetFullChannelRequest(foreign_chat)))
    await raises("USER_ID_INVALID", eve(functions.users.GetFullUserRequest(foreign_user)))
    await raises("PEER_ID_INVALID", eve.send_message(user, "x"))
    nowhere = types.InputChannel(509, 12345)
    await raises("CHANNEL_INVALID", ada(functions.channels.GetFullChannelRequest(nowhere)))
    await ada.log_out()
    await eve.log_out()


@check("accounts that are limited by the world")
async def limited(control):
    eve = await login(control, EVE)
    await raises("PEER_FLOOD", invite(eve, "destination_group", "target_willing"))
    await raises("PEER_FLOOD", eve.send_message("target_willing", "x"))
    await eve.log_out()
    finn = await login(control, FINN)
    await raises("FROZEN_METHOD_INVALID", finn.send_message("target_willing", "x"))
    assert await finn.get_participants("thousand_members", limit=5), "a frozen account may read"
    await finn.log_out()
    gil = await login(control, GIL)
    await raises("USER_BANNED_IN_CHANNEL", invite(gil, "destination_group", "target_willing"))
    await raises("CHANNELS_TOO_MUCH", gil(functions.channels.JoinChannelRequest("strangers_group")))
    await gil.log_out()


@check("basic groups")
async def basic_groups(control):
    made = await login(control)
    full = await made(functions.messages.GetFullChatRequest(505))
    assert len(full.full_chat.participants.participants) == 4
    entity = await made.get_input_entity("target_willing")
    user = types.InputUser(entity.user_id, entity.access_hash)
    done = await made(functions.messages.AddChatUserRequest(505, user, 0))
    assert not done.missing_invitees
    await raises("USER_ALREADY_PARTICIPANT", made(functions.messages.AddChatUserRequest(505, user, 0)))
    await raises("CHAT_ID_INVALID", made(functions.messages.AddChatUserRequest(9999, user, 0)))
    await raises("CHAT_INVALID", made(functions.messages.AddChatUserRequest(514, user, 0)))
    sent = await made.send_message(types.InputPeerChat(505), "to the basic group")
    assert sent.peer_id.chat_id == 505
    await made.log_out()


@check("invite links and joining")
async def links(control):
    dan = await login(control, CLEO)
    checked = await dan(functions.messages.CheckChatInviteRequest("GoodLink"))
    assert isinstance(checked, types.ChatInviteAlready)
    await raises("INVITE_HASH_INVALID", dan(functions.messages.CheckChatInviteRequest("Nonsense")))
    await raises("INVITE_HASH_EXPIRED", dan(functions.messages.ImportChatInviteRequest("TakenBack")))
    await raises("USER_ALREADY_PARTICIPANT", dan(functions.messages.ImportChatInviteRequest("GoodLink")))
    await dan(functions.channels.LeaveChannelRequest("destination_group"))
    checked = await dan(functions.messages.CheckChatInviteRequest("GoodLink"))
    assert isinstance(checked, types.ChatInvite) and checked.title == "Destination"
    await raises("INVITE_REQUEST_SENT", dan(functions.messages.ImportChatInviteRequest("AskFirst")))
    await raises("INVITE_REQUEST_SENT", dan(functions.channels.JoinChannelRequest("by_request")))
    await dan(functions.messages.ImportChatInviteRequest("GoodLink"))
    await dan(functions.channels.JoinChannelRequest("strangers_group"))
    participant = await dan(functions.channels.GetParticipantRequest("strangers_group", "me"))
    assert isinstance(participant.participant, types.ChannelParticipantSelf)
    await dan.log_out()
    ada = await login(control)
    exported = await ada(functions.messages.ExportChatInviteRequest("destination_group"))
    assert exported.link.startswith("https://t.me/+")
    await ada.log_out()


@check("every error of the outcome table by fault")
async def faults(control):
    made = await login(control)
    for name in ERRORS:
        await fault(control, made, name, *PROBES.get(name, PROBES[None]))
    error = await fault(control, made, "FLOOD_WAIT_77", "contacts.getContacts", functions.contacts.GetContactsRequest(0))
    assert error.seconds == 77
    await made.log_out()


# Telethon remembers a flood wait and refuses the same method by itself, so each needs one of its own.
PROBES = {
    None: ("help.getNearestDc", functions.help.GetNearestDcRequest()),
    "FLOOD_WAIT_31": ("account.getPassword", functions.account.GetPasswordRequest()),
    "FLOOD_PREMIUM_WAIT_12": ("updates.getState", functions.updates.GetStateRequest()),
}


async def fault(control, made, name, method, request):
    await control("inject_error", account=11, method=method, error=name)
    try:
        return await raises(name, made(request))
    finally:
        await control("clear_faults")


@check("revoked keys")
async def revoked(control):
    made = await login(control, CLEO)
    assert await control("revoke_keys", account=13, error="SESSION_REVOKED") == 1
    await raises("SESSION_REVOKED", made(functions.help.GetNearestDcRequest()))
    await made.disconnect()


@check("an answer lost after the effect")
async def answer_lost(control):
    made = await login(control, auto_reconnect=False)
    peer = await made.get_input_entity("target_willing")
    await control("inject", account=11, method="messages.sendMessage", kind="drop_after_effect", times=1)
    try:
        await asyncio.wait_for(made(functions.messages.SendMessageRequest(peer, "lost answer", random_id=4712)), 10)
        raise AssertionError("an answer came")
    except (ConnectionError, asyncio.CancelledError, asyncio.TimeoutError, OSError, EOFError):
        pass
    texts = await control("private_messages", owner=31, author=11)
    assert texts.count("lost answer") == 1, texts
    await made.disconnect()


@check("strict mode: a second connection kills the key")
async def strict(control):
    made = await login(control, emulator="strict")
    assert (await made.get_me()).id == 11
    twin_session = MemorySession()
    twin_session.set_dc(DC, *control.address(DC, "strict"))
    twin_session.auth_key = made.session.auth_key
    twin = client(control, "strict", session=twin_session)
    try:
        await twin.connect()
        await raises("AUTH_KEY_DUPLICATED", twin(functions.help.GetNearestDcRequest()))
    except errors.AuthKeyDuplicatedError:
        pass
    await raises("AUTH_KEY_DUPLICATED", made(functions.help.GetNearestDcRequest()))
    await made.disconnect()
    await twin.disconnect()
    late = client(control, "strict", session=twin_session)
    try:
        await late.connect()
        await raises("AUTH_KEY_DUPLICATED", late(functions.help.GetNearestDcRequest()))
    except errors.AuthKeyDuplicatedError:
        pass
    await late.disconnect()
    assert await control("overlaps", emulator="strict") >= 1


@check("strict mode: reconnecting one after the other is no overlap")
async def strict_reconnect(control):
    before = await control("overlaps", emulator="strict")
    made = await login(control, CLEO, emulator="strict")
    for _ in range(5):
        await made.disconnect()
        await made.connect()
        assert (await made.get_me()).id == 13
    assert await control("overlaps", emulator="strict") == before
    await made.log_out()


async def main():
    control = Control()
    pin(control)
    await run(control)


asyncio.run(main())
