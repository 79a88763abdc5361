//! Members that make every kind of packet there is: what the adapters' devices leave out are proposals that stand alone and
//! authenticated data, so these call the libraries themselves. Their credentials are bare names, which keeps packets small.

mod mls_rs;
mod openmls;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2esm_adapter::MlsStart;

pub use self::mls_rs::MlsRsMember;
pub use self::openmls::OpenMlsMember;

/// Somebody with one key pair and one group. Messages are encoded MLSMessages, in and out.
pub trait Member {
    /// A key package that has not been used.
    fn key_package(&mut self) -> Result<Vec<u8>>;

    /// The private keys of all key packages that have not been used.
    fn start(&self) -> Result<MlsStart>;

    /// Founds the group.
    fn create(&mut self, group: &str) -> Result<()>;

    /// Joins by a Welcome, with the tree if that is not in it.
    fn join(&mut self, welcome: &[u8], ratchet_tree: Option<&[u8]>) -> Result<()>;

    /// An application message, and what is authenticated with it and readable by everybody.
    fn send(&mut self, text: &str, authenticated_data: &str) -> Result<Vec<u8>>;

    /// A proposal that stands alone.
    fn propose(&mut self, proposal: &Proposal, authenticated_data: &str) -> Result<Vec<u8>>;

    /// A commit of `changes` and of everything that has been proposed. In force once it is [received](Self::receive).
    fn commit(&mut self, changes: &Changes, authenticated_data: &str) -> Result<Committed>;

    /// The present epoch's authenticator (RFC 9420, section 8.7).
    fn epoch_authenticator(&mut self) -> Result<Vec<u8>>;

    /// Takes a proposal, a commit or a message of another member's, or its own commit.
    fn receive(&mut self, message: &[u8]) -> Result<()>;
}

/// What a member may propose to the others.
pub enum Proposal {
    /// Somebody new: a key package.
    Add(Vec<u8>),
    /// New keys of its own.
    Update,
    /// That the member at this leaf goes.
    Remove(u32),
}

/// What a commit does by itself.
#[derive(Clone, Default)]
pub struct Changes {
    /// Key packages of those who come.
    pub add: Vec<Vec<u8>>,
    /// Leaves of those who go.
    pub remove: Vec<u32>,
    /// Whether it has an update path also where RFC 9420 does not demand one.
    pub path: bool,
    /// Whether the ratchet tree is left out of the Welcome.
    pub tree_apart: bool,
}

/// A commit and what comes with it.
pub struct Committed {
    /// For the members.
    pub commit: Vec<u8>,
    /// For those who come.
    pub welcome: Option<Vec<u8>>,
    /// The tree after it, if that was left out of the Welcome.
    pub ratchet_tree: Option<Vec<u8>>,
}

/// Members by name, and the honest server between them.
pub struct Party<M>(BTreeMap<&'static str, M>);

impl<M: Member> Party<M> {
    /// These.
    ///
    /// # Errors
    /// The library's.
    pub fn new(names: &[&'static str], member: fn(&'static str) -> Result<M>) -> Result<Self> {
        Ok(Self(names.iter().map(|name| Ok((*name, member(name)?))).collect::<Result<_>>()?))
    }

    /// One of them.
    ///
    /// # Errors
    /// If there is nobody of that name.
    pub fn member(&mut self, name: &str) -> Result<&mut M> {
        self.0.get_mut(name).with_context(|| format!("nobody is called {name}"))
    }

    /// Delivers a packet to these.
    ///
    /// # Errors
    /// The first of them that does not take it.
    pub fn deliver(&mut self, packet: &[u8], to: &[&str]) -> Result<()> {
        to.iter().try_for_each(|name| self.member(name)?.receive(packet).with_context(|| format!("{name} receives")))
    }
}
