//! The one crypto provider, and the names of suites and groups.
//!
//! Defaults: all three suites of TLS 1.3, and of TLS 1.2 only those with ECDHE and an AEAD; the
//! groups X25519MLKEM768, X25519, secp256r1, secp384r1. The server's order counts. Between AES and
//! ChaCha20 no order of ours is right for all clients: one whose first AEAD is ChaCha20 has no
//! hardware for AES, and gets ChaCha20.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};

use crate::facts::openssl_name;
use crate::fault::{Setting, SettingsFault};
use crate::settings::Version;

/// All suites there are, the best first. AES-128 stands before AES-256: it is faster, and no attack
/// in sight makes the difference count.
const SUITES: [SupportedCipherSuite; 9] = {
    use aws_lc_rs::cipher_suite as s;
    [
        s::TLS13_AES_128_GCM_SHA256,
        s::TLS13_AES_256_GCM_SHA384,
        s::TLS13_CHACHA20_POLY1305_SHA256,
        s::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        s::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        s::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        s::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        s::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        s::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
};

/// The default groups, the best first.
const GROUPS: [&dyn SupportedKxGroup; 4] = {
    use aws_lc_rs::kx_group as g;
    [g::X25519MLKEM768, g::X25519, g::SECP256R1, g::SECP384R1]
};

/// Groups that can be chosen, the defaults first.
const ALL_GROUPS: [&dyn SupportedKxGroup; 6] = {
    use aws_lc_rs::kx_group as g;
    [
        g::X25519MLKEM768,
        g::X25519,
        g::SECP256R1,
        g::SECP384R1,
        g::SECP256R1MLKEM768,
        g::MLKEM1024,
    ]
};

/// Makes aws-lc-rs the provider of the process, for whatever uses rustls without choosing one.
/// May be called again and again.
pub fn install() {
    // An error says that there is one already, which is what we want.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// A provider with the suites and groups of one listener or pool.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    /// In the order of the settings.
    pub standard: Arc<CryptoProvider>,
    /// The same with ChaCha20 first; none when that makes no difference.
    pub for_chacha: Option<Arc<CryptoProvider>>,
}

impl Provider {
    /// The provider for names of settings; the defaults for empty lists.
    pub(crate) fn new(
        suites: &[String],
        groups: &[String],
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Result<Provider, Vec<SettingsFault>> {
        let mut faults = Vec::new();
        let chosen = choose(suites, &SUITES, suite, &mut faults);
        let groups = choose(groups, &GROUPS, group, &mut faults);
        let chosen: Vec<SupportedCipherSuite> = chosen
            .into_iter()
            .filter(|suite| versions.contains(&suite.version()))
            .collect();
        if let Some(version) = versions
            .iter()
            .find(|version| !chosen.iter().any(|suite| suite.version() == **version))
            && faults.is_empty()
        {
            faults.push(SettingsFault::new(
                Setting::CipherSuites,
                format!("no cipher suite is left for {}", version_name(version)),
                "add one of that version to cipher_suites, or set min_version and max_version so that it is not offered",
            ));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut chacha_first = chosen.clone();
        chacha_first.sort_by_key(|suite| !is_chacha(suite.suite()));
        let differs = chacha_first != chosen;
        let with = |suites| {
            Arc::new(CryptoProvider {
                cipher_suites: suites,
                kx_groups: groups.clone(),
                ..aws_lc_rs::default_provider()
            })
        };
        Ok(Provider {
            standard: with(chosen),
            for_chacha: differs.then(|| with(chacha_first)),
        })
    }
}

/// The values of `names`, or all defaults; names that are not known become faults.
fn choose<T: Copy>(
    names: &[String],
    defaults: &[T],
    find: impl Fn(usize, &str) -> Result<T, SettingsFault>,
    faults: &mut Vec<SettingsFault>,
) -> Vec<T> {
    if names.is_empty() {
        return defaults.to_vec();
    }
    let mut found = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        match find(at, name) {
            Ok(one) => found.push(one),
            Err(fault) => faults.push(fault),
        }
    }
    found
}

/// Whether the first AEAD that a client offers is ChaCha20.
pub(crate) fn prefers_chacha(offered: &[u16]) -> bool {
    offered
        .iter()
        .map(|&number| CipherSuite::from(number))
        .find(|&suite| !openssl_name(suite).is_empty())
        .is_some_and(is_chacha)
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// The standard name (RFC 8446 appendix B.4, RFC 5289, RFC 7905).
fn suite_name(suite: &SupportedCipherSuite) -> String {
    // rustls says TLS13_ where the registry says TLS_.
    let name = format!("{:?}", suite.suite());
    name.replace("TLS13_", "TLS_")
}

fn suite(at: usize, name: &str) -> Result<SupportedCipherSuite, SettingsFault> {
    let found = SUITES.iter().find(|suite| {
        name.eq_ignore_ascii_case(&suite_name(suite))
            || name.eq_ignore_ascii_case(openssl_name(suite.suite()))
    });
    if let Some(suite) = found {
        return Ok(*suite);
    }
    let names: Vec<String> = SUITES.iter().map(suite_name).collect();
    let there = format!("write some of: {}", names.join(", "));
    let setting = Setting::CipherSuite(at);
    if is_cipher_string(name) {
        return Err(SettingsFault::new(
            setting,
            format!("`{name}` is a cipher string of OpenSSL, not the name of one cipher suite"),
            format!(
                "weak suites are never offered, so there is nothing to exclude; leave cipher_suites out, or {there}"
            ),
        ));
    }
    Err(SettingsFault::new(
        setting,
        format!(
            "the cipher suite `{name}` is not there: only suites with forward secrecy and an AEAD are"
        ),
        there,
    ))
}

/// Whether a name uses the operators and groups of OpenSSL's cipher strings.
fn is_cipher_string(name: &str) -> bool {
    const WORDS: [&str; 18] = [
        "ALL",
        "COMPLEMENTOFALL",
        "DEFAULT",
        "COMPLEMENTOFDEFAULT",
        "HIGH",
        "MEDIUM",
        "LOW",
        "EXPORT",
        "EECDH",
        "EDH",
        "ECDHE",
        "DHE",
        "AES",
        "AESGCM",
        "CHACHA20",
        "ECDSA",
        "RSA",
        "PSK",
    ];
    name.starts_with(['!', '+', '-', '@'])
        || name.contains([':', '+', '@', ' ', ','])
        || WORDS.iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn group(at: usize, name: &str) -> Result<&'static dyn SupportedKxGroup, SettingsFault> {
    let wanted = match name.to_ascii_lowercase().as_str() {
        // What OpenSSL and NIST call them.
        "p-256" | "prime256v1" => "secp256r1".to_owned(),
        "p-384" => "secp384r1".to_owned(),
        other => other.to_owned(),
    };
    let found = ALL_GROUPS
        .iter()
        .find(|group| group_name(group.name()).eq_ignore_ascii_case(&wanted));
    found.copied().ok_or_else(|| {
        let names = ALL_GROUPS.map(|group| group_name(group.name()));
        SettingsFault::new(
            Setting::Group(at),
            format!("the group `{name}` is not there"),
            format!("write some of: {}", names.join(", ")),
        )
    })
}

/// The name in the registry of RFC 8446 section 11.
fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "secp256r1",
        NamedGroup::secp384r1 => "secp384r1",
        NamedGroup::secp256r1MLKEM768 => "SecP256r1MLKEM768",
        NamedGroup::MLKEM1024 => "MLKEM1024",
        _ => "",
    }
}

fn version_name(version: &SupportedProtocolVersion) -> &'static str {
    if *version == rustls::version::TLS13 {
        "TLS 1.3"
    } else {
        "TLS 1.2"
    }
}

