//! Whole configurations: from arguments and files to typed values, warnings and problems.

use super::*;
use std::ffi::OsString;
use std::path::Path;

fn command(args: &[&str], stdin: &str) -> Result<Command, UsageError> {
    Command::from_args(args.iter().map(OsString::from), &mut stdin.as_bytes())
}

fn config(args: &[&str]) -> Result<Config, ConfigError> {
    match command(args, "").unwrap() {
        Command::Run(raw) => Config::new(raw),
        other => panic!("{other:?}"),
    }
}

fn problems(args: &[&str]) -> Vec<String> {
    config(args)
        .unwrap_err()
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn without_arguments_it_is_one_node_on_loopback() {
    let config = config(&[]).unwrap();
    assert_eq!(
        (
            config.port,
            config.peer_port,
            config.node_id.map(NodeId::get)
        ),
        (6379, 16379, None)
    );
    assert!(config.bind.iter().all(BindAddr::is_loopback));
    assert_eq!(
        config.bind[1],
        BindAddr {
            host: "::1".into(),
            optional: true
        }
    );
    assert_eq!(config.peer_bind, config.bind);
    assert_eq!(config.dir, Path::new("./data"));
    assert_eq!(config.warnings(), [] as [String; 0]);
    assert_eq!(
        config.initial_members(Config::default_node_id())[0].addr,
        "127.0.0.1:16379"
    );
    let timeouts = config.timeouts();
    assert_eq!(
        (timeouts.tick_ms, timeouts.election_ms, timeouts.write_ms),
        (10, 600, 2500)
    );
    let limits = config.limits();
    assert_eq!(limits.client_queue_bytes_max, 1 << 20);
    assert_eq!(limits.client_queue_bytes_low, 256 << 10);
    assert_eq!(limits.clients_queue_bytes_max, 128 << 20);
    assert_eq!(limits.write_bytes_max, 17 << 20);
}

#[test]
fn files_include_others_and_the_command_line_wins() {
    let dir = tempfile::tempdir().unwrap();
    let inner = write(dir.path(), "inner.conf", "maxclients 7\nport 1111\n");
    let outer = format!("# comment\r\nport 1000\n\n include {inner}\nlogfile \"a b\"\n");
    let outer = write(dir.path(), "corgi.conf", &outer);
    let config = config(&[
        &outer,
        "--databases",
        "3",
        "--LogFile",
        "c",
        "--bind",
        "::1",
        "*",
    ]);
    let config = config.unwrap();
    assert_eq!(
        (config.port, config.maxclients, config.databases),
        (1111, 7, 3)
    );
    assert_eq!(config.logfile.as_deref(), Some(Path::new("c")));
    let hosts: Vec<&str> = config.bind.iter().map(|addr| addr.host.as_str()).collect();
    assert_eq!(hosts, ["::1", "0.0.0.0"]);
}

#[test]
fn the_command_line_is_read_as_redis_server_reads_it() {
    // A value may look like a name, a list may be one word, name and value may be one argument.
    let config = config(&[
        "--requirepass",
        "--x",
        "--bind",
        "127.0.0.1 ::1",
        "--port 99",
    ]);
    let config = config.unwrap();
    assert_eq!(config.requirepass.bytes().as_ref(), b"--x");
    assert_eq!((config.bind.len(), config.port), (2, 99));

    for args in [&["-", "--port", "5"][..], &["--port", "5", "-"]] {
        let Command::Run(raw) = command(args, "port 6\ndatabases 4").unwrap() else {
            panic!()
        };
        let config = Config::new(raw).unwrap();
        assert_eq!(
            (config.port, config.databases),
            (5, 4),
            "the command line wins"
        );
    }
    assert!(matches!(command(&["--help"], "").unwrap(), Command::Help));
    assert!(matches!(command(&["-v"], "").unwrap(), Command::Version));
    assert!(matches!(
        command(&["--dump-log", "d"], "").unwrap(),
        Command::DumpLog(_)
    ));
    assert!(help().contains("--initial-cluster"));
    assert!(version().starts_with("Corgi server v="));
    for args in [
        &["--dump-log"][..],
        &["-x"],
        &["--"],
        &["a.conf", "b"],
        &["--port \"1"],
    ] {
        assert!(command(args, "").is_err(), "{args:?}");
    }
}

#[test]
fn check_config_may_stand_before_or_behind_other_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "corgi.conf", "port 1000");
    for args in [
        &["--check-config", file.as_str(), "--databases", "2"][..],
        &["--databases", "2", "--check-config", &file],
        &[&file, "--databases", "2", "--check-config"],
    ] {
        let Command::CheckConfig(raw) = command(args, "").unwrap() else {
            panic!("{args:?}")
        };
        let config = Config::new(raw).unwrap();
        assert_eq!((config.port, config.databases), (1000, 2), "{args:?}");
    }
}

