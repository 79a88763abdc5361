//! Why RFC 9420 has an altered copy refused: the class of the reason, and the sentence for a reader.

use e2esm_adapter::ErrorClass::{self, AuthFailed, BadRequest, NoKey, NotMember, StaleEpoch};

use crate::alter::{self, Alteration};

/// What kind of packet was altered, as far as its protection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A member's PublicMessage: signed, and tagged under a key of the members'.
    Member,
    /// A PublicMessage of somebody who joins or wants to: signed by the key that is in it.
    NewMember,
    /// A PrivateMessage with a commit or a proposal.
    Handshake,
    /// A PrivateMessage with an application message.
    Application,
    /// A Welcome.
    Welcome,
    /// A ratchet tree beside a Welcome.
    RatchetTree,
}

/// What becomes of an altered copy.
pub struct Verdict {
    /// Any of these.
    pub reasons: Vec<ErrorClass>,
    /// Names of flags.
    pub flag: &'static str,
    /// Why.
    pub why: &'static str,
}

/// Of a packet under this protection.
pub fn verdict(protection: Protection, alteration: &Alteration) -> Verdict {
    let Alteration { field, change, .. } = alteration;
    let last = field.rsplit('.').next().unwrap_or(field);
    let malformed = |why| Verdict { reasons: vec![BadRequest], flag: "Malformed", why };
    let altered = |reasons: &[ErrorClass], why| Verdict { reasons: reasons.to_vec(), flag: "Altered", why };

    if field == alter::WHOLE {
        return malformed("That is no encoding of one MLSMessage (RFC 9420, section 6).");
    }
    match *change {
        alter::LONG_LENGTH => {
            return malformed(
                "A length takes as few bytes as possible, or the packet is malformed (RFC 9420, section 2.1.2).",
            );
        }
        alter::PRESENCE => return malformed("An optional field is there, 1, or not, 0 (RFC 9420, section 2.1.1)."),
        alter::LEFT_OUT => return malformed("The structure lacks a field that it must have (RFC 9420, section 6.2)."),
        _ => {}
    }
    match (field.as_str(), last) {
        ("version", _) => return malformed("There is no such version of the protocol (RFC 9420, section 6)."),
        ("wire_format", _) => return malformed("Another wire format has another structure (RFC 9420, section 6)."),
        ("group_id" | "content.group_id", _) => {
            return altered(&[BadRequest], "This device is in no group of that id.");
        }
        ("content", _) => {
            return altered(
                &[AuthFailed, StaleEpoch],
                "The other packet's content is not what was signed here, or of another epoch (RFC 9420, section 6.1).",
            );
        }
        // Keys of a past epoch may have been kept: then it is they that do not open the message.
        ("epoch", _) if protection == Protection::Application && *change == alter::LESS => {
            return altered(
                &[AuthFailed, StaleEpoch],
                "The epoch chooses the keys and is authenticated with them (RFC 9420, section 6.3.1).",
            );
        }
        ("epoch", _) if protection == Protection::Application => {
            return altered(
                &[StaleEpoch],
                "The epoch chooses the keys: these are none that the device has (RFC 9420, section 9).",
            );
        }
        ("epoch" | "content.epoch", _) => {
            return altered(&[StaleEpoch], "Commits and proposals are of the present epoch (RFC 9420, section 6).");
        }
        _ => {}
    }
    // A code chooses the structure of what follows, or is refused for itself, or is kept as it is and fails with the rest.
    // So with the index of a leaf that no tree has.
    let code = matches!(*change, alter::OTHER_CODE | alter::RESERVED | alter::PRIVATE_USE)
        || (last, *change) == ("removed", alter::ONES);
    let either: &[ErrorClass] = if code { &[AuthFailed, BadRequest] } else { &[AuthFailed] };
    match protection {
        Protection::Member if last == "membership_tag" => {
            altered(&[AuthFailed], "Nobody but a member can compute the membership tag (RFC 9420, section 6.2).")
        }
        Protection::Member => {
            altered(either, "The membership tag covers everything before it (RFC 9420, section 6.2).")
        }
        Protection::NewMember if last == "confirmation_tag" => {
            altered(&[AuthFailed], "The tag is the new epoch's confirmation key's (RFC 9420, section 6.1).")
        }
        Protection::NewMember if field == "content.commit.path" || field == "content.commit.proposals" => altered(
            &[AuthFailed, BadRequest],
            "The signature covers it, and an external commit must have it (RFC 9420, sections 6.1 and 12.4.3.2).",
        ),
        Protection::NewMember => {
            altered(either, "The signature, by the key of the leaf in the packet, covers it (RFC 9420, section 6.1).")
        }
        Protection::Handshake | Protection::Application => match last {
            "encrypted_sender_data" => {
                altered(&[AuthFailed], "The sender data are encrypted and authenticated (RFC 9420, section 6.3.2).")
            }
            "ciphertext" => altered(
                &[AuthFailed],
                "The content is authenticated, and a sample of it opens the sender data (RFC 9420, sections 6.3.1, 6.3.2).",
            ),
            // A code that there is not is malformed; one that there is chooses other keys.
            "content_type" if *change == alter::RESERVED => {
                altered(&[BadRequest], "There is no such content (RFC 9420, section 6).")
            }
            _ => altered(&[AuthFailed], "The content's encryption authenticates it as well (RFC 9420, section 6.3.1)."),
        },
        Protection::Welcome => match last {
            "cipher_suite" => {
                altered(either, "The key package is of one suite, and so is its Welcome (RFC 9420, section 12.4.3.1).")
            }
            "secrets" | "secrets[0]" | "new_member" => {
                altered(&[NoKey], "The Welcome names no key package of this device's (RFC 9420, section 12.4.3.1).")
            }
            _ => altered(
                &[AuthFailed],
                "HPKE authenticates the secrets, and with them the encrypted GroupInfo (RFC 9420, section 12.4.3.1).",
            ),
        },
        Protection::RatchetTree if field == "ratchet_tree" => altered(
            &[AuthFailed, BadRequest, NotMember],
            "Leaves and parents alternate, the last node is not blank, the signer of the GroupInfo is a leaf, and the tree \
             has the hash that the GroupInfo names (RFC 9420, sections 12.4.3.1 and 12.4.3.3).",
        ),
        Protection::RatchetTree if field.contains(".capabilities") => altered(
            &[AuthFailed, BadRequest],
            "Leaves are signed, and must be able to do what the group does (RFC 9420, sections 7.2 and 7.3).",
        ),
        Protection::RatchetTree if code || last.contains("unmerged_leaves") || *change == alter::ABSENT => altered(
            &[AuthFailed, BadRequest],
            "The nodes must make a tree, and one with the hash that the GroupInfo names (RFC 9420, section 12.4.3.1).",
        ),
        Protection::RatchetTree => altered(
            &[AuthFailed],
            "The GroupInfo names the tree's hash, and leaves are signed and parents hashed (RFC 9420, section 12.4.3.1).",
        ),
    }
}
