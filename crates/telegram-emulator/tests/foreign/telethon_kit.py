"""How Telethon is pinned to the emulators, and how its checks log in and expect errors."""

import logging
import re
import sys

from harness import only_loopback

only_loopback()

import rsa  # noqa: E402
from telethon import TelegramClient, errors  # noqa: E402
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