#[test]
fn all_problems_are_reported_together_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let text = "port 70000\nprot 1\nlogfile \"x\nmaxclients 1 2\ndaemonize yes\n";
    let file = write(dir.path(), "corgi.conf", text);
    let found = problems(&[
        &file,
        "--appendfsync",
        "everysec",
        "--proto-max-bulk-len",
        "1gb",
    ]);
    let expected = [
        format!("{file}:2: unknown option 'prot'; did you mean 'port'?"),
        format!("{file}:3: a quote is not closed, or not followed by a blank"),
        format!("{file}:5: unknown option 'daemonize'"),
        "--appendfsync: 'everysec' is not there yet; only 'always' is, with which \
         an acknowledged write is on the disks of a majority"
            .to_owned(),
        format!("{file}:1: port: 70000 is out of range, it must be 0 to 65535"),
        format!("{file}:4: maxclients: takes one value, 2 were given"),
        "--proto-max-bulk-len: 1073741824 bytes is out of range, it must be \
         1048576 to 67108864 bytes"
            .to_owned(),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_unreadable_file_is_named_with_the_cause() {
    let found = problems(&["/nowhere/corgi.conf"]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("/nowhere/corgi.conf: No such file"),
        "{}",
        found[0]
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("self.conf").to_str().unwrap().to_owned();
    write(dir.path(), "self.conf", &format!("include {path}"));
    assert!(problems(&[&path])[0].contains("nested more than 16 deep"));
}

#[test]
fn a_cluster_is_checked_against_the_node() {
    let three = "1=a:16379,2=b:16379,3=[::1]:16379";
    let config = config(&["--initial-cluster", three, "--node-id", "3"]).unwrap();
    assert_eq!(config.initial_cluster.len(), 3);
    assert_eq!(
        config.initial_members(Config::default_node_id())[2].addr,
        "[::1]:16379"
    );

    let one = |args: &[&str], expected: &str| {
        let found = problems(args);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    };
    one(
        &["--initial-cluster", three, "--node-id", "4"],
        "does not list this node",
    );
    one(
        &["--initial-cluster", "1=a:16379,1=b:16379"],
        "node 1 is listed twice",
    );
    one(
        &["--initial-cluster", "1=a:16379,2=A:16379"],
        "A:16379 is listed twice",
    );
    one(&["--initial-cluster", "1=a:7000"], "set peer-port 7000");
    one(
        &["--initial-cluster", three, "--peer-port", "0"],
        "no peer-port is open",
    );
    one(
        &["--initial-cluster", "1=a:16379,0=b:1"],
        "ids begin with 1",
    );
    one(&["--initial-cluster", "1=a:16379,2=b"], "there is no port");
    one(
        &["--initial-cluster", "1=a:16379,2=::1:7"],
        "must be in brackets",
    );
    one(&["--initial-cluster", "1=a:16379,2"], "there is no '='");
    one(
        &["--initial-cluster", "1=a:16379,2=b:0"],
        "the port is not 1 to 65535",
    );
    one(
        &["--initial-cluster", "1=a:7000,2=b:7000", "--port", "60000"],
        "set peer-port",
    );
    one(
        &["--heartbeat-interval", "200ms"],
        "less than five times heartbeat-interval",
    );
    one(&["--requirepass", "  "], "nothing but blanks");
    one(&["--port", "0"], "no client could connect");
    one(&["--peer-port", "6379"], "also the port for clients");
    one(&["--bind", "1.2.3.4:5"], "not an address without a port");
    one(&["--node-id", "0"], "out of range");
    one(
        &["--client-output-buffer-limit", "pubsub", "1mb"],
        "takes groups",
    );
    one(
        &["--client-output-buffer-limit", "x", "1", "1", "1"],
        "not one of: normal",
    );
}

#[test]
fn what_is_allowed_but_risky_is_a_warning() {
    let one = |args: &[&str], expected: &str| {
        let config = config(args).unwrap();
        let warnings = config.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains(expected),
            "{warnings:?}"
        );
        config
    };
    one(&["--bind", "*"], "cluster-secret is empty");
    one(&["--peer-bind", "0.0.0.0"], "cluster-secret is empty");
    one(
        &["--write-timeout", "1s"],
        "less than twice election-timeout",
    );
    one(
        &["--initial-cluster", "1=a:7000", "--peer-port", "7001"],
        "listed with port 7000",
    );
    assert_eq!(one(&["--port", "60000"], "set peer-port if").peer_port, 0);
    let redis = ["--client-output-buffer-limit", "pubsub 32mb 8mb 60"];
    let config = one(&redis, "no subscriber is closed for being slow");
    assert_eq!(config.pubsub_output.low, 8 << 20);
}

#[test]
fn output_limits_are_given_class_by_class() {
    let limit = [
        "--client-output-buffer-limit",
        "normal",
        "1mb",
        "512kb",
        "9",
        "pubsub",
        "1mb",
        "0",
        "0",
    ];
    let config = config(&limit).unwrap();
    assert_eq!(config.warnings(), [] as [String; 0]);
    let normal = config.normal_output;
    assert_eq!(
        (normal.hard, normal.soft, normal.seconds),
        (1 << 20, 512 << 10, 9)
    );
    assert_eq!(config.pubsub_output.hard, 1 << 20);
    assert_eq!(config.pubsub_output.low, 256 << 10);
    let all = (
        "client-output-buffer-limit",
        "normal 1048576 524288 9 slave 0 0 0 pubsub 1048576 0 0".to_owned(),
    );
    assert!(config.bare().contains(&all));
}

#[test]
fn a_file_with_secrets_that_others_may_read_is_named_with_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let chmod = |path: &str, mode: u32| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, permissions).unwrap();
    };
    let warned = |file: &str, mode: u32| {
        chmod(file, mode);
        let warnings = config(&[file]).unwrap().warnings().to_vec();
        let expected = format!("(mode 0{mode:o})");
        assert!(warnings.len() <= 1, "{warnings:?}");
        let named = |warning: &String| warning.contains(&expected) && !warning.contains("hunter2");
        warnings.iter().all(named) && !warnings.is_empty()
    };
    let plain = write(dir.path(), "plain.conf", "port 1000");
    assert!(!warned(&plain, 0o644), "it holds no secret");
    for line in [
        "requirepass hunter2\ncluster-secret hunter2",
        "cluster-secret hunter2",
        "user bob on >hunter2 +@all",
    ] {
        let conf = write(dir.path(), "corgi.conf", line);
        assert!(warned(&conf, 0o644) && !warned(&conf, 0o640), "{line}");
        let outer = format!("port 1000\ninclude {conf}");
        let outer = write(dir.path(), "outer.conf", &outer);
        chmod(&conf, 0o604);
        assert!(warned(&outer, 0o604), "the one that is included");
        chmod(&conf, 0o600);
        assert!(!warned(&outer, 0o604), "the other holds no secret");
    }
    let acl = write(
        dir.path(),
        "users.acl",
        "user bob on >hunter2 ~* &* +@all\n",
    );
    chmod(&acl, 0o666);
    let config = config(&["--aclfile", &acl]).unwrap();
    let warnings = config.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("users.acl") && warnings[0].contains("0666"),
        "{warnings:?}"
    );
    let found = problems(&["--aclfile", "/dev/zero"]);
    assert!(found[0].contains("not a regular file"), "{found:?}");
}

