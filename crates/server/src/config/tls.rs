//! The options of TLS, and what the files hold that they name.

use super::Config;
use super::build::Builder;
use crate::tls::{AuthClients, Tls, TlsError, TlsOptions};

/// Never spoken, and worth more than "unknown".
const UNSAFE: [&str; 4] = ["sslv2", "sslv3", "tlsv1", "tlsv1.1"];

impl Builder {
    /// Fills in `tls`; if it `reads` the files, all that is wrong with them is told with the rest.
    pub(super) fn tls(&mut self, config: &mut Config, reads: bool) {
        let options = TlsOptions {
            clients: config.tls_port != 0,
            cluster: self.flag("tls-cluster"),
            cert_file: self.path("tls-cert-file"),
            key_file: self.path("tls-key-file"),
            ca_cert_file: self.path("tls-ca-cert-file"),
            ca_cert_dir: self.path("tls-ca-cert-dir"),
            auth_clients: match self.text("tls-auth-clients").as_str() {
                "no" => AuthClients::No,
                "optional" => AuthClients::Optional,
                _ => AuthClients::Required,
            },
            names_users: self.text("tls-auth-clients-user") == "cn",
            protocols: self.protocols(),
        };
        if !options.clients && !options.cluster {
            self.unused(&options);
            return;
        }
        if reads {
            self.files(&options);
        }
        config.tls = Some(options);
    }

    fn files(&mut self, options: &TlsOptions) {
        match Tls::load(options.clone()) {
            Ok(tls) => self.warnings.extend(tls.key_warning()),
            Err(TlsError(problems)) => {
                for problem in problems {
                    self.problem(problem.option, problem.text);
                }
            }
        }
    }

    fn protocols(&mut self) -> (bool, bool) {
        const NAME: &str = "tls-protocols";
        let (mut v12, mut v13) = (false, false);
        let words = self.list(NAME);
        for word in &words {
            match word.to_ascii_lowercase().as_str() {
                "tlsv1.2" => v12 = true,
                "tlsv1.3" => v13 = true,
                lower if UNSAFE.contains(&lower) => self.problem(
                    NAME,
                    format!("'{word}' is not safe and not spoken: use TLSv1.2 and TLSv1.3"),
                ),
                _ => self.problem(NAME, format!("'{word}' is not one of: TLSv1.2, TLSv1.3")),
            }
        }
        if words.is_empty() {
            self.problem(NAME, "must name TLSv1.2, TLSv1.3 or both");
        }
        (v12, v13)
    }

    /// Files without a port that would use them are most likely a port forgotten.
    fn unused(&mut self, options: &TlsOptions) {
        if options.cert_file.is_some() {
            let text = "tls-cert-file has no effect without tls-port or tls-cluster yes";
            self.warnings.push(text.to_owned());
        }
    }
}
