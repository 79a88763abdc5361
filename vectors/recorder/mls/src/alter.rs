//! What somebody on the way, who holds no key, can do to a packet: each change has a name, and is of one field.

use anyhow::{Result, bail};

use crate::fields::{Edit, Field, Shape};

/// One changed copy of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The path of the field, or [`WHOLE`].
    pub field: String,
    /// What was done to it.
    pub change: &'static str,
    /// Whether the copy still reads as the structure that it was.
    pub reads: bool,
    /// The copy.
    pub bytes: Vec<u8>,
}

/// The field of a change that is of the packet as such.
pub const WHOLE: &str = "whole";

/// Changes of opaque fields.
pub const BIT: &str = "one bit flipped";
pub const FIRST: &str = "first byte changed";
pub const LAST: &str = "last byte changed";
pub const ZEROED: &str = "zeroed";
pub const EMPTIED: &str = "emptied";
pub const SHORTER: &str = "cut short by one byte";
pub const LONGER: &str = "lengthened by one byte";
pub const OTHERS: &str = "replaced by that of another packet";
pub const LEFT_OUT: &str = "left out";
pub const LONG_LENGTH: &str = "length written in more bytes than it takes";
/// Changes of numbers.
pub const MORE: &str = "one more";
pub const LESS: &str = "one less";
pub const ONES: &str = "all ones";
/// Changes of codes.
pub const OTHER_CODE: &str = "another value of the specification's";
pub const RESERVED: &str = "the reserved value 0";
pub const PRIVATE_USE: &str = "a value for private use";
/// Changes of vectors.
pub const REMOVED: &str = "last element removed";
pub const DOUBLED: &str = "first element given twice";
pub const EXCHANGED: &str = "first two elements exchanged";
/// Changes of optional fields.
pub const ABSENT: &str = "made absent";
pub const PRESENCE: &str = "presence byte 2";
/// Changes of a ratchet tree.
pub const LEAVES_EXCHANGED: &str = "first two leaves exchanged";
pub const BLANK_APPENDED: &str = "a blank node appended";
/// Changes of the whole.
pub const NOTHING: &str = "emptied: no byte is left";
pub const HEADER: &str = "cut short to version and wire format";
pub const HALF: &str = "cut short to its first half";
pub const CUT: &str = "cut short by its last byte";
pub const APPENDED: &str = "a zero byte appended";
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
    whole.map(|(change, bytes)| Alteration { field: WHOLE.to_owned(), change, reads: false, bytes }).collect()
}

/// All changes of all fields of a packet. `other` is another packet of the same kind, which lends its fields.
pub fn of_fields(root: &Field, packet: &[u8], other: Option<(&Field, &[u8])>) -> Vec<Alteration> {
    let mut alterations = Vec::new();
    for (path, field) in root.all() {
        let lent = other.and_then(|(root, bytes)| Some(root.find(&path).ok()?.content(bytes).to_vec()));
        for (change, reads, edit) in of_field(field, packet, lent) {
            let bytes = root.rewritten(packet, field, &edit);
            if bytes != packet {
                alterations.push(Alteration { field: path.clone(), change, reads, bytes });
            }
        }
    }
    alterations
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
        reads: true,
        bytes: root.rewritten(tree, nodes, &Edit::Content(list.concat())),
    });
    Ok(alterations.collect())
}

fn of_field(field: &Field, packet: &[u8], lent: Option<Vec<u8>>) -> Vec<(&'static str, bool, Edit)> {
    let content = field.content(packet);
    let mut edits: Vec<(&'static str, bool, Edit)> = Vec::new();
    let mut content_becomes = |change, reads, bytes: Vec<u8>| edits.push((change, reads, Edit::Content(bytes)));
    match &field.shape {
        Shape::Opaque => {
            if let (Some(first), Some(last)) = (content.first(), content.last()) {
                let middle = content.len() / 2;
                content_becomes(BIT, true, with(content, middle, content[middle] ^ 1));
                content_becomes(FIRST, true, with(content, 0, !first));
                content_becomes(LAST, true, with(content, content.len() - 1, !last));
                // A public key of zeros is a fault of another kind: the flag DegenerateKey is for that.
                if !matches!(field.name.as_str(), "kem_output" | "init_key" | "encryption_key") {
                    content_becomes(ZEROED, true, vec![0; content.len()]);
                }
                content_becomes(EMPTIED, true, Vec::new());
                content_becomes(SHORTER, true, content[..content.len() - 1].to_vec());
            }
            content_becomes(LONGER, true, [content, &[0]].concat());
            if let Some(lent) = lent {
                content_becomes(OTHERS, true, lent);
            }
            edits.push((LONG_LENGTH, false, Edit::Encoding(wastefully(content))));
            if field.name.ends_with("_tag") {
                edits.push((LEFT_OUT, false, Edit::Encoding(Vec::new())));
            }
        }
        Shape::Number => {
            let (value, width) = (field.value(packet), content.len());
            let number = |value: u64| value.to_be_bytes()[8 - width..].to_vec();
            content_becomes(MORE, true, number(value.wrapping_add(1)));
            content_becomes(LESS, true, number(value.wrapping_sub(1)));
            content_becomes(ZEROED, true, number(0));
            content_becomes(ONES, true, number(u64::MAX));
        }
        Shape::Code(values) => {
            let (value, width) = (field.value(packet), content.len());
            let code = |value: u64| value.to_be_bytes()[8 - width..].to_vec();
            let after = values.iter().position(|known| *known == value).map_or(0, |index| index + 1);
            if let Some(other) = values.get(after).or(values.first()).filter(|other| **other != value) {
                content_becomes(OTHER_CODE, false, code(*other));
            }
            content_becomes(RESERVED, false, code(0));
            if width == 2 {
                // RFC 9420, section 17: 0xF000 to 0xFFFF.
                content_becomes(PRIVATE_USE, false, code(0xf0f0));
            }
        }
        Shape::Struct(_) => {
            if let Some(lent) = lent {
                content_becomes(OTHERS, true, lent);
            }
        }
        Shape::Vector(elements) => {
            let encoded: Vec<&[u8]> = elements.iter().map(|element| &packet[element.at.clone()]).collect();
            if let [first, rest @ ..] = encoded.as_slice() {
                content_becomes(REMOVED, true, encoded[..encoded.len() - 1].concat());
                content_becomes(DOUBLED, true, [&[*first, *first], rest].concat().concat());
                if let [second, rest @ ..] = rest {
                    content_becomes(EXCHANGED, true, [&[*second, *first], rest].concat().concat());
                    content_becomes(EMPTIED, true, Vec::new());
                }
            }
            edits.push((LONG_LENGTH, false, Edit::Encoding(wastefully(content))));
        }
        Shape::Optional(inside) => {
            let inside = inside.as_ref().map(|inside| packet[inside.at.clone()].to_vec());
            if let Some(inside) = &inside {
                edits.push((ABSENT, true, Edit::Encoding(vec![0])));
                edits.push((PRESENCE, false, Edit::Encoding([&[2], inside.as_slice()].concat())));
            } else {
                edits.push((PRESENCE, false, Edit::Encoding(vec![2])));
            }
            if let Some(lent) = lent {
                edits.push((OTHERS, true, Edit::Encoding(lent)));
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
