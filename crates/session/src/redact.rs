//! What of a request may be shown to others: in `SLOWLOG` and to `MONITOR`.

use crate::table::Spec;
use bytes::Bytes;

/// Stands where a secret stood, as in Redis.
const REDACTED: Bytes = Bytes::from_static(b"(redacted)");

/// Settings whose values are nobody's business.
const SECRETS: [&[u8]; 3] = [b"requirepass", b"cluster-secret", b"masterauth"];

/// Returns what a client sent, with secrets replaced.
pub(crate) fn redact(spec: &Spec, args: &[Bytes]) -> Vec<Bytes> {
    let mut shown = args.to_vec();
    match spec.name {
        "auth" => shown.iter_mut().skip(1).for_each(|arg| *arg = REDACTED),
        "hello" => after_auth(&mut shown),
        "config|set" => values_of_secrets(&mut shown),
        "acl|setuser" => shown.iter_mut().skip(2).for_each(|arg| *arg = REDACTED),
        _ => {}
    }
    shown
}

/// `HELLO protover AUTH user password …`. The word may also be a name that is set: what follows each is left out.
fn after_auth(args: &mut [Bytes]) {
    let words = args.iter().enumerate().skip(2);
    let auths = words.filter(|(_, arg)| arg.eq_ignore_ascii_case(b"auth"));
    let auths: Vec<usize> = auths.map(|(at, _)| at).collect();
    for at in auths {
        let secrets = args.iter_mut().skip(at + 1).take(2);
        secrets.for_each(|arg| *arg = REDACTED);
    }
}

/// `CONFIG SET name value …`.
fn values_of_secrets(args: &mut [Bytes]) {
    for pair in args[2..].chunks_exact_mut(2) {
        let secret = SECRETS
            .iter()
            .any(|name| pair[0].eq_ignore_ascii_case(name));
        if secret {
            pair[1] = REDACTED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use crate::dispatch;
    use crate::env::Env;
    use corgi_base::ClientId;

    fn shown(line: &str) -> String {
        let words = line.split(' ');
        let args: Vec<_> = words
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        let conn = Connection::new(ClientId(1), &Env::default());
        let request = dispatch::check(&conn, args).expect("a command");
        let shown = redact(request.spec, &request.args);
        let words: Vec<_> = shown
            .iter()
            .map(|arg| String::from_utf8_lossy(arg))
            .collect();
        words.join(" ")
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("AUTH secret"), "AUTH (redacted)");
        assert_eq!(shown("auth user secret"), "auth (redacted) (redacted)");
        assert_eq!(
            shown("HELLO 3 AUTH user secret SETNAME me"),
            "HELLO 3 AUTH (redacted) (redacted) SETNAME me"
        );
        assert_eq!(shown("HELLO 3 AUTH user"), "HELLO 3 AUTH (redacted)");
        assert_eq!(
            shown("HELLO 3 SETNAME auth AUTH user secret"),
            "HELLO 3 SETNAME auth (redacted) (redacted) (redacted)"
        );
        assert_eq!(shown("PUBLISH auth secret"), "PUBLISH auth secret");
    }
}
