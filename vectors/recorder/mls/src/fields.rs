//! Where the fields of an MLSMessage are: RFC 9420, sections 6, 7, 8, 10 and 12, as named ranges of bytes.
//!
//! A reader of its own, so that no library's idea of the encoding is under what the vectors say about it. It reads honest
//! packets and knows the structures that the recorder changes; anything else is an error. [`Field::rewritten`] puts a
//! packet together again with one field changed and every length around it correct.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// One field, and those within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in its structure, as in the RFC; an element of a vector is called `[INDEX]`.
    pub name: String,
    /// Its bytes in the packet, the length before an opaque value or a vector included.
    pub at: Range<usize>,
    /// What it is.
    pub shape: Shape,
}

/// What a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A number of fixed width, big-endian.
    Number,
    /// A code of fixed width for which the RFC has these values.
    Code(&'static [u64]),
    /// `opaque name<V>`: bytes with their length before them.
    Opaque,
    /// Fields one after the other.
    Struct(Vec<Field>),
    /// `T name<V>`: elements with the length of all before them.
    Vector(Vec<Field>),
    /// `optional<T>`: a byte that is 0 or 1, and what is there in the second case.
    Optional(Option<Box<Field>>),
}

/// The kinds of message in an [`MLSMessage`](self) (RFC 9420, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// A signed and tagged message that anybody can read.
    PublicMessage,
    /// An encrypted one.
    PrivateMessage,
    /// What lets new members in.
    Welcome,
    /// What somebody publishes in order to be added.
    KeyPackage,
}

/// How a field is changed. Lengths around it follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Other content, with its correct length before it where the field has one.
    Content(Vec<u8>),
    /// Other bytes for all of the field, its length included.
    Encoding(Vec<u8>),
}

const PROTOCOL_VERSIONS: &[u64] = &[1];
const WIRE_FORMATS: &[u64] = &[1, 2, 3, 4, 5];
const CIPHER_SUITES: &[u64] = &[1, 2, 3, 4, 5, 6, 7];
const SENDER_TYPES: &[u64] = &[1, 2, 3, 4];
const CONTENT_TYPES: &[u64] = &[1, 2, 3];
const PROPOSAL_TYPES: &[u64] = &[1, 2, 3, 4, 5, 6, 7];
const PROPOSAL_OR_REF_TYPES: &[u64] = &[1, 2];
const CREDENTIAL_TYPES: &[u64] = &[1, 2];
const LEAF_NODE_SOURCES: &[u64] = &[1, 2, 3];
const EXTENSION_TYPES: &[u64] = &[1, 2, 3, 4, 5];
const NODE_TYPES: &[u64] = &[1, 2];

/// Reads an MLSMessage.
///
/// # Errors
/// For bytes that are none, for bytes left over, and for structures that the recorder has no use for.
pub fn message(bytes: &[u8]) -> Result<(WireFormat, Field)> {
    let mut reader = Reader { bytes, at: 0 };
    let mut fields = vec![reader.code("version", 2, PROTOCOL_VERSIONS)?, reader.code("wire_format", 2, WIRE_FORMATS)?];
    let format = match reader.last(&fields[1]) {
        1 => WireFormat::PublicMessage,
        2 => WireFormat::PrivateMessage,
        3 => WireFormat::Welcome,
        5 => WireFormat::KeyPackage,
        other => bail!("wire format {other}"),
    };
    fields.extend(match format {
        WireFormat::PublicMessage => reader.public_message()?,
        WireFormat::PrivateMessage => reader.private_message()?,
        WireFormat::Welcome => reader.welcome()?,
        WireFormat::KeyPackage => reader.key_package()?,
    });
    reader.end()?;
    Ok((format, Field { name: "MLSMessage".to_owned(), at: 0..bytes.len(), shape: Shape::Struct(fields) }))
}

/// Reads a ratchet tree, `optional<Node> ratchet_tree<V>` (RFC 9420, section 12.4.3.3).
///
/// # Errors
/// For bytes that are none, and for bytes left over.
pub fn ratchet_tree(bytes: &[u8]) -> Result<Field> {
    let mut reader = Reader { bytes, at: 0 };
    let tree = reader.vector("ratchet_tree", |reader, name| reader.optional(name, Reader::node))?;
    reader.end()?;
    Ok(Field { name: String::new(), at: 0..bytes.len(), shape: Shape::Struct(vec![tree]) })
}

