//! The structures of RFC 9420 as plain data, and their encoding (section 2.1 and the TLS presentation language).
//!
//! A reader and writer of its own: what a library refuses to encode is what is wanted here, and no library's idea of the
//! encoding should be under what the vectors say about it. It reads honest packets and writes whatever it is given.

use anyhow::{Context, Result, bail, ensure};

/// Takes bytes from the front.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// `opaque value<V>`.
    pub(crate) fn opaque(&mut self) -> Result<Vec<u8>> {
        let length = self.length()?;
        Ok(self.take(length)?.to_vec())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("the bytes end too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    /// A length before a vector: its first two bits say how many bytes it takes (RFC 9420, section 2.1.2).
    fn length(&mut self) -> Result<usize> {
        let first = *self.0.first().context("no length")?;
        Ok(match first >> 6 {
            0 => usize::from(u8::from_be_bytes(self.array()?)),
            1 => usize::from(u16::from_be_bytes(self.array()?) & 0x3fff),
            2 => (u32::from_be_bytes(self.array()?) & 0x3fff_ffff) as usize,
            _ => bail!("a length that no vector has"),
        })
    }
}

/// `opaque value<V>`.
pub(crate) fn write_opaque(value: &[u8], out: &mut Vec<u8>) {
    let length = value.len();
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend((length as u16 | 0x4000).to_be_bytes()),
        _ => out.extend((length as u32 | 0x8000_0000).to_be_bytes()),
    }
    out.extend(value);
}

/// What can be read from bytes and written.
pub(crate) trait Wire: Sized {
    /// Takes one from the front.
    fn read(reader: &mut Reader<'_>) -> Result<Self>;

    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);

    /// From all of these bytes.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        ensure!(reader.is_empty(), "{} bytes are left over", reader.rest().len());
        Ok(value)
    }

    /// Its bytes.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn read(reader: &mut Reader<'_>) -> Result<Self> {
                Ok(Self::from_be_bytes(reader.array()?))
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_be_bytes());
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64);

impl<T: Wire> Wire for Vec<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let content = reader.opaque()?;
        let (mut reader, mut elements) = (Reader::new(&content), Self::new());
        while !reader.is_empty() {
            elements.push(T::read(&mut reader)?);
        }
        Ok(elements)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        self.iter().for_each(|element| element.write(&mut content));
        write_opaque(&content, out);
    }
}

impl<T: Wire> Wire for Option<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        match u8::read(reader)? {
            0 => Ok(None),
            1 => Ok(Some(T::read(reader)?)),
            other => bail!("{other} is neither there nor absent"),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.is_some().into());
        if let Some(value) = self {
            value.write(out);
        }
    }
}

/// Structures whose fields follow one another.
macro_rules! structures {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)*
        }

        impl Wire for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self> {
                Ok(Self { $($field: Wire::read(reader).context(concat!(stringify!($name), ".", stringify!($field)))?,)* })
            }

            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
        }
    )*};
}

/// Structures of which a number says which one it is.
macro_rules! selections {
    ($($(#[$meta:meta])* enum $name:ident: $tag:ident { $($(#[$variant_meta:meta])* $value:literal => $variant:ident $(($type:ty))?,)* })*) => {$(
        $(#[$meta])*
        // Few of them are made, and plain data are easier to change than boxed ones.
        #[allow(clippy::large_enum_variant)]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$variant_meta])* $variant $(($type))?,)*
        }

        impl Wire for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self> {
                Ok(match $tag::read(reader)? {
                    $($value => Self::$variant $((<$type as Wire>::read(reader).context(stringify!($variant))?))?,)*
                    other => bail!("{other} is no {}", stringify!($name)),
                })
            }

            fn write(&self, out: &mut Vec<u8>) {
                $(selections!(@write self, out, $name, $tag, $value, $variant $(, $type)?);)*
            }
        }
    )*};
    (@write $self:ident, $out:ident, $name:ident, $tag:ident, $value:literal, $variant:ident) => {
        if let $name::$variant = $self {
            Wire::write(&($value as $tag), $out);
        }
    };
    (@write $self:ident, $out:ident, $name:ident, $tag:ident, $value:literal, $variant:ident, $type:ty) => {
        if let $name::$variant(value) = $self {
            Wire::write(&($value as $tag), $out);
            <$type as Wire>::write(value, $out);
        }
    };
}

