"""The stdio protocol of E2ESM: lines in, lines out, questions and events. PROTOCOL.md describes it.

An adapter gives `serve` a description and a class of devices. A device has a method for each call that it can do, named as
the call is and with the call's fields as keyword arguments; what it has no method for is answered with `unsupported`, and
declared so. Bytes are `bytes` on this side and hex on the wire; everything else is JSON's own dictionaries, lists and
strings. Methods may be coroutines. They return what is said at each in METHODS below, or raise a `Refusal`.

This file knows no library, and an adapter should not have to change it. It needs Python 3.9 and nothing else.
"""

import asyncio
import inspect
import json
import os
import re
import sys
import time
import traceback

#: The version of the protocol.
VERSION = 1


class Refusal(Exception):
    """A refusal, with its class (PROTOCOL.md, "Errors") and the library's own words."""

    def __init__(self, error_class, text):
        super().__init__(text)
        self.error_class = error_class


class _Undecided(Exception):
    """A question waits for an answer: the call is made again, from its start, when it has come."""


#: The class of the error when the application says no; `refused` for all other facts.
REFUSAL_OF = {
    "identity": "untrusted_identity",
    "listed_device": "untrusted_identity",
    "unsigned_prekey": "auth_failed",
    "sender": "auth_failed",
    "non_member_sender": "not_member",
    "replay": "duplicate",
}


class Notebook:
    """One device's questions, their answers, and what it noticed."""

    def __init__(self):
        self._stance = "yes"
        self._table = {}
        self._once = {}
        self._events = []
        self._waiting = None

    def consult(self, point, fact, asker="library"):
        """Puts a question about a fact, and tells of it. True is the permissive answer.

        `point` is the library's own name for the place; `asker` is `library`, or `group_management` where the adapter's
        own code asks.
        """
        about = _wired(fact)
        key = _canonical(about)
        answer = self._once.get(key, self._table.get(key))
        if answer is None:
            if self._stance == "ask":
                self._waiting = about
                raise _Undecided(f"{point} waits for an answer")
            answer = self._stance == "yes"
        self._events.append({"event": "consulted", "point": point, "asker": asker, "about": about, "answer": answer})
        return answer

    def require(self, point, fact, asker="library"):
        """Puts a question; a no is raised as the refusal of that fact's class."""
        if not self.consult(point, fact, asker):
            kind = fact["fact"]
            raise Refusal(REFUSAL_OF.get(kind, "refused"), f"the application said no at {point}: {kind}")

    def note(self, event, **fields):
        """Tells what was noticed: `note("joined", group=group)` (PROTOCOL.md, "Events")."""
        self._events.append(_wired({"event": event, **fields}))

    def set_stance(self, stance):
        self._stance = stance

    def decide(self, fact, answer):
        self._table[_canonical(fact)] = answer

    def answer_once(self, fact, answer):
        self._once[_canonical(fact)] = answer

    def forget_answers(self):
        self._once.clear()

    def take_events(self):
        events, self._events = self._events, []
        return events

    def take_waiting(self):
        """The fact that an interrupted call waits for. A library may have wrapped what was raised into its own error."""
        fact, self._waiting = self._waiting, None
        return fact


# What the fields hold. `?` after a name: may be left out. `seal` is the harness's own.
_BUNDLE = {"device": "device", "bytes": "bytes"}
_PACKET = {
    "kind": "text",
    "group": "text",
    "from": "device",
    "to": "address",
    "opens_session?": "boolean",
    "bytes": "bytes",
    "seal?": "any",
}
_CHANGE = {"add?": [_BUNDLE], "remove?": ["device"], "refresh?": "boolean"}
_LINK_REQUEST = {"device": "device", "device_key": "bytes"}
_KNOWN_GROUP = {"id": "text", "members": ["device"], "changes": "integer"}

