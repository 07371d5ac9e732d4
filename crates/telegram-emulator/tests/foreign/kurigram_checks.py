"""Checks of the emulator with kurigram (a maintained Pyrogram)."""

import asyncio
import logging
import sys
import uuid

from harness import ERRORS, Control, check, only_loopback, run

only_loopback()

from pyrogram import Client, enums, errors, handlers, raw  # noqa: E402
from pyrogram.connection import Connection, transport  # noqa: E402
from pyrogram.crypto import rsa  # noqa: E402
from pyrogram.errors.exceptions.all import exceptions  # noqa: E402
from pyrogram.qrlogin import QRLogin  # noqa: E402

logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr)

ADA, BOB, CLEO, DAN, EVE, BANNED = (f"+49308000{n:04}" for n in (11, 12, 13, 14, 15, 17))
ADDRESSES = {}


def pinned(emulator):
    class Pinned(Connection):
        """A new session is given a real address by the library; here every address comes from our table."""

        def __init__(self, dc_id, server_address, port, *arguments, **named):
            host, port = ADDRESSES[emulator, dc_id]
            super().__init__(dc_id, host, port, *arguments, **named)

    return Pinned


def pin(control):
    info = control.emulators["lax"]
    rsa.server_public_keys.clear()
    rsa.server_public_keys[info["rsa_fingerprint"]] = rsa.PublicKey(int(info["rsa_modulus"]), info["rsa_exponent"])
    for emulator in ("lax", "strict"):
        for dc in (2, 4):
            ADDRESSES[emulator, dc] = control.address(dc, emulator)


def client(emulator="lax", protocol=transport.TCPAbridged, **options):
    return Client(
        f"emulated-{uuid.uuid4()}",
        api_id=1,
        api_hash="emulated",
        in_memory=True,
        sleep_threshold=0,
        connection_factory=pinned(emulator),
        protocol_factory=protocol,
        **options,
    )


async def login(control, phone=ADA, emulator="lax", **options):
    made = client(emulator, **options)
    await made.connect()
    sent = await made.send_code(phone)
    code = await control("login_code", emulator, phone=phone)
    await made.sign_in(phone, sent.phone_code_hash, code)
    await made.invoke(raw.functions.updates.GetState())
    await made.initialize()
    return made


async def logout(made):
    await made.terminate()
    await made.invoke(raw.functions.auth.LogOut())
    await made.disconnect()


def known_classes(name):
    """The classes that the library itself has for an error: one for each code that goes with the name."""
    base = name.rstrip("0123456789").rstrip("_") if name[-1].isdigit() else name
    names = (name, base, f"{base}_X")
    return [getattr(errors, by_name[known]) for by_name in exceptions.values() for known in names if known in by_name]


async def raises(name, awaitable):
    try:
        await awaitable
    except errors.RPCError as error:
        known = known_classes(name)
        if known:
            assert type(error) in known, f"{name} came as {type(error).__name__}: {error}"
        else:
            assert name in str(error), f"{name} came as {error}"
        return error
    raise AssertionError(f"{name} did not come")


for protocol in (
    transport.TCPAbridged,
    transport.TCPAbridgedO,
    transport.TCPFull,
    transport.TCPIntermediate,
    transport.TCPIntermediateO,
    transport.TCPIntermediatePadded,
):

    @check(f"handshake and login by {protocol.__name__}")
    async def transports(control, protocol=protocol):
        made = await login(control, protocol=protocol)
        assert (await made.get_me()).id == 11
        count = 0
        async for _ in made.get_chat_members("thousand_members", limit=200):
            count += 1
        assert count == 200
        await logout(made)


@check("phone login with wrong code first")
async def phone_login(control):
    made = client()
    await made.connect()
    await raises("PHONE_NUMBER_INVALID", made.send_code("+1"))
    await raises("PHONE_NUMBER_BANNED", made.send_code(BANNED))
    sent = await made.send_code(ADA)
    assert sent.type == enums.SentCodeType.APP
    await raises("PHONE_CODE_INVALID", made.sign_in(ADA, sent.phone_code_hash, "0000"))
    await raises("PHONE_CODE_EXPIRED", made.sign_in(ADA, "nonsense", "00000"))
    sent = await made.resend_code(ADA, sent.phone_code_hash)
    code = await control("login_code", phone=ADA)
    user = await made.sign_in(ADA, sent.phone_code_hash, code)
    assert user.id == 11 and user.is_self
    await made.initialize()
    await logout(made)


@check("two-step verification: wrong and right password")
async def two_factor(control):
    made = client()
    await made.connect()
    sent = await made.send_code(BOB)
    code = await control("login_code", phone=BOB)
    await raises("SESSION_PASSWORD_NEEDED", made.sign_in(BOB, sent.phone_code_hash, code))
    assert await made.get_password_hint() == "a classic"
    await raises("PASSWORD_HASH_INVALID", made.check_password("wrong"))
    assert (await made.check_password("hunter2 but longer")).id == 12
    await made.initialize()
    await logout(made)


