//! Revocation lists for certificates of clients (RFC 5280 section 5), as they are in a file.
//!
//! What is judged here is whether the file holds lists and whether they are in date; signatures and the numbers in the
//! lists are rustls's part. A list that is out of date still revokes what it names, so it stays in use, with a notice.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Name};

use crate::der::{self, Reader};
use crate::fault::{Notice, Setting, SettingsFault};
use crate::kept;

/// Most bytes of a file: the largest lists of public CAs have about 30 MB.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most lists of a file.
pub const LISTS_MAX: usize = 1000;
/// How far the clock of a CA may be ahead of ours, in seconds.
const SKEW_S: u64 = 300;
const MEND: &str =
    "get the current list from the CA, in DER, or in PEM with -----BEGIN X509 CRL-----";

/// The lists of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationLists {
    source: String,
    lists: Vec<List>,
}

#[derive(Clone, PartialEq, Eq)]
struct List {
    der: CertificateRevocationListDer<'static>,
    issuer: String,
    /// Seconds since 1970.
    from: u64,
    /// Seconds since 1970; none when the CA does not say when the next one comes.
    until: Option<u64>,
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl RevocationLists {
    /// Reads a file of lists: PEM, with any number of them between other things, or DER, one after the other.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is over [`FILE_BYTES_MAX`], holds no list, more than [`LISTS_MAX`], or one that is
    /// broken.
    pub fn read(path: &Path) -> Result<RevocationLists, SettingsFault> {
        let bytes = kept::read(path, FILE_BYTES_MAX).map_err(|error| {
            let what = format!(
                "cannot read the revocation lists in {}: {error}",
                path.display()
            );
            SettingsFault::new(
                Setting::ClientCrl,
                what,
                "see that the file is there and readable",
            )
        })?;
        RevocationLists::parse(path, &bytes)
    }

    /// The same of bytes that were read already.
    ///
    /// # Errors
    ///
    /// As with [`RevocationLists::read`], but for the reading.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<RevocationLists, SettingsFault> {
        let source = path.display().to_string();
        // DER begins with a sequence whose length takes more than one byte; text has no such second byte.
        let is_der = matches!(bytes, [der::SEQUENCE, 0x80..=0xff, ..]);
        let lists = if is_der { of_der(bytes) } else { of_pem(bytes) };
        let lists = lists.map_err(|what| {
            SettingsFault::new(Setting::ClientCrl, format!("{source} {what}"), MEND)
        })?;
        Ok(RevocationLists { source, lists })
    }

    /// The lists as rustls takes them.
    pub fn der(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.lists.iter().map(|list| list.der.clone()).collect()
    }

    /// When the first of the lists ends, in seconds since 1970; none when none says.
    pub fn not_after(&self) -> Option<u64> {
        self.lists.iter().filter_map(|list| list.until).min()
    }

    /// Lists that are out of date or from the future.
    pub fn notices(&self, now: SystemTime) -> Vec<Notice> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let out_of_date = self.lists.iter().filter_map(|list| {
            let (source, issuer) = (&self.source, &list.issuer);
            let what = match list.until {
                Some(until) if until <= now => format!(
                    "the revocation list of {issuer:?} in {source} ended {} ago: certificates that were revoked since \
                     are still accepted; get the current list from the CA",
                    span(now - until)
                ),
                _ if list.from > now.saturating_add(SKEW_S) => format!(
                    "the revocation list of {issuer:?} in {source} begins only in {}: see whether the clock is right",
                    span(list.from - now)
                ),
                _ => return None,
            };
            Some(Notice { setting: Setting::ClientCrl, warning: true, what })
        });
        out_of_date.collect()
    }
}

/// Days, or hours when it is less than one.
fn span(seconds: u64) -> String {
    match seconds / 86_400 {
        0 => format!("{} h", seconds / 3600),
        days => format!("{days} d"),
    }
}

/// The error goes on after the name of the file.
fn of_der(bytes: &[u8]) -> Result<Vec<List>, String> {
    let mut input = Reader(bytes);
    let mut lists = Vec::new();
    while !input.is_empty() {
        let one = input.any().and_then(|element| list(element.whole));
        push(&mut lists, one)?;
    }
    Ok(lists)
}

fn of_pem(bytes: &[u8]) -> Result<Vec<List>, String> {
    let mut lists = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(bytes) {
        push(&mut lists, der.ok().and_then(|der| list(&der)))?;
    }
    match lists.is_empty() {
        true => Err("holds no revocation list".to_owned()),
        false => Ok(lists),
    }
}

fn push(lists: &mut Vec<List>, list: Option<List>) -> Result<(), String> {
    let number = lists.len() + 1;
    if number > LISTS_MAX {
        return Err(format!("holds more than {LISTS_MAX} revocation lists"));
    }
    lists.push(list.ok_or(format!(
        "is broken: number {number} in it is no revocation list"
    ))?);
    Ok(())
}

