use super::*;
use crate::table;
use proptest::prelude::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn list(words: &str) -> Vec<Bytes> {
    words.split(' ').map(bytes).collect()
}

/// Returns the definition that rules make of a new user, or what is wrong with them.
fn made(rules: &str) -> Result<String, String> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("the tests write text");
    Acl::default()
        .set_user(&bytes("alice"), &list(rules), false)
        .map(text)
        .map_err(text)
}

fn user(rules: &str) -> User {
    let definition = Acl::default()
        .set_user(&bytes("alice"), &list(rules), false)
        .expect("right rules");
    User::stored(bytes("alice"), &definition)
}

fn check(user: &User, line: &str) -> Result<(), Denied> {
    let args = list(line);
    let row = table::find(&args[0]).expect("a command");
    let row = match args.get(1) {
        Some(name) if !row.subcommands.is_empty() => {
            table::find_subcommand(row, name).expect("a subcommand")
        }
        _ => row,
    };
    user.check(row, &args)
}

/// All of these are what Valkey 9.1 shows, without its databases.
#[test]
fn definitions_are_written_as_redis_writes_them() {
    let pw = "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
    for (rules, definition) in [
        ("", "off resetchannels -@all"),
        (
            "on >pw ~a* %R~b %W~b %RW~c &ch* +@all -get +get|foo -@dangerous +config|get +publish +client|id",
            &format!(
                "on {pw} ~a* ~b ~c resetchannels &ch* +@all -get +get|foo -@dangerous +config|get +publish +client|id"
            ),
        ),
        (
            "ON NOPASS ALLKEYS ALLCHANNELS ALLCOMMANDS",
            "on nopass ~* &* +@all",
        ),
        (
            "+GET +CONFIG|GET +@Read -config",
            "off resetchannels -@all +get +@read -config",
        ),
        (
            "+config|get +config|set -config|get",
            "off resetchannels -@all +config|set -config|get",
        ),
        (
            "-@all +@all +select|0 -client|id",
            "off resetchannels +@all +select|0 -client|id",
        ),
        ("-@dangerous +@all -@all", "off resetchannels -@all"),
        (
            "~x* (~x* +get) (%R~y +set -@all +@read &z)",
            "off ~x* resetchannels -@all (~x* resetchannels -@all +get) (%R~y resetchannels &z -@all +@read)",
        ),
        (
            "(+get) clearselectors ( +get  ~a  )",
            "off resetchannels -@all (~a resetchannels -@all +get)",
        ),
        // What is in a selector stays there: its own parenthesis comes last.
        (
            "(+@all -get ~a)) &x)",
            "off resetchannels &x) -@all (resetchannels +@all -get ~a))",
        ),
        (
            "(%R~b &n)) (+select|0))",
            "off resetchannels -@all (%R~b resetchannels -@all &n)) (resetchannels -@all +select|0))",
        ),
        ("nopass >pw", &format!("off {pw} resetchannels -@all")),
        (">pw >pw nopass", "off nopass resetchannels -@all"),
        (">pw <pw", "off resetchannels -@all"),
        (
            "&a &a &b ~x ~x %R~x ~ &",
            "off ~x ~ resetchannels &a &b & -@all",
        ),
        ("resetkeys %R~* %w~*", "off ~* resetchannels -@all"),
        ("on ~a &b +get reset", "off resetchannels -@all"),
        ("skip-sanitize-payload", "off resetchannels -@all"),
    ] {
        assert_eq!(made(rules).as_deref(), Ok(definition), "{rules}");
    }
}

#[test]
fn wrong_rules_get_redis_texts_and_change_nothing() {
    let after_all = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                     effect. Try 'resetkeys' to start with an empty list of patterns";
    for (rules, rule, why) in [
        ("on foo", "foo", "Syntax error"),
        ("|", "|", "Syntax error"),
        ("+", "+", "Unknown command or category name in ACL"),
        (
            "+nosuch",
            "+nosuch",
            "Unknown command or category name in ACL",
        ),
        (
            "+@nosuch",
            "+@nosuch",
            "Unknown command or category name in ACL",
        ),
        (
            "-publish|x",
            "-publish|x",
            "Unknown command or category name in ACL",
        ),
        (
            "+client|nosuch",
            "+client|nosuch",
            "Unknown command or category name in ACL",
        ),
        (
            "+client|id|x",
            "+client|id|x",
            "Allowing first-arg of a subcommand is not supported",
        ),
        ("+publish|", "+publish|", "Syntax error"),
        ("%~x", "%~x", "Syntax error"),
        ("%RR~x", "%RR~x", "Syntax error"),
        ("(on)", "(on)", "Syntax error"),
        (
            "(+foo)",
            "(+foo)",
            "Unknown command or category name in ACL",
        ),
        ("allkeys ~x", "~x", after_all),
        (
            "<bad",
            "<bad",
            "The password you are trying to remove from the user does not exist",
        ),
        (
            "#bad",
            "#bad",
            "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
        ),
    ] {
        let text = format!("ERR Error in ACL SETUSER modifier '{rule}': {why}");
        assert_eq!(made(rules), Err(text), "{rules}");
    }
    assert_eq!(
        made("on (~a +get"),
        Err("ERR Unmatched parenthesis in acl selector starting at '(~a'.".to_owned())
    );
    // Rules within a rule, which would be read as such from the log.
    for rule in [
        "+get|x +@all",
        "+get|x\0+@all",
        "+brpoplpush|x\t+@all",
        "-get|x +@all",
    ] {
        // As in Redis, a text ends at a null character.
        let shown = rule.split('\0').next().unwrap_or_default();
        let text = format!("ERR Error in ACL SETUSER modifier '{shown}': Syntax error");
        let made = Acl::default().set_user(&bytes("u"), &[bytes(rule)], false);
        assert_eq!(made, Err(bytes(&text)), "{rule:?}");
    }
    let spaces = Acl::default().set_user(&bytes("al ice"), &[], false);
    assert_eq!(
        spaces,
        Err(bytes(
            "ERR Usernames can't contain spaces or null characters"
        ))
    );
}