structures! {
    /// Section 7.2. Empty lists say that nothing but the defaults is supported.
    struct Capabilities {
        /// Versions of the protocol.
        versions: Vec<u16>,
        /// Cipher suites.
        cipher_suites: Vec<u16>,
        /// Types of extensions that are no defaults.
        extensions: Vec<u16>,
        /// Types of proposals that are no defaults.
        proposals: Vec<u16>,
        /// Types of credentials.
        credentials: Vec<u16>,
    }

    /// Section 7.2: seconds since 1970.
    struct Lifetime {
        /// From when on.
        not_before: u64,
        /// Until when.
        not_after: u64,
    }

    /// Section 7.2.
    struct Extension {
        /// Of what type.
        extension_type: u16,
        /// Its content.
        extension_data: Vec<u8>,
    }

    /// Section 5.3, of type basic, the only one that the vectors have.
    struct Credential {
        /// [`BASIC`].
        credential_type: u16,
        /// Whose it is.
        identity: Vec<u8>,
    }

    /// Section 7.2.
    struct LeafNode {
        /// The HPKE key.
        encryption_key: Vec<u8>,
        /// The signature key.
        signature_key: Vec<u8>,
        /// Who this is.
        credential: Credential,
        /// What it supports.
        capabilities: Capabilities,
        /// How it came into the tree.
        leaf_node_source: LeafNodeSource,
        /// More.
        extensions: Vec<Extension>,
        /// By `signature_key`.
        signature: Vec<u8>,
    }

    /// Section 7.1.
    struct ParentNode {
        /// The HPKE key.
        encryption_key: Vec<u8>,
        /// Of the next parent above.
        parent_hash: Vec<u8>,
        /// Leaves below that do not have its private key.
        unmerged_leaves: Vec<u32>,
    }

    /// Section 10.
    struct KeyPackage {
        /// [`MLS10`].
        version: u16,
        /// Of the group that it is for.
        cipher_suite: u16,
        /// To which a Welcome is encrypted.
        init_key: Vec<u8>,
        /// The leaf.
        leaf_node: LeafNode,
        /// More.
        extensions: Vec<Extension>,
        /// By the leaf's signature key.
        signature: Vec<u8>,
    }

    /// Section 8.4.
    struct PreSharedKeyId {
        /// Which one.
        id: PreSharedKeyKind,
        /// Fresh for each use.
        psk_nonce: Vec<u8>,
    }

    /// Section 8.4: a key of an epoch of some group.
    struct ResumptionPsk {
        /// 1 application, 2 reinit, 3 branch.
        usage: u8,
        /// Of which group.
        psk_group_id: Vec<u8>,
        /// Of which epoch.
        psk_epoch: u64,
    }

    /// Section 12.1.5.
    struct ReInit {
        /// The new group.
        group_id: Vec<u8>,
        /// Its version.
        version: u16,
        /// Its suite.
        cipher_suite: u16,
        /// Its extensions.
        extensions: Vec<Extension>,
    }

    /// Section 7.6.
    struct HpkeCiphertext {
        /// What the KEM put out.
        kem_output: Vec<u8>,
        /// The ciphertext.
        ciphertext: Vec<u8>,
    }

    /// Section 7.6.
    struct UpdatePathNode {
        /// The node's new key.
        encryption_key: Vec<u8>,
        /// One for each node in the resolution of the copath's.
        encrypted_path_secret: Vec<HpkeCiphertext>,
    }

    /// Section 7.6.
    struct UpdatePath {
        /// The committer's new leaf.
        leaf_node: LeafNode,
        /// From the leaf towards the root.
        nodes: Vec<UpdatePathNode>,
    }

    /// Section 12.4.
    struct Commit {
        /// What is committed.
        proposals: Vec<ProposalOrRef>,
        /// The committer's new keys.
        path: Option<UpdatePath>,
    }

    /// Section 6.
    struct FramedContent {
        /// In which group.
        group_id: Vec<u8>,
        /// In which epoch.
        epoch: u64,
        /// By whom.
        sender: Sender,
        /// Beside it.
        authenticated_data: Vec<u8>,
        /// What.
        content: Content,
    }

    /// Section 6.3.
    struct PrivateMessage {
        /// In which group.
        group_id: Vec<u8>,
        /// In which epoch.
        epoch: u64,
        /// 1 application, 2 proposal, 3 commit.
        content_type: u8,
        /// Beside it.
        authenticated_data: Vec<u8>,
        /// Who sent it, encrypted.
        encrypted_sender_data: Vec<u8>,
        /// What, encrypted.
        ciphertext: Vec<u8>,
    }

    /// Section 6.3.2.
    struct SenderData {
        /// The sender's leaf.
        leaf_index: u32,
        /// Of the sender's ratchet.
        generation: u32,
        /// Added to the nonce.
        reuse_guard: u32,
    }

    /// Section 8.1.
    struct GroupContext {
        /// [`MLS10`].
        version: u16,
        /// The group's suite.
        cipher_suite: u16,
        /// Which group.
        group_id: Vec<u8>,
        /// Which epoch.
        epoch: u64,
        /// Of its tree.
        tree_hash: Vec<u8>,
        /// Of its history.
        confirmed_transcript_hash: Vec<u8>,
        /// More.
        extensions: Vec<Extension>,
    }

    /// Section 12.4.3.
    struct GroupInfo {
        /// The group.
        group_context: GroupContext,
        /// More: the tree.
        extensions: Vec<Extension>,
        /// Of the commit that began the epoch.
        confirmation_tag: Vec<u8>,
        /// Whose signature this is: a leaf.
        signer: u32,
        /// By that leaf's signature key.
        signature: Vec<u8>,
    }

    /// Section 12.4.3.1.
    struct GroupSecrets {
        /// From which the epoch's secrets follow.
        joiner_secret: Vec<u8>,
        /// Of the lowest node above both the committer and the joiner.
        path_secret: Option<Vec<u8>>,
        /// That the joiner has to know besides.
        psks: Vec<PreSharedKeyId>,
    }

    /// Section 12.4.3.1.
    struct EncryptedGroupSecrets {
        /// A reference to a key package.
        new_member: Vec<u8>,
        /// A [`GroupSecrets`].
        encrypted_group_secrets: HpkeCiphertext,
    }

    /// Section 12.4.3.1.
    struct Welcome {
        /// The group's suite.
        cipher_suite: u16,
        /// For each joiner.
        secrets: Vec<EncryptedGroupSecrets>,
        /// A [`GroupInfo`].
        encrypted_group_info: Vec<u8>,
    }

    /// Section 11.1.
    struct RequiredCapabilities {
        /// Types of extensions.
        extension_types: Vec<u16>,
        /// Types of proposals.
        proposal_types: Vec<u16>,
        /// Types of credentials.
        credential_types: Vec<u16>,
    }

    /// Section 12.1.8.1.
    struct ExternalSender {
        /// The signature key.
        signature_key: Vec<u8>,
        /// Who it is.
        credential: Credential,
    }

    /// A proposal of a type that RFC 9420 does not have, with opaque content.
    struct CustomProposal {
        /// Its type.
        proposal_type: u16,
        /// Its content.
        data: Vec<u8>,
    }
}

