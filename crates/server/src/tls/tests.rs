//! Certificates of tests, and what is said about files that cannot be used.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Signs certificates, in a folder of its own.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("ca.crt"), issuer.pem()).expect("written");
        let authority = Self { dir, issuer };
        authority.sign("node", |_| {});
        authority
    }

    /// Writes `name.crt` and `name.key`.
    pub(crate) fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.crt")), signed.pem()).expect("written");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Options with the certificate `node`.
    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions {
            clients: true,
            cluster: true,
            cert_file: Some(self.path("node.crt")),
            key_file: Some(self.path("node.key")),
            ca_cert_file: Some(self.path("ca.crt")),
            ca_cert_dir: None,
            auth_clients: AuthClients::Required,
            names_users: false,
            protocols: (true, true),
        }
    }
}

fn problem(options: TlsOptions) -> String {
    Tls::load(options).expect_err("refused").to_string()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}

#[test]
fn files_that_belong_together_are_taken() {
    let authority = Authority::new();
    assert!(
        Tls::load(authority.options())
            .expect("good")
            .peers()
            .is_some()
    );
    let folder = authority.dir.path().join("authorities");
    fs::create_dir(&folder).expect("created");
    fs::copy(authority.path("ca.crt"), folder.join("one.pem")).expect("copied");
    write(&folder.join("README"), "not a certificate");
    Tls::load(TlsOptions {
        ca_cert_file: None,
        ca_cert_dir: Some(folder),
        ..authority.options()
    })
    .expect("a folder is as good");
    Tls::load(TlsOptions {
        cluster: false,
        ca_cert_file: None,
        auth_clients: AuthClients::No,
        ..authority.options()
    })
    .expect("nobody's certificate is looked at");
}

#[test]
fn what_is_not_named_is_named() {
    let authority = Authority::new();
    let text = problem(TlsOptions {
        cert_file: None,
        key_file: None,
        ca_cert_file: None,
        ..authority.options()
    });
    for option in [
        "tls-cert-file: must",
        "tls-key-file: must",
        "tls-ca-cert-file: must",
    ] {
        assert!(text.contains(option), "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_option_and_path() {
    let authority = Authority::new();
    authority.sign("other", |_| {});
    let broken = authority.path("broken.pem");
    write(
        &broken,
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    );
    let junk = authority.path("junk.pem");
    write(
        &junk,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let locked = authority.path("locked.pem");
    write(
        &locked,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let good = || authority.options();
    let node_crt = authority.path("node.crt");
    let cases: [(TlsOptions, &[&str]); 9] = [
        (
            TlsOptions {
                cert_file: Some("/nowhere/x.crt".into()),
                ..good()
            },
            &["tls-cert-file: cannot read /nowhere/x.crt: No such file"],
        ),
        (
            TlsOptions {
                cert_file: Some(authority.path("node.key")),
                ..good()
            },
            &["tls-cert-file: ", "node.key has no certificate"],
        ),
        (
            TlsOptions {
                cert_file: Some(broken.clone()),
                ..good()
            },
            &["tls-cert-file: ", "broken.pem is damaged"],
        ),
        (
            TlsOptions {
                cert_file: Some(junk),
                ..good()
            },
            &[
                "tls-cert-file: the first certificate in ",
                "junk.pem cannot be used",
            ],
        ),
        (
            TlsOptions {
                key_file: Some(authority.path("other.key")),
                ..good()
            },
            &[
                "tls-key-file: ",
                "other.key is not the key of the first certificate in ",
            ],
        ),
        (
            TlsOptions {
                key_file: Some(node_crt),
                ..good()
            },
            &["tls-key-file: ", "node.crt has no private key"],
        ),
        (
            TlsOptions {
                key_file: Some(locked),
                ..good()
            },
            &["tls-key-file: the key in ", "has a pass phrase"],
        ),
        (
            TlsOptions {
                ca_cert_file: Some(broken),
                ..good()
            },
            &["tls-ca-cert-file: ", "broken.pem is damaged"],
        ),
        (
            TlsOptions {
                ca_cert_dir: Some("/nowhere".into()),
                ..good()
            },
            &["tls-ca-cert-dir: cannot read /nowhere: No such file"],
        ),
    ];
    for (options, words) in cases {
        let text = problem(options);
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn a_certificate_that_the_other_nodes_would_refuse_is_refused_here() {
    let authority = Authority::new();
    let stranger = Authority::new();
    authority.sign("old", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let only_server = vec![ExtendedKeyUsagePurpose::ServerAuth];
    authority.sign("server", |params| params.extended_key_usages = only_server);
    let both = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    authority.sign("both", |params| params.extended_key_usages = both);
    let with = |name: &str| TlsOptions {
        cert_file: Some(authority.path(&format!("{name}.crt"))),
        key_file: Some(authority.path(&format!("{name}.key"))),
        ..authority.options()
    };
    Tls::load(with("both")).expect("good for both");
    let of_another = TlsOptions {
        ca_cert_file: Some(stranger.path("ca.crt")),
        ..authority.options()
    };
    for options in [with("old"), with("server"), of_another] {
        let alone = TlsOptions {
            cluster: false,
            ..options.clone()
        };
        Tls::load(alone).expect("clients see to it themselves");
        let text = problem(options);
        assert!(
            text.contains("tls-cert-file: the other nodes would refuse"),
            "{text}"
        );
    }
}

#[test]
fn new_files_are_used_as_a_whole_or_not_at_all() {
    let authority = Authority::new();
    let tls = Tls::load(authority.options()).expect("good");
    let before = tls.clients();
    authority.sign("other", |_| {});
    fs::copy(authority.path("other.crt"), authority.path("node.crt")).expect("copied");
    let error = tls
        .reload()
        .expect_err("only one of two was replaced")
        .to_string();
    assert!(
        error.contains("is not the key of the first certificate"),
        "{error}"
    );
    assert!(Arc::ptr_eq(&before, &tls.clients()));
    fs::copy(authority.path("other.key"), authority.path("node.key")).expect("copied");
    tls.reload().expect("good again");
    assert!(!Arc::ptr_eq(&before, &tls.clients()));
}

#[test]
fn other_options_are_gone_by_as_a_whole_or_not_at_all() {
    let authority = Authority::new();
    authority.sign("other", |_| {});
    let tls = Tls::load(authority.options()).expect("good");
    let before = tls.clients();
    let half = TlsOptions {
        cert_file: Some(authority.path("other.crt")),
        ..authority.options()
    };
    let whole = TlsOptions {
        key_file: Some(authority.path("other.key")),
        ..half.clone()
    };
    let error = tls.replace(half).expect_err("half of a change").to_string();
    assert!(error.contains("is not the key of"), "{error}");
    assert!(Arc::ptr_eq(&before, &tls.clients()));
    tls.reload().expect("the old ones are still there");
    tls.replace(whole).expect("both");
    // What is read again from now on are the new ones.
    fs::remove_file(authority.path("node.crt")).expect("removed");
    tls.reload().expect("the new ones are there");
}

#[test]
fn a_key_that_others_may_read_is_warned_of() {
    let authority = Authority::new();
    let key = authority.path("node.key");
    for (mode, warns) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("changed");
        let warning = Tls::load(authority.options()).expect("good").key_warning();
        assert_eq!(warning.is_some(), warns, "{mode:o} {warning:?}");
        let named = |text: String| text.contains("node.key holds the key of TLS");
        assert!(warning.is_none_or(named));
    }
}
