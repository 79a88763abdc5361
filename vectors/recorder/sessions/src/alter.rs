//! Packets taken apart into the fields of their format, and put together again with one of them altered.
//!
//! All formats here are of one kind: bytes of fixed length, then perhaps the fields of a protocol buffer, then bytes of
//! fixed length again (a tag, a signature). What is not altered stays as it was, byte for byte.

use anyhow::{Context, Result, bail, ensure};

/// What a kind of packet consists of.
pub(crate) struct Layout {
    /// Its name in the specification.
    pub(crate) packet: &'static str,
    /// What stands before the protocol buffer: names and lengths in bytes.
    pub(crate) head: &'static [(&'static str, usize)],
    /// The fields of the protocol buffer: numbers and names.
    pub(crate) fields: &'static [(u32, &'static str)],
    /// What stands behind it: names and lengths in bytes.
    pub(crate) tail: &'static [(&'static str, usize)],
}

/// A packet, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: &'static str,
    form: Form,
}

/// How a field is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// As it is.
    Raw(Vec<u8>),
    /// With a tag, as a number of variable length (wire type 0).
    Number { field: u32, value: u64 },
    /// With a tag and a length (wire type 2).
    Bytes { field: u32, value: Vec<u8> },
}

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A bit in the middle is flipped; of a number, bit 6.
    Flipped,
    /// The field is not there.
    Removed,
    /// It is there, with nothing in it.
    Emptied,
    /// It lacks its last byte.
    Cut,
    /// It has one byte more at its end.
    Extended,
    /// All its bytes are zero, or the number is.
    Zeroed,
    /// It is that of another packet.
    Swapped,
    /// Behind the protocol buffer's last field, it is there once more, altered.
    Doubled,
    /// One more.
    Increased,
    /// One less.
    Decreased,
    /// A number in the place of bytes, or the other way round.
    WireType,
    /// Something of its own: how that is called, and what the field is then. Of a number, big-endian.
    Set(&'static str, &'static [u8]),
    /// Only the first half is there.
    Halved,
    /// All of it is there twice.
    Repeated,
}

impl Change {
    /// As it is called in a fault.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Flipped => "one bit flipped",
            Self::Removed => "removed",
            Self::Emptied => "emptied",
            Self::Cut => "cut short by one byte",
            Self::Extended => "lengthened by one byte",
            Self::Zeroed => "zeroed",
            Self::Swapped => "replaced by that of another message",
            Self::Doubled => "followed by a second one, altered",
            Self::Increased => "increased by one",
            Self::Decreased => "decreased by one",
            Self::WireType => "sent with another wire type",
            Self::Set(label, _) => label,
            Self::Halved => "cut in half",
            Self::Repeated => "sent twice in one",
        }
    }

    /// Whether the packet is not what its format allows, rather than one that says something else.
    pub(crate) fn malforms(self) -> bool {
        use Change::*;
        matches!(self, Removed | Emptied | Cut | Extended | WireType | Halved | Repeated)
    }
}

impl Layout {
    /// Takes a packet apart.
    ///
    /// # Errors
    /// Bytes that are not of this kind, or that are not written as the packet would be written again.
    pub(crate) fn parse(&self, bytes: &[u8]) -> Result<Packet> {
        let mut parts = Vec::new();
        let mut rest = bytes;
        for (name, length) in self.head {
            parts.push(Part { name, form: Form::Raw(take(&mut rest, *length)?.to_vec()) });
        }
        let tail: usize = self.tail.iter().map(|(_, length)| length).sum();
        let end = rest.len().checked_sub(tail).context("shorter than its tail")?;
        let (mut fields, mut tail) = rest.split_at(end);
        while !fields.is_empty() {
            let tag = number(&mut fields)?;
            let field = u32::try_from(tag >> 3)?;
            let named = self.fields.iter().find(|(number, _)| *number == field);
            let (_, name) = named.with_context(|| format!("{} has no field {field}", self.packet))?;
            let form = match tag & 7 {
                0 => Form::Number { field, value: number(&mut fields)? },
                2 => {
                    let length = usize::try_from(number(&mut fields)?)?;
                    Form::Bytes { field, value: take(&mut fields, length)?.to_vec() }
                }
                other => bail!("wire type {other} in {}", self.packet),
            };
            parts.push(Part { name, form });
        }
        for (name, length) in self.tail {
            parts.push(Part { name, form: Form::Raw(take(&mut tail, *length)?.to_vec()) });
        }
        let packet = Packet(parts);
        ensure!(packet.bytes() == bytes, "{}: not written as it would be written again", self.packet);
        Ok(packet)
    }