impl Field {
    /// Those within it, by one step.
    pub fn parts(&self) -> Vec<&Field> {
        match &self.shape {
            Shape::Struct(fields) | Shape::Vector(fields) => fields.iter().collect(),
            Shape::Optional(field) => field.iter().map(AsRef::as_ref).collect(),
            Shape::Number | Shape::Code(_) | Shape::Opaque => Vec::new(),
        }
    }

    /// Every field within it, depth first, with its path: names with a dot between, `content.sender.leaf_index`.
    pub fn all(&self) -> Vec<(String, &Field)> {
        let mut found = Vec::new();
        self.collect(String::new(), &mut found);
        found
    }

    fn collect<'a>(&'a self, path: String, found: &mut Vec<(String, &'a Field)>) {
        for part in self.parts() {
            let path = match (path.as_str(), part.name.as_str()) {
                ("", name) => name.to_owned(),
                (path, name) if name.starts_with('[') => format!("{path}{name}"),
                // What an optional field holds bears no name of its own.
                (path, "") => path.to_owned(),
                (path, name) => format!("{path}.{name}"),
            };
            if !part.name.is_empty() {
                found.push((path.clone(), part));
            }
            part.collect(path, found);
        }
    }

    /// The field of this path.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, path: &str) -> Result<&Field> {
        let found = self.all().into_iter().find(|(other, _)| other == path);
        found.map(|(_, field)| field).with_context(|| format!("no field {path}"))
    }

    /// Its bytes without the length before them.
    pub fn content<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let bytes = &packet[self.at.clone()];
        match self.shape {
            Shape::Opaque | Shape::Vector(_) => &bytes[1 << (bytes[0] >> 6)..],
            _ => bytes,
        }
    }

    /// The number that it is.
    pub fn value(&self, packet: &[u8]) -> u64 {
        packet[self.at.clone()].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// The packet that this is the whole of, with the field at `target` changed and all lengths around that correct.
    pub fn rewritten(&self, packet: &[u8], target: &Field, edit: &Edit) -> Vec<u8> {
        if std::ptr::eq(self, target) {
            return match (edit, &self.shape) {
                (Edit::Content(content), Shape::Opaque | Shape::Vector(_)) => prefixed(content),
                (Edit::Content(bytes) | Edit::Encoding(bytes), _) => bytes.clone(),
            };
        }
        let within = self.at.start <= target.at.start && target.at.end <= self.at.end;
        let parts = self.parts();
        if !within || parts.is_empty() {
            return packet[self.at.clone()].to_vec();
        }
        let content: Vec<u8> = parts.iter().flat_map(|part| part.rewritten(packet, target, edit)).collect();
        match self.shape {
            Shape::Vector(_) => prefixed(&content),
            Shape::Optional(_) => [&packet[self.at.start..][..1], &content].concat(),
            _ => content,
        }
    }
}