/// The head of a CertificateList. What it revokes is not looked at: it can be millions.
fn list(bytes: &[u8]) -> Option<List> {
    let mut outer = Reader(bytes);
    let mut parts = outer.content(der::SEQUENCE)?;
    let mut signed = parts.content(der::SEQUENCE)?;
    // Then the signature's algorithm, and the signature.
    parts.expect(der::SEQUENCE)?;
    parts.expect(der::BIT_STRING)?;
    if !outer.is_empty() || !parts.is_empty() {
        return None;
    }
    signed.skip(der::INTEGER)?;
    signed.expect(der::SEQUENCE)?;
    let (_, issuer) = X509Name::from_der(signed.expect(der::SEQUENCE)?.whole).ok()?;
    let from = time(&mut signed)?;
    let timed = matches!(signed.peek(), Some(der::UTC_TIME | der::GENERALIZED_TIME));
    let until = if timed {
        Some(time(&mut signed)?)
    } else {
        None
    };
    let der = CertificateRevocationListDer::from(bytes.to_vec());
    Some(List {
        der,
        issuer: issuer.to_string(),
        from,
        until,
    })
}

fn time(input: &mut Reader<'_>) -> Option<u64> {
    let element = input.any()?;
    match element.tag {
        der::UTC_TIME => der::utc_time(element.content),
        der::GENERALIZED_TIME => der::time(element.content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
        KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
    };

    use super::*;

    /// 2026-03-01.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_772_323_200)
    }

    /// A list of a CA of this name, from January 2026 to the first of a month of a year.
    fn crl(name: &str, year: i32, month: u8) -> (Vec<u8>, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(params, KeyPair::generate().unwrap());
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(year, month, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&issuer).unwrap();
        (list.der().to_vec(), list.pem().unwrap())
    }

    fn parse(bytes: &[u8]) -> Result<RevocationLists, SettingsFault> {
        RevocationLists::parse(Path::new("crl.pem"), bytes)
    }

    #[test]
    fn pem_and_der_one_and_several() {
        let ((a, a_pem), (b, b_pem)) = (crl("a", 2027, 1), crl("b", 2060, 1));
        let one = parse(&a).unwrap();
        assert_eq!(one.der(), [CertificateRevocationListDer::from(a.clone())]);
        assert_eq!(one.not_after(), Some(1_798_761_600));
        assert_eq!(parse(a_pem.as_bytes()).unwrap(), one);
        let both = parse(&[a, b].concat()).unwrap();
        assert_eq!((both.der().len(), both.not_after()), (2, one.not_after()));
        let text = format!("0 is a comment\n{a_pem}\nbetween\n{b_pem}");
        assert_eq!(parse(text.as_bytes()).unwrap(), both);
        assert_eq!(both.notices(now()), []);
    }

    #[test]
    fn a_list_that_ended_is_said() {
        let (der, _) = crl("The CA", 2026, 2);
        let notices = parse(&der).unwrap().notices(now());
        assert_eq!(notices.len(), 1);
        assert!(notices[0].warning && notices[0].setting == Setting::ClientCrl);
        let what = &notices[0].what;
        assert!(
            what.contains("\"CN=The CA\" in crl.pem ended 28 d ago"),
            "{what}"
        );
        let early = now() - Duration::from_secs(70 * 86_400);
        let what = &parse(&der).unwrap().notices(early)[0].what;
        assert!(what.contains("begins only in 11 d"), "{what}");
    }

    #[test]
    fn what_is_no_list() {
        let (der, pem) = crl("a", 2027, 1);
        let fault = |bytes: &[u8]| {
            let fault = parse(bytes).unwrap_err();
            assert!(
                fault.what.starts_with("crl.pem ") && fault.mend.contains("X509 CRL"),
                "{fault}"
            );
            fault.what
        };
        assert!(fault(b"").contains("holds no revocation list"));
        assert!(fault(b"hello").contains("holds no revocation list"));
        assert!(fault(&[&der[..], b"\0"].concat()).contains("number 2"));
        let broken = pem.replace("-----BEGIN X509 CRL-----\n", "-----BEGIN X509 CRL-----\n!");
        assert!(fault(broken.as_bytes()).contains("number 1"));
        for cut in 2..der.len() {
            assert!(fault(&der[..cut]).contains("number 1"), "{cut}");
        }
        assert!(fault(&der.repeat(LISTS_MAX + 1)).contains("more than 1000"));
        let fault = RevocationLists::read(Path::new("/nowhere/crl.pem")).unwrap_err();
        assert!(fault.what.contains("cannot read") && fault.what.contains("/nowhere/crl.pem"));
    }

    #[test]
    fn rustls_takes_what_we_take() {
        let (der, _) = crl("a", 2027, 1);
        for list in parse(&der).unwrap().der() {
            let mut roots = rustls::RootCertStore::empty();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            roots.add(root.der().clone()).unwrap();
            let provider = rustls::crypto::aws_lc_rs::default_provider().into();
            let builder =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            assert!(builder.with_crls([list]).build().is_ok());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| crl("a", 2027, 1).0);
            let _ = parse(&bytes);
            let mut changed = GOOD.clone();
            let at = at.index(changed.len());
            changed[at] = byte;
            if let Ok(lists) = parse(&changed) {
                lists.notices(now());
            }
        }
    }
}
