"""What no vector shows, since most need a third member: `make check` runs this on a build with sanitizers.

    python3 check.py ./libotr
"""

import sys

from child import Child, Server, altered

ALICE, BOB, CAROL = "alice/phone", "bob/phone", "carol/phone"
GROUP = "friends"


def pair(program):
    child = Child(program)
    for device in (ALICE, BOB, CAROL):
        child.device(device)
    server = Server(child, [])
    server.create(ALICE, GROUP, [BOB])
    return child, server


def talking(program):
    """Alice and Bob in a conversation in which both have written."""
    child, server = pair(program)
    server.send(ALICE, GROUP, b"one")
    server.send(BOB, GROUP, b"two")
    assert server.read == [(BOB, ALICE, b"one"), (ALICE, BOB, b"two")], server.read
    server.read.clear()
    return child, server


def refused(reply, error_class, text=""):
    assert reply.get("error", {}).get("class") == error_class and text in reply["error"]["text"], reply


def read(reply):
    message = reply["ok"]["output"].get("message")
    return message and bytes.fromhex(message["plaintext"])


def a_message_before_the_conversation_is_kept_by_libotr(program):
    child, server = pair(program)
    [query] = server.write(ALICE, GROUP, b"early")
    assert query["kind"] == "message" and bytes.fromhex(query["bytes"]).startswith(b"?OTRv3?"), query
    server.route([query])
    assert server.read == [(BOB, ALICE, b"early")], server.read
    child.end()


def nothing_is_read_before_the_conversation(program):
    child, server = talking(program)
    [message] = server.write(ALICE, GROUP, b"for bob")
    other, elsewhere = pair(program)
    refused(other.receive(BOB, message), "no_key")
    child.end()
    other.end()


def a_replay_is_refused(program):
    child, server = talking(program)
    [message] = server.write(ALICE, GROUP, b"once")
    assert read(child.receive(BOB, message)) == b"once"
    for _ in range(2):
        refused(child.receive(BOB, message), "auth_failed", "UNREADABLE")
    server.send(BOB, GROUP, b"next")
    refused(child.receive(BOB, message), "auth_failed", "UNREADABLE")
    server.send(ALICE, GROUP, b"and on")
    assert server.read == [(ALICE, BOB, b"next"), (BOB, ALICE, b"and on")], server.read
    child.end()


def an_overtaken_message_is_lost(program):
    child, server = talking(program)
    [first], [second], [third] = [server.write(ALICE, GROUP, text) for text in (b"1", b"2", b"3")]
    assert read(child.receive(BOB, first)) == b"1"
    assert read(child.receive(BOB, third)) == b"3"
    refused(child.receive(BOB, second), "auth_failed", "UNREADABLE")
    child.end()


def an_altered_message_costs_nothing(program):
    """A message's own altered copies are refused, passed over, or say the same; what was sent is read."""
    child, server = talking(program)
    [message] = server.write(ALICE, GROUP, b"hello")
    data, spent = bytes.fromhex(message["bytes"]), 0
    for copy in altered(data):
        reply = child.receive(BOB, {**message, "bytes": copy.hex()})
        if "ok" in reply and read(reply) is not None:
            # MAC keys that are revealed come after the tag.
            assert read(reply) == b"hello", reply
            spent += 1
            [message] = server.write(ALICE, GROUP, b"hello")
    assert read(child.receive(BOB, message)) == b"hello"
    print(f"{len(data)} bytes, {spent} altered copies read as what they were")
    child.end()


def opening(program):
    """Up to the message that opens the conversation at Alice's."""
    child, server = pair(program)
    query = server.write(ALICE, GROUP, b"hello")
    [commit] = server.deliver(query[0])
    [key] = server.deliver(commit)
    [reveal] = server.deliver(key)
    assert reveal["opens_session"], reveal
    return child, server, reveal


