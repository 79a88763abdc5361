"""Reads recorded vectors and decides, independently of whoever recorded them, what becomes of each delivery.

    python3 reader.py [PATH...] [--verbose]

PATH is a vector, a collection, or a directory of them (default: the directory `recorded` beside this one). Needs
Python 3.11 and the package `cryptography`. Written from README.md, the schema and the specifications alone:

    megolm.py    Megolm, whole
    mls.py       a passive MLS client; mls_wire.py its bytes, mls_tree.py its tree, mls_crypto.py its cipher suites

Not decided: Signal and Olm, which are passed over, and in MLS what the top of mls.py lists. A vector is not played
beyond a delivery that was not decided. To which class of errors a refusal belongs is not compared.

Exit code: 0 nothing disagrees; 1 something does; 2 misuse, or a file that cannot be read; 3 `cryptography` is missing.
"""

import argparse
import copy
import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left beside the sources

try:
    from megolm import MegolmDevice
    from mls import MlsDevice
except ModuleNotFoundError as missing:
    if (missing.name or "").split(".")[0] != "cryptography":
        raise
    print("reader.py needs the Python package `cryptography`, version 42 or later.", file=sys.stderr)
    raise SystemExit(3) from None

from outcome import Refused, Shown, Undecided

PROTOCOLS = "mls", "megolm", "signal", "olm"
PLAYED = "mls", "megolm"
VERDICTS = "agreed", "undecided", "disagreed"


class Unreadable(Exception):
    """A file is no vector and no collection, as the schema has them."""


# Reading files

VECTOR_FIELDS = {
    "id", "title", "description", "protocol", "cipher_suite", "scenario", "requirements", "recorded_by", "confirmed_by",
    "disagreements", "recorded_on", "valid_until", "flags", "start", "deliveries",
}  # fmt: skip
VECTOR_OPTIONAL = {"scenario", "disagreements", "valid_until", "flags"}
DELIVERY_FIELDS = {
    "name", "comment", "kind", "from", "bytes", "ratchet_tree", "flags", "fault", "twin", "expected",
}  # fmt: skip
DELIVERY_REQUIRED = {"name", "kind", "bytes", "expected"}
SHOWN_FIELDS = {
    "plaintext", "sender", "sender_leaf", "group_id", "epoch", "epoch_authenticator", "roster", "removed",
    "message_index", "safety_number",
}  # fmt: skip


def check_fields(found: object, known: set[str], required: set[str], what: str) -> None:
    """An object has the fields that it needs, and no others."""
    if not isinstance(found, dict):
        raise Unreadable(f"{what} is no object")
    if wrong := (set(found) - known) | (required - set(found)):
        raise Unreadable(f"{what} lacks or should not have: {', '.join(sorted(wrong))}")


def check_vector(vector: dict) -> None:
    """The outer form of a vector; what its bytes are is found out by playing it."""
    check_fields(vector, VECTOR_FIELDS, VECTOR_FIELDS - VECTOR_OPTIONAL, "a vector")
    if vector["protocol"] not in PROTOCOLS or set(vector["start"]) != {vector["protocol"]}:
        raise Unreadable(f"{vector['id']} starts as something else than its protocol")
    for delivery in vector["deliveries"]:
        check_fields(delivery, DELIVERY_FIELDS, DELIVERY_REQUIRED, f"a delivery of {vector['id']}")
        what = f"{vector['id']}: {delivery['name']}"
        check_fields(delivery["expected"], {"accepted", "rejected", "harmless"}, set(), f"what {what} expects")
        for outcome, expected in delivery["expected"].items():
            check_fields(expected, {"reasons"} if outcome == "rejected" else SHOWN_FIELDS, set(), what)
        if len(delivery["expected"]) != 1:
            raise Unreadable(f"{what} does not expect exactly one outcome")