@check("QR login")
async def qr_login(control):
    made = client()
    await made.connect()
    qr = QRLogin(made)
    await qr.recreate()
    waiting = asyncio.create_task(qr.wait(20))
    await asyncio.sleep(0)
    await control("accept_login_token", phone=CLEO, link=qr.url)
    assert (await waiting).id == 13
    await made.invoke(raw.functions.auth.LogOut())
    await made.disconnect()


@check("bot login")
async def bot_login(control):
    made = client()
    await made.connect()
    await raises("ACCESS_TOKEN_INVALID", made.sign_in_bot("18:Wrong"))
    user = await made.sign_in_bot("18:EmulatedToken")
    assert user.id == 18 and user.is_bot
    await made.disconnect()


@check("PHONE_MIGRATE")
async def phone_migrate(control):
    made = await login(control, DAN)
    assert await made.storage.dc_id() == 4 and (await made.get_me()).id == 14
    await logout(made)


@check("members of the thousand-member group, in pages and by filter")
async def members(control):
    made = await login(control)
    ids = [member.user.id async for member in made.get_chat_members("thousand_members")]
    assert len(ids) == len(set(ids)) == 1000, (len(ids), len(set(ids)))
    admins = [m async for m in made.get_chat_members("thousand_members", filter=enums.ChatMembersFilter.ADMINISTRATORS)]
    assert {m.status for m in admins} == {enums.ChatMemberStatus.OWNER, enums.ChatMemberStatus.ADMINISTRATOR}
    bots = [m async for m in made.get_chat_members("thousand_members", filter=enums.ChatMembersFilter.BOTS)]
    assert bots and all(m.user.is_bot for m in bots)
    found = [m.user.id async for m in made.get_chat_members("thousand_members", query="ada")]
    assert 11 in found and len(found) < 100
    assert await made.get_chat_members_count("thousand_members") == 1000
    me = await made.get_chat_member("thousand_members", "me")
    assert me.status == enums.ChatMemberStatus.MEMBER
    await raises("USER_NOT_PARTICIPANT", made.get_chat_member("thousand_members", "target_willing"))
    await logout(made)


@check("chats and users in full")
async def chats(control):
    made = await login(control)
    chat = await made.get_chat("thousand_members")
    assert chat.title == "Thousand" and chat.members_count == 1000
    channel = await made.get_chat("news_channel")
    assert channel.type == enums.ChatType.CHANNEL
    user = await made.get_users("target_friend")
    assert user.is_contact and user.is_mutual_contact
    assert (await made.get_me()).phone_number == ADA.lstrip("+")
    titles = [dialog.chat.title or dialog.chat.first_name async for dialog in made.get_dialogs()]
    assert {"Thousand", "News", "Basic", "Friend"} <= set(titles), titles
    await logout(made)


@check("history both ways")
async def history(control):
    made = await login(control)
    down = [m.id async for m in made.get_chat_history("thousand_members", max_id=251)]
    assert down == list(range(251, 0, -1)), (len(down), down[:3], down[-3:])
    up = [m.id async for m in made.get_chat_history("thousand_members", max_id=251, reverse=True)]
    assert up == list(range(1, 252)), (len(up), up[:3], up[-3:])
    some = await made.get_messages("thousand_members", [5, 9999, 7])
    assert [m.id for m in some if not m.empty] == [5, 7]
    found = [m.id async for m in made.search_messages("thousand_members", query="message 17:")]
    assert found == [19], found
    await logout(made)


@check("comments, ending by themselves")
async def comments(control):
    made = await login(control)
    texts = [m.text async for m in made.get_discussion_replies("news_channel", 1)]
    assert texts[-3:] == ["third comment", "second comment", "first comment"], texts
    discussion = await made.get_discussion_message("news_channel", 1)
    assert discussion.text == "first post"
    await logout(made)


@check("reactions")
async def reactions(control):
    made = await login(control)
    post = await made.get_messages("news_channel", 1)
    assert {(r.emoji, r.count) for r in post.reactions.reactions} == {("🔥", 2), ("👍", 1)}
    peer = await made.resolve_peer("news_channel")
    answer = await made.invoke(raw.functions.messages.GetMessageReactionsList(peer=peer, id=1, limit=50))
    assert answer.count == 3
    await made.send_reaction("news_channel", 2, "👍")
    post = await made.get_messages("news_channel", 2)
    assert [(r.emoji, r.count) for r in post.reactions.reactions] == [("👍", 1)]
    await logout(made)