#[test]
fn later_rules_for_commands_count() {
    let reader = user("+@all -@dangerous +info");
    assert_eq!(check(&reader, "info"), Ok(()));
    assert_eq!(check(&reader, "role"), Err(Denied::Command));
    let ping = user("+@connection -ping +ping|yes");
    assert_eq!(check(&ping, "ping"), Err(Denied::Command));
    assert_eq!(check(&ping, "ping no"), Err(Denied::Command));
    assert_eq!(check(&ping, "ping YES"), Ok(()));
    let one = user("+client|id");
    assert_eq!(check(&one, "client id"), Ok(()));
    assert_eq!(check(&one, "client getname"), Err(Denied::Command));
    let but_one = user("+client -client|id");
    assert_eq!(check(&but_one, "client id"), Err(Denied::Command));
    assert_eq!(check(&but_one, "client getname"), Ok(()));
}

#[test]
fn the_handshake_is_open_to_all() {
    let nobody = user("-@all");
    for line in ["auth x", "hello", "reset", "quit"] {
        assert_eq!(check(&nobody, line), Ok(()), "{line}");
    }
}

/// SEC-09.
#[test]
fn channels_are_checked_wherever_they_are_named() {
    let at = |at, name: &str| {
        let name = bytes(name);
        Err(Denied::Channel { at, name })
    };
    let news = user("+@all &news.* &a?");
    assert_eq!(check(&news, "publish news.x text"), Ok(()));
    assert_eq!(check(&news, "publish other text"), at(1, "other"));
    assert_eq!(check(&news, "subscribe news.1 ab other"), at(3, "other"));
    assert_eq!(check(&news, "psubscribe news.* a?"), Ok(()));
    // What a pattern stands for is not looked at.
    for pattern in ["news.1", "news.1*", "*", "news.**", "ab"] {
        let line = format!("psubscribe {pattern}");
        assert_eq!(check(&news, &line), at(1, pattern));
    }
    assert_eq!(check(&news, "spublish other x"), at(1, "other"));
    assert_eq!(check(&news, "ssubscribe news.* other"), at(2, "other"));
    // Giving up is free.
    assert_eq!(check(&news, "unsubscribe other"), Ok(()));
    assert_eq!(check(&news, "punsubscribe *"), Ok(()));
    let none = user("+@all");
    assert_eq!(check(&none, "publish news.x text"), at(1, "news.x"));
    assert_eq!(check(&user("+@all allchannels"), "psubscribe *"), Ok(()));
    // The text of a message is no channel.
    assert_eq!(check(&user("+publish &a"), "publish a b"), Ok(()));
}

#[test]
fn one_selector_must_allow_all_of_a_request() {
    let two = user("(+publish &a) (+subscribe &b)");
    assert_eq!(check(&two, "publish a x"), Ok(()));
    assert_eq!(check(&two, "subscribe b"), Ok(()));
    let (at, name) = (1, bytes("b"));
    assert_eq!(
        check(&two, "publish b x"),
        Err(Denied::Channel { at, name })
    );
    assert_eq!(check(&two, "ping"), Err(Denied::Command));
}

#[test]
fn passwords() {
    let rules = list("on >one >two ~* &* +@all");
    let definition = Acl::default().set_user(&bytes("alice"), &rules, false);
    let off = Acl::default().set_user(&bytes("bob"), &list(">one"), false);
    let users = [
        (bytes("alice"), definition.expect("right rules")),
        (bytes("bob"), off.expect("right rules")),
    ];
    let acl = Acl::stored(1, users.into_iter());
    let name = |user: &str, password: &str| {
        let found = acl.authenticate(user.as_bytes(), password.as_bytes());
        found.map(|user| user.name().clone())
    };
    assert_eq!(name("alice", "one"), Some(bytes("alice")));
    assert_eq!(name("alice", "two"), Some(bytes("alice")));
    for wrong in ["", "on", "one ", "ONE"] {
        assert_eq!(name("alice", wrong), None);
    }
    assert_eq!(name("bob", "one"), None, "off");
    assert_eq!(name("nobody", "one"), None);
    assert_eq!(name("default", "anything"), Some(bytes("default")));
    assert!(!format!("{acl:?}").contains("one"));
}

