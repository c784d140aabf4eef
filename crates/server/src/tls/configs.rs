//! What rustls is told: who must show a certificate, and which are good.

use super::{AuthClients, Files, PeerTls, TlsOptions, TlsProblem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls::{SupportedProtocolVersion, version};
use std::sync::{Arc, LazyLock};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(ring::default_provider()));

/// Returns the ciphers and signatures that are used.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// Returns what connections of clients are made with.
pub(super) fn for_clients(files: &Files, options: &TlsOptions) -> Result<ServerConfig, TlsProblem> {
    let verifier = match options.auth_clients {
        AuthClients::No => None,
        AuthClients::Optional | AuthClients::Required if files.authorities.is_empty() => None,
        AuthClients::Optional => Some(verifier(files, true)?),
        AuthClients::Required => Some(verifier(files, false)?),
    };
    server(files, options, verifier)
}

/// Returns what connections between nodes are made with. A certificate that the other nodes would refuse is a problem
/// here and now, where somebody sees it.
pub(super) fn for_peers(files: &Files, options: &TlsOptions) -> Result<PeerTls, TlsProblem> {
    let good = verifier(files, false)?;
    let dialled = AnyName(files.authorities.clone());
    accepted_by_others(files, &*good, &dialled)?;
    let accept = server(files, options, Some(good))?;
    let dial = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&versions(options))
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(dialled))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(files.own.clone())));
    Ok(PeerTls {
        accept: Arc::new(accept),
        dial: Arc::new(dial),
    })
}

fn verifier(files: &Files, optional: bool) -> Result<Arc<dyn ClientCertVerifier>, TlsProblem> {
    let authorities = files.authorities.clone();
    let builder = WebPkiClientVerifier::builder_with_provider(authorities, provider().clone());
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| TlsProblem::new("tls-ca-cert-file", format!("cannot be used: {error}")))
}

fn server(
    files: &Files,
    options: &TlsOptions,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsProblem> {
    let builder = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&versions(options))
        .map_err(unusable)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    Ok(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(files.own.clone()))))
}

fn versions(options: &TlsOptions) -> Vec<&'static SupportedProtocolVersion> {
    let (v12, v13) = options.protocols;
    let v12 = v12.then_some(&version::TLS12);
    let v13 = v13.then_some(&version::TLS13);
    [v12, v13].into_iter().flatten().collect()
}

fn unusable(error: rustls::Error) -> TlsProblem {
    TlsProblem::new("tls-protocols", format!("cannot be used: {error}"))
}

/// Looks at the own certificate as the other nodes will.
fn accepted_by_others(
    files: &Files,
    when_dialling: &dyn ClientCertVerifier,
    when_dialled: &AnyName,
) -> Result<(), TlsProblem> {
    let Some((own, rest)) = files.own.cert.split_first() else {
        return Ok(());
    };
    let now = UnixTime::now();
    let as_client = when_dialling.verify_client_cert(own, rest, now);
    let as_server = when_dialled.verify(own, rest, now);
    as_client.and(as_server).map_err(|error| {
        let text = format!(
            "the other nodes would refuse this certificate ({error}): with tls-cluster it must be \
             signed by an authority of tls-ca-cert-file and be good for servers and for clients"
        );
        TlsProblem::new("tls-cert-file", text)
    })
}

/// A node shows who it is by a certificate of the cluster's authority, whatever name that is for: nodes have addresses
/// that change, and who is who is the business of the handshake that follows.
#[derive(Debug)]
struct AnyName(Arc<RootCertStore>);

impl AnyName {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.0,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
