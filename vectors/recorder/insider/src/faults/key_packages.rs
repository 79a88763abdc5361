//! Adds: what is wrong with a key package, and whom it may not bring in.

use anyhow::{Context, Result};
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, Duplicate};
use e2esm_playback::Draft;
use mls_rs::crypto::SignatureSecretKey;
use mls_rs::{CipherSuiteProvider, ExtensionList, MlsMessage};

use crate::epoch::{Suite, crypto, signed_key_package, signed_leaf};
use crate::member::{Member, SUPPORTED_EXTENSION, UNSUPPORTED, key_package_in, library};
use crate::scene::{Builder, CAROL, Head, Scene, Setting, Wrong, as_it_is};
use crate::wire::{
    BASIC, Extension, KeyPackage, LeafNode, LeafNodeSource, Lifetime, Proposal, ProposalOrRef, REQUIRED_CAPABILITIES,
    RequiredCapabilities, Wire, X509,
};

const PACKET: &str = "commit with Add by value as PublicMessage";

/// A newcomer and what mallory can do in their name: she has their signature key.
struct Newcomer {
    suite: Suite,
    signer: SignatureSecretKey,
    message: MlsMessage,
    package: KeyPackage,
    /// The group and the leaf that the newcomer gets in it.
    place: (Vec<u8>, u32),
}

impl Newcomer {
    fn new(scene: &mut Scene, name: &str) -> Result<Self> {
        let mut epoch = scene.epoch()?;
        let place = (epoch.context.group_id, epoch.tree.vacancy());
        let member = Member::new(name, scene.cipher_suite(), false)?;
        let message = member.key_package()?;
        let package = key_package_in(&message)?;
        Ok(Self { suite: member.suite(), signer: member.signer, message, package, place })
    }

    /// The key package with another leaf, signed anew: for the group's next place if for any.
    fn with_leaf(&self, change: impl FnOnce(&mut LeafNode)) -> Result<KeyPackage> {
        self.with_leaf_by(&self.signer, change)
    }

    /// The same, signed by somebody.
    fn with_leaf_by(&self, signer: &SignatureSecretKey, change: impl FnOnce(&mut LeafNode)) -> Result<KeyPackage> {
        let mut package = self.package.clone();
        change(&mut package.leaf_node);
        let (group_id, place) = &self.place;
        package.leaf_node = signed_leaf(&self.suite, package.leaf_node, signer, group_id, *place)?;
        signed_key_package(&self.suite, package, signer)
    }

    /// The key package with something else changed, signed anew.
    fn with(&self, change: impl FnOnce(&mut KeyPackage)) -> Result<KeyPackage> {
        let mut package = self.package.clone();
        change(&mut package);
        signed_key_package(&self.suite, package, &self.signer)
    }
}

/// Makes the bad key package of a newcomer.
type MakeBad = Box<dyn FnOnce(&Newcomer) -> Result<KeyPackage>>;

/// Mallory adds a newcomer honestly, and before that with the key package that `bad` makes.
fn add(scene: &mut Scene, wrong: Wrong, bad: impl FnOnce(&Newcomer) -> Result<KeyPackage>) -> Result<()> {
    let newcomer = Newcomer::new(scene, &format!("newcomer {}", wrong.name))?;
    let package = bad(&newcomer).with_context(|| wrong.name)?;
    let message = newcomer.message.clone();
    scene.remade_commit(
        wrong,
        |commit: Builder<'_>| commit.add_member(message).map_err(library),
        move |making| {
            making.proposals = vec![ProposalOrRef::Proposal(Proposal::Add(package))];
            making.rebuild(|_| {})
        },
    )
}

fn extension(extension_type: u16) -> Extension {
    Extension { extension_type, extension_data: b"content".to_vec() }
}

