//! An insider's application message under another member's name. Every member holds the secrets from which every other
//! member's message keys follow, so that all but the signature can be the victim's own: the leaf index and the generation
//! in the sender data, the key and nonce of the victim's next message, and the leaf index in what is signed. Receivers
//! get past both layers of encryption and are left with the signature (RFC 9420, section 6).

use mls_rs::client_builder::MlsConfig;
use mls_rs::error::MlsError;
use mls_rs::mls_rs_codec::{self, MlsDecode, byte_vec};
use mls_rs::{CipherSuiteProvider, Group};

/// SenderData: leaf index, generation, reuse guard. Content is never that short: it is padded, and bears a signature.
const SENDER_DATA: usize = 4 + 4 + 4;

/// The victim's next message key, and whose it is.
#[derive(Clone)]
pub(crate) struct Relabelling {
    leaf: u32,
    generation: u32,
    key: Vec<u8>,
    nonce: Vec<u8>,
}

impl Relabelling {
    /// As the member at `leaf`, by what `group` knows: the first generation that this device has not seen used.
    pub(crate) fn new<C: MlsConfig>(group: &Group<C>, leaf: u32) -> Result<Self, MlsError> {
        let mut secrets = group.clone();
        let mut generation = 0;
        let key = loop {
            // The method takes a node index, whatever its parameter is called: leaves are at the even ones.
            match secrets.derive_decryption_key(2 * leaf, generation) {
                Err(MlsError::KeyMissing(_)) => generation += 1,
                key => break key?,
            }
        };
        Ok(Self { leaf, generation, key: key.key().to_vec(), nonce: key.nonce().to_vec() })
    }

    /// SignContent over a FramedContentTBS, with the victim's leaf index for the sender's.
    pub(crate) fn statement(&self, data: &[u8]) -> Result<Vec<u8>, mls_rs_codec::Error> {
        let mut rest = data;
        let label: Vec<u8> = byte_vec::mls_decode(&mut rest)?;
        let mut content: Vec<u8> = byte_vec::mls_decode(&mut rest)?;
        let mut rest = content.as_slice();
        let (_version, _wire_format) = (u16::mls_decode(&mut rest)?, u16::mls_decode(&mut rest)?);
        let _group_id: Vec<u8> = byte_vec::mls_decode(&mut rest)?;
        let (_epoch, _sender_type) = (u64::mls_decode(&mut rest)?, u8::mls_decode(&mut rest)?);
        let at = content.len() - rest.len();
        let index = content.get_mut(at..at + 4).ok_or(mls_rs_codec::Error::UnexpectedEOF)?;
        index.copy_from_slice(&self.leaf.to_be_bytes());

        let mut statement = Vec::with_capacity(data.len());
        byte_vec::mls_encode(&label, &mut statement)?;
        byte_vec::mls_encode(&content, &mut statement)?;
        Ok(statement)
    }

    /// Seals the content with the victim's key, and the victim's sender data with the key that all members share.
    pub(crate) fn seal<S: CipherSuiteProvider>(
        &self,
        suite: &S,
        key: &[u8],
        data: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Vec<u8>, S::Error> {
        if data.len() == SENDER_DATA {
            // The reuse guard is all zeros, one of those that the victim might draw, and leaves the nonce as it is.
            let sender_data = [self.leaf.to_be_bytes(), self.generation.to_be_bytes(), [0; 4]].concat();
            suite.aead_seal(key, &sender_data, aad, nonce)
        } else {
            suite.aead_seal(&self.key, data, aad, &self.nonce)
        }
    }
}