#: Each call: its fields, the answer that its result becomes, and the capability that a device without it lacks.
METHODS = {
    "identity": ({}, "identity", None),  # {"account_key", "device_key", "voucher"}
    "publish": ({"peer": "device"}, "bundle", None),  # {"device", "bytes"}
    "create_group": ({"group": "text"}, "output", "groups"),  # {"packets"?, "message"?}; None is an empty one
    "change": ({"group": "text", "change": _CHANGE}, "output", None),
    "wants": ({"group": "text"}, "devices", None),  # [device]
    "send": ({"group": "text", "plaintext": "bytes"}, "output", None),
    "receive": ({"packet": _PACKET}, "output", None),
    "roster": ({"group": "text"}, "roster", None),  # {"members", "authenticated"}
    "introduce": ({"bundle": _BUNDLE}, "output", "pairwise_sessions"),
    "fingerprint": ({"group": "text", "peer": "device"}, "fingerprint", "fingerprint"),  # {"kind", "value"}
    "resend": (
        {"group": "text", "plaintext": "bytes", "bundle": _BUNDLE, "acknowledged": "boolean"},
        "output",
        "resend",
    ),
    "share_history": ({"group": "text", "to": "device"}, "output", "history"),
    "request_keys": ({"group": "text", "holder": "device"}, "output", "key_request"),
    "link_request": ({}, "link_request", "linking"),  # {"device", "device_key"}
    "authorise": ({"request": _LINK_REQUEST}, "authorisation", "linking"),  # {"device", "bytes"}
    "accept_authorisation": ({"authorisation": _BUNDLE}, "done", "linking"),
    "group_info": ({"group": "text"}, "bytes", "external_join"),
    "external_join": ({"group_info": "bytes"}, "output", "external_join"),
    "tree_in_welcome": ({"group": "text", "inside": "boolean"}, "done", "ratchet_tree"),
    "ratchet_tree": ({"group": "text"}, "bytes", "ratchet_tree"),
    "join_with_tree": ({"welcome": _PACKET, "ratchet_tree": "bytes"}, "output", "ratchet_tree"),
    "store": ({}, "bytes", "persistence"),
    "export_state": ({}, "bytes", "state_export"),
    "standard_keys": ({}, "start", "standard_keys"),  # {"mls": {...}} and so on
    "transcript": ({}, "deliveries", None),  # [delivery]
    "misbehave": ({"fault": "any"}, "done", None),  # fault: a name; device: for relabelled_sender
    "craft": ({"forgery": "any"}, "forged", None),  # forgery: a name, and its fields; {"packets"} or {"bundle"}
}

#: The attackers' faults with their field, and forgeries with their fields and the capability of each.
FAULTS = {
    "none": None,
    "relabelled_sender": "device",
    "degenerate_key": None,
    "wrong_leaf_signature": None,
    "wrong_parent_hash": None,
    "wrong_confirmation_tag": None,
}
FORGERIES = {
    "message": ({"group": _KNOWN_GROUP, "claim": "device", "plaintext": "bytes"}, "forged_message"),
    "key_distribution": (
        {"group": _KNOWN_GROUP, "claim": "device", "victims": [_BUNDLE], "plaintext": "bytes"},
        "forged_key_distribution",
    ),
    "change": (
        {"group": _KNOWN_GROUP, "claim": "device", "add?": [_BUNDLE], "remove?": ["device"]},
        "forged_change",
    ),
    "uninvited_join": ({"group": _KNOWN_GROUP}, "uninvited_join"),
    "broken_bundle": ({"bundle": _BUNDLE}, "broken_bundle"),
    "rewritten_identity": ({"packet": _PACKET}, "rewritten_identity"),
}