@check("sending, and a repeated random id")
async def sending(control):
    made = await login(control)
    sent = await made.send_message("target_willing", "hello from kurigram")
    assert sent.text == "hello from kurigram" and sent.outgoing
    group = await made.send_message("thousand_members", "hello group")
    assert group.chat.title == "Thousand"
    assert "hello from kurigram" in await control("private_messages", owner=31, author=11)
    peer = await made.resolve_peer("target_willing")
    once = raw.functions.messages.SendMessage(peer=peer, message="once", random_id=815)
    await made.invoke(once)
    try:
        await made.invoke(once, retries=1)
        raise AssertionError("sent twice")
    except (TimeoutError, errors.RPCError):
        pass  # the library tries again after any error 500 and then gives up
    assert (await control("private_messages", owner=31, author=11)).count("once") == 1
    summary = await control("summary")
    assert summary["errors"]["RANDOM_ID_DUPLICATE"] >= 1
    await logout(made)


@check("an update arrives")
async def update(control):
    made = await login(control)
    arrived = asyncio.get_running_loop().create_future()

    async def handler(_, message):
        if message.text == "pushed" and not arrived.done():
            arrived.set_result(message)

    made.add_handler(handlers.MessageHandler(handler))
    await control("post_message", author=21, user=11, text="pushed")
    message = await asyncio.wait_for(arrived, 10)
    assert message.from_user.id == 21
    await logout(made)


@check("getDifference after a cut connection")
async def difference(control):
    made = await login(control)
    state = await made.invoke(raw.functions.updates.GetState())
    await control("drop_connections", account=11)
    await control("post_message", author=21, user=11, text="missed")
    for _ in range(20):
        try:
            answer = await made.invoke(raw.functions.updates.GetDifference(pts=state.pts, date=state.date, qts=0))
            break
        except (OSError, TimeoutError):
            await made.session.is_started.wait()  # it connects anew by itself
    assert [m.message for m in answer.new_messages] == ["missed"], answer
    await logout(made)


@check("adding members: every outcome that the world's state gives")
async def invitations(control):
    made = await login(control)
    assert await made.add_chat_members("destination_group", "target_friend") == []
    failed = await made.add_chat_members("destination_group", "target_premium")
    assert failed[0].user_id == 23 and failed[0].premium_would_allow_invite
    failed = await made.add_chat_members("destination_group", ["target_private", "target_willing"])
    assert [f.user_id for f in failed] == [22]
    for target, name in {
        "target_refusing": "USER_PRIVACY_RESTRICTED",
        "target_left": "USER_NOT_MUTUAL_CONTACT",
        "target_kicked": "USER_KICKED",
        "target_full": "USER_CHANNELS_TOO_MUCH",
        "target_blocking": "USER_BLOCKED",
        "target_bot": "BOTS_TOO_MUCH",
        "target_member": "USER_ALREADY_PARTICIPANT",
    }.items():
        await raises(name, made.add_chat_members("destination_group", target))
    for chat, name in {
        "closed_group": "CHAT_ADMIN_REQUIRED",
        "weak_admins": "CHAT_ADMIN_INVITE_REQUIRED",
        "full_group": "USERS_TOO_MUCH",
        "restricted_group": "CHAT_RESTRICTED",
        "strangers_group": "CHAT_WRITE_FORBIDDEN",
    }.items():
        await raises(name, made.add_chat_members(chat, "target_willing"))
    await logout(made)


@check("resolving")
async def resolving(control):
    made = await login(control)
    await raises("USERNAME_NOT_OCCUPIED", made.get_chat("nobody_at_all"))
    await raises("PEER_FLOOD", flood(control))
    await logout(made)


async def flood(control):
    eve = await login(control, EVE)
    try:
        await eve.send_message("target_willing", "x")
    finally:
        await logout(eve)


@check("every error of the outcome table by fault, with the library's own code for it")
async def faults(control):
    made = await login(control)
    for name in ERRORS:
        await control("inject_error", account=11, method="help.getNearestDc", error=name)
        if name == "RANDOM_ID_DUPLICATE":
            await control("clear_faults")
            continue  # an error 500 is retried by the library and never shown
        error = await raises(name, made.invoke(raw.functions.help.GetNearestDc()))
        if name == "FLOOD_WAIT_31":
            assert error.value == 31
        await control("clear_faults")
    await logout(made)


@check("strict mode: a second connection kills the key")
async def strict(control):
    made = await login(control, emulator="strict")
    exported = await made.export_session_string()
    twin = client("strict", session_string=exported)
    try:
        await twin.connect()
        await raises("AUTH_KEY_DUPLICATED", twin.invoke(raw.functions.help.GetNearestDc()))
    except errors.AuthKeyDuplicated:
        pass
    await raises("AUTH_KEY_DUPLICATED", made.invoke(raw.functions.help.GetNearestDc()))
    assert await control("overlaps", emulator="strict") >= 1


async def main():
    control = Control()
    pin(control)
    await run(control)


asyncio.run(main())
