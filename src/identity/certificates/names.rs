//! The subject alternative names of a certificate (RFC 5280 section 4.2.1.6), read from its DER.
//!
//! Only certificates that TLS has verified come here, so all that is needed is the way to one
//! extension: an X.509 crate would bring ten others for it, and what `rustls` itself uses gives no
//! e-mail addresses.

use std::fmt;
use std::sync::Arc;

/// A name of a certificate's subject, with its kind, so that a rule for host names can never be
/// met by an address or a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// A host name, in lower case.
    Dns(Arc<str>),
    /// A URI, such as a SPIFFE id.
    Uri(Arc<str>),
    /// An e-mail address.
    Email(Arc<str>),
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Dns(text) | Self::Uri(text) | Self::Email(text)) = self;
        f.write_str(text)
    }
}

impl CertificateName {
    /// A host name; `None` when it is empty or not printable ASCII.
    pub(super) fn dns(text: &str) -> Option<Self> {
        printable(text).map(|text| Self::Dns(text.to_ascii_lowercase().into()))
    }

    /// A URI; `None` as for [`CertificateName::dns`].
    pub(super) fn uri(text: &str) -> Option<Self> {
        printable(text).map(|text| Self::Uri(text.into()))
    }

    fn email(text: &str) -> Option<Self> {
        printable(text).map(|text| Self::Email(text.into()))
    }
}

/// The names of a certificate. Those that are not printable ASCII are left out; a certificate that
/// cannot be read has none.
pub(super) fn names(certificate: &[u8]) -> Vec<CertificateName> {
    let list = alternative_names(certificate).unwrap_or_default();
    let name = |(tag, content): (u8, &[u8])| {
        let text = std::str::from_utf8(content).ok()?;
        match tag {
            EMAIL => CertificateName::email(text),
            DNS => CertificateName::dns(text),
            URI => CertificateName::uri(text),
            _ => None,
        }
    };
    let names: Vec<_> = Elements(list).filter_map(name).collect();
    without_rival_ids(names)
}

/// A workload has one SPIFFE id: a certificate with several is no SVID and proves none of them
/// (X509-SVID section 2).
pub(super) fn without_rival_ids(mut names: Vec<CertificateName>) -> Vec<CertificateName> {
    let is_id = |name: &CertificateName| match name {
        CertificateName::Uri(uri) => uri.starts_with("spiffe://"),
        CertificateName::Dns(_) | CertificateName::Email(_) => false,
    };
    if names.iter().filter(|name| is_id(name)).count() > 1 {
        names.retain(|name| !is_id(name));
    }
    names
}

/// The content of the extension's list of names.
fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = Elements(certificate).only(SEQUENCE)?;
    let to_be_signed = Elements(certificate).find_tag(SEQUENCE)?;
    let extensions = Elements(to_be_signed).find_tag(EXTENSIONS)?;
    let extensions = Elements(extensions).only(SEQUENCE)?;
    let value = Elements(extensions).find_map(|(tag, extension)| {
        let mut parts = Elements(extension);
        let is_wanted = tag == SEQUENCE && parts.next() == Some((OBJECT_ID, ALTERNATIVE_NAME));
        is_wanted.then(|| parts.find_tag(OCTET_STRING))?
    })?;
    Elements(value).only(SEQUENCE)
}

fn printable(text: &str) -> Option<&str> {
    let is_printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_printable.then_some(text)
}

/// Elements of DER, one after another: tag and content. Ends where the bytes are no DER.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            short @ ..=0x7F => (usize::from(short), rest),
            0x81 => rest
                .split_first_chunk()
                .map(|(&[a], rest)| (usize::from(a), rest))?,
            0x82 => rest
                .split_first_chunk()
                .map(|(bytes, rest)| (usize::from(u16::from_be_bytes(*bytes)), rest))?,
            // Longer than any certificate that TLS lets through, or not DER.
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

impl<'a> Elements<'a> {
    /// The content of the next element of that tag.
    fn find_tag(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.find_map(|(tag, content)| (tag == wanted).then_some(content))
    }

    /// The content of the one element that there is.
    fn only(mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted && self.0.is_empty()).then_some(content)
    }
}

const OBJECT_ID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `[3]` of the part that is signed.
const EXTENSIONS: u8 = 0xA3;
/// 2.5.29.17.
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1D, 0x11];
/// `[1]`, `[2]` and `[6]` of a general name.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// Certificates of `tests/certificates/make.py`.
    fn certificate(name: &str) -> Vec<u8> {
        let all = include_str!("../../../tests/certificates/clients.pem");
        let (_, pem) = all.split_once(&format!("# {name}\n")).unwrap();
        CertificateDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .to_vec()
    }

    fn texts(name: &str) -> Vec<String> {
        let kind = |name: &CertificateName| match name {
            CertificateName::Dns(text) => format!("dns {text}"),
            CertificateName::Uri(text) => format!("uri {text}"),
            CertificateName::Email(text) => format!("email {text}"),
        };
        names(&certificate(name)).iter().map(kind).collect()
    }

    #[test]
    fn the_names_of_a_certificate_are_read_with_their_kinds() {
        let check = |name: &str, expected: &[&str]| assert_eq!(texts(name), expected, "{name}");
        check("spiffe", &["uri spiffe://corp.example/ns/search/sa/api"]);
        check("dns", &["dns api.search.svc", "dns *.search.svc"]);
        check("email", &["email ann@search.example"]);
        check(
            "mixed",
            &[
                "dns api.search.svc",
                "uri https://search.example/api",
                "email ann@search.example",
                "uri spiffe://corp.example/ns/search/sa/api",
            ],
        );
        check("without names", &[]);
        assert_eq!(texts("many names").len(), 200);
    }

    #[test]
    fn of_several_spiffe_ids_none_counts() {
        assert_eq!(texts("two ids"), ["dns api.search.svc"]);
    }

    #[test]
    fn names_that_could_be_misread_are_left_out() {
        assert_eq!(texts("control characters"), ["dns good.search.svc"]);
    }

    #[test]
    fn a_cut_certificate_has_no_names_and_no_panic() {
        let whole = certificate("mixed");
        for length in 0..whole.len() {
            assert_eq!(names(&whole[..length]), Vec::new(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(at in 0_usize..700, byte: u8, raw: Vec<u8>) {
            let mut changed = certificate("mixed");
            let length = changed.len();
            changed[at % length] = byte;
            drop(names(&changed));
            drop(names(&raw));
        }
    }
}