#[test]
fn a_definition_of_a_later_release_allows_what_is_understood() {
    let user = User::stored(
        bytes("alice"),
        b"on nopass futureflag ~* &* -@all +publish +future +@future +client|future",
    );
    assert_eq!(check(&user, "publish a b"), Ok(()));
    assert_eq!(check(&user, "client id"), Err(Denied::Command));
    assert_eq!(
        user.definition(),
        bytes("on nopass ~* &* -@all +publish +future +@future +client|future")
    );
}

#[test]
fn files_name_every_wrong_line() {
    let file = b"user alice on nopass ~* +@all\n\nuser bob off\n";
    let users = Acl::from_file("f", file, false).expect("a right file");
    assert_eq!(users.len(), 2);
    let acl = Acl::stored(1, users.into_iter());
    assert_eq!(
        acl.to_file(),
        b"user alice on nopass ~* resetchannels +@all\nuser bob off resetchannels -@all\n\
          user default on nopass ~* &* +@all\n"
    );
    let wrong = b"usr x\nuser\nuser carol +nosuch\nuser d on\nuser d off\nuser e (~a";
    assert_eq!(
        Acl::from_file("f", wrong, false),
        Err(
            "f:1: should start with user keyword followed by the username. \
             f:2: should start with user keyword followed by the username. \
             f:3: Error in applying operation '+nosuch': Unknown command or category name in ACL. \
             f:5: duplicate user 'd' found. \
             f:6: unmatched parenthesis in selector starting at '(~a'."
                .to_owned()
        )
    );
}

#[test]
fn changes_replace_users_one_by_one_or_all() {
    let on = |name: &str| (bytes(name), Some(bytes("on resetchannels -@all")));
    let acl = Acl::default().changed(1, false, [on("a"), on("b")].into_iter());
    let names = |acl: &Acl| -> Vec<Bytes> { acl.users().map(|user| user.name().clone()).collect() };
    assert_eq!(names(&acl), ["a", "b", "default"]);
    let acl = acl.changed(2, false, [(bytes("a"), None), on("c")].into_iter());
    assert_eq!(names(&acl), ["b", "c", "default"]);
    let acl = acl.changed(3, true, [on("d")].into_iter());
    assert_eq!((acl.revision(), names(&acl)), (3, list("d default")));
    assert!(acl.default_user().open_to_all());
}

#[test]
fn requirepass_closes_the_default_user() {
    assert_eq!(require_pass(b""), None);
    let acl = Acl::stored(0, require_pass(b"a b").into_iter());
    assert!(!acl.default_user().open_to_all());
    assert!(acl.authenticate(b"default", b"a b").is_some());
    assert!(acl.authenticate(b"default", b"a").is_none());
}

fn rule() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "on",
        "off",
        "nopass",
        "resetpass",
        "allkeys",
        "resetkeys",
        "allchannels",
        "resetchannels",
        "allcommands",
        "nocommands",
        "+@all",
        "-@all",
        "+@pubsub",
        "-@dangerous",
        "+publish",
        "-publish",
        "+client",
        "-client|id",
        "+client|id",
        "+publish|a",
        "+get",
        "-get",
        "clearselectors",
        ">a",
        ">b",
        "(~a +get)",
        "(&b +@pubsub -publish)",
        "(+@all -get ~b))",
        "(%R~a &b))",
    ]);
    prop_oneof![
        4 => fixed.prop_map(str::to_owned),
        1 => "~[a-c*]{1,2}",
        1 => "%[RW]~[a-c*]{1,2}",
        1 => "&[a-c*]{1,2}",
    ]
}

proptest! {
    /// A definition read back gives the same user, so that files and the cluster lose nothing.
    #[test]
    fn definitions_are_whole(rules in prop::collection::vec(rule(), 0..12)) {
        let acl = Acl::default();
        let name = bytes("alice");
        let mut user = User::new(name.clone(), false);
        for rule in &rules {
            // Some are wrong after others.
            if let Ok(next) = user.with_rules(&[bytes(rule)], false) {
                user = next;
            }
        }
        let definition = user.definition();
        let stored = User::stored(name.clone(), &definition);
        prop_assert_eq!(stored.definition(), &definition);
        let words: Vec<Bytes> = definition.split(|b| *b == b' ').map(Bytes::copy_from_slice).collect();
        prop_assert_eq!(acl.set_user(&name, &words, false), Ok(definition));
        for line in ["publish a x", "publish bb x", "subscribe b", "psubscribe b*", "client id", "ping", "info"] {
            prop_assert_eq!(check(&user, line), check(&stored, line), "{}", line);
        }
    }

    /// Whatever is sent, nothing panics.
    #[test]
    fn any_rule_is_taken_or_refused(rules in prop::collection::vec("[-+@~%&#<>!()|RWa-c *\\x00]{0,6}", 0..6)) {
        let rules: Vec<Bytes> = rules.iter().map(|rule| bytes(rule)).collect();
        let _either = Acl::default().set_user(&bytes("alice"), &rules, false);
    }
}
