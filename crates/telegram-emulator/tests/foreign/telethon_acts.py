"""Checks with Telethon of what accounts do, and of what goes wrong when they do it."""

import asyncio

from harness import ERRORS, check
from telethon import errors, functions, types
from telethon.sessions import MemorySession

from telethon_kit import CLEO, DC, EVE, FINN, GIL, client, login, raises


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