/// The versions from `min` to `max`.
pub(crate) fn versions(
    min: Version,
    max: Version,
) -> Result<&'static [&'static SupportedProtocolVersion], SettingsFault> {
    use rustls::version::{TLS12, TLS13};
    static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
    static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (min, max) {
        (Version::Tls12, Version::Tls12) => Ok(&ONLY_12),
        (Version::Tls12, Version::Tls13) => Ok(&BOTH),
        (Version::Tls13, Version::Tls13) => Ok(&ONLY_13),
        (Version::Tls13, Version::Tls12) => Err(SettingsFault::new(
            Setting::Versions,
            "min_version is above max_version, so that no version is left",
            "set max_version to 1.3, or min_version to 1.2",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(suites: &[&str], groups: &[&str]) -> Result<Provider, Vec<SettingsFault>> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let versions = versions(Version::Tls12, Version::Tls13).unwrap();
        Provider::new(&owned(suites), &owned(groups), versions)
    }

    #[test]
    fn standard_and_openssl_names_mean_the_same() {
        let standard = [
            "TLS_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ];
        let openssl = ["tls_aes_256_gcm_sha384", "ECDHE-RSA-AES128-GCM-SHA256"];
        let [a, b] = [standard, openssl].map(|names| provider(&names, &[]).unwrap().standard);
        assert_eq!(a.cipher_suites, b.cipher_suites);
        assert_eq!(a.cipher_suites.len(), 2);
    }

    #[test]
    fn every_suite_has_both_names() {
        for one in SUITES {
            let standard = suite_name(&one);
            assert!(standard.starts_with("TLS_"), "{standard}");
            assert_eq!(suite(0, &standard).unwrap(), one);
            assert_eq!(suite(0, openssl_name(one.suite())).unwrap(), one);
        }
        for one in ALL_GROUPS {
            assert_eq!(group(0, group_name(one.name())).unwrap().name(), one.name());
        }
    }

    #[test]
    fn unknown_names_say_what_is_there() {
        let faults = provider(&["TLS_RSA_WITH_AES_128_CBC_SHA"], &["sect571r1"]).unwrap_err();
        assert_eq!(faults[0].setting, Setting::CipherSuite(0));
        assert!(faults[0].mend.contains("TLS_AES_128_GCM_SHA256"));
        assert_eq!(faults[1].setting, Setting::Group(0));
        assert!(faults[1].mend.contains("X25519MLKEM768"));
    }

    #[test]
    fn cipher_strings_get_their_own_message() {
        for text in ["!aNULL", "HIGH", "EECDH+AESGCM", "HIGH:!aNULL", "@STRENGTH"] {
            let faults = provider(&[text], &[]).unwrap_err();
            assert!(
                faults[0].what.contains("cipher string"),
                "{text}: {faults:?}"
            );
        }
    }

    #[test]
    fn a_version_without_a_suite_is_a_fault() {
        let faults = provider(&["TLS_AES_128_GCM_SHA256"], &[]).unwrap_err();
        assert_eq!(faults[0].setting, Setting::CipherSuites);
        assert!(faults[0].what.contains("TLS 1.2"), "{faults:?}");
    }

    #[test]
    fn versions_the_wrong_way_round_are_a_fault() {
        assert!(versions(Version::Tls13, Version::Tls12).is_err());
    }

    #[test]
    fn chacha_comes_first_for_those_who_put_it_first() {
        let provider = provider(&[], &[]).unwrap();
        let first = |of: &Arc<CryptoProvider>| of.cipher_suites[0].suite();
        assert_eq!(
            first(&provider.standard),
            CipherSuite::TLS13_AES_128_GCM_SHA256
        );
        assert!(is_chacha(first(provider.for_chacha.as_ref().unwrap())));
        // GREASE and suites that we do not have are passed over.
        assert!(prefers_chacha(&[0x0a0a, 0x002f, 0x1303, 0x1301]));
        assert!(!prefers_chacha(&[0x1301, 0x1303]));
    }
}