/// Bytes with their length before them, in as few bytes as it takes (RFC 9420, section 2.1.2).
pub fn prefixed(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    let mut bytes = match length {
        0..0x40 => vec![length as u8],
        0x40..0x4000 => (0x4000 | length as u16).to_be_bytes().to_vec(),
        _ => (0x8000_0000 | length).to_be_bytes().to_vec(),
    };
    bytes.extend(content);
    bytes
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<Range<usize>> {
        let at = self.at..self.at + length;
        ensure!(at.end <= self.bytes.len(), "the packet ends before {} bytes at {}", length, at.start);
        self.at = at.end;
        Ok(at)
    }

    fn end(&self) -> Result<()> {
        ensure!(self.at == self.bytes.len(), "{} bytes are left over", self.bytes.len() - self.at);
        Ok(())
    }

    /// A length before a value: how many bytes of value follow.
    fn length(&mut self) -> Result<usize> {
        let first = self.take(1)?;
        let width = 1 << (self.bytes[first.start] >> 6);
        ensure!(width <= 4, "a length of more than four bytes");
        self.take(width - 1)?;
        let bytes = &self.bytes[first.start..self.at];
        let value = bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        let length = value & !(0b11 << (8 * width - 2));
        ensure!(prefixed(&vec![0; length]).len() - length == width, "a length in more bytes than it takes");
        Ok(length)
    }

    fn number(&mut self, name: &str, width: usize) -> Result<Field> {
        Ok(Field { name: name.to_owned(), at: self.take(width).context(name.to_owned())?, shape: Shape::Number })
    }

    fn code(&mut self, name: &str, width: usize, values: &'static [u64]) -> Result<Field> {
        Ok(Field { shape: Shape::Code(values), ..self.number(name, width)? })
    }

    /// The value of a number or code that has just been read.
    fn last(&self, field: &Field) -> u64 {
        field.value(self.bytes)
    }

    fn opaque(&mut self, name: &str) -> Result<Field> {
        let start = self.at;
        let length = self.length().context(name.to_owned())?;
        self.take(length).context(name.to_owned())?;
        Ok(Field { name: name.to_owned(), at: start..self.at, shape: Shape::Opaque })
    }

    fn structure(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Result<Vec<Field>>) -> Result<Field> {
        let start = self.at;
        let fields = read(self).context(name.to_owned())?;
        Ok(Field { name: name.to_owned(), at: start..self.at, shape: Shape::Struct(fields) })
    }

    fn vector(&mut self, name: &str, mut read: impl FnMut(&mut Self, &str) -> Result<Field>) -> Result<Field> {
        let start = self.at;
        let length = self.length().context(name.to_owned())?;
        let end = self.at + length;
        let mut elements = Vec::new();
        while self.at < end {
            elements.push(read(self, &format!("[{}]", elements.len())).context(name.to_owned())?);
        }
        ensure!(self.at == end, "{name}: an element reaches over the end");
        Ok(Field { name: name.to_owned(), at: start..end, shape: Shape::Vector(elements) })
    }

    fn optional(&mut self, name: &str, read: impl FnOnce(&mut Self, &str) -> Result<Field>) -> Result<Field> {
        let presence = self.take(1)?;
        let field = match self.bytes[presence.start] {
            0 => None,
            1 => Some(Box::new(read(self, "").context(name.to_owned())?)),
            other => bail!("{name}: presence {other}"),
        };
        Ok(Field { name: name.to_owned(), at: presence.start..self.at, shape: Shape::Optional(field) })
    }

    /// Section 6.2.
    fn public_message(&mut self) -> Result<Vec<Field>> {
        let content = self.structure("content", Self::framed_content)?;
        let content_type = content.find("content_type")?.value(self.bytes);
        let sender_type = content.find("sender.sender_type")?.value(self.bytes);
        let auth = self.structure("auth", |reader| {
            let mut fields = vec![reader.opaque("signature")?];
            if content_type == 3 {
                fields.push(reader.opaque("confirmation_tag")?);
            }
            Ok(fields)
        })?;
        let mut fields = vec![content, auth];
        if sender_type == 1 {
            fields.push(self.opaque("membership_tag")?);
        }
        Ok(fields)
    }

    /// Section 6.
    fn framed_content(&mut self) -> Result<Vec<Field>> {
        let mut fields = vec![
            self.opaque("group_id")?,
            self.number("epoch", 8)?,
            self.structure("sender", |reader| {
                let sender_type = reader.code("sender_type", 1, SENDER_TYPES)?;
                Ok(match reader.last(&sender_type) {
                    1 => vec![sender_type, reader.number("leaf_index", 4)?],
                    3 | 4 => vec![sender_type],
                    other => bail!("sender type {other}"),
                })
            })?,
            self.opaque("authenticated_data")?,
            self.code("content_type", 1, CONTENT_TYPES)?,
        ];
        fields.push(match self.last(&fields[4]) {
            2 => self.structure("proposal", Self::proposal)?,
            3 => self.structure("commit", Self::commit)?,
            other => bail!("content type {other} in a PublicMessage"),
        });
        Ok(fields)
    }

    /// Section 12.1.
    fn proposal(&mut self) -> Result<Vec<Field>> {
        let proposal_type = self.code("proposal_type", 2, PROPOSAL_TYPES)?;
        let body = match self.last(&proposal_type) {
            1 => self.structure("key_package", Self::key_package)?,
            2 => self.structure("leaf_node", Self::leaf_node)?,
            3 => self.number("removed", 4)?,
            6 => self.opaque("kem_output")?,
            other => bail!("proposal type {other}"),
        };
        Ok(vec![proposal_type, body])
    }

    /// Section 12.4.
    fn commit(&mut self) -> Result<Vec<Field>> {
        let proposals = self.vector("proposals", |reader, name| {
            reader.structure(name, |reader| {
                let kind = reader.code("type", 1, PROPOSAL_OR_REF_TYPES)?;
                Ok(match reader.last(&kind) {
                    1 => vec![kind, reader.structure("proposal", Self::proposal)?],
                    2 => vec![kind, reader.opaque("reference")?],
                    other => bail!("ProposalOrRef type {other}"),
                })
            })
        })?;
        let path = self.optional("path", |reader, name| reader.structure(name, Self::update_path))?;
        Ok(vec![proposals, path])
    }

    /// Section 7.6.
    fn update_path(&mut self) -> Result<Vec<Field>> {
        let leaf_node = self.structure("leaf_node", Self::leaf_node)?;
        let nodes = self.vector("nodes", |reader, name| {
            reader.structure(name, |reader| {
                let encryption_key = reader.opaque("encryption_key")?;
                let secrets = reader.vector("encrypted_path_secret", Self::hpke_ciphertext)?;
                Ok(vec![encryption_key, secrets])
            })
        })?;
        Ok(vec![leaf_node, nodes])
    }

    fn hpke_ciphertext(&mut self, name: &str) -> Result<Field> {
        self.structure(name, |reader| Ok(vec![reader.opaque("kem_output")?, reader.opaque("ciphertext")?]))
    }

    /// Section 7.2.
    fn leaf_node(&mut self) -> Result<Vec<Field>> {
        let mut fields = vec![
            self.opaque("encryption_key")?,
            self.opaque("signature_key")?,
            self.structure("credential", |reader| {
                let kind = reader.code("credential_type", 2, CREDENTIAL_TYPES)?;
                ensure!(reader.last(&kind) == 1, "not a basic credential");
                Ok(vec![kind, reader.opaque("identity")?])
            })?,
            self.structure("capabilities", |reader| {
                Ok(vec![
                    reader.codes("versions", PROTOCOL_VERSIONS)?,
                    reader.codes("cipher_suites", CIPHER_SUITES)?,
                    reader.codes("extensions", EXTENSION_TYPES)?,
                    reader.codes("proposals", PROPOSAL_TYPES)?,
                    reader.codes("credentials", CREDENTIAL_TYPES)?,
                ])
            })?,
            self.code("leaf_node_source", 1, LEAF_NODE_SOURCES)?,
        ];
        match self.last(&fields[4]) {
            1 => fields.push(self.structure("lifetime", |reader| {
                Ok(vec![reader.number("not_before", 8)?, reader.number("not_after", 8)?])
            })?),
            2 => {}
            3 => fields.push(self.opaque("parent_hash")?),
            other => bail!("leaf node source {other}"),
        }
        fields.push(self.extensions()?);
        fields.push(self.opaque("signature")?);
        Ok(fields)
    }

    fn codes(&mut self, name: &str, values: &'static [u64]) -> Result<Field> {
        self.vector(name, |reader, name| reader.code(name, 2, values))
    }

    fn extensions(&mut self) -> Result<Field> {
        self.vector("extensions", |reader, name| {
            reader.structure(name, |reader| {
                Ok(vec![reader.code("extension_type", 2, EXTENSION_TYPES)?, reader.opaque("extension_data")?])
            })
        })
    }

    /// Section 10.
    fn key_package(&mut self) -> Result<Vec<Field>> {
        Ok(vec![
            self.code("version", 2, PROTOCOL_VERSIONS)?,
            self.code("cipher_suite", 2, CIPHER_SUITES)?,
            self.opaque("init_key")?,
            self.structure("leaf_node", Self::leaf_node)?,
            self.extensions()?,
            self.opaque("signature")?,
        ])
    }

    /// Section 6.3.
    fn private_message(&mut self) -> Result<Vec<Field>> {
        Ok(vec![
            self.opaque("group_id")?,
            self.number("epoch", 8)?,
            self.code("content_type", 1, CONTENT_TYPES)?,
            self.opaque("authenticated_data")?,
            self.opaque("encrypted_sender_data")?,
            self.opaque("ciphertext")?,
        ])
    }

    /// Section 12.4.3.1.
    fn welcome(&mut self) -> Result<Vec<Field>> {
        Ok(vec![
            self.code("cipher_suite", 2, CIPHER_SUITES)?,
            self.vector("secrets", |reader, name| {
                reader.structure(name, |reader| {
                    let new_member = reader.opaque("new_member")?;
                    Ok(vec![new_member, reader.hpke_ciphertext("encrypted_group_secrets")?])
                })
            })?,
            self.opaque("encrypted_group_info")?,
        ])
    }

    /// Section 12.4.3.3.
    fn node(&mut self, name: &str) -> Result<Field> {
        self.structure(name, |reader| {
            let kind = reader.code("node_type", 1, NODE_TYPES)?;
            let body = match reader.last(&kind) {
                1 => reader.structure("leaf_node", Self::leaf_node)?,
                2 => reader.structure("parent_node", |reader| {
                    Ok(vec![
                        reader.opaque("encryption_key")?,
                        reader.opaque("parent_hash")?,
                        reader.vector("unmerged_leaves", |reader, name| reader.number(name, 4))?,
                    ])
                })?,
                other => bail!("node type {other}"),
            };
            Ok(vec![kind, body])
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::members::{Changes, Committed, Member, MlsRsMember, OpenMlsMember, Party, Proposal};

    const ALICE_AND_BOB: [&str; 3] = ["alice", "bob", "carol"];

    /// alice's group with bob in it, who has joined, and the Welcome.
    fn group<M: Member>(member: fn(&'static str) -> Result<M>) -> (Party<M>, Committed) {
        let mut party = Party::new(&ALICE_AND_BOB, member).unwrap();
        let add = vec![party.member("bob").unwrap().key_package().unwrap()];
        let alice = party.member("alice").unwrap();
        alice.create("friends").unwrap();
        let committed = alice.commit(&Changes { add, path: true, ..Changes::default() }, "data").unwrap();
        party.deliver(&committed.commit, &["alice"]).unwrap();
        party.member("bob").unwrap().join(committed.welcome.as_ref().unwrap(), None).unwrap();
        (party, committed)
    }

    /// Honest packets of every kind and from both libraries.
    fn packets() -> Vec<(WireFormat, Vec<u8>)> {
        fn of<M: Member>(member: fn(&'static str) -> Result<M>, handshake: WireFormat) -> Vec<(WireFormat, Vec<u8>)> {
            let (mut party, founding) = group(member);
            let carol = party.member("carol").unwrap().key_package().unwrap();
            let message = party.member("bob").unwrap().send("hello", "").unwrap();
            let bob = party.member("bob").unwrap();
            let add = bob.propose(&Proposal::Add(carol.clone()), "").unwrap();
            let update = bob.propose(&Proposal::Update, "").unwrap();
            party.deliver(&add, &["alice"]).unwrap();
            party.deliver(&update, &["alice"]).unwrap();
            let by_reference = party.member("alice").unwrap().commit(&Changes::default(), "").unwrap();
            vec![
                (WireFormat::KeyPackage, carol),
                (WireFormat::Welcome, founding.welcome.unwrap()),
                (handshake, founding.commit),
                (WireFormat::PrivateMessage, message),
                (handshake, add),
                (handshake, update),
                (handshake, by_reference.commit),
                (WireFormat::Welcome, by_reference.welcome.unwrap()),
            ]
        }
        let mut packets = of(MlsRsMember::new, WireFormat::PublicMessage);
        packets.extend(of(OpenMlsMember::new, WireFormat::PrivateMessage));
        let (mut party, _) = group(MlsRsMember::new);
        let info = party.member("alice").unwrap().group_info().unwrap();
        let carol = party.member("carol").unwrap();
        packets.push((WireFormat::PublicMessage, carol.propose_itself(&info, "").unwrap()));
        packets.push((WireFormat::PublicMessage, carol.join_externally(&info, "").unwrap()));
        packets
    }

    /// The bytes of a structure are those of its parts, and nothing else but presence and lengths.
    fn tiled(field: &Field, packet: &[u8]) {
        let parts = field.parts();
        if !parts.is_empty() {
            let end = parts.iter().fold(field.at.end - field.content(packet).len(), |at, part| {
                let presence = usize::from(matches!(field.shape, Shape::Optional(_)));
                assert_eq!(part.at.start, at + presence, "{}", part.name);
                part.at.end
            });
            assert_eq!(end, field.at.end, "{}", field.name);
        }
        parts.into_iter().for_each(|part| tiled(part, packet));
    }

    #[test]
    fn honest_packets_are_read_to_the_last_byte_and_put_together_again() {
        for (format, packet) in packets() {
            let (found, root) = message(&packet).unwrap();
            assert_eq!(found, format);
            tiled(&root, &packet);
            for (path, field) in root.all() {
                let same = Edit::Content(field.content(&packet).to_vec());
                assert_eq!(root.rewritten(&packet, field, &same), packet, "{path}");
            }
            for length in 0..packet.len() {
                assert!(message(&packet[..length]).is_err(), "{format:?} of {} bytes reads at {length}", packet.len());
            }
            assert!(message(&[packet.as_slice(), &[0]].concat()).is_err());
        }
    }

    #[test]
    fn fields_are_where_the_rfc_has_them() {
        let (mut party, founding) = group(MlsRsMember::new);
        let (_, root) = message(&founding.commit).unwrap();
        let value = |path: &str| root.find(path).unwrap().value(&founding.commit);
        let content = |path: &str| root.find(path).unwrap().content(&founding.commit);
        assert_eq!(content("content.group_id"), b"friends");
        assert_eq!(content("content.authenticated_data"), b"data");
        assert_eq!((value("content.epoch"), value("content.sender.leaf_index")), (0, 0));
        assert_eq!(
            (value("content.content_type"), value("content.commit.proposals[0].proposal.proposal_type")),
            (3, 1)
        );
        let added = "content.commit.proposals[0].proposal.key_package.leaf_node";
        assert_eq!(content(&format!("{added}.credential.identity")), b"bob");
        assert_eq!(content("content.commit.path.leaf_node.credential.identity"), b"alice");
        assert_eq!((content("auth.signature").len(), content("auth.confirmation_tag").len()), (64, 32));
        assert_eq!(content("membership_tag").len(), 32);

        let key_package = party.member("carol").unwrap().key_package().unwrap();
        let changes = Changes { add: vec![key_package], tree_apart: true, ..Changes::default() };
        let committed = party.member("alice").unwrap().commit(&changes, "").unwrap();
        let tree = committed.ratchet_tree.unwrap();
        let root = ratchet_tree(&tree).unwrap();
        tiled(&root, &tree);
        for (leaf, name) in ALICE_AND_BOB.iter().enumerate() {
            let identity = root.find(&format!("ratchet_tree[{}].leaf_node.credential.identity", 2 * leaf)).unwrap();
            assert_eq!(identity.content(&tree), name.as_bytes());
        }
    }

    #[test]
    fn lengths_follow_what_they_are_the_lengths_of() {
        let (_, founding) = group(MlsRsMember::new);
        let (_, root) = message(&founding.commit).unwrap();
        let path = "content.commit.proposals[0].proposal.key_package.leaf_node.credential.identity";
        // So long that the lengths around it grow as well.
        for length in [0, 63, 64, 16_383, 16_384] {
            let edit = Edit::Content(vec![b'x'; length]);
            let longer = root.rewritten(&founding.commit, root.find(path).unwrap(), &edit);
            let (_, again) = message(&longer).unwrap();
            assert_eq!(again.find(path).unwrap().content(&longer), vec![b'x'; length]);
            let tag = again.find("membership_tag").unwrap().content(&longer);
            assert_eq!(tag, root.find("membership_tag").unwrap().content(&founding.commit));
        }
    }
}