    /// `bytes` with one field altered. `whole` stands for the packet as it is; `donor` is the other packet that a
    /// swapped field is from.
    ///
    /// # Errors
    /// A change that changes nothing or that the field does not allow; those of [`parse`](Self::parse).
    pub(crate) fn alter(&self, bytes: &[u8], field: &str, change: Change, donor: Option<&[u8]>) -> Result<Vec<u8>> {
        let place = || format!("{}, {field}, {}", self.packet, change.label());
        let altered = if field == WHOLE {
            changed(bytes, change, donor).with_context(place)?
        } else {
            let donor = donor.map(|donor| self.parse(donor)).transpose()?;
            self.parse(bytes)?.altered(field, change, donor.as_ref()).with_context(place)?.bytes()
        };
        ensure!(altered != bytes, "{}: changes nothing", place());
        Ok(altered)
    }

    /// `bytes` with other bytes in one field.
    ///
    /// # Errors
    /// If there is no such field, or if it is a number; those of [`parse`](Self::parse).
    pub(crate) fn replace(&self, bytes: &[u8], field: &str, by: Vec<u8>) -> Result<Vec<u8>> {
        let mut packet = self.parse(bytes)?;
        let part = packet.0.iter_mut().find(|part| part.name == field);
        match &mut part.with_context(|| format!("there is no {field}"))?.form {
            Form::Raw(value) | Form::Bytes { value, .. } => *value = by,
            Form::Number { .. } => bail!("{}, {field}: a number", self.packet),
        }
        Ok(packet.bytes())
    }

    /// A field of the protocol buffer as bytes.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn bytes_of(&self, bytes: &[u8], field: &str) -> Result<Vec<u8>> {
        let packet = self.parse(bytes)?;
        match &packet.find(field)?.form {
            Form::Raw(value) | Form::Bytes { value, .. } => Ok(value.clone()),
            Form::Number { .. } => bail!("{}, {field}: a number", self.packet),
        }
    }
}

/// The name of the field that is all of a packet.
pub(crate) const WHOLE: &str = "whole";

impl Packet {
    fn find(&self, name: &str) -> Result<&Part> {
        self.0.iter().find(|part| part.name == name).with_context(|| format!("there is no {name}"))
    }

    /// All bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Part { form, .. } in &self.0 {
            match form {
                Form::Raw(value) => bytes.extend(value),
                Form::Number { field, value } => {
                    put_number(&mut bytes, u64::from(*field) << 3);
                    put_number(&mut bytes, *value);
                }
                Form::Bytes { field, value } => {
                    put_number(&mut bytes, u64::from(*field) << 3 | 2);
                    put_number(&mut bytes, value.len() as u64);
                    bytes.extend(value);
                }
            }
        }
        bytes
    }

    fn altered(mut self, name: &str, change: Change, donor: Option<&Self>) -> Result<Self> {
        let position =
            self.0.iter().position(|part| part.name == name).with_context(|| format!("there is no {name}"))?;
        if change == Change::Removed {
            self.0.remove(position);
            return Ok(self);
        }
        let other = donor.map(|donor| donor.find(name)).transpose()?;
        let form = match (&self.0[position].form, change) {
            (Form::Number { field, value }, Change::WireType) => {
                let mut written = Vec::new();
                put_number(&mut written, *value);
                Form::Bytes { field: *field, value: written }
            }
            (Form::Bytes { field, .. }, Change::WireType) => Form::Number { field: *field, value: 1 },
            (Form::Number { field, value }, Change::Doubled) => Form::Number { field: *field, value: value + 1 },
            (Form::Bytes { field, value }, Change::Doubled) => {
                Form::Bytes { field: *field, value: changed(value, Change::Flipped, None)? }
            }
            (Form::Number { field, value }, change) => {
                let value = match (change, other.map(|part| &part.form)) {
                    (Change::Flipped, _) => value ^ 1 << 6,
                    (Change::Zeroed, _) => 0,
                    (Change::Increased, _) => value + 1,
                    (Change::Decreased, _) => value.checked_sub(1).context("there is nothing below zero")?,
                    (Change::Set(_, bytes), _) => bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
                    (Change::Swapped, Some(Form::Number { value, .. })) => *value,
                    _ => bail!("a number does not allow it"),
                };
                Form::Number { field: *field, value }
            }
            (Form::Bytes { field, value }, change) => {
                let other = match other.map(|part| &part.form) {
                    Some(Form::Bytes { value, .. }) => Some(value.as_slice()),
                    _ => None,
                };
                Form::Bytes { field: *field, value: changed(value, change, other)? }
            }
            (Form::Raw(value), change) => {
                let other = match other.map(|part| &part.form) {
                    Some(Form::Raw(value)) => Some(value.as_slice()),
                    _ => None,
                };
                Form::Raw(changed(value, change, other)?)
            }
        };
        if change == Change::Doubled {
            let tagged = |part: &Part| !matches!(part.form, Form::Raw(_));
            let last = self.0.iter().rposition(tagged).context("there is no protocol buffer")?;
            let name = self.0[position].name;
            self.0.insert(last + 1, Part { name, form });
        } else {
            self.0[position].form = form;
        }
        Ok(self)
    }
}

