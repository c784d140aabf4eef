//! Whose a certificate is: the common name of its subject.
//!
//! ```text
//! Certificate ::= SEQUENCE { TBSCertificate, … }
//! TBSCertificate ::= SEQUENCE { [0] version, serial, signature, issuer, validity, subject, … }
//! subject ::= SEQUENCE OF SET OF SEQUENCE { type OID, value string }
//! ```
//!
//! rustls has checked the certificate by then, but not that this part of it is well formed: whatever is not, has no
//! name.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// UTF8String, PrintableString, TeletexString, IA5String: a byte or more for each letter, and never a zero between.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// Returns the first common name of a certificate's subject.
pub(crate) fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der(certificate).inside(SEQUENCE)?;
    let mut signed = certificate.inside(SEQUENCE)?;
    let (first, _) = signed.next()?;
    // The version may be left out; then that was the serial number.
    let before = if first == VERSION { 4 } else { 3 };
    for _ in 0..before {
        signed.next()?;
    }
    let mut subject = signed.inside(SEQUENCE)?;
    while !subject.0.is_empty() {
        let mut attributes = subject.inside(SET)?;
        while !attributes.0.is_empty() {
            let mut attribute = attributes.inside(SEQUENCE)?;
            let (oid, name) = attribute.next()?;
            let (kind, value) = attribute.next()?;
            if oid == OID && name == COMMON_NAME {
                return STRINGS.contains(&kind).then_some(value);
            }
        }
    }
    None
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Takes the next element: its tag and what it holds.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = if length < 0x80 {
            (usize::from(length), rest)
        } else {
            // So many bytes say how long it is. Certificates are shorter than 16 MiB.
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            if digits.len() > 3 {
                return None;
            }
            let length = digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        };
        let (held, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, held))
    }

    /// Takes the next element, and returns what it holds if it is one of these.
    fn inside(&mut self, tag: u8) -> Option<Self> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, held)| Self(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_found_among_others() {
        let long = "n".repeat(300);
        for name in ["alice", "Älice", &long] {
            let names = [
                (DnType::OrganizationName, "Corgi"),
                (DnType::CommonName, name),
                (DnType::CountryName, "DE"),
            ];
            assert_eq!(common_name(&certificate(&names)), Some(name.as_bytes()));
        }
        let other = certificate(&[(DnType::OrganizationName, "alice")]);
        assert_eq!(common_name(&other), None);
        assert_eq!(common_name(&certificate(&[])), None);
    }

    #[test]
    fn what_is_cut_has_no_name_and_what_is_changed_ends_nothing() {
        let whole = certificate(&[(DnType::CommonName, "alice")]);
        let end = (0..whole.len())
            .find(|end| whole[..*end].ends_with(b"alice"))
            .unwrap();
        for cut in 0..end {
            assert_eq!(common_name(&whole[..cut]), None, "{cut}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let found = common_name(&changed);
                assert!(found.is_none_or(|name| name.len() < whole.len()));
            }
        }
    }
}
