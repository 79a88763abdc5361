"""A program under test, and an honest server between its devices: for the checks of the adapters in C."""

import json
import subprocess


class Child:
    """A running program. `request` gives the reply and the events."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.last_id = 0

    def request(self, **request):
        self.last_id += 1
        line = json.dumps({"id": self.last_id, "request": request})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.last_id, answer
        return answer["reply"], answer.get("events", [])

    def device(self, handle, device=None):
        reply, _ = self.request(device={"handle": handle, "id": device or handle})
        assert "ok" in reply, reply

    def stance(self, handle, stance):
        self.request(stance={"handle": handle, "stance": stance})

    def call(self, handle, verb, **fields):
        """The reply, whatever it is."""
        return self.request(call={"handle": handle, "call": {verb: fields}})[0]

    def ask(self, handle, verb, **fields):
        """The answer of a call that must succeed."""
        reply = self.call(handle, verb, **fields)
        assert "ok" in reply, (handle, verb, reply)
        [answer] = reply["ok"].values()
        return answer

    def resume(self, handle, undecided, answer):
        reply, _ = self.request(resume={"handle": handle, "token": undecided["undecided"]["token"], "answer": answer})
        return reply

    def receive(self, handle, packet):
        return self.call(handle, "receive", packet=packet)

    def end(self):
        """Ends the input; the program must end too, with status 0."""
        self.process.stdin.close()
        assert self.process.wait() == 0, "the program did not end as it should"


class Server:
    """Takes packets from device to device, whose handles are their ids too. What is read is kept."""

    def __init__(self, child, members):
        self.child = child
        self.members = list(members)
        self.read = []

    def create(self, by, group, others):
        """A group with `by` and others who are in none yet."""
        self.members = [by]
        self.child.ask(by, "create_group", group=group)
        self.add(by, group, others)

    def route(self, packets):
        for packet in packets:
            self.route(self.deliver(packet))

    def deliver(self, packet):
        """Hands a packet to whom it goes; gives what is sent in answer."""
        answers = []
        to = packet["to"]
        if "group" in to:
            devices = [m for m in self.members if m != packet["from"] or packet["kind"] == "change"]
        else:
            devices = to.get("devices") or [to["device"]]
        for device in devices:
            output = self.child.receive(device, packet)["ok"]["output"]
            if "message" in output:
                self.read.append((device, output["message"]["sender"], bytes.fromhex(output["message"]["plaintext"])))
            answers += output.get("packets", [])
        return answers

    def add(self, by, group, newcomers):
        bundles = [self.child.ask(device, "publish", peer=by) for device in newcomers]
        change = {"add": bundles, "remove": [], "refresh": False}
        first, *welcomes = self.child.ask(by, "change", group=group, change=change)["packets"]
        self.route([first])
        self.members += newcomers
        self.route(welcomes)

    def introduce(self, by, group):
        for device in self.child.ask(by, "wants", group=group):
            bundle = self.child.ask(device, "publish", peer=by)
            self.route(self.child.ask(by, "introduce", bundle=bundle).get("packets", []))

    def write(self, by, group, text):
        """The packets of a message, not delivered yet."""
        return self.child.ask(by, "send", group=group, plaintext=text.hex())["packets"]

    def send(self, by, group, text):
        self.introduce(by, group)
        self.route(self.write(by, group, text))


def altered(data):
    """Every flip of a bit and every cut of some bytes."""
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    for end in range(len(data)):
        yield data[:end]