selections! {
    /// Section 7.2.
    enum LeafNodeSource: u8 {
        /// Out of a key package.
        1 => KeyPackage(Lifetime),
        /// By an Update.
        2 => Update,
        /// By a Commit, with its parent hash.
        3 => Commit(Vec<u8>),
    }

    /// Section 8.4.
    enum PreSharedKeyKind: u8 {
        /// Given to the members by other means, under this id.
        1 => External(Vec<u8>),
        /// Of another epoch.
        2 => Resumption(ResumptionPsk),
    }

    /// Section 12.4.
    enum ProposalOrRef: u8 {
        /// The proposal itself.
        1 => Proposal(Proposal),
        /// The reference of one that was sent.
        2 => Reference(Vec<u8>),
    }

    /// Section 6.
    enum Sender: u8 {
        /// A leaf.
        1 => Member(u32),
        /// A place in the list of external senders.
        2 => External(u32),
        /// Somebody who asks to be added.
        3 => NewMemberProposal,
        /// Somebody who adds themselves.
        4 => NewMemberCommit,
    }

    /// Section 6.
    enum Content: u8 {
        /// A message.
        1 => Application(Vec<u8>),
        /// A proposal.
        2 => Proposal(Proposal),
        /// A commit.
        3 => Commit(Commit),
    }

    /// Section 7.8: a node of the tree as a GroupInfo has it.
    enum Node: u8 {
        /// At an even place.
        1 => Leaf(LeafNode),
        /// At an odd place.
        2 => Parent(ParentNode),
    }
}

/// Section 12.1.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proposal {
    /// Somebody is added.
    Add(KeyPackage),
    /// The sender's leaf is replaced.
    Update(LeafNode),
    /// A leaf is removed.
    Remove(u32),
    /// A pre-shared key goes into the key schedule.
    Psk(PreSharedKeyId),
    /// The group makes way for another.
    ReInit(ReInit),
    /// Somebody joins by themselves: a KEM output.
    ExternalInit(Vec<u8>),
    /// The group's extensions are replaced.
    GroupContextExtensions(Vec<Extension>),
    /// Another type.
    Custom(CustomProposal),
}

impl Wire for Proposal {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match u16::read(reader)? {
            1 => Self::Add(Wire::read(reader).context("Add")?),
            2 => Self::Update(Wire::read(reader).context("Update")?),
            3 => Self::Remove(Wire::read(reader)?),
            4 => Self::Psk(Wire::read(reader)?),
            5 => Self::ReInit(Wire::read(reader)?),
            6 => Self::ExternalInit(Wire::read(reader)?),
            7 => Self::GroupContextExtensions(Wire::read(reader)?),
            proposal_type => Self::Custom(CustomProposal { proposal_type, data: Wire::read(reader)? }),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (proposal_type, content) = match self {
            Self::Add(content) => (1u16, content.encode()),
            Self::Update(content) => (2, content.encode()),
            Self::Remove(content) => (3, content.encode()),
            Self::Psk(content) => (4, content.encode()),
            Self::ReInit(content) => (5, content.encode()),
            Self::ExternalInit(content) => (6, content.encode()),
            Self::GroupContextExtensions(content) => (7, content.encode()),
            Self::Custom(custom) => (custom.proposal_type, custom.data.encode()),
        };
        proposal_type.write(out);
        out.extend(content);
    }
}

