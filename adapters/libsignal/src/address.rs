//! Device names as libsignal's addresses.
//!
//! A `ProtocolAddress` is a user's name and a number from 1 to 127. The number is a hash of the device's name, the
//! same everywhere; where two names of one user collide, the one met later takes the next free number. That choice is
//! local to a device, which is sound here: in 0.85.3 an address names a drawer of the stores and stands in no
//! message.

use std::collections::BTreeMap;

use e2esm_adapter::{DeviceId, Error};
use libsignal_protocol::{DeviceId as Number, ProtocolAddress};

const NUMBERS: u32 = 127;

/// Which device an address stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressBook(BTreeMap<ProtocolAddress, DeviceId>);

impl AddressBook {
    /// The address of a device, given to it now if it has none.
    pub(crate) fn address(&mut self, device: &DeviceId) -> Result<ProtocolAddress, Error> {
        let address = candidates(device)
            .find(|address| self.0.get(address).is_none_or(|holder| holder == device))
            .ok_or_else(|| Error::bad_request(format!("{} has more than {NUMBERS} devices", device.user)))?;
        self.0.entry(address.clone()).or_insert_with(|| device.clone());
        Ok(address)
    }

    /// The address of a device that has one.
    pub(crate) fn find(&self, device: &DeviceId) -> Option<ProtocolAddress> {
        candidates(device)
            .map_while(|address| self.0.get(&address).map(|holder| (holder, address)))
            .find_map(|(holder, address)| (holder == device).then_some(address))
    }

    /// Whose address this is.
    pub(crate) fn device(&self, address: &ProtocolAddress) -> Option<&DeviceId> {
        self.0.get(address)
    }
}

/// An address as text: `NAME.DEVICE`, where the name may have dots of its own and the device is a number from 1 to 127
/// without leading zeros. The library writes this form and does not read it.
///
/// # Errors
/// `BadRequest` for anything else.
pub(crate) fn parse(text: &str) -> Result<ProtocolAddress, Error> {
    let address = text.rsplit_once('.').filter(|(name, _)| !name.is_empty()).and_then(|(name, number)| {
        let number = Number::try_from(number.parse::<u32>().ok()?).ok()?;
        Some(ProtocolAddress::new(name.to_owned(), number))
    });
    // One device has one spelling: `+1` and `01` are numbers, too.
    address.filter(|address| address.to_string() == text).ok_or_else(|| {
        Error::bad_request(format!("`{text}` is not an address: expected NAME.DEVICE, the device from 1 to {NUMBERS}"))
    })
}

/// The addresses a device may have, the best first.
fn candidates(device: &DeviceId) -> impl Iterator<Item = ProtocolAddress> + '_ {
    // FNV-1a: short, and the same in every language.
    let hash =
        device.device.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..NUMBERS).filter_map(move |step| {
        let number = Number::try_from((hash % NUMBERS + step) % NUMBERS + 1).ok()?;
        Some(ProtocolAddress::new(device.user.0.clone(), number))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_device_of_a_user_has_an_address_of_its_own_until_the_numbers_run_out() {
        let mut book = AddressBook::default();
        let devices: Vec<_> = (0..NUMBERS).map(|n| DeviceId::new("bob", &format!("device {n}"))).collect();
        for device in &devices {
            assert_eq!(book.find(device), None);
            book.address(device).unwrap();
        }
        for device in &devices {
            let address = book.find(device).unwrap();
            assert_eq!(book.address(device).unwrap(), address);
            assert_eq!(book.device(&address), Some(device));
        }
        assert!(book.address(&DeviceId::new("bob", "one too many")).is_err());
        assert!(book.address(&DeviceId::new("carol", "phone")).is_ok());
    }

    #[test]
    fn an_address_is_read_as_it_is_written_and_in_no_other_form() {
        for device in [DeviceId::new("bob", "phone"), DeviceId::new("bob.b", "tablet"), DeviceId::new(".", "phone")] {
            let address = AddressBook::default().address(&device).unwrap();
            assert_eq!(parse(&address.to_string()).unwrap(), address);
        }
        assert_eq!(parse("bob.127").unwrap().to_string(), "bob.127");
        for text in ["", "bob", "bob.", ".1", "bob.0", "bob.128", "bob.01", "bob.+1", "bob.-1", "bob.1 ", "bob.x"] {
            assert_eq!(parse(text).unwrap_err().class, e2esm_adapter::ErrorClass::BadRequest, "{text}");
        }
    }
}