/// Key packages that are invalid by themselves (sections 7.2, 7.3, 10 and 10.1).
pub(crate) fn invalid(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "device-addition/insider-key-package",
            title: "A member adds by an invalid key package",
            description: "Mallory, a member, adds somebody by a key package that breaks a rule: nobody vouches for it, or it is for \
                another purpose. The tree and all tags are those of a group with that leaf. A sound device refuses each Commit and \
                takes the honest one that follows, with the same newcomer's honest key package.",
            requirements: &["R1", "C1"],
        },
        setting,
    )?;
    let (stranger, _) = scene.stranger()?;
    let other = stranger.clone();
    let cases: Vec<(Wrong, MakeBad)> = vec![
        (
            Wrong {
                name: "signed-by-another-key",
                comment: "The key package is signed with a key that nobody knows; its leaf is right.",
                packet: PACKET,
                field: "key_package.signature",
                change: "made with a key that no leaf has",
                section: "10.1",
                demands: "A key package is signed with the signature key of its leaf.",
                reasons: &[AuthFailed],
            },
            Box::new(move |newcomer| signed_key_package(&newcomer.suite, newcomer.package.clone(), &stranger)),
        ),
        (
            Wrong {
                name: "leaf-signed-by-another-key",
                comment: "The leaf is signed with a key that nobody knows; the key package around it is signed correctly.",
                packet: PACKET,
                field: "key_package.leaf_node.signature",
                change: "made with a key that no leaf has",
                section: "7.3",
                demands: "A leaf is signed with the signature key that is in it.",
                reasons: &[AuthFailed],
            },
            Box::new(move |newcomer| {
                let mut package = newcomer.package.clone();
                package.leaf_node = signed_leaf(&newcomer.suite, package.leaf_node, &other, &[], 0)?;
                signed_key_package(&newcomer.suite, package, &newcomer.signer)
            }),
        ),
        (
            Wrong {
                name: "not-signed-again",
                comment: "Another init key in a key package that was signed before: who knows it reads the newcomer's Welcome.",
                packet: PACKET,
                field: "key_package.init_key",
                change: "changed after signing",
                section: "10.1",
                demands: "A key package's signature covers all of it.",
                reasons: &[AuthFailed],
            },
            Box::new(|newcomer| {
                let (_, public) = newcomer.suite.kem_generate().map_err(crypto)?;
                Ok(KeyPackage { init_key: public.to_vec(), ..newcomer.package.clone() })
            }),
        ),
        (
            Wrong {
                name: "init-key-is-encryption-key",
                comment: "One key for the Welcome and for the tree.",
                packet: PACKET,
                field: "key_package.init_key",
                change: "that of the leaf's encryption_key",
                section: "10.1",
                demands: "The init key of a key package is another than its leaf's encryption key.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| newcomer.with(|package| package.init_key = package.leaf_node.encryption_key.clone())),
        ),
        (
            Wrong {
                name: "another-version",
                comment: "A key package for a version of the protocol that does not exist.",
                packet: PACKET,
                field: "key_package.version",
                change: "another than the group's",
                section: "10.1",
                demands: "A key package is of the group's version of the protocol.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| newcomer.with(|package| package.version = 2)),
        ),
        (
            Wrong {
                name: "another-suite",
                comment: "A key package for another cipher suite, with keys that would do for both.",
                packet: PACKET,
                field: "key_package.cipher_suite",
                change: "another than the group's",
                section: "10.1",
                demands: "A key package is of the group's cipher suite.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| {
                newcomer.with(|package| package.cipher_suite = if package.cipher_suite == 1 { 3 } else { 1 })
            }),
        ),
        (
            Wrong {
                name: "expired",
                comment: "A key package that was valid for the year 2020.",
                packet: PACKET,
                field: "key_package.leaf_node.lifetime",
                change: "over",
                section: "7.3",
                demands: "The present lies within a leaf's lifetime. (Whoever receives a leaf ought to look, and need not. This device \
                    does.)",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| {
                newcomer.with_leaf(|leaf| {
                    let lifetime = Lifetime { not_before: 1_577_836_800, not_after: 1_609_459_200 };
                    leaf.leaf_node_source = LeafNodeSource::KeyPackage(lifetime);
                })
            }),
        ),
        (
            Wrong {
                name: "not-yet-valid",
                comment: "A key package that is valid from the year 2500 on.",
                packet: PACKET,
                field: "key_package.leaf_node.lifetime",
                change: "not begun",
                section: "7.3",
                demands: "The present lies within a leaf's lifetime. (Whoever receives a leaf ought to look, and need not. This device \
                    does.)",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| {
                newcomer.with_leaf(|leaf| {
                    let lifetime = Lifetime { not_before: 16_725_225_600, not_after: u64::MAX / 2 };
                    leaf.leaf_node_source = LeafNodeSource::KeyPackage(lifetime);
                })
            }),
        ),
        (
            Wrong {
                name: "source-update",
                comment: "The leaf says that it came by an Update, and is signed for the group and the place that it gets.",
                packet: PACKET,
                field: "key_package.leaf_node.leaf_node_source",
                change: "update",
                section: "7.3",
                demands: "The leaf in a key package says that it is out of a key package.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| newcomer.with_leaf(|leaf| leaf.leaf_node_source = LeafNodeSource::Update)),
        ),
        (
            Wrong {
                name: "source-commit",
                comment: "The leaf says that it came by a Commit, and is signed for the group and the place that it gets.",
                packet: PACKET,
                field: "key_package.leaf_node.leaf_node_source",
                change: "commit",
                section: "7.3",
                demands: "The leaf in a key package says that it is out of a key package.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| newcomer.with_leaf(|leaf| leaf.leaf_node_source = LeafNodeSource::Commit(vec![0; 32]))),
        ),
        (
            Wrong {
                name: "own-credential-not-listed",
                comment: "The leaf's capabilities do not list the type of its own credential.",
                packet: PACKET,
                field: "key_package.leaf_node.capabilities.credentials",
                change: "without the type of the leaf's credential",
                section: "7.2",
                demands: "A leaf's capabilities list the type of its credential.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| newcomer.with_leaf(|leaf| leaf.capabilities.credentials = vec![X509])),
        ),
        (
            Wrong {
                name: "extension-not-listed",
                comment: "The leaf has an extension of a type that its capabilities do not list.",
                packet: PACKET,
                field: "key_package.leaf_node.extensions",
                change: "one whose type the leaf's capabilities do not list",
                section: "7.3",
                demands: "A leaf's capabilities list the types of its extensions.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| newcomer.with_leaf(|leaf| leaf.extensions.push(extension(UNSUPPORTED)))),
        ),
        (
            Wrong {
                name: "extension-twice",
                comment: "The leaf has two extensions of one type.",
                packet: PACKET,
                field: "key_package.leaf_node.extensions",
                change: "two of the same type",
                section: "13.4",
                demands: "A list of extensions has at most one of each type.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| {
                newcomer.with_leaf(|leaf| {
                    leaf.extensions.push(extension(SUPPORTED_EXTENSION));
                    leaf.extensions.push(extension(SUPPORTED_EXTENSION));
                })
            }),
        ),
        (
            Wrong {
                name: "key-package-extension-twice",
                comment: "The key package has two extensions of one type.",
                packet: PACKET,
                field: "key_package.extensions",
                change: "two of the same type",
                section: "13.4",
                demands: "A list of extensions has at most one of each type.",
                reasons: &[BadRequest],
            },
            Box::new(|newcomer| {
                newcomer.with(|package| {
                    package.extensions.push(extension(SUPPORTED_EXTENSION));
                    package.extensions.push(extension(SUPPORTED_EXTENSION));
                })
            }),
        ),
    ];
    for (wrong, bad) in cases {
        add(&mut scene, wrong, bad)?;
    }
    scene.draft()
}

/// Whom an Add may not bring in (sections 7.3, 11.1 and 12.2).
pub(crate) fn whom(setting: Setting<'_>) -> Result<Draft> {
    let required = RequiredCapabilities {
        extension_types: vec![SUPPORTED_EXTENSION],
        proposal_types: Vec::new(),
        credential_types: vec![BASIC],
    };
    let required = mls_rs::Extension::new(REQUIRED_CAPABILITIES.into(), required.encode());
    let mut scene = Scene::with_extensions(
        Head {
            id: "device-addition/insider-adds",
            title: "A member adds somebody who is there already, or who cannot take part",
            description: "The group requires an extension of its members. Mallory, one of them, adds somebody with a key that is a \
                member's, the same newcomer twice, or somebody who lacks what the group requires. The key packages are valid by \
                themselves. A sound device refuses each Commit and takes the honest one that follows.",
            requirements: &["C1", "T3"],
        },
        setting,
        ExtensionList::from(vec![required]),
    )?;
    let tree = scene.epoch()?.tree;
    let carols = scene.carol.signer.clone();
    let carols_key = tree.leaf(CAROL)?.signature_key.clone();
    add(
        &mut scene,
        Wrong {
            name: "signature-key-of-a-member",
            comment: "Somebody with carol's signature key: carol lets mallory sign with it.",
            packet: PACKET,
            field: "key_package.leaf_node.signature_key",
            change: "that of another member's leaf",
            section: "7.3",
            demands: "No two leaves have the same signature key.",
            reasons: &[Duplicate],
        },
        move |newcomer| newcomer.with_leaf_by(&carols, |leaf| leaf.signature_key = carols_key),
    )?;
    let carols = scene.epoch()?.tree.leaf(CAROL)?.encryption_key.clone();
    add(
        &mut scene,
        Wrong {
            name: "encryption-key-of-a-member",
            comment: "Somebody with carol's encryption key.",
            packet: PACKET,
            field: "key_package.leaf_node.encryption_key",
            change: "that of another member's leaf",
            section: "7.3",
            demands: "No two leaves have the same encryption key.",
            reasons: &[Duplicate],
        },
        move |newcomer| newcomer.with_leaf(|leaf| leaf.encryption_key = carols),
    )?;
    for (name, same_key, comment, change, section, demands) in [
        (
            "two-with-one-signature-key",
            true,
            "Two key packages of the same newcomer.",
            "two Adds with the same signature key",
            "12.2",
            "A Commit does not add the same client twice.",
        ),
        (
            "two-with-one-encryption-key",
            false,
            "Two newcomers with the same encryption key.",
            "two Adds with the same encryption key",
            "7.3",
            "No two leaves have the same encryption key.",
        ),
    ] {
        let first = Newcomer::new(&mut scene, &format!("first {name}"))?;
        let second = Newcomer::new(&mut scene, &format!("second {name}"))?;
        let also = if same_key {
            let (_, fresh) = first.suite.kem_generate().map_err(crypto)?;
            let (_, init) = first.suite.kem_generate().map_err(crypto)?;
            let again = first.with_leaf(|leaf| leaf.encryption_key = fresh.to_vec())?;
            signed_key_package(&first.suite, KeyPackage { init_key: init.to_vec(), ..again }, &first.signer)?
        } else {
            second.with_leaf(|leaf| leaf.encryption_key.clone_from(&first.package.leaf_node.encryption_key))?
        };
        let message = first.message.clone();
        let reasons = &[Duplicate];
        scene.remade_commit(
            Wrong { name, comment, packet: PACKET, field: "proposals", change, section, demands, reasons },
            move |commit| commit.add_member(message).map_err(library),
            move |making| {
                making.propose(Proposal::Add(also));
                making.rebuild(|_| {})
            },
        )?;
    }
    add(
        &mut scene,
        Wrong {
            name: "requirement-not-met",
            comment: "Somebody whose capabilities do not list the extension that the group requires.",
            packet: PACKET,
            field: "key_package.leaf_node.capabilities.extensions",
            change: "without a type that the group requires",
            section: "11.1",
            demands: "Every member supports what the group's required_capabilities list.",
            reasons: &[BadRequest],
        },
        |newcomer| newcomer.with_leaf(|leaf| leaf.capabilities.extensions.clear()),
    )?;
    scene.remade_commit(
        Wrong {
            name: "requirement-not-met-in-path",
            comment: "Mallory's own new leaf no longer lists the extension that the group requires.",
            packet: "commit as PublicMessage",
            field: "path.leaf_node.capabilities.extensions",
            change: "without a type that the group requires",
            section: "7.3",
            demands: "Every member supports what the group's required_capabilities list.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| making.rebuild(|leaf| leaf.capabilities.extensions.clear()),
    )?;
    scene.draft()
}
