//! What somebody on the way, who holds no key, can do to a packet: each change has a name, and is of one field.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::fields::{Edit, Field, Shape};

/// One changed copy of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The path of the field, or [`WHOLE`].
    pub field: String,
    /// What was done to it.
    pub change: &'static str,
    /// The copy.
    pub bytes: Vec<u8>,
}

/// The field of a change that is of the packet as such.
pub const WHOLE: &str = "whole";

/// Of an opaque field: the lowest bit of its middle byte.
pub const BIT: &str = "one bit flipped";
/// Of an opaque field: all bits of its first byte.
pub const FIRST: &str = "first byte changed";
/// Of an opaque field: all bits of its last byte.
pub const LAST: &str = "last byte changed";
/// Of an opaque field or a number: as long as it was, and 0.
pub const ZEROED: &str = "zeroed";
/// Of an opaque field or a vector: of length 0.
pub const EMPTIED: &str = "emptied";
/// Of an opaque field: without its last byte.
pub const SHORTER: &str = "cut short by one byte";
/// Of an opaque field: with a byte 0 after its last.
pub const LONGER: &str = "lengthened by one byte";
/// Of any field: what stands there in another honest packet.
pub const OTHERS: &str = "replaced by that of another packet";
/// Of a tag: not even its length is there.
pub const LEFT_OUT: &str = "left out";
/// Of a field with a length before it: the same length in the next larger of its three forms.
pub const LONG_LENGTH: &str = "length written in more bytes than it takes";
/// Of a number.
pub const MORE: &str = "one more";
/// Of a number.
pub const LESS: &str = "one less";
/// Of a number.
pub const ONES: &str = "all ones";
/// Of a code: the next that the RFC has in this place.
pub const OTHER_CODE: &str = "another value of the specification's";
/// Of a code.
pub const RESERVED: &str = "the reserved value 0";
/// Of a code of two bytes: 0xF0F0 (RFC 9420, section 17).
pub const PRIVATE_USE: &str = "a value for private use";
/// Of a vector.
pub const REMOVED: &str = "last element removed";
/// Of a vector.
pub const DOUBLED: &str = "first element given twice";
/// Of a vector of two elements or more.
pub const EXCHANGED: &str = "first two elements exchanged";
/// Of an optional field that is there.
pub const ABSENT: &str = "made absent";
/// Of an optional field: neither there nor not.
pub const PRESENCE: &str = "presence byte 2";
/// Of a ratchet tree.
pub const LEAVES_EXCHANGED: &str = "first two leaves exchanged";
/// Of a ratchet tree: as if the sender had not left out what is blank at its end.
pub const BLANK_APPENDED: &str = "a blank node appended";
/// Of the packet as such.
pub const NOTHING: &str = "emptied: no byte is left";
/// Of the packet as such: its first four bytes.
pub const HEADER: &str = "cut short to version and wire format";
/// Of the packet as such.
pub const HALF: &str = "cut short to its first half";
/// Of the packet as such.
pub const CUT: &str = "cut short by its last byte";
/// Of the packet as such.
pub const APPENDED: &str = "a zero byte appended";
/// Of the packet as such.
pub const TWICE: &str = "given twice over in one packet";

/// All changes of the packet as such.
pub fn of_whole(packet: &[u8]) -> Vec<Alteration> {
    let copies = [
        (NOTHING, Vec::new()),
        (HEADER, packet[..4.min(packet.len())].to_vec()),
        (HALF, packet[..packet.len() / 2].to_vec()),
        (CUT, packet[..packet.len() - 1].to_vec()),
        (APPENDED, [packet, &[0]].concat()),
        (TWICE, [packet, packet].concat()),
    ];
    let whole = copies.into_iter();
    whole.map(|(change, bytes)| Alteration { field: WHOLE.to_owned(), change, bytes }).collect()
}

/// All changes of all fields of a packet. `other` is another packet of the same kind, which lends its fields.
pub fn of_fields(root: &Field, packet: &[u8], other: Option<(&Field, &[u8])>) -> Vec<Alteration> {
    let mut alterations = Vec::new();
    for (path, field) in root.all() {
        let lent = other.and_then(|(root, bytes)| Some(root.find(&path).ok()?.content(bytes).to_vec()));
        for (change, edit) in of_field(field, packet, lent) {
            let bytes = root.rewritten(packet, field, &edit);
            if bytes != packet {
                alterations.push(Alteration { field: path.clone(), change, bytes });
            }
        }
    }
    distinct(alterations)
}