#[test]
fn no_limit_for_subscribers_is_possible_and_said() {
    let none = ["--client-output-buffer-limit", "pubsub 0 0 0"];
    let one = config(&none).unwrap();
    assert_eq!(one.pubsub_output.hard, u64::MAX);
    assert_eq!(one.warnings(), [] as [String; 0], "all together have one");
    let both = config(&[&none[..], &["--maxmemory-clients", "0"]].concat()).unwrap();
    assert_eq!(both.limits().clients_queue_bytes_max, u64::MAX);
    assert_eq!(both.warnings().len(), 1);
}

#[test]
fn secrets_are_shown_nowhere() {
    let args = ["--requirepass", "hunter2", "--cluster-secret", "hunter2"];
    let Command::Run(raw) = command(&args, "").unwrap() else {
        panic!()
    };
    assert!(!format!("{raw:?}").contains("hunter2"));
    let config = Config::new(raw).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(
        config
            .effective()
            .contains(&("requirepass", "(set)".to_owned()))
    );
    let long = "x".repeat(600);
    let found = problems(&["--requirepass", &long, "--cluster-secret", "a", "b"]);
    assert!(
        found.len() == 2 && found.iter().all(|text| !text.contains("xxx")),
        "{found:?}"
    );
}

#[test]
fn the_effective_values_can_be_read_back() {
    let config = config(&[
        "--port",
        "0",
        "--unixsocket",
        "/tmp/a b",
        "--loglevel",
        "WARNING",
    ]);
    let config = config.unwrap();
    assert_eq!(config.effective().len(), options::OPTIONS.len());
    let mut text = String::new();
    for (name, value) in config.effective() {
        text.push_str(&format!("{name} {value}\n"));
    }
    let Command::Run(raw) = command(&["-"], &text).unwrap() else {
        panic!()
    };
    assert_eq!(Config::new(raw).unwrap().effective(), config.effective());
}
