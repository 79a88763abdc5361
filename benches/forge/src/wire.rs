//! As much of the TLS presentation language, with the variable-length vectors of RFC 9420, section 2.1.2, as ratchet
//! trees need.

// Numbers of RFC 9420, sections 6, 7.1, 7.2, 7.8 and 17.5: a version, node types, sources of leaves, a credential type.
pub(crate) const MLS10: u16 = 1;
pub(crate) const LEAF: u8 = 1;
pub(crate) const PARENT: u8 = 2;
pub(crate) const KEY_PACKAGE: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const COMMIT: u8 = 3;
pub(crate) const BASIC: u16 = 1;
pub(crate) const X509: u16 = 2;

/// The longest vector has one byte less.
pub(crate) const TOO_LONG: usize = 1 << 30;

/// The length prefix of a vector of less than [`TOO_LONG`] bytes, in its shortest form.
pub(crate) fn prefix(length: usize) -> Vec<u8> {
    debug_assert!(length < TOO_LONG);
    let length = length as u32;
    match length {
        0..64 => vec![length as u8],
        64..16_384 => (length as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (length | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

/// `opaque content<V>`.
pub(crate) fn vector(out: &mut Vec<u8>, content: &[u8]) {
    out.extend(prefix(content.len()));
    out.extend(content);
}

/// A vector of 16-bit numbers.
pub(crate) fn numbers(out: &mut Vec<u8>, content: &[u16]) {
    let bytes: Vec<u8> = content.iter().flat_map(|number| number.to_be_bytes()).collect();
    vector(out, &bytes);
}

/// Bytes that are not a ratchet tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ratchet tree: byte {at}: {what}")]
pub struct Malformed {
    /// Where reading stopped, from the start of what was to be read.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

const SHORT: &str = "ends in the middle of a value";

/// Reads from the front of some bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is wrong here.
    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(self.malformed(SHORT))?;
        self.rest = rest;
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn short(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn long(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let short = self.malformed(SHORT);
        self.take(N)?.try_into().map_err(|_| short)
    }

    /// A vector's content, with a reader of its own.
    pub(crate) fn vector(&mut self) -> Result<Reader<'a>, Malformed> {
        let start = self.malformed("the length prefix of a vector is none, or not the shortest");
        let first = self.byte()?;
        let (more, least) = match first >> 6 {
            0 => (0, 0),
            1 => (1, 64),
            2 => (3, 16_384),
            _ => return Err(start),
        };
        let bytes = self.take(more)?;
        let length = bytes.iter().fold(usize::from(first & 0x3f), |length, byte| length << 8 | usize::from(*byte));
        if length < least {
            return Err(start);
        }
        let at = self.at;
        Ok(Reader { rest: self.take(length)?, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_and_read_in_their_shortest_form() {
        for (length, bytes) in [
            (0, vec![0]),
            (63, vec![63]),
            (64, vec![0x40, 64]),
            (16_383, vec![0x7f, 0xff]),
            (16_384, vec![0x80, 0, 0x40, 0]),
        ] {
            let mut written = Vec::new();
            vector(&mut written, &vec![7; length]);
            assert!(written.starts_with(&bytes), "{length}");
            let mut reader = Reader::new(&written);
            assert_eq!(reader.vector().map(|content| content.rest.len()), Ok(length));
            assert!(reader.is_empty());
        }
        for bytes in [&[0x40, 63][..], &[0x80, 0, 0x3f, 0xff], &[0xc0], &[], &[1], &[0x40], &[0x40, 64]] {
            assert!(Reader::new(bytes).vector().is_err(), "{bytes:?}");
        }
    }
}