/// Section 6.1: what authenticates a content. A commit has a confirmation tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthData {
    /// By the sender.
    pub(crate) signature: Vec<u8>,
    /// With the key of the epoch that the commit begins.
    pub(crate) confirmation_tag: Option<Vec<u8>>,
}

impl AuthData {
    fn read(reader: &mut Reader<'_>, of_commit: bool) -> Result<Self> {
        let signature = reader.opaque()?;
        let confirmation_tag = of_commit.then(|| reader.opaque()).transpose()?;
        Ok(Self { signature, confirmation_tag })
    }

    /// Appends it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.signature.write(out);
        self.confirmation_tag.iter().for_each(|tag| tag.write(out));
    }
}

/// Section 6.2. A member's has a membership tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicMessage {
    /// What is said.
    pub(crate) content: FramedContent,
    /// What authenticates it.
    pub(crate) auth: AuthData,
    /// With the key of the epoch in which it is sent.
    pub(crate) membership_tag: Option<Vec<u8>>,
}

impl Wire for PublicMessage {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let content = FramedContent::read(reader)?;
        let auth = AuthData::read(reader, matches!(content.content, Content::Commit(_)))?;
        let by_member = matches!(content.sender, Sender::Member(_));
        let membership_tag = by_member.then(|| reader.opaque()).transpose()?;
        Ok(Self { content, auth, membership_tag })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.content.write(out);
        self.auth.write(out);
        self.membership_tag.iter().for_each(|tag| tag.write(out));
    }
}

/// Section 6.3.1: what is encrypted in a [`PrivateMessage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrivateContent {
    /// What is said.
    pub(crate) content: Content,
    /// What authenticates it.
    pub(crate) auth: AuthData,
    /// Zeros.
    pub(crate) padding: Vec<u8>,
}

impl PrivateContent {
    /// From all of these bytes, of this content type.
    pub(crate) fn decode(content_type: u8, bytes: &[u8]) -> Result<Self> {
        // The content type stands outside of what is encrypted.
        let bytes = [&[content_type], bytes].concat();
        let mut reader = Reader::new(&bytes);
        let content = Content::read(&mut reader)?;
        let auth = AuthData::read(&mut reader, matches!(content, Content::Commit(_)))?;
        Ok(Self { content, auth, padding: reader.rest().to_vec() })
    }

    /// Its bytes, without the content type.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.content.encode();
        out.remove(0);
        self.auth.write(&mut out);
        out.extend(&self.padding);
        out
    }
}

/// RFC 9420, section 6: the only version there is.
pub(crate) const MLS10: u16 = 1;
/// Section 17.5: a credential that is a name.
pub(crate) const BASIC: u16 = 1;
/// Section 17.5: a chain of certificates.
pub(crate) const X509: u16 = 2;
/// Section 17.3.
pub(crate) const RATCHET_TREE: u16 = 2;
/// Section 17.3.
pub(crate) const REQUIRED_CAPABILITIES: u16 = 3;
/// Section 17.3.
pub(crate) const EXTERNAL_SENDERS: u16 = 5;

/// Section 17.2: a signed message that anybody can read.
pub(crate) const PUBLIC_MESSAGE: u16 = 1;
/// Section 17.2: an encrypted one.
pub(crate) const PRIVATE_MESSAGE: u16 = 2;
/// Section 17.2.
pub(crate) const WELCOME: u16 = 3;
/// Section 17.2.
pub(crate) const KEY_PACKAGE: u16 = 5;

/// Section 6: the content type of a proposal.
pub(crate) const PROPOSAL: u8 = 2;

/// An MLSMessage (section 6) of this wire format.
pub(crate) fn message(wire_format: u16, content: &impl Wire) -> Vec<u8> {
    let mut out = [MLS10, wire_format].map(u16::to_be_bytes).concat();
    content.write(&mut out);
    out
}

/// What is in an MLSMessage of this wire format.
pub(crate) fn content<T: Wire>(wire_format: u16, message: &[u8]) -> Result<T> {
    let mut reader = Reader::new(message);
    let (version, found) = (u16::read(&mut reader)?, u16::read(&mut reader)?);
    ensure!((version, found) == (MLS10, wire_format), "version {version}, wire format {found}");
    T::decode(reader.rest())
}
