"""What both clients' checks share: the channel to the Rust test, and the runner.

The Rust test writes JSON lines to standard input and reads JSON lines from standard output. The first line in is the
emulators' addresses and keys. A line out is either a request to an emulator's control, answered by one line in, or
the result of a check.
"""

import asyncio
import json
import sys
import traceback

TIMEOUT = 60


def only_loopback():
    """Nothing here may ever reach a real Telegram address: any other connection is refused by the interpreter."""

    def hook(event, arguments):
        if event == "socket.connect":
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else address
            if host not in ("127.0.0.1", "::1") and not str(host).startswith("/"):
                raise RuntimeError(f"refused to connect to {address}")
        if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "::1", "localhost", None):
            raise RuntimeError(f"refused to look up {arguments[0]}")

    sys.addaudithook(hook)


class Control:
    """The control of the emulators, by way of the Rust test."""

    def __init__(self):
        self.lock = asyncio.Lock()
        self.emulators = json.loads(sys.stdin.readline())

    async def __call__(self, request, emulator="lax", **arguments):
        async with self.lock:
            emit({"request": request, "emulator": emulator, **arguments})
            line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"{request}: {answer['error']}")
            return answer.get("value")

    def address(self, dc, emulator="lax"):
        for entry in self.emulators[emulator]["dcs"]:
            if entry["id"] == dc:
                host, port = entry["address"].split(":")
                assert host == "127.0.0.1"
                return host, int(port)
        raise AssertionError(f"no data centre {dc}")


def emit(line):
    sys.__stdout__.write(json.dumps(line) + "\n")
    sys.__stdout__.flush()


CHECKS = []


def check(name):
    """Registers a check; they run in the order of the file."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


async def run(*arguments):
    """Runs all checks, or those whose name contains the script's argument."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [(name, function) for name, function in CHECKS if only in name]
    for name, function in chosen:
        try:
            await asyncio.wait_for(function(*arguments), TIMEOUT)
            emit({"check": name, "ok": True})
        except BaseException as error:  # a check may fail in any way, the others still run
            emit({"check": name, "ok": False, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
    emit({"done": len(chosen)})


# Each error of the product's outcome table, and the other names of logins and lookups.
ERRORS = """
USER_ALREADY_PARTICIPANT INVITE_REQUEST_SENT USER_PRIVACY_RESTRICTED USER_NOT_MUTUAL_CONTACT USERNAME_INVALID
USERNAME_NOT_OCCUPIED USER_ID_INVALID USER_CHANNELS_TOO_MUCH USER_KICKED USER_BANNED_IN_CHANNEL USER_BLOCKED
USER_IS_BLOCKED YOU_BLOCKED_USER USER_BOT BOTS_TOO_MUCH INPUT_USER_DEACTIVATED CHAT_ADMIN_REQUIRED
CHAT_ADMIN_INVITE_REQUIRED CHAT_WRITE_FORBIDDEN CHANNELS_TOO_MUCH FLOOD_WAIT_31 FLOOD_PREMIUM_WAIT_12 PEER_FLOOD
SLOWMODE_WAIT_7 FROZEN_METHOD_INVALID FROZEN_PARTICIPANT_MISSING AUTH_KEY_UNREGISTERED AUTH_KEY_INVALID
SESSION_REVOKED SESSION_EXPIRED AUTH_KEY_DUPLICATED USER_DEACTIVATED USER_DEACTIVATED_BAN PHONE_NUMBER_BANNED
CHANNEL_PRIVATE CHANNEL_INVALID CHAT_INVALID CHAT_ID_INVALID CHAT_RESTRICTED USERS_TOO_MUCH RANDOM_ID_DUPLICATE
PHONE_NUMBER_INVALID PHONE_NUMBER_FLOOD PHONE_CODE_INVALID PHONE_CODE_EXPIRED PASSWORD_HASH_INVALID
PHONE_PASSWORD_FLOOD SESSION_PASSWORD_NEEDED PEER_ID_INVALID
""".split()