_REQUESTS = {
    "hello": {},
    "device": {"handle": "text", "id": "device"},
    "restore": {"handle": "text", "id": "device", "state": "bytes"},
    "load": {"handle": "text", "id": "device", "store": "bytes"},
    "passive": {"handle": "text", "start": "any"},
    "deliver": {
        "handle": "text",
        "delivery": {"kind": "text", "from?": "text", "bytes": "bytes", "ratchet_tree?": "bytes"},
    },
    "stance": {"handle": "text", "stance": "text"},
    "trust": {"handle": "text", "decision": {"fact": "any", "answer": "boolean"}},
    "call": {"handle": "text", "call": "any"},
    "resume": {"handle": "text", "token": "integer", "answer": "boolean"},
}


def serve(description, device_class, passive_class=None):
    """Answers requests on stdin until it ends.

    `description` is the dictionary of PROTOCOL.md, "hello"; its `unsupported` need only hold reasons where there are
    better ones than "this adapter does not have it". `device_class(id, notebook)` makes a device, or the coroutine
    `device_class.create(id, notebook)` where it has one. Its class methods `restore(id, state, notebook)` and
    `load(id, store, notebook)` make one from what `export_state` and `store` gave; its attributes `FAULTS` and `FORGERIES`
    name the faults and forgeries that `misbehave` and `craft` know. `passive_class(start)` makes a device for recorded
    vectors with a method `deliver(delivery)`; its `start` has bytes in hex, as it came.
    """
    # Whatever a library prints is for people: nothing but replies goes to stdout.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    child = _Child(description, device_class, passive_class)
    with asyncio.Runner() if hasattr(asyncio, "Runner") else _Runner() as runner:
        for line in sys.stdin.buffer:
            frame = child.answer(line, runner.run)
            output.write(json.dumps(frame, separators=(",", ":")).encode() + b"\n")
            output.flush()


class _Runner:
    """What `asyncio.Runner` is, for a Python before 3.11."""

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(self, *_):
        self._loop.close()

    def run(self, coroutine):
        return self._loop.run_until_complete(coroutine)


class _Seat:
    def __init__(self, device, notebook):
        self.device = device
        self.notebook = notebook
        self.waiting = None  # (token, fact, call)


