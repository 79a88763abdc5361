"""What may become of a delivery: it is taken, it is refused, or this program does not decide it."""


class Refused(Exception):
    """The delivery is not taken, and nothing changes. The text says which rule it breaks."""


class Undecided(Exception):
    """This program does not know the rule that decides here. Counted, and never taken for agreement."""


class Immutable:
    """A value that never changes: a copy of the device that holds it may hold the same one."""

    def __deepcopy__(self, memo: dict) -> "Immutable":
        return self


# What a device shows after it has taken a delivery: the fields of `expected.accepted`, in the same JSON form.
Shown = dict[str, object]