/// Each byte string once: under the innermost field that it is a change of, and the first change there.
fn distinct(alterations: Vec<Alteration>) -> Vec<Alteration> {
    let mut kept: BTreeMap<Vec<u8>, Alteration> = BTreeMap::new();
    for alteration in &alterations {
        match kept.get(&alteration.bytes) {
            Some(other) if !alteration.field.starts_with(&other.field) || alteration.field == other.field => {}
            _ => {
                kept.insert(alteration.bytes.clone(), alteration.clone());
            }
        }
    }
    alterations.into_iter().filter(|alteration| kept.get(&alteration.bytes) == Some(alteration)).collect()
}

/// What can be done to a ratchet tree as a list of nodes (RFC 9420, section 12.4.3.3).
///
/// # Errors
/// For a tree of fewer than two leaves.
pub fn of_tree(root: &Field, tree: &[u8]) -> Result<Vec<Alteration>> {
    let nodes = root.find("ratchet_tree")?;
    let encoded: Vec<&[u8]> = nodes.parts().iter().map(|node| &tree[node.at.clone()]).collect();
    let [first, parent, third, rest @ ..] = encoded.as_slice() else { bail!("a tree of one leaf") };
    let lists = [
        (LEAVES_EXCHANGED, [&[*third, *parent, *first], rest].concat()),
        (BLANK_APPENDED, [encoded.as_slice(), &[&[0]]].concat()),
    ];
    let alterations = lists.into_iter().map(|(change, list)| Alteration {
        field: "ratchet_tree".to_owned(),
        change,
        bytes: root.rewritten(tree, nodes, &Edit::Content(list.concat())),
    });
    Ok(alterations.collect())
}

fn of_field(field: &Field, packet: &[u8], lent: Option<Vec<u8>>) -> Vec<(&'static str, Edit)> {
    let content = field.content(packet);
    let mut edits = Vec::new();
    let mut content_becomes = |change, bytes: Vec<u8>| edits.push((change, Edit::Content(bytes)));
    match &field.shape {
        Shape::Opaque => {
            if let (Some(first), Some(last)) = (content.first(), content.last()) {
                let middle = content.len() / 2;
                content_becomes(BIT, with(content, middle, content[middle] ^ 1));
                content_becomes(FIRST, with(content, 0, !first));
                content_becomes(LAST, with(content, content.len() - 1, !last));
                // A public key of zeros is a fault of another kind: the flag DegenerateKey is for that.
                if !matches!(field.name.as_str(), "kem_output" | "init_key" | "encryption_key") {
                    content_becomes(ZEROED, vec![0; content.len()]);
                }
                content_becomes(EMPTIED, Vec::new());
                content_becomes(SHORTER, content[..content.len() - 1].to_vec());
            }
            content_becomes(LONGER, [content, &[0]].concat());
            if let Some(lent) = lent {
                content_becomes(OTHERS, lent);
            }
            edits.push((LONG_LENGTH, Edit::Encoding(wastefully(content))));
            if field.name.ends_with("_tag") {
                edits.push((LEFT_OUT, Edit::Encoding(Vec::new())));
            }
        }
        Shape::Number => {
            let (value, width) = (field.value(packet), content.len());
            let number = |value: u64| value.to_be_bytes()[8 - width..].to_vec();
            content_becomes(MORE, number(value.wrapping_add(1)));
            content_becomes(LESS, number(value.wrapping_sub(1)));
            content_becomes(ZEROED, number(0));
            content_becomes(ONES, number(u64::MAX));
        }
        Shape::Code(values) => {
            let (value, width) = (field.value(packet), content.len());
            let code = |value: u64| value.to_be_bytes()[8 - width..].to_vec();
            let after = values.iter().position(|known| *known == value).map_or(0, |index| index + 1);
            if let Some(other) = values.get(after).or(values.first()).filter(|other| **other != value) {
                content_becomes(OTHER_CODE, code(*other));
            }
            content_becomes(RESERVED, code(0));
            if width == 2 {
                content_becomes(PRIVATE_USE, code(0xf0f0));
            }
        }
        Shape::Struct(_) => {
            if let Some(lent) = lent {
                content_becomes(OTHERS, lent);
            }
        }
        Shape::Vector(elements) => {
            let encoded: Vec<&[u8]> = elements.iter().map(|element| &packet[element.at.clone()]).collect();
            if let [first, rest @ ..] = encoded.as_slice() {
                content_becomes(REMOVED, encoded[..encoded.len() - 1].concat());
                content_becomes(DOUBLED, [&[*first, *first], rest].concat().concat());
                if let [second, rest @ ..] = rest {
                    content_becomes(EXCHANGED, [&[*second, *first], rest].concat().concat());
                    content_becomes(EMPTIED, Vec::new());
                }
            }
            edits.push((LONG_LENGTH, Edit::Encoding(wastefully(content))));
        }
        Shape::Optional(inside) => {
            let inside = inside.as_ref().map(|inside| packet[inside.at.clone()].to_vec());
            if let Some(inside) = &inside {
                edits.push((ABSENT, Edit::Encoding(vec![0])));
                edits.push((PRESENCE, Edit::Encoding([&[2], inside.as_slice()].concat())));
            } else {
                edits.push((PRESENCE, Edit::Encoding(vec![2])));
            }
            if let Some(lent) = lent {
                edits.push((OTHERS, Edit::Encoding(lent)));
            }
        }
    }
    edits
}