class _Child:
    def __init__(self, description, device_class, passive_class):
        self.description = description
        self.device_class = device_class
        self.passive_class = passive_class
        self.seats = {}
        self.passives = {}
        self.next_token = 1
        self.run = None

    def answer(self, line, run):
        self.run = run
        frame_id = 0
        events = []
        start = time.monotonic_ns()
        try:
            try:
                frame = json.loads(line)
            except ValueError as error:
                raise Refusal("bad_request", f"no JSON: {error}") from None
            if isinstance(frame, dict) and _is_integer(frame.get("id")):
                frame_id = frame["id"]
            request = _read(frame, {"id": "integer", "request": "any"}, "frame")["request"]
            reply = self._take(request, events)
        except Exception as error:  # noqa: BLE001: whatever it is, it is a reply
            reply = {"error": _as_error(error)}
        return {"id": frame_id, "reply": _wired(reply), "events": events, "nanoseconds": time.monotonic_ns() - start}

    def _await(self, result):
        async def waited():
            return await result

        return self.run(waited()) if inspect.isawaitable(result) else result

    def _take(self, request, events):
        verb, fields = _only(request, _REQUESTS, "verb")
        given = _read(fields, _REQUESTS[verb], verb)
        return getattr(self, f"_take_{verb}")(given, events)

    def _take_hello(self, _given, _events):
        return {"hello": {"version": VERSION, "description": self._describe()}}

    def _take_device(self, given, _events):
        make = getattr(self.device_class, "create", self.device_class)
        return self._seat(given["handle"], lambda notebook: make(given["id"], notebook))

    def _take_restore(self, given, _events):
        make = self._has("restore")
        return self._seat(given["handle"], lambda notebook: make(given["id"], given["state"], notebook))

    def _take_load(self, given, _events):
        make = self._has("load")
        return self._seat(given["handle"], lambda notebook: make(given["id"], given["store"], notebook))

    def _take_passive(self, given, _events):
        if self.passive_class is None:
            raise Refusal("unsupported", "passive")
        if given["handle"] in self.passives:
            raise Refusal("bad_request", f"there is a passive device {given['handle']} already")
        self.passives[given["handle"]] = self._await(self.passive_class(given["start"]))
        return {"ok": {"done": {}}}

    def _take_deliver(self, given, _events):
        if self.passive_class is None:
            raise Refusal("unsupported", "deliver")
        passive = self.passives.get(given["handle"])
        if passive is None:
            raise Refusal("bad_request", f"no passive device {given['handle']}")
        return {"ok": {"delivered": self._await(passive.deliver(given["delivery"]))}}

    def _take_stance(self, given, _events):
        if given["stance"] not in ("yes", "no", "ask"):
            raise Refusal("unsupported", f"unknown stance {given['stance']}")
        self._find(given["handle"]).notebook.set_stance(given["stance"])
        return {"ok": {"done": {}}}

    def _take_trust(self, given, _events):
        self._find(given["handle"]).notebook.decide(**given["decision"])
        return {"ok": {"done": {}}}

    def _take_call(self, given, events):
        seat = self._find(given["handle"])
        seat.waiting = None
        seat.notebook.forget_answers()
        return self._call(seat, given["call"], events)

    def _take_resume(self, given, events):
        seat = self._find(given["handle"])
        if seat.waiting is None or seat.waiting[0] != given["token"]:
            raise Refusal("bad_request", f"no call waits with token {given['token']}")
        (_, fact, call), seat.waiting = seat.waiting, None
        seat.notebook.answer_once(fact, given["answer"])
        return self._call(seat, call, events)

    def _has(self, maker):
        make = getattr(self.device_class, maker, None)
        if make is None:
            raise Refusal("unsupported", maker)
        return make

    def _seat(self, handle, make):
        if handle in self.seats:
            raise Refusal("bad_request", f"there is a device {handle} already")
        notebook = Notebook()
        self.seats[handle] = _Seat(self._await(make(notebook)), notebook)
        return {"ok": {"done": {}}}

    def _find(self, handle):
        if handle not in self.seats:
            raise Refusal("bad_request", f"no device {handle}")
        return self.seats[handle]

    def _call(self, seat, call, events):
        verb, fields = _only(call, METHODS, "call")
        shape, answer, _ = METHODS[verb]
        method = getattr(seat.device, verb, None)
        if method is None:
            raise Refusal("unsupported", verb)
        given = _read(fields, shape, verb)
        if verb == "misbehave":
            given = self._fault(given["fault"])
        elif verb == "craft":
            given = self._forgery(given["forgery"])
        thrown = result = None
        try:
            result = self._await(method(**given))
        except Exception as error:  # noqa: BLE001
            thrown = error
        noticed = seat.notebook.take_events()
        fact = seat.notebook.take_waiting()
        if fact is not None:
            # The call will be made again from its start, and notice the same things again.
            token = self.next_token
            self.next_token += 1
            seat.waiting = (token, fact, call)
            return {"undecided": {"token": token, "fact": fact}}
        events.extend(noticed)
        if thrown is not None:
            raise thrown
        return {"ok": {answer: {} if answer == "done" or result is None else result}}

    def _fault(self, given):
        name = given if isinstance(given, str) else next(iter(given), None) if isinstance(given, dict) else None
        if name not in FAULTS or (name != "none" and name not in getattr(self.device_class, "FAULTS", ())):
            raise Refusal("unsupported", f"unknown fault {name}")
        if isinstance(given, str) != (FAULTS[name] is None) or (isinstance(given, dict) and len(given) != 1):
            raise Refusal("bad_request", f"malformed fault {name}")
        return {"fault": name, "device": None if isinstance(given, str) else _value(given[name], FAULTS[name], name)}

    def _forgery(self, given):
        name, fields = _only(given, FORGERIES, "forgery")
        if name not in getattr(self.device_class, "FORGERIES", ()):
            raise Refusal("unsupported", f"unknown forgery {name}")
        return {"forgery": name, "fields": _read(fields, FORGERIES[name][0], name)}

    def _describe(self):
        """Who the adapter is, with a reason for everything that it does not have."""
        device = self.device_class
        missing = [capability for verb, (_, _, capability) in METHODS.items() if capability and not hasattr(device, verb)]
        missing += [] if hasattr(device, "restore") else ["state_export"]
        missing += [] if hasattr(device, "load") else ["persistence"]
        missing += [name for name in FAULTS if name != "none" and name not in getattr(device, "FAULTS", ())]
        missing += [
            capability for name, (_, capability) in FORGERIES.items() if name not in getattr(device, "FORGERIES", ())
        ]
        unsupported = {capability: "this adapter does not have it" for capability in missing}
        unsupported.update(self.description.get("unsupported", {}))
        recorded = self.description.get("recorded", []) if self.passive_class else []
        return {**self.description, "recorded": recorded, "unsupported": unsupported}