def an_altered_handshake_opens_nothing(program):
    """Some copies say the same: OTR's base64 may have other characters in it, and what follows it is nobody's."""
    child, server, reveal = opening(program)
    same = 0
    for number in range(0, len(reveal["bytes"]) // 2 * 9, 7):
        copy = list(altered(bytes.fromhex(reveal["bytes"])))[number]
        reply = child.receive(ALICE, {**reveal, "bytes": copy.hex()})
        packets = [] if "error" in reply else reply["ok"]["output"].get("packets", [])
        if not packets:
            refused(child.call(ALICE, "fingerprint", group=GROUP, peer=BOB), "bad_request")
            continue
        server.route(packets)
        assert server.read == [(BOB, ALICE, b"hello")], server.read
        same += 1
        child.end()
        child, server, reveal = opening(program)
    print(f"{len(reveal['bytes']) // 2} bytes, {same} altered copies taken for what they were")
    server.route(server.deliver(reveal))
    assert server.read == [(BOB, ALICE, b"hello")], server.read
    child.end()


def the_adapter_does_not_write_to_a_refused_fingerprint(program):
    """Tests the adapter: it holds what libotr wants to send until the fingerprint is accepted, and drops it after a no."""
    child, server = pair(program)
    child.stance(ALICE, "ask")
    [query] = server.write(ALICE, GROUP, b"secret")
    [commit] = server.deliver(query)
    [key] = server.deliver(commit)
    [reveal] = server.deliver(key)
    waiting = child.receive(ALICE, reveal)
    assert waiting["undecided"]["fact"]["fact"] == "identity", waiting
    assert waiting["undecided"]["fact"]["identity"] == child.ask(BOB, "identity")
    # Another call leaves it open, and the same packet asks the same again.
    assert child.ask(ALICE, "wants", group=GROUP) == [BOB]
    waiting = child.receive(ALICE, reveal)
    refused(child.resume(ALICE, waiting, False), "untrusted_identity")
    refused(child.call(ALICE, "fingerprint", group=GROUP, peer=BOB), "bad_request")
    # And once more, with a yes.
    [query] = server.write(ALICE, GROUP, b"hello")
    [commit] = server.deliver(query)
    [key] = server.deliver(commit)
    [reveal] = server.deliver(key)
    output = child.resume(ALICE, child.receive(ALICE, reveal), True)["ok"]["output"]
    server.route(output["packets"])
    assert server.read == [(BOB, ALICE, b"hello")], server.read
    child.end()


def the_adapter_refuses_plain_text(program):
    """Tests the adapter: libotr hands plain text to its application, with an event that says so."""
    child, server = talking(program)
    known = {"id": GROUP, "members": [ALICE, BOB], "changes": 1}
    forgery = {"message": {"group": known, "claim": ALICE, "plaintext": b"psst".hex()}}
    [forged] = child.ask(CAROL, "craft", forgery=forgery)["packets"]
    refused(child.receive(BOB, forged), "auth_failed", "UNENCRYPTED")
    server.send(ALICE, GROUP, b"mine")
    assert server.read == [(BOB, ALICE, b"mine")], server.read
    child.end()


def a_stranger_is_passed_over(program):
    child, server = talking(program)
    [message] = server.write(ALICE, GROUP, b"mine")
    # Without a word: libotr takes it for another instance's.
    assert read(child.receive(BOB, {**message, "from": CAROL})) is None
    assert read(child.receive(BOB, message)) == b"mine"
    child.end()


def there_is_no_third(program):
    child, server = talking(program)
    bundle = child.ask(CAROL, "publish", peer=ALICE)
    change = {"add": [bundle], "remove": [], "refresh": False}
    refused(child.call(ALICE, "change", group=GROUP, change=change), "refused")
    server.send(ALICE, GROUP, b"as before")
    assert server.read == [(BOB, ALICE, b"as before")], server.read
    child.end()


CHECKS = [
    a_message_before_the_conversation_is_kept_by_libotr,
    nothing_is_read_before_the_conversation,
    a_replay_is_refused,
    an_overtaken_message_is_lost,
    an_altered_message_costs_nothing,
    an_altered_handshake_opens_nothing,
    the_adapter_does_not_write_to_a_refused_fingerprint,
    the_adapter_refuses_plain_text,
    a_stranger_is_passed_over,
    there_is_no_third,
]

if __name__ == "__main__":
    for check in CHECKS:
        check(sys.argv[1])
        print(f"{check.__name__}: ok")
    print(f"{len(CHECKS)} passed, 0 failed")
