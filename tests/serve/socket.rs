//! The socket's owner, permissions and path.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::Path,
};

use crate::support::{Agent, POINTSMAN, Ran, SHOP, command, command_at, root_is_here};

/// Starts an agent that is expected to fail.
fn refused(socket: &Path) -> Ran {
    let ran: Ran = command_at(socket, "127.0.0.1:0").output().unwrap().into();
    assert_ne!(ran.code, 0, "{ran:?}");
    ran
}

fn in_folder(folder: &Path) -> Ran {
    let ran = refused(&folder.join("agent.sock"));
    assert_eq!(ran.code, 1, "{ran:?}");
    ran
}

#[tokio::test]
async fn a_live_agents_socket_is_refused_with_its_pid() {
    let agent = Agent::with(SHOP);
    let second = in_folder(agent.folder.path());
    let right = format!("is served by a live agent, pid {}", agent.pid());
    assert!(second.stderr.contains(&right), "{second:?}");
    agent.still_serves().await;
}

#[tokio::test]
async fn a_stale_socket_is_taken_over() {
    let first = Agent::with(SHOP);
    let socket = first.socket();
    let folder = first.kill();
    assert!(UnixStream::connect(&socket).is_err() && socket.exists());
    let second = Agent::in_folder(folder, &[]);
    second.logs("answered");
    second.still_serves().await;
}

#[tokio::test]
async fn a_regular_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("agent.sock"), "precious").unwrap();
    let ran = in_folder(folder.path());
    assert!(ran.stderr.contains("agent.sock is a regular file, not a socket"), "{ran:?}");
    assert_eq!(fs::read(folder.path().join("agent.sock")).unwrap(), b"precious");
}

#[tokio::test]
async fn another_programs_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
    let ran = in_folder(folder.path());
    let right = format!("served by another program, pid {}", std::process::id());
    assert!(ran.stderr.contains(&right), "{ran:?}");
}

#[test]
fn a_path_too_long_for_a_socket_is_refused_with_limit_and_length() {
    let path = format!("/tmp/{}", "x".repeat(110));
    for arguments in [["agent", "--socket", &path], ["services", "--socket", &path]] {
        let ran: Ran =
            std::process::Command::new(POINTSMAN).args(arguments).output().unwrap().into();
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("at most 107 bytes, this one has 115"), "{ran:?}");
    }
}

#[test]
fn a_missing_folder_and_one_that_takes_no_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let ran = refused(&folder.path().join("missing/agent.sock"));
    assert!(ran.stderr.contains("missing of the socket does not exist"), "{ran:?}");
    let ran = refused(Path::new("/proc/self/agent.sock"));
    assert!(ran.stderr.contains("folder /proc/self of the socket is not writable"), "{ran:?}");
    fs::write(folder.path().join("file"), "").unwrap();
    let ran = refused(&folder.path().join("file/agent.sock"));
    assert!(ran.stderr.contains("file is not a folder"), "{ran:?}");
}

#[test]
fn a_folder_of_another_user_is_named_with_who_asked() {
    if !root_is_here("the folder of another user") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("pointsman");
    fs::copy(POINTSMAN, &program).unwrap();
    let ran: Ran = std::process::Command::new(program)
        .args(["agent", "--source", "file:x", "--admin", "127.0.0.1:0", "--socket"])
        .arg(folder.path().join("agent.sock"))
        .uid(65534)
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("is not writable for uid 65534"), "{ran:?}");
}

#[test]
fn another_scheme_than_unix_is_refused_with_the_right_one() {
    let ran = refused(Path::new("tcp://127.0.0.1:80"));
    assert!(ran.stderr.contains("unix:///run/pointsman/agent.sock"), "{ran:?}");
}

#[tokio::test]
async fn the_socket_has_the_mode_and_group_asked_for() {
    let group = rustix::process::getegid().as_raw().to_string();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--socket-mode", "0660", "--socket-group", &group];
    let agent = Agent::in_folder(folder, &arguments);
    let metadata = fs::metadata(agent.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!((metadata.mode() & 0o777, metadata.gid().to_string()), (0o660, group));
    let default = Agent::with_silent_source();
    assert_eq!(fs::metadata(default.socket()).unwrap().mode() & 0o777, 0o666);
}

#[test]
fn a_group_that_is_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ran: Ran =
        command(folder.path()).args(["--socket-group", "nobody-s group"]).output().unwrap().into();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no group \"nobody-s group\""), "{ran:?}");
}