fn with(content: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut content = content.to_vec();
    content[at] = byte;
    content
}

/// Content with its length before it in the next larger of the three forms: RFC 9420, section 2.1.2, forbids that.
fn wastefully(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    let mut bytes = match length {
        0..0x40 => (0x4000 | length as u16).to_be_bytes().to_vec(),
        _ => (0x8000_0000 | length).to_be_bytes().to_vec(),
    };
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::fields::{message, prefixed};

    /// A PrivateMessage with nothing in it that anybody could read.
    fn packet(group: &str, epoch: u64) -> Vec<u8> {
        let mut packet = vec![0, 1, 0, 2];
        packet.extend(prefixed(group.as_bytes()));
        packet.extend(epoch.to_be_bytes());
        packet.push(1);
        [b"".as_slice(), &[7; 28], &[9; 80]].iter().for_each(|opaque| packet.extend(prefixed(opaque)));
        packet
    }

    /// What a change has made of a field.
    fn found<'a>(alterations: &'a [Alteration], field: &str, change: &str) -> &'a [u8] {
        &alterations.iter().find(|other| other.field == field && other.change == change).unwrap().bytes
    }

    #[test]
    fn each_change_does_what_its_name_says_and_nothing_else() {
        let (honest, other) = (packet("friends", 5), packet("work", 5));
        let (root, lent) = (message(&honest).unwrap().1, message(&other).unwrap().1);
        let alterations = of_fields(&root, &honest, Some((&lent, &other)));
        let content = |bytes: &[u8], field: &str| {
            let root = message(bytes).unwrap().1;
            root.find(field).unwrap().content(bytes).to_vec()
        };
        let cases: [(&str, &str, &[u8]); 12] = [
            ("group_id", BIT, b"fridnds"),
            ("group_id", FIRST, b"\x99riends"),
            ("group_id", LAST, b"friend\x8c"),
            ("group_id", ZEROED, &[0; 7]),
            ("group_id", EMPTIED, b""),
            ("group_id", SHORTER, b"friend"),
            ("group_id", LONGER, b"friends\0"),
            ("group_id", OTHERS, b"work"),
            ("epoch", MORE, &[0, 0, 0, 0, 0, 0, 0, 6]),
            ("epoch", LESS, &[0, 0, 0, 0, 0, 0, 0, 4]),
            ("epoch", ONES, &[0xff; 8]),
            ("content_type", OTHER_CODE, &[2]),
        ];
        let fields = ["version", "wire_format", "group_id", "epoch", "content_type", "authenticated_data"];
        for (field, change, expected) in cases {
            let altered = found(&alterations, field, change);
            assert_eq!(content(altered, field), expected, "{field}: {change}");
            for same in fields.iter().filter(|same| **same != field) {
                assert_eq!(content(altered, same), content(&honest, same), "{field}: {change} has changed {same}");
            }
        }
        // 80 bytes: a length of two bytes, which becomes one of four.
        let wasteful = found(&alterations, "ciphertext", LONG_LENGTH);
        assert_eq!(wasteful[honest.len() - 82..][..4], [0x80, 0, 0, 80]);
        assert!(message(wasteful).is_err());
    }

    #[test]
    fn no_copy_is_the_packet_or_another_copy() {
        let (honest, other) = (packet("friends", 1), packet("work", 9));
        let (root, lent) = (message(&honest).unwrap().1, message(&other).unwrap().1);
        let mut alterations = of_fields(&root, &honest, Some((&lent, &other)));
        // From 1, one less is zero: one copy, under the first name.
        assert!(alterations.iter().any(|other| (other.field.as_str(), other.change) == ("epoch", LESS)));
        assert!(!alterations.iter().any(|other| (other.field.as_str(), other.change) == ("epoch", ZEROED)));
        alterations.extend(of_whole(&honest));
        let copies: BTreeSet<_> = alterations.iter().map(|alteration| &alteration.bytes).collect();
        assert_eq!(copies.len(), alterations.len());
        assert!(!copies.contains(&honest));
        for whole in alterations.iter().filter(|alteration| alteration.field == WHOLE) {
            assert!(message(&whole.bytes).is_err(), "{} still reads", whole.change);
        }
    }
}