fn changed(value: &[u8], change: Change, other: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut value = value.to_vec();
    match change {
        Change::Flipped => {
            let middle = value.len() / 2;
            *value.get_mut(middle).context("there is no bit to flip")? ^= 1;
        }
        Change::Emptied => value.clear(),
        Change::Cut => {
            value.pop().context("there is nothing to cut")?;
        }
        Change::Extended => value.push(0),
        Change::Zeroed => value.fill(0),
        Change::Swapped => value = other.context("there is no other packet")?.to_vec(),
        Change::Set(_, bytes) => value = bytes.to_vec(),
        Change::Halved => value.truncate(value.len() / 2),
        Change::Repeated => value.extend_from_within(..),
        Change::Removed | Change::Doubled | Change::Increased | Change::Decreased | Change::WireType => {
            bail!("bytes do not allow it")
        }
    }
    Ok(value)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length).context("too short")?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number of more than ten bytes")
}

fn put_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LAYOUT: Layout =
        Layout { packet: "packet", head: &[("version", 1)], fields: &[(1, "index"), (2, "text")], tail: &[("mac", 2)] };
    const HONEST: &[u8] = &[3, 0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0xaa, 0xbb];

    #[test]
    fn each_change_alters_one_field_and_leaves_the_others() {
        use Change::*;
        let other = &[4, 0x08, 7, 0x12, 1, b'!', 0xcc, 0xdd];
        let cases: &[(&str, Change, &[u8])] = &[
            ("version", Flipped, &[2, 0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Flipped, &[3, 0x08, 0xd6, 0x01, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Removed, &[3, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Increased, &[3, 0x08, 0x97, 0x01, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Decreased, &[3, 0x08, 0x95, 0x01, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Zeroed, &[3, 0x08, 0, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Swapped, &[3, 0x08, 7, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Set("", &[1, 0]), &[3, 0x08, 0x80, 0x02, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("index", Doubled, &[3, 0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x08, 0x97, 0x01, 0xaa, 0xbb]),
            ("index", WireType, &[3, 0x0a, 2, 0x96, 0x01, 0x12, 2, b'h', b'i', 0xaa, 0xbb]),
            ("text", Emptied, &[3, 0x08, 0x96, 0x01, 0x12, 0, 0xaa, 0xbb]),
            ("text", Cut, &[3, 0x08, 0x96, 0x01, 0x12, 1, b'h', 0xaa, 0xbb]),
            ("text", Extended, &[3, 0x08, 0x96, 0x01, 0x12, 3, b'h', b'i', 0, 0xaa, 0xbb]),
            ("text", Swapped, &[3, 0x08, 0x96, 0x01, 0x12, 1, b'!', 0xaa, 0xbb]),
            ("text", WireType, &[3, 0x08, 0x96, 0x01, 0x10, 1, 0xaa, 0xbb]),
            ("mac", Zeroed, &[3, 0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0, 0]),
            ("whole", Emptied, &[]),
            ("whole", Halved, &[3, 0x08, 0x96, 0x01, 0x12]),
        ];
        for (field, change, expected) in cases {
            assert_eq!(&LAYOUT.alter(HONEST, field, *change, Some(other)).unwrap(), expected, "{field} {change:?}");
        }
    }

    #[test]
    fn what_changes_nothing_or_cannot_be_done_is_an_error() {
        assert!(LAYOUT.alter(HONEST, "index", Change::Set("", &[0x96]), None).is_err());
        assert!(LAYOUT.alter(HONEST, "text", Change::Swapped, None).is_err());
        assert!(LAYOUT.alter(HONEST, "text", Change::Increased, None).is_err());
        assert!(LAYOUT.alter(HONEST, "nothing", Change::Flipped, None).is_err());
        assert!(LAYOUT.parse(&[3, 0x80]).is_err());
        assert!(LAYOUT.parse(&[3, 0x08, 0x80, 0x00, 0xaa, 0xbb]).is_err());
    }
}
