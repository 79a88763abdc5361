"""What no vector shows: `make check` runs this on a build with sanitizers.

    python3 check.py ./libolm
"""

import sys

from child import Child, Server, altered

ALICE, BOB, CAROL = "alice/phone", "bob/phone", "carol/phone"


def pair(child, group="friends"):
    """Alice and Bob in a group, and the packets of Alice's first message: a key distribution and the message."""
    for device in (ALICE, BOB):
        child.device(device)
    server = Server(child, [])
    server.create(ALICE, group, [BOB])
    return server, server.write(ALICE, group, b"hello")


def taken(child, packet, text, copies):
    """Hands altered copies to a copy of Bob, and what was sent after those that were refused. How many were taken: such a
    copy may cost a key, and so the next goes to another Bob."""
    state, count, fresh = child.ask(BOB, "export_state"), 0, None
    for number, data in enumerate(copies):
        if fresh is None:
            fresh = f"bob before {packet['kind']} {number}"
            child.request(restore={"handle": fresh, "id": BOB, "state": state})
        reply = child.receive(fresh, {**packet, "bytes": data.hex()})
        if "error" in reply:
            assert reply["error"]["class"] in ("bad_request", "auth_failed", "no_key", "untrusted_identity"), reply
            continue
        message = reply["ok"]["output"].get("message")
        assert message is None or bytes.fromhex(message["plaintext"]) == text, reply
        count, fresh = count + 1, None
    if fresh is not None:
        assert "ok" in child.receive(fresh, packet), "what was refused has cost something"
    return count


def a_refused_first_message_costs_nothing(program):
    child = Child(program)
    _, [key, message] = pair(child)
    assert key["opens_session"]
    data = bytes.fromhex(key["bytes"])
    # What stands before the Olm message is the identity, which only the voucher vouches for.
    identity, opening = data[:160], data[160:]
    count = taken(child, key, None, (identity + copy for copy in altered(opening)))
    # What stands around the inner message is not under its tag, by Olm's design. What is read is right all the same.
    assert count <= 9, count
    assert "ok" in child.receive(BOB, key) and "ok" in child.receive(BOB, message)
    child.end()


def fields_of_a_first_message(program):
    """A first message without one of its fields is malformed."""
    child = Child(program)
    _, [key, _] = pair(child)
    data = bytes.fromhex(key["bytes"])
    identity, message = data[:160], data[160:]
    version, rest, fields = message[:1], message[1:], []
    while rest:
        length, start = rest[1] & 0x7F, 2
        if rest[1] & 0x80:
            length, start = length | rest[2] << 7, 3
        fields.append(rest[: start + length])
        rest = rest[start + length :]
    assert len(fields) == 4, fields
    for missing in range(4):
        short = version + b"".join(field for at, field in enumerate(fields) if at != missing)
        reply = child.receive(BOB, {**key, "bytes": (identity + short).hex()})
        assert reply["error"]["class"] == "bad_request", reply
    assert "ok" in child.receive(BOB, key)
    child.end()


def a_refused_message_costs_nothing(program):
    child = Child(program)
    server, first = pair(child)
    server.route(first)
    [message] = server.write(ALICE, "friends", b"again")
    assert taken(child, message, b"again", altered(bytes.fromhex(message["bytes"]))) == 0
    assert "ok" in child.receive(BOB, message)
    # An Olm message that opens nothing: Bob's keys, after Alice has answered.
    server.send(BOB, "friends", b"hello")
    change = {"add": [], "remove": [], "refresh": True}
    child.ask(ALICE, "change", group="friends", change=change)
    key, message = server.write(ALICE, "friends", b"third")
    assert key["kind"] == "key_distribution" and not key["opens_session"]
    assert taken(child, key, None, altered(bytes.fromhex(key["bytes"]))) == 0
    assert "ok" in child.receive(BOB, key) and "ok" in child.receive(BOB, message)
    child.end()


def a_waiting_call_leaves_no_trace(program):
    child = Child(program)
    server, [key, message] = pair(child)
    child.stance(BOB, "ask")
    before = child.ask(BOB, "export_state")
    for _ in range(2):
        assert "undecided" in child.receive(BOB, key)
        assert child.ask(BOB, "export_state") == before
    reply = child.resume(BOB, child.receive(BOB, key), False)
    assert reply["error"]["class"] == "untrusted_identity" and child.ask(BOB, "export_state") == before
    reply = child.resume(BOB, child.receive(BOB, key), True)
    assert "ok" in reply, reply
    child.stance(BOB, "yes")
    assert "ok" in child.receive(BOB, message)
    child.end()


def a_rewritten_packet_is_otherwise_as_it_was(program):
    child = Child(program)
    _, [key, _] = pair(child)
    child.device(CAROL)
    sealed = {**key, "seal": "5ea1"}
    [forged] = child.ask(CAROL, "craft", forgery={"rewritten_identity": {"packet": sealed}})["packets"]
    assert forged["bytes"] != key["bytes"]
    assert {**forged, "bytes": key["bytes"]} == sealed, forged
    child.end()


def a_device_goes_on_from_what_it_stored(program):
    child, again = Child(program), Child(program)
    server, first = pair(child)
    server.route(first)
    for device in (ALICE, BOB):
        store = child.ask(device, "store")
        reply, _ = again.request(load={"handle": device, "id": device, "store": store})
        assert "ok" in reply, reply
    later = Server(again, server.members)
    later.send(BOB, "friends", b"and on")
    assert later.read == [(ALICE, BOB, b"and on")], later.read
    for broken in ("00", store[:-2], "7b7d"):
        reply, _ = again.request(load={"handle": "other", "id": BOB, "store": broken})
        assert reply["error"]["class"] == "bad_request", reply
    child.end()
    again.end()


def the_hundred_and_first_one_time_key_drops_the_first(program):
    child = Child(program)
    for device in (ALICE, BOB):
        child.device(device)
    for _ in range(101):
        child.ask(BOB, "publish", peer=ALICE)
    keys = child.ask(BOB, "standard_keys")["olm"]["one_time_keys"]
    assert [key["id"] for key in keys] == list(range(2, 102)), keys
    child.end()


CHECKS = [
    a_refused_first_message_costs_nothing,
    fields_of_a_first_message,
    a_refused_message_costs_nothing,
    a_waiting_call_leaves_no_trace,
    a_rewritten_packet_is_otherwise_as_it_was,
    a_device_goes_on_from_what_it_stored,
    the_hundred_and_first_one_time_key_drops_the_first,
]

if __name__ == "__main__":
    for check in CHECKS:
        check(sys.argv[1])
        print(f"{check.__name__}: ok")
    print(f"{len(CHECKS)} passed, 0 failed")
