//! Certificates and keys from PEM files. Whatever is wrong with one is told in words of the option that names it.

use super::{TlsOptions, TlsProblem, configs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CERT: &str = "tls-cert-file";
const KEY: &str = "tls-key-file";
const CA_FILE: &str = "tls-ca-cert-file";
const CA_DIR: &str = "tls-ca-cert-dir";

/// What the files hold.
#[derive(Debug)]
pub(super) struct Files {
    /// This node's certificate with its key.
    pub(super) own: Arc<CertifiedKey>,
    /// The authorities whose certificates are good; none if no certificate is looked at.
    pub(super) authorities: Arc<RootCertStore>,
}

impl Files {
    /// Reads all files that `options` name.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn read(options: &TlsOptions) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let own = own(options).map_err(|wrong| problems.extend(wrong));
        let authorities = authorities(options).map_err(|wrong| problems.push(wrong));
        match (own, authorities) {
            (Ok(own), Ok(authorities)) => Ok(Self { own, authorities }),
            _ => Err(problems),
        }
    }
}

fn own(options: &TlsOptions) -> Result<Arc<CertifiedKey>, Vec<TlsProblem>> {
    let chain = named(CERT, "this node's certificate", options.cert_file.as_ref());
    let chain = chain.and_then(|path| certificates(CERT, path).map(|chain| (path, chain)));
    let key = named(KEY, "the key of tls-cert-file", options.key_file.as_ref());
    let key = key.and_then(|path| private_key(path).map(|key| (path, key)));
    let ((cert_path, chain), (key_path, key)) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let (cert_path, key_path) = (cert_path.display(), key_path.display());
    CertifiedKey::from_der(chain, key, configs::provider())
        .map(Arc::new)
        .map_err(|error| {
            vec![match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsProblem::new(
                    KEY,
                    format!(
                        "{key_path} is not the key of the first certificate in {cert_path}: name \
                         the two files that belong together"
                    ),
                ),
                rustls::Error::InvalidCertificate(error) => TlsProblem::new(
                    CERT,
                    format!("the first certificate in {cert_path} cannot be used: {error}"),
                ),
                error => TlsProblem::new(
                    KEY,
                    format!(
                        "the key in {key_path} cannot be used: {error}; RSA from 2048 bits, ECDSA \
                         with P-256 or P-384, and Ed25519 can"
                    ),
                ),
            }]
        })
}

fn named<'a>(
    option: &'static str,
    what: &str,
    path: Option<&'a PathBuf>,
) -> Result<&'a PathBuf, TlsProblem> {
    path.ok_or_else(|| {
        TlsProblem::new(
            option,
            format!("must name the PEM file with {what}, for tls-port and tls-cluster"),
        )
    })
}

fn authorities(options: &TlsOptions) -> Result<Arc<RootCertStore>, TlsProblem> {
    let mut store = RootCertStore::empty();
    if let Some(path) = &options.ca_cert_file {
        for certificate in certificates(CA_FILE, path)? {
            store.add(certificate).map_err(|error| {
                let path = path.display();
                let text = format!("a certificate in {path} cannot be used: {error}");
                TlsProblem::new(CA_FILE, text)
            })?;
        }
    }
    if let Some(dir) = &options.ca_cert_dir {
        from_folder(dir, &mut store)?;
    }
    if store.is_empty() && options.needs_authorities() {
        let text = "must name the PEM file with the authorities whose certificates are accepted \
                    (or tls-ca-cert-dir a folder of such files), unless tls-auth-clients and \
                    tls-cluster are no";
        return Err(TlsProblem::new(CA_FILE, text));
    }
    Ok(Arc::new(store))
}

/// Takes in all certificates of a folder, which may hold other files too.
fn from_folder(dir: &Path, store: &mut RootCertStore) -> Result<(), TlsProblem> {
    let shown = dir.display();
    let wrong = |text: String| TlsProblem::new(CA_DIR, text);
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| wrong(format!("cannot read {shown}: {error}")))?;
    let mut paths: Vec<_> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let mut taken = 0;
    for path in &paths {
        // The system's folder has lists of them, and links, under other names.
        if let Ok(found) = certificates(CA_DIR, path) {
            taken += store.add_parsable_certificates(found).0;
        }
    }
    if taken == 0 {
        let text = format!("no file in {shown} has a certificate that can be used");
        return Err(wrong(text));
    }
    Ok(())
}

fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let shown = path.display();
    let found = CertificateDer::pem_slice_iter(&read(option, path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsProblem::new(option, format!("{shown} is damaged: {error}")))?;
    if found.is_empty() {
        let text = format!("{shown} has no certificate (-----BEGIN CERTIFICATE-----)");
        return Err(TlsProblem::new(option, text));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED";
    let shown = path.display();
    let text = read(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = text
            .windows(ENCRYPTED.len())
            .any(|found| found == ENCRYPTED);
        let why = match error {
            pem::Error::NoItemsFound if encrypted => format!(
                "the key in {shown} has a pass phrase, which nobody can type here: write it \
                 without one (openssl pkey -in … -out …) into a file that only this user may read"
            ),
            pem::Error::NoItemsFound => {
                format!("{shown} has no private key (-----BEGIN PRIVATE KEY-----)")
            }
            error => format!("{shown} is damaged: {error}"),
        };
        TlsProblem::new(KEY, why)
    })
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsProblem> {
    std::fs::read(path).map_err(|error| {
        let text = format!("cannot read {}: {error}", path.display());
        TlsProblem::new(option, text)
    })
}