def _only(given, known, what):
    """The one name in `{name: fields}`."""
    if not isinstance(given, dict) or len(given) != 1:
        raise Refusal("bad_request", f"expected one {what}")
    [(name, fields)] = given.items()
    if name not in known:
        raise Refusal("unsupported", f"unknown {what} {name}")
    return name, fields


def _read(given, shape, where):
    """The fields of an object, checked; bytes become `bytes`."""
    if not isinstance(given, dict):
        raise Refusal("bad_request", f"{where}: expected an object")
    found = {}
    for key, kind in shape.items():
        name = key.rstrip("?")
        if given.get(name) is not None or (name in given and kind == "any"):
            found[name] = _value(given[name], kind, f"{where}.{name}")
        elif not key.endswith("?"):
            raise Refusal("bad_request", f"{where}: missing field {name}")
        else:
            found[name] = [] if isinstance(kind, list) else False if kind == "boolean" else None
    for name in given:
        if name not in shape and f"{name}?" not in shape:
            raise Refusal("bad_request", f"{where}: unknown field {name}")
    return found


def _value(given, kind, where):
    if isinstance(kind, list):
        if not isinstance(given, list):
            raise Refusal("bad_request", f"{where}: expected a list")
        return [_value(item, kind[0], where) for item in given]
    if isinstance(kind, dict):
        return _read(given, kind, where)
    text = isinstance(given, str)
    if kind == "any":
        return given
    if kind == "bytes" and text and re.fullmatch("([0-9a-f]{2})*", given):
        return bytes.fromhex(given)
    if kind == "device" and text and re.fullmatch("[^/]+/[^/]+", given):
        return given
    if kind == "text" and text or kind == "boolean" and isinstance(given, bool):
        return given
    if kind == "integer" and _is_integer(given):
        return given
    if kind == "address" and given == "server":
        return given
    if kind == "address" and isinstance(given, dict):
        for name, inner in (("group", "text"), ("device", "device"), ("devices", ["device"])):
            if name in given:
                return _read(given, {name: inner}, where)
    raise Refusal("bad_request", f"{where}: expected {kind}")


def _is_integer(given):
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**64


def _as_error(error):
    if isinstance(error, Refusal):
        return {"class": error.error_class, "text": str(error)}
    # Nobody foresaw it: whoever mends the adapter wants to know where it came from.
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    return {"class": "internal", "text": f"{type(error).__name__}: {error}"}


def _wired(given):
    """A value as it goes on the wire: bytes in hex, what is None in an object left out."""
    if isinstance(given, (bytes, bytearray)):
        return given.hex()
    if isinstance(given, dict):
        return {name: _wired(item) for name, item in given.items() if item is not None}
    if isinstance(given, (list, tuple)):
        return [_wired(item) for item in given]
    return given


def _canonical(fact):
    return json.dumps(_wired(fact), sort_keys=True)