def read_file(path: Path) -> list[dict]:
    """The vectors of a file, which is one vector or a collection."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(read, dict) and "vectors" in read:
            check_fields(read, {"protocol", "vectors"}, {"protocol", "vectors"}, "a collection")
            vectors = read["vectors"]
            if any(vector["protocol"] != read["protocol"] for vector in vectors):
                raise Unreadable("a collection has vectors of another protocol")
        else:
            vectors = [read]
        for vector in vectors:
            check_vector(vector)
        return vectors
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Unreadable) as why:
        raise Unreadable(f"{path}: {why}") from why


def read_paths(paths: list[Path]) -> Iterator[dict]:
    """All vectors, each once: a vector may be in a collection and a file of its own as well."""
    seen = set()
    for path in paths:
        if not path.exists():
            raise Unreadable(f"{path}: there is no such file")
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            for vector in read_file(file):
                whole = json.dumps(vector, sort_keys=True)
                if whole not in seen:
                    seen.add(whole)
                    yield vector


# Playing vectors


class Device:
    """The passive device of a vector."""

    def __init__(self, vector: dict) -> None:
        if vector["protocol"] == "megolm":
            self.state: MegolmDevice | MlsDevice = MegolmDevice()
        else:
            self.state = MlsDevice(vector["start"]["mls"])

    def take(self, delivery: dict) -> Shown:
        """What is shown of a delivery, or Refused; the state is then to be dropped."""
        if isinstance(self.state, MegolmDevice):
            return self.state.take(delivery["kind"], bytes.fromhex(delivery["bytes"]))
        if delivery["kind"] != "mls_message":
            raise Refused(f"{delivery['kind']} is nothing of MLS's")
        tree = delivery.get("ratchet_tree")
        return self.state.take(bytes.fromhex(delivery["bytes"]), None if tree is None else bytes.fromhex(tree))


def brief(value: object) -> str:
    """A value, cut where it gets long."""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def differences(expected: Shown, shown: Shown) -> list[str]:
    """Where what is shown differs: every field named has to hold, and what nobody named must not be read."""
    named = {name: value for name, value in expected.items() if value is not None}
    wrong = [
        f"{name} is {brief(shown.get(name))}, and should be {brief(value)}"
        for name, value in named.items()
        if name != "removed" and shown.get(name) != value
    ]
    if "plaintext" in shown and "plaintext" not in named:
        wrong.append(f"it reads {brief(shown['plaintext'])}, and nothing should be read")
    if shown.get("removed", False) != named.get("removed", False):
        wrong.append(f"removed is {shown.get('removed', False)}")
    return wrong


def judge(expected: dict, outcome: Shown | Refused) -> str:
    """Why an outcome is not the expected one, or nothing if it is."""
    if isinstance(outcome, Refused):
        return f"refused, and should be taken: {outcome}" if "accepted" in expected else ""
    if "rejected" in expected:
        return f"taken, and should be refused: {brief(outcome)}"
    return "; ".join(differences(expected["accepted" if "accepted" in expected else "harmless"], outcome))


def attempt(device: Device, delivery: dict) -> tuple[Device, Shown | Refused]:
    """The outcome of a delivery, and the device after it. A refusal changes nothing: it happens to a copy."""
    copied = copy.deepcopy(device)
    try:
        return copied, copied.take(delivery)
    except Refused as refusal:
        return device, refusal


def play(vector: dict, verbose: bool) -> Counter[str]:
    """Play a vector; print what disagrees, or everything; count the verdicts on its deliveries."""
    verdicts: Counter[str] = Counter()

    def tell(delivery: dict, verdict: str, text: str) -> None:
        verdicts[verdict] += 1
        if verbose or verdict == "disagreed":
            print(f"{vector['id']}: {delivery['name']}: {verdict}: {text}")

    waiting = list(vector["deliveries"])
    try:
        if (vector.get("valid_until") or "9999") < date.today().isoformat():
            raise Undecided("it was to be played until " + vector["valid_until"])
        device = Device(vector)
        while waiting:
            delivery = waiting[0]
            after, outcome = attempt(device, delivery)
            if disagreement := judge(delivery["expected"], outcome):
                tell(delivery, "disagreed", disagreement)
            else:
                tell(delivery, "agreed", f"refused: {outcome}" if isinstance(outcome, Refused) else "taken")
            if "rejected" not in delivery["expected"]:
                device = after
            del waiting[0]
    except Undecided as why:
        for delivery in waiting:
            tell(delivery, "undecided", str(why))
    except Refused as why:
        for delivery in waiting:
            tell(delivery, "disagreed", f"the device does not start: {why}")
    except Exception as fault:  # A mistake of this program must not pass for a refusal.
        for delivery in waiting:
            tell(delivery, "disagreed", f"this program failed: {fault!r}")
    return verdicts


def summary(files: Counter[str], verdicts: dict[str, Counter[str]]) -> str:
    """The table at the end."""
    rows: list[tuple[str, ...]] = [("protocol", "files", "deliveries", *VERDICTS)]
    for protocol in PROTOCOLS:
        if protocol in PLAYED:
            counts = verdicts[protocol]
            numbers = [files[protocol], counts.total()] + [counts[verdict] for verdict in VERDICTS]
            rows.append((protocol, *map(str, numbers)))
        elif files[protocol]:
            rows.append((protocol, str(files[protocol]), "passed over"))
    widths = 7, 12, 8, 11, 11
    return "\n".join(
        row[0].ljust(8) + "".join(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=False))
        for row in rows
    )


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Reads recorded vectors and decides what becomes of each delivery.")
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, help="vectors, collections or directories")
    parser.add_argument("--verbose", action="store_true", help="a line for every delivery")
    arguments = parser.parse_args()
    files: Counter[str] = Counter()
    verdicts: dict[str, Counter[str]] = {protocol: Counter() for protocol in PLAYED}
    try:
        vectors = list(read_paths(arguments.paths or [Path(__file__).resolve().parent.parent / "recorded"]))
    except Unreadable as why:
        print(why, file=sys.stderr)
        return 2
    for vector in vectors:
        files[vector["protocol"]] += 1
        if vector["protocol"] in PLAYED:
            verdicts[vector["protocol"]] += play(vector, arguments.verbose)
    print(summary(files, verdicts))
    return 1 if any(counts["disagreed"] for counts in verdicts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
