//! Whether what is computed anew is what honest members compute.

#![allow(clippy::unwrap_used)]

use mls_rs::psk::ExternalPskId;

use super::*;
use crate::member::{SUPPORTED_EXTENSION, UNSUPPORTED};
use crate::wire::{
    BASIC, Extension, PreSharedKeyId, PreSharedKeyKind, Proposal, REQUIRED_CAPABILITIES, RequiredCapabilities, Wire,
};

const HEAD: Head = Head { id: "robustness/test", title: "test", description: "test", requirements: &["R1"] };

fn scene(cipher_suite: u16) -> Scene {
    Scene::new(HEAD, Setting { cipher_suite, date: "2026-11-23" }).unwrap()
}

type Build = fn(Builder<'_>) -> Result<Builder<'_>>;

/// Makes a commit of mallory's anew after `change`: whether alice takes it.
fn taken(
    scene: &mut Scene,
    build: Build,
    epoch: &Epoch,
    change: impl FnOnce(&mut Making<'_>) -> Result<()>,
) -> Result<()> {
    let commit = scene.bent(build, |_| {})?;
    let mut making = Making::of(epoch, &scene.mallory, &commit)?;
    change(&mut making)?;
    let message = MlsMessage::from_bytes(&making.finish()?).map_err(library)?;
    let mut alice = scene.alice.group()?.clone();
    alice.process_incoming_message(message).map_err(library)?;
    Ok(())
}

fn extension(extension_type: u16) -> Extension {
    Extension { extension_type, extension_data: b"content".to_vec() }
}

fn remade(making: &mut Making<'_>, proposal: Proposal) -> Result<()> {
    making.propose(proposal);
    making.rebuild(|_| {})
}

/// Everything that is computed anew is what an honest member computes: a packet that is changed into another valid one is
/// taken, and so a fault is refused for nothing but itself.
#[test]
fn valid_changes_are_taken_and_invalid_ones_are_not() {
    for suite in [1, 2, 3] {
        let mut scene = scene(suite);
        let extra = scene.add_extra("yolanda").unwrap();
        let newcomer = || key_package_in(&Member::new("zoe", suite, false)?.key_package()?);
        let epoch = scene.epoch().unwrap();
        let size = scene.mallory.suite().kdf_extract_size();
        let psk = PreSharedKeyId { id: PreSharedKeyKind::External(PSK.0.to_vec()), psk_nonce: vec![7; size] };
        let required = RequiredCapabilities {
            extension_types: Vec::new(),
            proposal_types: Vec::new(),
            credential_types: vec![BASIC],
        };
        let required = Extension { extension_type: REQUIRED_CAPABILITIES, extension_data: required.encode() };

        taken(&mut scene, as_it_is, &epoch, |making| making.rebuild(|_| {})).unwrap();
        taken(&mut scene, as_it_is, &epoch, |making| {
            making.rebuild(|leaf| leaf.extensions.push(extension(SUPPORTED_EXTENSION)))
        })
        .unwrap();
        taken(&mut scene, as_it_is, &epoch, |making| making.fresh_path()).unwrap();
        taken(&mut scene, as_it_is, &epoch, |making| remade(making, Proposal::Remove(extra))).unwrap();
        taken(&mut scene, as_it_is, &epoch, |making| remade(making, Proposal::Add(newcomer()?))).unwrap();
        taken(&mut scene, as_it_is, &epoch, |making| remade(making, Proposal::Psk(psk))).unwrap();
        taken(&mut scene, as_it_is, &epoch, |making| remade(making, Proposal::GroupContextExtensions(vec![required])))
            .unwrap();
        let psk: Build = |commit| commit.add_external_psk(ExternalPskId::new(PSK.0.to_vec())).map_err(library);
        taken(&mut scene, psk, &epoch, |making| remade(making, Proposal::Add(newcomer()?))).unwrap();

        taken(&mut scene, as_it_is, &epoch, |making| remade(making, Proposal::Remove(NOWHERE))).unwrap_err();
        taken(&mut scene, as_it_is, &epoch, |making| {
            making.rebuild(|leaf| leaf.extensions.push(extension(UNSUPPORTED)))
        })
        .unwrap_err();
    }
}

#[test]
fn a_message_that_is_taken_apart_comes_out_the_same() {
    for suite in [1, 2, 3] {
        let mut scene = scene(suite);
        let epoch = scene.epoch().unwrap();
        let group = scene.mallory.group().unwrap();
        let packet = group.encrypt_application_message(b"hello", b"beside".to_vec()).unwrap().to_bytes().unwrap();
        let message: PrivateMessage = content(PRIVATE_MESSAGE, &packet).unwrap();
        let (sender_data, inside) = epoch.open(&message).unwrap();
        assert_eq!(sender_data.leaf_index, MALLORY);
        let again = epoch.close(message.clone(), &sender_data, &sender_data, &inside.encode()).unwrap();
        assert_eq!(again, message);
    }
}

#[test]
fn a_welcome_that_is_taken_apart_still_opens_the_group() {
    for (suite, paths) in [(1, false), (1, true), (2, true), (3, false)] {
        let setting = Setting { cipher_suite: suite, date: "2026-11-23" };
        let mut scene = Scene::outside(HEAD, setting, paths).unwrap();
        scene.gather(ExtensionList::new()).unwrap();
        let (welcome, bob) = scene.invite().unwrap();
        let mut invitation = Invitation::open(&scene.mallory, &welcome, &bob).unwrap();
        assert_eq!(invitation.secrets.path_secret.is_some(), paths);
        let before = invitation.info.clone();
        let tree = invitation.tree().unwrap();
        invitation.set_tree(&tree).unwrap();
        invitation.confirm().unwrap();
        assert_eq!(invitation.info, before);
        invitation.sign(&scene.mallory.signer).unwrap();
        let again = message(WELCOME, &invitation.seal().unwrap());
        assert_ne!(again, welcome);
        scene.bob.join(&MlsMessage::from_bytes(&again).unwrap()).unwrap();
        let authenticator = scene.bob.group().unwrap().epoch_authenticator().unwrap();
        assert_eq!(authenticator, scene.alice.group().unwrap().epoch_authenticator().unwrap());
    }
}
